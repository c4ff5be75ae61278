//! Exact decimals on the hot path: 64-bit integers at a scale that the instrument fixes.
//!
//! A [`Price`] or [`Qty`] is only its integer; the [`crate::Instrument`] knows the scale. `Price(966_61)` at scale 2
//! is 966.61. Text and [`Decimal`] are converted at the edges by [`parse`], [`from_decimal`] and [`to_decimal`].

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::error::ValueReason;

/// The most decimals a price or quantity may have. Two such scales multiply to the 18 decimals of [`crate::Money`].
pub const MAX_SCALE: u8 = 9;

/// `10^scale` for a scale up to 18.
///
/// # Panics
/// When `scale` is above 18.
pub const fn pow10(scale: u8) -> i64 {
    assert!(scale <= 18, "10^scale fits 64 bits only up to 18");
    10_i64.pow(scale as u32)
}

macro_rules! fixed_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);

            /// From the scaled integer.
            #[inline]
            pub const fn from_raw(raw: i64) -> Self {
                Self(raw)
            }

            /// The scaled integer.
            #[inline]
            pub const fn raw(self) -> i64 {
                self.0
            }

            /// The sum; `None` on overflow.
            #[inline]
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            /// The difference; `None` on overflow.
            #[inline]
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }

            /// The negative; `None` for the smallest integer.
            pub fn checked_neg(self) -> Option<Self> {
                self.0.checked_neg().map(Self)
            }

            /// Whether it is zero.
            #[inline]
            pub fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// The value as a decimal at `scale`.
            pub fn to_decimal(self, scale: u8) -> Decimal {
                to_decimal(self.0, scale)
            }

            /// The nearest float, for indicators and statistics; never for money.
            pub fn to_f64(self, scale: u8) -> f64 {
                self.0 as f64 / pow10(scale) as f64
            }
        }
    };
}

fixed_type!(
    /// A price of one unit of the base, in the quote currency, at the instrument's price scale.
    ///
    /// May be negative or zero: calendar spreads and some futures trade there.
    Price
);
fixed_type!(
    /// A quantity at the instrument's size scale. Orders and fills are positive and carry a side; a position is
    /// positive when long and negative when short.
    Qty
);

impl Qty {
    /// The size without its sign; saturates for the smallest integer.
    pub fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }
}

/// The integer of a decimal number written in ASCII (`966.61`, `-1`, `+.5`, `6.908e-05`) at `scale`.
///
/// Nothing is rounded: decimals beyond the scale must be zeros.
///
/// # Errors
/// [`ValueReason::Malformed`], [`ValueReason::NonFinite`], [`ValueReason::TooPrecise`] or
/// [`ValueReason::OutOfRange`].
pub fn parse(text: &[u8], scale: u8) -> Result<i64, ValueReason> {
    let (mantissa, decimals) = parse_parts(text)?;
    rescale(mantissa, decimals, scale)
}

/// How many decimals a number written in ASCII needs, trailing zeros left out.
///
/// # Errors
/// As [`parse`].
pub fn decimals_of(text: &[u8]) -> Result<u8, ValueReason> {
    let (mut mantissa, mut decimals) = parse_parts(text)?;
    while decimals > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        decimals -= 1;
    }
    u8::try_from(decimals.max(0)).map_err(|_| ValueReason::TooPrecise(MAX_SCALE))
}

/// Mantissa and number of decimals (negative for a positive exponent) of a number in ASCII.
fn parse_parts(text: &[u8]) -> Result<(i64, i32), ValueReason> {
    let (negative, body) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let mut mantissa: i64 = 0;
    let mut decimals: i32 = 0;
    // Zeros are held back until a digit follows them, so that "1.500000000000000000000" does not overflow.
    let mut pending_zeros: u32 = 0;
    let mut seen_digit = false;
    let mut seen_point = false;
    let mut rest = body.iter();
    let mut exponent: i32 = 0;
    while let Some(&byte) = rest.next() {
        match byte {
            b'0' if seen_point => {
                seen_digit = true;
                pending_zeros += 1;
            }
            b'0'..=b'9' => {
                seen_digit = true;
                if seen_point {
                    decimals += pending_zeros as i32 + 1;
                    if mantissa != 0 {
                        for _ in 0..pending_zeros {
                            mantissa = mantissa.checked_mul(10).ok_or_else(too_large)?;
                        }
                    }
                    pending_zeros = 0;
                }
                let digit = i64::from(byte - b'0');
                mantissa =
                    mantissa.checked_mul(10).and_then(|m| m.checked_add(digit)).ok_or_else(too_large)?;
            }
            b'.' if !seen_point => seen_point = true,
            b'e' | b'E' if seen_digit => {
                let digits = std::str::from_utf8(rest.as_slice()).map_err(|_| ValueReason::Malformed)?;
                exponent = digits.parse().map_err(|_| ValueReason::Malformed)?;
                break;
            }
            _ => return Err(malformed(body)),
        }
    }
    if !seen_digit {
        return Err(malformed(body));
    }
    if exponent.abs() > 400 {
        return Err(too_large());
    }
    Ok((if negative { -mantissa } else { mantissa }, decimals - exponent))
}

