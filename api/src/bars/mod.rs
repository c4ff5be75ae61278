//! Bars of an instrument: what the catalog has, behind it what the bus has, and behind that what is being made.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | which series answer a question, and in which order |
//! | `level.rs` | one series: catalog and bus joined |
//! | `make.rs` | bars made of finer ones and of ticks |
//!
//! Bars of the wanted length are shown as they were stored or published. Before the first and behind the last of them, and
//! where there are none, they are made of the longest finer bars there are, and behind the end of those of ticks. All of it
//! blocks, and holds a page of bars and a piece of a file at most.

mod level;
mod make;

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use tradeflow_live::host::Sources;
use tradeflow_live::{LiveError, SessionPlan};
use tradeflow_model::market::{PriceType, SeriesKind};
use tradeflow_model::{Bar, Instrument, InstrumentId, Interval, SeriesId, Symbol, Timestamp};
use tradeflow_storage::aggregate::{AggregateError, Aggregator, Outside, Source};
use tradeflow_storage::catalog::{Catalog, CatalogError};

use level::Level;
use make::Maker;

/// The lengths that are looked for to make longer bars of, beside those that the node makes.
const USUAL: [&str; 17] = [
    "1s", "5s", "10s", "15s", "30s", "1m", "2m", "3m", "5m", "10m", "15m", "30m", "1h", "2h", "4h", "12h",
    "1d",
];
/// Rows carry no ids of a plan: they are of one series.
const IDS: (SeriesId, InstrumentId) = (SeriesId(0), InstrumentId(0));
/// How often a question is asked anew because the recorder has put files together meanwhile.
const TRIES: usize = 5;

/// Where market data is: the catalog, and the bus of the node.
#[derive(Clone)]
pub struct MarketData {
    /// The catalog.
    pub catalog: Catalog,
    /// Bus, topics, archive.
    pub sources: Sources,
}

/// Why there are no bars.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BarsError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Live(#[from] LiveError),
    /// They can't be made of what there is.
    #[error(transparent)]
    Made(#[from] AggregateError),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) symbol: Symbol,
    pub(crate) interval: Interval,
    /// What they are of; where it is not said, what there is.
    pub(crate) price: Option<PriceType>,
    /// That begin at or after its start, and before its end.
    pub(crate) within: Range<Timestamp>,
    /// The last ones, not the first.
    pub(crate) newest: bool,
    pub(crate) count: usize,
}

/// Where a bar is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Catalog,
    Bus,
    Made,
}

/// A bar.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) bar: Bar,
    pub(crate) from: From,
    /// Whether it stays as it is.
    pub(crate) is_final: bool,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) definition: Instrument,
    pub(crate) price: PriceType,
    /// What bars that are made are made of.
    pub(crate) made_of: Option<String>,
    /// Who the rows of the catalog are from.
    pub(crate) vendors: BTreeSet<String>,
    /// In the order of time.
    pub(crate) items: VecDeque<Item>,
}

/// An instrument, and all that is known of it.
pub(super) struct Known<'a> {
    market: &'a MarketData,
    plan: &'a SessionPlan,
    definition: Instrument,
    /// As the catalog defines it, where it does.
    stored: Option<Instrument>,
    /// Its place in the session, where it is followed.
    followed: Option<InstrumentId>,
    now: Timestamp,
}

/// Answers a question; none where there is no such instrument.
pub(crate) fn find(
    market: &MarketData,
    plan: &Arc<SessionPlan>,
    question: &Question,
    now: Timestamp,
) -> Result<Option<Found>, BarsError> {
    for _ in 1..TRIES {
        match ask(market, plan, question, now) {
            Err(BarsError::Catalog(CatalogError::Changed { .. } | CatalogError::Corrupt { .. })) => {}
            answer => return answer,
        }
    }
    ask(market, plan, question, now)
}

fn ask(
    market: &MarketData,
    plan: &SessionPlan,
    question: &Question,
    now: Timestamp,
) -> Result<Option<Found>, BarsError> {
    let stored = market.catalog.instrument(&question.symbol)?;
    let followed = plan.instrument(question.symbol.as_str());
    let definition = followed.map(|id| plan.run.instrument(id).clone()).or_else(|| stored.clone());
    let Some(definition) = definition else { return Ok(None) };
    let known = Known { market, plan, definition, stored, followed, now };
    let (price, own, maker) = known.series(question)?;
    let mut vendors = BTreeSet::new();
    for level in own.iter().chain(&maker.finer).chain(&maker.ticks) {
        vendors.append(&mut level.vendors());
    }
    let items = joined(question, own.as_ref(), &maker)?;
    let is_made = items.iter().any(|item| item.from == From::Made);
    let made_of = maker.made_of().filter(|_| is_made);
    Ok(Some(Found { price, made_of, vendors, items, definition: known.definition.clone() }))
}

