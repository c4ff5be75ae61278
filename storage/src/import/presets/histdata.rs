//! HistData.com, Generic ASCII, one-minute bars.

use tradeflow_model::market::PriceType;
use tradeflow_model::{AssetClass, Interval};

use super::super::clock::{TimeFormat, Zone};
use super::super::layout::{Layout, Preset, RowKind};
use super::OHLCV;

/// HistData.com, Generic ASCII, one-minute bars.
pub(super) const PRESET: Preset = Preset {
    name: "histdata",
    about: "Bid bars of FX without volume, stamped at their start in EST (UTC-5) all year, as HistData says. Some of its files follow New York's daylight saving all the same (their move of the Fed's decision of 2017-03-15 18:00 UTC stands at 14:00): where the report shows bars outside of sessions, use --time-zone America/New_York.",
    sample: "20170102 020000;1.051550;1.051970;1.051550;1.051900;0",
    layout,
};

fn layout() -> Layout {
    Layout {
        time: TimeFormat::YearFirst,
        zone: Zone::Fixed(-5 * 3600),
        interval: Some(Interval::MINUTE),
        price_type: PriceType::Bid,
        class: Some(AssetClass::FxPair),
        ..Layout::new(RowKind::Bar)
    }
    .in_order(&OHLCV)
}
