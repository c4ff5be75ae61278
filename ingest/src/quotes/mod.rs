//! The quote board: for each instrument the quote of the best live source, marked with source and age.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`QuoteBoard`]: what the sources give, and what is shown of it |
//! | `entry.rs` | one instrument: which source is shown |
//! | `shared.rs` | [`SharedQuote`]: what is shown, without its age, for other nodes |
//!
//! # Rules
//! - Sources are ranked (for shares: Finnhub's socket, Finnhub's REST quotes, Yahoo). A source *serves* an instrument
//!   when its newest quote or price is no older than [`SourceSpec::stale_after`] by the vendor's own time, and its
//!   connection is live. (By the vendor's time, so that delayed quotes are never taken for live ones.)
//! - **Fail-over** is at once: when the source that is shown serves no more, the next that does is shown.
//! - **Fail-back** waits: a better source is shown again when it has served for [`Ranking::fail_back_after`] without a
//!   gap.
//! - When none serves, what is newest is shown, as [`Freshness::Stale`]. It never fills.
//! - While the market is closed, time stands still: a quote that was fresh at the close is [`Freshness::Closed`] until the
//!   next open, not stale. It does not fill either.
//! - Bid and ask that have grown stale beside a fresh last price are left out.
//! - Prices of different sources are never mixed in one quote.

mod entry;
mod shared;

pub use shared::{LastPrice, MarketClock, SharedQuote, TwoSided};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rust_decimal::Decimal;
use serde::Serialize;
use tradeflow_model::time::NANOS_PER_SEC;
use tradeflow_model::{Instrument, Price, Symbol, Timestamp};

use crate::feed::FeedStatus;
use entry::Entry;

/// As many instruments are on the board; posts of more are refused and counted.
pub const INSTRUMENTS_MAX: usize = 16_384;

/// A source of quotes.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// Its name, as it is shown.
    pub name: String,
    /// A quote older than this is stale, in nanoseconds.
    pub stale_after: i64,
    /// The feed's state, where it has one: a feed that is not live serves no open market.
    pub status: Option<Arc<FeedStatus>>,
}

/// The sources in the order in which they are preferred.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// The sources, the best first; at least one.
    pub sources: Vec<SourceSpec>,
    /// For so long a better source must have served before it is shown again, in nanoseconds.
    pub fail_back_after: i64,
}

impl Ranking {
    /// These sources, with ten seconds before a fail-back.
    pub fn new(sources: Vec<SourceSpec>) -> Self {
        Self { sources, fail_back_after: 10 * NANOS_PER_SEC }
    }
}

/// How far a quote can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    /// Of an open market, and young enough.
    Live,
    /// The last one of a market that is closed.
    Closed,
    /// Too old.
    Stale,
}

/// A quote as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BoardQuote {
    /// The instrument.
    pub symbol: Symbol,
    /// Best bid, where the source gives one.
    pub bid: Option<Decimal>,
    /// Best ask, where the source gives one.
    pub ask: Option<Decimal>,
    /// Last price.
    pub last: Option<Decimal>,
    /// Where it is from.
    pub source: String,
    /// The vendor's time of the newest of it.
    pub ts_event: Timestamp,
    /// Its age by the vendor's time, in nanoseconds; never negative.
    pub age: i64,
    /// How far it can be relied on.
    pub freshness: Freshness,
    /// Whether it is too old; the same as [`Freshness::Stale`].
    pub stale: bool,
}

impl BoardQuote {
    /// Whether an order may be filled at it.
    pub fn may_fill(&self) -> bool {
        self.freshness == Freshness::Live
    }
}

/// What a source has to say about an instrument.
#[derive(Debug, Clone)]
pub struct Post {
    /// The instrument; prices are at its scale.
    pub instrument: Arc<Instrument>,
    /// When it was received.
    pub received: Timestamp,
    /// Bid and ask, with the vendor's time.
    pub quote: Option<(Timestamp, Price, Price)>,
    /// Last price, with the vendor's time.
    pub last: Option<(Timestamp, Price)>,
}

/// The board. Shared by feeds that post and whoever looks.
#[derive(Debug)]
pub struct QuoteBoard {
    ranking: Ranking,
    entries: Mutex<BTreeMap<Symbol, Entry>>,
    switches: AtomicU64,
    refused: AtomicU64,
}

/// A source's place on the board.
#[derive(Debug, Clone)]
pub struct BoardSource {
    board: Arc<QuoteBoard>,
    rank: usize,
}

impl BoardSource {
    /// Puts up what the source has to say. Of each part what is older than what stands there is passed over.
    pub fn post(&self, posts: impl IntoIterator<Item = Post>) {
        let mut entries = self.board.lock();
        for post in posts {
            let symbol = &post.instrument.symbol;
            if !entries.get(symbol).is_some_and(|entry| entry.is_of(&post.instrument)) {
                if entries.len() >= INSTRUMENTS_MAX && !entries.contains_key(symbol) {
                    self.board.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let entry = Entry::new(post.instrument.clone(), self.board.ranking.sources.len());
                entries.insert(symbol.clone(), entry);
            }
            if let Some(entry) = entries.get_mut(symbol) {
                let switched = entry.post(&self.board.ranking, self.rank, &post);
                self.board.switches.fetch_add(u64::from(switched), Ordering::Relaxed);
            }
        }
    }
}

impl QuoteBoard {
    /// A board of these sources.
    pub fn new(ranking: Ranking) -> Arc<Self> {
        let entries = Mutex::default();
        Arc::new(Self { ranking, entries, switches: AtomicU64::new(0), refused: AtomicU64::new(0) })
    }

    /// The place of the source of this name; `None` when it is not ranked.
    pub fn source(self: &Arc<Self>, name: &str) -> Option<BoardSource> {
        let rank = self.ranking.sources.iter().position(|source| source.name == name)?;
        Some(BoardSource { board: self.clone(), rank })
    }

    /// What is shown of an instrument at `now`; `None` when no source has said anything.
    pub fn get(&self, symbol: &Symbol, now: Timestamp) -> Option<BoardQuote> {
        let mut entries = self.lock();
        self.look(entries.get_mut(symbol)?, now)
    }

    /// What is shown of all instruments at `now`, by symbol.
    pub fn all(&self, now: Timestamp) -> Vec<BoardQuote> {
        self.lock().values_mut().filter_map(|entry| self.look(entry, now)).collect()
    }

    /// What is shown of all instruments at `now`, by symbol, for others to show it later.
    pub fn shared(&self, now: Timestamp) -> Vec<SharedQuote> {
        let shared = |entry: &mut Entry| {
            let (quote, _, switched) = entry.shared(&self.ranking, now)?;
            self.switches.fetch_add(u64::from(switched), Ordering::Relaxed);
            Some(quote)
        };
        self.lock().values_mut().filter_map(shared).collect()
    }

    /// Takes down the instruments that are not wanted any more.
    pub fn retain(&self, wanted: impl Fn(&Symbol) -> bool) {
        self.lock().retain(|symbol, _| wanted(symbol));
    }

    /// How often another source took over, counted over all instruments.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// Posts that were refused because the board was full.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn look(&self, entry: &mut Entry, now: Timestamp) -> Option<BoardQuote> {
        let (quote, switched) = entry.look(&self.ranking, now)?;
        self.switches.fetch_add(u64::from(switched), Ordering::Relaxed);
        Some(quote)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Symbol, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
