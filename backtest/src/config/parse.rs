//! From text to the values of settings. Flags and file share these.

use rust_decimal::Decimal;
use serde_json::Value;
use tradeflow_model::Interval;
use tradeflow_model::plan::{LimitFill, Slippage};

use super::DataKind;

/// `trades`, `quotes` or an interval of bars.
///
/// # Errors
/// In words.
pub fn data_kind(text: &str) -> Result<DataKind, String> {
    match text {
        "trades" | "trade" => Ok(DataKind::Trades),
        "quotes" | "quote" => Ok(DataKind::Quotes),
        _ => text
            .parse::<Interval>()
            .map(DataKind::Bars)
            .map_err(|error| format!("{error}; or trades, or quotes")),
    }
}

/// A decimal number from `low` to `high`.
///
/// # Errors
/// In words.
pub fn number(text: &str, low: Decimal, high: Decimal) -> Result<Decimal, String> {
    let value: Decimal = text.trim().parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(format!("{text} is not from {} to {}", low.normalize(), high.normalize()))
}

/// A starting balance: above zero, at most 10¹⁴.
///
/// # Errors
/// In words.
pub fn balance(text: &str) -> Result<Decimal, String> {
    number(text, Decimal::new(1, 8), Decimal::from(100_000_000_000_000_i64))
}

/// A fee in basis points, 0 to 10,000; a maker's may be negative.
///
/// # Errors
/// In words.
pub fn fee_bps(text: &str, rebate: bool) -> Result<Decimal, String> {
    let high = Decimal::from(10_000);
    number(text, if rebate { -high } else { Decimal::ZERO }, high)
}

/// An amount of money for each unit or fill, 0 to 10⁶.
///
/// # Errors
/// In words.
pub fn amount(text: &str) -> Result<Decimal, String> {
    number(text, Decimal::ZERO, Decimal::from(1_000_000))
}

/// Leverage, 1 to 1,000.
///
/// # Errors
/// In words.
pub fn leverage(text: &str) -> Result<Decimal, String> {
    number(text, Decimal::ONE, Decimal::from(1_000))
}

/// A percentage above 0 to 100.
///
/// # Errors
/// In words.
pub fn percent(text: &str) -> Result<Decimal, String> {
    number(text, Decimal::new(1, 6), Decimal::ONE_HUNDRED)
}

/// How market orders fill on bars: `next-open-capped` or `next-open`; whether there is a cap.
///
/// # Errors
/// In words.
pub fn fill(text: &str) -> Result<bool, String> {
    match text {
        "next-open-capped" => Ok(true),
        "next-open" => Ok(false),
        _ => Err(format!(
            "{text:?} is not next-open-capped (at the next bar's open, at most a share of its volume) or next-open \
             (all of it at the next bar's open)"
        )),
    }
}

/// A share (of volume, of orders) above 0 to 1.
///
/// # Errors
/// In words.
pub fn share(text: &str) -> Result<Decimal, String> {
    number(text, Decimal::new(1, 6), Decimal::ONE)
}

/// `through` or `touch`.
///
/// # Errors
/// In words.
pub fn limit_fill(text: &str) -> Result<LimitFill, String> {
    match text {
        "through" => Ok(LimitFill::Through),
        "touch" => Ok(LimitFill::Touch),
        _ => Err(format!("{text:?} is not through or touch")),
    }
}

/// `none`, `1.5bps` or `spread:0.02`.
///
/// # Errors
/// In words.
pub fn slippage(text: &str) -> Result<Slippage, String> {
    if text == "none" {
        return Ok(Slippage::None);
    }
    if let Some(bps) = text.strip_suffix("bps") {
        return number(bps, Decimal::ZERO, Decimal::from(10_000)).map(Slippage::Bps);
    }
    if let Some(spread) = text.strip_prefix("spread:") {
        return number(spread, Decimal::ZERO, Decimal::from(1_000_000)).map(Slippage::Spread);
    }
    Err(format!(
        "{text:?} is not none, a number of basis points such as 1.5bps, or a spread such as spread:0.02"
    ))
}

/// `name=value` of a strategy's parameter: JSON where the value reads as JSON, text otherwise.
///
/// # Errors
/// In words.
pub fn param(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.trim().is_empty())
        .ok_or_else(|| format!("{text:?} is not name=value"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.trim().to_owned(), value))
}
