//! The bus of a simulation: records that survive or do not, answers that come late or never, writers that are fenced off.
//!
//! Beneath is a [`MemoryBus`]; this keeps, beside it, every write in its order, so that a loss of power can go back to
//! any of them, and what was promised to whom, so that a broken promise is found. Each process reaches it through a
//! [`Line`](crate::line::Line) of its own, which is dead when the process is.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | what is written, and what of it survives a kill or a loss of power |
//! | `appends.rs` | appends, answered at once, late or never |
//! | `open.rs` | entries that are answered before what came of them is written |

mod appends;
mod open;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tradeflow_bus::{
    Bus, BusError, Durability, Exclusive, MemoryBus, NewRecord, Position, Receipt, Retention, Stored, Topic,
    Topics, Written,
};
use tradeflow_live::journal::Archive;
use tradeflow_live::{Decoder, MarketTopic, SessionPlan};
use tradeflow_model::InstrumentId;

use self::appends::UnderWay;
use self::open::Open;
use crate::dice::{Dice, Weather};

/// Partitions of every topic.
pub const PARTITIONS: u32 = 3;

/// What is said of a fault that was made on purpose: a cell that halts for another reason is a finding.
pub const FAULT: &str = "simulated fault";

type Answer = Result<Written, BusError>;
/// The one writer of a partition, beneath.
pub type Inner = Arc<Mutex<Box<dyn Exclusive>>>;

/// What a write left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Records,
    /// And a gap behind them, as the end of a transaction does on Kafka.
    Gap,
    /// Records that readers do not see: entries without what came of them.
    Unseen,
}

/// Rows of a market record, and of what; none for one that can't be read, or that no series takes.
type Rows = Option<(InstrumentId, u64)>;

/// What the disk, and the network to it, hold.
pub struct State {
    /// What is there now.
    pub bus: MemoryBus,
    /// All market data that ever was there, as the recorder keeps it.
    pub recorded: MemoryBus,
    /// Rows of each market record, by offset.
    pub market: BTreeMap<(MarketTopic, u32), Vec<Rows>>,
    decoder: Decoder,
    topics: Topics,
    plan: Arc<SessionPlan>,
    /// In their order.
    writes: Vec<(Vec<NewRecord>, Left)>,
    /// Deletions by retention, and before how many writes each came.
    trims: Vec<(usize, Topic, u32, u64)>,
    /// So many writes survive a loss of power.
    synced: usize,
    under_way: Vec<UnderWay>,
    /// By claim.
    open: BTreeMap<u64, Open>,
    /// Entries that readers do not see.
    unseen: Vec<Stored>,
    /// Processes that live, and those of them that can't reach the bus.
    pub alive: BTreeSet<u64>,
    pub cut: BTreeSet<u64>,
    /// Whether cells run just now: they can wait for an answer, others want it at once.
    pub cells_run: bool,
    /// Whether a node reads just now for its cells.
    pub node_reads: bool,
    /// No faults any more.
    pub calm: bool,
    pub weather: Weather,
    pub dice: Dice,
    claims: u64,
    /// The claim that holds each partition of the journal.
    holder: BTreeMap<u32, u64>,
    /// The end of each partition behind what was answered as written with power durability.
    promised: BTreeMap<(Topic, u32), u64>,
    /// Fills that came of entries that were answered, by process and account.
    fills: BTreeMap<(u64, String), u64>,
    /// Orders and fills that were told.
    told: Vec<NewRecord>,
    /// What must not be.
    pub violations: Vec<String>,
}

