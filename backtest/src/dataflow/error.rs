//! What can end a run, in words that can cross to the other processes.

use serde::{Deserialize, Serialize};

/// The part of a run in which something failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The source of batches.
    Source,
    /// A shard, by its index; `batch` is none where it was being made or finished.
    Shard {
        /// Its index in the job.
        shard: usize,
        /// The batch it was given.
        batch: Option<u64>,
    },
    /// The sink, with the outputs of a shard.
    Sink {
        /// Whose outputs.
        shard: usize,
    },
    /// The driver itself.
    Worker {
        /// Its index in the process.
        worker: usize,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source => write!(f, "the source"),
            Self::Shard { shard, batch: Some(batch) } => write!(f, "shard {shard} at batch {batch}"),
            Self::Shard { shard, batch: None } => write!(f, "shard {shard}"),
            Self::Sink { shard } => write!(f, "the sink of shard {shard}"),
            Self::Worker { worker } => write!(f, "worker {worker}"),
        }
    }
}

/// Why a run ended without a result. Every process of a cluster returns the same first cause where it is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DataflowError {
    /// The cluster or the job is described in a way that cannot work.
    #[error("the cluster cannot be started: {0}")]
    Invalid(String),
    /// A process could not be reached, or did not come in time.
    #[error("process {process} ({host}) did not join the cluster: {reason}")]
    Connect {
        /// Which process.
        process: usize,
        /// Its address, as configured.
        host: String,
        /// What happened.
        reason: String,
    },
    /// A process runs something else: another plan, another version, another number of processes.
    #[error("process {process} ({host}) does not fit the cluster: {reason}")]
    Mismatch {
        /// Which process.
        process: usize,
        /// Its address, as configured.
        host: String,
        /// What differs.
        reason: String,
    },
    /// A process died, froze or was cut off in mid-run.
    #[error("process {process} ({host}) was lost: {reason}; the run has no result, start it again")]
    Lost {
        /// Which process.
        process: usize,
        /// Its address, as configured.
        host: String,
        /// What was noticed.
        reason: String,
    },
    /// The source, a shard, the sink or a worker returned an error or panicked.
    #[error("{place} of process {process} failed: {reason}")]
    Failed {
        /// In which process.
        process: usize,
        /// Where.
        place: Place,
        /// What it said.
        reason: String,
    },
}

/// The text of a panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("(no message)"))
}

/// Runs `work`, turning a panic into an error with its text.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Whatever a panic leaves half-done is never used again: the run ends.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(panic_text(payload.as_ref())))
}
