//! The bus on one machine: a durable log on fjall.
//!
//! | file | holds |
//! |---|---|
//! | `options.rs` | [`Options`]: the limits |
//! | `log.rs` | topics, the writer's lock, what is done when the disk is full |
//! | `write.rs` | records to chunks and offsets, one commit; the claim of a partition |
//! | `sync.rs` | one sync for all writes that wait |
//! | `partition.rs` | a partition in memory: bounds, newest records, who waits |
//! | `reader.rs` | reading: newest from memory, older ones from the store |
//! | `maintenance.rs` | retention |
//! | `group.rs` | groups of one member |
//! | `layout.rs` | keys and bytes in the store |
//! | `store.rs` | committing, reading, syncing; what is where |
//! | `wal.rs` | the write-ahead log |
//! | `recent.rs` | what was committed of late, in memory |
//! | `tables.rs` | what was committed earlier, in tables of fjall |
//!
//! # What is bounded, and what happens at the limit
//! - A write is done in the caller's thread, and the caller waits for the writer before it. [`Durability::Power`]: at
//!   most 65,536 writes wait for the disk, then publishers wait.
//! - A reader that is behind fetches ahead `read_ahead_bytes` a partition and holds nothing else. Writers never wait for
//!   readers: records stay in the log until retention takes them; then the reader gets [`BusError::Trimmed`].
//! - A poll returns at most 8 MiB, unless a single record is larger.
//! - Below `disk_reserve_bytes` of free space, or when the disk refuses, writes fail with [`BusError::DiskFull`] and
//!   leave nothing behind; they go on when there is space again. Reading goes on throughout.

mod group;
mod layout;
mod log;
mod maintenance;
mod options;
mod partition;
mod reader;
mod recent;
mod store;
mod sync;
mod tables;
mod wal;
mod write;

pub use options::Options;
pub use tables::background;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use fjall::Slice;

use crate::bus::{Bus, Durability, Exclusive, Membership, NewRecord, Position, Reader, Stored};
use crate::clock::{Clock, SystemClock};
use crate::error::BusError;
use crate::receipt::Receipt;
use crate::topic::{Topic, TopicSpec};
use group::Groups;
use layout::{KeyRow, Meta, Records, chunk_key, meta_key, u64_at};
use log::Log;
use maintenance::Stop;
use partition::Partition;
use reader::LogReader;
use store::{Folder, Op, Space};
use write::Claim;

/// The bus on one machine. Dropping it ends its threads; the folder is free when readers and claims are gone too.
pub struct EmbeddedBus {
    log: Arc<Log>,
    groups: Groups,
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl EmbeddedBus {
    /// Opens the log in a folder, which is created where it is missing. Retention runs before it returns.
    ///
    /// # Errors
    /// [`BusError::Locked`] when another process has it open, [`BusError::DiskFull`], or what is wrong with the folder.
    pub fn open(folder: impl AsRef<Path>, options: Options) -> Result<Self, BusError> {
        let log = Arc::new(Log::open(Folder::lock(folder.as_ref())?, options)?);
        let mut bus = Self { log, groups: Groups::default(), stop: Arc::default(), threads: Vec::new() };
        // First, as it makes room for whoever writes.
        let log = bus.log.clone();
        bus.start("bus-tables", move || log.store.settle_all())?;
        let log = bus.log.clone();
        bus.start("bus-sync", move || log.syncer.run(&log))?;
        maintenance::once(&bus.log, SystemClock.now())?;
        let (log, stop) = (bus.log.clone(), bus.stop.clone());
        bus.start("bus-maintenance", move || maintenance::run(&log, &stop))?;
        Ok(bus)
    }

    fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), BusError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push(thread.map_err(|error| BusError::other(self.log.place(), error))?);
        Ok(())
    }

    fn table_of(&self, topic: &Topic, partition: u32) -> Result<Arc<Partition>, BusError> {
        let partition = self.log.partition(topic, partition)?;
        if !partition.table {
            return Err(BusError::other(topic.as_str(), "it is a log, and has no last record of a key"));
        }
        Ok(partition)
    }
}

impl Drop for EmbeddedBus {
    fn drop(&mut self) {
        self.stop.stop();
        self.log.syncer.stop();
        self.log.store.stop();
        for thread in self.threads.drain(..) {
            // It has told about its panic itself.
            let _ = thread.join();
        }
    }
}

