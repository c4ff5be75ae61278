//! Oracle: quote ticks of a broker, aggregated to minutes, equal the broker's own minute bars in all eight columns.
//!
//! The data belongs to its vendor and is not part of the project; without it the test is skipped.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::PriceType;
use tradeflow_model::*;
use tradeflow_storage::aggregate::{Aggregator, Outside, Source};

fn data() -> Option<PathBuf> {
    let data = PathBuf::from(std::env::var_os("TRADEFLOW_DATA").unwrap_or("../../shared/data".into()));
    if data.join("ticks/eurusd_fxcm").is_dir() {
        return Some(data);
    }
    println!("skipped: no market data at {}; set TRADEFLOW_DATA to its folder", data.display());
    None
}

/// The numbers of the one file in a zip, in 10⁻⁵, the first column (milliseconds since midnight) as it is.
fn rows(path: &Path) -> Vec<Vec<i64>> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut text = String::new();
    zip.by_index(0).unwrap().read_to_string(&mut text).unwrap();
    let number =
        |(index, text): (usize, &str)| fixed::parse(text.as_bytes(), if index == 0 { 0 } else { 5 }).unwrap();
    text.lines().map(|line| line.split(',').enumerate().map(number).collect()).collect()
}

fn minutes(
    day: Timestamp,
    ticks: &[Vec<i64>],
    price_type: PriceType,
    calendar: Calendar,
) -> BTreeMap<i64, [i64; 4]> {
    let currency = |code| Currency::new(code).unwrap();
    let symbol = Symbol::new("EURUSD").unwrap();
    let mut instrument =
        Instrument::new(symbol, AssetClass::FxPair, currency("EUR"), currency("USD"), 5, 0).unwrap();
    instrument.calendar = calendar;
    let ids = (SeriesId(0), InstrumentId(0));
    let source = Source::Quotes(price_type);
    let mut aggregator = Aggregator::new(&instrument, ids, source, Interval::MINUTE, Outside::Keep).unwrap();
    let mut bars = Vec::new();
    for tick in ticks {
        let time = day.checked_add(tick[0] * 1_000_000).unwrap();
        let quote = Quote {
            series: ids.0,
            instrument: ids.1,
            ts_event: time,
            ts_init: time,
            bid: Price::from_raw(tick[1]),
            ask: Price::from_raw(tick[2]),
            bid_size: Qty::ZERO,
            ask_size: Qty::ZERO,
        };
        aggregator.push_quote(&quote, &mut bars).unwrap();
    }
    aggregator.flush(&mut bars);
    assert_eq!(aggregator.dropped(), 0);
    bars.iter()
        .map(|bar| {
            assert_eq!(bar.ts_event.as_nanos() - bar.ts_open.as_nanos(), 60_000_000_000);
            let since_midnight = (bar.ts_open.as_nanos() - day.as_nanos()) / 1_000_000;
            (since_midnight, [bar.open, bar.high, bar.low, bar.close].map(Price::raw))
        })
        .collect()
}

#[test]
fn fxcm_ticks_make_the_vendors_minutes() {
    let Some(data) = data() else { return };
    let mut days: Vec<_> = std::fs::read_dir(data.join("ticks/eurusd_fxcm"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".zip"))
        .collect();
    days.sort();
    assert_eq!(days.len(), 13);
    let (mut ticks_seen, mut bars_seen) = (0, 0);
    for name in days {
        let field = |range: std::ops::Range<usize>| name[range].parse::<i16>().unwrap();
        // Midnight of a day at UTC-5, winter and summer.
        let day = Timestamp::from_ymd(field(0..4), field(4..6) as i8, field(6..8) as i8).unwrap();
        let day = day.checked_add(5 * time::NANOS_PER_HOUR).unwrap();
        let ticks = rows(&data.join("ticks/eurusd_fxcm").join(&name));
        let vendor = rows(&data.join("bars/eurusd_fxcm_1m").join(&name));
        // The FX week's sessions and an unbroken clock must both give them: minutes do not cross a session's edge.
        for calendar in [Calendar::FxWeek, Calendar::AlwaysOpen] {
            let bid = minutes(day, &ticks, PriceType::Bid, calendar);
            let ask = minutes(day, &ticks, PriceType::Ask, calendar);
            assert_eq!(bid.len(), vendor.len(), "{name}: number of minutes");
            for row in &vendor {
                assert_eq!(bid[&row[0]], row[1..5], "{name} bid at {} ms", row[0]);
                assert_eq!(ask[&row[0]], row[6..10], "{name} ask at {} ms", row[0]);
            }
        }
        ticks_seen += ticks.len();
        bars_seen += vendor.len();
    }
    println!("{bars_seen} minutes of {ticks_seen} ticks on 13 days: all equal");
    assert_eq!(ticks_seen, 1_144_807);
}
