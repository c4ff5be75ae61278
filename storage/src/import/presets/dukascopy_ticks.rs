//! Dukascopy historical ticks.

use tradeflow_model::AssetClass;

use super::super::clock::TimeFormat;
use super::super::layout::{Field, Layout, Preset, RowKind};

/// Dukascopy historical ticks.
pub(super) const PRESET: Preset = Preset {
    name: "dukascopy-ticks",
    about: "Quotes of FX in GMT, day first; volumes in millions as the file has them.",
    sample: "Gmt time,Ask,Bid,AskVolume,BidVolume\n02.01.2017 02:00:00.123,1.05165,1.05155,1.5,0.75",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::DayFirst,
        class: Some(AssetClass::FxPair),
        round: Some(8),
        ..Layout::new(RowKind::Quote)
    }
    .in_order(&[
        Some(Field::Time),
        Some(Field::Ask),
        Some(Field::Bid),
        Some(Field::AskSize),
        Some(Field::BidSize),
    ])
}
