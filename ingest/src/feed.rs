//! What a vendor's live client is, and what it reports.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use rust_decimal::Decimal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tradeflow_model::market::Aggressor;
use tradeflow_model::{Symbol, Timestamp};

use crate::clock::Clock;
use crate::watchlist::Watchlist;

/// Something that a vendor reports, in our symbols and exact decimals, otherwise as received: order, duplicates and
/// lateness are dealt with in one place, behind [`Sink`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// A trade.
    Trade {
        /// The instrument.
        symbol: Symbol,
        /// The vendor's time of the trade.
        ts_event: Timestamp,
        /// The price.
        price: Decimal,
        /// The quantity; zero for a price update without a trade, which some venues send.
        qty: Decimal,
        /// Who crossed the spread, where the vendor says so.
        aggressor: Aggressor,
        /// The vendor's number of the trade within the symbol, where it has one: by it duplicates are known.
        id: Option<u64>,
    },
    /// The best bid and ask.
    Quote {
        /// The instrument.
        symbol: Symbol,
        /// The vendor's time; `None` where it gives none, and the time of receipt counts.
        ts_event: Option<Timestamp>,
        /// Best bid.
        bid: Decimal,
        /// Best ask.
        ask: Decimal,
        /// Quantity at the bid; zero where the vendor gives none.
        bid_size: Decimal,
        /// Quantity at the ask.
        ask_size: Decimal,
    },
    /// A last price without bid and ask, as REST quotes give it. Shown, marked with its age; never matched against.
    Last {
        /// The instrument.
        symbol: Symbol,
        /// The vendor's time of it.
        ts_event: Timestamp,
        /// The price.
        price: Decimal,
    },
}

/// Where a feed puts what it receives.
pub trait Sink: Send {
    /// Takes an update, received at `ts_init`.
    fn update(&mut self, ts_init: Timestamp, update: Update);

    /// Takes note of a message that could not be understood: what was wrong, and the message with secrets removed.
    fn bad(&mut self, reason: &str, message: &str);

    /// Takes note of a trade that is left out because of its conditions (see [`crate::normalise::Conditions`]).
    fn excluded(&mut self) {}

    /// A burst is over: nothing more is there to be read right now. What was gathered goes out.
    fn flush(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The state of a feed, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum FeedState {
    /// Not started, or stopped.
    Off = 0,
    /// Connecting for the first time, or again.
    Connecting = 1,
    /// Connected, and data flows.
    Live = 2,
    /// Connected, but nothing came for longer than it should take.
    Silent = 3,
    /// The vendor refuses us (key, plan, limit): trying again does not help by itself.
    Refused = 4,
}

/// Counters and state of a feed: what tests, `/metrics` and `tradeflow status` read.
#[derive(Debug, Default)]
#[allow(missing_docs)] // counters, named by what they count
pub struct FeedStatus {
    state: AtomicU8,
    /// Time of the last message, in nanoseconds; 0 before the first.
    pub last_message: AtomicI64,
    pub connects: AtomicU64,
    pub disconnects: AtomicU64,
    pub messages: AtomicU64,
    pub trades: AtomicU64,
    pub quotes: AtomicU64,
    pub bad: AtomicU64,
    pub duplicates: AtomicU64,
    pub late: AtomicU64,
    pub shed: AtomicU64,
    pub rate_limited: AtomicU64,
    /// Trades that must not set a price, by their conditions (odd lots, average prices, late reports): not passed on.
    pub excluded: AtomicU64,
    /// Symbols that the vendor did not take, or that are over its limit.
    pub unserved: AtomicU64,
    /// The last error, without secrets.
    pub last_error: std::sync::Mutex<Option<String>>,
}

impl FeedStatus {
    /// The state.
    pub fn state(&self) -> FeedState {
        match self.state.load(Ordering::Relaxed) {
            1 => FeedState::Connecting,
            2 => FeedState::Live,
            3 => FeedState::Silent,
            4 => FeedState::Refused,
            _ => FeedState::Off,
        }
    }

    /// Changes the state.
    pub fn set_state(&self, state: FeedState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Keeps an error for people to see.
    pub fn set_error(&self, error: impl Into<String>) {
        if let Ok(mut last) = self.last_error.lock() {
            *last = Some(error.into());
        }
    }
}

/// What a feed runs with.
pub struct FeedContext {
    /// What is wanted; changes while it runs.
    pub watchlist: watch::Receiver<Watchlist>,
    /// Where updates go.
    pub sink: Box<dyn Sink>,
    /// The clock for times of receipt.
    pub clock: Arc<dyn Clock>,
    /// Its state and counters.
    pub status: Arc<FeedStatus>,
    /// Seed of its jitter.
    pub seed: u64,
    /// Ends it.
    pub stop: CancellationToken,
}

/// A vendor's live client. Runs until it is stopped: it reconnects by itself, with jittered back-off.
pub trait Feed: Send {
    /// The vendor's name, as it stands in records, metrics and configurations.
    fn name(&self) -> &'static str;

    /// Runs it.
    fn run(self: Box<Self>, context: FeedContext) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
