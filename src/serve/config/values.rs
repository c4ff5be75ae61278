//! Values that are written as text: times, sizes of files, amounts within their ranges.
//!
//! A [`Text`] keeps what the user wrote beside its value, and its rule says in words what may be written; the reference
//! shows those words.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tradeflow_backtest::config::{DataKind, parse};
use tradeflow_model::plan::{LimitFill, Slippage};
use tradeflow_model::signal::Size;

/// What may be written, and what it means.
pub trait Rule {
    /// The value.
    type Value: Clone + fmt::Debug;

    /// What may be written, in words.
    fn says() -> String;

    /// The value of a text.
    ///
    /// # Errors
    /// In words.
    fn parse(text: &str) -> Result<Self::Value, String>;
}

/// A value that is written as text, or as a number where it is one.
pub struct Text<R: Rule> {
    text: String,
    value: R::Value,
}

impl<R: Rule> Text<R> {
    /// From its text.
    ///
    /// # Errors
    /// In words.
    pub fn read(text: &str) -> Result<Self, String> {
        R::parse(text).map(|value| Self { text: text.to_owned(), value })
    }

    /// The value.
    pub fn get(&self) -> R::Value {
        self.value.clone()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A default, which is known to be right.
pub fn default<R: Rule>(text: &str) -> Text<R> {
    Text::read(text).expect("a default is within its own range")
}

impl<R: Rule> Clone for Text<R> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), value: self.value.clone() }
    }
}

impl<R: Rule> PartialEq for Text<R> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<R: Rule> fmt::Debug for Text<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl<R: Rule> Serialize for Text<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.text.parse::<i64>() {
            Ok(number) => serializer.serialize_i64(number),
            Err(_) => serializer.serialize_str(&self.text),
        }
    }
}

impl<'de, R: Rule> Deserialize<'de> for Text<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(Scalar)?;
        Self::read(&text).map_err(D::Error::custom)
    }
}

impl<R: Rule> JsonSchema for Text<R> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        R::says().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": R::says() })
    }
}

/// A single value, as text.
struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}

/// A stretch of time from `LOW` to `HIGH` milliseconds: a number with `ms`, `s`, `m`, `h` or `d`.
pub struct Span<const LOW: u64, const HIGH: u64>;

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

/// Times within a second or a minute of work.
pub type Short = Text<Span<0, { 60 * SECOND }>>;
/// Times between repeated work.
pub type Period = Text<Span<SECOND, DAY>>;
/// How long a node runs.
pub type Run = Text<Span<SECOND, { 3_650 * DAY }>>;
/// How long things are kept.
pub type Age = Text<Span<{ 60 * SECOND }, { 3_650 * DAY }>>;

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", SECOND), ("m", 60 * SECOND), ("h", 3_600 * SECOND), ("d", DAY)];

fn span_text(ms: u64) -> String {
    let (unit, each) =
        UNITS.iter().rev().find(|(_, each)| ms >= *each && ms.is_multiple_of(*each)).unwrap_or(&UNITS[1]);
    format!("{}{unit}", ms / each)
}

impl<const LOW: u64, const HIGH: u64> Rule for Span<LOW, HIGH> {
    type Value = Duration;

    fn says() -> String {
        format!("a time from {} to {}", span_text(LOW), span_text(HIGH))
    }

    fn parse(text: &str) -> Result<Duration, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit = UNITS.iter().find(|(name, _)| *name == &text[split..]);
        let (Ok(count), Some((_, each))) = (text[..split].parse::<u64>(), unit) else {
            return Err(format!("{text:?} is not a time such as 500ms, 30s, 5m, 1h or 7d"));
        };
        match count.checked_mul(*each) {
            Some(ms) if (LOW..=HIGH).contains(&ms) => Ok(Duration::from_millis(ms)),
            _ => Err(format!("{text} is not from {} to {}", span_text(LOW), span_text(HIGH))),
        }
    }
}

/// A whole number from `LOW` to `HIGH`.
pub struct Whole<const LOW: u64, const HIGH: u64>;

impl<const LOW: u64, const HIGH: u64> Rule for Whole<LOW, HIGH> {
    type Value = u64;

