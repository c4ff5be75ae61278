//! Splits and dividends out of cumulative factors of adjustment.
//!
//! Row *i* of such a file holds the factors by which raw prices up to and including its date are multiplied to get
//! adjusted prices. The step to row *i + 1* therefore happened before the open of the next session:
//!
//! - **Split**: each old share became `split_factor[i + 1] / split_factor[i]` shares.
//! - **Dividend**: the price factor discounts by the share of the dividend in the last raw close `C` before it,
//!   `price_factor[i] = price_factor[i + 1] × (C − D) / C`, so `D = C × (1 − price_factor[i] / price_factor[i + 1])`,
//!   in money a share as it was before a split of the same day.
//!
//! The factors are rounded (to 6 or 7 decimals), so each result is an interval. The amount taken is the one with the
//! fewest decimals in it (at least 2), the ratio the simplest fraction in it.

use tradeflow_model::Money;
use tradeflow_model::calendar::Calendar;
use tradeflow_model::fixed::pow10;
use tradeflow_model::market::ActionKind;
use tradeflow_model::money::div_half_even;

use super::number::Number;

/// A row of factors.
#[derive(Debug, Clone, Copy)]
pub(super) struct FactorRow {
    /// Days since 1970-01-01 of its date.
    pub(super) days: i64,
    pub(super) price: Number,
    pub(super) split: Number,
    pub(super) reference: Number,
    pub(super) origin: i64,
}

/// A split or dividend: when it takes effect (nanoseconds), what it is, and the row it comes from.
pub(super) type Derived = (i64, ActionKind, i64);

/// Factors have at most so many decimals here; all arithmetic is in 128 bits.
const SCALE: u8 = 9;

/// The actions between the rows, which must ascend by date.
///
/// # Errors
/// The origin of a row, and what is wrong with it.
pub(super) fn derive(rows: &[FactorRow], calendar: Calendar) -> Result<Vec<Derived>, (i64, String)> {
    let mut actions = Vec::new();
    for pair in rows.windows(2) {
        let (row, next) = (pair[0], pair[1]);
        let refuse = |why: &str| (row.origin, why.to_owned());
        let factor = |number: Number| number.at(SCALE).ok().filter(|raw| *raw > 0);
        let too_fine = || refuse("a factor is not above zero, or has more than 9 decimals");
        let (price, price_next) =
            (factor(row.price).ok_or_else(too_fine)?, factor(next.price).ok_or_else(too_fine)?);
        let (split, split_next) =
            (factor(row.split).ok_or_else(too_fine)?, factor(next.split).ok_or_else(too_fine)?);
        if next.days <= row.days {
            return Err((next.origin, "the date is not after the one before it".into()));
        }
        if price == price_next && split == split_next {
            continue;
        }
        let date = super::civil::date_of(row.days).and_then(|date| date.tomorrow().ok());
        let session = date.and_then(|date| {
            let week_later = date.checked_add(jiff::Span::new().days(14)).ok()?;
            calendar.sessions_on(date, week_later).next()
        });
        let session =
            session.ok_or_else(|| refuse("the calendar has no session in the two weeks after the date"))?;
        let time = session.open.as_nanos();
        if price != price_next {
            let reference =
                row.reference.at(SCALE).map_err(|why| refuse(&format!("the reference price {why}")))?;
            let amount = dividend(
                i128::from(reference),
                i128::from(price),
                i128::from(price_next),
                half_unit(row.price) + half_unit(next.price),
            );
            let amount = amount.ok_or_else(|| refuse("the price factors give no dividend above zero"))?;
            actions.push((time, ActionKind::Dividend { amount }, row.origin));
        }
        if split != split_next {
            let (new, old) = ratio(
                (i128::from(split), half_unit(row.split)),
                (i128::from(split_next), half_unit(next.split)),
            )
            .ok_or_else(|| refuse("the split factors give no ratio of shares"))?;
            actions.push((time, ActionKind::Split { new, old }, row.origin));
        }
    }
    Ok(actions)
}

/// Half a unit of the last decimal that a factor is written with, at [`SCALE`]. A factor of few decimals (`0.25`, `1`)
/// is exact as far as one can tell.
fn half_unit(number: Number) -> i128 {
    match number.decimals {
        0..=4 => 0,
        decimals => i128::from(pow10(SCALE - decimals.clamp(0, 9) as u8)).max(10) / 2,
    }
}

