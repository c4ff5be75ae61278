//! Numbers as people read them: groups of three digits, amounts with the decimals of their currency.

use rust_decimal::Decimal;
use tradeflow_model::{Currency, Timestamp};

/// What stands where there is no value.
pub const NONE: &str = "–";

/// A whole number in groups of three digits.
pub fn whole(number: u64) -> String {
    thousands(&number.to_string())
}

/// A number with so many decimals, in groups of three digits. What rounds to zero has no sign.
pub fn grouped(number: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", number.abs());
    let sign = if number < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) { "-" } else { "" };
    match text.split_once('.') {
        Some((units, rest)) => format!("{sign}{}.{rest}", thousands(units)),
        None => format!("{sign}{}", thousands(&text)),
    }
}

/// An amount in a currency, without its code: two decimals as most currencies have, none for those without coins, and
/// six for less than 100 of anything else (a bitcoin's cents are worth a dinner). `None` stands for several currencies.
pub fn amount(amount: f64, currency: Option<&str>) -> String {
    let scale =
        currency.and_then(|code| Currency::new(code).ok()).map_or(6, |currency| currency.report_scale());
    let decimals = match scale {
        4 => 0,
        8 if amount != 0.0 && amount.abs() < 100.0 => 6,
        _ => 2,
    };
    grouped(amount, decimals)
}

/// An amount with its currency.
pub fn money(value: f64, currency: Option<&str>) -> String {
    format!("{} {}", amount(value, currency), currency.unwrap_or("(several currencies)"))
}

/// A fraction in percent, with two decimals.
pub fn percent(fraction: f64) -> String {
    format!("{} %", grouped(fraction * 100.0, 2))
}

/// A ratio with two decimals.
pub fn ratio(value: f64) -> String {
    grouped(value, 2)
}

/// A value that may be missing.
pub fn or_none(value: Option<String>) -> String {
    value.unwrap_or_else(|| NONE.into())
}

/// An exact number in groups of three digits, without closing zeros beyond the second decimal.
pub fn decimal(value: Decimal, decimals_min: u32) -> String {
    let mut value = value.normalize();
    if value.scale() < decimals_min {
        value.rescale(decimals_min);
    }
    let text = value.abs().to_string();
    let sign = if value.is_sign_negative() && !value.is_zero() { "-" } else { "" };
    match text.split_once('.') {
        Some((units, rest)) => format!("{sign}{}.{rest}", thousands(units)),
        None => format!("{sign}{}", thousands(&text)),
    }
}

/// An exact number rounded, half to even, to seven digits or two decimals, whichever is more.
pub fn rounded(value: Decimal, decimals_min: u32) -> String {
    let digits = value.trunc().abs().to_string().len() as u32;
    // Below one all decimals are told: 0.00000001 of a coin is not nothing.
    let decimals = if value.trunc().is_zero() { 28 } else { 7_u32.saturating_sub(digits).max(2) };
    decimal(value.round_dp(decimals), decimals_min)
}

/// A length of time in its largest fitting unit: `3.5 days`, `12.0 h`, `7.0 min`.
pub fn duration(ns: i64) -> String {
    let seconds = ns as f64 / 1e9;
    match seconds {
        s if s >= 86_400.0 => format!("{} days", grouped(s / 86_400.0, 1)),
        s if s >= 3_600.0 => format!("{:.1} h", s / 3_600.0),
        s if s >= 60.0 => format!("{:.1} min", s / 60.0),
        s => format!("{s:.1} s"),
    }
}

/// A time in UTC to the second, or to the minute where it is whole: `2017-01-01 12:30`.
pub fn time(ts: Timestamp) -> String {
    let text = ts.to_jiff().strftime("%Y-%m-%d %H:%M:%S").to_string();
    text.strip_suffix(":00").map(str::to_owned).unwrap_or(text)
}

fn thousands(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        assert_eq!(whole(0), "0");
        assert_eq!(whole(999), "999");
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(grouped(-1_234.565, 1), "-1,234.6");
        assert_eq!(grouped(-0.001, 2), "0.00");
        assert_eq!(decimal("-1234.50000".parse().unwrap(), 2), "-1,234.50");
        assert_eq!(decimal("0.00012300".parse().unwrap(), 2), "0.000123");
        assert_eq!(rounded("13296.84692419".parse().unwrap(), 2), "13,296.85");
        assert_eq!(rounded("1.085235".parse().unwrap(), 2), "1.085235");
        assert_eq!(rounded("1234567.899".parse().unwrap(), 0), "1,234,567.9");
        assert_eq!(decimal("1200".parse().unwrap(), 0), "1,200");
    }

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        assert_eq!(money(1_234.5, Some("USD")), "1,234.50 USD");
        assert_eq!(money(1_234.5, Some("JPY")), "1,234 JPY");
        assert_eq!(money(-0.00123, Some("BTC")), "-0.001230 BTC");
        assert_eq!(money(1e6, Some("USDT")), "1,000,000.00 USDT");
        assert_eq!(money(5.0, None), "5.00 (several currencies)");
    }

    #[test]
    fn times_and_lengths_are_short() {
        assert_eq!(time("2017-01-01T12:30:00Z".parse().unwrap()), "2017-01-01 12:30");
        assert_eq!(time("2017-01-01T12:30:05.9Z".parse().unwrap()), "2017-01-01 12:30:05");
        assert_eq!(duration(90 * 60 * 1_000_000_000), "1.5 h");
        assert_eq!(duration(36 * 3_600 * 1_000_000_000), "1.5 days");
    }
}
