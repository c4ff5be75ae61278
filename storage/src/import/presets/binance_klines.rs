//! Binance klines, as data.binance.vision publishes them.

use tradeflow_model::AssetClass;

use super::super::clock::TimeFormat;
use super::super::layout::{Layout, Preset, RowKind};
use super::OHLCV;

/// Binance klines, as data.binance.vision publishes them.
pub(super) const PRESET: Preset = Preset {
    name: "binance-klines",
    about: "Twelve columns, header or none; bar start in epoch milliseconds, since 2025 microseconds.",
    sample: "1483228800000,966.61,966.61,966.61,966.61,1.65,1483228859999,1594.9,12,0.8,773.3,0",
    layout,
};

fn layout() -> Layout {
    Layout { time: TimeFormat::EpochAny, class: Some(AssetClass::CryptoSpot), ..Layout::new(RowKind::Bar) }
        .in_order(&OHLCV)
}
