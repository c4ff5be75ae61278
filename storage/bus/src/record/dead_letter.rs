//! A record that could not be read, with the reason.

use serde::{Deserialize, Serialize};

/// A record that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Version of this schema.
    pub v: u16,
    /// Where it lay.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Why it could not be read.
    pub reason: String,
    /// Its key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// Its bytes.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
}

impl DeadLetter {
    /// The version that is written.
    pub const VERSION: u16 = 1;
}
