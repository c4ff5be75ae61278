//! `tradeflow runs show`: one run, its tables.

use std::process::ExitCode;

use clap::ValueEnum;
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;
use serde_json::{Value, json};
use tradeflow_results::{Page, RowQuery, Run};

use super::{Place, number, percent};

/// Shows a run, or rows of one of its tables.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run, by its name
    run: String,
    #[command(flatten)]
    place: Place,
    /// Rows of this table
    #[arg(long, value_enum)]
    table: Option<TableName>,
    /// Rows of this account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Rows of this symbol (orders, fills, trades)
    #[arg(long, value_name = "NAME")]
    symbol: Option<String>,
    /// At most so many rows (orders, fills, trades)
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Goes on where the page ended that told this (orders, fills, trades)
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Thins the equity curve to at most so many points; its extremes stay
    #[arg(long, value_name = "N")]
    points: Option<usize>,
    /// Print JSON on standard output: of a run all of its summary.json
    #[arg(long)]
    json: bool,
}

/// The tables of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TableName {
    Equity,
    Orders,
    Fills,
    Trades,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let store = args.place.store().await?;
    let query = RowQuery {
        account: args.account.clone(),
        symbol: args.symbol.clone(),
        limit: args.limit,
        cursor: args.cursor.clone(),
    };
    let page = match args.table {
        None => {
            let run = store.named(std::slice::from_ref(&args.run)).await?;
            match (args.json, run.first()) {
                (true, _) => println!("{}", serde_json::to_string_pretty(&store.summary(&args.run).await?)?),
                (false, Some(run)) => show(run),
                (false, None) => {}
            }
            return Ok(ExitCode::SUCCESS);
        }
        Some(TableName::Equity) => {
            let rows = store.equity(&args.run, args.account.as_deref(), args.points).await?;
            json(&Page { rows, next: None })?
        }
        Some(TableName::Orders) => json(&store.orders(&args.run, &query).await?)?,
        Some(TableName::Fills) => json(&store.fills(&args.run, &query).await?)?,
        Some(TableName::Trades) => json(&store.trades(&args.run, &query).await?)?,
    };
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&page)?),
        false => rows(&page),
    }
    Ok(ExitCode::SUCCESS)
}

fn json<T: Serialize>(page: &Page<T>) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(page)?)
}

/// A page of any table: the names of its fields are the columns.
fn rows(page: &Value) {
    let rows = page["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(names) = rows.first().and_then(Value::as_object) else {
        println!("no rows");
        return;
    };
    let names: Vec<&String> = names.keys().collect();
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(names.iter().map(|name| name.as_str()));
    for row in rows {
        table.add_row(names.iter().map(|name| match &row[name.as_str()] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }));
    }
    println!("{table}");
    if let Some(next) = page["next"].as_str() {
        println!("\nmore: --cursor {next}");
    }
}

fn show(run: &Run) {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let currency = run.currency.as_deref().unwrap_or("(several currencies)");
    let mut rows = vec![
        ("Run", run.run.clone()),
        ("Finished", run.finished.to_string()),
        ("Symbol", run.symbols.join(", ")),
        ("From", run.from.to_string()),
        ("To", run.to.to_string()),
        ("Accounts", run.accounts.join(", ")),
    ];
    for strategy in &run.strategies {
        let params = strategy.params.as_object().into_iter().flatten();
        let params: Vec<_> = params.map(|(name, value)| format!("{name}={}", text(value))).collect();
        rows.push(("Strategy", format!("{} ({})", strategy.id, params.join(", "))));
    }
    rows.extend([
        ("Initial equity", format!("{} {currency}", run.initial_equity)),
        ("Final equity", format!("{} {currency}", run.final_equity)),
        ("Fees", format!("{} {currency}", run.fees)),
        ("Return", percent(run.total_return)),
        ("Return a year (CAGR)", percent(run.cagr)),
        ("Volatility a year", percent(run.volatility)),
        ("Sharpe ratio", number(run.sharpe, 2)),
        ("Sortino ratio", number(run.sortino, 2)),
        ("Max drawdown", percent(run.max_drawdown)),
        ("Orders", run.orders.to_string()),
        ("Fills", run.fills.to_string()),
        ("Trades", run.trades.to_string()),
        ("Win rate", percent(run.win_rate)),
        ("Profit factor", number(run.profit_factor, 2)),
        ("Digest", run.digest.clone()),
    ]);
    if !run.completed {
        rows.push(("Completed", "no, it was stopped".into()));
    }
    for (name, value) in rows {
        table.add_row([name.to_owned(), value]);
    }
    println!("{table}");
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| json!(value).to_string(), str::to_owned)
}
