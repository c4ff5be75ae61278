//! LEAN trade ticks of equities.

use tradeflow_model::AssetClass;

use super::super::clock::TimeFormat;
use super::super::layout::{Field, Layout, Preset, RowKind};
use super::new_york;

/// LEAN trade ticks of equities.
pub(super) const PRESET: Preset = Preset {
    name: "lean-tick-trade",
    about: "Zip of milliseconds since New York midnight of the date in the file name, price × 10000, size, exchange, condition, suspicious. All rows are kept, suspicious ones too.",
    sample: "14400464,1674100,100,P,20002000,0",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::MillisOfDay,
        zone: new_york(),
        price_shift: 4,
        class: Some(AssetClass::Equity),
        ..Layout::new(RowKind::Trade)
    }
    .in_order(&[Some(Field::Time), Some(Field::Price), Some(Field::Qty)])
}
