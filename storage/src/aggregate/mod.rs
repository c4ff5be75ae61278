//! Bars from trades, quotes and finer bars.
//!
//! [`Aggregator`] takes events one at a time, in order, and hands out bars as they are complete. It knows no clock and
//! no file, so history and a live feed make the same bars of the same events. [`run`] does it for a series of the
//! catalog.
//!
//! # Conventions
//!
//! - **Time bars** are counted from the open of their session, and the last is cut off at its close, as
//!   [`Calendar::expected_bars`](tradeflow_model::calendar::Calendar::expected_bars) counts them: NYSE hours begin at
//!   9:30, FX days at 17:00 New York. For round-the-clock markets and intervals up to an hour that is the UTC clock.
//! - A **daily bar** is a session, a **weekly bar** the sessions with trade dates from Monday to Sunday.
//! - A time bar has the times of its interval, not of its first and last event; an interval without an event has no
//!   bar. (So do the vendors that the tests compare with.)
//! - **Tick, volume and notional bars** begin with their first event and end with the one that reaches the count. An
//!   event is never split: the one that reaches the count belongs to the bar whole, which so may be larger than the
//!   count. They begin anew with each session, and what is left at its close is a bar too: no volume is lost.
//!   Their times are those of their first and last event.
//! - **Quotes** make bars of bid, ask or mid (halfway, half to even where that falls between two prices) without
//!   volume. They are taken as they come, crossed ones too.
//! - **Outside sessions**: see [`Outside`].

mod run;
mod slots;

use tradeflow_model::market::PriceType;
use tradeflow_model::money::div_half_even;
use tradeflow_model::{
    Bar, Instrument, InstrumentId, Interval, IntervalUnit, Money, Price, Qty, Quote, SeriesId, Timestamp,
    Trade, ValueError, ValueReason,
};

pub use run::{AggregateReport, RunError, run};
use slots::{Slot, Slots};

/// What to do with events outside the sessions of the instrument's calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Outside {
    /// Leave them out, and count them.
    #[default]
    Drop,
    /// Make bars below a day of them, counted on the UTC clock between one session and the next. (A daily bar is a
    /// session: there, they are left out all the same.)
    Keep,
}

impl std::str::FromStr for Outside {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(match text {
            "drop" => Self::Drop,
            "keep" => Self::Keep,
            _ => {
                let why = ValueReason::Other("is not one of drop, keep".into());
                return Err(ValueError::new("aggregation", "events outside sessions", text, why));
            }
        })
    }
}

/// Why events can't be made into bars.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// The source does not have what the bars are counted in, or is not finer than they are.
    #[error("{from} can't be made into {to} bars: {why}")]
    Impossible {
        /// What there is.
        from: String,
        /// The interval asked for.
        to: Interval,
        /// Why not.
        why: &'static str,
    },
    /// An event that lies before the one before it.
    #[error("an event at {time} comes after one at {previous}; sort them by time")]
    Unsorted {
        /// The event.
        time: Timestamp,
        /// The one before it.
        previous: Timestamp,
    },
    /// A finer bar that lies in two of the coarser.
    #[error(
        "the bar from {open} to {close} does not lie within one bar from {slot_open} to {slot_close}; its times do \
         not fit the sessions of the calendar"
    )]
    Straddles {
        /// Start of the finer bar.
        open: Timestamp,
        /// Its end.
        close: Timestamp,
        /// Start of the coarser.
        slot_open: Timestamp,
        /// Its end.
        slot_close: Timestamp,
    },
    /// A sum that does not fit.
    #[error("the volume or value of the bar at {time} needs more than 64 bits of quantity")]
    TooLarge {
        /// Start of the bar.
        time: Timestamp,
    },
}

/// What an aggregator is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Trades.
    Trades,
    /// Quotes, of which the bars take this price.
    Quotes(PriceType),
    /// Bars of this interval.
    Bars(Interval),
}

/// Makes bars, one event at a time.
#[derive(Debug, Clone)]
pub struct Aggregator {
    series: SeriesId,
    instrument: InstrumentId,
    definition: Instrument,
    source: Source,
    interval: Interval,
    outside: Outside,
    slots: Slots,
    building: Option<Building>,
    previous: Timestamp,
    any_order: bool,
    dropped: u64,
}

#[derive(Debug, Clone, Copy)]
struct Building {
    slot: Slot,
    bar: Bar,
    /// Times of the events that gave its open and its close.
    first: Timestamp,
    last: Timestamp,
    events: u64,
    value: Money,
}

