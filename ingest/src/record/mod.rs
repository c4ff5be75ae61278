//! The recorder: market data of the bus into the catalog, and back by its place on the bus.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Recorder`]: starts and stops the thread; configuration and status |
//! | `recorder.rs` | the thread: reads, flushes, folds, commits |
//! | `lane.rs` | one partition of a topic: what is gathered of it, and how it is written |
//! | `block.rs` | records as columns in the order of the bus; cut into series for the catalog |
//! | `segment.rs` | a block as a Parquet file |
//! | `archive.rs` | [`Recorded`]: segments on disk, and records by (topic, partition, offset) |
//!
//! Each flush writes, of every partition, (1) its rows into the series of the catalog
//! ([`CatalogAppender`](tradeflow_storage::catalog::CatalogAppender)), (2) its records as they were on the bus into
//! `recorded/`, and (3) commits the position. A crash between any two is repaired by reading again from where `recorded/`
//! ends: rows that the series have already are passed over by their offsets. `docs/adr/0006-recorder.md` says why so.
//!
//! # Limits
//! At most [`RecorderConfig::rows_max`] rows (and one poll) are in memory; when the catalog can't be written, nothing
//! more is read, and the bus keeps what comes, for as long as its retention. A flush or a fold holds one series' piece
//! beside them.
//!
//! What can't go into a series (no definition of the instrument, other scales, a bar that contradicts one that is
//! there, a damaged file) is counted, told in [`RecorderStatus::last_error`], and stays in `recorded/`. Records that
//! can't be read at all are set aside in the dead-letter topic.

mod archive;
mod block;
mod lane;
mod recorder;
mod segment;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tradeflow_bus::{Bus, BusError, Topics};
use tradeflow_model::Instrument;
use tradeflow_storage::catalog::{Catalog, CatalogError};

pub use archive::{Recorded, RecordedError};

use crate::clock::Clock;

/// What a recorder runs with.
#[derive(Debug, Clone)]
pub struct RecorderConfig {
    /// Names the bus among those that were ever recorded into this catalog: offsets of another bus, or of one that was
    /// deleted and begun anew, are others. Letters, digits and `-`.
    pub origin: String,
    /// The consumer group, under which positions are committed.
    pub group: String,
    /// Definitions of the instruments that come; those that the catalog does not have are added.
    pub instruments: Vec<Instrument>,
    /// How often what was gathered is written.
    pub flush_every: Duration,
    /// It is written before, when so many rows were gathered.
    pub rows_max: usize,
    /// How long a stop may fold files for; the rest is folded after the next start.
    pub stop_within: Duration,
}

impl RecorderConfig {
    /// The defaults: a minute, half a million rows, ten seconds.
    pub fn new(origin: &str, instruments: Vec<Instrument>) -> Self {
        Self {
            origin: origin.to_owned(),
            group: "recorder".into(),
            instruments,
            flush_every: Duration::from_secs(60),
            rows_max: 500_000,
            stop_within: Duration::from_secs(10),
        }
    }
}

/// State and counters of a recorder.
#[derive(Debug, Default)]
#[allow(missing_docs)] // counters, named by what they count
pub struct RecorderStatus {
    /// Records on the bus that are not in the catalog yet.
    pub lag_records: AtomicU64,
    /// How long the oldest of them that was read has waited, in nanoseconds.
    pub lag_ns: AtomicI64,
    pub records: AtomicU64,
    /// Rows written to series.
    pub rows: AtomicU64,
    /// Rows that the series had already.
    pub rows_there: AtomicU64,
    /// Rows that could not go into their series; they are in `recorded/`.
    pub rows_refused: AtomicU64,
    /// Bars left out of their series because they contradict or overlap one that is there.
    pub conflicts: AtomicU64,
    /// Records set aside because they can't be read.
    pub poison: AtomicU64,
    /// Records that retention took before they were read.
    pub lost: AtomicU64,
    pub flushes: AtomicU64,
    /// Partitions of the catalog that were folded into one file.
    pub folds: AtomicU64,
    /// Flushes that failed and are tried again.
    pub failures: AtomicU64,
    /// Whether the last try failed: nothing is written until the next succeeds.
    pub failing: AtomicBool,
    /// The last error, and what to do.
    pub last_error: Mutex<Option<String>>,
}

impl RecorderStatus {
    fn failed(&self, error: &dyn std::fmt::Display) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
        self.error(error);
    }

    fn error(&self, error: &dyn std::fmt::Display) {
        tracing::warn!(%error, "recorder");
        if let Ok(mut last) = self.last_error.lock() {
            *last = Some(error.to_string());
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// Why a recorder can't start, or a flush failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecorderError {
    /// The origin is no name for a folder.
    #[error("the recorder's origin {0:?} is empty or holds others than letters, digits and '-'")]
    Origin(String),
    /// The bus is not the one that was recorded before.
    #[error(
        "{topic}/{partition}: the bus is not the one that was recorded as {origin:?} ({why}): set the recorder's \
         `origin` to a new name, or give back the bus it belongs to"
    )]
    OtherBus {
        /// The topic.
        topic: tradeflow_bus::Topic,
        /// The partition.
        partition: u32,
        /// The name.
        origin: String,
        /// What differs.
        why: String,
    },
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The catalog.
    #[error("{0}{advice}", advice = advice(.0))]
    Catalog(#[from] CatalogError),
    /// The records in the order of the bus.
    #[error(transparent)]
    Recorded(RecordedError),
}

impl From<RecordedError> for RecorderError {
    fn from(error: RecordedError) -> Self {
        match error {
            RecordedError::Catalog(error) => Self::Catalog(error),
            other => Self::Recorded(other),
        }
    }
}

/// What to do about a store that fails.
fn advice(error: &CatalogError) -> &'static str {
    match error {
        CatalogError::Store { .. } | CatalogError::Lock { .. } => {
            "; nothing is lost as long as the bus keeps it: free space or repair the store, and the recorder goes on by \
             itself"
        }
        _ => "",
    }
}

/// Records on a thread of its own. Dropping it stops the thread.
#[derive(Debug)]
pub struct Recorder {
    status: Arc<RecorderStatus>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Recorder {
    /// Starts it, after putting the instruments into the catalog.
    ///
    /// # Errors
    /// When the origin is no name, topics are missing, or the catalog can't be written.
    pub fn start(
        config: RecorderConfig,
        bus: Arc<dyn Bus>,
        topics: &Topics,
        catalog: Catalog,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RecorderError> {
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !is_name(&config.origin) {
            return Err(RecorderError::Origin(config.origin));
        }
        for instrument in &config.instruments {
            if catalog.instrument(&instrument.symbol)?.is_none() {
                catalog.put_instrument(instrument)?;
            }
        }
        let (status, stop) = (Arc::new(RecorderStatus::default()), CancellationToken::new());
        let worker = recorder::Worker::new(
            config,
            bus,
            topics.clone(),
            catalog,
            clock,
            Arc::clone(&status),
            stop.clone(),
        )?;
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || worker.run());
        let thread = thread.map_err(|e| BusError::other("the recorder's thread", e))?;
        Ok(Self { status, stop, thread: Some(thread) })
    }

    /// Its state.
    pub fn status(&self) -> &Arc<RecorderStatus> {
        &self.status
    }

    /// Stops it: what was read is written, and files are folded for as long as the configuration allows.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}
