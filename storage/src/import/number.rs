//! Decimal numbers of foreign files, before the scale at which they will be kept is known.

use tradeflow_model::fixed::{MAX_SCALE, pow10};
use tradeflow_model::money::div_half_even;
use tradeflow_model::{ValueReason, fixed};

/// Significant digits that are kept; a price or quantity of the catalog has as many.
const DIGITS_MAX: u32 = 18;

/// The largest magnitude the catalog keeps: 18 digits, its `Decimal(18, scale)`.
pub(super) const RAW_MAX: i64 = pow10(18) - 1;

/// A decimal number: `mantissa / 10^decimals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Number {
    pub(super) mantissa: i64,
    /// Without trailing zeros after the point; below zero for a positive exponent.
    pub(super) decimals: i32,
    /// Whether digits beyond the 18th, not all zero, were cut off.
    cut: bool,
}

impl Number {
    /// Reads ASCII such as `966.61`, `-1`, `+.5`, `6.908e-05`.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ValueReason> {
        let (negative, body) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            Some((b'+', rest)) => (false, rest),
            _ => (false, text),
        };
        let mut mantissa: i64 = 0;
        let mut digits: u32 = 0;
        let mut decimals: i32 = 0;
        let (mut seen_digit, mut seen_point, mut cut) = (false, false, false);
        let mut exponent = 0;
        for (at, &byte) in body.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    seen_digit = true;
                    let digit = byte - b'0';
                    if digits == DIGITS_MAX {
                        if !seen_point {
                            return Err(too_large());
                        }
                        cut |= digit != 0;
                        continue;
                    }
                    mantissa = mantissa * 10 + i64::from(digit);
                    digits += u32::from(mantissa != 0);
                    decimals += i32::from(seen_point);
                }
                b'.' if !seen_point => seen_point = true,
                b'e' | b'E' if seen_digit => {
                    let text = std::str::from_utf8(&body[at + 1..]).map_err(|_| ValueReason::Malformed)?;
                    exponent = text.parse::<i16>().map_err(|_| ValueReason::Malformed)?;
                    break;
                }
                // Not finite, or not a number: the model's parser tells which.
                _ => return Err(fixed::parse(text, 0).err().unwrap_or(ValueReason::Malformed)),
            }
        }
        if !seen_digit {
            return Err(ValueReason::Malformed);
        }
        if mantissa == 0 {
            return Ok(Self { mantissa: 0, decimals: 0, cut });
        }
        while seen_point && mantissa % 10 == 0 && decimals > 0 && !cut {
            mantissa /= 10;
            decimals -= 1;
        }
        let mantissa = if negative { -mantissa } else { mantissa };
        Ok(Self { mantissa, decimals: decimals - i32::from(exponent), cut })
    }

    /// This number divided by `10^power`.
    pub(super) fn shifted(self, power: u8) -> Self {
        Self { decimals: self.decimals + if self.mantissa == 0 { 0 } else { i32::from(power) }, ..self }
    }

    /// Decimals it needs to be kept exactly; `None` beyond what the catalog keeps.
    pub(super) fn scale(self) -> Option<u8> {
        let mut number = self;
        while number.decimals > 0 && number.mantissa % 10 == 0 && !number.cut {
            number.mantissa /= 10;
            number.decimals -= 1;
        }
        let scale = u8::try_from(number.decimals.max(0)).ok()?;
        (scale <= MAX_SCALE && !number.cut).then_some(scale)
    }

    /// The nearest number with at most `places` decimals, half to even, and whether that changed it.
    pub(super) fn rounded(self, places: u8) -> (Self, bool) {
        let excess = self.decimals - i32::from(places);
        if excess <= 0 {
            return (Self { cut: false, ..self }, self.cut);
        }
        let divisor = u32::try_from(excess).ok().and_then(|e| 10_i128.checked_pow(e));
        let Some(divisor) = divisor else {
            return (Self::default(), self.mantissa != 0);
        };
        let value = i128::from(self.mantissa);
        let mut quotient = div_half_even(value, divisor);
        // An exact half that was cut lies beyond the half.
        let half = (value % divisor).unsigned_abs() * 2 == divisor.unsigned_abs();
        if self.cut && half && quotient.unsigned_abs() == value.unsigned_abs() / divisor.unsigned_abs() {
            quotient += value.signum();
        }
        let changed = self.cut || value % divisor != 0;
        let mantissa = i64::try_from(quotient).unwrap_or(i64::MAX);
        (Self { mantissa, decimals: i32::from(places), cut: false }, changed)
    }

    /// The integer at `scale`, which must be at least [`Self::scale`].
    pub(super) fn at(self, scale: u8) -> Result<i64, ValueReason> {
        if self.mantissa == 0 {
            return Ok(0);
        }
        let shift = i32::from(scale) - self.decimals;
        let factor = |power: i32| u8::try_from(power).ok().filter(|p| *p <= 18).map(pow10);
        let raw = if shift >= 0 {
            factor(shift).and_then(|f| self.mantissa.checked_mul(f)).ok_or_else(too_large)?
        } else {
            match factor(-shift) {
                Some(f) if self.mantissa % f == 0 && !self.cut => self.mantissa / f,
                _ => return Err(ValueReason::TooPrecise(scale)),
            }
        };
        if raw.abs() > RAW_MAX { Err(too_large()) } else { Ok(raw) }
    }
}

