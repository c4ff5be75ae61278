//! What may be set.

use std::time::Duration;

/// Limits of the embedded log. The defaults fit a node of a few hundred accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of key and value that one record may have.
    pub record_bytes_max: usize,
    /// Bytes of the newest records of each partition that are kept in memory, for readers that are up to date.
    pub tail_bytes: usize,
    /// Bytes that a reader fetches ahead from the store, for each partition where it is behind.
    pub read_ahead_bytes: usize,
    /// Bytes of a segment: retention deletes whole ones.
    pub segment_bytes: u64,
    /// How often retention runs.
    pub maintenance_every: Duration,
    /// How long a tombstone of a table is there for readers.
    pub tombstones_for: Duration,
    /// Free bytes of the disk below which nothing is written any more, so that what was written can still be put in
    /// order.
    pub disk_reserve_bytes: u64,
    /// Memory for what was written last, before it goes to sorted tables. While the tables take it as much again is
    /// filled, and up to five times this where they can't keep up. It is read from the write-ahead log again when the log
    /// is opened.
    pub memory_bytes: u64,
    /// Memory for blocks of the store that were read.
    pub cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            record_bytes_max: 8 << 20,
            tail_bytes: 512 << 10,
            read_ahead_bytes: 256 << 10,
            segment_bytes: 1 << 20,
            maintenance_every: Duration::from_secs(10),
            tombstones_for: Duration::from_secs(24 * 3_600),
            disk_reserve_bytes: 128 << 20,
            memory_bytes: 16 << 20,
            cache_bytes: 32 << 20,
        }
    }
}