/// The bus, shared by all processes.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub fn new(plan: Arc<SessionPlan>, weather: Weather, dice: Dice) -> Self {
        let topics = Topics::new("");
        let state = State {
            bus: empty(&topics),
            recorded: empty(&topics),
            market: BTreeMap::new(),
            decoder: Decoder::new(&plan, &topics),
            topics,
            plan,
            writes: Vec::new(),
            trims: Vec::new(),
            synced: 0,
            under_way: Vec::new(),
            open: BTreeMap::new(),
            unseen: Vec::new(),
            alive: BTreeSet::new(),
            cut: BTreeSet::new(),
            cells_run: false,
            node_reads: false,
            calm: false,
            weather,
            dice,
            claims: 0,
            holder: BTreeMap::new(),
            promised: BTreeMap::new(),
            fills: BTreeMap::new(),
            told: Vec::new(),
            violations: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is there now, as it is.
    pub fn bus(&self) -> MemoryBus {
        self.state().bus.clone()
    }

    /// Writes as feeds and people do, who are always there.
    pub fn publish(&self, records: Vec<NewRecord>) -> Written {
        let mut state = self.state();
        let bus = state.bus.clone();
        let publish = |records| bus.publish(records, Durability::Process);
        state.write(records, Left::Records, publish).expect("it has the topics")
    }

    /// The last records of a partition.
    pub fn last(&self, topic: &Topic, partition: u32, count: u64) -> Vec<Stored> {
        let bus = self.bus();
        let end = bus.bounds(topic, partition).map_or(0, |bounds| bounds.end);
        records(&bus, topic, partition, end.saturating_sub(count))
    }

    /// Fills of an account that a process knows to follow from what is written.
    pub fn fills(&self, process: u64, account: &str) -> u64 {
        self.state().fills.get(&(process, account.to_owned())).copied().unwrap_or(0)
    }

    /// An order or fill that was told and is not there, at the end.
    pub fn missing(&self) -> Option<String> {
        let state = self.state();
        let mut there = BTreeSet::new();
        for topic in [&state.topics.orders, &state.topics.fills] {
            for partition in 0..PARTITIONS {
                let all = records(&state.bus, topic, partition, 0);
                there.extend(all.into_iter().map(|stored| (stored.topic, stored.key, stored.value)));
            }
        }
        let is_there =
            |told: &&NewRecord| there.contains(&(told.topic.clone(), told.key.clone(), told.value.clone()));
        let missing = state.told.iter().find(|told| !is_there(told))?;
        Some(format!("{} of {:?} was told, and is not there", missing.topic, missing.key))
    }

    /// How many writes there were.
    pub fn writes(&self) -> usize {
        self.state().writes.len()
    }

    /// Whether any append waits for its answer, or for what belongs to it.
    pub fn is_busy(&self) -> bool {
        let state = self.state();
        !state.under_way.is_empty() || !state.open.is_empty()
    }

    /// A process is gone.
    pub fn kill(&self, process: u64) {
        let mut state = self.state();
        state.alive.remove(&process);
        state.cut.remove(&process);
        state.end_appends_by(process);
    }

    /// The power fails: of the writes those survive that were synced, and of the others the first ones. All processes
    /// must have been killed.
    pub fn lose_power(&self) {
        let mut state = self.state();
        assert!(state.alive.is_empty(), "a process outlived the power");
        let (synced, all) = (state.synced as i64, state.writes.len() as i64);
        let kept = if state.dice.chance(300) { synced } else { state.dice.between(synced, all) } as usize;
        let writes: Vec<_> = state.writes.drain(..).take(kept).collect();
        let trims: Vec<_> = state.trims.drain(..).filter(|(before, ..)| *before <= kept).collect();
        state.bus = empty(&state.topics);
        state.recorded = empty(&state.topics);
        state.market.clear();
        state.unseen.clear();
        if state.plan.durability == Durability::Process {
            state.told.clear();
        }
        let bus = state.bus.clone();
        for (records, left) in writes {
            if left == Left::Unseen {
                state.leave_unseen(records);
                continue;
            }
            let again = state.write(records, left, |records| bus.publish(records, Durability::Power));
            again.expect("it was written before");
        }
        for (_, topic, partition, before) in &trims {
            bus.trim(topic, *partition, *before);
        }
        state.trims = trims;
        state.synced = kept;
        for ((topic, partition), end) in state.promised.clone() {
            let there = bus.bounds(&topic, partition).map_or(0, |bounds| bounds.end);
            if there < end {
                let what = format!("{topic}/{partition} ends at {there}, but was answered up to {end}");
                state.violations.push(format!("a loss of power took what was promised: {what}"));
            }
        }
    }

    /// Retention takes the records before an offset.
    pub fn trim(&self, topic: &Topic, partition: u32, before: u64) {
        let mut state = self.state();
        let writes = state.writes.len();
        state.bus.trim(topic, partition, before);
        state.trims.push((writes, topic.clone(), partition, before));
    }
}

