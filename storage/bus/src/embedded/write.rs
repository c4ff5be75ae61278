//! Writing: records to chunks, offsets, one commit, and then readers see them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::layout::{Chunk, KeyRow, Meta, RECORD_BYTES, Segment, chunk_key, meta_key};
use super::log::{Log, TopicState, no_partition};
use super::partition::Partition;
use super::store::{Op, Space};
use crate::bus::{Durability, Exclusive, NewRecord, Stored};
use crate::error::BusError;
use crate::receipt::{Receipt, Written};
use crate::topic::Topic;

/// A chunk is closed when it is this large.
const CHUNK_BYTES: usize = 64 << 10;
/// Longest key: it is part of a key of the store.
const KEY_BYTES_MAX: usize = 32 << 10;

/// What one call writes to one partition.
struct Group {
    partition: Arc<Partition>,
    /// Where the chunk that is being filled begins.
    base: u64,
    chunk: Chunk,
    segment: Segment,
    sealed: Vec<Segment>,
    shown: Vec<Stored>,
    next: u64,
    tombstones: bool,
}

impl Group {
    fn new(partition: Arc<Partition>) -> Self {
        let state = partition.state();
        let (segment, next) = (state.segment, state.next);
        drop(state);
        Self {
            partition,
            base: next,
            chunk: Chunk::default(),
            segment,
            sealed: Vec::new(),
            shown: Vec::new(),
            next,
            tombstones: false,
        }
    }

    fn space(&self) -> Space {
        Space::Log(self.partition.id)
    }

    /// Adds a record to the chunk, and gives it its offset.
    fn push(&mut self, record: NewRecord, kept: bool) -> u64 {
        let offset = self.next;
        if kept {
            if self.chunk.count() == 0 {
                self.base = offset;
                if self.partition.table {
                    // Its records come and go one by one; segments mean nothing there.
                    self.segment = Segment::at(offset);
                }
            }
            let bytes = RECORD_BYTES + record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
            self.chunk.push(record.ts, &record.key, record.value.as_deref());
            self.segment.add(bytes, record.ts);
        }
        let (topic, partition) = (self.partition.topic.clone(), self.partition.number);
        let NewRecord { key, value, ts, .. } = record;
        self.shown.push(Stored { topic, partition, offset, key, value, ts });
        self.next += 1;
        offset
    }

    /// Closes the chunk.
    fn close(&mut self, segment_bytes: u64, ops: &mut Vec<Op>) {
        if self.chunk.count() == 0 {
            return;
        }
        let value = self.chunk.finish(&self.segment);
        ops.push(Op::set(self.space(), chunk_key(self.partition.number, self.base), value));
        if self.segment.bytes >= segment_bytes && !self.partition.table {
            let base = self.segment.base.to_be_bytes();
            let key = meta_key(Meta::Segment, self.partition.id, self.partition.number, &base);
            ops.push(Op::set(Space::Meta, key, self.segment.encode()));
            self.sealed.push(self.segment);
            self.segment = Segment::at(self.segment.end);
        }
    }
}

impl Log {
    /// Writes records, all or none; with a claim only when it still holds.
    pub fn write(&self, claim: Option<&Claim>, records: Vec<NewRecord>, durability: Durability) -> Receipt {
        match self.try_write(claim, records) {
            Ok(written) if durability == Durability::Process || written.places.is_empty() => {
                Receipt::ready(Ok(written))
            }
            Ok(written) => self
                .syncer
                .after_sync(written)
                .unwrap_or_else(|written| Receipt::ready(self.store.sync().map(|()| written))),
            Err(error) => Receipt::ready(Err(error)),
        }
    }

    fn try_write(&self, claim: Option<&Claim>, records: Vec<NewRecord>) -> Result<Written, BusError> {
        let (targets, bytes) = self.check(&records)?;
        let mut writer = self.writer();
        if let Some(claim) = claim {
            claim.check()?;
        }
        if records.is_empty() {
            return Ok(Written::default());
        }
        self.ready(&mut writer, bytes)?;
        let last = last_of_keys(&records, &targets);
        let (mut groups, mut ops): (Vec<Group>, Vec<Op>) = (Vec::new(), Vec::new());
        let mut places = Vec::with_capacity(records.len());
        for (i, (record, target)) in records.into_iter().zip(targets).enumerate() {
            let at = match groups.iter().rposition(|group| Arc::ptr_eq(&group.partition, &target)) {
                Some(at) => at,
                None => {
                    groups.push(Group::new(target));
                    groups.len() - 1
                }
            };
            let group = &mut groups[at];
            let kept = !group.partition.table
                || last.get(&(group.partition.id, group.partition.number, record.key.clone())) == Some(&i);
            if group.partition.table && kept {
                self.replace(group, &record, &mut ops)?;
            }
            places.push((group.partition.number, group.push(record, kept)));
            if group.partition.table || group.chunk.len() >= CHUNK_BYTES {
                group.close(self.options.segment_bytes, &mut ops);
            }
        }
        for group in &mut groups {
            group.close(self.options.segment_bytes, &mut ops);
        }
        self.commit(&mut writer, &ops)?;
        let mut wake = Vec::new();
        for group in groups {
            let mut state = group.partition.state();
            state.segment = group.segment;
            state.sealed.extend(group.sealed);
            state.tombstones |= group.tombstones;
            state.show(group.shown, self.options.tail_bytes, &mut wake);
        }
        drop(writer);
        wake.iter().for_each(|signal| signal.raise());
        Ok(Written { places })
    }

