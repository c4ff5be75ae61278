//! Records that can't be read: set aside with the reason, counted, and passed over, so that no one record blocks a
//! partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tradeflow_model::Timestamp;

use crate::bus::{Bus, Durability, NewRecord, Stored};
use crate::error::BusError;
use crate::record::{DeadLetter, encode};
use crate::topic::{Topic, partition_of};

/// Sets records aside in the dead-letter topic.
pub struct SetAside {
    bus: Arc<dyn Bus>,
    topic: Topic,
    count: AtomicU64,
}

impl SetAside {
    /// Into this topic.
    pub fn new(bus: Arc<dyn Bus>, topic: Topic) -> Self {
        Self { bus, topic, count: AtomicU64::new(0) }
    }

    /// Keeps the record with the reason and where it lay. Waits until it is written: only then may the reader go on.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn record(&self, record: &Stored, reason: &str, now: Timestamp) -> Result<(), BusError> {
        let letter = DeadLetter {
            v: DeadLetter::VERSION,
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            reason: reason.to_owned(),
            key: record.key.to_vec(),
            value: record.value.as_deref().unwrap_or_default().to_vec(),
        };
        let key = Bytes::from(format!("{}/{}", record.topic, record.partition));
        let partition = partition_of(&key, self.bus.partitions(&self.topic)?);
        let letter = NewRecord {
            topic: self.topic.clone(),
            partition,
            key,
            value: Some(encode(&letter).into()),
            ts: now,
        };
        self.bus.publish(vec![letter], Durability::Process).wait()?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many were set aside.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
