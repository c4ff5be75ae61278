//! What the tests of the ingest core share: a bus whose answers are switched, and instruments.

#![allow(dead_code, missing_docs)] // each test uses a part of it

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_channel::oneshot::Sender;
use rust_decimal::Decimal;
use tokio::sync::watch;
use tradeflow_bus::record::{QuotesRecord, TradesRecord};
use tradeflow_bus::{
    Bus, BusError, Durability, Exclusive, Membership, NewRecord, Position, Reader, Receipt, Stored, Topic,
    TopicSpec, Topics, Written,
};
use tradeflow_ingest::normalise::{Counters, Limits, Normaliser, Setup};
use tradeflow_ingest::publish::{Pressure, Publisher};
use tradeflow_ingest::quotes::QuoteBoard;
use tradeflow_ingest::{Clock, FeedStatus, Secret, Sink, Update, Watch, Watchlist};
use tradeflow_model::market::Aggressor;
use tradeflow_model::{AssetClass, Currency, Instrument, Symbol, Timestamp};

pub const PARTITIONS: u32 = 4;

/// What the bus does with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Takes it.
    #[default]
    Take,
    /// Takes it and keeps nothing.
    Forget,
    /// Refuses it.
    Refuse,
    /// Does not answer until [`SwitchedBus::answer`].
    Hold,
}

type Held = (Sender<Result<Written, BusError>>, Vec<NewRecord>);

#[derive(Default)]
struct State {
    mode: Mode,
    records: Vec<NewRecord>,
    held: Vec<Held>,
    publishes: usize,
}

/// A bus for writing only, whose answers are switched; [`tradeflow_bus::MemoryBus`] always answers at once.
#[derive(Default)]
pub struct SwitchedBus(Mutex<State>);

fn unavailable() -> BusError {
    BusError::Unavailable { brokers: "test".into(), reason: "switched off".into() }
}

fn not_here<T>() -> Result<T, BusError> {
    Err(BusError::other("test", "this bus is for writing only"))
}

fn written(records: &[NewRecord]) -> Written {
    Written { places: records.iter().map(|record| (record.partition, 0)).collect() }
}

impl SwitchedBus {
    pub fn set(&self, mode: Mode) {
        self.0.lock().unwrap().mode = mode;
    }

    pub fn publishes(&self) -> usize {
        self.0.lock().unwrap().publishes
    }

    pub fn records(&self) -> Vec<NewRecord> {
        self.0.lock().unwrap().records.clone()
    }

    /// Answers the oldest write that is held.
    pub fn answer(&self, take: bool) -> bool {
        let mut state = self.0.lock().unwrap();
        if state.held.is_empty() {
            return false;
        }
        let (sender, records) = state.held.remove(0);
        if take {
            sender.send(Ok(written(&records))).ok();
            state.records.extend(records);
        } else {
            sender.send(Err(unavailable())).ok();
        }
        true
    }

    pub fn trades(&self) -> Vec<TradesRecord> {
        let topic = Topics::new("test.").trades;
        let records = self.records();
        let of_topic = records.iter().filter(|record| record.topic == topic);
        of_topic.map(|record| TradesRecord::decode(record.value.as_ref().unwrap()).unwrap()).collect()
    }

    pub fn quotes(&self) -> Vec<QuotesRecord> {
        let topic = Topics::new("test.").quotes;
        let records = self.records();
        let of_topic = records.iter().filter(|record| record.topic == topic);
        of_topic.map(|record| QuotesRecord::decode(record.value.as_ref().unwrap()).unwrap()).collect()
    }

    /// Times of receipt of the rows on the bus, in the order of the bus, by topic and symbol.
    pub fn rows(&self) -> BTreeMap<(&'static str, String), Vec<i64>> {
        let mut rows: BTreeMap<_, Vec<i64>> = BTreeMap::new();
        for record in self.trades() {
            rows.entry(("trades", record.symbol.to_string())).or_default().extend(record.ts_init);
        }
        for record in self.quotes() {
            rows.entry(("quotes", record.symbol.to_string())).or_default().extend(record.ts_init);
        }
        rows
    }
}

impl Bus for SwitchedBus {
    fn create(&self, _: &[TopicSpec]) -> Result<(), BusError> {
        Ok(())
    }

    fn partitions(&self, topic: &Topic) -> Result<u32, BusError> {
        if topic.as_str().starts_with("test.") {
            Ok(PARTITIONS)
        } else {
            Err(BusError::NoTopic(topic.clone()))
        }
    }

    fn bounds(&self, _: &Topic, _: u32) -> Result<std::ops::Range<u64>, BusError> {
        not_here()
    }

    fn publish(&self, records: Vec<NewRecord>, _: Durability) -> Receipt {
        let mut state = self.0.lock().unwrap();
        state.publishes += 1;
        match state.mode {
            Mode::Refuse => Receipt::ready(Err(unavailable())),
            Mode::Forget => Receipt::ready(Ok(Written::default())),
            // A bus writes in the order of the calls.
            Mode::Take if state.held.is_empty() => {
                let receipt = Receipt::ready(Ok(written(&records)));
                state.records.extend(records);
                receipt
            }
            Mode::Take | Mode::Hold => {
                let (sender, receipt) = Receipt::later();
                state.held.push((sender, records));
                receipt
            }
        }
    }

