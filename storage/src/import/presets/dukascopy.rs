//! Dukascopy historical bars.

use tradeflow_model::AssetClass;
use tradeflow_model::market::PriceType;

use super::super::clock::TimeFormat;
use super::super::layout::{Layout, Preset, RowKind};
use super::OHLCV;

/// Dukascopy historical bars.
pub(super) const PRESET: Preset = Preset {
    name: "dukascopy",
    about: "Bid or ask (--price-type ask) bars of FX, stamped at their start in GMT, day first.",
    sample: "Gmt time,Open,High,Low,Close,Volume\n02.01.2017 02:00:00.000,1.05155,1.05197,1.05155,1.0519,84.5",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::DayFirst,
        price_type: PriceType::Bid,
        class: Some(AssetClass::FxPair),
        round: Some(8),
        ..Layout::new(RowKind::Bar)
    }
    .in_order(&OHLCV)
}
