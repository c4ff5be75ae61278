//! LEAN quote ticks of FX.

use tradeflow_model::AssetClass;

use super::super::clock::{TimeFormat, Zone};
use super::super::layout::{Field, Layout, Preset, RowKind};

/// LEAN quote ticks of FX.
pub(super) const PRESET: Preset = Preset {
    name: "lean-tick-quote",
    about: "Zip of milliseconds since midnight of UTC-5 of the date in the file name, bid, ask.",
    sample: "1787,1.38727,1.38729",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::MillisOfDay,
        zone: Zone::Fixed(-5 * 3600),
        class: Some(AssetClass::FxPair),
        ..Layout::new(RowKind::Quote)
    }
    .in_order(&[Some(Field::Time), Some(Field::Bid), Some(Field::Ask)])
}
