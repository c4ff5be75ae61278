//! Times of foreign files: formats, zones, and the rules for hours that daylight saving skips or repeats.
//!
//! A local time that the zone skips (the clock goes forward) is refused: the file is not in that zone. A local time
//! that the zone repeats (the clock goes back) is the first of the two, unless that would lie before the row before it
//! in a file that ascends: then it is the second. A file that descends gets the second until that would lie after the
//! row before it.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use std::fmt;
use std::str::FromStr;

use tradeflow_model::time::{NANOS_PER_DAY, NANOS_PER_HOUR, NANOS_PER_SEC};

use super::civil::{Cursor, Order, Stamp, date_in, days_of};
use super::number::Number;

/// How a file writes its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeFormat {
    /// Seconds since 1970-01-01T00:00Z, perhaps with decimals (`epoch-s`).
    EpochSeconds,
    /// Milliseconds since the epoch (`epoch-ms`).
    EpochMillis,
    /// Microseconds since the epoch (`epoch-us`).
    EpochMicros,
    /// Nanoseconds since the epoch (`epoch-ns`).
    EpochNanos,
    /// Seconds, milliseconds, microseconds or nanoseconds since the epoch, by the number of digits (`epoch`).
    EpochAny,
    /// Milliseconds since local midnight of the date in the file's name (`ms-of-day`).
    MillisOfDay,
    /// Year first, as ISO 8601 and its relatives write it (`iso`): `2017-01-02T03:04:05.678+01:00`,
    /// `2017.01.02 03:04`, `20170102 030405`, `2017-01-02`.
    YearFirst,
    /// The same with the day first (`dmy`): `02.01.2017 03:04:05.678`.
    DayFirst,
    /// The same with the month first (`mdy`): `01/02/2017 03:04:05`.
    MonthFirst,
    /// Epoch seconds when it is a plain number, else year first (`epoch-s-or-iso`).
    SecondsOrYearFirst,
    /// A pattern with the conversions of `strftime`.
    Pattern(String),
}

impl FromStr for TimeFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "epoch-s" => Self::EpochSeconds,
            "epoch-ms" => Self::EpochMillis,
            "epoch-us" => Self::EpochMicros,
            "epoch-ns" => Self::EpochNanos,
            "epoch" => Self::EpochAny,
            "ms-of-day" => Self::MillisOfDay,
            "iso" => Self::YearFirst,
            "dmy" => Self::DayFirst,
            "mdy" => Self::MonthFirst,
            "epoch-s-or-iso" => Self::SecondsOrYearFirst,
            pattern if pattern.contains('%') => Self::Pattern(pattern.into()),
            _ => {
                return Err(format!(
                    "{text:?} is not a time format: use epoch-s, epoch-ms, epoch-us, epoch-ns, epoch (any of these), \
                     ms-of-day, iso, dmy, mdy, or a strftime pattern such as %Y%m%d %H%M%S"
                ));
            }
        })
    }
}

/// The time zone of local times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    /// So many seconds ahead of UTC, always.
    Fixed(i32),
    /// A zone with its history of daylight saving.
    Named(TimeZone),
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self::Fixed(0);
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(0) => f.write_str("UTC"),
            Self::Fixed(s) => {
                let sign = if *s < 0 { '-' } else { '+' };
                write!(f, "UTC{sign}{:02}:{:02}", s.abs() / 3600, s.abs() / 60 % 60)
            }
            Self::Named(zone) => f.write_str(zone.iana_name().unwrap_or("a named zone")),
        }
    }
}

impl FromStr for Zone {
    type Err = String;

    /// Reads `UTC`, `+01:00`, `UTC-5`, or a name of the tz database such as `America/New_York`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor { text: text.as_bytes(), at: 0 };
        if let (Some(Some(offset)), true) = (cursor.offset(), cursor.is_done()) {
            return Ok(Self::Fixed(offset));
        }
        // The bundled database, never the machine's: two machines must read the same.
        TimeZoneDatabase::bundled().get(text).map(Self::Named).map_err(|_| {
            format!("{text:?} is not a time zone: use UTC, a fixed offset such as -05:00, or a name such as America/New_York")
        })
    }
}

/// Reads times of one file.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    format: TimeFormat,
    zone: Zone,
    /// Days since the epoch of the date in the file's name.
    date: Option<i64>,
    /// The local hour (since the epoch) for which `offset` holds throughout.
    hour: i64,
    offset_nanos: i64,
    previous: Option<i64>,
    descends: bool,
}