impl Known<'_> {
    /// The price that is shown, the series of the wanted length, and what others are made of.
    fn series(&self, question: &Question) -> Result<(PriceType, Option<Level<'_>>, Maker<'_>), BarsError> {
        let made = self.plan.run.series.iter().find_map(|series| match series.kind {
            SeriesKind::Bars { price_type, .. } if Some(series.instrument) == self.followed => {
                Some(price_type)
            }
            _ => None,
        });
        let usual = [PriceType::Last, PriceType::Mid, PriceType::Bid, PriceType::Ask];
        let prices: Vec<_> = match question.price {
            Some(price) => vec![price],
            None => made.into_iter().chain(usual).collect(),
        };
        for price in &prices {
            let (own, maker) = self.levels(question.interval, *price)?;
            if own.is_some() || maker.finer.is_some() || maker.ticks.is_some() {
                return Ok((*price, own, maker));
            }
        }
        let price = prices.first().copied().unwrap_or(PriceType::Last);
        let (own, maker) = self.levels(question.interval, price)?;
        Ok((price, own, maker))
    }

    fn levels(
        &self,
        interval: Interval,
        price: PriceType,
    ) -> Result<(Option<Level<'_>>, Maker<'_>), BarsError> {
        let bars = |interval| SeriesKind::Bars { interval, price_type: price };
        let own = Level::of(self, bars(interval))?;
        let can = |source| Aggregator::new(&self.definition, IDS, source, interval, Outside::Drop).is_ok();
        let finer = self.finer(bars, |finer| can(Source::Bars(finer)))?;
        let (ticks, source) = match price {
            PriceType::Last => (SeriesKind::Trades, Source::Trades),
            _ => (SeriesKind::Quotes, Source::Quotes(price)),
        };
        let is_timed = interval.nominal_nanos() > 0;
        let ticks = if is_timed && can(source) { Level::of(self, ticks)? } else { None };
        Ok((own, Maker { known: self, interval, price, finer, ticks }))
    }

    /// The longest of the finer bars that the node makes; otherwise, of those in the catalog, the ones that go on for
    /// longest, and of equals the longest.
    fn finer(
        &self,
        bars: impl Fn(Interval) -> SeriesKind,
        can: impl Fn(Interval) -> bool,
    ) -> Result<Option<Level<'_>>, BarsError> {
        let ours = self.plan.run.series.iter().filter(|series| Some(series.instrument) == self.followed);
        let live = ours.filter_map(|series| {
            interval_of(series.kind).filter(|interval| bars(*interval) == series.kind && can(*interval))
        });
        if let Some(longest) = live.max_by_key(|interval| interval.nominal_nanos()) {
            return Level::of(self, bars(longest));
        }
        let end = |level: &Option<Level<'_>>| {
            let level = level.as_ref()?;
            Some(level.last()?.saturating_add(interval_of(level.kind)?.nominal_nanos()))
        };
        let mut stored: Option<Level<'_>> = None;
        for interval in USUAL.iter().filter_map(|text| text.parse().ok()).filter(|interval| can(*interval)) {
            // From the shortest to the longest.
            let level = Level::of(self, bars(interval))?;
            if end(&level) >= end(&stored) {
                stored = level.or(stored);
            }
        }
        Ok(stored)
    }
}

fn interval_of(kind: SeriesKind) -> Option<Interval> {
    match kind {
        SeriesKind::Bars { interval, .. } => Some(interval),
        _ => None,
    }
}

/// Bars of the stretch from all series, in the order of time.
fn joined(
    question: &Question,
    own: Option<&Level<'_>>,
    maker: &Maker<'_>,
) -> Result<VecDeque<Item>, BarsError> {
    let Question { within, newest, count, .. } = question;
    let makes = maker.finer.is_some() || maker.ticks.is_some();
    let stretch = |from: Timestamp, to: Timestamp| within.start.max(from)..within.end.min(to);
    let end = match own {
        Some(own) => own.end()?,
        None => None,
    };
    // What is stored or published, between what is made before and behind it.
    let (before, stored, behind) = match (own, end) {
        (Some(own), Some(end)) => {
            let first = own.first();
            let before = first.map_or(Timestamp::MIN..Timestamp::MIN, |first| stretch(Timestamp::MIN, first));
            (before, stretch(first.unwrap_or(Timestamp::MIN), Timestamp::MAX), stretch(end, Timestamp::MAX))
        }
        _ => (
            stretch(Timestamp::MIN, Timestamp::MAX),
            Timestamp::MIN..Timestamp::MIN,
            Timestamp::MIN..Timestamp::MIN,
        ),
    };
    let mut found: VecDeque<Item> = VecDeque::new();
    let mut parts = [(before, true), (stored, false), (behind, true)];
    if *newest {
        parts.reverse();
    }
    for (part, is_made) in parts {
        let wanted = count - found.len();
        if wanted == 0 || part.start >= part.end || (is_made && !makes) {
            continue;
        }
        let mut more: VecDeque<Item> = match (is_made, own) {
            (true, _) => maker.bars(&part, *newest, wanted)?,
            (false, Some(own)) => own
                .bars(&part, *newest, wanted)?
                .into_iter()
                .map(|(bar, from)| Item { bar, from, is_final: true })
                .collect(),
            (false, None) => VecDeque::new(),
        };
        if *newest {
            more.append(&mut found);
            found = more;
        } else {
            found.append(&mut more);
        }
    }
    Ok(found)
}