    /// Where the records go, and their bytes; an error when one of them can't be written.
    fn check(&self, records: &[NewRecord]) -> Result<(Vec<Arc<Partition>>, usize), BusError> {
        let mut known: Option<(&Topic, Arc<TopicState>)> = None;
        let (mut targets, mut sum) = (Vec::with_capacity(records.len()), 0);
        for record in records {
            let state = match &known {
                Some((topic, state)) if **topic == record.topic => state,
                _ => &known.insert((&record.topic, self.topic(&record.topic)?)).1,
            };
            let partition = state.partitions.get(record.partition as usize);
            let partition = partition.ok_or_else(|| no_partition(&record.topic, record.partition, state))?;
            if record.value.is_none() && !partition.table {
                let reason =
                    "a record without value is a tombstone, and only tables have them: give it a value";
                return Err(BusError::other(record.topic.as_str(), reason));
            }
            let bytes = record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
            for (bytes, limit) in [(bytes, self.options.record_bytes_max), (record.key.len(), KEY_BYTES_MAX)]
            {
                if bytes > limit {
                    return Err(BusError::TooLarge { topic: record.topic.clone(), bytes, limit });
                }
            }
            sum += bytes + RECORD_BYTES;
            targets.push(partition.clone());
        }
        Ok((targets, sum))
    }

    /// A table's record takes the place of the one before it.
    fn replace(&self, group: &mut Group, record: &NewRecord, ops: &mut Vec<Op>) -> Result<(), BusError> {
        let (id, number) = (group.partition.id, group.partition.number);
        let key = meta_key(Meta::Key, id, number, &record.key);
        if let Some(row) = self.store.get(Space::Meta, &key)?
            && let Some(row) = KeyRow::decode(&row)
        {
            ops.push(Op::remove(group.space(), chunk_key(number, row.offset)));
        }
        let deleted = record.value.is_none().then_some(record.ts);
        group.tombstones |= deleted.is_some();
        ops.push(Op::set(Space::Meta, key, KeyRow { offset: group.next, deleted }.encode()));
        Ok(())
    }
}

/// Which record of a call is the last of its key, for tables.
fn last_of_keys(records: &[NewRecord], targets: &[Arc<Partition>]) -> HashMap<(u32, u32, Bytes), usize> {
    let tables = records.iter().zip(targets).enumerate().filter(|(_, (_, target))| target.table);
    tables.map(|(i, (record, target))| ((target.id, target.number, record.key.clone()), i)).collect()
}

/// The claim of a partition.
pub struct Claim {
    log: Arc<Log>,
    partition: Arc<Partition>,
    epoch: u64,
    durability: Durability,
}

impl Claim {
    /// Claims a partition, and fences off whoever had it.
    pub fn make(log: Arc<Log>, partition: Arc<Partition>, durability: Durability) -> Result<Self, BusError> {
        let mut writer = log.writer();
        log.ready(&mut writer, 0)?;
        let epoch = partition.state().epoch + 1;
        let key = meta_key(Meta::Epoch, partition.id, partition.number, b"");
        log.commit(&mut writer, &[Op::set(Space::Meta, key, epoch.to_le_bytes())])?;
        partition.state().epoch = epoch;
        drop(writer);
        if durability == Durability::Power {
            log.store.sync()?;
        }
        Ok(Self { log, partition, epoch, durability })
    }

    /// Whether it still holds. It can't change while the writer's lock is held.
    fn check(&self) -> Result<(), BusError> {
        if self.partition.state().epoch == self.epoch {
            return Ok(());
        }
        Err(BusError::Fenced { topic: self.partition.topic.clone(), partition: self.partition.number })
    }
}

impl Exclusive for Claim {
    fn append(&mut self, records: Vec<NewRecord>) -> Receipt {
        self.log.write(Some(self), records, self.durability)
    }
}
