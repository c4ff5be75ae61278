//! One series of bars: ticks in, bars out. Knows neither bus nor clock.

use tradeflow_bus::record::BarsRecord;
use tradeflow_model::market::{Columns, PriceType};
use tradeflow_model::{Bar, BarColumns, InstrumentId, IntervalUnit, SeriesId, Timestamp};
use tradeflow_storage::aggregate::{AggregateError, Aggregator, Source};

use super::BarSeries;

/// A place among the rows of a partition: the record's offset, and the row in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) row: u32,
}

/// What became of the rows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) ticks: u64,
    pub(super) late: u64,
    pub(super) outside: u64,
    /// Whose sums do not fit.
    pub(super) bad: u64,
}

/// More bars than this do not go into one record.
const BARS_MAX: usize = 4_096;

#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) spec: BarSeries,
    aggregator: Aggregator,
    timed: bool,
    /// Rows before it are in published bars, or came too late for them.
    from: Place,
    /// End of the last published bar: earlier ticks are late.
    floor: Timestamp,
    /// The first row that the unfinished bar needs to be made again.
    needs: Option<Place>,
    /// The feed of the last tick.
    source: String,
    bars: Vec<Bar>,
}

impl Series {
    pub(super) fn new(spec: BarSeries) -> Result<Self, AggregateError> {
        let aggregator = aggregator(&spec)?;
        let timed = !matches!(
            spec.interval.unit(),
            IntervalUnit::Tick | IntervalUnit::Volume | IntervalUnit::Notional
        );
        Ok(Self {
            spec,
            aggregator,
            timed,
            from: Place::default(),
            floor: Timestamp::MIN,
            needs: None,
            source: String::new(),
            bars: Vec::new(),
        })
    }

    /// Whether it is made of quotes.
    pub(super) fn of_quotes(&self) -> bool {
        self.spec.price_type != PriceType::Last
    }

    /// Whether a record holds bars of this series that were made of ticks.
    pub(super) fn is_of(&self, record: &BarsRecord) -> bool {
        record.ticks_through.is_some()
            && record.symbol == self.spec.instrument.symbol
            && record.interval == self.spec.interval
            && record.price_type == self.spec.price_type
    }

    /// Takes note of bars that were published before a restart.
    pub(super) fn published(&mut self, record: &BarsRecord) {
        if let (Some(offset), Some(end)) = (record.ticks_through, record.ts_event.last()) {
            self.from = Place { offset, row: record.rows_through };
            self.floor = Timestamp::from_nanos(*end);
        }
    }

    /// Forgets the unfinished bar, whose ticks are not all there. Returns whether there was one.
    pub(super) fn forget(&mut self) -> bool {
        let had = self.aggregator.ends();
        if let (Some(end), true) = (had, self.timed) {
            self.floor = self.floor.max(end);
        }
        self.aggregator.flush(&mut self.bars);
        self.bars.clear();
        self.needs = None;
        had.is_some()
    }

    /// The first offset that it needs to go on after a restart; `None` when it waits for its next tick.
    pub(super) fn needs(&self) -> Option<u64> {
        self.needs.map(|place| place.offset)
    }

    /// When the unfinished bar ends.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        self.aggregator.ends()
    }

    /// Takes the rows of a record; finished bars go to `out`.
    pub(super) fn take(
        &mut self,
        offset: u64,
        source: &str,
        rows: &Columns,
        out: &mut Vec<BarsRecord>,
    ) -> Counts {
        let ids = (SeriesId(0), InstrumentId(0));
        let mut counts = Counts::default();
        let mut made = BarColumns::default();
        let mut through = self.from;
        for row in 0..rows.len() {
            let place = Place { offset, row: u32::try_from(row).unwrap_or(u32::MAX) };
            if place < self.from {
                continue;
            }
            counts.ticks += 1;
            let time = Timestamp::from_nanos(rows.ts_event(row));
            if self.timed && time < self.floor {
                counts.late += 1;
                continue;
            }
            let dropped = self.aggregator.dropped();
            let pushed = match rows {
                Columns::Trades(c) => self.aggregator.push_trade(&c.get(row, ids.0, ids.1), &mut self.bars),
                Columns::Quotes(c) => self.aggregator.push_quote(&c.get(row, ids.0, ids.1), &mut self.bars),
                _ => Ok(()),
            };
            if let Err(error) = pushed {
                match error {
                    AggregateError::Unsorted { .. } => counts.late += 1,
                    _ => counts.bad += 1,
                }
                continue;
            }
            let is_outside = self.aggregator.dropped() > dropped;
            counts.outside += u64::from(is_outside);
            // Of one tick's bars only the last can hold the tick itself: then nothing is in the making.
            let completes = self.aggregator.ends().is_none() && !is_outside;
            let count = self.bars.len();
            for (index, bar) in self.bars.drain(..).enumerate() {
                let holds_it = completes && index + 1 == count;
                through = Place { offset, row: place.row + u32::from(holds_it) };
                self.floor = bar.ts_event;
                made.push(&bar);
                if made.ts_open.len() == BARS_MAX {
                    out.push(record(&self.spec, &self.source, std::mem::take(&mut made), through));
                }
            }
            if count > 0 {
                (self.from, self.needs) = (through, None);
            }
            let holds_state = self.aggregator.ends().is_some() || (!self.timed && count == 0);
            if self.needs.is_none() && holds_state {
                self.needs = Some(place);
            }
            self.source.clear();
            self.source.push_str(source);
        }
        if !made.ts_open.is_empty() {
            out.push(record(&self.spec, &self.source, made, through));
        }
        counts
    }

    /// Closes the unfinished bar if it ended by `now`; all rows before `offset` have been taken.
    pub(super) fn advance(&mut self, now: Timestamp, offset: u64, out: &mut Vec<BarsRecord>) {
        self.aggregator.advance(now, &mut self.bars);
        let mut made = BarColumns::default();
        for bar in self.bars.drain(..) {
            self.floor = bar.ts_event;
            made.push(&bar);
        }
        if !made.ts_open.is_empty() {
            (self.from, self.needs) = (Place { offset, row: 0 }, None);
            out.push(record(&self.spec, &self.source, made, self.from));
        }
    }
}

fn aggregator(spec: &BarSeries) -> Result<Aggregator, AggregateError> {
    let source = match spec.price_type {
        PriceType::Last => Source::Trades,
        other => Source::Quotes(other),
    };
    let ids = (SeriesId(0), InstrumentId(0));
    Ok(Aggregator::new(&spec.instrument, ids, source, spec.interval, spec.outside)?.any_order())
}

fn record(spec: &BarSeries, source: &str, rows: BarColumns, through: Place) -> BarsRecord {
    let scales = (spec.instrument.price_scale, spec.instrument.size_scale);
    let of = (spec.interval, spec.price_type);
    let symbol = spec.instrument.symbol.clone();
    let mut record = BarsRecord::new(symbol, source, scales, of, rows, Some(through.offset));
    record.rows_through = through.row;
    record
}