/// The record that a key's row points to, by the row that is there or that was there a moment before; `None` for a
/// tombstone.
fn row_record(
    log: &Log,
    partition: &Partition,
    key: &[u8],
    mut row: Slice,
) -> Result<Option<Stored>, BusError> {
    let damaged = || log.store.damaged(&format!("table {}/{}", partition.topic, partition.number));
    loop {
        let KeyRow { offset, deleted } = KeyRow::decode(&row).ok_or_else(damaged)?;
        if deleted.is_some() {
            return Ok(None);
        }
        let chunk = log.store.get(Space::Log(partition.id), &chunk_key(partition.number, offset))?;
        let Some(chunk) = chunk else {
            // Another took its place since the row was read.
            match log.store.get(Space::Meta, key)? {
                Some(now) if now != row => row = now,
                Some(_) => return Err(damaged()),
                None => return Ok(None),
            }
            continue;
        };
        let mut records =
            Records::of(&partition.topic, partition.number, offset, chunk).ok_or_else(damaged)?;
        return records.next().flatten().ok_or_else(damaged).map(Some);
    }
}

impl Bus for EmbeddedBus {
    fn create(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.log.create(topics)
    }

    fn partitions(&self, topic: &Topic) -> Result<u32, BusError> {
        Ok(self.log.topic(topic)?.partitions.len() as u32)
    }

    fn bounds(&self, topic: &Topic, partition: u32) -> Result<std::ops::Range<u64>, BusError> {
        Ok(self.log.partition(topic, partition)?.bounds())
    }

    fn publish(&self, records: Vec<NewRecord>, durability: Durability) -> Receipt {
        self.log.write(None, records, durability)
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, BusError> {
        Ok(Box::new(LogReader::new(self.log.clone(), from)?))
    }

    fn latest(&self, topic: &Topic, partition: u32, key: &[u8]) -> Result<Option<Stored>, BusError> {
        let partition = self.table_of(topic, partition)?;
        let key = meta_key(Meta::Key, partition.id, partition.number, key);
        match self.log.store.get(Space::Meta, &key)? {
            Some(row) => row_record(&self.log, &partition, &key, row),
            None => Ok(None),
        }
    }

    fn table(&self, topic: &Topic, partition: u32) -> Result<Vec<Stored>, BusError> {
        let partition = self.table_of(topic, partition)?;
        let rows = self.log.store.meta(&meta_key(Meta::Key, partition.id, partition.number, b""));
        let records = rows.map(|row| row.and_then(|(key, row)| row_record(&self.log, &partition, &key, row)));
        records.filter_map(Result::transpose).collect()
    }

    fn committed(&self, group: &str, topic: &Topic, partition: u32) -> Result<Option<u64>, BusError> {
        let partition = self.log.partition(topic, partition)?;
        let key = meta_key(Meta::Committed, partition.id, partition.number, group.as_bytes());
        let row = self.log.store.get(Space::Meta, &key)?;
        Ok(row.and_then(|row| u64_at(&row, 0)))
    }

    fn commit(&self, group: &str, positions: &[Position]) -> Result<(), BusError> {
        let op = |position: &Position| {
            let partition = self.log.partition(&position.topic, position.partition)?;
            let key = meta_key(Meta::Committed, partition.id, partition.number, group.as_bytes());
            Ok(Op::set(Space::Meta, key, position.offset.to_le_bytes()))
        };
        let ops: Vec<Op> = positions.iter().map(op).collect::<Result<_, BusError>>()?;
        let mut writer = self.log.writer();
        self.log.ready(&mut writer, 0)?;
        self.log.commit(&mut writer, &ops)
    }

    fn join(&self, group: &str, topic: &Topic) -> Result<Box<dyn Membership>, BusError> {
        let partitions = self.partitions(topic)?;
        Ok(Box::new(self.groups.join(group, topic, partitions)))
    }

    fn claim(
        &self,
        topic: &Topic,
        partition: u32,
        durability: Durability,
    ) -> Result<Box<dyn Exclusive>, BusError> {
        let partition = self.log.partition(topic, partition)?;
        Ok(Box::new(Claim::make(self.log.clone(), partition, durability)?))
    }
}
