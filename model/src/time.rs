//! Time: [`Timestamp`] in nanoseconds UTC, and the [`Interval`] of a bar.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::error::{ValueError, ValueReason};

/// Nanoseconds in a second.
pub const NANOS_PER_SEC: i64 = 1_000_000_000;
/// Nanoseconds in a minute.
pub const NANOS_PER_MIN: i64 = 60 * NANOS_PER_SEC;
/// Nanoseconds in an hour.
pub const NANOS_PER_HOUR: i64 = 60 * NANOS_PER_MIN;
/// Nanoseconds in a day of 24 hours.
pub const NANOS_PER_DAY: i64 = 24 * NANOS_PER_HOUR;

/// An instant: nanoseconds since 1970-01-01T00:00:00Z, from 1677 to 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant.
    pub const MAX: Self = Self(i64::MAX);

    /// From nanoseconds since the epoch.
    #[inline]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From seconds since the epoch; `None` outside 1677 to 2262.
    pub fn from_secs(secs: i64) -> Option<Self> {
        secs.checked_mul(NANOS_PER_SEC).map(Self)
    }

    /// From milliseconds since the epoch; `None` outside 1677 to 2262.
    pub fn from_millis(millis: i64) -> Option<Self> {
        millis.checked_mul(1_000_000).map(Self)
    }

    /// Midnight UTC of a calendar date; `None` when there is no such date, or it lies outside 1677 to 2262.
    pub fn from_ymd(year: i16, month: i8, day: i8) -> Option<Self> {
        let date = jiff::civil::Date::new(year, month, day).ok()?;
        let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        i64::try_from(start.as_nanosecond()).ok().map(Self)
    }

    /// Nanoseconds since the epoch.
    #[inline]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// This instant moved by `nanos`; `None` on overflow.
    #[inline]
    pub fn checked_add(self, nanos: i64) -> Option<Self> {
        self.0.checked_add(nanos).map(Self)
    }

    /// This instant moved by `nanos`, stopping at the ends of the range.
    #[inline]
    pub fn saturating_add(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Days since 1970-01-01 of the UTC date that this instant lies in.
    pub fn utc_day(self) -> i64 {
        self.0.div_euclid(NANOS_PER_DAY)
    }

    /// The UTC date and time of day, for text.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .expect("64-bit nanoseconds lie within jiff's range")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_jiff().fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = ValueError;

    /// Reads `2017-01-01` (midnight UTC), `2017-01-01T12:30`, `2017-01-01 12:30:00` (UTC when no offset is given)
    /// and RFC 3339 with an offset.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        let refuse = || {
            let why = "is not a date or time such as 2017-01-01 or 2017-01-01T12:30:00Z";
            ValueError::new("time", "value", text, ValueReason::Other(why.into()))
        };
        let nanos = if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
            stamp.as_nanosecond()
        } else {
            let local: jiff::civil::DateTime = text.parse().map_err(|_| refuse())?;
            local.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| refuse())?.timestamp().as_nanosecond()
        };
        i64::try_from(nanos).map(Self).map_err(|_| refuse())
    }
}

/// What a bar's length is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IntervalUnit {
    /// Seconds of time.
    Second,
    /// Minutes of time.
    Minute,
    /// Hours of time.
    Hour,
    /// Trading sessions of the instrument's calendar.
    Day,
    /// Weeks of sessions, Monday to Sunday.
    Week,
    /// A number of trades or quotes.
    Tick,
    /// A traded quantity, in whole units of the base.
    Volume,
    /// A traded value, in whole units of the settlement currency.
    Notional,
}

/// The length of a bar: a count and a unit, written `1m`, `4h`, `1d`, `100tick`, `5000volume`, `1000000notional`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interval {
    count: u32,
    unit: IntervalUnit,
}

impl Interval {
    /// One minute.
    pub const MINUTE: Self = Self { count: 1, unit: IntervalUnit::Minute };
    /// One hour.
    pub const HOUR: Self = Self { count: 1, unit: IntervalUnit::Hour };
    /// One session.
    pub const DAY: Self = Self { count: 1, unit: IntervalUnit::Day };

