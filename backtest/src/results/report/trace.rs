//! An equity curve for the eye, gathered as its points go by: in bounded memory, at a fixed cost for each point.
//!
//! Points fall into columns of equal time, a power of two of nanoseconds wide. When the curve outgrows the columns,
//! neighbours are joined until it fits again; so the columns always cover exactly what was seen, whatever the length
//! of the run. A column keeps its first, last, lowest and highest point and its deepest drawdown, and joining keeps
//! them too: the extremes of the picture are those of the curve.

use tradeflow_model::Timestamp;

/// A curve reduced to columns, its months, and its deepest drawdown.
#[derive(Debug, Clone)]
pub struct Trace {
    start: f64,
    columns: Vec<Column>,
    /// The column that is being filled is the last of `columns`.
    origin: i64,
    shift: u32,
    /// First instant after the column.
    column_end: i64,
    last_ts: i64,
    peak: f64,
    peak_ts: i64,
    /// Lowest point of the column since the peak, and its time.
    low: (f64, i64),
    deepest: Option<Drawdown>,
    months: Vec<MonthEnd>,
    /// Last instant of the month.
    month_end: i64,
}

/// Part of a curve: all points of a span of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// First point.
    pub first: f64,
    /// Last point.
    pub last: f64,
    /// Lowest point; infinite in a column without points.
    pub min: f64,
    /// Highest point.
    pub max: f64,
    /// Deepest fall below the highest point of the curve so far, as a fraction of that.
    pub drawdown: f64,
}

/// A fall from a high.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawdown {
    /// How far, as a fraction of the high.
    pub depth: f64,
    /// Time of the high.
    pub from: Timestamp,
    /// Time of the low.
    pub to: Timestamp,
}

/// Equity at the end of a UTC month.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MonthEnd {
    /// The year.
    pub year: i16,
    /// The month, from 1.
    pub month: i8,
    /// Equity at its last point.
    pub equity: f64,
}

impl Column {
    const EMPTY: Self =
        Self { first: 0.0, last: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, drawdown: 0.0 };

    fn is_empty(&self) -> bool {
        self.min > self.max
    }

    fn join(&mut self, later: &Self) {
        if later.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = *later;
            return;
        }
        self.last = later.last;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.drawdown = self.drawdown.max(later.drawdown);
    }
}

impl Trace {
    /// Columns at most; between half as many and as many are used.
    pub const COLUMNS_MAX: usize = 2048;

    /// Of a curve that starts at this equity.
    pub fn new(start: f64) -> Self {
        Self {
            start,
            columns: Vec::new(),
            origin: 0,
            shift: 0,
            column_end: i64::MIN,
            last_ts: 0,
            peak: start,
            peak_ts: 0,
            low: (f64::INFINITY, 0),
            deepest: None,
            months: Vec::new(),
            month_end: i64::MIN,
        }
    }

    /// Takes a point. Times must not go back.
    #[inline]
    pub fn push(&mut self, ts: i64, equity: f64) {
        if ts >= self.column_end {
            self.next_column(ts);
        }
        if ts > self.month_end {
            self.next_month(ts);
        }
        self.last_ts = ts;
        let Some(column) = self.columns.last_mut() else { return };
        if column.is_empty() {
            column.first = equity;
        }
        column.last = equity;
        column.min = column.min.min(equity);
        column.max = column.max.max(equity);
        if equity >= self.peak {
            self.settle();
            self.peak = equity;
            self.peak_ts = ts;
        } else if equity < self.low.0 {
            self.low = (equity, ts);
        }
    }

    /// Books the drawdown since the peak, or since the column began.
    #[inline]
    fn settle(&mut self) {
        if self.low.0 == f64::INFINITY {
            return;
        }
        let (low, ts) = std::mem::replace(&mut self.low, (f64::INFINITY, 0));
        let depth = if self.peak > 0.0 { (self.peak - low) / self.peak } else { 0.0 };
        if let Some(column) = self.columns.last_mut() {
            column.drawdown = column.drawdown.max(depth);
        }
        if self.deepest.is_none_or(|deepest| depth > deepest.depth) && depth > 0.0 {
            let (from, to) = (Timestamp::from_nanos(self.peak_ts), Timestamp::from_nanos(ts));
            self.deepest = Some(Drawdown { depth, from, to });
        }
    }

