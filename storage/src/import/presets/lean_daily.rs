//! LEAN daily bars of equities.

use tradeflow_model::{AssetClass, Interval};

use super::super::clock::TimeFormat;
use super::super::layout::{Layout, Preset, RowKind};
use super::{OHLCV, new_york};

/// LEAN daily bars of equities.
pub(super) const PRESET: Preset = Preset {
    name: "lean-daily",
    about: "Zip of raw daily bars by date of the session; prices × 10000.",
    sample: "19980102 00:00,136300,162500,135000,162500,6315000",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::YearFirst,
        zone: new_york(),
        price_shift: 4,
        interval: Some(Interval::DAY),
        class: Some(AssetClass::Equity),
        ..Layout::new(RowKind::Bar)
    }
    .in_order(&OHLCV)
}
