//! Any table with a header of usual names.

use super::super::clock::TimeFormat;
use super::super::layout::{Layout, Preset, RowKind};

/// Any table with a header of usual names.
pub(super) const PRESET: Preset = Preset {
    name: "csv",
    about: "Time as ISO text (UTC unless it says otherwise) or epoch seconds, then open, high, low, close and perhaps volume, in any order; an index column without a name is a time. For anything else see --columns.",
    sample: "timestamp,open,high,low,close\n2012-02-01 00:00:00+00:00,1.57597,1.57606,1.57576,1.57576",
    layout,
};

fn layout() -> Layout {
    Layout { time: TimeFormat::SecondsOrYearFirst, ..Layout::new(RowKind::Bar) }
}
