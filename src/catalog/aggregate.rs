//! `tradeflow catalog aggregate`: bars from trades, quotes and finer bars.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;
use tradeflow_model::market::{PriceType, SeriesKind};
use tradeflow_model::{Interval, Symbol, Timestamp};
use tradeflow_storage::aggregate::{self, Outside};
use tradeflow_storage::catalog::{ConflictPolicy, SeriesKey};

use super::{Place, grouped, kind_cells, parse_symbol, table};

/// Make bars from trades, quotes or finer bars of the catalog, by session of the instrument's calendar.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Bars below a day are counted from the open of their session; a daily bar is a session. Tick, volume and notional bars
begin anew with each session, and the event that fills a bar belongs to it whole.

Examples:
  tradeflow catalog aggregate --symbol EURUSD --from-kind quote --price bid,ask --into 1m
  tradeflow catalog aggregate --symbol SPY --from-kind trade --into 100000volume
  tradeflow catalog aggregate --symbol BTCUSD --from-interval 1m --into 1d")]
pub(super) struct Args {
    /// The instrument.
    #[arg(long, value_parser = parse_symbol)]
    symbol: Symbol,
    /// What to make bars from: bar, trade or quote.
    #[arg(long, value_parser = ["bar", "trade", "quote"], default_value = "bar")]
    from_kind: String,
    /// Interval of the bars to make bars from.
    #[arg(long, default_value = "1m")]
    from_interval: Interval,
    /// Bars to make, such as 5m, 1h, 1d, 1w, 100tick, 5000volume, 1000000notional.
    #[arg(long)]
    into: Interval,
    /// Prices to make bars of. Of quotes: bid, ask, mid (the default), several with commas. Of bars: the price of the
    /// finer bars (by default last).
    #[arg(long, value_delimiter = ',')]
    price: Vec<PriceType>,
    /// Take rows from this time on (UTC).
    #[arg(long)]
    from: Option<Timestamp>,
    /// Take rows before this time (UTC).
    #[arg(long)]
    to: Option<Timestamp>,
    /// Events outside the sessions of the calendar: drop them, or keep them in bars of their own.
    #[arg(long, default_value = "drop", value_name = "drop|keep")]
    outside: Outside,
    /// When the catalog has a different bar at the same time: reject, keep that one, or replace it.
    #[arg(long, default_value = "reject", value_name = "reject|keep|replace")]
    conflict: ConflictPolicy,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let catalog = args.place.open()?;
    let (from, to) = (args.from.unwrap_or(Timestamp::MIN), args.to.unwrap_or(Timestamp::MAX));
    let mut reports = Vec::new();
    for (kind, price) in sources(args)? {
        let key = SeriesKey::new(args.symbol.clone(), kind);
        reports.push(aggregate::run(
            &catalog,
            &key,
            from,
            to,
            args.into,
            price,
            args.outside,
            args.conflict,
        )?);
    }
    if args.place.json {
        let series: Vec<_> = reports
            .iter()
            .map(|report| {
                let [kind, interval, price] = kind_cells(report.key.kind);
                json!({
                    "symbol": report.key.symbol,
                    "kind": kind,
                    "interval": interval,
                    "price": price,
                    "events": report.events,
                    "outside_sessions": report.outside,
                    "bars": report.bars,
                    "added": report.merge.added,
                    "unchanged": report.merge.unchanged,
                    "replaced": report.merge.replaced,
                    "conflicts": report.merge.conflicts,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "series": series }))?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(&["made", "events", "outside", "bars", "added", "unchanged", "replaced", "kept"]);
    for report in &reports {
        table.add_row([
            report.key.to_string(),
            grouped(report.events),
            grouped(report.outside),
            grouped(report.bars),
            grouped(report.merge.added),
            grouped(report.merge.unchanged),
            grouped(report.merge.replaced),
            grouped(report.merge.conflicts),
        ]);
    }
    println!("{table}");
    if args.outside == Outside::Drop && reports.iter().any(|report| report.outside > 0) {
        println!(
            "Events outside the sessions of the calendar were left out; --outside keep makes bars of them too."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The series to read, each with the price to make bars of.
fn sources(args: &Args) -> anyhow::Result<Vec<(SeriesKind, PriceType)>> {
    let or = |default| if args.price.is_empty() { vec![default] } else { args.price.clone() };
    Ok(match args.from_kind.as_str() {
        "trade" if args.price.iter().any(|price| *price != PriceType::Last) => {
            bail!("trades make bars of last prices only; leave --price out")
        }
        "trade" => vec![(SeriesKind::Trades, PriceType::Last)],
        "quote" => or(PriceType::Mid).into_iter().map(|price| (SeriesKind::Quotes, price)).collect(),
        _ => or(PriceType::Last)
            .into_iter()
            .map(|price| (SeriesKind::Bars { interval: args.from_interval, price_type: price }, price))
            .collect(),
    })
}
