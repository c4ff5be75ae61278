//! The last records of a table's keys: its partition is read to the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;

use super::config::{AtEnd, KafkaConfig};
use super::context::Context;
use super::message::stored;
use super::topics::Catalog;
use crate::bus::Stored;
use crate::error::BusError;
use crate::topic::Topic;

/// The last records of the partition's keys, of all or of one. Holds at most one record of each.
pub(super) fn read(
    config: &KafkaConfig,
    context: &Context,
    catalog: &Catalog,
    (topic, partition): (&Topic, u32),
    key: Option<&[u8]>,
) -> Result<Vec<Stored>, BusError> {
    let doing = || format!("read table {topic}/{partition}");
    let bounds = catalog.bounds(topic, partition)?;
    let mut found: BTreeMap<Bytes, Stored> = BTreeMap::new();
    if bounds.is_empty() {
        return Ok(Vec::new());
    }
    let consumer: BaseConsumer<Context> = config
        .consumer("tradeflow-reader", AtEnd::Tell)
        .create_with_context(context.clone())
        .map_err(|error| context.error(&doing(), &error))?;
    let mut list = TopicPartitionList::with_capacity(1);
    let number = i32::try_from(partition).unwrap_or(i32::MAX);
    let start = i64::try_from(bounds.start).unwrap_or(i64::MAX);
    list.add_partition_offset(topic.as_str(), number, Offset::Offset(start))
        .and_then(|()| consumer.assign(&list))
        .map_err(|error| context.error(&doing(), &error))?;
    // For the time since the last record: a large table takes its time.
    let mut deadline = Instant::now() + config.timeout;
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                deadline = Instant::now() + config.timeout;
                if key.is_some_and(|key| key != message.key().unwrap_or_default()) {
                    continue;
                }
                let record = stored(topic, &message);
                if record.value.is_some() {
                    found.insert(record.key.clone(), record);
                } else {
                    found.remove(&record.key);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            // A broker is away: the client looks for it by itself.
            Some(Err(error)) if Instant::now() < deadline => {
                tracing::debug!(target: "kafka", "{}: {error}", doing())
            }
            Some(Err(error)) => return Err(context.error(&doing(), &error)),
            None if Instant::now() < deadline => {}
            None => return Err(context.unavailable(format!("{}: no answer", doing()))),
        }
    }
    Ok(found.into_values().collect())
}