impl Clock {
    /// A clock for the rows of a file, whose name may hold the date.
    pub(super) fn new(format: TimeFormat, zone: Zone, file_name: &str) -> Self {
        let date = date_in(file_name);
        Self { format, zone, date, hour: i64::MIN, offset_nanos: 0, previous: None, descends: false }
    }

    /// Reads times in another format from here on.
    pub(super) fn set_format(&mut self, format: TimeFormat) {
        self.format = format;
    }

    /// Why the format can't be used with this file.
    pub(super) fn complaint(&self) -> Option<&'static str> {
        let needs_date = self.format == TimeFormat::MillisOfDay && self.date.is_none();
        needs_date
            .then_some("times count from midnight, but no date such as 20140501 stands in the file's name")
    }

    /// The time that `text` says; an error in words.
    pub(super) fn read(&self, text: &[u8]) -> Result<Stamp, String> {
        let refuse = |why: &str| format!("time {:?} {why}", String::from_utf8_lossy(text));
        let epoch = |decimals: u8| {
            epoch(text, decimals)
                .map(Stamp::utc)
                .ok_or_else(|| refuse("is not a number since the epoch (1677 to 2262)"))
        };
        let parts = |order: Order| {
            let mut cursor = Cursor { text, at: 0 };
            cursor.stamp(order).filter(|_| cursor.is_done()).ok_or_else(|| refuse(order.refusal()))
        };
        match &self.format {
            TimeFormat::EpochSeconds => epoch(9),
            TimeFormat::EpochMillis => epoch(6),
            TimeFormat::EpochMicros => epoch(3),
            TimeFormat::EpochNanos => epoch(0),
            TimeFormat::EpochAny => epoch(epoch_unit(text)),
            TimeFormat::YearFirst => parts(Order::Ymd),
            TimeFormat::DayFirst => parts(Order::Dmy),
            TimeFormat::MonthFirst => parts(Order::Mdy),
            // Eight digits are a date such as 20170102.
            TimeFormat::SecondsOrYearFirst if text.len() > 8 && text.iter().all(u8::is_ascii_digit) => {
                epoch(epoch_unit(text))
            }
            TimeFormat::SecondsOrYearFirst => parts(Order::Ymd),
            TimeFormat::MillisOfDay => {
                let millis = Number::parse(text).ok().and_then(|n| n.at(6).ok());
                let nanos = millis.filter(|n| (0..NANOS_PER_DAY).contains(n));
                let nanos = nanos.ok_or_else(|| refuse("is not a number of milliseconds within a day"))?;
                Ok(Stamp { days: self.date.unwrap_or_default(), nanos, offset: None })
            }
            TimeFormat::Pattern(pattern) => read_pattern(pattern, text)
                .ok_or_else(|| refuse(&format!("does not fit the pattern {pattern:?}"))),
        }
    }

    /// The instant of a time of this file, rows in their order; an error in words.
    pub(super) fn instant(&mut self, stamp: Stamp) -> Result<i64, String> {
        let local = stamp.days.checked_mul(NANOS_PER_DAY).and_then(|d| d.checked_add(stamp.nanos));
        let local = local.ok_or("time lies outside 1677 to 2262")?;
        let at = |offset_nanos: i64| {
            local.checked_sub(offset_nanos).ok_or("time lies outside 1677 to 2262".to_owned())
        };
        if let Some(offset) = stamp.offset {
            return at(i64::from(offset) * NANOS_PER_SEC);
        }
        if let Zone::Fixed(offset) = self.zone {
            return at(i64::from(offset) * NANOS_PER_SEC);
        }
        let hour = local.div_euclid(NANOS_PER_HOUR);
        if hour == self.hour {
            let instant = at(self.offset_nanos)?;
            return Ok(self.remember(instant));
        }
        let instant = match self.ambiguity(local)? {
            AmbiguousOffset::Unambiguous { offset } => {
                // Offsets change on the hour or half hour: one that holds at both ends holds throughout.
                let ends = [hour * NANOS_PER_HOUR, hour * NANOS_PER_HOUR + NANOS_PER_HOUR - 1];
                let same = |end: &i64| {
                    self.ambiguity(*end).is_ok_and(|o| o == AmbiguousOffset::Unambiguous { offset })
                };
                if ends.iter().all(same) {
                    self.hour = hour;
                    self.offset_nanos = nanos_of(offset);
                }
                at(nanos_of(offset))?
            }
            AmbiguousOffset::Gap { .. } => {
                return Err(format!(
                    "local time does not exist in {}: the clock went forward over it",
                    self.zone
                ));
            }
            AmbiguousOffset::Fold { before, after } => {
                let (first, second) = (at(nanos_of(before))?, at(nanos_of(after))?);
                match self.previous {
                    Some(previous) if self.descends => {
                        if second <= previous {
                            second
                        } else {
                            first
                        }
                    }
                    Some(previous) if first < previous => second,
                    _ => first,
                }
            }
        };
        Ok(self.remember(instant))
    }

    fn remember(&mut self, instant: i64) -> i64 {
        if let Some(previous) = self.previous.filter(|previous| *previous != instant) {
            self.descends = instant < previous;
        }
        self.previous = Some(instant);
        instant
    }

    fn ambiguity(&self, local: i64) -> Result<AmbiguousOffset, String> {
        let Zone::Named(zone) = &self.zone else {
            return Ok(AmbiguousOffset::Unambiguous { offset: Offset::UTC });
        };
        let civil = jiff::Timestamp::from_nanosecond(i128::from(local)).map_err(|error| error.to_string())?;
        Ok(zone.to_ambiguous_timestamp(TimeZone::UTC.to_datetime(civil)).offset())
    }
}