    fn says() -> String {
        format!("a whole number from {LOW} to {HIGH}")
    }

    fn parse(text: &str) -> Result<u64, String> {
        let value: u64 = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
        if (LOW..=HIGH).contains(&value) {
            Ok(value)
        } else {
            Err(format!("{value} is not from {LOW} to {HIGH}"))
        }
    }
}

/// Bytes: a number, with `kB`, `MB`, `GB` or `TB` (powers of a thousand).
pub struct Bytes;

impl Rule for Bytes {
    type Value = u64;

    fn says() -> String {
        "bytes, such as 500MB or 20GB, at least 1MB".into()
    }

    fn parse(text: &str) -> Result<u64, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let units =
            [("", 1), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)];
        let unit = units.iter().find(|(name, _)| *name == text[split..].trim());
        let (Ok(count), Some((_, each))) = (text[..split].parse::<u64>(), unit) else {
            return Err(format!("{text:?} is not a number of bytes such as 500MB or 20GB"));
        };
        count
            .checked_mul(*each)
            .filter(|bytes| *bytes >= 1_000_000)
            .ok_or_else(|| format!("{text} is not from 1MB to 18000000TB"))
    }
}

/// A single value of any kind, as text.
pub struct Any;

impl Rule for Any {
    type Value = String;

    fn says() -> String {
        "text, a number, true or false".into()
    }

    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

/// A rule that another function has.
macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident -> $value:ty, $says:literal, $parse:expr;)*) => {
        $($(#[$doc])*
        pub struct $name;

        impl Rule for $name {
            type Value = $value;

            fn says() -> String {
                $says.into()
            }

            fn parse(text: &str) -> Result<$value, String> {
                let parse: fn(&str) -> Result<$value, String> = $parse;
                parse(text)
            }
        })*
    };
}

rules! {
    /// An amount of money that is traded with.
    Balance -> Decimal, "an amount above 0", parse::balance;
    /// A fee in basis points.
    FeeBps -> Decimal, "a number from 0 to 10000", |text| parse::fee_bps(text, false);
    /// A fee in basis points, or a rebate below zero.
    MakerBps -> Decimal, "a number from -10000 to 10000", |text| parse::fee_bps(text, true);
    /// A fee for each unit or fill.
    Fee -> Decimal, "an amount from 0 to 1000000", parse::amount;
    /// Leverage.
    Leverage -> Decimal, "a number from 1 to 1000", parse::leverage;
    /// A percentage.
    Percent -> Decimal, "a number above 0, to 100", parse::percent;
    /// A share of volume.
    Share -> Decimal, "a number above 0, to 1", parse::share;
    /// When limits fill.
    Limits -> LimitFill, "`through` or `touch`", parse::limit_fill;
    /// Slippage.
    Slips -> Slippage, "`none`, basis points such as `1.5bps`, or a spread such as `spread:0.02`", parse::slippage;
    /// The data of a strategy.
    Data -> DataKind, "an interval of bars such as `1m`, `trades` or `quotes`", parse::data_kind;
    /// The size of positions.
    Sized -> Size, "`25%` (of equity), `100` (units), `5000 USD` or `$5000` (value)",
        |text| text.parse().map_err(|error: tradeflow_model::ValueError| error.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_bytes_are_read_as_people_write_them() {
        let ms = |text: &str| Span::<0, { 10 * DAY }>::parse(text).map(|span| span.as_millis());
        for (text, expected) in
            [("0s", 0), ("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("7d", 604_800_000)]
        {
            assert_eq!(ms(text), Ok(expected), "{text}");
        }
        for bad in ["", "s", "-1s", "1", "1 s", "1.5s", "11d", "99999999999999999999d", "é"] {
            assert!(ms(bad).is_err(), "{bad}");
        }
        assert_eq!(Bytes::parse("20GB"), Ok(20_000_000_000));
        assert_eq!(Bytes::parse("1000000"), Ok(1_000_000));
        for bad in ["", "MB", "1", "1GiB", "99999999999999999999", "99999999TB"] {
            assert!(Bytes::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Span::<0, DAY>::says(), "a time from 0s to 1d");
    }
}
