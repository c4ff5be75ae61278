//! A small market with splits and dividends, at rest at one instant.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tradeflow_ingest::Clock;
use tradeflow_ingest::history::{Fill, FillError, FillReport, History, Retry, Wanted};
use tradeflow_ingest::vendor::{Market, Tick, TickKind};
use tradeflow_model::market::{ActionKind, Aggressor, Columns, PriceType, SeriesKind};
use tradeflow_model::{
    AssetClass, Bar, CorporateAction, Currency, Instrument, InstrumentId, Interval, Money, Price, Qty,
    SeriesId, Symbol, Timestamp,
};
use tradeflow_storage::catalog::{Catalog, ConflictPolicy, SeriesKey};

/// A Monday, in mid-session.
pub const NOW: &str = "2024-07-01T18:00:00Z";
const FIRST: &str = "2023-01-03T00:00:00Z";

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub const QUICK: Retry = Retry {
    attempts: 4,
    first: Duration::from_millis(5),
    longest: Duration::from_millis(20),
    wait_max: Duration::from_secs(5),
};

/// A clock that stands.
pub struct Standing(pub Timestamp);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        self.0
    }
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(Standing(at(NOW)))
}

pub struct Fixed {
    instruments: Vec<Instrument>,
    ticks: broadcast::Sender<Arc<[Tick]>>,
}

impl Fixed {
    pub fn start() -> Arc<dyn Market> {
        let usd = || Currency::new("USD").unwrap();
        let new = |symbol: &str, class, base: &str, price, size| {
            let base = Currency::new(base).unwrap();
            Instrument::new(Symbol::new(symbol).unwrap(), class, base, usd(), price, size).unwrap()
        };
        let instruments = vec![
            new("ACME", AssetClass::Equity, "ACME", 2, 0),
            new("BRK-B", AssetClass::Equity, "BRK", 2, 0),
            new("BTCUSDT", AssetClass::CryptoSpot, "BTC", 2, 5),
        ];
        Arc::new(Self { instruments, ticks: broadcast::Sender::new(1) })
    }
}

/// Two splits and three dividends, two of them before a split and one on its day.
pub fn actions() -> Vec<CorporateAction> {
    let dividend =
        |cents| ActionKind::Dividend { amount: Money::from_decimal(Decimal::new(cents, 2)).unwrap() };
    [
        ("2023-05-09T13:30:00Z", dividend(56)),
        ("2023-08-15T13:30:00Z", ActionKind::Split { new: 4, old: 1 }),
        ("2024-02-08T14:30:00Z", dividend(25)),
        ("2024-06-10T13:30:00Z", dividend(13)),
        ("2024-06-10T13:30:00Z", ActionKind::Split { new: 10, old: 1 }),
    ]
    .into_iter()
    .map(|(time, kind)| CorporateAction {
        series: SeriesId(0),
        instrument: InstrumentId(0),
        ts_event: at(time),
        ts_init: at(time),
        kind,
    })
    .collect()
}

fn mix(seed: i64) -> i64 {
    let mut x = (seed as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 2) as i64
}

impl Market for Fixed {
    fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    fn now(&self) -> Timestamp {
        at(NOW)
    }