fn too_large() -> ValueReason {
    ValueReason::OutOfRange("it needs more than 18 digits".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_floats_are_cut_and_said_to_be() {
        let number = Number::parse(b"0.14550000429153442").unwrap();
        assert_eq!(number.scale(), None);
        let (rounded, changed) = number.rounded(6);
        assert!(changed);
        assert_eq!(rounded.at(6), Ok(145_500));
        assert_eq!(rounded.scale(), Some(4));
        assert_eq!(Number::parse(b"1234.180000305175781250").unwrap().rounded(6).0.at(6), Ok(1_234_180_000));
        assert_eq!(Number::parse(b"0.5000000000000000000001").unwrap().rounded(0).0.at(0), Ok(1));
        assert_eq!(Number::parse(b"0.5").unwrap().rounded(0).0.at(0), Ok(0));
        assert_eq!(Number::parse(b"1300").unwrap().shifted(4).at(2), Ok(13));
        assert!(Number::parse(b"1234567890123456789").is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_the_model(text in "[-+]?[0-9]{0,9}(\\.[0-9]{0,9})?([eE]-?[0-9])?", scale in 0..=MAX_SCALE) {
            let model = fixed::parse(text.as_bytes(), scale);
            let ours = Number::parse(text.as_bytes()).and_then(|n| n.at(scale));
            match (&model, &ours) {
                (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
                (Ok(a), Err(_)) => prop_assert!(a.abs() > RAW_MAX),
                (Err(_), Ok(_)) => prop_assert!(false, "{text} at {scale}: {model:?} but {ours:?}"),
                (Err(_), Err(_)) => {}
            }
        }

        #[test]
        fn the_scale_is_enough_and_not_too_much(raw in -RAW_MAX..RAW_MAX, scale in 0..=MAX_SCALE) {
            let text = fixed::to_decimal(raw, scale).to_string();
            let number = Number::parse(text.as_bytes()).unwrap();
            let needed = number.scale().unwrap();
            prop_assert_eq!(number.at(scale), Ok(raw));
            prop_assert!(number.at(needed).is_ok());
            prop_assert!(needed == 0 || number.at(needed - 1).is_err());
        }

        #[test]
        fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..40), places in 0..=MAX_SCALE) {
            if let Ok(number) = Number::parse(&text) {
                let (rounded, _) = number.rounded(places);
                let _ = (number.scale(), number.at(places), rounded.at(places));
            }
        }
    }
}
