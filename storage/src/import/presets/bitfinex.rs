//! Bitfinex candles.

use tradeflow_model::AssetClass;

use super::super::clock::TimeFormat;
use super::super::layout::{Field, Layout, Preset, RowKind};

/// Bitfinex candles.
pub(super) const PRESET: Preset = Preset {
    name: "bitfinex",
    about: "Bar start in epoch milliseconds; without a header in the order of its API: time, open, CLOSE, high, low, volume. Newest first is fine.",
    sample: "1483228800000,966.61,966.63,966.63,966.61,1.65",
    layout,
};

fn layout() -> Layout {
    Layout { time: TimeFormat::EpochAny, class: Some(AssetClass::CryptoSpot), ..Layout::new(RowKind::Bar) }
        .in_order(&[
            Some(Field::Time),
            Some(Field::Open),
            Some(Field::Close),
            Some(Field::High),
            Some(Field::Low),
            Some(Field::Volume),
        ])
}
