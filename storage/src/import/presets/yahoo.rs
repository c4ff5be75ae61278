//! Yahoo Finance history.

use tradeflow_model::Interval;

use super::super::clock::TimeFormat;
use super::super::layout::{Layout, Preset, RowKind};
use super::OHLCV;

/// Yahoo Finance history.
pub(super) const PRESET: Preset = Preset {
    name: "yahoo",
    about: "Daily bars by date of the session (weekly and intraday too, with --interval); Open to Close as they stand, adjusted for splits but not for dividends; Adj Close is passed over. Prices are rounded to 6 decimals, because Yahoo prints binary floats.",
    sample: "Date,Open,High,Low,Close,Adj Close,Volume\n2004-08-19,100.01,104.06,95.96,100.34,100.34,22351900",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::YearFirst,
        interval: Some(Interval::DAY),
        round: Some(6),
        ..Layout::new(RowKind::Bar)
    }
    .in_order(&OHLCV)
}
