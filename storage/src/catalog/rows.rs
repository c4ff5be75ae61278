//! Rows of the four stored kinds under one small trait, so that sorting, cutting and merging are written once.

use std::ops::Range;

use tradeflow_model::market::{ActionKind, Columns, QuoteColumns, SeriesKind, TradeColumns};
use tradeflow_model::{BarColumns, CorporateAction};

use super::content::aggressor_code;

/// All values of a row, for comparison: equal rows have equal values.
pub(crate) type Values = [i64; 8];

/// Rows of one kind, in columns.
pub(crate) trait Rows: Default + Clone {
    /// How many.
    fn len(&self) -> usize;
    /// The key time of a row: `ts_open` of bars, `ts_event` of the rest.
    fn key(&self, row: usize) -> i64;
    /// All values of a row.
    fn values(&self, row: usize) -> Values;
    /// Appends some rows of another.
    fn extend(&mut self, other: &Self, rows: Range<usize>);

    /// Some of the rows.
    fn slice(&self, rows: Range<usize>) -> Self {
        let mut slice = Self::default();
        slice.extend(self, rows);
        slice
    }
}

macro_rules! columnar {
    ($name:ident, $key:ident, $($column:ident),+) => {
        fn len(&self) -> usize {
            self.$key.len()
        }
        fn key(&self, row: usize) -> i64 {
            self.$key[row]
        }
        fn extend(&mut self, other: &Self, rows: Range<usize>) {
            $(self.$column.extend_from_slice(&other.$column[rows.clone()]);)+
        }
    };
}

impl Rows for BarColumns {
    columnar!(BarColumns, ts_open, ts_open, ts_event, ts_init, open, high, low, close, volume);

    fn values(&self, row: usize) -> Values {
        [
            self.ts_open[row],
            self.ts_event[row],
            self.open[row],
            self.high[row],
            self.low[row],
            self.close[row],
            self.volume[row],
            self.ts_init[row],
        ]
    }
}

impl Rows for TradeColumns {
    columnar!(TradeColumns, ts_event, ts_event, ts_init, price, qty, aggressor);

    fn values(&self, row: usize) -> Values {
        let aggressor = aggressor_code(self.aggressor[row]).into();
        [self.ts_event[row], self.ts_init[row], self.price[row], self.qty[row], aggressor, 0, 0, 0]
    }
}

impl Rows for QuoteColumns {
    columnar!(QuoteColumns, ts_event, ts_event, ts_init, bid, ask, bid_size, ask_size);

    fn values(&self, row: usize) -> Values {
        let (bid, ask) = (self.bid[row], self.ask[row]);
        [self.ts_event[row], self.ts_init[row], bid, ask, self.bid_size[row], self.ask_size[row], 0, 0]
    }
}

impl Rows for Vec<CorporateAction> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn key(&self, row: usize) -> i64 {
        self[row].ts_event.as_nanos()
    }

    fn values(&self, row: usize) -> Values {
        let action = &self[row];
        let (word, a, b) = match action.kind {
            ActionKind::Split { new, old } => (0, new.into(), old.into()),
            ActionKind::Dividend { amount } => (1, (amount.raw() >> 64) as i64, amount.raw() as i64),
        };
        [action.ts_event.as_nanos(), action.ts_init.as_nanos(), word, a, b, 0, 0, 0]
    }

    fn extend(&mut self, other: &Self, rows: Range<usize>) {
        self.extend_from_slice(&other[rows]);
    }
}

/// Calls a generic function on the rows inside two [`Columns`] of the same kind; `$none` when the kinds differ.
macro_rules! with_rows {
    ($a:expr, $b:expr, |$x:ident, $y:ident| $call:expr, $none:expr) => {
        match ($a, $b) {
            (Columns::Bars($x), Columns::Bars($y)) => $call,
            (Columns::Trades($x), Columns::Trades($y)) => $call,
            (Columns::Quotes($x), Columns::Quotes($y)) => $call,
            (Columns::Actions($x), Columns::Actions($y)) => $call,
            _ => $none,
        }
    };
}
pub(crate) use with_rows;

/// No rows, of the kind that a series holds.
pub(crate) fn empty(kind: SeriesKind) -> Columns {
    match kind {
        SeriesKind::Bars { .. } => Columns::Bars(BarColumns::default()),
        SeriesKind::Trades => Columns::Trades(TradeColumns::default()),
        SeriesKind::Quotes => Columns::Quotes(QuoteColumns::default()),
        SeriesKind::Actions => Columns::Actions(Vec::new()),
        SeriesKind::SessionOpens | SeriesKind::SessionCloses => Columns::Sessions(Vec::new()),
    }
}

/// The key time of a row, in nanoseconds.
///
/// # Panics
/// When there is no such row.
pub(crate) fn key_time(columns: &Columns, row: usize) -> i64 {
    match columns {
        Columns::Bars(c) => c.ts_open[row],
        _ => columns.ts_event(row),
    }
}

/// Index of the first row at or after `time`; the rows are sorted.
pub(crate) fn first_at(columns: &Columns, time: i64) -> usize {
    match columns {
        Columns::Bars(c) => c.ts_open.partition_point(|t| *t < time),
        Columns::Trades(c) => c.ts_event.partition_point(|t| *t < time),
        Columns::Quotes(c) => c.ts_event.partition_point(|t| *t < time),
        Columns::Actions(rows) => rows.partition_point(|row| row.ts_event.as_nanos() < time),
        Columns::Sessions(rows) => rows.partition_point(|row| row.ts_event.as_nanos() < time),
    }
}

/// Some of the rows.
pub(crate) fn slice(columns: &Columns, rows: Range<usize>) -> Columns {
    match columns {
        Columns::Bars(c) => Columns::Bars(Rows::slice(c, rows)),
        Columns::Trades(c) => Columns::Trades(Rows::slice(c, rows)),
        Columns::Quotes(c) => Columns::Quotes(Rows::slice(c, rows)),
        Columns::Actions(all) => Columns::Actions(all[rows].to_vec()),
        Columns::Sessions(all) => Columns::Sessions(all[rows].to_vec()),
    }
}

/// Appends rows of the same kind; rows of another kind are left out.
pub(crate) fn append(columns: &mut Columns, more: &Columns) {
    with_rows!(columns, more, |all, more| Rows::extend(all, more, 0..Rows::len(more)), ());
}