impl State {
    /// Claims a partition: the number of the claim. What the one before has under way is to be ended before, with
    /// [`Self::end_open`].
    pub fn claimed(&mut self, topic: &Topic, partition: u32) -> u64 {
        self.claims += 1;
        if *topic == self.topics.journal {
            self.holder.insert(partition, self.claims);
        }
        self.claims
    }

    /// Whether a topic is written by the holder of an account's partition alone.
    pub fn is_owned(&self, topic: &Topic) -> bool {
        let topics = &self.topics;
        [&topics.journal, &topics.orders, &topics.fills, &topics.replies, &topics.snapshots].contains(&topic)
    }

    fn write(
        &mut self,
        records: Vec<NewRecord>,
        left: Left,
        write: impl FnOnce(Vec<NewRecord>) -> Receipt,
    ) -> Answer {
        let written = write(records.clone()).wait()?;
        for (record, (partition, offset)) in records.iter().zip(&written.places) {
            self.record(record, *partition, *offset);
        }
        if left == Left::Gap {
            let touched: BTreeSet<_> = records.iter().map(|r| (&r.topic, r.partition)).collect();
            touched.into_iter().for_each(|(topic, partition)| self.bus.skip(topic, partition));
        }
        self.writes.push((records, left));
        Ok(written)
    }

    /// Keeps what market data there was.
    fn record(&mut self, record: &NewRecord, partition: u32, offset: u64) {
        let topics = &self.topics;
        let kinds = [MarketTopic::Trades, MarketTopic::Quotes, MarketTopic::Bars];
        let Some(kind) = kinds.into_iter().find(|kind| *kind.topic(topics) == record.topic) else { return };
        let kept = self.recorded.publish(vec![record.clone()], Durability::Process).wait();
        assert_eq!(kept.expect("it has the topics").places, [(partition, offset)]);
        let stored = Stored {
            topic: record.topic.clone(),
            partition,
            offset,
            key: record.key.clone(),
            value: record.value.clone(),
            ts: record.ts,
        };
        let chunk = self.decoder.chunk(&stored).ok().flatten();
        let rows = chunk.map(|chunk| (chunk.instrument, chunk.columns.len() as u64));
        let known = self.market.entry((kind, partition)).or_default();
        assert_eq!(known.len() as u64, offset, "offsets of memory have no gaps");
        known.push(rows);
    }
}

/// The records of a partition from an offset on.
pub fn records(bus: &MemoryBus, topic: &Topic, partition: u32, from: u64) -> Vec<Stored> {
    let offset = bus.bounds(topic, partition).map_or(from, |bounds| from.max(bounds.start));
    let place = Position { topic: topic.clone(), partition, offset };
    let read = bus.reader(&[place]).and_then(|mut reader| reader.poll(usize::MAX, Duration::ZERO));
    read.expect("records that are kept can be read")
}

/// A fault that was made on purpose.
pub fn fault(what: &str) -> BusError {
    BusError::other(FAULT, what)
}

/// One after which may be tried again.
pub fn unavailable(what: &str) -> BusError {
    BusError::Unavailable { brokers: FAULT.into(), reason: what.into() }
}

fn empty(topics: &Topics) -> MemoryBus {
    let bus = MemoryBus::new();
    bus.create(&topics.specs(PARTITIONS, Retention::default())).expect("a new bus takes topics");
    bus
}

/// The recorder's catalog: what retention took from the bus.
impl Archive for Disk {
    fn records(&self, topic: &Topic, partition: u32, first: u64, last: u64) -> Result<Vec<Stored>, String> {
        let recorded = self.state().recorded.clone();
        let place = Position { topic: topic.clone(), partition, offset: first };
        let mut reader = recorded.reader(&[place]).map_err(|error| error.to_string())?;
        let count = (last + 1 - first) as usize;
        reader.poll(count, Duration::ZERO).map_err(|error| error.to_string())
    }
}
