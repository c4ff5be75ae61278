//! Layouts that people have, one a file. To add one, add its file and its line in [`ALL`].

mod binance_klines;
mod bitfinex;
mod csv;
mod dukascopy;
mod dukascopy_ticks;
mod histdata;
mod lean_daily;
mod lean_factors;
mod lean_minute_future;
mod lean_minute_quote;
mod lean_minute_trade;
mod lean_tick_quote;
mod lean_tick_quote_equity;
mod lean_tick_trade;
mod mt4;
mod mt5;
mod mt5_ticks;
mod ohlcv_ms;
mod tradingview;
mod yahoo;

use super::layout::{Field, Preset};

/// All presets, sorted by name.
pub const ALL: [&Preset; 20] = [
    &binance_klines::PRESET,
    &bitfinex::PRESET,
    &csv::PRESET,
    &dukascopy::PRESET,
    &dukascopy_ticks::PRESET,
    &histdata::PRESET,
    &lean_daily::PRESET,
    &lean_factors::PRESET,
    &lean_minute_future::PRESET,
    &lean_minute_quote::PRESET,
    &lean_minute_trade::PRESET,
    &lean_tick_quote::PRESET,
    &lean_tick_quote_equity::PRESET,
    &lean_tick_trade::PRESET,
    &mt4::PRESET,
    &mt5::PRESET,
    &mt5_ticks::PRESET,
    &ohlcv_ms::PRESET,
    &tradingview::PRESET,
    &yahoo::PRESET,
];

/// The preset of that name.
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.into_iter().find(|preset| preset.name == name)
}

/// Time, open, high, low, close, volume: the order of most files.
const OHLCV: [Option<Field>; 6] = [
    Some(Field::Time),
    Some(Field::Open),
    Some(Field::High),
    Some(Field::Low),
    Some(Field::Close),
    Some(Field::Volume),
];

/// The zone of the New York exchanges.
fn new_york() -> super::clock::Zone {
    super::clock::Zone::Named(tradeflow_model::calendar::Calendar::Nyse.time_zone())
}