    fn bars(
        &self,
        symbol: &Symbol,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Bar>, String> {
        let instrument = self.instruments.iter().find(|i| i.symbol == *symbol).ok_or("no such symbol")?;
        let slots = instrument
            .calendar
            .expected_bars(interval, from.max(at(FIRST)), to.min(at(NOW)))
            .ok_or("in time")?;
        let is_minutes = interval.nanos().is_some_and(|nanos| nanos < 3_600_000_000_000);
        Ok(slots
            .take_while(|slot| slot.close <= at(NOW))
            .filter(|slot| !is_minutes || mix(slot.open.as_nanos()) % 7 != 0) // quiet minutes have no bar
            .map(|slot| {
                let draw = |salt: i64| mix(slot.open.as_nanos() / 1_000_000_000 + salt * 7919);
                // Cents around 400 dollars, then a quarter and a fortieth of it.
                let base = match slot.open {
                    t if t < at("2023-08-15T13:30:00Z") => 40_000,
                    t if t < at("2024-06-10T13:30:00Z") => 10_000,
                    _ => 1_000,
                };
                let low = base - draw(1) % (base / 20);
                let high = base + draw(2) % (base / 20);
                let between = |salt: i64| low + draw(salt) % (high - low + 1);
                Bar {
                    series: SeriesId(0),
                    instrument: InstrumentId(0),
                    ts_open: slot.open,
                    ts_event: slot.close,
                    ts_init: slot.close,
                    open: Price::from_raw(between(3)),
                    high: Price::from_raw(high),
                    low: Price::from_raw(low),
                    close: Price::from_raw(between(4)),
                    volume: Qty::from_raw(draw(5) % 1_000_000),
                }
            })
            .collect())
    }

    fn actions(
        &self,
        symbol: &Symbol,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<CorporateAction>, String> {
        let all = if symbol.as_str() == "ACME" { actions() } else { Vec::new() };
        Ok(all.into_iter().filter(|action| from <= action.ts_event && action.ts_event < to).collect())
    }

    fn last(&self, symbol: &Symbol) -> (Option<Tick>, Option<Tick>) {
        let kind = TickKind::Trade {
            price: Decimal::new(1234, 2),
            qty: Decimal::ONE,
            aggressor: Aggressor::Unknown,
        };
        (Some(Tick { symbol: symbol.clone(), ts_event: at("2024-07-01T17:59:47Z"), id: 9, kind }), None)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<[Tick]>> {
        self.ticks.subscribe()
    }
}

pub fn wanted(symbol: &str, interval: &str, from: &str, to: &str) -> Wanted {
    Wanted {
        symbol: Symbol::new(symbol).unwrap(),
        vendor_symbol: symbol.into(),
        interval: interval.parse().unwrap(),
        from: at(from),
        to: at(to),
    }
}

pub async fn fill(
    catalog: &Catalog,
    history: &dyn History,
    wanted: &Wanted,
) -> (FillReport, Result<(), FillError>) {
    let fill = Fill {
        history,
        catalog: catalog.clone(),
        clock: clock(),
        conflict: ConflictPolicy::Reject,
        stop: CancellationToken::new(),
    };
    fill.run(wanted, &()).await
}

pub struct Kept {
    pub folder: tempfile::TempDir,
    pub catalog: Catalog,
}

pub fn catalog() -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
    Kept { folder, catalog }
}

/// A bar in text: the same whatever the scales.
pub type Row = (Timestamp, Timestamp, [Decimal; 4], Decimal);

/// The market's own bars.
pub fn expected(market: &Arc<dyn Market>, symbol: &str, interval: &str, from: &str, to: &str) -> Vec<Row> {
    let symbol = Symbol::new(symbol).unwrap();
    let instrument = market.instruments().iter().find(|i| i.symbol == symbol).unwrap();
    let bars = market.bars(&symbol, interval.parse().unwrap(), at(from), at(to)).unwrap();
    bars.iter().map(|bar| row(instrument, bar)).collect()
}

fn row(instrument: &Instrument, bar: &Bar) -> Row {
    let price = |price: Price| price.to_decimal(instrument.price_scale).normalize();
    let volume = bar.volume.to_decimal(instrument.size_scale).normalize();
    let prices = [bar.open, bar.high, bar.low, bar.close].map(price);
    (bar.ts_open, bar.ts_event, prices, volume)
}

/// The catalog's bars.
pub async fn stored(kept: &Kept, symbol: &str, interval: &str) -> Vec<Row> {
    let (catalog, symbol) = (kept.catalog.clone(), Symbol::new(symbol).unwrap());
    let key = SeriesKey::bars(symbol.clone(), interval.parse().unwrap(), PriceType::Last);
    let read = move || {
        let instrument = catalog.instrument(&symbol).unwrap().expect("the instrument is defined");
        let Columns::Bars(bars) = catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap() else {
            panic!()
        };
        bars.rows(0..bars.ts_open.len(), SeriesId(0), InstrumentId(0))
            .map(|bar| row(&instrument, &bar))
            .collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

/// The catalog's splits and dividends.
pub async fn stored_actions(kept: &Kept, symbol: &str) -> Vec<(Timestamp, ActionKind)> {
    let catalog = kept.catalog.clone();
    let key = SeriesKey::new(Symbol::new(symbol).unwrap(), SeriesKind::Actions);
    let read = move || {
        let Columns::Actions(rows) = catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap() else {
            panic!()
        };
        rows.iter().map(|row| (row.ts_event, row.kind)).collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

pub fn plain(actions: &[CorporateAction]) -> Vec<(Timestamp, ActionKind)> {
    actions.iter().map(|action| (action.ts_event, action.kind)).collect()
}

/// Every file below a folder, by its path.
pub fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
