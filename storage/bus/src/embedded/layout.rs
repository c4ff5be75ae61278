//! How records lie in the store: keys, chunks, and the rows of the keyspace `_meta`.
//!
//! Records of one call to one partition lie together in a **chunk**, which is one entry of the store: the key is
//! partition and first offset (big-endian, so the store's order is the log's), the value a head and the records. A table
//! has one record a chunk, as each is replaced by itself.
//!
//! | bytes of a chunk | |
//! |---|---|
//! | 1 | version of this layout |
//! | 4 | number of records |
//! | 4 | records of the segment before this chunk |
//! | 8 | bytes of the segment, this chunk included |
//! | 8 | latest time in the segment, this chunk included |
//! | then for each record | time (8), length of key (4), of value (4; all ones: none), key, value |
//!
//! All numbers are little-endian but those in keys.

use bytes::Bytes;
use tradeflow_model::Timestamp;

use crate::bus::Stored;
use crate::topic::Topic;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 25;
const NO_VALUE: u32 = u32::MAX;

/// Bytes that a record takes beyond key and value.
pub const RECORD_BYTES: usize = 16;

/// Key of the chunk that begins at `offset`.
pub fn chunk_key(partition: u32, offset: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The first offset of a chunk, from its key.
pub fn chunk_offset(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(4..12)?.try_into().ok()?))
}

/// A piece of a partition that retention deletes as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first offset.
    pub base: u64,
    /// The offset after its last.
    pub end: u64,
    /// Bytes of its records.
    pub bytes: u64,
    /// The latest time of its records.
    pub latest: Timestamp,
}

impl Segment {
    /// An empty one.
    pub fn at(base: u64) -> Self {
        Self { base, end: base, bytes: 0, latest: Timestamp::MIN }
    }

    /// Takes a record in.
    pub fn add(&mut self, bytes: usize, ts: Timestamp) {
        self.end += 1;
        self.bytes += bytes as u64;
        self.latest = self.latest.max(ts);
    }

    /// As a value of `_meta`, under its base.
    pub fn encode(&self) -> [u8; 24] {
        let mut value = [0; 24];
        value[..8].copy_from_slice(&self.end.to_le_bytes());
        value[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        value[16..].copy_from_slice(&self.latest.as_nanos().to_le_bytes());
        value
    }

    /// From `_meta`.
    pub fn decode(base: u64, value: &[u8]) -> Option<Self> {
        let (end, bytes, latest) = (u64_at(value, 0)?, u64_at(value, 8)?, u64_at(value, 16)?);
        Some(Self { base, end, bytes, latest: Timestamp::from_nanos(latest as i64) })
    }
}

/// A chunk that is being filled.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    count: u32,
}

impl Chunk {
    /// Adds a record.
    pub fn push(&mut self, ts: Timestamp, key: &[u8], value: Option<&[u8]>) {
        let bytes = RECORD_BYTES + key.len() + value.map_or(0, <[u8]>::len);
        if self.bytes.is_empty() {
            self.bytes.reserve(HEAD_BYTES + bytes);
            self.bytes.resize(HEAD_BYTES, 0);
        }
        self.bytes.reserve(bytes);
        let value_len = value.map_or(NO_VALUE, |value| value.len() as u32);
        self.bytes.extend_from_slice(&ts.as_nanos().to_le_bytes());
        self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&value_len.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.count += 1;
    }

    /// How many records it has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How large it is.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole chunk, the last of this segment so far; leaves an empty one.
    pub fn finish(&mut self, segment: &Segment) -> fjall::Slice {
        let before = (segment.end - segment.base) as u32 - self.count;
        self.bytes[0] = VERSION;
        self.bytes[1..5].copy_from_slice(&self.count.to_le_bytes());
        self.bytes[5..9].copy_from_slice(&before.to_le_bytes());
        self.bytes[9..17].copy_from_slice(&segment.bytes.to_le_bytes());
        self.bytes[17..25].copy_from_slice(&segment.latest.as_nanos().to_le_bytes());
        let value = fjall::Slice::from(self.bytes.as_slice());
        self.bytes.clear();
        self.count = 0;
        value
    }
}

/// The segment as it stood with this chunk.
pub fn segment_of(base: u64, chunk: &[u8]) -> Option<Segment> {
    let (count, before) = (u32_at(chunk, 1)?, u32_at(chunk, 5)?);
    Some(Segment {
        base: base.checked_sub(u64::from(before))?,
        end: base + u64::from(count),
        bytes: u64_at(chunk, 9)?,
        latest: Timestamp::from_nanos(u64_at(chunk, 17)? as i64),
    })
}