/// An event, whatever it was.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: Timestamp,
    end: Timestamp,
    open: Price,
    high: Price,
    low: Price,
    close: Price,
    volume: Qty,
}

impl Aggregator {
    /// Makes bars of `interval` from `source`. The bars carry the ids.
    ///
    /// # Errors
    /// When the source can't make such bars: quotes have no volume, a quote has no last price, and bars make only
    /// longer bars counted in time.
    pub fn new(
        definition: &Instrument,
        ids: (SeriesId, InstrumentId),
        source: Source,
        interval: Interval,
        outside: Outside,
    ) -> Result<Self, AggregateError> {
        check(source, interval)?;
        Ok(Self {
            series: ids.0,
            instrument: ids.1,
            definition: definition.clone(),
            source,
            interval,
            outside,
            slots: Slots::new(definition.calendar, interval, outside),
            building: None,
            previous: Timestamp::MIN,
            any_order: false,
            dropped: 0,
        })
    }

    /// Takes events of the time bar in the making in any order, and makes of them the bar that they make when sorted
    /// by time (equal times as they came). Events before that bar are refused as ever. Bars not counted in time still
    /// want their events in order.
    #[must_use]
    pub fn any_order(mut self) -> Self {
        self.any_order = self.is_timed();
        self
    }

    /// Takes a trade. Bars that are complete are appended to `out`: those that ended before it, and the one that it
    /// completes.
    ///
    /// # Errors
    /// When it lies before the event before it, or a sum is too large. The state is as before then.
    pub fn push_trade(&mut self, trade: &Trade, out: &mut Vec<Bar>) -> Result<(), AggregateError> {
        self.push_at(trade.ts_event, trade.price, trade.qty, out)
    }

    /// Takes a quote; as [`Self::push_trade`].
    ///
    /// # Errors
    /// As [`Self::push_trade`].
    pub fn push_quote(&mut self, quote: &Quote, out: &mut Vec<Bar>) -> Result<(), AggregateError> {
        let price = match self.source {
            Source::Quotes(PriceType::Bid) => quote.bid,
            Source::Quotes(PriceType::Ask) => quote.ask,
            _ => mid(quote.bid, quote.ask),
        };
        self.push_at(quote.ts_event, price, Qty::ZERO, out)
    }

    /// Takes a finer bar; as [`Self::push_trade`].
    ///
    /// # Errors
    /// As [`Self::push_trade`], and when the bar lies in two of the coarser.
    pub fn push_bar(&mut self, bar: &Bar, out: &mut Vec<Bar>) -> Result<(), AggregateError> {
        let &Bar { ts_open, ts_event, open, high, low, close, volume, .. } = bar;
        self.push(Piece { start: ts_open, end: ts_event, open, high, low, close, volume }, out)
    }

    fn push_at(
        &mut self,
        t: Timestamp,
        p: Price,
        volume: Qty,
        out: &mut Vec<Bar>,
    ) -> Result<(), AggregateError> {
        self.push(Piece { start: t, end: t, open: p, high: p, low: p, close: p, volume }, out)
    }

    fn push(&mut self, piece: Piece, out: &mut Vec<Bar>) -> Result<(), AggregateError> {
        let earliest = match &self.building {
            Some(building) if self.any_order => building.slot.open,
            _ if self.any_order => Timestamp::MIN,
            _ => self.previous,
        };
        if piece.start < earliest {
            return Err(AggregateError::Unsorted { time: piece.start, previous: earliest });
        }
        let Some(slot) = self.slots.at(piece.start) else {
            self.advance(piece.start, out);
            self.previous = piece.start;
            self.dropped += 1;
            return Ok(());
        };
        if piece.end > slot.close {
            return Err(AggregateError::Straddles {
                open: piece.start,
                close: piece.end,
                slot_open: slot.open,
                slot_close: slot.close,
            });
        }
        let too_large = AggregateError::TooLarge { time: slot.open };
        let value = match self.interval.unit() {
            IntervalUnit::Notional => {
                self.definition.notional(piece.close, piece.volume).map_err(|_| too_large.clone())?.abs()
            }
            _ => Money::ZERO,
        };
        let current = self.building.filter(|building| building.slot == slot);
        let next = match current {
            None => self.begin(slot, &piece, value),
            Some(building) => building.joined(&piece, value).ok_or(too_large)?,
        };
        // Nothing can fail from here on.
        if current.is_none() {
            self.flush(out);
        }
        self.previous = piece.start;
        self.building = Some(next);
        if self.is_full(&next) {
            self.flush(out);
        }
        Ok(())
    }

