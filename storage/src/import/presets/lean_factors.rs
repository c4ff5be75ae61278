//! LEAN factor files: splits and dividends.

use tradeflow_model::AssetClass;

use super::super::clock::TimeFormat;
use super::super::layout::{Field, Layout, Preset, RowKind};
use super::new_york;

/// LEAN factor files: splits and dividends.
pub(super) const PRESET: Preset = Preset {
    name: "lean-factors",
    about: "Date, cumulative price factor, cumulative split factor, raw close of that date. A row holds up to and including its date, so the step to the next row is a split or dividend at the open of the next session.",
    sample: "20140606,0.9011818,0.0357143,645.57\n20140806,0.9011818,0.25,94.97",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::YearFirst,
        zone: new_york(),
        class: Some(AssetClass::Equity),
        ..Layout::new(RowKind::Factors)
    }
    .in_order(&[
        Some(Field::Time),
        Some(Field::PriceFactor),
        Some(Field::SplitFactor),
        Some(Field::Reference),
    ])
}