    /// `count` of `unit`; `None` for a count of 0, or a time that does not divide the next larger unit
    /// (`7m` would drift against the hour).
    pub fn new(count: u32, unit: IntervalUnit) -> Option<Self> {
        let fits = match unit {
            IntervalUnit::Second | IntervalUnit::Minute => count <= 60 && count > 0 && 60 % count == 0,
            IntervalUnit::Hour => count <= 24 && count > 0 && 24 % count == 0,
            IntervalUnit::Day | IntervalUnit::Week => count == 1,
            IntervalUnit::Tick | IntervalUnit::Volume | IntervalUnit::Notional => count > 0,
        };
        fits.then_some(Self { count, unit })
    }

    /// How many units.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The unit.
    pub fn unit(self) -> IntervalUnit {
        self.unit
    }

    /// The length in nanoseconds of an interval of fixed length below a day; `None` for sessions, weeks and
    /// intervals that are not counted in time.
    pub fn nanos(self) -> Option<i64> {
        let unit = match self.unit {
            IntervalUnit::Second => NANOS_PER_SEC,
            IntervalUnit::Minute => NANOS_PER_MIN,
            IntervalUnit::Hour => NANOS_PER_HOUR,
            _ => return None,
        };
        Some(unit * i64::from(self.count))
    }

    /// About how long one such bar lasts, for choosing the finest of several series. Intervals not counted in
    /// time come before all others.
    pub fn nominal_nanos(self) -> i64 {
        match self.unit {
            IntervalUnit::Day => NANOS_PER_DAY,
            IntervalUnit::Week => 7 * NANOS_PER_DAY,
            _ => self.nanos().unwrap_or(0),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            IntervalUnit::Second => "s",
            IntervalUnit::Minute => "m",
            IntervalUnit::Hour => "h",
            IntervalUnit::Day => "d",
            IntervalUnit::Week => "w",
            IntervalUnit::Tick => "tick",
            IntervalUnit::Volume => "volume",
            IntervalUnit::Notional => "notional",
        };
        write!(f, "{}{unit}", self.count)
    }
}

impl FromStr for Interval {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = || {
            let why = "is not an interval such as 1m, 15m, 4h, 1d, 1w, 100tick, 5000volume or 1000000notional \
                       (a time must divide the next larger unit)";
            ValueError::new("interval", "value", text, ValueReason::Other(why.into()))
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let count: u32 = text[..digits].parse().map_err(|_| refuse())?;
        let unit = match &text[digits..] {
            "s" => IntervalUnit::Second,
            "m" => IntervalUnit::Minute,
            "h" => IntervalUnit::Hour,
            "d" => IntervalUnit::Day,
            "w" => IntervalUnit::Week,
            "tick" => IntervalUnit::Tick,
            "volume" => IntervalUnit::Volume,
            "notional" => IntervalUnit::Notional,
            _ => return Err(refuse()),
        };
        Self::new(count, unit).ok_or_else(refuse)
    }
}

impl TryFrom<String> for Interval {
    type Error = ValueError;
    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> String {
        interval.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_utc_unless_they_say_otherwise() {
        let t: Timestamp = "2017-01-01".parse().unwrap();
        assert_eq!(t.as_nanos(), 1_483_228_800 * NANOS_PER_SEC);
        assert_eq!(t, Timestamp::from_ymd(2017, 1, 1).unwrap());
        assert_eq!("2017-01-01T00:00:00Z".parse::<Timestamp>().unwrap(), t);
        assert_eq!("2017-01-01 02:00:00+02:00".parse::<Timestamp>().unwrap(), t);
        assert_eq!(t.to_string(), "2017-01-01T00:00:00Z");
        assert!("2017-13-01".parse::<Timestamp>().is_err());
        assert!("9999-01-01".parse::<Timestamp>().is_err());
    }

    #[test]
    fn intervals_read_back_as_written() {
        for text in ["1s", "1m", "5m", "4h", "1d", "1w", "100tick", "5000volume", "1000000notional"] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), text);
        }
        for bad in ["", "m", "0m", "7m", "25h", "2d", "1x", "1M", "-1m", "99999999999m"] {
            assert!(bad.parse::<Interval>().is_err(), "{bad}");
        }
    }
}
