//! One instrument of the board: what each source gave, and which is shown.

use std::sync::Arc;

use tradeflow_model::{Instrument, Price, Timestamp};

use super::shared::{LastPrice, MarketClock, MarketTime, SharedQuote, TwoSided};
use super::{BoardQuote, Post, Ranking, SourceSpec};
use crate::feed::FeedState;

#[derive(Debug)]
pub(super) struct Entry {
    instrument: Arc<Instrument>,
    clock: MarketClock,
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

/// Whether what a source gave serves. In a closed market a silent feed is nothing unusual.
fn serves(time: MarketTime, given: &Given, source: &SourceSpec) -> bool {
    let live = || source.status.as_ref().is_none_or(|status| status.state() == FeedState::Live);
    given.ts_event().is_some_and(|ts| time.is_fresh(ts, source.stale_after)) && (time.closed || live())
}

impl Entry {
    pub fn new(instrument: Arc<Instrument>, sources: usize) -> Self {
        let clock = MarketClock::new(instrument.calendar);
        Self { instrument, clock, given: vec![Given::default(); sources], shown: None }
    }

    pub fn is_of(&self, instrument: &Arc<Instrument>) -> bool {
        Arc::ptr_eq(&self.instrument, instrument) || self.instrument == *instrument
    }

    /// Takes a post; whether another source is shown now.
    pub fn post(&mut self, ranking: &Ranking, rank: usize, post: &Post) -> bool {
        let time = self.clock.at(post.received);
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
        if given.steady_since.is_none() && serves(time, given, &ranking.sources[rank]) {
            given.steady_since = Some(post.received);
        }
        self.choose(ranking, post.received, time)
    }

    /// What is shown at `now`, and whether another source has taken over for that.
    pub fn look(&mut self, ranking: &Ranking, now: Timestamp) -> Option<(BoardQuote, bool)> {
        let (shared, time, switched) = self.shared(ranking, now)?;
        Some((shared.shown(time, now)?, switched))
    }

    /// The same without its age, and the time of the market.
    pub fn shared(&mut self, ranking: &Ranking, now: Timestamp) -> Option<(SharedQuote, MarketTime, bool)> {
        let time = self.clock.at(now);
        self.note_gaps(ranking, time);
        let switched = self.choose(ranking, now, time);
        let rank = self.shown?;
        let (given, source) = (&self.given[rank], &ranking.sources[rank]);
        let decimal = |price: Price| price.to_decimal(self.instrument.price_scale);
        let shared = SharedQuote {
            symbol: self.instrument.symbol.clone(),
            source: source.name.clone(),
            stale_after: source.stale_after,
            quote: given.quote.map(|(ts, bid, ask)| TwoSided { ts, bid: decimal(bid), ask: decimal(ask) }),
            last: given.last.map(|(ts, price)| LastPrice { ts, price: decimal(price) }),
        };
        Some((shared, time, switched))
    }

    fn note_gaps(&mut self, ranking: &Ranking, time: MarketTime) {
        for (given, source) in self.given.iter_mut().zip(&ranking.sources) {
            if !serves(time, given, source) {
                given.steady_since = None;
            } else if given.steady_since.is_none() {
                // It serves again without a new quote: the connection is back.
                given.steady_since = Some(time.reference);
            }
        }
    }

    fn choose(&mut self, ranking: &Ranking, now: Timestamp, time: MarketTime) -> bool {
        let serves = |rank: usize| serves(time, &self.given[rank], &ranking.sources[rank]);
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
