//! LEAN minute bars of futures.

use tradeflow_model::{AssetClass, Interval};

use super::super::clock::TimeFormat;
use super::super::layout::{Layout, Preset, RowKind};
use super::OHLCV;

/// LEAN minute bars of futures.
pub(super) const PRESET: Preset = Preset {
    name: "lean-minute-future",
    about: "Zip with a member a contract (symbol ROOT-yyyymm, such as ES-201312); milliseconds since UTC midnight of the date in the file name; prices as they are.",
    sample: "79200000,1676.75,1677.25,1673.5,1675.25,1884",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::MillisOfDay,
        interval: Some(Interval::MINUTE),
        class: Some(AssetClass::Future),
        contracts: true,
        ..Layout::new(RowKind::Bar)
    }
    .in_order(&OHLCV)
}
