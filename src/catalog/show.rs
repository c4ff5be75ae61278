//! `tradeflow catalog show`: an instrument and the first and last rows of its series.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};
use tradeflow_model::market::{ActionKind, Columns};
use tradeflow_model::{Instrument, Price, Qty, Symbol, Timestamp};
use tradeflow_storage::catalog::{Catalog, SeriesInfo};

use super::{Choice, Place, chosen, grouped, parse_symbol, series_json, table, time_text};

/// Show an instrument's definition, and first and last rows of its series.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instrument.
    #[arg(value_name = "SYMBOL", value_parser = parse_symbol)]
    symbol: Symbol,
    #[command(flatten)]
    choice: Choice,
    /// Rows to show from the start, and from the end.
    #[arg(long, value_name = "N", default_value_t = 5)]
    head: usize,
    /// Show rows from this time on (UTC), instead of the first and last of all.
    #[arg(long)]
    from: Option<Timestamp>,
    /// Show rows before this time (UTC), instead of the first and last of all.
    #[arg(long)]
    to: Option<Timestamp>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let catalog = args.place.open()?;
    let Some(instrument) = catalog.instrument(&args.symbol)? else {
        bail!(
            "the catalog at {} has no {}; `tradeflow catalog ls` lists what it has",
            catalog.url(),
            args.symbol
        );
    };
    let series = chosen(&catalog, Some(&args.symbol), &args.choice)?;
    if args.place.json {
        let mut shown = Vec::new();
        for info in &series {
            let mut value = series_json(info);
            let (head, tail) = ends(args, &catalog, &instrument, info)?;
            value["head"] = rows_json(&instrument, &head);
            value["tail"] = rows_json(&instrument, &tail);
            shown.push(value);
        }
        let value = json!({ "instrument": instrument, "series": shown });
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(ExitCode::SUCCESS);
    }
    print_instrument(&instrument);
    for info in &series {
        println!("\n{}: {} rows in {} files", info.key, grouped(info.rows), info.files);
        let (head, tail) = ends(args, &catalog, &instrument, info)?;
        let mut table = table(header(&head));
        for row in cells(&instrument, &head) {
            table.add_row(row);
        }
        if !tail.is_empty() {
            table.add_row(["…"]);
            for row in cells(&instrument, &tail) {
                table.add_row(row);
            }
        }
        println!("{table}");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_instrument(i: &Instrument) {
    let class =
        serde_json::to_value(i.class).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    println!("{} ({class}), {} in {}, calendar {}", i.symbol, i.base, i.quote, i.calendar);
    println!(
        "tick {}, lot {}, multiplier {}; fees: taker {} bps, maker {} bps, {} a unit, at least {}",
        i.price_text(i.price_increment),
        i.qty_text(i.size_increment),
        i.multiplier,
        i.fees.taker_bps,
        i.fees.maker_bps,
        i.fees.per_unit,
        i.fees.minimum
    );
    if let Some(expiry) = i.expiry {
        println!("expires {}", time_text(expiry));
    }
}

/// First rows, and last rows that are not among the first.
fn ends(
    args: &Args,
    catalog: &Catalog,
    instrument: &Instrument,
    info: &SeriesInfo,
) -> anyhow::Result<(Columns, Columns)> {
    let key = &info.key;
    let (from, to) = (args.from.unwrap_or(Timestamp::MIN), args.to.unwrap_or(Timestamp::MAX));
    let files = catalog.files(key, from, to)?;
    let mut reader = catalog
        .reader(instrument, key.kind, files.iter().map(|info| info.file.clone()).collect(), args.head)
        .between(from, to);
    let none = || catalog.read(key, Timestamp::MAX, Timestamp::MIN);
    let head = if args.head == 0 { None } else { reader.next().transpose()? };
    let head = head.map_or_else(none, Ok)?;
    let is_ranged = args.from.is_some() || args.to.is_some();
    let Some(last) = files.last().filter(|_| !is_ranged) else { return Ok((head, none()?)) };
    let left = usize::try_from(info.rows).unwrap_or(usize::MAX).saturating_sub(head.len()).min(args.head);
    let whole = catalog.read(key, last.first, last.last.saturating_add(1))?;
    Ok((head, last_rows(&whole, left)))
}

fn last_rows(rows: &Columns, count: usize) -> Columns {
    let start = rows.len().saturating_sub(count);
    match rows {
        Columns::Bars(c) => {
            let mut last = tradeflow_model::BarColumns::default();
            let ids = (tradeflow_model::SeriesId(0), tradeflow_model::InstrumentId(0));
            (start..rows.len()).for_each(|row| last.push(&c.get(row, ids.0, ids.1)));
            Columns::Bars(last)
        }
        Columns::Trades(c) => {
            let mut last = tradeflow_model::market::TradeColumns::default();
            let ids = (tradeflow_model::SeriesId(0), tradeflow_model::InstrumentId(0));
            (start..rows.len()).for_each(|row| last.push(&c.get(row, ids.0, ids.1)));
            Columns::Trades(last)
        }
        Columns::Quotes(c) => {
            let mut last = tradeflow_model::market::QuoteColumns::default();
            let ids = (tradeflow_model::SeriesId(0), tradeflow_model::InstrumentId(0));
            (start..rows.len()).for_each(|row| last.push(&c.get(row, ids.0, ids.1)));
            Columns::Quotes(last)
        }
        Columns::Actions(rows) => Columns::Actions(rows[start..].to_vec()),
        Columns::Sessions(rows) => Columns::Sessions(rows[start..].to_vec()),
    }
}

fn header(rows: &Columns) -> &'static [&'static str] {
    match rows {
        Columns::Bars(_) => &["ts_open", "ts_event", "open", "high", "low", "close", "volume"],
        Columns::Trades(_) => &["ts_event", "price", "qty", "aggressor"],
        Columns::Quotes(_) => &["ts_event", "bid", "ask", "bid_size", "ask_size"],
        Columns::Actions(_) | Columns::Sessions(_) => &["ts_event", "action", "value"],
    }
}