fn nanos_of(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * NANOS_PER_SEC
}

/// Nanoseconds since the epoch of a number in units of `10^-(9 - decimals)` seconds.
fn epoch(text: &[u8], decimals: u8) -> Option<i64> {
    // Past 2001 nanoseconds have more digits than a price may have, hence the model's parser.
    tradeflow_model::fixed::parse(text, decimals).ok()
}

/// Decimals of nanoseconds that the unit of an epoch number has, by its digits: until the year 2286 seconds have at
/// most 10.
fn epoch_unit(text: &[u8]) -> u8 {
    match text.iter().take_while(|byte| **byte != b'.').count() {
        0..=11 => 9,
        12..=14 => 6,
        15..=17 => 3,
        _ => 0,
    }
}

fn read_pattern(pattern: &str, text: &[u8]) -> Option<Stamp> {
    let parsed = jiff::fmt::strtime::parse(pattern, text).ok()?;
    if let Ok(instant) = parsed.to_timestamp() {
        return i64::try_from(instant.as_nanosecond()).ok().map(Stamp::utc);
    }
    let civil: DateTime =
        parsed.to_datetime().or_else(|_| parsed.to_date().map(|d| d.at(0, 0, 0, 0))).ok()?;
    let days = days_of(i64::from(civil.year()), i64::from(civil.month()), i64::from(civil.day()))?;
    let nanos = civil.time().duration_since(jiff::civil::Time::midnight()).as_nanos();
    Some(Stamp { days, nanos: i64::try_from(nanos).ok()?, offset: parsed.offset().map(Offset::seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tradeflow_model::Timestamp;

    use super::super::civil::date_of;

    fn read(format: &str, zone: &str, name: &str, text: &str) -> Result<String, String> {
        let mut clock = Clock::new(format.parse().unwrap(), zone.parse().unwrap(), name);
        let stamp = clock.read(text.as_bytes())?;
        clock.instant(stamp).map(|nanos| Timestamp::from_nanos(nanos).to_string())
    }

    #[test]
    fn the_formats_of_the_field_are_read() {
        for (format, zone, text, wanted) in [
            ("epoch-ms", "UTC", "1483228800000", "2017-01-01T00:00:00Z"),
            ("epoch-s", "UTC", "1483228800.5", "2017-01-01T00:00:00.5Z"),
            ("epoch", "UTC", "1735689600000000", "2025-01-01T00:00:00Z"),
            ("epoch", "UTC", "1483228800", "2017-01-01T00:00:00Z"),
            ("epoch-ns", "UTC", "1483228800000000001", "2017-01-01T00:00:00.000000001Z"),
            ("iso", "UTC", "2012-02-01 00:01:00+00:00", "2012-02-01T00:01:00Z"),
            ("iso", "UTC", "2021-12-31 23:01:00.000000", "2021-12-31T23:01:00Z"),
            ("iso", "-05:00", "20170102 020000", "2017-01-02T07:00:00Z"),
            ("iso", "UTC-5", "2017.01.02 02:00", "2017-01-02T07:00:00Z"),
            ("iso", "America/New_York", "2013-10-07 09:30", "2013-10-07T13:30:00Z"),
            ("dmy", "UTC", "02.01.2017 03:04:05.678 GMT+0100", "2017-01-02T02:04:05.678Z"),
            ("mdy", "UTC", "1/2/2017 9:04", "2017-01-02T09:04:00Z"),
            ("epoch-s-or-iso", "UTC", "2017-01-02T03:04:05+01:00", "2017-01-02T02:04:05Z"),
            ("epoch-s-or-iso", "UTC", "1483228800", "2017-01-01T00:00:00Z"),
            ("%d %b %Y %H:%M", "UTC", "02 Jan 2017 03:04", "2017-01-02T03:04:00Z"),
            ("%Y-%m-%d", "UTC", "2017-01-02", "2017-01-02T00:00:00Z"),
        ] {
            assert_eq!(read(format, zone, "", text).as_deref(), Ok(wanted), "{format} {text}");
        }
        for (format, text) in [
            ("iso", "2017-02-29"),
            ("iso", "2017-01-01 24:00"),
            ("iso", "20170101x"),
            ("epoch-ms", "abc"),
            ("epoch-ms", "1e99"),
            ("iso", "1500-01-01"),
            ("dmy", "2017-01-01"),
            ("%Y", "2017"),
        ] {
            assert!(read(format, "UTC", "", text).is_err(), "{format} {text}");
        }
        assert!("Mars/Olympus".parse::<Zone>().is_err());
        assert!("sometimes".parse::<TimeFormat>().is_err());
    }

    #[test]
    fn a_time_of_day_takes_its_date_from_the_file() {
        let name = "20140501_eurusd_minute_quote.csv";
        assert_eq!(read("ms-of-day", "-05:00", name, "60000").as_deref(), Ok("2014-05-01T05:01:00Z"));
        assert!(read("ms-of-day", "UTC", name, "86400000").is_err());
        assert_eq!(date_in("es_2013-10-06_x"), days_of(2013, 10, 6));
        assert_eq!(date_in("v123456789_20990101.csv"), days_of(2099, 1, 1));
        assert_eq!(date_in("btc_1m.csv"), None);
    }

    #[test]
    fn a_skipped_hour_is_refused_and_a_repeated_one_told_apart() {
        let zone: Zone = "America/New_York".parse().unwrap();
        let instants = |texts: &[&str]| -> Vec<_> {
            let mut clock = Clock::new(TimeFormat::YearFirst, zone.clone(), "");
            texts
                .iter()
                .map(|text| {
                    let stamp = clock.read(text.as_bytes()).unwrap();
                    clock.instant(stamp).map(|nanos| Timestamp::from_nanos(nanos).to_string())
                })
                .collect()
        };
        assert!(instants(&["2017-03-12 02:30"])[0].as_ref().unwrap_err().contains("does not exist"));
        let wanted =
            ["2017-11-05T05:59:00Z", "2017-11-05T06:00:00Z", "2017-11-05T06:30:00Z", "2017-11-05T07:00:00Z"];
        let up = ["2017-11-05 01:59", "2017-11-05 01:00", "2017-11-05 01:30", "2017-11-05 02:00"];
        let read = instants(&up);
        assert!(read.iter().zip(wanted).all(|(read, wanted)| read.as_deref() == Ok(wanted)), "{read:?}");
        let down: Vec<_> = up.iter().rev().copied().collect();
        let read = instants(&down);
        assert!(
            read.iter().rev().zip(wanted).all(|(read, wanted)| read.as_deref() == Ok(wanted)),
            "{read:?}"
        );
    }

    proptest! {
        #[test]
        fn dates_agree_with_jiff(days in -100_000_i64..100_000) {
            let date = date_of(days).unwrap();
            let back = days_of(i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
            prop_assert_eq!(back, Some(days));
        }

        #[test]
        fn local_times_agree_with_jiff(seconds in 1_300_000_000_i64..1_700_000_000) {
            let zone = TimeZoneDatabase::bundled().get("America/New_York").unwrap();
            let zoned = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(zone.clone());
            let text = zoned.datetime().to_string();
            let mut clock = Clock::new(TimeFormat::YearFirst, Zone::Named(zone.clone()), "");
            let stamp = clock.read(text.as_bytes()).unwrap();
            let nanos = clock.instant(stamp).unwrap();
            let expected = zone.to_ambiguous_zoned(zoned.datetime()).earlier().unwrap().timestamp();
            prop_assert_eq!(i128::from(nanos), expected.as_nanosecond());
        }

        #[test]
        fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..40), name in ".{0,30}") {
            for format in ["epoch", "epoch-s", "epoch-ns", "iso", "dmy", "mdy", "ms-of-day", "epoch-s-or-iso", "%Y-%m-%d %H:%M:%S%.f %z"] {
                let mut clock = Clock::new(format.parse().unwrap(), "Europe/London".parse().unwrap(), &name);
                if let Ok(stamp) = clock.read(&text) {
                    let _ = clock.instant(stamp);
                }
            }
        }
    }
}
