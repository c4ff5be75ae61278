//! LEAN quote ticks of equities.

use tradeflow_model::AssetClass;

use super::super::clock::TimeFormat;
use super::super::layout::{Field, Layout, Preset, RowKind};
use super::new_york;

/// LEAN quote ticks of equities.
pub(super) const PRESET: Preset = Preset {
    name: "lean-tick-quote-equity",
    about: "Zip of the best bid or ask a row with its exchange, the other side 0; prices × 10000, milliseconds since New York midnight of the date in the file name. A bid and an ask of one time become one quote, and a quote like the one before it is passed over.",
    sample: "14400142,138000,1000,0,0,P,1,0\n14400142,0,0,139200,500,P,1,0",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::MillisOfDay,
        zone: new_york(),
        price_shift: 4,
        class: Some(AssetClass::Equity),
        ..Layout::new(RowKind::SideQuote)
    }
    .in_order(&[
        Some(Field::Time),
        Some(Field::Bid),
        Some(Field::BidSize),
        Some(Field::Ask),
        Some(Field::AskSize),
    ])
}
