//! The contract of the bus.

use std::time::Duration;

use bytes::Bytes;
use tradeflow_model::Timestamp;

use crate::error::BusError;
use crate::receipt::Receipt;
use crate::topic::{Topic, TopicSpec};

/// What a write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the process by any means (`kill -9`): the record is with the operating system or the broker.
    #[default]
    Process,
    /// Loss of power: the record is on the disk, synced in groups. (Kafka: on all in-sync replicas; whether they sync is
    /// the brokers' setting.)
    Power,
}

/// A record to be written.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Where to.
    pub topic: Topic,
    /// Partition; see [`crate::partition_of`].
    pub partition: u32,
    /// Key. Of a table it says which record is replaced.
    pub key: Bytes,
    /// What is written; `None` deletes the key of a table (a tombstone), and is an error in a log.
    pub value: Option<Bytes>,
    /// The record's own time; retention by age goes by it.
    pub ts: Timestamp,
}

/// A record that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its topic.
    pub topic: Topic,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its key.
    pub key: Bytes,
    /// Its value; `None` for a tombstone.
    pub value: Option<Bytes>,
    /// Its own time.
    pub ts: Timestamp,
}

/// A place to read from: the record at `offset`, or the first one after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// The offset of the next record.
    pub offset: u64,
}

/// The bus. Shared by all threads of a process; calls may block for as long as a disk or broker takes, so executors'
/// threads use only [`Self::publish`] and [`Exclusive::append`].
pub trait Bus: Send + Sync + 'static {
    /// Creates the topics that are missing.
    ///
    /// # Errors
    /// [`BusError::Partitions`] when one exists with another number; then none is created.
    fn create(&self, topics: &[TopicSpec]) -> Result<(), BusError>;

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// [`BusError::NoTopic`].
    fn partitions(&self, topic: &Topic) -> Result<u32, BusError>;

    /// First offset that is kept, and the offset that the next record will have (or a lower bound of it).
    ///
    /// # Errors
    /// [`BusError::NoTopic`].
    fn bounds(&self, topic: &Topic, partition: u32) -> Result<std::ops::Range<u64>, BusError>;

    /// Writes records, in this order within each partition; embedded: all or none. Many threads may publish to one
    /// partition: their records interleave. The receipt resolves with `durability`. When the buffer of the
    /// implementation is full, the call itself waits.
    fn publish(&self, records: Vec<NewRecord>, durability: Durability) -> Receipt;

    /// Reads from these places on, and waits at the end for more.
    ///
    /// # Errors
    /// [`BusError::NoTopic`].
    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, BusError>;

    /// As [`Self::reader`], for much that comes in small pieces: where reading is a trip to a server, each waits up to
    /// `gather` for more, so that there are fewer of them.
    ///
    /// # Errors
    /// As [`Self::reader`].
    fn gathering_reader(&self, from: &[Position], _gather: Duration) -> Result<Box<dyn Reader>, BusError> {
        self.reader(from)
    }

    /// Reads a partition from a place on to its end as it is now. What comes before the first record that is kept is
    /// passed over.
    ///
    /// # Errors
    /// [`BusError::NoTopic`].
    fn scan(&self, from: &Position) -> Result<Box<dyn Scan>, BusError> {
        let bounds = self.bounds(&from.topic, from.partition)?;
        let place = Position { offset: from.offset.max(bounds.start), ..from.clone() };
        let reader = self.reader(std::slice::from_ref(&place))?;
        Ok(Box::new(Contiguous { reader, place, end: bounds.end }))
    }

    /// For whoever has claimed a partition: entries from a place on that claims before have journaled
    /// ([`Exclusive::journal`]) and that readers may not see, as what came of them is missing. Others may come between
    /// them, which readers do see, and one that is written once more comes again.
    ///
    /// # Errors
    /// As [`Self::scan`].
    fn journaled(&self, _from: &Position) -> Result<Box<dyn Scan>, BusError> {
        Ok(Box::new(Nothing))
    }

    /// The last record of a key of a table.
    ///
    /// # Errors
    /// [`BusError::NoTopic`], or when it can't be read.
    fn latest(&self, topic: &Topic, partition: u32, key: &[u8]) -> Result<Option<Stored>, BusError>;

    /// All last records of a table's partition, in the order of their keys.
    ///
    /// # Errors
    /// As [`Self::latest`].
    fn table(&self, topic: &Topic, partition: u32) -> Result<Vec<Stored>, BusError>;

    /// The committed position of a group: the offset that it reads next; `None` before the first commit.
    ///
    /// # Errors
    /// [`BusError::NoTopic`].
    fn committed(&self, group: &str, topic: &Topic, partition: u32) -> Result<Option<u64>, BusError>;

    /// Commits positions of a group.
    ///
    /// # Errors
    /// [`BusError::NoTopic`], or when it can't be written.
    fn commit(&self, group: &str, positions: &[Position]) -> Result<(), BusError>;

    /// Joins a group that shares the partitions of a topic among its members. Embedded: there is one member, which gets
    /// all of them.
    ///
    /// # Errors
    /// [`BusError::NoTopic`].
    fn join(&self, group: &str, topic: &Topic) -> Result<Box<dyn Membership>, BusError>;

    /// Claims a partition for one writer. Whoever had it before is fenced off: its appends fail with
    /// [`BusError::Fenced`] from now on, those that were under way included, unless they were written already.
    ///
    /// # Errors
    /// [`BusError::NoTopic`], or when the claim can't be made.
    fn claim(
        &self,
        topic: &Topic,
        partition: u32,
        durability: Durability,
    ) -> Result<Box<dyn Exclusive>, BusError>;
}

