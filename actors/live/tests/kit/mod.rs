//! What the tests of this crate share: a session over generated bars and trades, and a bus in memory.
#![allow(dead_code)] // each test file uses a part of it

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::json;
use tradeflow_bus::record::{BarsRecord, TradesRecord};
use tradeflow_bus::{Bus, Clock, Durability, MemoryBus, NewRecord, Retention, Topics, partition_of};
use tradeflow_live::commands::WireStrategy;
use tradeflow_live::host::Sources;
use tradeflow_live::node::{Node, NodeConfig, Opened, open_session};
use tradeflow_live::{AccountPlan, NoHistory, SessionPlan};
use tradeflow_model::market::{Aggressor, BarColumns, PriceType, SeriesKind, TradeColumns};
use tradeflow_model::plan::{CellPlan, RiskLimits, RunPlan, SeriesPlan, VenueSpec};
use tradeflow_model::signal::Size;
use tradeflow_model::time::{NANOS_PER_MIN, NANOS_PER_SEC};
use tradeflow_model::{
    AccountId, AccountKind, AccountSpec, AssetClass, Bar, Currency, Instrument, InstrumentId, Interval,
    Price, Qty, SeriesId, Symbol, Timestamp, Trade,
};

/// Partitions of every topic in these tests.
pub const PARTITIONS: u32 = 3;

/// When the sessions of these tests begin.
pub fn start() -> Timestamp {
    "2024-03-01T00:00:00Z".parse().unwrap()
}

