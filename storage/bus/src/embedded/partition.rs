//! A partition in memory: where it begins and ends, its newest records, who waits for more.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::layout::Segment;
use crate::bus::Stored;
use crate::error::BusError;
use crate::topic::Topic;

/// What a record in memory costs beyond its bytes, roughly.
const STORED_BYTES: usize = 128;

/// A partition of a topic.
pub struct Partition {
    /// Its topic.
    pub topic: Topic,
    /// The topic's number in the store.
    pub id: u32,
    /// Its own number.
    pub number: u32,
    /// It keeps the last record of each key.
    pub table: bool,
    state: Mutex<State>,
}

/// What changes. Only who holds the writer's lock changes it.
pub struct State {
    /// First offset that is kept.
    pub first: u64,
    /// The offset of the next record; what is before it may be read.
    pub next: u64,
    /// How often it has been claimed.
    pub epoch: u64,
    /// The segment that grows.
    pub segment: Segment,
    /// The segments before it.
    pub sealed: VecDeque<Segment>,
    /// A table may hold tombstones that have served their time.
    pub tombstones: bool,
    /// The newest records without a gap, up to `next`.
    tail: VecDeque<Stored>,
    tail_bytes: usize,
    waiting: Vec<Arc<Signal>>,
}

impl Partition {
    /// As it was found in the store.
    pub fn new(topic: &Topic, id: u32, number: u32, table: bool, found: Found) -> Self {
        let state = State {
            first: found.first,
            next: found.next,
            epoch: found.epoch,
            segment: found.segment,
            sealed: found.sealed,
            tombstones: table,
            tail: VecDeque::new(),
            tail_bytes: 0,
            waiting: Vec::new(),
        };
        Self { topic: topic.clone(), id, number, table, state: Mutex::new(state) }
    }

    /// Its state. Held for moments only, never while the disk is used.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding it")
    }

    /// First offset and the one after the last.
    pub fn bounds(&self) -> Range<u64> {
        let state = self.state();
        state.first..state.next
    }

    /// The error of who wants what is gone.
    pub fn trimmed(&self, wanted: u64, first: u64) -> BusError {
        BusError::Trimmed { topic: self.topic.clone(), partition: self.number, wanted, first }
    }
}

/// What the store holds of a partition.
#[derive(Debug)]
pub struct Found {
    pub first: u64,
    pub next: u64,
    pub epoch: u64,
    pub segment: Segment,
    pub sealed: VecDeque<Segment>,
}

/// What a reader finds at a place.
pub enum Newest {
    /// Nothing yet.
    End,
    /// So many records were given.
    Given(usize),
    /// It must go to the store, up to this offset.
    Store(u64),
}

impl State {
    /// Shows records that were written, and keeps the newest. Who waits is put among those to be woken: that is done
    /// when no lock is held any more, as they would wait for it at once.
    pub fn show(&mut self, records: Vec<Stored>, tail_bytes_max: usize, wake: &mut Vec<Arc<Signal>>) {
        for record in records {
            self.next = record.offset + 1;
            self.tail_bytes += stored_bytes(&record);
            self.tail.push_back(record);
        }
        while self.tail_bytes > tail_bytes_max {
            self.forget_oldest();
        }
        for signal in &self.waiting {
            if !wake.iter().any(|known| Arc::ptr_eq(known, signal)) {
                wake.push(signal.clone());
            }
        }
    }

    /// What is before `first` is gone.
    pub fn trim(&mut self, first: u64) {
        self.first = first;
        while self.tail.front().is_some_and(|record| record.offset < first) {
            self.forget_oldest();
        }
        // Who waits at a place that is gone is to learn it.
        for signal in &self.waiting {
            signal.raise();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(record) = self.tail.pop_front() {
            self.tail_bytes -= stored_bytes(&record);
        }
    }

    /// Gives up to `max` records from `from` on, as long as `room` bytes last.
    pub fn newest(&self, from: u64, max: usize, room: &mut usize, out: &mut Vec<Stored>) -> Newest {
        if from >= self.next {
            return Newest::End;
        }
        let begin = match self.tail.front() {
            Some(front) if front.offset <= from => (from - front.offset) as usize,
            Some(front) => return Newest::Store(front.offset),
            None => return Newest::Store(self.next),
        };
        let mut given = 0;
        for record in self.tail.range(begin..).take(max) {
            let bytes = stored_bytes(record);
            if *room < bytes && !out.is_empty() {
                *room = 0;
                break;
            }
            *room = room.saturating_sub(bytes);
            out.push(record.clone());
            given += 1;
        }
        Newest::Given(given)
    }

    /// Wakes this signal at each record from now on.
    pub fn wake(&mut self, signal: &Arc<Signal>) {
        self.waiting.push(signal.clone());
    }

    /// Wakes it no more.
    pub fn forget(&mut self, signal: &Arc<Signal>) {
        if let Some(at) = self.waiting.iter().position(|waiting| Arc::ptr_eq(waiting, signal)) {
            self.waiting.swap_remove(at);
        }
    }
}

/// Bytes that a record takes in memory.
pub fn stored_bytes(record: &Stored) -> usize {
    STORED_BYTES + record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len)
}

/// Wakes a reader.
#[derive(Debug, Default)]
pub struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Something has changed.
    pub fn raise(&self) {
        let mut raised = self.raised.lock().expect("no one panics while holding it");
        if !*raised {
            *raised = true;
            drop(raised);
            self.changed.notify_one();
        }
    }

    /// Before one looks what is there.
    pub fn lower(&self) {
        *self.raised.lock().expect("no one panics while holding it") = false;
    }

    /// Waits until something has changed since [`Self::lower`]; `false` when the time is over.
    pub fn wait(&self, until: Option<Instant>) -> bool {
        let mut raised = self.raised.lock().expect("no one panics while holding it");
        while !*raised {
            raised = match until {
                None => self.changed.wait(raised).expect("no one panics while holding it"),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.changed.wait_timeout(raised, left).expect("no one panics while holding it").0
                }
            };
        }
        true
    }
}
