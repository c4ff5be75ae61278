//! When an alert goes off: a decision of what it has seen alone, with no clock and no database.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::decimal::Amount;

/// What an alert waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Rule {
    /// A price. It is the last one, or the middle of bid and ask where there is none; stale quotes are passed over.
    Price {
        /// Of this instrument.
        symbol: String,
        /// What it does.
        condition: PriceCondition,
        /// A price.
        #[serde(deserialize_with = "decimal")]
        #[schema(value_type = String)]
        #[schemars(with = "String")]
        level: Decimal,
    },
    /// A fill.
    Fill {
        /// Of this account.
        account: String,
        /// Of this instrument.
        symbol: Option<String>,
        /// Of this strategy, by its id.
        strategy: Option<String>,
    },
    /// An account's worth has fallen from its peak.
    Drawdown {
        /// The account.
        account: String,
        /// By so many percent of the peak, or more.
        #[serde(deserialize_with = "decimal")]
        #[schema(value_type = String)]
        #[schemars(with = "String")]
        percent: Decimal,
        /// The peak since when.
        since: Since,
    },
    /// A feed brings nothing: it is connecting, silent or refused.
    FeedDown {
        /// Of this name; any of them when it is not given.
        feed: Option<String>,
        /// For so long.
        #[schema(minimum = 1, maximum = 86400)]
        seconds: u32,
    },
}

/// What a price does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PriceCondition {
    /// It is above the level.
    Above,
    /// It is below the level.
    Below,
    /// It goes from one side of the level to the other.
    Crosses,
}

/// Since when a peak is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Since {
    /// Since midnight UTC.
    Day,
    /// Of all time.
    AllTime,
}

fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    Amount::deserialize(deserializer).map(|amount| amount.0)
}

impl Rule {
    /// The name of its kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Price { .. } => "price",
            Self::Fill { .. } => "fill",
            Self::Drawdown { .. } => "drawdown",
            Self::FeedDown { .. } => "feed_down",
        }
    }

    /// The account that it is about.
    pub(crate) fn account(&self) -> Option<&str> {
        match self {
            Self::Fill { account, .. } | Self::Drawdown { account, .. } => Some(account),
            Self::Price { .. } | Self::FeedDown { .. } => None,
        }
    }
}

/// How far a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// Whether it may go off: not again before it has ceased to hold.
    armed: bool,
    /// The side of the level on which the price was last.
    above: Option<bool>,
    /// The highest worth.
    peak: Option<Decimal>,
    /// The day that it is of, counted from 1970-01-01.
    day: Option<i64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { armed: true, above: None, peak: None, day: None }
    }
}

const DAY: i64 = 86_400 * 1_000_000_000;

/// The midnight before, in nanoseconds.
pub(crate) fn midnight(now: i64) -> i64 {
    now.div_euclid(DAY) * DAY
}

/// Whether a pause is over at this time.
pub(crate) fn is_over(fired: Option<i64>, pause: i64, now: i64) -> bool {
    fired.is_none_or(|fired| fired.saturating_add(pause) <= now)
}

impl Progress {
    /// A condition that holds or does not. It goes off once while it holds; where it begins to hold within the pause, and
    /// still does at its end, then.
    pub(crate) fn holds(&mut self, holds: bool, pause_is_over: bool) -> bool {
        let goes_off = holds && self.armed && pause_is_over;
        if !holds {
            self.armed = true;
        } else if goes_off {
            self.armed = false;
        }
        goes_off
    }

    /// A price. A crossing within the pause is passed over; a price at the level is on the side that it came from.
    pub(crate) fn price(
        &mut self,
        condition: PriceCondition,
        level: Decimal,
        price: Decimal,
        pause_is_over: bool,
    ) -> bool {
        match condition {
            PriceCondition::Above => self.holds(price > level, pause_is_over),
            PriceCondition::Below => self.holds(price < level, pause_is_over),
            PriceCondition::Crosses => {
                if price == level {
                    return false;
                }
                let before = self.above.replace(price > level);
                pause_is_over && before.is_some_and(|before| before != (price > level))
            }
        }
    }

    /// A peak that is known from elsewhere.
    pub(crate) fn remember_peak(&mut self, since: Since, peak: Decimal, now: i64) {
        self.turn_day(since, now);
        self.peak = Some(self.peak.map_or(peak, |known| known.max(peak)));
    }

    /// What an account is worth: whether it goes off, with the peak and the fall from it in percent.
    pub(crate) fn worth(
        &mut self,
        since: Since,
        percent: Decimal,
        equity: Decimal,
        now: i64,
        pause_is_over: bool,
    ) -> Option<(Decimal, Decimal)> {
        self.turn_day(since, now);
        let peak = self.peak.map_or(equity, |peak| peak.max(equity));
        self.peak = Some(peak);
        let fall = match peak > Decimal::ZERO {
            true => (peak - equity).checked_mul(Decimal::ONE_HUNDRED)?.checked_div(peak)?,
            false => Decimal::ZERO,
        };
        self.holds(fall >= percent, pause_is_over).then_some((peak, fall))
    }

