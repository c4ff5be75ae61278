//! What stands in the records of the bus: MessagePack maps with named fields, which every language reads with a stock
//! library. The schemas are in `docs/bus.md`.
//!
//! | file | holds |
//! |---|---|
//! | `market.rs` | trades, quotes and bars of an instrument, as columns |
//! | `dead_letter.rs` | records that could not be read |
//!
//! Each record has a version `v`. A reader takes its own version and every older one: fields that came later have
//! defaults, and fields that it does not know are passed over. A newer major version goes into a new topic (`….v2`).

mod dead_letter;
mod market;

pub use dead_letter::DeadLetter;
pub use market::{BarsRecord, MarketRecord, QuotesRecord, TradesRecord};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a record could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{schema}: {reason}")]
pub struct RecordError {
    /// What it was read as.
    pub schema: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// A record's bytes.
///
/// # Panics
/// When the value can't be written as MessagePack, which plain data always can.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Most records are smaller: one allocation instead of one for each doubling.
    let mut bytes = Vec::with_capacity(256);
    rmp_serde::encode::write_named(&mut bytes, record).expect("plain data is always MessagePack");
    bytes
}

/// As [`encode`], into a buffer that is used again and again; what was in it is replaced.
///
/// # Panics
/// As [`encode`].
pub fn encode_into<T: Serialize>(record: &T, buffer: &mut Vec<u8>) {
    buffer.clear();
    rmp_serde::encode::write_named(buffer, record).expect("plain data is always MessagePack");
}

/// A record from its bytes.
///
/// # Errors
/// When the bytes are no such record.
pub fn decode<T: DeserializeOwned>(schema: &'static str, bytes: &[u8]) -> Result<T, RecordError> {
    rmp_serde::from_slice(bytes).map_err(|error| RecordError { schema, reason: error.to_string() })
}
