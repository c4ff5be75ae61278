//! The summary on the terminal.

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use tradeflow_backtest::results::Summary;

/// Prints the summary of a run.
pub fn summary(summary: &Summary) {
    let currency = summary.currency.as_deref().unwrap_or("(several currencies)");
    let money = |amount: f64| format!("{} {currency}", grouped(amount));
    let percent = |fraction: f64| format!("{:.2} %", fraction * 100.0);
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".into());
    let curve = &summary.statistics;
    let trades = &summary.trade_statistics;
    let days = |ns: i64| format!("{:.1} days", ns as f64 / 86_400e9);
    let mut rows: Vec<(&str, String)> = vec![
        ("Strategy", distinct(&summary.strategies)),
        ("Symbol", summary.symbols.join(", ")),
        ("From", summary.from.clone()),
        ("To", summary.to.clone()),
    ];
    if summary.bars > 0 {
        rows.push(("Bars", whole(summary.bars)));
    }
    if summary.ticks > 0 {
        rows.push(("Ticks", whole(summary.ticks)));
    }
    let refused = summary.denied + summary.rejected;
    let refused = if refused > 0 { format!(" ({} refused)", whole(refused)) } else { String::new() };
    rows.extend([
        ("Initial equity", money(summary.initial_equity)),
        ("Final equity", money(summary.final_equity)),
        ("Return", percent(summary.total_return)),
        ("Return a year (CAGR)", or_dash(curve.cagr.map(percent))),
        ("Volatility a year", or_dash(curve.volatility.map(percent))),
        ("Sharpe ratio", or_dash(curve.sharpe.map(|v| format!("{v:.2}")))),
        ("Sortino ratio", or_dash(curve.sortino.map(|v| format!("{v:.2}")))),
        ("Max drawdown", percent(summary.max_drawdown)),
        ("Longest drawdown", days(curve.max_drawdown_ns)),
        ("Orders", format!("{}{refused}", whole(summary.orders))),
        ("Trades", whole(summary.trades)),
        ("Win rate", or_dash(trades.win_rate().map(percent))),
        ("Profit factor", or_dash(trades.profit_factor().map(|v| format!("{v:.2}")))),
        ("Best trade", money(trades.best)),
        ("Worst trade", money(trades.worst)),
        ("Fees", money(summary.fees)),
    ]);
    let mut table = Table::new();
    table.load_style(NOTHING);
    for (name, value) in rows {
        table.add_row([name.to_owned(), value]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");
    if summary.accounts.len() > 1 {
        println!("{}\n", accounts(summary));
    }
    println!("Assumed:");
    for assumption in &summary.assumptions {
        println!("  - {assumption}");
    }
    println!("\nDigest   {}", summary.digest);
    println!("Results  {}", summary.results);
    println!("Took     {:.2} s", summary.seconds);
}

fn accounts(summary: &Summary) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["Account", "Final equity", "Return", "Max drawdown", "Trades", "Fees"]);
    for account in &summary.accounts {
        table.add_row([
            account.account.clone(),
            format!("{} {}", grouped(account.final_equity), account.currency),
            format!("{:.2} %", account.total_return * 100.0),
            format!("{:.2} %", account.statistics.max_drawdown * 100.0),
            whole(account.trade_statistics.count),
            grouped(account.fees),
        ]);
    }
    for index in 1..6 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Names, each once.
fn distinct(names: &[String]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if !seen.contains(&name.as_str()) {
            seen.push(name);
        }
    }
    seen.join(", ")
}

/// An amount with two decimals and groups of three digits.
fn grouped(amount: f64) -> String {
    let text = format!("{:.2}", amount.abs());
    let (units, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let sign = if amount < 0.0 && text != "0.00" { "-" } else { "" };
    format!("{sign}{}.{cents}", thousands(units))
}

fn whole(number: u64) -> String {
    thousands(&number.to_string())
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
