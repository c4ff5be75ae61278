//! What the tests of bars and recorder share: a bus that dies at a chosen operation, clocks, dice.
#![allow(dead_code)] // each test binary uses a part

pub mod rig;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tradeflow_bus::*;
use tradeflow_ingest::Clock;
use tradeflow_model::*;

/// A bus in memory with these topics.
pub fn memory_bus(topics: &Topics, partitions: u32) -> MemoryBus {
    let bus = MemoryBus::new();
    bus.create(&topics.specs(partitions, Retention::default())).unwrap();
    bus
}

/// All records of a partition that are kept.
pub fn all(bus: &impl Bus, topic: &Topic, partition: u32) -> Vec<Stored> {
    let offset = bus.bounds(topic, partition).unwrap().start;
    let mut reader = bus.reader(&[Position { topic: topic.clone(), partition, offset }]).unwrap();
    reader.poll(usize::MAX, Duration::ZERO).unwrap()
}

/// A bus as a process sees it that dies: after so many operations nothing more reaches the bus. The last one may have
/// been done without its answer.
#[derive(Clone)]
pub struct Mortal {
    bus: Arc<dyn Bus>,
    left: Arc<AtomicI64>,
    read: Arc<Mutex<BTreeMap<(Topic, u32), u64>>>,
}

impl Mortal {
    pub fn new(bus: Arc<dyn Bus>, operations: i64) -> Self {
        Self { bus, left: Arc::new(AtomicI64::new(operations)), read: Arc::default() }
    }

    /// Whether all that lies in a topic has been read.
    pub fn has_read(&self, topic: &Topic) -> bool {
        let read = self.read.lock().unwrap();
        (0..self.bus.partitions(topic).unwrap()).all(|partition| {
            let end = self.bus.bounds(topic, partition).unwrap().end;
            read.get(&(topic.clone(), partition)).copied().unwrap_or_default() >= end
        })
    }

    pub fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }

    /// What an operation gives: nothing after death; of the last one, the effect without the answer.
    fn live<T>(&self, operation: impl FnOnce() -> Result<T, BusError>) -> Result<T, BusError> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let dead = || BusError::other("bus", "this process is dead");
        if left <= 0 {
            return Err(dead());
        }
        let result = operation();
        if left == 1 { Err(dead()) } else { result }
    }
}

impl Bus for Mortal {
    fn create(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.bus.create(topics)
    }
    fn partitions(&self, topic: &Topic) -> Result<u32, BusError> {
        self.bus.partitions(topic)
    }
    fn bounds(&self, topic: &Topic, partition: u32) -> Result<std::ops::Range<u64>, BusError> {
        self.bus.bounds(topic, partition)
    }
    fn publish(&self, records: Vec<NewRecord>, durability: Durability) -> Receipt {
        Receipt::ready(self.live(|| self.bus.publish(records, durability).wait()))
    }
    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, BusError> {
        Ok(Box::new(MortalReader(self.bus.reader(from)?, self.clone())))
    }
    fn latest(&self, topic: &Topic, partition: u32, key: &[u8]) -> Result<Option<Stored>, BusError> {
        self.bus.latest(topic, partition, key)
    }
    fn table(&self, topic: &Topic, partition: u32) -> Result<Vec<Stored>, BusError> {
        self.bus.table(topic, partition)
    }
    fn committed(&self, group: &str, topic: &Topic, partition: u32) -> Result<Option<u64>, BusError> {
        self.bus.committed(group, topic, partition)
    }
    fn commit(&self, group: &str, positions: &[Position]) -> Result<(), BusError> {
        self.live(|| self.bus.commit(group, positions))
    }
    fn join(&self, group: &str, topic: &Topic) -> Result<Box<dyn Membership>, BusError> {
        self.live(|| self.bus.join(group, topic))
    }
    fn claim(
        &self,
        topic: &Topic,
        partition: u32,
        durability: Durability,
    ) -> Result<Box<dyn Exclusive>, BusError> {
        let claimed = self.live(|| self.bus.claim(topic, partition, durability))?;
        Ok(Box::new(MortalClaim(claimed, self.clone())))
    }
}

struct MortalReader(Box<dyn Reader>, Mortal);

impl Reader for MortalReader {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Stored>, BusError> {
        // An empty poll is no progress: the number of them depends on the machine.
        let records = self.0.poll(max, timeout)?;
        let mut read = self.1.read.lock().unwrap();
        for record in &records {
            read.insert((record.topic.clone(), record.partition), record.offset + 1);
        }
        if records.is_empty() && !self.1.is_dead() { Ok(records) } else { self.1.live(|| Ok(records)) }
    }
    fn set(&mut self, position: &Position) -> Result<(), BusError> {
        self.1.read.lock().unwrap().insert((position.topic.clone(), position.partition), position.offset);
        self.0.set(position)
    }
    fn remove(&mut self, topic: &Topic, partition: u32) {
        self.0.remove(topic, partition);
    }
}

struct MortalClaim(Box<dyn Exclusive>, Mortal);

impl Exclusive for MortalClaim {
    fn append(&mut self, records: Vec<NewRecord>) -> Receipt {
        let Self(claim, mortal) = self;
        Receipt::ready(mortal.live(|| claim.append(records).wait()))
    }
}

/// A clock that is set.
#[derive(Debug, Default)]
pub struct SetClock(AtomicI64);

impl SetClock {
    pub fn at(time: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(time.as_nanos())))
    }
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.as_nanos(), Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// Waits for a condition, at most three minutes.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !condition() {
        assert!(Instant::now() < deadline, "waited three minutes for: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// A small generator whose whole state is its seed.
pub struct Dice(AtomicU64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed ^ 0x9e37_79b9_7f4a_7c15))
    }
    /// A number below `sides`.
    pub fn roll(&self, sides: u64) -> u64 {
        // SplitMix64.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

pub fn crypto(symbol: &str) -> Instrument {
    let currency = |code| Currency::new(code).unwrap();
    let symbol = Symbol::new(symbol).unwrap();
    Instrument::new(symbol, AssetClass::CryptoSpot, currency("BTC"), currency("USD"), 2, 3).unwrap()
}

/// The folder of real market data, or why a test is skipped.
pub fn real_data(below: &str) -> Option<PathBuf> {
    let data = PathBuf::from(std::env::var_os("TRADEFLOW_DATA").unwrap_or("../../shared/data".into()));
    if data.join(below).exists() {
        return Some(data);
    }
    println!("skipped: no market data at {}; set TRADEFLOW_DATA to its folder", data.display());
    None
}
