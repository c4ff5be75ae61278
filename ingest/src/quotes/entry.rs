//! One instrument of the board: what each source gave, and which is shown.

use std::sync::Arc;

use tradeflow_model::calendar::SessionCursor;
use tradeflow_model::{Instrument, Price, Timestamp};

use super::{BoardQuote, Freshness, Post, Ranking, SourceSpec};
use crate::feed::FeedState;

#[derive(Debug)]
pub(super) struct Entry {
    instrument: Arc<Instrument>,
    cursor: SessionCursor,
    given: Vec<Given>,
    shown: Option<usize>,
}

/// What a source gave.
#[derive(Debug, Clone, Copy, Default)]
struct Given {
    quote: Option<(Timestamp, Price, Price)>,
    last: Option<(Timestamp, Price)>,
    /// Since when it has served without a gap.
    steady_since: Option<Timestamp>,
}

impl Given {
    fn ts_event(&self) -> Option<Timestamp> {
        self.quote.map(|(ts, ..)| ts).max(self.last.map(|(ts, _)| ts))
    }
}

/// The time that quotes are compared with, and whether the market is closed.
#[derive(Debug, Clone, Copy)]
struct MarketTime {
    reference: Timestamp,
    closed: bool,
}

impl MarketTime {
    fn is_fresh(self, ts_event: Timestamp, source: &SourceSpec) -> bool {
        self.reference.as_nanos().saturating_sub(ts_event.as_nanos()) <= source.stale_after
    }

    /// Whether what a source gave serves. In a closed market a silent feed is nothing unusual.
    fn serves(self, given: &Given, source: &SourceSpec) -> bool {
        let live = || source.status.as_ref().is_none_or(|status| status.state() == FeedState::Live);
        given.ts_event().is_some_and(|ts| self.is_fresh(ts, source)) && (self.closed || live())
    }
}

impl Entry {
    pub fn new(instrument: Arc<Instrument>, sources: usize) -> Self {
        let cursor = SessionCursor::new(instrument.calendar);
        Self { instrument, cursor, given: vec![Given::default(); sources], shown: None }
    }

    pub fn is_of(&self, instrument: &Arc<Instrument>) -> bool {
        Arc::ptr_eq(&self.instrument, instrument) || self.instrument == *instrument
    }

    /// Takes a post; whether another source is shown now.
    pub fn post(&mut self, ranking: &Ranking, rank: usize, post: &Post) -> bool {
        let time = self.time(post.received);
        self.note_gaps(ranking, time);
        let given = &mut self.given[rank];
        if let Some(quote) = post.quote
            && given.quote.is_none_or(|before| before.0 <= quote.0)
        {
            given.quote = Some(quote);
        }
        if let Some(last) = post.last
            && given.last.is_none_or(|before| before.0 <= last.0)
        {
            given.last = Some(last);
        }
        if given.steady_since.is_none() && time.serves(given, &ranking.sources[rank]) {
            given.steady_since = Some(post.received);
        }
        self.choose(ranking, post.received, time)
    }

    /// What is shown at `now`, and whether another source has taken over for that.
    pub fn look(&mut self, ranking: &Ranking, now: Timestamp) -> Option<(BoardQuote, bool)> {
        let time = self.time(now);
        self.note_gaps(ranking, time);
        let switched = self.choose(ranking, now, time);
        let rank = self.shown?;
        let (given, source) = (&self.given[rank], &ranking.sources[rank]);
        let ts_event = given.ts_event()?;
        let freshness = match (time.is_fresh(ts_event, source), time.closed) {
            (false, _) => Freshness::Stale,
            (true, true) => Freshness::Closed,
            (true, false) => Freshness::Live,
        };
        let quote =
            given.quote.filter(|(ts, ..)| freshness == Freshness::Stale || time.is_fresh(*ts, source));
        let decimal = |price: Price| price.to_decimal(self.instrument.price_scale);
        let shown = BoardQuote {
            symbol: self.instrument.symbol.clone(),
            bid: quote.map(|(_, bid, _)| decimal(bid)),
            ask: quote.map(|(_, _, ask)| decimal(ask)),
            last: given.last.map(|(_, last)| decimal(last)),
            source: source.name.clone(),
            ts_event,
            age: now.as_nanos().saturating_sub(ts_event.as_nanos()).max(0),
            freshness,
            stale: freshness == Freshness::Stale,
        };
        Some((shown, switched))
    }

    /// While the market is closed, the time is that of its close.
    fn time(&mut self, now: Timestamp) -> MarketTime {
        let close = match self.cursor.session_at(now) {
            Some(session) if session.is_open(now) => return MarketTime { reference: now, closed: false },
            Some(session) => session.pause.map(|pause| pause.start),
            None => self.instrument.calendar.previous_session(now).map(|session| session.close),
        };
        MarketTime { reference: close.unwrap_or(now), closed: true }
    }

    fn note_gaps(&mut self, ranking: &Ranking, time: MarketTime) {
        for (given, source) in self.given.iter_mut().zip(&ranking.sources) {
            if !time.serves(given, source) {
                given.steady_since = None;
            } else if given.steady_since.is_none() {
                // It serves again without a new quote: the connection is back.
                given.steady_since = Some(time.reference);
            }
        }
    }

    fn choose(&mut self, ranking: &Ranking, now: Timestamp, time: MarketTime) -> bool {
        let serves = |rank: usize| time.serves(&self.given[rank], &ranking.sources[rank]);
        let steady = |rank: usize| {
            self.given[rank].steady_since.is_some_and(|since| {
                now.as_nanos().saturating_sub(since.as_nanos()) >= ranking.fail_back_after
            })
        };
        let best = match self.shown {
            Some(shown) if serves(shown) => {
                (0..shown).find(|rank| serves(*rank) && steady(*rank)).or(Some(shown))
            }
            // Nothing better than what is shown: only something newer.
            shown => (0..self.given.len()).find(|rank| serves(*rank)).or_else(|| {
                (0..self.given.len()).filter(|rank| self.given[*rank].ts_event().is_some()).max_by_key(
                    |rank| (self.given[*rank].ts_event(), Some(*rank) == shown, std::cmp::Reverse(*rank)),
                )
            }),
        };
        let switched = self.shown.is_some() && best != self.shown;
        self.shown = best;
        switched
    }
}
