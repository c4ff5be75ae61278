//! MetaTrader 5 bar export.

use tradeflow_model::market::PriceType;

use super::super::clock::TimeFormat;
use super::super::layout::{Field, Layout, Preset, RowKind};

/// MetaTrader 5 bar export.
pub(super) const PRESET: Preset = Preset {
    name: "mt5",
    about: "Tab separated with a header, stamped at the start in the broker's zone: say which with --time-zone (UTC unless said). Daily exports have no time column. The volume is TICKVOL; for exchange volume add --columns volume=VOL.",
    sample: "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n2017.01.02\t02:00:00\t1.05155\t1.05197\t1.05155\t1.05190\t84\t0\t10",
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
