//! Raw prices out of split-adjusted ones that were kept as 32-bit floats.
//!
//! What Yahoo prints as `18.77975082397461` is the float nearest to the adjusted price; half a float's step to either
//! side, times the splits since, is all that is known of the raw price. Of the decimals in that interval the one with
//! the fewest digits is taken: 751.19 dollars for Nvidia on 2021-07-19, four and ten for one later.

use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use tradeflow_model::MAX_SCALE;

/// Shares that one share became: new, old.
pub(super) type Ratio = (u64, u64);

/// The splits of a symbol, by date.
#[derive(Debug, Default)]
pub(super) struct Splits(Vec<(Date, u32, u32)>);

impl Splits {
    pub(super) fn new(splits: impl Iterator<Item = (Date, u32, u32)>) -> Self {
        Self(splits.collect())
    }

    /// What one share of this date has become by now.
    pub(super) fn after(&self, date: Date) -> Ratio {
        self.since(|split| split > date)
    }

    /// The same with a split of the date itself.
    pub(super) fn from(&self, date: Date) -> Ratio {
        self.since(|split| split >= date)
    }

    fn since(&self, counts: impl Fn(Date) -> bool) -> Ratio {
        self.0.iter().filter(|(date, ..)| counts(*date)).fold((1, 1), |(n, o), (_, new, old)| {
            let (n, o) = (n.saturating_mul(u64::from(*new)), o.saturating_mul(u64::from(*old)));
            let divisor = gcd(n, o).max(1);
            (n / divisor, o / divisor)
        })
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The price that was meant by an adjusted one, before the splits of `ratio`.
pub(super) fn printed(value: Decimal, (new, old): Ratio) -> Decimal {
    let scale =
        |value: Decimal| value.checked_mul(Decimal::from(new)).map(|value| value / Decimal::from(old.max(1)));
    let (Some(scaled), Some(error)) = (scale(value), scale(half_step(value))) else { return value };
    let places = (0..=u32::from(MAX_SCALE)).find(|places| (scaled.round_dp(*places) - scaled).abs() <= error);
    scaled.round_dp(places.unwrap_or(u32::from(MAX_SCALE))).normalize()
}

/// How far the number that was meant may be from the one that is given.
fn half_step(value: Decimal) -> Decimal {
    // The crate turns pence, cents and agorot into whole units; the float was of the former.
    [1, 100]
        .into_iter()
        .find_map(|part| float_half_step(value * Decimal::from(part)).map(|step| step / Decimal::from(part)))
        // Not a 32-bit float: the 15 digits that survive the way through a 64-bit one.
        .unwrap_or_else(|| value.abs() * Decimal::new(1, 14))
}

/// Half the step of 32-bit floats at a value that is one of them.
fn float_half_step(value: Decimal) -> Option<Decimal> {
    let wide = value.to_f64()?;
    let narrow = wide as f32;
    let back = f64::from(narrow);
    let is_float = narrow != 0.0 && narrow.is_finite() && ((back - wide) / wide).abs() < 1e-13;
    let step = f64::from(narrow.abs().next_up()) - f64::from(narrow.abs());
    Decimal::from_f64(step / 2.0).filter(|_| is_float)
}

/// The shares that were traded, whole, of an adjusted volume.
pub(super) fn shares(volume: Decimal, (new, old): Ratio) -> Decimal {
    if new == old {
        return volume;
    }
    let raw = volume.checked_mul(Decimal::from(old)).map(|volume| volume / Decimal::from(new.max(1)));
    raw.unwrap_or(volume).round()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn the_decimal_that_was_meant_is_found() {
        for (given, ratio, meant) in [
            ("18.7797508239746", (40, 1), "751.19"),
            ("13.2370004653931", (40, 1), "529.48"),
            ("0.145500004291534", (1, 1), "0.1455"),
            ("12.595", (1, 1), "12.595"),            // 1259.5 pence
            ("12.5944995117188", (1, 1), "12.5945"), // 1259.449951171875 pence
            ("0.205", (4, 1), "0.82"),
            ("39.0000000000001", (1, 1), "39.0000000000001"), // no float: what is given, to nine decimals
            ("0", (4, 1), "0"),
        ] {
            let found = printed(dec(given), ratio);
            assert_eq!(found, dec(meant).round_dp(9), "{given}");
        }
        assert_eq!(shares(dec("217204000"), (40, 1)), dec("5430100"));
    }

    #[test]
    fn splits_multiply_up_and_reverse() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        let splits = Splits::new(
            [("2001-06-27", 2, 1), ("2021-07-20", 4, 1), ("2023-01-03", 1, 20), ("2024-06-10", 10, 1)]
                .map(|(day, new, old)| (date(day), new, old))
                .into_iter(),
        );
        assert_eq!(splits.after(date("2021-07-19")), (2, 1));
        assert_eq!(splits.after(date("2021-07-20")), (1, 2));
        assert_eq!(splits.from(date("2021-07-20")), (2, 1));
        assert_eq!(splits.after(date("2024-06-10")), (1, 1));
        assert_eq!(splits.after(date("2000-01-03")), (4, 1));
    }

    proptest! {
        /// What was traded at whole cents comes back, whatever the splits, as long as a float can tell cents apart.
        #[test]
        fn cents_come_back(cents in 100_i64..5_000_000, new in 1_u32..20, old in 1_u32..20) {
            let raw = Decimal::new(cents, 2);
            let adjusted = raw.to_f64().unwrap() * f64::from(old) / f64::from(new);
            let given = Decimal::try_from(f64::from(adjusted as f32)).unwrap();
            prop_assert_eq!(printed(given, (new.into(), old.into())), raw.normalize());
        }
    }
}
