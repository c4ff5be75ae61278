//! Topics: names, partitions, retention.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The name of a topic, cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// A topic of this name: lower-case letters, digits, `.` and `-`, as both implementations take them.
    ///
    /// # Panics
    /// When the name is empty, longer than 200 bytes or holds anything else: names are ours, not a user's.
    pub fn new(name: &str) -> Self {
        let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        assert!(!name.is_empty() && name.len() <= 200 && name.bytes().all(ok), "topic name {name:?}");
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long records are kept. What reaches either limit is deleted, oldest first; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Age, by the record's own time.
    pub age: Option<Duration>,
    /// Bytes of a partition.
    pub bytes: Option<u64>,
}

/// What a topic keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicKind {
    /// All records in order, until retention takes the oldest.
    Log(Retention),
    /// The last record of each key, for ever (Kafka: compacted).
    Table,
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: Topic,
    /// Its partitions, at least one. Can't change once there are records.
    pub partitions: u32,
    /// What it keeps.
    pub kind: TopicKind,
}

/// The partition of a key: FNV-1a of its bytes modulo the number of partitions. We choose the partition ourselves, so
/// that it does not depend on a client's partitioner.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash % u64::from(partitions.max(1))) as u32
}

/// The topics of TradeFlow under a prefix (`prod.`, `demo.`; may be empty).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // each field is the topic of that name; the table is in `docs/bus.md`
pub struct Topics {
    pub trades: Topic,
    pub quotes: Topic,
    pub bars: Topic,
    pub signals: Topic,
    pub commands: Topic,
    pub replies: Topic,
    pub orders: Topic,
    pub fills: Topic,
    pub equity: Topic,
    pub journal: Topic,
    pub snapshots: Topic,
    pub sessions: Topic,
    pub views: Topic,
    pub dead_letters: Topic,
}

impl Topics {
    /// The topics under a prefix.
    pub fn new(prefix: &str) -> Self {
        let topic = |name: &str| Topic::new(&format!("{prefix}{name}"));
        Self {
            trades: topic("md.trades.v1"),
            quotes: topic("md.quotes.v1"),
            bars: topic("md.bars.v1"),
            signals: topic("signals.v1"),
            commands: topic("commands.v1"),
            replies: topic("replies.v1"),
            orders: topic("orders.v1"),
            fills: topic("fills.v1"),
            equity: topic("equity.v1"),
            journal: topic("journal.v1"),
            snapshots: topic("snapshots.v1"),
            sessions: topic("sessions.v1"),
            views: topic("views.v1"),
            dead_letters: topic("dead-letters.v1"),
        }
    }

    /// All of them, to be created: market data is kept for `market`; what belongs to accounts for ever.
    pub fn specs(&self, partitions: u32, market: Retention) -> Vec<TopicSpec> {
        let log = |name: &Topic, retention| TopicSpec {
            name: name.clone(),
            partitions,
            kind: TopicKind::Log(retention),
        };
        let table =
            |name: &Topic, partitions| TopicSpec { name: name.clone(), partitions, kind: TopicKind::Table };
        let ever = Retention::default();
        let week = Retention { age: Some(Duration::from_secs(7 * 86_400)), bytes: None };
        vec![
            log(&self.trades, market),
            log(&self.quotes, market),
            log(&self.bars, market),
            log(&self.signals, ever),
            log(&self.commands, ever),
            log(&self.replies, week),
            log(&self.orders, ever),
            log(&self.fills, ever),
            log(&self.equity, ever),
            log(&self.journal, ever),
            table(&self.snapshots, partitions),
            table(&self.sessions, 1),
            table(&self.views, 1),
            log(&self.dead_letters, week),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_keys_stay_where_they_were() {
        // Written down: a change of the function would lose every key's history.
        assert_eq!(partition_of(b"BTCUSD", 16), 0);
        assert_eq!(partition_of(b"AAPL", 16), 11);
        assert_eq!(partition_of(b"", 16), 5);
        assert_eq!(partition_of(b"anything", 1), 0);
    }
}