    fn reader(&self, _: &[Position]) -> Result<Box<dyn Reader>, BusError> {
        not_here()
    }

    fn latest(&self, _: &Topic, _: u32, _: &[u8]) -> Result<Option<Stored>, BusError> {
        not_here()
    }

    fn table(&self, _: &Topic, _: u32) -> Result<Vec<Stored>, BusError> {
        not_here()
    }

    fn committed(&self, _: &str, _: &Topic, _: u32) -> Result<Option<u64>, BusError> {
        not_here()
    }

    fn commit(&self, _: &str, _: &[Position]) -> Result<(), BusError> {
        not_here()
    }

    fn join(&self, _: &str, _: &Topic) -> Result<Box<dyn Membership>, BusError> {
        not_here()
    }

    fn claim(&self, _: &Topic, _: u32, _: Durability) -> Result<Box<dyn Exclusive>, BusError> {
        not_here()
    }
}

/// A clock that stands where it is put.
pub struct StillClock(pub std::sync::atomic::AtomicI64);

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

pub fn symbol(name: &str) -> Symbol {
    Symbol::new(name).unwrap()
}

pub fn coin(name: &str, price_scale: u8, size_scale: u8) -> Instrument {
    let currency = |name| Currency::new(name).unwrap();
    Instrument::new(
        symbol(name),
        AssetClass::CryptoSpot,
        currency("BTC"),
        currency("USD"),
        price_scale,
        size_scale,
    )
    .unwrap()
}

pub fn watch_of(instrument: Instrument) -> Watch {
    let vendor_symbol = instrument.symbol.to_string();
    Watch { instrument, vendor_symbol, trades: true, quotes: true }
}

pub fn watchlist(instruments: impl IntoIterator<Item = Instrument>) -> Watchlist {
    Watchlist { watches: instruments.into_iter().map(watch_of).collect() }
}

/// A normaliser with all that is around it.
pub struct Bench {
    pub bus: Arc<SwitchedBus>,
    pub pressure: Pressure,
    pub status: Arc<FeedStatus>,
    pub counters: Arc<Counters>,
    pub publisher: Arc<Publisher>,
    pub watchlist: watch::Sender<Watchlist>,
    pub clock: Arc<StillClock>,
    pub normaliser: Normaliser,
}

/// A source that publishes, over these instruments.
pub fn bench(instruments: impl IntoIterator<Item = Instrument>, board: Option<&Arc<QuoteBoard>>) -> Bench {
    let bus = Arc::new(SwitchedBus::default());
    let pressure = Pressure::default();
    let status = Arc::<FeedStatus>::default();
    let counters = Counters::new("test", status.clone());
    let publisher = Publisher::new(bus.clone(), &Topics::new("test."), &pressure, counters.clone()).unwrap();
    let (sender, receiver) = watch::channel(watchlist(instruments));
    let clock = Arc::new(StillClock(0.into()));
    let normaliser = Normaliser::new(Setup {
        watchlist: receiver,
        counters: counters.clone(),
        publisher: Some(publisher.clone()),
        board: board.map(|board| board.source("test").unwrap()),
        clock: clock.clone(),
        secrets: vec![Secret::new("hush-hush")],
        limits: Limits::default(),
    });
    Bench { bus, pressure, status, counters, publisher, watchlist: sender, clock, normaliser }
}

impl Bench {
    pub fn flush(&mut self) {
        // What it does is done when it returns; the pause that follows under pressure is of no interest here.
        drop(self.normaliser.flush());
    }

    /// Trades are `(ts_event, ts_init, price, qty, id)`, times in milliseconds after [`START`].
    pub fn trade(&mut self, name: &str, at: (i64, i64), price: &str, qty: &str, id: Option<u64>) {
        self.normaliser.update(ms(at.1), trade(name, at.0, price, qty, id));
    }

    pub fn quote(&mut self, name: &str, at: (i64, i64), bid: &str, ask: &str) {
        self.normaliser.update(ms(at.1), quote(name, at.0, bid, ask));
    }

    /// Looks after the outbox until there is nothing in it.
    pub fn drain(&self) {
        until("the outbox is empty", || {
            self.publisher.tend();
            self.counters.counts().pending == 0
        });
    }
}

/// 2024-08-08T00:00:00Z.
pub const START: i64 = 1_723_075_200_000;

pub fn ms(after_start: i64) -> Timestamp {
    Timestamp::from_millis(START + after_start).unwrap()
}

pub fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub fn trade(name: &str, ts_event: i64, price: &str, qty: &str, id: Option<u64>) -> Update {
    Update::Trade {
        symbol: symbol(name),
        ts_event: ms(ts_event),
        price: decimal(price),
        qty: decimal(qty),
        aggressor: Aggressor::Buyer,
        id,
    }
}

pub fn quote(name: &str, ts_event: i64, bid: &str, ask: &str) -> Update {
    Update::Quote {
        symbol: symbol(name),
        ts_event: Some(ms(ts_event)),
        bid: decimal(bid),
        ask: decimal(ask),
        bid_size: Decimal::ONE,
        ask_size: Decimal::TWO,
    }
}

/// Polls until it is so.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