    #[cold]
    fn next_column(&mut self, ts: i64) {
        self.settle();
        if self.columns.is_empty() {
            self.origin = ts;
            self.peak_ts = ts;
        }
        let past = (i128::from(ts) - i128::from(self.origin)) as u64;
        let mut wider = 0;
        while past >> (self.shift + wider) >= Self::COLUMNS_MAX as u64 {
            wider += 1;
        }
        if wider > 0 {
            self.shift += wider;
            let mut joined = vec![Column::EMPTY; 1 + ((self.columns.len().max(1) - 1) >> wider)];
            for (index, column) in self.columns.iter().enumerate() {
                joined[index >> wider].join(column);
            }
            self.columns = joined;
        }
        let index = past >> self.shift;
        self.columns.resize(self.columns.len().max(index as usize + 1), Column::EMPTY);
        let end = i128::from(self.origin) + ((i128::from(index) + 1) << self.shift);
        self.column_end = i64::try_from(end).unwrap_or(i64::MAX);
    }

    #[cold]
    fn next_month(&mut self, ts: i64) {
        self.close_month();
        // A point at midnight is the close of the bar before it; only the first point has nothing before.
        let within = if self.months.is_empty() { ts } else { ts.saturating_sub(1) };
        let date = Timestamp::from_nanos(within).to_jiff().to_zoned(jiff::tz::TimeZone::UTC).date();
        let (year, month) = (date.year(), date.month());
        let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        self.month_end = Timestamp::from_ymd(next_year, next, 1).map_or(i64::MAX, Timestamp::as_nanos);
        self.months.push(MonthEnd { year, month, equity: self.start });
    }

    fn close_month(&mut self) {
        let equity = self.last();
        if let Some(month) = self.months.last_mut() {
            month.equity = equity;
        }
    }

    /// Ends the curve.
    pub fn finish(mut self) -> Self {
        self.settle();
        self.close_month();
        self
    }

    /// Equity before the first point.
    pub fn start(&self) -> f64 {
        self.start
    }

    /// Equity at the last point.
    fn last(&self) -> f64 {
        self.columns.iter().rev().find(|column| !column.is_empty()).map_or(self.start, |column| column.last)
    }

    /// Times of the first and the last point; `None` where there is none.
    pub fn span(&self) -> Option<(i64, i64)> {
        (!self.columns.is_empty()).then_some((self.origin, self.last_ts))
    }

    /// The columns that have points, each with the time of its middle.
    pub fn columns(&self) -> impl Iterator<Item = (i64, &Column)> {
        let (origin, last) = (i128::from(self.origin), self.last_ts);
        self.columns.iter().enumerate().filter(|(_, column)| !column.is_empty()).map(
            move |(index, column)| {
                let middle = origin + ((index as i128) << self.shift) + ((1_i128 << self.shift) >> 1);
                (i64::try_from(middle).unwrap_or(i64::MAX).min(last), column)
            },
        )
    }

    /// The deepest drawdown.
    pub fn deepest(&self) -> Option<Drawdown> {
        self.deepest
    }

