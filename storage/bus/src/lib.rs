//! The bus: ordered, durable streams of records between feeds, cells and whoever watches.
//!
//! | file | holds |
//! |---|---|
//! | `bus.rs` | [`Bus`], [`Reader`], [`Exclusive`], [`Membership`]: the one contract |
//! | `topic.rs` | [`Topics`]: the topics of TradeFlow, their keys, kinds and retention |
//! | `receipt.rs` | [`Receipt`]: when a record is written |
//! | `clock.rs` | [`Clock`]: the time that a node goes by |
//! | `poison.rs` | records that can't be read are set aside with the reason |
//! | `record/` | what stands in the records: schemas, versions, MessagePack |
//! | `embedded/` | the log on one machine, on fjall |
//! | `memory.rs` | a bus in memory, for tests and the simulation |
//! | `kafka/` | Apache Kafka, by librdkafka |
//!
//! Two implementations, one conformance suite (`tests/conformance/`) that runs against both.
//!
//! # Invariants
//! - Within a partition records are read in the order of their offsets, each once. Offsets grow; they may leave gaps
//!   (Kafka's transactions do), so no one counts on `offset + 1`.
//! - A reader never skips silently: records that retention took away before they were read are an error
//!   ([`BusError::Trimmed`]).
//! - Everything is bounded: a reader holds at most what one poll returns and a fixed read-ahead; a writer waits
//!   when its buffer is full.

mod bus;
mod clock;
mod error;
mod poison;
mod receipt;
pub mod record;
mod topic;

pub mod embedded;
pub mod kafka;
mod memory;

pub use bus::{
    Bus, Durability, Exclusive, GroupEvent, Membership, NewRecord, Position, Reader, Scan, Stored,
};
pub use clock::{Clock, SystemClock};
pub use error::BusError;
pub use kafka::{KafkaBus, KafkaConfig};
pub use memory::MemoryBus;
pub use poison::SetAside;
pub use receipt::{Receipt, Written};
pub use topic::{Retention, Topic, TopicKind, TopicSpec, Topics, partition_of};
