//! What is shown of an instrument, without its age: so it can be kept, and shown at any time and on any node.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tradeflow_model::calendar::{Calendar, SessionCursor};
use tradeflow_model::{Symbol, Timestamp};

use super::{BoardQuote, Freshness};

/// What is shown of an instrument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedQuote {
    /// The instrument.
    pub symbol: Symbol,
    /// Where it is from.
    pub source: String,
    /// It is stale when it is older than this, in nanoseconds.
    pub stale_after: i64,
    /// Bid and ask, where the source gives them.
    pub quote: Option<TwoSided>,
    /// The last price, where the source gives one.
    pub last: Option<LastPrice>,
}

/// Bid and ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwoSided {
    /// The vendor's time of them.
    pub ts: Timestamp,
    /// Best bid.
    pub bid: Decimal,
    /// Best ask.
    pub ask: Decimal,
}

/// A last price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPrice {
    /// The vendor's time of it.
    pub ts: Timestamp,
    /// The price.
    pub price: Decimal,
}

impl SharedQuote {
    /// The vendor's time of the newest of it; none where it holds nothing.
    pub fn ts_event(&self) -> Option<Timestamp> {
        self.quote.map(|quote| quote.ts).max(self.last.map(|last| last.ts))
    }

    /// How it is shown at `now`, which is the time of its market at this clock; none where it holds nothing.
    pub fn at(&self, clock: &mut MarketClock, now: Timestamp) -> Option<BoardQuote> {
        self.shown(clock.at(now), now)
    }

    pub(super) fn shown(&self, time: MarketTime, now: Timestamp) -> Option<BoardQuote> {
        let ts_event = self.ts_event()?;
        let freshness = match (time.is_fresh(ts_event, self.stale_after), time.closed) {
            (false, _) => Freshness::Stale,
            (true, true) => Freshness::Closed,
            (true, false) => Freshness::Live,
        };
        let fresh = |quote: &TwoSided| time.is_fresh(quote.ts, self.stale_after);
        let quote = self.quote.filter(|quote| freshness == Freshness::Stale || fresh(quote));
        Some(BoardQuote {
            symbol: self.symbol.clone(),
            bid: quote.map(|quote| quote.bid),
            ask: quote.map(|quote| quote.ask),
            last: self.last.map(|last| last.price),
            source: self.source.clone(),
            ts_event,
            age: now.as_nanos().saturating_sub(ts_event.as_nanos()).max(0),
            freshness,
            stale: freshness == Freshness::Stale,
        })
    }
}

/// The time that quotes are compared with, and whether the market is closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct MarketTime {
    pub(super) reference: Timestamp,
    pub(super) closed: bool,
}

impl MarketTime {
    pub(super) fn is_fresh(self, ts_event: Timestamp, stale_after: i64) -> bool {
        self.reference.as_nanos().saturating_sub(ts_event.as_nanos()) <= stale_after
    }
}

/// Tells the time of a market.
#[derive(Debug, Clone)]
pub struct MarketClock {
    calendar: Calendar,
    cursor: SessionCursor,
}

impl MarketClock {
    /// Of the market with these sessions.
    pub fn new(calendar: Calendar) -> Self {
        Self { calendar, cursor: SessionCursor::new(calendar) }
    }

    /// While the market is closed, the time is that of its close.
    pub(super) fn at(&mut self, now: Timestamp) -> MarketTime {
        let close = match self.cursor.session_at(now) {
            Some(session) if session.is_open(now) => return MarketTime { reference: now, closed: false },
            Some(session) => session.pause.map(|pause| pause.start),
            None => self.calendar.previous_session(now).map(|session| session.close),
        };
        MarketTime { reference: close.unwrap_or(now), closed: true }
    }
}