/// Chunks that follow each other in a segment, made one. Those of a table are segments of their own, and stay.
pub struct Joined {
    /// The key of the first.
    pub key: fjall::Slice,
    /// All of them so far.
    pub chunk: Vec<u8>,
}

impl Joined {
    /// A first chunk; `None` when it is none of this layout.
    pub fn new(key: &fjall::Slice, chunk: &[u8]) -> Option<Self> {
        is_chunk(chunk).then(|| Self { key: key.clone(), chunk: chunk.to_vec() })
    }

    /// Adds the next chunk, unless it does not belong to the same piece of the log or all would be larger than this.
    pub fn add(&mut self, key: &fjall::Slice, chunk: &[u8], bytes_max: usize) -> bool {
        let joined = || {
            let (first, offset) = (chunk_offset(&self.key)?, chunk_offset(key)?);
            let (ours, theirs) = (segment_of(first, &self.chunk)?, segment_of(offset, chunk)?);
            let fits = self.chunk.len() + chunk.len() <= bytes_max + HEAD_BYTES;
            let follows = key[..4] == self.key[..4] && (theirs.base, offset) == (ours.base, ours.end);
            (fits && follows && is_chunk(chunk)).then(|| (theirs.end - first) as u32)
        };
        let Some(count) = joined() else { return false };
        self.chunk[1..5].copy_from_slice(&count.to_le_bytes());
        // What it says of the segment is so up to its end.
        self.chunk[9..HEAD_BYTES].copy_from_slice(&chunk[9..HEAD_BYTES]);
        self.chunk.extend_from_slice(&chunk[HEAD_BYTES..]);
        true
    }
}

/// Whether these bytes begin as a chunk of this layout does.
fn is_chunk(bytes: &[u8]) -> bool {
    bytes.first() == Some(&VERSION) && bytes.len() >= HEAD_BYTES
}

/// The records of a chunk, without copying keys or values.
pub struct Records {
    topic: Topic,
    partition: u32,
    offset: u64,
    left: u32,
    bytes: Bytes,
    at: usize,
}

impl Records {
    /// Of this chunk; `None` when it is none of this layout.
    pub fn of(topic: &Topic, partition: u32, base: u64, chunk: fjall::Slice) -> Option<Self> {
        if !is_chunk(&chunk) {
            return None;
        }
        let left = u32_at(&chunk, 1)?;
        let bytes = Bytes::from_owner(chunk);
        Some(Self { topic: topic.clone(), partition, offset: base, left, bytes, at: HEAD_BYTES })
    }

    fn read(&mut self) -> Option<Stored> {
        let ts = u64_at(&self.bytes, self.at)? as i64;
        let (key_len, value_len) = (u32_at(&self.bytes, self.at + 8)?, u32_at(&self.bytes, self.at + 12)?);
        let key_at = self.at + RECORD_BYTES;
        let value_at = key_at + key_len as usize;
        let end = value_at + if value_len == NO_VALUE { 0 } else { value_len as usize };
        if end > self.bytes.len() {
            return None;
        }
        self.at = end;
        self.offset += 1;
        Some(Stored {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offset - 1,
            key: self.bytes.slice(key_at..value_at),
            value: (value_len != NO_VALUE).then(|| self.bytes.slice(value_at..end)),
            ts: Timestamp::from_nanos(ts),
        })
    }
}

/// Each record; `None` where the bytes end too early.
impl Iterator for Records {
    type Item = Option<Stored>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read())
    }
}

/// What a row of `_meta` is about.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum Meta {
    /// A topic, by its name.
    Topic = b't',
    /// First offset that is kept, and the least that the next one may be.
    First = b'f',
    /// A sealed segment, by its base.
    Segment = b's',
    /// How often the partition has been claimed.
    Epoch = b'e',
    /// A committed position, by its group.
    Committed = b'c',
    /// Of a table: where the last record of a key is.
    Key = b'k',
    /// Of the whole store: the commit up to which its tables have everything.
    Settled = b'w',
}

/// Key of a topic's row.
pub fn topic_key(name: &str) -> Vec<u8> {
    [&[Meta::Topic as u8], name.as_bytes()].concat()
}

/// Key of a partition's row.
pub fn meta_key(meta: Meta, topic: u32, partition: u32, rest: &[u8]) -> Vec<u8> {
    [&[meta as u8][..], &topic.to_be_bytes(), &partition.to_be_bytes(), rest].concat()
}