fn cells(i: &Instrument, rows: &Columns) -> Vec<Vec<String>> {
    let time = |t: i64| time_text(Timestamp::from_nanos(t));
    let price = |p: i64| i.price_text(Price::from_raw(p));
    let qty = |q: i64| i.qty_text(Qty::from_raw(q));
    let row = |r: usize| match rows {
        Columns::Bars(c) => vec![
            time(c.ts_open[r]),
            time(c.ts_event[r]),
            price(c.open[r]),
            price(c.high[r]),
            price(c.low[r]),
            price(c.close[r]),
            qty(c.volume[r]),
        ],
        Columns::Trades(c) => {
            let aggressor = format!("{:?}", c.aggressor[r]).to_lowercase();
            vec![time(c.ts_event[r]), price(c.price[r]), qty(c.qty[r]), aggressor]
        }
        Columns::Quotes(c) => {
            vec![
                time(c.ts_event[r]),
                price(c.bid[r]),
                price(c.ask[r]),
                qty(c.bid_size[r]),
                qty(c.ask_size[r]),
            ]
        }
        Columns::Actions(c) => {
            let (word, value) = match c[r].kind {
                ActionKind::Split { new, old } => ("split", format!("{new} for {old}")),
                ActionKind::Dividend { amount } => ("dividend", amount.to_string()),
            };
            vec![time(c[r].ts_event.as_nanos()), word.into(), value]
        }
        Columns::Sessions(c) => vec![time(c[r].ts_event.as_nanos())],
    };
    (0..rows.len()).map(row).collect()
}

fn rows_json(i: &Instrument, rows: &Columns) -> Value {
    let names = header(rows);
    let object = |row: Vec<String>| -> Value {
        names.iter().map(|name| (*name).to_owned()).zip(row.into_iter().map(Value::from)).collect()
    };
    cells(i, rows).into_iter().map(object).collect()
}