/// Reads records of any number of partitions.
pub trait Reader: Send {
    /// The next records, at most `max`, those of one partition in order; waits up to `timeout` for the first. Empty
    /// when there are none.
    ///
    /// # Errors
    /// [`BusError::Trimmed`]: the position stays, so the caller decides (see [`Self::set`]).
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Stored>, BusError>;

    /// Goes on from here with this partition, whether it was being read or not.
    ///
    /// # Errors
    /// [`BusError::NoTopic`].
    fn set(&mut self, position: &Position) -> Result<(), BusError>;

    /// Reads this partition no more.
    fn remove(&mut self, topic: &Topic, partition: u32);
}

/// Reads one partition up to an end.
pub trait Scan: Send {
    /// The next records, at most `max`, in order; empty at the end.
    ///
    /// # Errors
    /// [`BusError::Trimmed`] when retention was faster, or when the bus can't be read.
    fn next(&mut self, max: usize) -> Result<Vec<Stored>, BusError>;
}

/// Of a bus that writes entries with what came of them.
struct Nothing;

impl Scan for Nothing {
    fn next(&mut self, _max: usize) -> Result<Vec<Stored>, BusError> {
        Ok(Vec::new())
    }
}

/// A scan of a bus whose offsets have no gaps. (Kafka's have, where transactions end, so it has one of its own.)
struct Contiguous {
    reader: Box<dyn Reader>,
    place: Position,
    end: u64,
}

impl Contiguous {
    /// How long to wait for records that are known to be there.
    const PATIENCE: Duration = Duration::from_secs(30);
}

impl Scan for Contiguous {
    fn next(&mut self, max: usize) -> Result<Vec<Stored>, BusError> {
        let Position { topic, partition, offset } = &mut self.place;
        if *offset >= self.end {
            return Ok(Vec::new());
        }
        let mut records = self.reader.poll(max, Self::PATIENCE)?;
        let Some(last) = records.last() else {
            let what = format!("offset {offset} should be there, but does not come");
            return Err(BusError::other(format!("{topic}/{partition}"), what));
        };
        *offset = last.offset + 1;
        records.retain(|record| record.offset < self.end);
        Ok(records)
    }
}

/// The one writer of a partition.
pub trait Exclusive: Send {
    /// Writes records to the claimed partition (of this and, for outputs, of any other topic in the same call), in
    /// order, all or none: readers see all of them or, after a failure, none. Another append may be made before the
    /// receipt of the last has resolved: they are written in this order, and when a receipt that was not there at once
    /// resolves to a failure, whatever was appended after it is not written either, or not without it.
    fn append(&mut self, records: Vec<NewRecord>) -> Receipt;

    /// Writes records to the claimed partition and what came of them to others, in one order with [`Self::append`], but
    /// the receipt may come as soon as `entries` are durable; their places come first in it, those of `outputs` may be
    /// missing. If the claim ends before all is there, readers see nothing of either, but [`Bus::journaled`] shows the
    /// entries to whoever claims the partition next, so that he can write them once more, with what came of them.
    fn journal(&mut self, mut entries: Vec<NewRecord>, mut outputs: Vec<NewRecord>) -> Receipt {
        entries.append(&mut outputs);
        self.append(entries)
    }
}

/// A member of a group.
pub trait Membership: Send {
    /// What has changed; waits up to `timeout`. Revoked partitions must be let go of before the next call: others get
    /// them then.
    ///
    /// # Errors
    /// When the group can't be reached for good.
    fn poll(&mut self, timeout: Duration) -> Result<Vec<GroupEvent>, BusError>;
}

/// A change of what a member owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEvent {
    /// These partitions are this member's now.
    Assigned(Vec<u32>),
    /// These are to be let go of.
    Revoked(Vec<u32>),
    /// These were taken away: another member may own them already.
    Lost(Vec<u32>),
}
