//! Reading: the newest records from memory, older ones from the store with a bounded read-ahead.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::layout::{Records, chunk_key, chunk_offset};
use super::log::Log;
use super::partition::{Newest, Partition, Signal, stored_bytes};
use super::store::{Space, Store};
use crate::bus::{Position, Reader, Stored};
use crate::error::BusError;
use crate::topic::Topic;

/// Bytes that one poll returns, unless a single record is larger.
const POLL_BYTES_MAX: usize = 8 << 20;

/// Reads records of any number of partitions.
pub struct LogReader {
    log: Arc<Log>,
    signal: Arc<Signal>,
    cursors: Vec<Cursor>,
    /// The partition that is served first by the next poll.
    turn: usize,
}

/// A place in a partition.
struct Cursor {
    partition: Arc<Partition>,
    /// The next offset, after what is ahead.
    next: u64,
    /// What was fetched from the store already.
    ahead: VecDeque<Stored>,
}

impl LogReader {
    /// Reads from these places on.
    pub fn new(log: Arc<Log>, from: &[Position]) -> Result<Self, BusError> {
        let mut reader = Self { log, signal: Arc::default(), cursors: Vec::new(), turn: 0 };
        for position in from {
            reader.set(position)?;
        }
        Ok(reader)
    }

    /// What is there now.
    fn gather(&mut self, max: usize) -> Result<Vec<Stored>, BusError> {
        let (mut out, mut room) = (Vec::new(), POLL_BYTES_MAX);
        let count = self.cursors.len();
        self.turn = (self.turn + 1) % count.max(1);
        // First each partition its share, then what is left over, so that a busy one starves no other.
        for share in [max.div_ceil(count.max(1)), max] {
            for i in 0..count {
                let cursor = &mut self.cursors[(self.turn + i) % count];
                let until = max.min(out.len().saturating_add(share));
                if let Err(error) = cursor.read(&self.log, until, &mut room, &mut out) {
                    // What was read comes first. The error comes again, at the latest when this one has its turn.
                    return if out.is_empty() { Err(error) } else { Ok(out) };
                }
                if out.len() >= max || room == 0 {
                    return Ok(out);
                }
            }
        }
        Ok(out)
    }
}

impl Reader for LogReader {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Stored>, BusError> {
        let until = Instant::now().checked_add(timeout);
        loop {
            self.signal.lower();
            let records = self.gather(max)?;
            if !records.is_empty() || max == 0 || !self.signal.wait(until) {
                return Ok(records);
            }
        }
    }

    fn set(&mut self, position: &Position) -> Result<(), BusError> {
        let partition = self.log.partition(&position.topic, position.partition)?;
        self.remove(&position.topic, position.partition);
        partition.state().wake(&self.signal);
        self.cursors.push(Cursor { partition, next: position.offset, ahead: VecDeque::new() });
        Ok(())
    }

    fn remove(&mut self, topic: &Topic, partition: u32) {
        self.cursors.retain(|cursor| {
            let keep = cursor.partition.number != partition || cursor.partition.topic != *topic;
            if !keep {
                cursor.partition.state().forget(&self.signal);
            }
            keep
        });
        self.turn = 0;
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        for cursor in &self.cursors {
            cursor.partition.state().forget(&self.signal);
        }
    }
}

impl Cursor {
    /// Fills `out` up to `until` records, as long as `room` lasts.
    fn read(
        &mut self,
        log: &Log,
        until: usize,
        room: &mut usize,
        out: &mut Vec<Stored>,
    ) -> Result<(), BusError> {
        while out.len() < until && *room > 0 {
            if let Some(record) = self.ahead.front() {
                let bytes = stored_bytes(record);
                if *room < bytes && !out.is_empty() {
                    *room = 0;
                    return Ok(());
                }
                *room = room.saturating_sub(bytes);
                out.extend(self.ahead.pop_front());
                continue;
            }
            let state = self.partition.state();
            if self.next < state.first {
                return Err(self.partition.trimmed(self.next, state.first));
            }
            let found = state.newest(self.next, until - out.len(), room, out);
            drop(state);
            match found {
                Newest::End => return Ok(()),
                Newest::Given(count) => self.next += count as u64,
                Newest::Store(end) => self.fetch(log, end)?,
            }
        }
        Ok(())
    }

    /// Fetches from the store what comes next, of what lies before `end`.
    fn fetch(&mut self, log: &Log, end: u64) -> Result<(), BusError> {
        let limit = log.options.read_ahead_bytes;
        let fetch = || fetch(&log.store, &self.partition, self.next..end, limit);
        // Between two looks small chunks may have become a large one that begins before: the next look finds it.
        let fetched = fetch().or_else(|_| fetch());
        // Retention may have taken chunks away while they were being read.
        let first = self.partition.state().first;
        if self.next < first {
            return Err(self.partition.trimmed(self.next, first));
        }
        let (records, next) = fetched?;
        (self.ahead, self.next) = (records, next);
        Ok(())
    }
}

/// Records of the store within `range`, about `limit` bytes of them, and the place after them.
fn fetch(
    store: &Store,
    partition: &Partition,
    range: std::ops::Range<u64>,
    limit: usize,
) -> Result<(VecDeque<Stored>, u64), BusError> {
    let space = Space::Log(partition.id);
    let key = |offset| chunk_key(partition.number, offset);
    let damaged =
        |offset: u64| store.damaged(&format!("{}/{} at offset {offset}", partition.topic, partition.number));
    // The chunk that holds the first offset may begin before it.
    let mut begin = range.start;
    if !partition.table
        && let Some((found, _)) = store.last(space, &key(0), &key(range.start + 1))?
    {
        begin = chunk_offset(&found).ok_or_else(|| damaged(range.start))?;
    }
    let (mut records, mut next, mut bytes) = (VecDeque::new(), range.start, 0);
    for chunk in store.entries(space, &key(begin), &key(range.end)) {
        let (found, value) = chunk?;
        let base = chunk_offset(&found).ok_or_else(|| damaged(next))?;
        if !partition.table && base > next {
            return if records.is_empty() { Err(damaged(next)) } else { Ok((records, next)) };
        }
        let chunk =
            Records::of(&partition.topic, partition.number, base, value).ok_or_else(|| damaged(base))?;
        for record in chunk {
            let record = record.ok_or_else(|| damaged(base))?;
            if record.offset < next {
                continue;
            }
            if record.offset >= range.end {
                break;
            }
            next = record.offset + 1;
            bytes += stored_bytes(&record);
            records.push_back(record);
        }
        if bytes >= limit {
            return Ok((records, next));
        }
    }
    if !partition.table && next < range.end {
        return Err(damaged(next));
    }
    Ok((records, range.end))
}
