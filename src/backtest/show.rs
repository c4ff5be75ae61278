//! The summary on the terminal.

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use tradeflow_backtest::results::Summary;
use tradeflow_backtest::results::format::{amount, duration, money, or_none, percent, ratio, whole};

/// Prints the summary of a run.
pub fn summary(summary: &Summary) {
    let money = |value: f64| money(value, summary.currency.as_deref());
    let curve = &summary.statistics;
    let trades = &summary.trade_statistics;
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
        ("Return a year (CAGR)", or_none(curve.cagr.map(percent))),
        ("Volatility a year", or_none(curve.volatility.map(percent))),
        ("Sharpe ratio", or_none(curve.sharpe.map(ratio))),
        ("Sortino ratio", or_none(curve.sortino.map(ratio))),
        ("Max drawdown", percent(summary.max_drawdown)),
        ("Longest drawdown", duration(curve.max_drawdown_ns)),
        ("Orders", format!("{}{refused}", whole(summary.orders))),
        ("Trades", whole(summary.trades)),
        ("Win rate", or_none(trades.win_rate().map(percent))),
        ("Profit factor", or_none(trades.profit_factor().map(ratio))),
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
            money(account.final_equity, Some(&account.currency)),
            percent(account.total_return),
            percent(account.statistics.max_drawdown),
            whole(account.trade_statistics.count),
            amount(account.fees, Some(&account.currency)),
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
