//! The bus on Apache Kafka, by librdkafka.
//!
//! | file | holds |
//! |---|---|
//! | `config.rs` | [`KafkaConfig`]: addresses, and the settings of each kind of client |
//! | `context.rs` | the clients' log lines and errors, without secrets |
//! | `topics.rs` | what topics there are, their bounds; creation |
//! | `message.rs` | records as messages and back |
//! | `delivery.rs` | a producer, its deliveries, and who waits for them |
//! | `publisher.rs` | publishing |
//! | `claim.rs` | the one writer of a partition, by transactions |
//! | `consumers.rs` | the consumers of readers and scans, and those that nobody uses just now |
//! | `reader.rs` | reading |
//! | `scan.rs` | reading a partition to its end |
//! | `table.rs` | the last records of a table's keys |
//! | `group.rs` | consumer groups and their positions |
//!
//! # Invariants
//! - Acknowledged is written to all in-sync replicas; a producer's retries neither double nor reorder (idempotence).
//! - Readers see what was committed, never what was taken back (`read_committed`), and never skip silently: a position
//!   that retention has overtaken is an error.
//! - A client that has lost its brokers looks for them by itself. What can't be served within [`KafkaConfig::timeout`]
//!   fails as [`BusError::Unavailable`]; a write that fails so may still have been written.
//!
//! # Limitations
//! - A claim's commit is acknowledged before readers elsewhere see it: a few milliseconds as a rule. The process itself
//!   waits for its own commits where it asks for bounds or tables.
//! - [`Durability::Power`] is the brokers' matter: their replicas, and `flush.messages` where there is one.

mod claim;
mod config;
mod consumers;
mod context;
mod delivery;
mod group;
mod message;
mod publisher;
mod reader;
mod scan;
mod table;
mod topics;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use config::KafkaConfig;

use self::consumers::Use;
use crate::bus::{Bus, Durability, Exclusive, Membership, NewRecord, Position, Reader, Scan, Stored};
use crate::error::BusError;
use crate::receipt::Receipt;
use crate::topic::{Topic, TopicSpec};

/// The bus on Kafka.
pub struct KafkaBus {
    config: KafkaConfig,
    context: context::Context,
    catalog: Arc<topics::Catalog>,
    publisher: publisher::Publisher,
    positions: group::Positions,
}

impl KafkaBus {
    /// Connects, and waits until a broker has answered (ten seconds, or the configuration's time-out where that is
    /// less).
    ///
    /// # Errors
    /// [`BusError::Unavailable`] when none does, with the reason that the client gives; [`BusError::Other`] when a
    /// setting is wrong.
    pub fn connect(config: KafkaConfig) -> Result<Self, BusError> {
        config.check()?;
        let context = context::Context::new(&config);
        let catalog = Arc::new(topics::Catalog::connect(&config, &context)?);
        let publisher = publisher::Publisher::start(&config, &context, &catalog)?;
        let positions = group::Positions::new(&config, &context, &catalog);
        Ok(Self { config, context, catalog, publisher, positions })
    }

    fn scan_of(&self, from: &Position, of: Use) -> Result<Box<dyn Scan>, BusError> {
        let Self { config, context, catalog, .. } = self;
        Ok(Box::new(scan::KafkaScan::new(context, catalog, from, of, config.timeout)?))
    }

    /// From the beginning of a partition.
    fn scan_whole(&self, topic: &Topic, partition: u32) -> Result<Box<dyn Scan>, BusError> {
        self.scan(&Position { topic: topic.clone(), partition, offset: 0 })
    }
}

impl Bus for KafkaBus {
    fn create(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.catalog.create(topics)
    }

    fn partitions(&self, topic: &Topic) -> Result<u32, BusError> {
        self.catalog.partitions(topic)
    }

    fn bounds(&self, topic: &Topic, partition: u32) -> Result<Range<u64>, BusError> {
        self.catalog.bounds(topic, partition)
    }

    /// The first record for a topic that this process has neither created nor asked for looks the topic up, and waits
    /// for the answer.
    fn publish(&self, records: Vec<NewRecord>, _: Durability) -> Receipt {
        self.publisher.publish(&records)
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, BusError> {
        self.gathering_reader(from, Duration::ZERO)
    }

    fn gathering_reader(&self, from: &[Position], gather: Duration) -> Result<Box<dyn Reader>, BusError> {
        let Self { config, context, catalog, .. } = self;
        Ok(Box::new(reader::KafkaReader::new(gather, config.timeout, context, catalog, from)?))
    }

    fn scan(&self, from: &Position) -> Result<Box<dyn Scan>, BusError> {
        self.scan_of(from, Use::Scan)
    }

    fn journaled(&self, from: &Position) -> Result<Box<dyn Scan>, BusError> {
        self.scan_of(from, Use::ScanAll)
    }

    fn latest(&self, topic: &Topic, partition: u32, key: &[u8]) -> Result<Option<Stored>, BusError> {
        Ok(table::read(self.scan_whole(topic, partition)?, Some(key))?.pop())
    }

    fn table(&self, topic: &Topic, partition: u32) -> Result<Vec<Stored>, BusError> {
        table::read(self.scan_whole(topic, partition)?, None)
    }

    fn committed(&self, group: &str, topic: &Topic, partition: u32) -> Result<Option<u64>, BusError> {
        self.positions.committed(group, topic, partition)
    }

    fn commit(&self, group: &str, positions: &[Position]) -> Result<(), BusError> {
        self.positions.commit(group, positions)
    }

    fn join(&self, group: &str, topic: &Topic) -> Result<Box<dyn Membership>, BusError> {
        Ok(Box::new(group::Member::join(&self.config, &self.context, &self.catalog, group, topic)?))
    }

    fn claim(&self, topic: &Topic, partition: u32, _: Durability) -> Result<Box<dyn Exclusive>, BusError> {
        Ok(Box::new(claim::Claim::new(&self.config, &self.context, &self.catalog, topic, partition)?))
    }
}
