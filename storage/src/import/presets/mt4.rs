//! MetaTrader 4 history export.

use tradeflow_model::market::PriceType;

use super::super::clock::TimeFormat;
use super::super::layout::{Field, Layout, Preset, RowKind};

/// MetaTrader 4 history export.
pub(super) const PRESET: Preset = Preset {
    name: "mt4",
    about: "Date and time in two columns, stamped at the start in the broker's zone: say which with --time-zone (UTC unless said). Bars of the bid. The volume counts ticks.",
    sample: "2017.01.02,02:00,1.05155,1.05197,1.05155,1.05190,84",
    layout,
};

fn layout() -> Layout {
    Layout { time: TimeFormat::YearFirst, price_type: PriceType::Bid, ..Layout::new(RowKind::Bar) }.in_order(
        &[
            Some(Field::Date),
            Some(Field::Time),
            Some(Field::Open),
            Some(Field::High),
            Some(Field::Low),
            Some(Field::Close),
            Some(Field::Volume),
        ],
    )
}