fn malformed(body: &[u8]) -> ValueReason {
    let lower = body.to_ascii_lowercase();
    let non_finite: [&[u8]; 4] = [b"nan", b"inf", b"infinity", b"-nan"];
    if non_finite.contains(&lower.as_slice()) { ValueReason::NonFinite } else { ValueReason::Malformed }
}

fn too_large() -> ValueReason {
    ValueReason::OutOfRange("it needs more than 64 bits".into())
}

/// `mantissa / 10^decimals` at `scale`, exactly.
fn rescale(mantissa: i64, decimals: i32, scale: u8) -> Result<i64, ValueReason> {
    if mantissa == 0 {
        return Ok(0);
    }
    let shift = i32::from(scale) - decimals;
    if shift >= 0 {
        let factor = u8::try_from(shift).ok().filter(|s| *s <= 18).map(pow10).ok_or_else(too_large)?;
        return mantissa.checked_mul(factor).ok_or_else(too_large);
    }
    let divisor = u8::try_from(-shift).ok().filter(|s| *s <= 18).map(pow10);
    match divisor {
        Some(divisor) if mantissa % divisor == 0 => Ok(mantissa / divisor),
        _ => Err(ValueReason::TooPrecise(scale)),
    }
}

/// The integer of `value` at `scale`, exactly.
///
/// # Errors
/// [`ValueReason::TooPrecise`] or [`ValueReason::OutOfRange`].
pub fn from_decimal(value: Decimal, scale: u8) -> Result<i64, ValueReason> {
    let value = value.normalize();
    let mantissa = i64::try_from(value.mantissa()).map_err(|_| too_large())?;
    rescale(mantissa, value.scale() as i32, scale)
}

/// The decimal `raw / 10^scale`.
pub fn to_decimal(raw: i64, scale: u8) -> Decimal {
    Decimal::new(raw, u32::from(scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_exactly_or_refused() {
        let read = |text: &str, scale| parse(text.as_bytes(), scale);
        assert_eq!(read("966.61", 2), Ok(96_661));
        assert_eq!(read("966.6100000000000000000000", 2), Ok(96_661));
        assert_eq!(read("6.908e-05", 8), Ok(6_908));
        assert_eq!(read("2.9e-07", 8), Ok(29));
        assert_eq!(read("1E3", 2), Ok(100_000));
        assert_eq!(read("-0.5", 1), Ok(-5));
        assert_eq!(read("+.5", 1), Ok(5));
        assert_eq!(read("0", 9), Ok(0));
        assert_eq!(read("0.000000000000000000000", 2), Ok(0));
        assert_eq!(read("100", 0), Ok(100));
        assert_eq!(read("966.615", 2), Err(ValueReason::TooPrecise(2)));
        assert_eq!(read("NaN", 2), Err(ValueReason::NonFinite));
        assert_eq!(read("-inf", 2), Err(ValueReason::NonFinite));
        for bad in ["", "-", ".", "1.2.3", "1,5", "abc", "1e", "e5", "1e5.5", " 1", "0x10", "--1"] {
            assert_eq!(read(bad, 2), Err(ValueReason::Malformed), "{bad:?}");
        }
        assert!(matches!(read("92233720368547758.08", 2), Err(ValueReason::OutOfRange(_))));
        assert!(matches!(read("1e300", 2), Err(ValueReason::OutOfRange(_))));
        assert_eq!(decimals_of(b"10.49307769"), Ok(8));
        assert_eq!(decimals_of(b"10.500"), Ok(1));
        assert_eq!(decimals_of(b"6.908e-05"), Ok(8));
        assert_eq!(decimals_of(b"1500"), Ok(0));
    }

    proptest! {
        #[test]
        fn decimal_text_and_integer_agree(raw in -i64::MAX..i64::MAX, scale in 0..=MAX_SCALE) {
            let decimal = to_decimal(raw, scale);
            prop_assert_eq!(from_decimal(decimal, scale), Ok(raw));
            prop_assert_eq!(parse(decimal.to_string().as_bytes(), scale), Ok(raw));
        }

        #[test]
        fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..40), scale in 0..=MAX_SCALE) {
            let _ = parse(&text, scale);
            let _ = decimals_of(&text);
        }

        #[test]
        fn numeric_looking_bytes_agree_with_rust_decimal(text in "[-+]?[0-9]{0,8}(\\.[0-9]{0,6})?(e-?[0-9])?") {
            let ours = parse(text.as_bytes(), 9);
            let theirs = Decimal::from_scientific(&text).or_else(|_| text.parse::<Decimal>());
            if let (Ok(ours), Ok(theirs)) = (&ours, &theirs) {
                prop_assert_eq!(to_decimal(*ours, 9).normalize(), theirs.normalize());
            }
        }
    }
}
