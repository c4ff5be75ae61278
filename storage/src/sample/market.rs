//! The four sample markets: what they trade, when, and how lively.

use rust_decimal::Decimal;
use tradeflow_model::calendar::Session;
use tradeflow_model::time::{NANOS_PER_HOUR, NANOS_PER_MIN};
use tradeflow_model::{
    AssetClass, Currency, FeeSchedule, Instrument, Price, Qty, Symbol, Timestamp, ValueError,
};

/// A sample market.
#[derive(Debug, Clone)]
pub(super) struct Market {
    /// What is traded.
    pub(super) instrument: Instrument,
    /// Default time of the data: bars (the long ones for the equity), and events when they are asked for.
    pub(super) span: (&'static str, &'static str),
    /// First price.
    pub(super) price: f64,
    /// Standard deviation of a day's return.
    pub(super) daily_volatility: f64,
    /// Mean return of a day.
    pub(super) daily_drift: f64,
    /// Share of the daily volatility in the step from one session's close to the next one's open.
    pub(super) overnight: f64,
    /// Quote changes in an average minute; each trades too, where trades are known.
    pub(super) steps_per_minute: f64,
    /// Whether there are trades; over the counter there are quotes only.
    pub(super) has_trades: bool,
    /// Half the usual spread, as a share of the price.
    pub(super) half_spread: f64,
    /// A usual trade, in lots.
    pub(super) lots: f64,
    /// Whether the venue falls silent now and then.
    pub(super) has_outages: bool,
    /// Whether it pays dividends, and splits once.
    pub(super) has_actions: bool,
    /// How lively a minute is, about 1 on average.
    pub(super) season: fn(&Session, Timestamp) -> f64,
}

/// The markets, in the order of their random streams; never reorder them, or the same seed gives other data.
pub(super) fn markets() -> Result<[Market; 4], ValueError> {
    Ok([bitcoin()?, equity()?, euro()?, future()?])
}

fn instrument(
    symbol: &str,
    class: AssetClass,
    names: [&str; 2],
    scales: [u8; 2],
) -> Result<Instrument, ValueError> {
    let [base, quote] = names;
    Instrument::new(
        Symbol::new(symbol)?,
        class,
        Currency::new(base)?,
        Currency::new(quote)?,
        scales[0],
        scales[1],
    )
}

fn bitcoin() -> Result<Market, ValueError> {
    let mut instrument = instrument("SAMPLE-BTC", AssetClass::CryptoSpot, ["BTC", "USD"], [2, 5])?;
    instrument.fees =
        FeeSchedule { taker_bps: Decimal::from(10), maker_bps: Decimal::from(10), ..FeeSchedule::default() };
    Ok(Market {
        instrument,
        span: ("2024-01-01", "2024-03-31"),
        price: 42_000.0,
        daily_volatility: 0.03,
        daily_drift: 0.001,
        overnight: 0.0,
        steps_per_minute: 8.0,
        has_trades: true,
        half_spread: 0.000_02,
        lots: 5_000.0,
        has_outages: true,
        has_actions: false,
        season: around_the_clock,
    })
}

fn equity() -> Result<Market, ValueError> {
    let mut instrument = instrument("SAMPLE-EQ", AssetClass::Equity, ["SAMPLE", "USD"], [2, 0])?;
    instrument.fees = FeeSchedule {
        per_unit: Decimal::new(5, 3), // half a cent a share, at least a dollar
        minimum: Decimal::ONE,
        ..FeeSchedule::default()
    };
    Ok(Market {
        instrument,
        span: ("2014-01-01", "2024-01-01"),
        price: 80.0,
        daily_volatility: 0.012,
        daily_drift: 0.000_4,
        overnight: 0.5,
        steps_per_minute: 4.0,
        has_trades: true,
        half_spread: 0.000_1,
        lots: 60.0,
        has_outages: false,
        has_actions: true,
        season: u_shape,
    })
}

fn euro() -> Result<Market, ValueError> {
    let instrument = instrument("SAMPLE-FX", AssetClass::FxPair, ["EUR", "USD"], [5, 0])?;
    Ok(Market {
        instrument,
        span: ("2024-01-07T22:00", "2024-01-12T22:00"),
        price: 1.095,
        daily_volatility: 0.005,
        daily_drift: 0.0,
        overnight: 0.02,
        steps_per_minute: 20.0,
        has_trades: false,
        half_spread: 0.000_03,
        lots: 1_000_000.0,
        has_outages: false,
        has_actions: false,
        season: london_and_new_york,
    })
}

fn future() -> Result<Market, ValueError> {
    let mut instrument = instrument("SAMPLE-FUT", AssetClass::Future, ["SAMPLE", "USD"], [2, 0])?;
    instrument.price_increment = Price::from_raw(25);
    instrument.size_increment = Qty::from_raw(1);
    instrument.multiplier = Decimal::from(50);
    instrument.fees = FeeSchedule { per_unit: Decimal::new(225, 2), ..FeeSchedule::default() };
    instrument.expiry = "2024-03-15T13:30".parse().ok();
    Ok(Market {
        instrument,
        span: ("2024-01-02", "2024-02-01"),
        price: 4_750.0,
        daily_volatility: 0.01,
        daily_drift: 0.000_2,
        overnight: 0.1,
        steps_per_minute: 6.0,
        has_trades: true,
        half_spread: 0.000_02,
        lots: 4.0,
        has_outages: false,
        has_actions: false,
        season: night_and_day,
    })
}

/// Quieter at night (UTC) and on weekends.
fn around_the_clock(session: &Session, t: Timestamp) -> f64 {
    let weekend = if session.date.weekday().to_monday_zero_offset() >= 5 { 0.7 } else { 1.05 };
    weekend * if (13..21).contains(&utc_hour(t)) { 1.3 } else { 0.88 }
}

/// Busy at the open and the close, calm at noon.
fn u_shape(session: &Session, t: Timestamp) -> f64 {
    let length = (session.close.as_nanos() - session.open.as_nanos()) as f64;
    let x = (t.as_nanos() - session.open.as_nanos()) as f64 / length * 2.0 - 1.0;
    0.6 + 1.2 * x * x
}

/// Asia calm, London lively, most of all while New York overlaps with it.
fn london_and_new_york(_: &Session, t: Timestamp) -> f64 {
    match utc_hour(t) {
        7..12 => 1.2,
        12..16 => 1.8,
        16..20 => 1.0,
        20..22 => 0.5,
        _ => 0.6,
    }
}

/// A quiet night and a U while the shares trade.
fn night_and_day(session: &Session, t: Timestamp) -> f64 {
    // The shares open 7½ hours before Globex closes on a full day.
    let left = session.close.as_nanos() - t.as_nanos();
    let day = 7 * NANOS_PER_HOUR + 30 * NANOS_PER_MIN;
    if left > day {
        return 0.5;
    }
    let x = left as f64 / day as f64 * 2.0 - 1.0;
    1.0 + 1.5 * x * x
}

fn utc_hour(t: Timestamp) -> i64 {
    t.as_nanos().div_euclid(NANOS_PER_HOUR).rem_euclid(24)
}
