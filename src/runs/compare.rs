//! `tradeflow runs compare`: a few runs side by side.

use std::process::ExitCode;

use comfy_table::{Table, presets::NOTHING};
use tradeflow_results::{Comparison, Run};

use super::{Place, list, number, percent};

/// Puts runs side by side: what was set differently, and what came of it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runs, by their names
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Print JSON on standard output
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let comparison = args.place.store().await?.compare(&args.runs).await?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&comparison)?),
        false => show(&comparison),
    }
    Ok(ExitCode::SUCCESS)
}

/// A row of the table: its name, and what it shows of a run.
type Figure = (&'static str, fn(&Run) -> String);

fn show(comparison: &Comparison) {
    for (number, run) in comparison.runs.iter().enumerate() {
        println!("({}) {}", number + 1, run.run);
    }
    println!();
    let mut table = Table::new();
    table.load_style(NOTHING);
    let numbers = (1..=comparison.runs.len()).map(|number| format!("({number})"));
    table.set_header(std::iter::once(String::new()).chain(numbers));
    for difference in &comparison.differences {
        let values = difference.values.iter().map(|value| value.clone().unwrap_or_else(|| "–".into()));
        table.add_row(std::iter::once(difference.setting.clone()).chain(values));
    }
    let figures: [Figure; 8] = [
        ("return", |run| percent(run.total_return)),
        ("return a year", |run| percent(run.cagr)),
        ("volatility a year", |run| percent(run.volatility)),
        ("Sharpe ratio", |run| number(run.sharpe, 2)),
        ("Sortino ratio", |run| number(run.sortino, 2)),
        ("max drawdown", |run| percent(run.max_drawdown)),
        ("trades", |run| run.trades.to_string()),
        ("final equity", |run| run.final_equity.to_string()),
    ];
    for (name, of) in figures {
        table.add_row(std::iter::once(name.to_owned()).chain(comparison.runs.iter().map(of)));
    }
    list::right(&mut table, 1..comparison.runs.len() + 1);
    println!("{table}");
}
