//! LEAN minute bars of equities.

use tradeflow_model::{AssetClass, Interval};

use super::super::clock::TimeFormat;
use super::super::layout::{Layout, Preset, RowKind};
use super::{OHLCV, new_york};

/// LEAN minute bars of equities.
pub(super) const PRESET: Preset = Preset {
    name: "lean-minute-trade",
    about: "Zip of milliseconds since New York midnight of the date in the file name; prices × 10000.",
    sample: "34200000,1680000,1681000,1679900,1680500,12345",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::MillisOfDay,
        zone: new_york(),
        price_shift: 4,
        interval: Some(Interval::MINUTE),
        class: Some(AssetClass::Equity),
        ..Layout::new(RowKind::Bar)
    }
    .in_order(&OHLCV)
}
