//! MetaTrader 5 tick export.

use super::super::clock::TimeFormat;
use super::super::layout::{Field, Layout, Preset, RowKind};

/// MetaTrader 5 tick export.
pub(super) const PRESET: Preset = Preset {
    name: "mt5-ticks",
    about: "Tab separated with a header; an empty bid or ask is as in the row before. Zone of the broker: say which with --time-zone (UTC unless said).",
    sample: "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n2017.01.02\t02:00:00.123\t1.05155\t1.05165\t\t\t6",
    layout,
};

fn layout() -> Layout {
    Layout { time: TimeFormat::YearFirst, ..Layout::new(RowKind::Quote) }.in_order(&[
        Some(Field::Date),
        Some(Field::Time),
        Some(Field::Bid),
        Some(Field::Ask),
    ])
}
