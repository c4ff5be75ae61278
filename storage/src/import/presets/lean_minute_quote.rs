//! LEAN minute bars of FX quotes.

use tradeflow_model::{AssetClass, Interval};

use super::super::clock::{TimeFormat, Zone};
use super::super::layout::{Field, Layout, Preset, RowKind};

/// LEAN minute bars of FX quotes.
pub(super) const PRESET: Preset = Preset {
    name: "lean-minute-quote",
    about: "Zip of bid and ask bars, which become two series; milliseconds since midnight of UTC-5 of the date in the file name.",
    sample: "0,1.38727,1.38729,1.38723,1.38724,0,1.38729,1.38730,1.38727,1.38727,0",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::MillisOfDay,
        zone: Zone::Fixed(-5 * 3600),
        interval: Some(Interval::MINUTE),
        class: Some(AssetClass::FxPair),
        ..Layout::new(RowKind::QuoteBar)
    }
    .in_order(&[
        Some(Field::Time),
        Some(Field::BidOpen),
        Some(Field::BidHigh),
        Some(Field::BidLow),
        Some(Field::BidClose),
        Some(Field::BidSize),
        Some(Field::AskOpen),
        Some(Field::AskHigh),
        Some(Field::AskLow),
        Some(Field::AskClose),
        Some(Field::AskSize),
    ])
}
