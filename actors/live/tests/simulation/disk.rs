//! The bus of a simulation: records that survive or do not, answers that come late or never, writers that are fenced off.
//!
//! Beneath is a [`MemoryBus`]; this keeps, beside it, every write in its order, so that a loss of power can go back to
//! any of them, and what was promised to whom, so that a broken promise is found. Each process reaches it through a
//! [`Line`] of its own (`line.rs`), which is dead when the process is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_channel::oneshot;
use tradeflow_bus::{
    Bus, BusError, Durability, Exclusive, MemoryBus, NewRecord, Position, Receipt, Retention, Stored, Topic,
    Topics, Written,
};
use tradeflow_live::journal::Archive;
use tradeflow_live::{Decoder, MarketTopic, SessionPlan};
use tradeflow_model::InstrumentId;

use crate::dice::{Dice, Weather};

/// Partitions of every topic.
pub const PARTITIONS: u32 = 3;

/// What is said of a fault that was made on purpose: a cell that halts for another reason is a finding.
pub const FAULT: &str = "simulated fault";

type Answer = Result<Written, BusError>;
/// The one writer of a partition, beneath.
pub type Inner = Arc<Mutex<Box<dyn Exclusive>>>;

/// An append that was not answered yet.
struct UnderWay {
    process: u64,
    claim: u64,
    inner: Inner,
    power: bool,
    /// Until it is written.
    records: Option<Vec<NewRecord>>,
    /// From then on.
    written: Option<(Answer, Vec<NewRecord>)>,
    sender: oneshot::Sender<Answer>,
}

