//! `tradeflow catalog ls`: what there is.

use std::process::ExitCode;

use super::{Place, grouped, kind_cells, series_json, size_text, table, time_text};

/// List the series of the catalog.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let catalog = args.place.open()?;
    let all = catalog.series()?;
    if args.place.json {
        let series: Vec<_> = all.iter().map(series_json).collect();
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "series": series }))?);
        return Ok(ExitCode::SUCCESS);
    }
    if all.is_empty() {
        println!(
            "The catalog at {} is empty. Fill it with `tradeflow sample` or `tradeflow import`.",
            catalog.url()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        table(&["symbol", "kind", "interval", "price", "rows", "files", "size", "first", "last", "source"]);
    for info in &all {
        let [kind, interval, price] = kind_cells(info.key.kind);
        table.add_row([
            info.key.symbol.to_string(),
            kind,
            interval,
            price,
            grouped(info.rows),
            info.files.to_string(),
            size_text(info.bytes),
            time_text(info.first),
            time_text(info.last),
            info.sources.join("; "),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}
