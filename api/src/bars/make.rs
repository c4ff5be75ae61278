//! Bars made of finer ones, and of the ticks behind these: by the same rules as `tradeflow catalog aggregate` and the bars
//! that a node makes.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};

use tradeflow_model::market::{Columns, PriceType};
use tradeflow_model::{Bar, Interval, Timestamp};
use tradeflow_storage::aggregate::{AggregateError, Aggregator, Outside, Source};

use super::level::{Level, bars_of};
use super::{BarsError, From, IDS, Item, Known, interval_of};

/// A tick may come so late, and the bar still changes, in nanoseconds.
const LATE: i64 = 6 * 1_000_000_000;
/// How far back what is followed and not recorded may lie: longer than a bus keeps it, in nanoseconds.
const KEPT: i64 = 30 * 86_400 * 1_000_000_000;

/// What bars are made of: finer bars, and ticks where those end.
pub(super) struct Maker<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) interval: Interval,
    pub(super) price: PriceType,
    pub(super) finer: Option<Level<'a>>,
    pub(super) ticks: Option<Level<'a>>,
}

impl Maker<'_> {
    /// What they are made of, in a word.
    pub(super) fn made_of(&self) -> Option<String> {
        let ticks = if self.price == PriceType::Last { "trades" } else { "quotes" };
        match &self.finer {
            Some(finer) => interval_of(finer.kind).map(|interval| interval.to_string()),
            None => self.ticks.as_ref().map(|_| ticks.to_owned()),
        }
    }

    /// The first or the last bars that begin in a stretch, in the order of time.
    pub(super) fn bars(
        &self,
        within: &Range<Timestamp>,
        newest: bool,
        count: usize,
    ) -> Result<VecDeque<Item>, BarsError> {
        let sources = || self.finer.iter().chain(&self.ticks);
        let now = self.known.now;
        // Nothing lies before the first row, or behind the last.
        let first = sources()
            .map(|level| level.first().unwrap_or(now.saturating_add(-KEPT)))
            .min()
            .map(|first| first.saturating_add(-self.margin()));
        let last = sources().filter_map(Level::last).chain([now]).max();
        let (Some(first), Some(last)) = (first, last) else { return Ok(VecDeque::new()) };
        let within = within.start.max(first)..within.end.min(last.saturating_add(self.margin()));
        if within.start >= within.end {
            return Ok(VecDeque::new());
        }
        if !newest {
            return self.pass(&within, false, count);
        }
        let mut back = self.interval.nominal_nanos().saturating_mul(count as i64 + 2);
        loop {
            let start = within.start.max(within.end.saturating_add(-back));
            let found = self.pass(&(start..within.end), true, count)?;
            if found.len() >= count || start <= within.start {
                return Ok(found);
            }
            back = back.saturating_mul(4); // nights and weekends have no bars
        }
    }

    /// Longer than any bar of this length.
    fn margin(&self) -> i64 {
        self.interval.nominal_nanos().saturating_mul(2)
    }

    fn pass(
        &self,
        within: &Range<Timestamp>,
        newest: bool,
        count: usize,
    ) -> Result<VecDeque<Item>, BarsError> {
        let source = match (&self.ticks, self.finer.as_ref().and_then(|finer| interval_of(finer.kind))) {
            (None, Some(finer)) => Source::Bars(finer),
            _ if self.price == PriceType::Last => Source::Trades,
            _ => Source::Quotes(self.price),
        };
        let made = Aggregator::new(&self.known.definition, IDS, source, self.interval, Outside::Drop)?;
        let mut pass =
            Pass { made: made.any_order(), within, newest, count, fresh: Vec::new(), found: VecDeque::new() };
        // A bar that begins in the stretch may end behind it.
        let read = within.start..within.end.saturating_add(self.margin());
        let mut failed = Ok(());
        let mut whole = Timestamp::MIN;
        if let Some(finer) = &self.finer {
            finer.rows(&read, |rows, _| {
                whole =
                    bars_of(rows, &read).map(|bar| bar.ts_event).max().map_or(whole, |end| whole.max(end));
                pass.take(rows, &read, &mut failed)
            })?;
        }
        if let (Some(ticks), false) = (&self.ticks, pass.is_full()) {
            let read = read.start.max(whole)..read.end;
            ticks.rows(&read, |rows, _| pass.take(rows, &read, &mut failed))?;
        }
        failed?;
        if !pass.is_full() {
            pass.made.flush(&mut pass.fresh);
            pass.keep();
        }
        let is_final =
            |bar: &Bar| bar.ts_event <= whole || bar.ts_event.saturating_add(LATE) <= self.known.now;
        let item = |bar| Item { from: From::Made, is_final: is_final(&bar), bar };
        Ok(pass.found.into_iter().map(item).collect())
    }
}

/// One reading of a stretch.
struct Pass<'a> {
    made: Aggregator,
    within: &'a Range<Timestamp>,
    newest: bool,
    count: usize,
    fresh: Vec<Bar>,
    found: VecDeque<Bar>,
}

impl Pass<'_> {
    fn is_full(&self) -> bool {
        !self.newest && self.found.len() >= self.count
    }

    fn take(
        &mut self,
        rows: &Columns,
        read: &Range<Timestamp>,
        failed: &mut Result<(), AggregateError>,
    ) -> ControlFlow<()> {
        let (made, fresh) = (&mut self.made, &mut self.fresh);
        let in_time = |ts: &i64| read.contains(&Timestamp::from_nanos(*ts));
        let pushed = match rows {
            Columns::Bars(_) => bars_of(rows, read).try_for_each(|bar| passed(made.push_bar(&bar, fresh))),
            Columns::Trades(rows) => (0..rows.ts_event.len())
                .filter(|row| in_time(&rows.ts_event[*row]))
                .try_for_each(|row| passed(made.push_trade(&rows.get(row, IDS.0, IDS.1), fresh))),
            Columns::Quotes(rows) => (0..rows.ts_event.len())
                .filter(|row| in_time(&rows.ts_event[*row]))
                .try_for_each(|row| passed(made.push_quote(&rows.get(row, IDS.0, IDS.1), fresh))),
            Columns::Actions(_) | Columns::Sessions(_) => Ok(()),
        };
        self.keep();
        match pushed {
            Err(error) => {
                *failed = Err(error);
                ControlFlow::Break(())
            }
            Ok(()) if self.is_full() => ControlFlow::Break(()),
            Ok(()) => ControlFlow::Continue(()),
        }
    }

    /// Keeps of what was made what is wanted. A bar that began before the stretch is not whole.
    fn keep(&mut self) {
        for bar in self.fresh.drain(..).filter(|bar| self.within.contains(&bar.ts_open)) {
            match (self.found.len() >= self.count, self.newest) {
                (false, _) => self.found.push_back(bar),
                (true, true) => {
                    self.found.pop_front();
                    self.found.push_back(bar);
                }
                (true, false) => {}
            }
        }
    }
}

/// A tick that comes too late for its bar is left out, as it is of the bars that a node makes.
fn passed(pushed: Result<(), AggregateError>) -> Result<(), AggregateError> {
    match pushed {
        Err(AggregateError::Unsorted { .. }) => Ok(()),
        other => other,
    }
}