    fn turn_day(&mut self, since: Since, now: i64) {
        let day = (since == Since::Day).then(|| now.div_euclid(DAY));
        if self.day != day {
            (self.day, self.peak) = (day, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(condition: PriceCondition, prices: &[i64]) -> Vec<usize> {
        let mut progress = Progress::default();
        let goes_off = |(_, price): &(usize, &i64)| {
            progress.price(condition, Decimal::from(100), Decimal::from(**price), true)
        };
        prices.iter().enumerate().filter(goes_off).map(|(place, _)| place).collect()
    }

    #[test]
    fn a_price_goes_off_once_for_each_time_that_it_gets_there() {
        use PriceCondition::{Above, Below, Crosses};
        let prices = [99, 100, 101, 102, 100, 103, 99, 100, 99, 101];
        assert_eq!(price(Above, &prices), [2, 5, 9]);
        assert_eq!(price(Below, &prices), [0, 6, 8]);
        assert_eq!(price(Crosses, &prices), [2, 6, 9]);
        assert_eq!(price(Above, &[101, 102]), [0], "it is there from the beginning");
        assert_eq!(price(Crosses, &[101, 102]), [] as [usize; 0]);
    }

    #[test]
    fn a_fall_is_from_the_peak_of_its_day_or_of_all_time() {
        let at = |day: i64| day * DAY + 5;
        let percent = Decimal::from(10);
        let go = |progress: &mut Progress, since, equity: i64, day| {
            progress.worth(since, percent, Decimal::from(equity), at(day), true).is_some()
        };
        for (since, third) in [(Since::Day, false), (Since::AllTime, true)] {
            let mut progress = Progress::default();
            assert!(!go(&mut progress, since, 1000, 1));
            assert!(!go(&mut progress, since, 901, 1));
            assert!(go(&mut progress, since, 900, 1));
            assert!(!go(&mut progress, since, 800, 1), "once");
            assert!(!go(&mut progress, since, 990, 1), "it is armed again");
            assert_eq!(go(&mut progress, since, 890, 2), third, "{since:?}");
            // What is known from the tables counts, and what was before midnight does not.
            progress.remember_peak(since, Decimal::from(2000), at(2));
            assert!(!go(&mut progress, since, 1900, 2));
            assert_eq!(
                progress.worth(since, percent, Decimal::from(1500), at(2), true),
                Some((2000.into(), 25.into()))
            );
        }
        // An account that is worth nothing, or less, has no share of a peak.
        assert!(
            !go(&mut Progress::default(), Since::Day, 0, 1)
                && !go(&mut Progress::default(), Since::Day, -5, 1)
        );
    }

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        for text in [
            r#"{"kind":"price","symbol":"A","condition":"crosses","level":"100.5"}"#,
            r#"{"kind":"fill","account":"a","symbol":null,"strategy":"s"}"#,
            r#"{"kind":"drawdown","account":"a","percent":"5","since":"all_time"}"#,
            r#"{"kind":"feed_down","feed":null,"seconds":30}"#,
        ] {
            let rule: Rule = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&rule).unwrap(), text);
            let progress = Progress { above: Some(true), peak: Some(5.into()), ..Progress::default() };
            let kept = serde_json::to_string(&progress).unwrap();
            assert_eq!(serde_json::from_str::<Progress>(&kept).unwrap(), progress);
        }
        let number = r#"{"kind":"price","symbol":"A","condition":"above","level":100.5}"#;
        assert!(
            matches!(serde_json::from_str(number), Ok(Rule::Price { level, .. }) if level.to_string() == "100.5")
        );
        for bad in [r#"{"kind":"none"}"#, r#"{"kind":"fill","account":"a","colour":1}"#, r#"{"kind":"fill"}"#]
        {
            assert!(serde_json::from_str::<Rule>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Against what is meant, said in another way: between two times there is the pause and a moment at which the
        /// condition did not hold; and where it holds, is armed and not in a pause, it goes off at once.
        #[test]
        fn it_goes_off_neither_twice_nor_too_late(steps in prop::collection::vec((0_i64..5, prop::bool::ANY), 1..100), pause in 0_i64..12) {
            let (mut progress, mut fired, mut now) = (Progress::default(), None, 0);
            let mut held_since_firing = false;
            for (after, holds) in steps {
                now += after;
                // It is kept and read again at any moment.
                progress = serde_json::from_str(&serde_json::to_string(&progress).unwrap()).unwrap();
                let goes_off = progress.holds(holds, is_over(fired, pause, now));
                let expected = holds && !held_since_firing && fired.is_none_or(|at: i64| now - at >= pause);
                prop_assert_eq!(goes_off, expected);
                if goes_off {
                    (fired, held_since_firing) = (Some(now), true);
                } else if !holds {
                    held_since_firing = false;
                }
            }
        }

        /// Crossings are as many as sign changes among the prices that are not at the level.
        #[test]
        fn crossings_are_changes_of_the_side(prices in prop::collection::vec(95_i64..105, 0..60)) {
            let sides: Vec<bool> = prices.iter().filter(|price| **price != 100).map(|price| *price > 100).collect();
            let changes = sides.windows(2).filter(|pair| pair[0] != pair[1]).count();
            prop_assert_eq!(price(PriceCondition::Crosses, &prices).len(), changes);
        }
    }
}
