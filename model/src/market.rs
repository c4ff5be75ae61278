//! Market events, and the columns and batches that carry them.
//!
//! An event has two times: `ts_event`, when it happened at the venue, and `ts_init`, when we first had it. A bar's
//! `ts_event` is its close: nobody can know a bar before (invariant I7).
//!
//! Events travel in [`MarketBatch`]es: columns, each of one series in its own order, and the runs of rows in which
//! the columns are to be read so that the whole is in the total order `(ts_event, series, row)`. The series table of
//! a run is sorted by kind (see [`SeriesKind::rank`]), so that this is also the documented rule for ties: time, then
//! kind, then source rank, then sequence.

use serde::{Deserialize, Serialize};

use crate::fixed::{Price, Qty};
use crate::ids::{InstrumentId, SeriesId};
use crate::money::Money;
use crate::time::{Interval, Timestamp};

/// Which price a bar is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriceType {
    /// Traded prices.
    #[default]
    Last,
    /// The best bid.
    Bid,
    /// The best ask.
    Ask,
    /// Halfway between bid and ask.
    Mid,
}

impl PriceType {
    /// The name, as it stands in folder names and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Bid => "bid",
            Self::Ask => "ask",
            Self::Mid => "mid",
        }
    }
}

impl std::str::FromStr for PriceType {
    type Err = crate::ValueError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Last, Self::Bid, Self::Ask, Self::Mid].into_iter().find(|p| p.name() == text).ok_or_else(
            || {
                let why = crate::ValueReason::Other("is not one of last, bid, ask, mid".into());
                crate::ValueError::new("bar", "price type", text, why)
            },
        )
    }
}

/// What a series holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeriesKind {
    /// Splits and dividends.
    Actions,
    /// Opens of the instrument's sessions.
    SessionOpens,
    /// Best bid and ask.
    Quotes,
    /// Trades.
    Trades,
    /// Bars.
    Bars {
        /// Their length.
        interval: Interval,
        /// What they are made of.
        price_type: PriceType,
    },
    /// Closes of the instrument's sessions.
    SessionCloses,
}

impl SeriesKind {
    /// The place of the kind among events of one instant: actions, session opens, quotes, trades, bars (the shorter
    /// first), session closes. A bar that ends with the session is so seen before the close, and a position is
    /// adjusted for a split before anything trades.
    pub fn rank(self) -> (u8, i64) {
        match self {
            Self::Actions => (0, 0),
            Self::SessionOpens => (1, 0),
            Self::Quotes => (2, 0),
            Self::Trades => (3, 0),
            Self::Bars { interval, .. } => (4, interval.nominal_nanos()),
            Self::SessionCloses => (5, 0),
        }
    }
}

/// Open, high, low, close and volume of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar {
    /// The series it belongs to.
    pub series: SeriesId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// Start of the interval.
    pub ts_open: Timestamp,
    /// End of the interval: the time at which the bar is delivered.
    pub ts_event: Timestamp,
    /// When we first had it.
    pub ts_init: Timestamp,
    /// First price.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price.
    pub close: Price,
    /// Traded quantity; zero where the source gives none.
    pub volume: Qty,
}

/// Which side crossed the spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggressor {
    /// The source does not say.
    #[default]
    Unknown,
    /// A buyer lifted the ask.
    Buyer,
    /// A seller hit the bid.
    Seller,
}

/// A trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// The series it belongs to.
    pub series: SeriesId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// When it traded.
    pub ts_event: Timestamp,
    /// When we first had it.
    pub ts_init: Timestamp,
    /// The price.
    pub price: Price,
    /// The quantity.
    pub qty: Qty,
    /// Who crossed the spread.
    pub aggressor: Aggressor,
}

/// The best bid and ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The series it belongs to.
    pub series: SeriesId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// When it held.
    pub ts_event: Timestamp,
    /// When we first had it.
    pub ts_init: Timestamp,
    /// Best bid.
    pub bid: Price,
    /// Best ask.
    pub ask: Price,
    /// Quantity at the bid; zero where the source gives none.
    pub bid_size: Qty,
    /// Quantity at the ask; zero where the source gives none.
    pub ask_size: Qty,
}

/// What a company does to its shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// Each `old` shares become `new`.
    Split {
        /// Shares after.
        new: u32,
        /// Shares before.
        old: u32,
    },
    /// Cash for each share held.
    Dividend {
        /// Amount a share, in the settlement currency.
        amount: Money,
    },
}

/// A split or dividend, at the open of its ex-date's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorporateAction {
    /// The series it belongs to.
    pub series: SeriesId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// When it takes effect.
    pub ts_event: Timestamp,
    /// When we first had it.
    pub ts_init: Timestamp,
    /// What happens.
    pub kind: ActionKind,
}

/// Whether a session opens or closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionPhase {
    /// Trading begins.
    Open,
    /// Trading ends.
    Close,
}

/// The open or close of an instrument's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// The series it belongs to.
    pub series: SeriesId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// When.
    pub ts_event: Timestamp,
    /// When we first had it.
    pub ts_init: Timestamp,
    /// Open or close.
    pub phase: SessionPhase,
}