/// What follows topic and partition in a partition's row.
pub fn meta_rest(key: &[u8]) -> &[u8] {
    key.get(9..).unwrap_or_default()
}

/// Where the last record of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRow {
    /// Its offset.
    pub offset: u64,
    /// It is a tombstone of this time.
    pub deleted: Option<Timestamp>,
}

impl KeyRow {
    /// As a value of `_meta`.
    pub fn encode(&self) -> [u8; 17] {
        let mut value = [0; 17];
        value[..8].copy_from_slice(&self.offset.to_le_bytes());
        if let Some(ts) = self.deleted {
            value[8] = 1;
            value[9..].copy_from_slice(&ts.as_nanos().to_le_bytes());
        }
        value
    }

    /// From `_meta`.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let deleted = match value.get(8)? {
            0 => None,
            _ => Some(Timestamp::from_nanos(u64_at(value, 9)? as i64)),
        };
        Some(Self { offset: u64_at(value, 0)?, deleted })
    }
}

/// Two numbers as a value.
pub fn pair(first: u64, second: u64) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&first.to_le_bytes());
    value[8..].copy_from_slice(&second.to_le_bytes());
    value
}

/// The number at this place.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_come_back(
            records in prop::collection::vec(
                (any::<i64>(), prop::collection::vec(any::<u8>(), 0..20),
                 prop::option::of(prop::collection::vec(any::<u8>(), 0..50))), 1..20),
            base in 0..u64::MAX / 2,
            before in 0..1000_u64,
        ) {
            let topic = Topic::new("t");
            let mut segment = Segment { end: base, ..Segment::at(base.saturating_sub(before)) };
            let mut chunk = Chunk::default();
            for (ts, key, value) in &records {
                let ts = Timestamp::from_nanos(*ts);
                chunk.push(ts, key, value.as_deref());
                segment.add(RECORD_BYTES + key.len() + value.as_ref().map_or(0, Vec::len), ts);
            }
            let bytes = chunk.finish(&segment);
            prop_assert_eq!(segment_of(base, &bytes), Some(segment));
            let read: Vec<_> = Records::of(&topic, 3, base, bytes.clone()).unwrap().collect();
            prop_assert_eq!(read.len(), records.len());
            for ((stored, (ts, key, value)), offset) in read.into_iter().zip(&records).zip(base..) {
                let stored = stored.unwrap();
                prop_assert_eq!(stored.offset, offset);
                prop_assert_eq!(stored.ts.as_nanos(), *ts);
                prop_assert_eq!(stored.key.as_ref(), key.as_slice());
                prop_assert_eq!(stored.value.as_deref(), value.as_deref());
            }
            // In halves, and joined again, it is the same; another segment or another place does not join.
            let half = records.len() / 2;
            let mut part = Segment { end: base, ..Segment::at(base.saturating_sub(before)) };
            let mut parts = Vec::new();
            for records in [&records[..half], &records[half..]] {
                let at = part.end;
                for (ts, key, value) in records {
                    let ts = Timestamp::from_nanos(*ts);
                    chunk.push(ts, key, value.as_deref());
                    part.add(RECORD_BYTES + key.len() + value.as_ref().map_or(0, Vec::len), ts);
                }
                if !records.is_empty() {
                    parts.push((fjall::Slice::from(chunk_key(3, at)), chunk.finish(&part)));
                }
            }
            let mut joined = Joined::new(&parts[0].0, &parts[0].1).unwrap();
            if let Some((key, second)) = parts.get(1) {
                prop_assert!(!joined.add(key, second, 1));
                prop_assert!(!joined.add(&chunk_key(4, base + half as u64).into(), second, usize::MAX / 2));
                prop_assert!(!joined.add(&chunk_key(3, base + half as u64 + 1).into(), second, usize::MAX / 2));
                let mut elsewhere = second.to_vec();
                elsewhere[5] ^= 1;
                prop_assert!(!joined.add(key, &elsewhere, usize::MAX / 2));
                prop_assert!(joined.add(key, second, usize::MAX / 2));
            }
            prop_assert_eq!(joined.chunk.as_slice(), &*bytes);
            // A chunk that ends too early is told, and never read beyond its end.
            for end in 0..bytes.len() {
                if let Some(records) = Records::of(&topic, 3, base, fjall::Slice::from(&bytes[..end])) {
                    prop_assert!(records.into_iter().any(|record| record.is_none()));
                }
            }
        }
    }
}
