//! The trades and quotes of one instrument: exact integers, and what is left out.

use rust_decimal::Decimal;
use tradeflow_model::market::Aggressor;
use tradeflow_model::{AssetClass, Instrument, InstrumentId, Price, Qty, Quote, SeriesId, Timestamp, Trade};

use super::Limits;
use super::counters::Counts;
use super::duplicates::{Numbers, Repeats, Seen};

/// No price or quantity is larger, raw: the sum of a few still fits 64 bits.
const RAW_MAX: i64 = 1_000_000_000_000_000_000;

/// Why an update is bad: the reason under which it is counted.
pub(super) type Bad = &'static str;

const TOO_PRECISE: Bad = "price finer than the price scale";
const ABSURD: Bad = "price or quantity out of range";
const NOT_POSITIVE: Bad = "price not above zero";
const NEGATIVE: Bad = "negative quantity";
const NO_TIME: Bad = "no time";
const FUTURE: Bad = "time in the future";

/// What becomes of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<T> {
    /// Goes to the bus.
    Pass(T),
    /// A price without a trade: for the board.
    Show(Timestamp, Price),
    /// Left out, and counted.
    Drop,
}

/// What is known about an instrument's stream.
#[derive(Debug)]
pub(super) struct Series {
    price_scale: u8,
    size_scale: u8,
    signed: bool,
    /// Raw price × raw quantity × this must be an amount of money.
    notional_factor: i128,
    numbers: Numbers,
    repeats: Repeats,
    trades: Newest,
    quotes: Newest,
}

/// The newest event of a series.
#[derive(Debug, Clone, Copy)]
struct Newest {
    ts_event: i64,
    /// The same, but never later than it was received: one event ahead of the clock must not make those after it late.
    reference: i64,
}

impl Newest {
    const NONE: Self = Self { ts_event: i64::MIN, reference: i64::MIN };

    #[inline]
    fn is_late(self, ts_event: i64, late_max: i64) -> bool {
        ts_event < self.reference.saturating_sub(late_max)
    }

    #[inline]
    fn note(&mut self, ts_event: i64, ts_init: i64) {
        self.ts_event = self.ts_event.max(ts_event);
        self.reference = self.reference.max(ts_event.min(ts_init));
    }
}

/// A trade as it was reported.
pub(super) struct RawTrade {
    pub ts_event: Timestamp,
    pub ts_init: Timestamp,
    pub price: Decimal,
    pub qty: Decimal,
    pub aggressor: Aggressor,
    pub id: Option<u64>,
}

/// A quote as it was reported.
pub(super) struct RawQuote {
    pub ts_event: Option<Timestamp>,
    pub ts_init: Timestamp,
    pub bid: Decimal,
    pub ask: Decimal,
    pub bid_size: Decimal,
    pub ask_size: Decimal,
}

impl Series {
    pub fn new(instrument: &Instrument) -> Self {
        Self {
            price_scale: instrument.price_scale,
            size_scale: instrument.size_scale,
            signed: instrument.class == AssetClass::Future,
            // An instrument without one is refused where instruments are made.
            notional_factor: instrument.notional_factor().unwrap_or(i128::MAX),
            numbers: Numbers::default(),
            repeats: Repeats::default(),
            trades: Newest::NONE,
            quotes: Newest::NONE,
        }
    }

    /// Judges a trade of the burst with this number.
    pub fn trade(
        &mut self,
        raw: &RawTrade,
        burst: u64,
        limits: &Limits,
        counts: &mut Counts,
    ) -> Result<Verdict<Trade>, Bad> {
        let price = self.price(raw.price)?;
        let qty = self.qty(raw.qty, counts)?;
        check_time(raw.ts_event, raw.ts_init, limits)?;
        if qty.is_zero() {
            return Ok(Verdict::Show(raw.ts_event, price));
        }
        let value = i128::from(price.raw()) * i128::from(qty.raw());
        value.checked_mul(self.notional_factor).ok_or(ABSURD)?;

        let ts = raw.ts_event.as_nanos();
        let seen = match raw.id {
            Some(id) => self.numbers.note(id, ts > self.trades.ts_event),
            None if self.repeats.note((ts, price.raw(), qty.raw(), raw.aggressor as u8), burst) => {
                Seen::Before
            }
            None => Seen::New,
        };
        if seen == Seen::Before {
            counts.duplicates += 1;
            return Ok(Verdict::Drop);
        }
        if seen == Seen::Unknown || self.trades.is_late(ts, limits.late_max) {
            counts.late += 1;
            return Ok(Verdict::Drop);
        }
        self.trades.note(ts, raw.ts_init.as_nanos());
        Ok(Verdict::Pass(Trade {
            series: SeriesId(0),
            instrument: InstrumentId(0),
            ts_event: raw.ts_event,
            ts_init: raw.ts_init,
            price,
            qty,
            aggressor: raw.aggressor,
        }))
    }

