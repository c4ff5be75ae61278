//! Time in milliseconds, open, high, low, close, volume.

use super::super::clock::TimeFormat;
use super::super::layout::{Layout, Preset, RowKind};
use super::OHLCV;

/// Time in milliseconds, open, high, low, close, volume.
pub(super) const PRESET: Preset = Preset {
    name: "ohlcv-ms",
    about: "Bars stamped at their start in epoch milliseconds UTC; with a header of usual names, or without one in this order.",
    sample: "ts_ms,open,high,low,close,volume\n1483228800000,966.61,966.61,966.61,966.61,1.65",
    layout,
};

fn layout() -> Layout {
    Layout { time: TimeFormat::EpochMillis, ..Layout::new(RowKind::Bar) }.in_order(&OHLCV)
}
