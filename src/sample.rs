//! `tradeflow sample`: realistic data from a seed.

use std::process::ExitCode;

use serde_json::json;
use tradeflow_model::Timestamp;
use tradeflow_model::market::SeriesKind;
use tradeflow_storage::catalog::{Catalog, CatalogError};
use tradeflow_storage::sample::{self, SampleOptions, Written};

/// Fill the catalog with realistic sample data, generated from a seed: no download is needed.
///
/// SAMPLE-BTC (90 days of minutes), SAMPLE-EQ (10 years of days with dividends and splits, a month of minutes),
/// SAMPLE-FX (5 days of quotes and minutes), SAMPLE-FUT (a month of minutes). The prices are invented. The same seed
/// gives the same data on every machine, and writing it again changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tradeflow sample
  tradeflow sample --symbols SAMPLE-BTC --ticks
  tradeflow sample --catalog data/other --seed 7 --from 2023-01-01 --to 2024-01-01 --symbols SAMPLE-FUT")]
pub(crate) struct Args {
    /// Folder or URL of the catalog.
    #[arg(long, value_name = "DIR_OR_URL", default_value = "data/catalog")]
    catalog: String,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Start of the data (UTC), instead of each market's own; another start gives other prices.
    #[arg(long)]
    from: Option<Timestamp>,
    /// End of the data (UTC), instead of each market's own.
    #[arg(long)]
    to: Option<Timestamp>,
    /// Markets to generate, with commas; all of them when left out.
    #[arg(long, value_delimiter = ',')]
    symbols: Vec<String>,
    /// Trades and quotes of the last 2 sessions too.
    #[arg(long)]
    ticks: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When an option is wrong, or the catalog can't be written.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let catalog = Catalog::open(&args.catalog)?;
    let options = SampleOptions {
        seed: args.seed,
        from: args.from,
        to: args.to,
        symbols: args.symbols,
        ticks: args.ticks,
    };
    let written = sample::write(&catalog, &options).map_err(|error| match error {
        CatalogError::Conflict { .. } => anyhow::anyhow!(
            "the catalog at {} has other data of this market (of another seed or start, perhaps); \
             choose another --catalog, or the options it was made with. {error}",
            catalog.url()
        ),
        other => other.into(),
    })?;
    if args.json {
        let series: Vec<_> = written.iter().map(to_json).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "catalog": args.catalog, "series": series }))?);
        return Ok(ExitCode::SUCCESS);
    }
    for Written { key, rows, merge } in &written {
        let state = if merge.files_written == 0 { "already there" } else { "written" };
        println!("{:<28} {rows:>9} rows, {state}", key.to_string());
    }
    let place = match args.catalog.as_str() {
        "data/catalog" => String::new(),
        other => format!(" --catalog {other}"),
    };
    println!("\nNext, for example:");
    println!("  tradeflow catalog ls{place}");
    if let Some((symbol, interval)) = written.iter().find_map(bars) {
        println!("  tradeflow catalog show {symbol} --interval {interval}{place}");
        println!("  tradeflow backtest --symbol {symbol} --interval {interval} --strategy sma_cross{place}");
    }
    Ok(ExitCode::SUCCESS)
}

fn bars(written: &Written) -> Option<(String, String)> {
    match written.key.kind {
        SeriesKind::Bars { interval, .. } => Some((written.key.symbol.to_string(), interval.to_string())),
        _ => None,
    }
}

fn to_json(written: &Written) -> serde_json::Value {
    let (interval, price) = match written.key.kind {
        SeriesKind::Bars { interval, price_type } => (Some(interval.to_string()), Some(price_type.name())),
        _ => (None, None),
    };
    json!({
        "symbol": written.key.symbol,
        "kind": written.key.kind_name(),
        "interval": interval,
        "price": price,
        "rows": written.rows,
        "added": written.merge.added,
        "files_written": written.merge.files_written,
    })
}