/// A clock that is set by hand.
#[derive(Debug, Default)]
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn set(&self, now: Timestamp) {
        self.0.fetch_max(now.as_nanos(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

pub fn bars_kind() -> SeriesKind {
    SeriesKind::Bars { interval: Interval::MINUTE, price_type: PriceType::Last }
}

pub fn instrument(symbol: &str) -> Instrument {
    let usd = Currency::new("USD").unwrap();
    let base = Currency::new("BTC").unwrap();
    Instrument::new(Symbol::new(symbol).unwrap(), AssetClass::CryptoSpot, base, usd, 2, 6).unwrap()
}

/// A plan: each account follows the instrument of its number (modulo), with an `sma_cross` on its one-minute bars.
pub fn plan(symbols: &[&str], accounts: usize) -> SessionPlan {
    let instruments: Vec<Instrument> = symbols.iter().map(|symbol| instrument(symbol)).collect();
    let kinds = [SeriesKind::SessionOpens, SeriesKind::Trades, bars_kind(), SeriesKind::SessionCloses];
    let mut series = Vec::new();
    for kind in kinds {
        for index in 0..instruments.len() {
            let instrument = InstrumentId(index as u32);
            series.push(SeriesPlan { instrument, kind, start: start(), files: Vec::new() });
        }
    }
    let cells = (0..accounts).map(|index| CellPlan {
        account: AccountSpec {
            id: AccountId::new(format!("paper-{index}")).unwrap(),
            kind: AccountKind::Cash,
            currency: Currency::new("USD").unwrap(),
            balance: 1_000_000.into(),
        },
        strategies: Vec::new(),
        risk: RiskLimits::default(),
        venue: VenueSpec::default(),
        equity_interval_ns: NANOS_PER_MIN,
        containment: Some(Default::default()),
    });
    let run = RunPlan {
        cells: cells.collect(),
        instruments,
        series,
        from: start(),
        to: Timestamp::MAX,
        batch_rows: 4096,
        window_batches: 4,
        seed: 1,
    };
    let follows = |index: usize| InstrumentId((index % symbols.len()) as u32);
    let empty =
        (0..accounts).map(|i| AccountPlan { instruments: vec![follows(i)], ..AccountPlan::default() });
    let mut plan = SessionPlan::new(run, empty.collect(), Durability::Process, start());
    for index in 0..accounts {
        let strategy = sma(&plan, follows(index), 3, 8);
        plan.accounts[index].strategies.push(strategy);
    }
    plan
}

/// An `sma_cross` on the bars of an instrument.
pub fn sma(
    plan: &SessionPlan,
    instrument: InstrumentId,
    fast: u32,
    slow: u32,
) -> tradeflow_model::plan::StrategyPlan {
    wire_sma(plan.symbol(instrument).as_str(), fast, slow).plan(plan, &[instrument]).unwrap()
}

pub fn wire_sma(symbol: &str, fast: u32, slow: u32) -> WireStrategy {
    let params = json!({"fast": fast, "slow": slow});
    WireStrategy {
        id: "sma".into(),
        kind: "sma_cross".into(),
        params: params.as_object().unwrap().clone(),
        symbols: vec![symbol.into()],
        data: "1m".into(),
        size: Size::PercentOfEquity(50.into()),
    }
}

/// A bus with the topics of these tests.
pub fn bus() -> MemoryBus {
    let bus = MemoryBus::new();
    bus.create(&Topics::new("").specs(PARTITIONS, Retention::default())).unwrap();
    bus
}

pub fn sources(bus: &MemoryBus) -> Sources {
    Sources {
        bus: Arc::new(bus.clone()),
        topics: Topics::new(""),
        partitions: PARTITIONS,
        history: Arc::new(NoHistory),
        archive: None,
    }
}

/// A market that walks at random: a minute of it is ten trades and their bar.
pub struct Walk {
    random: ChaCha8Rng,
    symbol: Symbol,
    price: i64,
    minute: i64,
}

impl Walk {
    pub const TRADES: usize = 10;

    pub fn new(symbol: &str, seed: u64) -> Self {
        let symbol = Symbol::new(symbol).unwrap();
        Self { random: ChaCha8Rng::seed_from_u64(seed), symbol, price: 5_000_000, minute: 0 }
    }

    /// The records of the next minute: trades, one a record, then the bar at its end.
    pub fn minute(&mut self) -> (Vec<NewRecord>, Timestamp) {
        let topics = Topics::new("");
        let open_at = start().saturating_add(self.minute * NANOS_PER_MIN);
        self.minute += 1;
        let close_at = open_at.saturating_add(NANOS_PER_MIN);
        let mut records = Vec::new();
        let mut prices = Vec::new();
        for number in 0..Self::TRADES {
            let step = i64::from(self.random.next_u32() % 4001) - 2000;
            self.price = (self.price + step).max(10_000);
            prices.push(self.price);
            let at = open_at.saturating_add((number as i64 + 1) * 5 * NANOS_PER_SEC);
            let trade = Trade {
                series: SeriesId(0),
                instrument: InstrumentId(0),
                ts_event: at,
                ts_init: at,
                price: Price::from_raw(self.price),
                qty: Qty::from_raw(i64::from(self.random.next_u32() % 1_000_000) + 1_000_000),
                aggressor: Aggressor::Buyer,
            };
            let mut rows = TradeColumns::default();
            rows.push(&trade);
            let value = TradesRecord::new(self.symbol.clone(), "test", (2, 6), rows).encode();
            records.push(self.record(&topics.trades, value, at));
        }
        let bar = Bar {
            series: SeriesId(0),
            instrument: InstrumentId(0),
            ts_open: open_at,
            ts_event: close_at,
            ts_init: close_at,
            open: Price::from_raw(prices[0]),
            high: Price::from_raw(*prices.iter().max().unwrap()),
            low: Price::from_raw(*prices.iter().min().unwrap()),
            close: Price::from_raw(self.price),
            volume: Qty::from_raw(15_000_000),
        };
        let mut rows = BarColumns::default();
        rows.push(&bar);
        let of = (Interval::MINUTE, PriceType::Last);
        let value = BarsRecord::new(self.symbol.clone(), "test", (2, 6), of, rows, None).encode();
        records.push(self.record(&topics.bars, value, close_at));
        (records, close_at)
    }

    fn record(&self, topic: &tradeflow_bus::Topic, value: Vec<u8>, ts: Timestamp) -> NewRecord {
        let key = bytes::Bytes::copy_from_slice(self.symbol.as_str().as_bytes());
        let partition = partition_of(&key, PARTITIONS);
        NewRecord { topic: topic.clone(), partition, key, value: Some(value.into()), ts }
    }
}

/// Waits until something is so; the limit is for a test that fails.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::yield_now();
    }
}

/// A node on a bus.
pub fn node(bus: &MemoryBus, plan: &SessionPlan, clock: &Arc<HandClock>, config: NodeConfig) -> Node {
    let opened = open(bus, plan, clock);
    let clock: Arc<dyn Clock> = clock.clone();
    Node::start(sources(bus), clock, opened, config).unwrap()
}

pub fn open(bus: &MemoryBus, plan: &SessionPlan, clock: &Arc<HandClock>) -> Opened {
    clock.set(start());
    open_session(&sources(bus), plan, clock.now()).unwrap()
}

pub fn events(node: &Node) -> u64 {
    node.cells().iter().map(|cell| cell.events()).sum()
}
