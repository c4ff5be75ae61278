//! Amounts of a currency, exact to 10⁻¹⁸.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::error::{ValueError, ValueReason};

/// A currency or coin in which accounts are kept: 1 to 12 upper-case letters or digits (`USD`, `USDT`, `BTC`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(String);

impl Currency {
    /// Checks the code and wraps it.
    ///
    /// # Errors
    /// When it is not 1 to 12 upper-case ASCII letters or digits.
    pub fn new(code: impl Into<String>) -> Result<Self, ValueError> {
        let code = code.into();
        let ok = (1..=12).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if ok {
            return Ok(Self(code));
        }
        let why = "takes 1 to 12 upper-case letters or digits, such as USD or USDT";
        Err(ValueError::new("currency", "code", code, ValueReason::Other(why.into())))
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.0
    }

    /// Decimals with which amounts are *reported* (files, tables); the ledger itself is exact.
    ///
    /// Four beyond the smallest coin of ISO 4217's common currencies, eight for anything else (coins).
    pub fn report_scale(&self) -> u8 {
        match self.0.as_str() {
            "JPY" | "KRW" | "VND" | "CLP" | "IDR" | "HUF" => 4,
            "USD" | "EUR" | "GBP" | "CHF" | "AUD" | "CAD" | "NZD" | "SEK" | "NOK" | "DKK" | "PLN" | "CZK"
            | "CNY" | "CNH" | "HKD" | "SGD" | "MXN" | "ZAR" | "TRY" | "INR" | "BRL" | "ILS" | "THB" => 6,
            _ => 8,
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = ValueError;
    fn try_from(code: String) -> Result<Self, ValueError> {
        Self::new(code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An amount of money in 10⁻¹⁸ of a unit, about ±1.7·10²⁰ units.
///
/// A price and a quantity have at most nine decimals each, so their product is exact here: the ledger rounds only
/// where a division forces it (fees in basis points, the cost of a part of a position), and then half to even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(i128);

impl Money {
    /// Decimals of the integer inside.
    pub const SCALE: u8 = 18;
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// From the integer of 10⁻¹⁸ units.
    #[inline]
    pub const fn from_raw(raw: i128) -> Self {
        Self(raw)
    }

    /// The integer of 10⁻¹⁸ units.
    #[inline]
    pub const fn raw(self) -> i128 {
        self.0
    }

    /// From whole units.
    pub const fn from_units(units: i64) -> Self {
        Self(units as i128 * 1_000_000_000_000_000_000)
    }

    /// From a decimal.
    ///
    /// # Errors
    /// [`ValueReason::TooPrecise`] beyond 18 decimals.
    pub fn from_decimal(value: Decimal) -> Result<Self, ValueReason> {
        let value = value.normalize();
        let shift =
            u32::from(Self::SCALE).checked_sub(value.scale()).ok_or(ValueReason::TooPrecise(Self::SCALE))?;
        value.mantissa().checked_mul(10_i128.pow(shift)).map(Self).ok_or_else(out_of_range)
    }

    /// The amount as a decimal; beyond 28 digits the last decimals are rounded half to even.
    pub fn to_decimal(self) -> Decimal {
        let mut scale = Self::SCALE;
        loop {
            if let Ok(value) = Decimal::try_from_i128_with_scale(
                div_half_even(self.0, 10_i128.pow(u32::from(Self::SCALE - scale))),
                u32::from(scale),
            ) {
                return value.normalize();
            }
            scale -= 1;
        }
    }

    /// As a float, for statistics. Whole units up to 2⁵³ are exact: dividing the raw integer at once would round twice,
    /// and 100,000 would come out below itself.
    pub fn to_f64(self) -> f64 {
        let unit = 10_i128.pow(u32::from(Self::SCALE));
        (self.0 / unit) as f64 + (self.0 % unit) as f64 / unit as f64
    }

    /// The integer at `scale` (at most 18) decimals, half to even; `None` when it needs more than 64 bits.
    pub fn rounded(self, scale: u8) -> Option<i64> {
        let divisor = 10_i128.pow(u32::from(Self::SCALE - scale.min(Self::SCALE)));
        i64::try_from(div_half_even(self.0, divisor)).ok()
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

    /// The amount without its sign.
    #[inline]
    pub fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// Whether it is zero.
    #[inline]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `self × numerator / denominator`, half to even; `None` on overflow or a denominator of zero.
    pub fn mul_ratio(self, numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        if let Some(product) = self.0.checked_mul(numerator) {
            return Some(Self(div_half_even(product, denominator)));
        }
        // The product needs more than 128 bits: divide first and carry the remainder.
        let (whole, rest) = (self.0 / denominator, self.0 % denominator);
        let high = whole.checked_mul(numerator)?;
        let low = div_half_even(rest.checked_mul(numerator)?, denominator);
        high.checked_add(low).map(Self)
    }
}

impl std::ops::Neg for Money {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_decimal().fmt(f)
    }
}

fn out_of_range() -> ValueReason {
    ValueReason::OutOfRange("beyond ±1.7·10²⁰".into())
}

/// `numerator / denominator`, rounded half to even.
pub fn div_half_even(numerator: i128, denominator: i128) -> i128 {
    let quotient = numerator / denominator;
    let rest = numerator - quotient * denominator; // one division of 128 bits, not two
    let twice = rest.unsigned_abs().saturating_mul(2);
    let up = match twice.cmp(&denominator.unsigned_abs()) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Less => false,
    };
    if !up {
        return quotient;
    }
    quotient + if (numerator < 0) == (denominator < 0) { 1 } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_go_to_the_even_neighbour() {
        for (n, d, q) in [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (5, -2, -2), (8, 3, 3), (-8, 3, -3)]
        {
            assert_eq!(div_half_even(n, d), q, "{n}/{d}");
        }
    }

    #[test]
    fn money_rounds_for_reports_only() {
        let m = Money::from_decimal("1000000.0000005".parse().unwrap()).unwrap();
        assert_eq!(m.rounded(6), Some(1_000_000_000_000));
        assert_eq!(m.to_string(), "1000000.0000005");
        assert_eq!(Money::from_units(i64::MAX).rounded(6), None);
    }

    #[test]
    fn whole_amounts_are_exact_floats() {
        for units in [0, 1, -1, 100_000, -100_000, 1_000_000_007, 1_i64 << 52] {
            let amount = Money::from_decimal(Decimal::from(units)).unwrap();
            assert_eq!(amount.to_f64(), units as f64);
        }
    }

    proptest! {
        #[test]
        fn money_and_decimal_agree(raw in -10_i128.pow(28)..10_i128.pow(28)) {
            let money = Money::from_raw(raw);
            prop_assert_eq!(Money::from_decimal(money.to_decimal()), Ok(money));
        }

        #[test]
        fn parts_of_an_amount_add_up(raw in -10_i128.pow(30)..10_i128.pow(30), part in 0_i64..1000, whole in 1_i64..1000) {
            let money = Money::from_raw(raw);
            let share = money.mul_ratio(i128::from(part), i128::from(whole)).unwrap();
            let exact = raw as f64 * part as f64 / whole as f64;
            prop_assert!((share.raw() as f64 - exact).abs() <= exact.abs() * 1e-12 + 1.0);
        }
    }
}