/// Any market event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarketEvent {
    /// A bar, at its close.
    Bar(Bar),
    /// A trade.
    Trade(Trade),
    /// A quote.
    Quote(Quote),
    /// A split or dividend.
    Action(CorporateAction),
    /// A session's open or close.
    Session(SessionEvent),
}

impl MarketEvent {
    /// When it happened at the venue; its place in the total order.
    #[inline]
    pub fn ts_event(&self) -> Timestamp {
        match self {
            Self::Bar(e) => e.ts_event,
            Self::Trade(e) => e.ts_event,
            Self::Quote(e) => e.ts_event,
            Self::Action(e) => e.ts_event,
            Self::Session(e) => e.ts_event,
        }
    }

    /// The instrument.
    #[inline]
    pub fn instrument(&self) -> InstrumentId {
        match self {
            Self::Bar(e) => e.instrument,
            Self::Trade(e) => e.instrument,
            Self::Quote(e) => e.instrument,
            Self::Action(e) => e.instrument,
            Self::Session(e) => e.instrument,
        }
    }

    /// The series.
    #[inline]
    pub fn series(&self) -> SeriesId {
        match self {
            Self::Bar(e) => e.series,
            Self::Trade(e) => e.series,
            Self::Quote(e) => e.series,
            Self::Action(e) => e.series,
            Self::Session(e) => e.series,
        }
    }
}

/// Bars of one series as columns of equal length: times in nanoseconds, prices and quantities raw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // each column is the field of `Bar` with its name
pub struct BarColumns {
    pub ts_open: Vec<i64>,
    pub ts_event: Vec<i64>,
    pub ts_init: Vec<i64>,
    pub open: Vec<i64>,
    pub high: Vec<i64>,
    pub low: Vec<i64>,
    pub close: Vec<i64>,
    pub volume: Vec<i64>,
}

/// Trades of one series as columns of equal length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // each column is the field of `Trade` with its name
pub struct TradeColumns {
    pub ts_event: Vec<i64>,
    pub ts_init: Vec<i64>,
    pub price: Vec<i64>,
    pub qty: Vec<i64>,
    pub aggressor: Vec<Aggressor>,
}

/// Quotes of one series as columns of equal length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // each column is the field of `Quote` with its name
pub struct QuoteColumns {
    pub ts_event: Vec<i64>,
    pub ts_init: Vec<i64>,
    pub bid: Vec<i64>,
    pub ask: Vec<i64>,
    pub bid_size: Vec<i64>,
    pub ask_size: Vec<i64>,
}

impl BarColumns {
    /// The bar at `row`, as one of `series`.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn get(&self, row: usize, series: SeriesId, instrument: InstrumentId) -> Bar {
        Bar {
            series,
            instrument,
            ts_open: Timestamp::from_nanos(self.ts_open[row]),
            ts_event: Timestamp::from_nanos(self.ts_event[row]),
            ts_init: Timestamp::from_nanos(self.ts_init[row]),
            open: Price::from_raw(self.open[row]),
            high: Price::from_raw(self.high[row]),
            low: Price::from_raw(self.low[row]),
            close: Price::from_raw(self.close[row]),
            volume: Qty::from_raw(self.volume[row]),
        }
    }

    /// The bars of `rows`, as those of `series`: the loop of the hot path, which checks the bounds once.
    ///
    /// # Panics
    /// When there are no such rows.
    #[inline]
    pub fn rows(
        &self,
        rows: std::ops::Range<usize>,
        series: SeriesId,
        instrument: InstrumentId,
    ) -> impl Iterator<Item = Bar> + '_ {
        let count = rows.len();
        let ts_open = &self.ts_open[rows.clone()][..count];
        let ts_event = &self.ts_event[rows.clone()][..count];
        let ts_init = &self.ts_init[rows.clone()][..count];
        let open = &self.open[rows.clone()][..count];
        let high = &self.high[rows.clone()][..count];
        let low = &self.low[rows.clone()][..count];
        let close = &self.close[rows.clone()][..count];
        let volume = &self.volume[rows][..count];
        (0..count).map(move |row| Bar {
            series,
            instrument,
            ts_open: Timestamp::from_nanos(ts_open[row]),
            ts_event: Timestamp::from_nanos(ts_event[row]),
            ts_init: Timestamp::from_nanos(ts_init[row]),
            open: Price::from_raw(open[row]),
            high: Price::from_raw(high[row]),
            low: Price::from_raw(low[row]),
            close: Price::from_raw(close[row]),
            volume: Qty::from_raw(volume[row]),
        })
    }

    /// Appends a bar.
    pub fn push(&mut self, bar: &Bar) {
        self.ts_open.push(bar.ts_open.as_nanos());
        self.ts_event.push(bar.ts_event.as_nanos());
        self.ts_init.push(bar.ts_init.as_nanos());
        self.open.push(bar.open.raw());
        self.high.push(bar.high.raw());
        self.low.push(bar.low.raw());
        self.close.push(bar.close.raw());
        self.volume.push(bar.volume.raw());
    }
}