fn dividend(reference: i128, price: i128, next: i128, error: i128) -> Option<Money> {
    // At 18 decimals: reference has 9, the ratio of factors gets 9 more.
    let unit = i128::from(pow10(SCALE));
    let exact = reference.checked_mul(next - price)?.checked_mul(unit)? / next;
    let error = (reference * error).checked_mul(unit)? / next;
    let rounded = (2..=9).map(|places| {
        let divisor = 10_i128.pow(18 - places);
        div_half_even(exact, divisor) * divisor
    });
    let amount = rounded
        .clone()
        .find(|amount| (amount - exact).abs() <= error)
        .or_else(|| rounded.clone().next_back())?;
    (amount > 0).then(|| Money::from_raw(amount))
}

/// The simplest `next / this` within the errors, as shares after and before.
fn ratio((this, this_error): (i128, i128), (next, next_error): (i128, i128)) -> Option<(u32, u32)> {
    let low = ((next - next_error).max(1), this + this_error);
    let high = (next + next_error, (this - this_error).max(1));
    let (new, old) = simplest_between(low, high)?;
    Some((u32::try_from(new).ok()?, u32::try_from(old).ok()?))
}

/// The fraction with the least denominator in `low..=high`, by their continued fractions.
fn simplest_between(low: (i128, i128), high: (i128, i128)) -> Option<(i128, i128)> {
    let whole = low.0 / low.1;
    if whole * low.1 == low.0 {
        return Some((whole, 1));
    }
    if (whole + 1) * high.1 <= high.0 {
        return Some((whole + 1, 1));
    }
    // Both ends lie between `whole` and `whole + 1`: go on with the reciprocals of the rests, which swaps them.
    let (low_rest, high_rest) = (low.0 - whole * low.1, high.0 - whole * high.1);
    if high_rest <= 0 {
        return None;
    }
    let (n, d) = simplest_between((high.1, high_rest), (low.1, low_rest))?;
    Some((whole.checked_mul(n)?.checked_add(d)?, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(days: i64, price: &str, split: &str, reference: &str) -> FactorRow {
        let number = |text: &str| Number::parse(text.as_bytes()).unwrap();
        FactorRow {
            days,
            price: number(price),
            split: number(split),
            reference: number(reference),
            origin: days,
        }
    }

    #[test]
    fn splits_and_dividends_are_what_the_company_paid() {
        // Apple: 2.65 a share ex 2012-08-09 (the row is dated the day before), and seven for one on 2014-06-09.
        let dividend =
            [row(15_560, "0.8613657", "0.0357143", "619.86"), row(15_650, "0.8650639", "0.0357143", "1")];
        let found = derive(&dividend, Calendar::Nyse).unwrap();
        let amount = Money::from_decimal("2.65".parse().unwrap()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, ActionKind::Dividend { amount });
        let split =
            [row(16_227, "0.9011818", "0.0357143", "645.57"), row(16_288, "0.9011818", "0.25", "94.97")];
        let found = derive(&split, Calendar::Nyse).unwrap();
        assert_eq!(found[0].1, ActionKind::Split { new: 7, old: 1 });
        // Friday 2014-06-06 is followed by Monday 2014-06-09, 9:30 in New York.
        assert_eq!(tradeflow_model::Timestamp::from_nanos(found[0].0).to_string(), "2014-06-09T13:30:00Z");
        assert!(derive(&[split[1], split[0]], Calendar::Nyse).is_err(), "dates must ascend");
        let zero = [row(1, "0", "1", "1"), row(2, "1", "1", "1")];
        assert!(derive(&zero, Calendar::Nyse).is_err());
    }

    #[test]
    fn the_simplest_fraction_is_found() {
        assert_eq!(simplest_between((199, 100), (201, 100)), Some((2, 1)));
        assert_eq!(simplest_between((149, 100), (151, 100)), Some((3, 2)));
        assert_eq!(simplest_between((3141, 1000), (3142, 1000)), Some((311, 99)));
        assert_eq!(ratio((1_000_000_000, 0), (100_000_000, 0)), Some((1, 10)), "a reverse split");
    }
}
