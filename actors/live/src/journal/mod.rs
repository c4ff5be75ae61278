//! The journal of a cell: the order in which it consumed its inputs.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Entry`], [`Input`]: what stands in it |
//! | `read.rs` | reading entries back, and the market data that they refer to |
//! | `replay.rs` | [`Replay`]: a host that follows a journal |
//!
//! `journal.v1`, key: the account. An entry is what a cell took in one turn. Market data is referred to by topic,
//! partition and offsets; everything else stands in it by value. A command or signal names its place on the bus, too:
//! reading goes on after it.

mod read;
mod replay;

pub use read::{Archive, JournalReader, KeyReader, MarketReader, records};
pub(crate) use replay::tell_progress;
pub use replay::{Replay, Step, read_history};

use serde::{Deserialize, Serialize};
use tradeflow_actors::cell::Command;
use tradeflow_bus::record::{RecordError, decode, encode};
use tradeflow_model::{Digest, Signal, Timestamp};

use crate::chunk::MarketTopic;
use crate::history::HistoryRef;

/// What a cell took in one turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Version of this schema.
    pub v: u16,
    /// The account.
    pub account: String,
    /// The session.
    pub session: String,
    /// The number of the entry among those of the account, from 1.
    pub seq: u64,
    /// The inputs, in order.
    pub inputs: Vec<Input>,
}

/// A place on the bus that a command or signal came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The partition of the topic of its kind.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
}

/// An input of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The records of the cell's instruments with `first <= offset <= last`.
    Market {
        /// The topic.
        topic: MarketTopic,
        /// The partition.
        partition: u32,
        /// The first offset.
        first: u64,
        /// The last offset.
        last: u64,
    },
    /// Time passed: timers and session boundaries up to here are due.
    Time {
        /// Up to when.
        at: Timestamp,
    },
    /// A signal from outside.
    Signal {
        /// The time that the cell is told.
        now: Timestamp,
        /// Where it came from; none for one that did not come over the bus.
        source: Option<Source>,
        /// The signal.
        signal: Box<Signal>,
    },
    /// A command.
    Command {
        /// The time that the cell is told.
        now: Timestamp,
        /// Where it came from; none for one that did not come over the bus.
        source: Option<Source>,
        /// Its id, as its sender gave it.
        id: String,
        /// The command.
        command: Box<Command>,
        /// For the start of a strategy: its warm-up.
        history: Vec<HistoryRef>,
    },
    /// Not an input: where the cell stood when everything before was handled. A replay must stand there too.
    Checkpoint(Box<Checkpoint>),
}

/// Where a cell stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Digest of everything that it put out.
    pub digest: Digest,
    /// Inputs taken, as the journal position counts them.
    pub inputs: u64,
    /// Orders sent.
    pub orders: u64,
    /// Fills.
    pub fills: u64,
    /// Cash, exact.
    pub cash: String,
    /// Cash and positions at their marks, exact.
    pub equity: String,
    /// Whether the session ends here.
    pub end: bool,
}

impl Entry {
    /// The version that is written.
    pub const VERSION: u16 = 1;

    /// From its bytes.
    ///
    /// # Errors
    /// When they are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode("journal", bytes)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}