impl TradeColumns {
    /// The trade at `row`, as one of `series`.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn get(&self, row: usize, series: SeriesId, instrument: InstrumentId) -> Trade {
        Trade {
            series,
            instrument,
            ts_event: Timestamp::from_nanos(self.ts_event[row]),
            ts_init: Timestamp::from_nanos(self.ts_init[row]),
            price: Price::from_raw(self.price[row]),
            qty: Qty::from_raw(self.qty[row]),
            aggressor: self.aggressor[row],
        }
    }

    /// Appends a trade.
    pub fn push(&mut self, trade: &Trade) {
        self.ts_event.push(trade.ts_event.as_nanos());
        self.ts_init.push(trade.ts_init.as_nanos());
        self.price.push(trade.price.raw());
        self.qty.push(trade.qty.raw());
        self.aggressor.push(trade.aggressor);
    }
}

impl QuoteColumns {
    /// The quote at `row`, as one of `series`.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn get(&self, row: usize, series: SeriesId, instrument: InstrumentId) -> Quote {
        Quote {
            series,
            instrument,
            ts_event: Timestamp::from_nanos(self.ts_event[row]),
            ts_init: Timestamp::from_nanos(self.ts_init[row]),
            bid: Price::from_raw(self.bid[row]),
            ask: Price::from_raw(self.ask[row]),
            bid_size: Qty::from_raw(self.bid_size[row]),
            ask_size: Qty::from_raw(self.ask_size[row]),
        }
    }

    /// Appends a quote.
    pub fn push(&mut self, quote: &Quote) {
        self.ts_event.push(quote.ts_event.as_nanos());
        self.ts_init.push(quote.ts_init.as_nanos());
        self.bid.push(quote.bid.raw());
        self.ask.push(quote.ask.raw());
        self.bid_size.push(quote.bid_size.raw());
        self.ask_size.push(quote.ask_size.raw());
    }
}

/// The rows of one series in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// Bars.
    Bars(BarColumns),
    /// Trades.
    Trades(TradeColumns),
    /// Quotes.
    Quotes(QuoteColumns),
    /// Splits and dividends: few, so plain rows.
    Actions(Vec<CorporateAction>),
    /// Session opens or closes: few, so plain rows.
    Sessions(Vec<SessionEvent>),
}

impl Columns {
    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Bars(c) => c.ts_event.len(),
            Self::Trades(c) => c.ts_event.len(),
            Self::Quotes(c) => c.ts_event.len(),
            Self::Actions(rows) => rows.len(),
            Self::Sessions(rows) => rows.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `ts_event` of a row, in nanoseconds.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn ts_event(&self, row: usize) -> i64 {
        match self {
            Self::Bars(c) => c.ts_event[row],
            Self::Trades(c) => c.ts_event[row],
            Self::Quotes(c) => c.ts_event[row],
            Self::Actions(rows) => rows[row].ts_event.as_nanos(),
            Self::Sessions(rows) => rows[row].ts_event.as_nanos(),
        }
    }

    /// The event at `row`, as one of `series`.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn get(&self, row: usize, series: SeriesId, instrument: InstrumentId) -> MarketEvent {
        match self {
            Self::Bars(c) => MarketEvent::Bar(c.get(row, series, instrument)),
            Self::Trades(c) => MarketEvent::Trade(c.get(row, series, instrument)),
            Self::Quotes(c) => MarketEvent::Quote(c.get(row, series, instrument)),
            Self::Actions(rows) => MarketEvent::Action(rows[row]),
            Self::Sessions(rows) => MarketEvent::Session(rows[row]),
        }
    }
}

/// The columns of one series within a batch. Shared, because a chunk of a file may span several batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesColumns {
    /// The series.
    pub series: SeriesId,
    /// Its instrument.
    pub instrument: InstrumentId,
    /// The rows.
    pub columns: std::sync::Arc<Columns>,
}

/// Rows `start..end` of the part with index `part`, to be read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Index into [`MarketBatch::parts`].
    pub part: u32,
    /// First row.
    pub start: u32,
    /// One past the last row.
    pub end: u32,
}

/// A stretch of market events in total order: the message that drivers hand to cells, behind an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MarketBatch {
    /// Number of the batch within the run, from 0.
    pub number: u64,
    /// Columns, by series.
    pub parts: Vec<SeriesColumns>,
    /// The order in which to read them.
    pub runs: Vec<Run>,
}

impl MarketBatch {
    /// How many events.
    pub fn rows(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.end - run.start)).sum()
    }

    /// The events in order, one at a time. Hot loops go over [`Self::runs`] instead.
    pub fn events(&self) -> impl Iterator<Item = MarketEvent> + '_ {
        self.runs.iter().flat_map(move |run| {
            let part = &self.parts[run.part as usize];
            (run.start..run.end).map(move |row| part.columns.get(row as usize, part.series, part.instrument))
        })
    }
}
