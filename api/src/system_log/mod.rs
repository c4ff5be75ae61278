//! The system log: what the node says of itself, kept in the state and told over the socket.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`system_log`]: the layer and the queue behind it |
//! | `layer.rs` | [`SystemLogLayer`]: takes events from `tracing` |
//! | `redact.rs` | secrets are taken out |
//! | `writer.rs` | from the queue into the state, in batches |
//!
//! Whoever logs never waits: an event that finds the queue full is counted, and a line of the log says how many there were.
//! What the writing itself leads to (the database's own events, and what is said about its failures) is not taken, so that it
//! feeds nothing to itself. The audit log's events have a table of their own.

mod layer;
mod redact;
mod writer;

use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

pub use layer::SystemLogLayer;
pub(crate) use writer::Writer;

/// Events that may wait for the database.
const WAITING_MAX: usize = 10_000;

/// An event that waits.
#[derive(Debug)]
pub(crate) struct Event {
    id: String,
    ts: i64,
    level: i64,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

/// The end of the queue at which events are written.
#[derive(Debug)]
pub struct SystemLogQueue {
    events: mpsc::Receiver<Event>,
    shed: Counter,
}

impl SystemLogQueue {
    /// Events that found the queue full, counted.
    pub(crate) fn shed(&self) -> Counter {
        self.shed.clone()
    }
}

/// A layer for the program's subscriber, and the queue for [`crate::Shared::with_system_log`].
pub fn system_log() -> (SystemLogLayer, SystemLogQueue) {
    let (sender, events) = mpsc::channel(WAITING_MAX);
    let shed = Counter::default();
    (SystemLogLayer::new(sender, shed.clone()), SystemLogQueue { events, shed })
}

/// The name of a level.
pub(crate) fn level_name(level: i64) -> &'static str {
    match level {
        1 => "error",
        2 => "warn",
        _ => "info",
    }
}

/// The level of a name.
pub(crate) fn level_of(name: &str) -> Option<i64> {
    (1..=3).find(|level| level_name(*level) == name)
}