    /// Judges a quote.
    pub fn quote(
        &mut self,
        raw: &RawQuote,
        limits: &Limits,
        counts: &mut Counts,
    ) -> Result<Verdict<Quote>, Bad> {
        let (bid, ask) = (self.price(raw.bid)?, self.price(raw.ask)?);
        let (bid_size, ask_size) = (self.qty(raw.bid_size, counts)?, self.qty(raw.ask_size, counts)?);
        let ts_event = raw.ts_event.unwrap_or(raw.ts_init);
        check_time(ts_event, raw.ts_init, limits)?;
        if self.quotes.is_late(ts_event.as_nanos(), limits.late_max) {
            counts.late += 1;
            return Ok(Verdict::Drop);
        }
        self.quotes.note(ts_event.as_nanos(), raw.ts_init.as_nanos());
        counts.crossed += u64::from(bid > ask);
        Ok(Verdict::Pass(Quote {
            series: SeriesId(0),
            instrument: InstrumentId(0),
            ts_event,
            ts_init: raw.ts_init,
            bid,
            ask,
            bid_size,
            ask_size,
        }))
    }

    /// Judges a price without a trade.
    pub fn last(
        &self,
        ts_event: Timestamp,
        ts_init: Timestamp,
        price: Decimal,
        limits: &Limits,
    ) -> Result<Price, Bad> {
        check_time(ts_event, ts_init, limits)?;
        self.price(price)
    }

    fn price(&self, value: Decimal) -> Result<Price, Bad> {
        let (raw, exact) = scaled(value, self.price_scale)?;
        if !exact {
            return Err(TOO_PRECISE);
        }
        if raw <= 0 && !self.signed {
            return Err(NOT_POSITIVE);
        }
        Ok(Price::from_raw(raw))
    }

    fn qty(&self, value: Decimal, counts: &mut Counts) -> Result<Qty, Bad> {
        if value.is_sign_negative() && !value.is_zero() {
            return Err(NEGATIVE);
        }
        let (raw, exact) = scaled(value, self.size_scale)?;
        counts.floored += u64::from(!exact);
        Ok(Qty::from_raw(raw))
    }
}

#[inline]
fn check_time(ts_event: Timestamp, ts_init: Timestamp, limits: &Limits) -> Result<(), Bad> {
    if ts_event.as_nanos() <= 0 {
        return Err(NO_TIME);
    }
    if ts_event > ts_init.saturating_add(limits.ahead_max) {
        return Err(FUTURE);
    }
    Ok(())
}

/// The integer of `value` at `scale`, rounded towards zero, and whether it is exact. As `model::fixed::from_decimal`,
/// without its division by ten for every zero at the end: vendors send many.
#[inline]
fn scaled(value: Decimal, scale: u8) -> Result<(i64, bool), Bad> {
    let (mantissa, decimals) = (value.mantissa(), value.scale());
    let scale = u32::from(scale);
    let (raw, exact) = if decimals <= scale {
        (mantissa.checked_mul(10_i128.pow(scale - decimals)).ok_or(ABSURD)?, true)
    } else {
        match (i64::try_from(mantissa), 10_i64.checked_pow(decimals - scale)) {
            (Ok(mantissa), Some(divisor)) => (i128::from(mantissa / divisor), mantissa % divisor == 0),
            _ => {
                let divisor = 10_i128.pow(decimals - scale);
                (mantissa / divisor, mantissa % divisor == 0)
            }
        }
    };
    let raw = i64::try_from(raw).map_err(|_| ABSURD)?;
    if raw.unsigned_abs() > RAW_MAX.unsigned_abs() { Err(ABSURD) } else { Ok((raw, exact)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tradeflow_model::fixed;

    proptest! {
        #[test]
        fn integers_are_those_of_the_model(mantissa in any::<i64>(), decimals in 0..=28_u32, small in any::<bool>(), scale in 0..=9_u8) {
            let mantissa = if small { mantissa % 100_000 } else { mantissa };
            let value = Decimal::from_i128_with_scale(mantissa.into(), decimals);
            match (scaled(value, scale), fixed::from_decimal(value, scale)) {
                (Ok((ours, true)), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                (Ok((ours, false)), Err(tradeflow_model::ValueReason::TooPrecise(_))) => {
                    let down = value.trunc_with_scale(scale.into());
                    prop_assert_eq!(ours, fixed::from_decimal(down, scale).unwrap());
                }
                (Err(_), Err(_)) => {}
                (Err(_), Ok(theirs)) => prop_assert!(theirs.unsigned_abs() > RAW_MAX.unsigned_abs()),
                other => prop_assert!(false, "{value} at {scale}: {other:?}"),
            }
        }
    }
}
