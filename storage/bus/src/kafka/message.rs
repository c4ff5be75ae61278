//! Records as Kafka's messages and back.
//!
//! Kafka's time stamps are milliseconds. A record's own time is kept to the nanosecond in the header `ts` (eight bytes,
//! big-endian, nanoseconds since 1970-01-01 UTC) where milliseconds do not say it all.

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::util::IntoOpaque;
use tradeflow_model::Timestamp;

use super::config::RECORD_BYTES_MAX;
use super::topics::Catalog;
use crate::bus::{NewRecord, Stored};
use crate::error::BusError;
use crate::topic::Topic;

const TS_HEADER: &str = "ts";
const NS_PER_MS: i64 = 1_000_000;

/// An error when the record can't be written: checked before anything of a call is sent.
pub(super) fn check(record: &NewRecord, catalog: &Catalog) -> Result<(), BusError> {
    catalog.check(&record.topic, record.partition)?;
    let bytes = record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
    if bytes > RECORD_BYTES_MAX - ENVELOPE_BYTES {
        let limit = RECORD_BYTES_MAX - ENVELOPE_BYTES;
        return Err(BusError::TooLarge { topic: record.topic.clone(), bytes, limit });
    }
    if record.value.is_none() && !catalog.is_table(&record.topic)? {
        return Err(BusError::other(
            record.topic.as_str(),
            "a record without a value deletes a key of a table, and this is a log",
        ));
    }
    Ok(())
}

/// What Kafka adds to a record, at most.
const ENVELOPE_BYTES: usize = 512;

/// The record as it is sent. `opaque` comes back with the delivery.
pub(super) fn message<D: IntoOpaque>(record: &NewRecord, opaque: D) -> BaseRecord<'_, [u8], [u8], D> {
    let ns = record.ts.as_nanos();
    let ms = ns.div_euclid(NS_PER_MS);
    let partition = i32::try_from(record.partition).unwrap_or(i32::MAX);
    let mut message = BaseRecord::with_opaque_to(record.topic.as_str(), opaque)
        .partition(partition)
        .key(&record.key[..])
        // Zero would be taken for "now", and Kafka knows nothing before 1970.
        .timestamp(ms.max(1));
    message.payload = record.value.as_deref();
    if ms < 1 || ns.rem_euclid(NS_PER_MS) != 0 {
        let exact = ns.to_be_bytes();
        message = message.headers(
            OwnedHeaders::new_with_capacity(1).insert(Header { key: TS_HEADER, value: Some(&exact) }),
        );
    }
    message
}

/// A message that was read. `topic` is its topic, so that the name need not be copied.
pub(super) fn stored(topic: &Topic, message: &BorrowedMessage<'_>) -> Stored {
    let exact = message.headers().and_then(|headers| {
        let found = headers.iter().find(|header| header.key == TS_HEADER)?;
        <[u8; 8]>::try_from(found.value?).ok().map(i64::from_be_bytes)
    });
    let ns = exact.unwrap_or_else(|| message.timestamp().to_millis().unwrap_or(0).saturating_mul(NS_PER_MS));
    Stored {
        topic: topic.clone(),
        partition: partition_of(message),
        offset: offset_of(message),
        key: Bytes::copy_from_slice(message.key().unwrap_or_default()),
        value: message.payload().map(Bytes::copy_from_slice),
        ts: Timestamp::from_nanos(ns),
    }
}

pub(super) fn partition_of(message: &BorrowedMessage<'_>) -> u32 {
    u32::try_from(message.partition()).unwrap_or(0)
}

pub(super) fn offset_of(message: &BorrowedMessage<'_>) -> u64 {
    u64::try_from(message.offset()).unwrap_or(0)
}
