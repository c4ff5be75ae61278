//! Live cells: a cell with its journal in an actix shell, many of them on a node, and the replay that proves what they
//! did.
//!
//! | file | holds |
//! |---|---|
//! | `session.rs` | [`SessionPlan`]: what a session trades, and its record on the bus |
//! | `chunk.rs` | [`Chunk`]: a market record of the bus, decoded for the cells |
//! | `cell.rs` | [`LiveCell`]: a paper cell with its sessions' opens and closes |
//! | `journal/` | what a cell consumed, in order: entries, and reading them back |
//! | `outputs.rs` | what cells put on the bus: orders, fills, replies |
//! | `commands.rs` | commands as they stand on the bus |
//! | `host/` | [`CellHost`]: turns, snapshot, recovery; knows no runtime |
//! | `history.rs` | where a strategy's warm-up comes from |
//! | `warm_up.rs` | finds and reads a strategy's past when it starts |
//! | `tail.rs` | [`tail()`]: what the bus has behind the end of the catalog |
//! | `shell.rs` | the actix actor around a host |
//! | `node/` | [`Node`]: reads the bus, spreads cells over arbiters, owns accounts by group |
//! | `fork.rs` | replays a session with another strategy from some instant on |
//! | `verify.rs` | replays a session from its journal and compares |
//!
//! # How an input is taken
//! The reader of the node takes records from the bus and hands them to the cells that follow their instruments. A host
//! gathers what came and handles it; *one journal entry* for all of it is written in one append with what came of it, and
//! nobody learns of that before (invariant I4). Market data stands in the journal by reference (topic, partition,
//! offsets), everything else by value.
//!
//! # Late data
//! A cell's time is the time of the newest input. An event that is older is taken at the cell's time and keeps its own:
//! it marks prices and is seen by strategies, but fills nothing that was ordered after it happened. How late an event
//! may be at all is the feed's rule.

mod cell;
mod chunk;
pub mod commands;
pub mod fork;
mod history;
pub mod host;
pub mod journal;
pub mod node;
pub mod outputs;
mod session;
mod shell;
mod tail;
pub mod verify;
mod warm_up;

pub use cell::LiveCell;
pub use chunk::{Chunk, Decoder, MarketTopic};
pub use history::{History, HistoryRef, NoHistory};
pub use host::CellHost;
pub use node::{Node, NodeConfig};
pub use session::{AccountPlan, SessionPlan, SessionRecord, SessionState};
pub use tail::tail;

use tradeflow_actors::actor::Fault;
use tradeflow_bus::BusError;

/// What can go wrong with live cells.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LiveError {
    /// The bus.
    #[error("{0}")]
    Bus(#[from] BusError),
    /// A cell broke an invariant: it is halted.
    #[error("account {account}: {why}")]
    Cell {
        /// The account.
        account: String,
        /// What broke.
        why: String,
    },
    /// A record that can't be read where it must be.
    #[error("{place}: {why}")]
    Record {
        /// Topic, partition and offset.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// A session in which an account's cell never began.
    #[error("session {session} has no opening of account {account}")]
    NoOpening {
        /// The session.
        session: String,
        /// The account.
        account: String,
    },
    /// Whoever asked for it does not want it any more.
    #[error("it was stopped before its end")]
    Stopped,
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl LiveError {
    pub(crate) fn cell(account: impl ToString, fault: Fault) -> Self {
        Self::Cell { account: account.to_string(), why: fault.0 }
    }
}
