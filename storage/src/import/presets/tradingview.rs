//! TradingView chart export.

use super::super::clock::TimeFormat;
use super::super::layout::{Layout, Preset, RowKind};

/// TradingView chart export.
pub(super) const PRESET: Preset = Preset {
    name: "tradingview",
    about: "A header, then bar start in epoch seconds or ISO 8601. Columns of indicators are passed over.",
    sample: "time,open,high,low,close,Volume\n1483228800,966.61,966.63,966.61,966.63,1.65",
    layout,
};

fn layout() -> Layout {
    Layout { time: TimeFormat::SecondsOrYearFirst, round: Some(8), ..Layout::new(RowKind::Bar) }
}
