//! A process's line to the bus: dead when the process is, and faulty as the weather is.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tradeflow_bus::{
    Bus, BusError, Durability, Exclusive, Membership, NewRecord, Position, Reader, Receipt, Scan, Stored,
    Topic, TopicSpec,
};

use crate::disk::{Disk, Inner, fault, unavailable};

/// The bus, as one process sees it.
pub struct Line {
    pub disk: Disk,
    pub process: u64,
}

impl Line {
    /// The bus beneath, if it can be reached.
    fn reach(&self) -> Result<tradeflow_bus::MemoryBus, BusError> {
        let state = self.disk.state();
        match state.unreachable(self.process) {
            Some(error) => Err(error),
            None => Ok(state.bus.clone()),
        }
    }
}

impl Bus for Line {
    fn create(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.reach()?.create(topics)
    }

    fn partitions(&self, topic: &Topic) -> Result<u32, BusError> {
        self.disk.bus().partitions(topic)
    }

    fn bounds(&self, topic: &Topic, partition: u32) -> Result<Range<u64>, BusError> {
        self.reach()?.bounds(topic, partition)
    }

    fn publish(&self, records: Vec<NewRecord>, durability: Durability) -> Receipt {
        self.disk.state().publish_of(self.process, records, durability == Durability::Power)
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, BusError> {
        let reader = self.reach()?.reader(from)?;
        Ok(Box::new(LineReader { disk: self.disk.clone(), process: self.process, reader }))
    }

    fn scan(&self, from: &Position) -> Result<Box<dyn Scan>, BusError> {
        self.reach()?.scan(from)
    }

    fn journaled(&self, from: &Position) -> Result<Box<dyn Scan>, BusError> {
        self.reach()?;
        Ok(Box::new(Listed(self.disk.state().journaled(&from.topic, from.partition, from.offset))))
    }

    fn latest(&self, topic: &Topic, partition: u32, key: &[u8]) -> Result<Option<Stored>, BusError> {
        self.reach()?.latest(topic, partition, key)
    }

    fn table(&self, topic: &Topic, partition: u32) -> Result<Vec<Stored>, BusError> {
        self.reach()?.table(topic, partition)
    }

    fn committed(&self, group: &str, topic: &Topic, partition: u32) -> Result<Option<u64>, BusError> {
        self.reach()?.committed(group, topic, partition)
    }

    fn commit(&self, group: &str, positions: &[Position]) -> Result<(), BusError> {
        self.reach()?.commit(group, positions)
    }

    fn join(&self, _: &str, topic: &Topic) -> Result<Box<dyn Membership>, BusError> {
        Err(BusError::other(topic.to_string(), "the simulation assigns partitions itself"))
    }

    fn claim(
        &self,
        topic: &Topic,
        partition: u32,
        durability: Durability,
    ) -> Result<Box<dyn Exclusive>, BusError> {
        let bus = self.reach()?;
        let mut state = self.disk.state();
        if !state.calm && {
            let refused = state.weather.refused;
            state.dice.chance(refused)
        } {
            return Err(fault("the claim was refused"));
        }
        state.end_open_of(topic, partition);
        let inner = Arc::new(Mutex::new(bus.claim(topic, partition, durability)?));
        let claim = state.claimed(topic, partition);
        let power = durability == Durability::Power;
        Ok(Box::new(LineClaim { disk: self.disk.clone(), process: self.process, claim, power, inner }))
    }
}

struct LineClaim {
    disk: Disk,
    process: u64,
    claim: u64,
    power: bool,
    inner: Inner,
}

impl Exclusive for LineClaim {
    fn append(&mut self, records: Vec<NewRecord>) -> Receipt {
        self.disk.state().append_of((self.process, self.claim, self.power), &self.inner, records)
    }

    fn journal(&mut self, entries: Vec<NewRecord>, outputs: Vec<NewRecord>) -> Receipt {
        let of = (self.process, self.claim, self.power);
        self.disk.state().journal_of(of, &self.inner, entries, outputs)
    }
}

/// What is left of a list.
struct Listed(Vec<Stored>);

impl Scan for Listed {
    fn next(&mut self, max: usize) -> Result<Vec<Stored>, BusError> {
        let count = max.min(self.0.len());
        Ok(self.0.drain(..count).collect())
    }
}

struct LineReader {
    disk: Disk,
    process: u64,
    reader: Box<dyn Reader>,
}

impl Reader for LineReader {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Stored>, BusError> {
        let mut max = max;
        {
            let mut state = self.disk.state();
            if let Some(error) = state.unreachable(self.process) {
                return Err(error);
            }
            if state.node_reads && !state.calm {
                let (unread, part) = (state.weather.unread, state.weather.part_read);
                if state.dice.chance(unread) {
                    return Err(unavailable("the brokers do not answer"));
                }
                if state.dice.chance(part) {
                    return Ok(Vec::new()); // in time for the next poll
                }
                if state.dice.chance(part) {
                    max = max.min(1 + state.dice.below(8) as usize);
                }
            }
        }
        self.reader.poll(max, timeout)
    }

    fn set(&mut self, position: &Position) -> Result<(), BusError> {
        self.reader.set(position)
    }

    fn remove(&mut self, topic: &Topic, partition: u32) {
        self.reader.remove(topic, partition);
    }
}