    fn begin(&self, slot: Slot, piece: &Piece, value: Money) -> Building {
        let (ts_open, ts_event) =
            if self.is_timed() { (slot.open, slot.close) } else { (piece.start, piece.end) };
        let bar = Bar {
            series: self.series,
            instrument: self.instrument,
            ts_open,
            ts_event,
            ts_init: ts_event,
            open: piece.open,
            high: piece.high,
            low: piece.low,
            close: piece.close,
            volume: piece.volume,
        };
        Building { slot, bar, first: piece.start, last: piece.start, events: 1, value }
    }

    fn is_timed(&self) -> bool {
        !matches!(self.interval.unit(), IntervalUnit::Tick | IntervalUnit::Volume | IntervalUnit::Notional)
    }

    fn is_full(&self, building: &Building) -> bool {
        let count = i64::from(self.interval.count());
        match self.interval.unit() {
            IntervalUnit::Tick => building.events >= u64::from(self.interval.count()),
            IntervalUnit::Volume => {
                let target = i128::from(count) * i128::from(self.definition.one_unit());
                i128::from(building.bar.volume.raw()) >= target
            }
            IntervalUnit::Notional => building.value >= Money::from_units(count),
            _ => false,
        }
    }

    /// Says that it is `now`: bars that ended by then are appended to `out`. A live feed calls this with its timer, so
    /// that a bar does not wait for the first event after it.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<Bar>) {
        if self.building.is_some_and(|building| building.slot.close <= now) {
            self.flush(out);
        }
    }

    /// Hands out the bar in the making, if there is one, as it is.
    pub fn flush(&mut self, out: &mut Vec<Bar>) {
        if let Some(building) = self.building.take() {
            let mut bar = building.bar;
            if !self.is_timed() {
                bar.ts_init = bar.ts_event;
            }
            out.push(bar);
        }
    }

    /// End of the bar in the making, if there is one: for bars not counted in time, of the session.
    pub fn ends(&self) -> Option<Timestamp> {
        self.building.map(|building| building.slot.close)
    }

    /// Events left out so far because they lie outside sessions.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What is done with events outside sessions.
    pub fn outside(&self) -> Outside {
        self.outside
    }
}

impl Building {
    /// With one more event; `None` when a sum does not fit.
    fn joined(mut self, piece: &Piece, value: Money) -> Option<Self> {
        let bar = &mut self.bar;
        bar.high = bar.high.max(piece.high);
        bar.low = bar.low.min(piece.low);
        if piece.start < self.first {
            (self.first, bar.open) = (piece.start, piece.open);
        }
        if piece.start >= self.last {
            (self.last, bar.close) = (piece.start, piece.close);
        }
        bar.volume = bar.volume.checked_add(piece.volume)?;
        // Only bars not counted in time end with their last event; the others have their end already.
        bar.ts_event = bar.ts_event.max(piece.end);
        self.events += 1;
        self.value = self.value.checked_add(value)?;
        Some(self)
    }
}

/// Halfway between two prices, half to even where that falls between two.
fn mid(bid: Price, ask: Price) -> Price {
    let sum = i128::from(bid.raw()) + i128::from(ask.raw());
    Price::from_raw(i64::try_from(div_half_even(sum, 2)).unwrap_or(bid.raw()))
}

fn check(source: Source, interval: Interval) -> Result<(), AggregateError> {
    use IntervalUnit::{Notional, Tick, Volume};
    let refuse = |from: String, why| Err(AggregateError::Impossible { from, to: interval, why });
    match source {
        Source::Trades => Ok(()),
        Source::Quotes(PriceType::Last) => {
            refuse("quotes".into(), "choose bid, ask or mid; quotes have no last price")
        }
        Source::Quotes(_) if matches!(interval.unit(), Volume | Notional) => {
            refuse("quotes".into(), "quotes have no volume")
        }
        Source::Quotes(_) => Ok(()),
        Source::Bars(from) => {
            let text = format!("{from} bars");
            if matches!(interval.unit(), Tick | Volume | Notional) {
                return refuse(text, "bars make only bars counted in time; take the trades");
            }
            if matches!(from.unit(), Tick | Volume | Notional) {
                return refuse(text, "bars not counted in time can't be made into others; take the trades");
            }
            if from.nominal_nanos() >= interval.nominal_nanos() {
                return refuse(text, "the bars to make must be longer");
            }
            match (from.nanos(), interval.nanos()) {
                (Some(from), Some(to)) if to % from != 0 => {
                    refuse(text, "the longer is not a multiple of the shorter")
                }
                _ => Ok(()),
            }
        }
    }
}
