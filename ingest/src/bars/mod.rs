//! Bars made live of the ticks on the bus: the same rows as `tradeflow catalog aggregate` makes of the recorded ticks.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`BarMaker`]: starts and stops the thread; configuration and status |
//! | `series.rs` | one series of bars: ticks in, bars out; knows neither bus nor clock |
//! | `maker.rs` | the thread: reads ticks, closes bars, publishes them, remembers its place |
//!
//! # Rules
//! - A bar is closed when a later tick of its instrument comes, or when the node's clock has passed its end by
//!   [`BarMakerConfig::grace`] and every tick that is on the bus by then has been read.
//! - Ticks of the bar in the making may come in any order. A tick for a bar that is closed is *late*: it is counted
//!   ([`BarStatus::late`]), and the bar stays as it was published. (`catalog aggregate` of the recorded ticks later
//!   includes it.)
//! - Each published record says up to where ticks are in it (`ticks_through`, `rows_through`), so the bars on the bus
//!   are the maker's memory: after a restart, by `kill -9` too, it reads them, goes back to the first tick of each
//!   unfinished bar, and goes on. No bar is lost, doubled or changed. Ticks must therefore be kept for longer than the
//!   longest bar; where retention took some of an unfinished bar, that bar is left out and counted.
//!
//! # Limits
//! What is held is one unfinished bar a series, a poll of ticks, and the bars of that poll until they are written:
//! while the bus can't be written, nothing more is read.

mod maker;
mod series;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tradeflow_bus::{Bus, BusError, Topics};
use tradeflow_model::market::PriceType;
use tradeflow_model::{Instrument, Interval};
use tradeflow_storage::aggregate::{AggregateError, Outside};

use crate::clock::Clock;

/// A series of bars to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarSeries {
    /// The instrument, whose scales the ticks have.
    pub instrument: Instrument,
    /// Length of the bars.
    pub interval: Interval,
    /// `last` makes them of trades, the others of quotes.
    pub price_type: PriceType,
    /// What is done with ticks outside sessions.
    pub outside: Outside,
}

/// What a bar maker runs with.
#[derive(Debug, Clone)]
pub struct BarMakerConfig {
    /// What is made.
    pub series: Vec<BarSeries>,
    /// How long after its end a bar is closed without a later tick: ticks that take longer to arrive are late.
    pub grace: Duration,
    /// The consumer group, under which places are kept on the bus.
    pub group: String,
}

impl BarMakerConfig {
    /// These series, with a grace of half a second.
    pub fn new(series: Vec<BarSeries>) -> Self {
        Self { series, grace: Duration::from_millis(500), group: "bars".into() }
    }
}

/// Counters of a bar maker.
#[derive(Debug, Default)]
#[allow(missing_docs)] // counters, named by what they count
pub struct BarStatus {
    pub ticks: AtomicU64,
    pub bars: AtomicU64,
    /// Ticks for bars that were closed already.
    pub late: AtomicU64,
    /// Ticks outside the sessions of their instrument.
    pub outside: AtomicU64,
    /// Records that can't be read, or are at other scales than the instrument. (The recorder sets them aside.)
    pub bad: AtomicU64,
    /// Unfinished bars left out because retention had taken some of their ticks.
    pub gaps: AtomicU64,
    /// Whether the last try failed: no bars are made until the next succeeds.
    pub failing: AtomicBool,
    /// The last error; the maker tries again by itself.
    pub last_error: Mutex<Option<String>>,
}

impl BarStatus {
    fn error(&self, error: &dyn std::fmt::Display) {
        tracing::warn!(%error, "bars");
        if let Ok(mut last) = self.last_error.lock() {
            *last = Some(error.to_string());
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// Why a bar maker can't start.
#[derive(Debug, thiserror::Error)]
pub enum BarError {
    /// A series that can't be made of ticks.
    #[error("{symbol}: {source}")]
    Series {
        /// The instrument.
        symbol: tradeflow_model::Symbol,
        /// What is wrong.
        source: AggregateError,
    },
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Makes bars on a thread of its own. Dropping it stops the thread.
#[derive(Debug)]
pub struct BarMaker {
    status: Arc<BarStatus>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl BarMaker {
    /// Starts it.
    ///
    /// # Errors
    /// For a series that can't be made, topics that are missing, or topics of different numbers of partitions.
    pub fn start(
        config: BarMakerConfig,
        bus: Arc<dyn Bus>,
        topics: &Topics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BarError> {
        let (status, stop) = (Arc::new(BarStatus::default()), CancellationToken::new());
        let maker = maker::Maker::new(config, bus, topics.clone(), clock, Arc::clone(&status), stop.clone())?;
        let thread = std::thread::Builder::new().name("bars".into()).spawn(move || maker.run());
        let thread = thread.map_err(|e| BusError::other("the thread that makes bars", e))?;
        Ok(Self { status, stop, thread: Some(thread) })
    }

    /// Its counters.
    pub fn status(&self) -> &Arc<BarStatus> {
        &self.status
    }

    /// Stops it. Unfinished bars are not published: they go on from the ticks when it is started again.
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

impl Drop for BarMaker {
    fn drop(&mut self) {
        self.end();
    }
}
