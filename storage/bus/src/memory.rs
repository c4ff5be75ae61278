//! A bus in memory, for tests and the simulation: the same contract, nothing on disk, and faults on purpose.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::bus::{
    Bus, Durability, Exclusive, GroupEvent, Membership, NewRecord, Position, Reader, Scan, Stored,
};
use crate::error::BusError;
use crate::receipt::{Receipt, Written};
use crate::topic::{Topic, TopicKind, TopicSpec};

/// A bus in memory. Clones share it. Records are never deleted by age or size; [`MemoryBus::trim`] does it by hand.
#[derive(Clone, Default)]
pub struct MemoryBus {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<Topic, (TopicKind, Vec<Log>)>,
    committed: BTreeMap<(String, Topic, u32), u64>,
    claims: BTreeMap<(Topic, u32), u64>,
    /// Writes to be refused, and with what.
    failures: Vec<BusError>,
}

#[derive(Default, Clone)]
struct Log {
    /// The first offset that is kept.
    first: u64,
    /// The offset of the next record.
    next: u64,
    records: Vec<Stored>,
}

impl Log {
    /// The place of the first record at or behind an offset.
    fn place(&self, offset: u64) -> usize {
        self.records.partition_point(|stored| stored.offset < offset)
    }
}

impl MemoryBus {
    /// An empty bus.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Deletes the records before an offset, as retention would.
    pub fn trim(&self, topic: &Topic, partition: u32, before: u64) {
        if let Some((_, logs)) = self.state().topics.get_mut(topic)
            && let Some(log) = logs.get_mut(partition as usize)
        {
            log.first = before.clamp(log.first, log.next);
            log.records.drain(..log.place(log.first));
        }
    }

    /// Leaves the next offset without a record, as the end of a transaction does on Kafka.
    pub fn skip(&self, topic: &Topic, partition: u32) {
        if let Some((_, logs)) = self.state().topics.get_mut(topic)
            && let Some(log) = logs.get_mut(partition as usize)
        {
            log.next += 1;
        }
    }

    /// The next write is refused with this error, and nothing of it is written.
    pub fn fail_next(&self, error: BusError) {
        self.state().failures.push(error);
    }

    /// A copy that shares nothing with this one: what a disk would hold at this moment.
    pub fn copy(&self) -> Self {
        let state = self.state();
        let copy = State {
            topics: state.topics.clone(),
            committed: state.committed.clone(),
            claims: state.claims.clone(),
            failures: Vec::new(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(copy), grown: Condvar::new() }) }
    }

    fn write(&self, records: Vec<NewRecord>, claim: Option<(&Topic, u32, u64)>) -> Result<Written, BusError> {
        let mut state = self.state();
        if let Some((topic, partition, epoch)) = claim
            && state.claims.get(&(topic.clone(), partition)) != Some(&epoch)
        {
            return Err(BusError::Fenced { topic: topic.clone(), partition });
        }
        if !state.failures.is_empty() {
            return Err(state.failures.remove(0));
        }
        for record in &records {
            let (kind, logs) =
                state.topics.get(&record.topic).ok_or_else(|| BusError::NoTopic(record.topic.clone()))?;
            if record.partition as usize >= logs.len() {
                let place = format!("{}/{}", record.topic, record.partition);
                return Err(BusError::other(place, format!("it has {} partitions", logs.len())));
            }
            if record.value.is_none() && *kind != TopicKind::Table {
                return Err(BusError::other(record.topic.to_string(), "a tombstone belongs into a table"));
            }
        }
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let Some((_, logs)) = state.topics.get_mut(&record.topic) else { continue };
            let log = &mut logs[record.partition as usize];
            let offset = log.next;
            log.next += 1;
            places.push((record.partition, offset));
            let NewRecord { topic, partition, key, value, ts } = record;
            log.records.push(Stored { topic, partition, offset, key, value, ts });
        }
        drop(state);
        self.shared.grown.notify_all();
        Ok(Written { places })
    }
}

impl Bus for MemoryBus {
    fn create(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        let mut state = self.state();
        for spec in topics {
            if let Some((_, logs)) = state.topics.get(&spec.name)
                && logs.len() != spec.partitions as usize
            {
                return Err(BusError::Partitions {
                    topic: spec.name.clone(),
                    there: logs.len() as u32,
                    wanted: spec.partitions,
                });
            }
        }
        for spec in topics {
            let logs = || (spec.kind, vec![Log::default(); spec.partitions as usize]);
            state.topics.entry(spec.name.clone()).or_insert_with(logs);
        }
        Ok(())
    }

    fn partitions(&self, topic: &Topic) -> Result<u32, BusError> {
        let state = self.state();
        let (_, logs) = state.topics.get(topic).ok_or_else(|| BusError::NoTopic(topic.clone()))?;
        Ok(logs.len() as u32)
    }

    fn bounds(&self, topic: &Topic, partition: u32) -> Result<std::ops::Range<u64>, BusError> {
        let state = self.state();
        let (_, logs) = state.topics.get(topic).ok_or_else(|| BusError::NoTopic(topic.clone()))?;
        let log = logs.get(partition as usize).ok_or_else(|| BusError::NoTopic(topic.clone()))?;
        Ok(log.first..log.next)
    }

