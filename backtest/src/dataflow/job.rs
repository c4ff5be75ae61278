//! What is run: a source of batches, shards that consume them, a sink for what they make.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tradeflow_model::market::MarketBatch;

/// A consumer of all batches, in order: the unit of sharding. It lives on one worker and is made there.
pub trait Shard: 'static {
    /// What it makes. Crosses processes in `bincode`, so its serde form must not need a self-describing format
    /// (no `untagged`, `flatten` or `skip_serializing_if`).
    type Output: Serialize + DeserializeOwned + Clone + Send + 'static;

    /// Consumes the next batch and appends what it makes to `out`, which is empty.
    ///
    /// # Errors
    /// An error ends the run.
    fn on_batch(&mut self, batch: &MarketBatch, out: &mut Vec<Self::Output>) -> Result<(), String>;

    /// Called once after the last batch, also when the run was stopped early.
    ///
    /// # Errors
    /// An error ends the run.
    fn finish(&mut self, out: &mut Vec<Self::Output>) -> Result<(), String>;
}

/// A run, for [`crate::dataflow::run`] or [`crate::reference::run`].
///
/// Every process of a cluster is given an equal job; only process 0 calls its sink.
pub struct Job<Source, Make, Sink, Progress> {
    /// One stable key a shard: where it runs is `key % workers of all processes`. What it makes never depends on it.
    pub shard_keys: Vec<u64>,
    /// How many batches may be between the source and the sink at once, in any process; at least 1. With 2 or more
    /// the source decodes ahead.
    pub window_batches: usize,
    /// `FnOnce() -> Result<impl Iterator<Item = Result<Arc<MarketBatch>, String>>, String>`: called once a process, on a
    /// thread of its own. Batches are numbered from 0 without gaps, and are equal in every process.
    pub source: Source,
    /// `Fn(usize) -> Result<impl Shard, String>`: makes the shard with an index, on its worker.
    pub make_shard: Make,
    /// `FnMut(usize, Vec<Output>) -> Result<(), String>`: takes what a shard made of one batch. Called on the caller's
    /// thread of process 0 in the order (batch, shard), with the outputs of [`Shard::finish`] last, never with none.
    pub sink: Sink,
    /// `FnMut(u64, u64)`: batches and rows that are done in all processes, now and then, on the caller's thread.
    pub progress: Progress,
    /// Set it in any process to end the run at the next batch, the same in all processes.
    pub stop: Arc<AtomicBool>,
}

/// How a run ended that did not fail. Equal in all processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How many batches every shard has processed.
    pub batches: u64,
    /// How many rows they held.
    pub rows: u64,
    /// Whether it was stopped before the end of the source.
    pub stopped: bool,
}