/// Entries that were answered before what came of them was written.
struct Open {
    process: u64,
    topic: Topic,
    partition: u32,
    inner: Inner,
    power: bool,
    entries: Vec<NewRecord>,
    outputs: Vec<NewRecord>,
}

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

    /// Gets on with the appends that wait: writes one, or answers one. All of them when it is calm.
    pub fn go_on(&self) {
        let mut state = self.state();
        for claim in state.open.keys().copied().collect::<Vec<_>>() {
            if state.calm || state.dice.chance(400) {
                state.complete(claim);
            }
        }
        let mut at = 0;
        let mut seen = BTreeSet::new();
        while at < state.under_way.len() {
            // Of one writer the oldest goes first.
            let first = seen.insert(state.under_way[at].claim);
            if !first || !(state.calm || state.dice.chance(400)) {
                at += 1;
                continue;
            }
            if let Some(records) = state.under_way[at].records.take() {
                let inner = state.under_way[at].inner.clone();
                let claim = state.under_way[at].claim;
                let answer = state.append(claim, &inner, records.clone());
                state.under_way[at].written = Some((answer, records));
                if !state.calm {
                    at += 1;
                    continue;
                }
            }
            let under_way = state.under_way.remove(at);
            seen.remove(&under_way.claim);
            let Some((answer, records)) = under_way.written else { continue };
            state.answered(under_way.process, under_way.power, &answer, &records);
            let _ = under_way.sender.send(answer);
        }
    }

    /// A process is gone. Of what it had under way, what had reached the system is written in time, the rest is not.
    pub fn kill(&self, process: u64) {
        let mut state = self.state();
        state.alive.remove(&process);
        state.cut.remove(&process);
        // What was appended behind entries that readers do not see is not seen either.
        let mut lost = state.end_open(|open| open.process == process);
        for mut under_way in std::mem::take(&mut state.under_way) {
            if under_way.process != process {
                state.under_way.push(under_way);
                continue;
            }
            if let Some(records) = under_way.records.take() {
                if lost.contains(&under_way.claim) || state.dice.chance(500) {
                    lost.insert(under_way.claim);
                } else {
                    let _ = state.append(under_way.claim, &under_way.inner, records);
                }
            }
        }
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

    /// Entries of a claim with what came of them: as an append, or answered before what came of them is written.
    pub fn journal_of(
        &mut self,
        (process, claim, power): (u64, u64, bool),
        inner: &Inner,
        entries: Vec<NewRecord>,
        outputs: Vec<NewRecord>,
    ) -> Receipt {
        let behind = self.under_way.iter().any(|other| other.claim == claim && other.records.is_some());
        let whole = || [entries.clone(), outputs.clone()].concat();
        let Some(first) = entries.first() else {
            return self.append_of((process, claim, power), inner, whole());
        };
        let (topic, partition) = (first.topic.clone(), first.partition);
        let early = !behind
            && !self.calm
            && self.unreachable(process).is_none()
            && self.holder.get(&partition) == Some(&claim)
            && self.dice.chance(self.weather.early);
        if !early {
            return self.append_of((process, claim, power), inner, whole());
        }
        self.complete(claim);
        let end = self.bus.bounds(&topic, partition).expect("it is there").end;
        let places = (end..).take(entries.len()).map(|offset| (partition, offset)).collect();
        let answer = Ok(Written { places });
        self.answered(process, power, &answer, &whole());
        self.open
            .insert(claim, Open { process, topic, partition, inner: inner.clone(), power, entries, outputs });
        Receipt::ready(answer)
    }

    /// Writes what a claim has answered for, with what belongs to it.
    fn complete(&mut self, claim: u64) {
        let Some(Open { inner, power, topic, partition, entries, outputs, .. }) = self.open.remove(&claim)
        else {
            return;
        };
        let end = self.bus.bounds(&topic, partition).expect("it is there").end;
        let written =
            self.append(claim, &inner, [entries, outputs].concat()).expect("none has claimed it since");
        assert_eq!(written.places.first(), Some(&(partition, end)), "the place that was promised");
        if power {
            self.synced = self.writes.len();
        }
    }

    /// Claims that end: of what they have answered for, all that belongs to it is written, or readers see nothing of it.
    /// Gives the claims of which they see nothing.
    fn end_open(&mut self, which: impl Fn(&Open) -> bool) -> BTreeSet<u64> {
        let mut unseen = BTreeSet::new();
        let ending = self.open.iter().filter(|(_, open)| which(open)).map(|(claim, _)| *claim);
        for claim in ending.collect::<Vec<_>>() {
            if self.dice.chance(500) {
                self.complete(claim);
            } else if let Some(Open { power, entries, .. }) = self.open.remove(&claim) {
                self.leave_unseen(entries);
                unseen.insert(claim);
                if power {
                    self.synced = self.writes.len();
                }
            }
        }
        unseen
    }

    /// Ends what is open of a partition.
    pub fn end_open_of(&mut self, topic: &Topic, partition: u32) {
        self.end_open(|open| (&open.topic, open.partition) == (topic, partition));
    }

    fn leave_unseen(&mut self, entries: Vec<NewRecord>) {
        for NewRecord { topic, partition, key, value, ts } in entries.clone() {
            let offset = self.bus.bounds(&topic, partition).expect("it is there").end;
            self.bus.skip(&topic, partition);
            self.unseen.push(Stored { topic, partition, offset, key, value, ts });
        }
        self.writes.push((entries, Left::Unseen));
    }

    /// The records of a partition from an offset on, those included that readers do not see.
    pub fn journaled(&self, topic: &Topic, partition: u32, from: u64) -> Vec<Stored> {
        let unseen = |stored: &&Stored| {
            (&stored.topic, stored.partition) == (topic, partition) && stored.offset >= from
        };
        let mut all = records(&self.bus, topic, partition, from);
        all.extend(self.unseen.iter().filter(unseen).cloned());
        all.sort_by_key(|stored| stored.offset);
        all
    }

    /// An append of a claim, with whatever becomes of it.
    pub fn append_of(
        &mut self,
        (process, claim, power): (u64, u64, bool),
        inner: &Inner,
        records: Vec<NewRecord>,
    ) -> Receipt {
        if let Some(error) = self.unreachable(process) {
            return Receipt::ready(Err(error));
        }
        let behind = self.under_way.iter().any(|other| other.claim == claim && other.records.is_some());
        let account = records.first().map(|record| record.key.clone());
        let own = self.under_way.iter().filter(|other| other.claim == claim);
        let of_account = |other: &UnderWay| {
            let records = other.records.as_ref().or(other.written.as_ref().map(|(_, records)| records));
            records.and_then(|records| records.first().map(|record| record.key.clone())) == account
        };
        if own.filter(|other| of_account(other)).count() >= 2 {
            self.violations.push(format!("account {account:?} has three appends under way"));
        }
        if self.calm {
            let answer = self.append(claim, inner, records.clone());
            self.answered(process, power, &answer, &records);
            return Receipt::ready(answer);
        }
        let Weather { refused, lost_answer, slow_answer, slow_write, .. } = self.weather;
        if self.dice.chance(refused) {
            return Receipt::ready(Err(fault("the append was refused")));
        }
        if !behind && self.dice.chance(lost_answer) {
            let _ = self.append(claim, inner, records);
            return Receipt::ready(Err(fault("the answer was lost")));
        }
        let late = self.cells_run && (behind || self.dice.chance(slow_write));
        if !late {
            let answer = self.append(claim, inner, records.clone());
            if !self.cells_run || !self.dice.chance(slow_answer) {
                self.answered(process, power, &answer, &records);
                return Receipt::ready(answer);
            }
            let (sender, receipt) = Receipt::later();
            let (written, inner) = (Some((answer, records)), inner.clone());
            self.under_way.push(UnderWay { process, claim, inner, power, records: None, written, sender });
            return receipt;
        }
        let (sender, receipt) = Receipt::later();
        let (records, inner) = (Some(records), inner.clone());
        self.under_way.push(UnderWay { process, claim, inner, power, records, written: None, sender });
        receipt
    }

    /// Writes of processes that belong to no claim: records that can't be read, the end of a session.
    pub fn publish_of(&mut self, process: u64, records: Vec<NewRecord>, power: bool) -> Receipt {
        if let Some(error) = self.unreachable(process) {
            return Receipt::ready(Err(error));
        }
        if let Some(record) = records.iter().find(|record| self.is_owned(&record.topic)) {
            self.violations.push(format!("{} was written to without a claim", record.topic));
        }
        if !self.calm && self.dice.chance(self.weather.refused) {
            return Receipt::ready(Err(fault("the write was refused")));
        }
        let bus = self.bus.clone();
        let answer =
            self.write(records.clone(), Left::Records, |records| bus.publish(records, Durability::Process));
        self.answered(process, power, &answer, &records);
        Receipt::ready(answer)
    }

    /// Why a process can't use the bus.
    pub fn unreachable(&self, process: u64) -> Option<BusError> {
        if !self.alive.contains(&process) {
            return Some(fault("the process is gone"));
        }
        self.cut.contains(&process).then(|| unavailable("the network is cut"))
    }

    fn append(&mut self, claim: u64, inner: &Inner, records: Vec<NewRecord>) -> Answer {
        self.complete(claim);
        let left = if self.weather.gaps { Left::Gap } else { Left::Records };
        let mut inner = inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let owned: Vec<_> = records
            .iter()
            .filter(|r| self.is_owned(&r.topic))
            .map(|r| (r.topic.clone(), r.partition))
            .collect();
        let answer = self.write(records, left, |records| inner.append(records));
        if answer.is_ok()
            && let Some((topic, partition)) =
                owned.into_iter().find(|(_, p)| self.holder.get(p) != Some(&claim))
        {
            self.violations.push(format!("{topic}/{partition} was written to by one who does not own it"));
        }
        answer
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

    /// A process is told what became of its write: of the first of these records, or of all.
    fn answered(&mut self, process: u64, power: bool, answer: &Answer, records: &[NewRecord]) {
        let Ok(written) = answer else { return };
        if power {
            self.synced = self.writes.len();
        }
        let promise = self.plan.durability == Durability::Power;
        for (record, (partition, offset)) in records.iter().zip(&written.places) {
            if promise && self.is_owned(&record.topic) {
                let end = self.promised.entry((record.topic.clone(), *partition)).or_default();
                *end = (*end).max(offset + 1);
            }
        }
        let topics = [&self.topics.orders, &self.topics.fills];
        self.told.extend(records.iter().filter(|record| topics.contains(&&record.topic)).cloned());
        for record in records.iter().filter(|record| record.topic == self.topics.fills) {
            let account = String::from_utf8_lossy(&record.key).into_owned();
            *self.fills.entry((process, account)).or_default() += 1;
        }
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