    fn publish(&self, records: Vec<NewRecord>, _: Durability) -> Receipt {
        Receipt::ready(self.write(records, None))
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, BusError> {
        let mut reader = MemoryReader { bus: self.clone(), places: Vec::new(), turn: 0 };
        from.iter().try_for_each(|position| reader.set(position))?;
        Ok(Box::new(reader))
    }

    fn scan(&self, from: &Position) -> Result<Box<dyn Scan>, BusError> {
        self.bounds(&from.topic, from.partition)?;
        let state = self.state();
        let log = state.topics.get(&from.topic).and_then(|(_, logs)| logs.get(from.partition as usize));
        let records = log.map_or(&[][..], |log| &log.records[log.place(from.offset)..]);
        Ok(Box::new(Taken(Vec::from(records).into_iter())))
    }

    fn latest(&self, topic: &Topic, partition: u32, key: &[u8]) -> Result<Option<Stored>, BusError> {
        Ok(self.table(topic, partition)?.into_iter().find(|stored| stored.key == key))
    }

    fn table(&self, topic: &Topic, partition: u32) -> Result<Vec<Stored>, BusError> {
        let state = self.state();
        let (_, logs) = state.topics.get(topic).ok_or_else(|| BusError::NoTopic(topic.clone()))?;
        let log = logs.get(partition as usize).ok_or_else(|| BusError::NoTopic(topic.clone()))?;
        let last: BTreeMap<_, _> = log.records.iter().map(|stored| (stored.key.clone(), stored)).collect();
        Ok(last.into_values().filter(|stored| stored.value.is_some()).cloned().collect())
    }

    fn committed(&self, group: &str, topic: &Topic, partition: u32) -> Result<Option<u64>, BusError> {
        self.partitions(topic)?;
        Ok(self.state().committed.get(&(group.to_owned(), topic.clone(), partition)).copied())
    }

    fn commit(&self, group: &str, positions: &[Position]) -> Result<(), BusError> {
        for position in positions {
            self.partitions(&position.topic)?;
        }
        let mut state = self.state();
        for Position { topic, partition, offset } in positions {
            state.committed.insert((group.to_owned(), topic.clone(), *partition), *offset);
        }
        Ok(())
    }

    fn join(&self, _: &str, topic: &Topic) -> Result<Box<dyn Membership>, BusError> {
        Ok(Box::new(OnlyMember { partitions: Some((0..self.partitions(topic)?).collect()) }))
    }

    fn claim(&self, topic: &Topic, partition: u32, _: Durability) -> Result<Box<dyn Exclusive>, BusError> {
        self.bounds(topic, partition)?;
        let mut state = self.state();
        let epoch = state.claims.entry((topic.clone(), partition)).or_default();
        *epoch += 1;
        Ok(Box::new(Claim { bus: self.clone(), topic: topic.clone(), partition, epoch: *epoch }))
    }
}

/// What was there when a scan began.
struct Taken(std::vec::IntoIter<Stored>);

impl Scan for Taken {
    fn next(&mut self, max: usize) -> Result<Vec<Stored>, BusError> {
        Ok(self.0.by_ref().take(max).collect())
    }
}

struct Claim {
    bus: MemoryBus,
    topic: Topic,
    partition: u32,
    epoch: u64,
}

impl Exclusive for Claim {
    fn append(&mut self, records: Vec<NewRecord>) -> Receipt {
        Receipt::ready(self.bus.write(records, Some((&self.topic, self.partition, self.epoch))))
    }
}

struct OnlyMember {
    partitions: Option<Vec<u32>>,
}

impl Membership for OnlyMember {
    fn poll(&mut self, timeout: Duration) -> Result<Vec<GroupEvent>, BusError> {
        match self.partitions.take() {
            Some(partitions) => Ok(vec![GroupEvent::Assigned(partitions)]),
            None => {
                std::thread::sleep(timeout);
                Ok(Vec::new())
            }
        }
    }
}

struct MemoryReader {
    bus: MemoryBus,
    places: Vec<Position>,
    /// The partition that is read first at the next poll: all get their turn.
    turn: usize,
}

impl MemoryReader {
    fn take(&mut self, state: &State, max: usize) -> Result<Vec<Stored>, BusError> {
        let mut taken = Vec::new();
        for at in 0..self.places.len() {
            let index = (self.turn + at) % self.places.len();
            let place = &mut self.places[index];
            let Some((_, logs)) = state.topics.get(&place.topic) else { continue };
            let log = &logs[place.partition as usize];
            if place.offset < log.first {
                return Err(BusError::Trimmed {
                    topic: place.topic.clone(),
                    partition: place.partition,
                    wanted: place.offset,
                    first: log.first,
                });
            }
            let room = max - taken.len();
            taken.extend(log.records[log.place(place.offset)..].iter().take(room).cloned());
            place.offset = taken
                .last()
                .filter(|stored| stored.topic == place.topic && stored.partition == place.partition)
                .map_or(place.offset, |stored| stored.offset + 1);
        }
        self.turn = (self.turn + 1) % self.places.len().max(1);
        Ok(taken)
    }
}

impl Reader for MemoryReader {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Stored>, BusError> {
        let deadline = Instant::now() + timeout;
        let bus = self.bus.clone();
        let mut state = bus.state();
        loop {
            let taken = self.take(&state, max)?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !taken.is_empty() || left.is_zero() {
                return Ok(taken);
            }
            state = bus
                .shared
                .grown
                .wait_timeout(state, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    fn set(&mut self, position: &Position) -> Result<(), BusError> {
        let there = self.bus.partitions(&position.topic)?;
        if position.partition >= there {
            return Err(BusError::NoTopic(position.topic.clone()));
        }
        self.remove(&position.topic, position.partition);
        self.places.push(position.clone());
        Ok(())
    }

    fn remove(&mut self, topic: &Topic, partition: u32) {
        self.places.retain(|place| place.topic != *topic || place.partition != partition);
    }
}
