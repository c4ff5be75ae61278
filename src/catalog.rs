//! `tradeflow catalog`: look into the catalog, check it, and make bars of what is there.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use tradeflow_model::market::{PriceType, SeriesKind};
use tradeflow_model::{Interval, Symbol, Timestamp};
use tradeflow_storage::catalog::{Catalog, SeriesInfo};

mod aggregate;
mod gaps;
mod ls;
mod show;
mod verify;

/// Look into the catalog of market data, check it, and make bars of what is there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tradeflow catalog ls
  tradeflow catalog show BTCUSD --interval 1m --head 3
  tradeflow catalog gaps --symbol BTCUSD --from 2017-01-01 --to 2018-01-01
  tradeflow catalog verify
  tradeflow catalog aggregate --symbol BTCUSD --from-kind bar --from-interval 1m --into 1h")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Args),
    Show(show::Args),
    Gaps(gaps::Args),
    Verify(verify::Args),
    Aggregate(aggregate::Args),
}

/// Where the catalog is and how to print.
#[derive(Debug, clap::Args)]
struct Place {
    /// Folder or URL of the catalog.
    #[arg(long, value_name = "DIR_OR_URL", default_value = "data/catalog")]
    catalog: String,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Which series of the catalog; what is left out does not narrow the choice.
#[derive(Debug, Clone, Default, clap::Args)]
struct Choice {
    /// What the series hold: bar, trade, quote or action.
    #[arg(long, value_parser = ["bar", "trade", "quote", "action"])]
    kind: Option<String>,
    /// Interval of bars, such as 1m, 4h, 1d.
    #[arg(long)]
    interval: Option<Interval>,
    /// Price of bars: last, bid, ask or mid.
    #[arg(long)]
    price: Option<PriceType>,
}

/// Runs the command.
///
/// # Errors
/// When the catalog can't be read or written.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Ls(args) => ls::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Gaps(args) => gaps::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Aggregate(args) => aggregate::run(&args),
    }
}

impl Place {
    fn open(&self) -> anyhow::Result<Catalog> {
        Ok(Catalog::open(&self.catalog)?)
    }
}

impl Choice {
    fn includes(&self, kind: SeriesKind) -> bool {
        let (name, bars) = match kind {
            SeriesKind::Bars { interval, price_type } => ("bar", Some((interval, price_type))),
            SeriesKind::Trades => ("trade", None),
            SeriesKind::Quotes => ("quote", None),
            _ => ("action", None),
        };
        self.kind.as_deref().is_none_or(|wanted| wanted == name)
            && self.interval.is_none_or(|wanted| bars.is_some_and(|(interval, _)| interval == wanted))
            && self.price.is_none_or(|wanted| bars.is_some_and(|(_, price)| price == wanted))
    }
}

/// The series of a symbol (or of all) that the choice includes.
fn chosen(catalog: &Catalog, symbol: Option<&Symbol>, choice: &Choice) -> anyhow::Result<Vec<SeriesInfo>> {
    let all = catalog.series()?;
    if all.is_empty() {
        bail!(
            "the catalog at {} is empty; fill it with `tradeflow sample` or `tradeflow import`",
            catalog.url()
        );
    }
    let found: Vec<_> = all
        .into_iter()
        .filter(|info| {
            symbol.is_none_or(|symbol| info.key.symbol == *symbol) && choice.includes(info.key.kind)
        })
        .collect();
    if found.is_empty() {
        bail!("the catalog at {} has no such series; `tradeflow catalog ls` lists them", catalog.url());
    }
    Ok(found)
}

fn parse_symbol(text: &str) -> anyhow::Result<Symbol> {
    Symbol::new(text).context("a symbol names an instrument of the catalog")
}

/// A table without frames between rows, as wide as it needs.
fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.iter().copied());
    table
}

/// Interval and price type of bars; dashes for anything else.
fn kind_cells(kind: SeriesKind) -> [String; 3] {
    match kind {
        SeriesKind::Bars { interval, price_type } => {
            ["bar".into(), interval.to_string(), price_type.name().into()]
        }
        SeriesKind::Trades => ["trade".into(), "-".into(), "-".into()],
        SeriesKind::Quotes => ["quote".into(), "-".into(), "-".into()],
        _ => ["action".into(), "-".into(), "-".into()],
    }
}

/// A series as JSON.
fn series_json(info: &SeriesInfo) -> serde_json::Value {
    let [kind, interval, price] = kind_cells(info.key.kind);
    let bars_only = |text: String| (text != "-").then_some(text);
    serde_json::json!({
        "symbol": info.key.symbol,
        "kind": kind,
        "interval": bars_only(interval),
        "price": bars_only(price),
        "rows": info.rows,
        "files": info.files,
        "bytes": info.bytes,
        "first": info.first.to_string(),
        "last": info.last.to_string(),
        "sources": info.sources,
    })
}

/// A time without the letters, to the second where that is exact.
fn time_text(time: Timestamp) -> String {
    time.to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that reads best.
fn size_text(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
