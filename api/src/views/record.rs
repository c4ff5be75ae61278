//! What stands in the records of `views.v1`; `docs/bus.md` has their schema.

use serde::{Deserialize, Serialize};
use tradeflow_bus::record::{RecordError, decode, encode};
use tradeflow_ingest::quotes::SharedQuote;
use tradeflow_live::node::CellView;
use tradeflow_model::{Symbol, Timestamp};

/// What a node shows of an account or an instrument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewRecord {
    /// Version of this schema.
    pub v: u16,
    /// Which node says so: another id each time that one is started.
    pub node: String,
    /// The session that it is of.
    pub session: String,
    /// When it was so.
    pub ts: Timestamp,
    /// The cell of an account,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellView>,
    /// or the quote of an instrument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<SharedQuote>,
}

impl ViewRecord {
    /// The version that is written.
    pub const VERSION: u16 = 1;

    /// From its bytes.
    ///
    /// # Errors
    /// When they are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode("views", bytes)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

/// The key of an account.
pub(super) fn account_key(account: &str) -> String {
    format!("{ACCOUNT}{account}")
}

/// The account of a key, where it is one's.
pub(super) fn account_of(key: &str) -> Option<&str> {
    key.strip_prefix(ACCOUNT)
}

/// The key of an instrument.
pub(super) fn quote_key(symbol: &Symbol) -> String {
    format!("quote/{symbol}")
}

const ACCOUNT: &str = "account/";
