//! `tradeflow runs list`: which runs, the best first; statistics of groups.

use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use tradeflow_model::Timestamp;
use tradeflow_results::{
    GroupBy, GroupQuery, GroupStatistics, Metric, Page, Run, RunFilter, RunQuery, SortKey,
};

use super::{Place, number, percent};

/// Lists runs, sorted and filtered; with --by statistics of groups.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Runs of this symbol
    #[arg(long, value_name = "NAME")]
    symbol: Option<String>,
    /// Runs of this strategy
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,
    /// Runs in which a parameter of a strategy had this value; may be given several times
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
    /// Runs that ended at this time or later, such as 2024-01-01 or 2024-01-01T12:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Runs that ended before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// newest, oldest, or a metric, the best first: sharpe, sortino, total_return, cagr, volatility, max_drawdown,
    /// win_rate, profit_factor, trades
    #[arg(long, value_name = "KEY", default_value = "newest")]
    sort: String,
    /// The worst of the metric first
    #[arg(long)]
    worst: bool,
    /// Statistics of groups instead: by symbol, by strategy, or by the value of a parameter, of the metric of --sort
    /// [default metric: sharpe]
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["cursor", "worst"])]
    by: Option<String>,
    /// At most so many runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Goes on where the page ended that told this
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Print JSON on standard output
    #[arg(long)]
    json: bool,
}

fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is written NAME=VALUE, such as fast=10")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Args {
    fn sort(&self) -> anyhow::Result<SortKey> {
        match (self.sort.as_str(), self.worst) {
            ("newest" | "oldest", true) => anyhow::bail!("--worst: of a metric alone, give one by --sort"),
            ("newest", false) => Ok(SortKey::Newest),
            ("oldest", false) => Ok(SortKey::Oldest),
            (metric, worst) => {
                let metric =
                    metric.parse().map_err(|error| anyhow::anyhow!("--sort: {error}; or newest, oldest"))?;
                Ok(if worst { SortKey::Worst(metric) } else { SortKey::Best(metric) })
            }
        }
    }

    fn filter(&self) -> RunFilter {
        RunFilter {
            symbol: self.symbol.clone(),
            strategy: self.strategy.clone(),
            params: self.params.clone(),
            finished_from: self.since,
            finished_to: self.until,
        }
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (sort, filter) = (args.sort()?, args.filter());
    let store = args.place.store().await?;
    if let Some(by) = &args.by {
        let by = match by.as_str() {
            "symbol" => GroupBy::Symbol,
            "strategy" => GroupBy::Strategy,
            name => GroupBy::Param(name.to_owned()),
        };
        let metric = match sort {
            SortKey::Best(metric) | SortKey::Worst(metric) => metric,
            SortKey::Newest | SortKey::Oldest => Metric::Sharpe,
        };
        let groups = store.groups(&GroupQuery { filter, by, metric }).await?;
        match args.json {
            true => println!("{}", serde_json::to_string_pretty(&groups)?),
            false => show_groups(&groups, args.by.as_deref().unwrap_or_default(), metric),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let page = store.runs(&RunQuery { filter, sort, limit: args.limit, cursor: args.cursor.clone() }).await?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&page)?),
        false => show_page(&page),
    }
    Ok(ExitCode::SUCCESS)
}

fn show_page(page: &Page<Run>) {
    if page.rows.is_empty() {
        println!("no runs");
        return;
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["run", "finished", "return", "Sharpe", "drawdown", "trades", "final equity"]);
    for run in &page.rows {
        table.add_row([
            run.run.clone(),
            run.finished.0.to_jiff().strftime("%Y-%m-%d %H:%M:%S").to_string(),
            percent(run.total_return),
            number(run.sharpe, 2),
            percent(run.max_drawdown),
            run.trades.to_string(),
            format!("{} {}", run.final_equity, run.currency.as_deref().unwrap_or("(several currencies)")),
        ]);
    }
    right(&mut table, 2..7);
    println!("{table}");
    if let Some(next) = &page.next {
        println!("\nmore: --cursor '{}'", next.replace('\'', "'\\''"));
    }
}

fn show_groups(groups: &[GroupStatistics], by: &str, metric: Metric) {
    if groups.is_empty() {
        println!("no runs");
        return;
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    let of = |what: &str| format!("{what} {metric}");
    table.set_header([
        by.to_owned(),
        "runs".into(),
        of("best"),
        of("median"),
        of("worst"),
        "best run".into(),
    ]);
    for group in groups {
        table.add_row([
            group.value.clone(),
            group.runs.to_string(),
            number(group.best, 4),
            number(group.median, 4),
            number(group.worst, 4),
            group.best_run.clone().unwrap_or_default(),
        ]);
    }
    right(&mut table, 1..5);
    println!("{table}");
}

pub(super) fn right(table: &mut Table, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