    /// The months with points.
    pub fn months(&self) -> &[MonthEnd] {
        &self.months
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tradeflow_model::time::NANOS_PER_DAY;

    use super::*;

    fn of(start: f64, points: &[(i64, f64)]) -> Trace {
        let mut trace = Trace::new(start);
        points.iter().for_each(|(ts, equity)| trace.push(*ts, *equity));
        trace.finish()
    }

    fn points() -> impl Strategy<Value = Vec<(i64, f64)>> {
        let step = prop_oneof![Just(0), 1..5_i64, 1..NANOS_PER_DAY, Just(400 * NANOS_PER_DAY)];
        let start = prop_oneof![Just(0), -NANOS_PER_DAY * 30_000..NANOS_PER_DAY * 40_000];
        (start, prop::collection::vec((step, -100.0..1e6_f64), 1..6000)).prop_map(|(start, steps)| {
            let mut ts: i64 = start;
            steps
                .into_iter()
                .map(|(step, equity)| {
                    ts = ts.saturating_add(step);
                    (ts, equity)
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// However many points there are, the extremes, the ends and the deepest drawdown of the curve are in the
        /// picture, each column holds what a search through its points finds, and memory is bounded.
        #[test]
        fn columns_keep_what_matters(points in points(), start in 1.0..1e6_f64) {
            let trace = of(start, &points);
            let columns: Vec<_> = trace.columns().collect();
            prop_assert!(!columns.is_empty() && trace.columns.len() <= Trace::COLUMNS_MAX);
            let values = || points.iter().map(|(_, equity)| *equity);
            let lowest = columns.iter().map(|(_, c)| c.min).fold(f64::INFINITY, f64::min);
            let highest = columns.iter().map(|(_, c)| c.max).fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(lowest, values().fold(f64::INFINITY, f64::min));
            prop_assert_eq!(highest, values().fold(f64::NEG_INFINITY, f64::max));
            prop_assert_eq!(columns[0].1.first, points[0].1);
            prop_assert_eq!(columns[columns.len() - 1].1.last, points[points.len() - 1].1);
            prop_assert!(columns.windows(2).all(|pair| pair[0].0 <= pair[1].0));

            // The plain way: every point by itself.
            let mut expected = vec![(Vec::new(), 0.0_f64); trace.columns.len()];
            let (mut peak, mut deepest) = (start, 0.0_f64);
            for (ts, equity) in &points {
                peak = peak.max(*equity);
                let depth = (peak - equity) / peak;
                deepest = deepest.max(depth);
                let past = i128::from(*ts) - i128::from(points[0].0);
                let column = &mut expected[(past >> trace.shift) as usize];
                column.0.push(*equity);
                column.1 = column.1.max(depth);
            }
            for (column, (values, drawdown)) in trace.columns.iter().zip(&expected) {
                prop_assert_eq!(column.is_empty(), values.is_empty());
                if values.is_empty() { continue; }
                prop_assert_eq!(column.min, values.iter().copied().fold(f64::INFINITY, f64::min));
                prop_assert_eq!(column.max, values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                prop_assert_eq!((column.first, column.last), (values[0], values[values.len() - 1]));
                prop_assert_eq!(column.drawdown, *drawdown);
            }
            prop_assert_eq!(trace.deepest().map_or(0.0, |d| d.depth), deepest);
        }
    }

    #[test]
    fn a_long_curve_uses_at_least_half_of_the_columns() {
        let points: Vec<_> = (0..200_000_i64).map(|i| (i * 60_000_000_000, i as f64)).collect();
        let trace = of(1.0, &points);
        assert!(trace.columns().count() >= Trace::COLUMNS_MAX / 2 - 1);
    }

    #[test]
    fn the_whole_range_of_time_fits() {
        let trace =
            of(1.0, &[(i64::MIN + 2 * NANOS_PER_DAY, 1.0), (0, 2.0), (i64::MAX, 3.0), (i64::MAX, 4.0)]);
        assert_eq!(trace.columns().count(), 3);
        assert_eq!(trace.span(), Some((i64::MIN + 2 * NANOS_PER_DAY, i64::MAX)));
    }

    #[test]
    fn a_point_at_the_first_midnight_of_a_month_ends_the_month_before() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_nanos();
        let trace = of(
            100.0,
            &[
                (at("2017-12-01"), 100.0),
                (at("2017-12-31T23:59Z"), 109.0),
                (at("2018-01-01"), 110.0),
                (at("2018-01-01T00:01Z"), 111.0),
                (at("2018-03-01"), 112.0),
            ],
        );
        let months: Vec<_> = trace.months().iter().map(|m| (m.year, m.month, m.equity)).collect();
        assert_eq!(months, [(2017, 12, 110.0), (2018, 1, 111.0), (2018, 2, 112.0)]);
    }

    #[test]
    fn no_points_are_no_curve() {
        let trace = of(100.0, &[]);
        assert_eq!((trace.span(), trace.columns().count(), trace.deepest()), (None, 0, None));
    }
}
