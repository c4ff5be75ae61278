//! What can go wrong on the bus.

use crate::topic::Topic;

/// An error of the bus: what, where, and what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// No such topic.
    #[error("there is no topic {0}: it is created when a node starts")]
    NoTopic(Topic),
    /// The topic exists with another number of partitions, so keys would be found in other places.
    #[error(
        "topic {topic} has {there} partitions, the configuration says {wanted}: the number can't change once \
         there are records; use another prefix, or set it to {there}"
    )]
    Partitions {
        /// The topic.
        topic: Topic,
        /// As it is.
        there: u32,
        /// As it should be.
        wanted: u32,
    },
    /// Records were deleted by retention before they were read.
    #[error(
        "{topic}/{partition}: offset {wanted} is gone, the first that is kept is {first}: the reader was away for \
         longer than the topic's retention"
    )]
    Trimmed {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: u32,
        /// What was to be read.
        wanted: u64,
        /// The first that is there.
        first: u64,
    },
    /// Another writer has claimed the partition since: this one must stop acting on it at once.
    #[error("{topic}/{partition} has been claimed by another writer: this one is fenced off")]
    Fenced {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: u32,
    },
    /// A record larger than the limit.
    #[error("{topic}: a record of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// The topic.
        topic: Topic,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk is full; nothing of the record was written.
    #[error("the disk that holds {place} is full: free space, then start again; nothing was lost")]
    DiskFull {
        /// The folder.
        place: String,
    },
    /// The folder is in use by another process.
    #[error("{place} is in use by another tradeflow process: stop it first, or use another data folder")]
    Locked {
        /// The folder.
        place: String,
    },
    /// The brokers can't be reached, or do not answer in time. May be tried again.
    #[error("Kafka at {brokers}: {reason}")]
    Unavailable {
        /// Their addresses.
        brokers: String,
        /// In the client's words, without secrets.
        reason: String,
    },
    /// Anything else.
    #[error("{place}: {reason}")]
    Other {
        /// Folder, topic or address.
        place: String,
        /// In words.
        reason: String,
    },
}

impl BusError {
    /// Any other error.
    pub fn other(place: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Other { place: place.into(), reason: reason.to_string() }
    }
}
