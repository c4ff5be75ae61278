//! Dates and times as text, in the orders and with the separators that files have.

use tradeflow_model::time::{NANOS_PER_DAY, NANOS_PER_SEC};

/// A time as the file writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Days since 1970-01-01 of the date.
    pub(super) days: i64,
    /// Nanoseconds since midnight.
    pub(super) nanos: i64,
    /// Seconds ahead of UTC where the text says so.
    pub(super) offset: Option<i32>,
}

impl Stamp {
    /// An instant.
    pub(super) fn utc(nanos: i64) -> Self {
        Self {
            days: nanos.div_euclid(NANOS_PER_DAY),
            nanos: nanos.rem_euclid(NANOS_PER_DAY),
            offset: Some(0),
        }
    }
}

/// The first run of exactly eight digits that is a date, or a date such as `2014-05-01`; days since the epoch.
pub(super) fn date_in(name: &str) -> Option<i64> {
    let bytes = name.as_bytes();
    (0..bytes.len()).find_map(|start| {
        let starts = start == 0 || !bytes[start - 1].is_ascii_digit();
        if !starts || !bytes[start].is_ascii_digit() {
            return None;
        }
        [10, 8].into_iter().find_map(|len| {
            let text = bytes.get(start..start + len)?;
            if bytes.get(start + len).is_some_and(u8::is_ascii_digit) {
                return None;
            }
            let mut cursor = Cursor { text, at: 0 };
            cursor.date(Order::Ymd).filter(|_| cursor.is_done())
        })
    })
}

/// Days since 1970-01-01; `None` when there is no such date.
pub(super) fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) || !(1678..=2261).contains(&year) {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468)
}

/// The date of a number of days since 1970-01-01.
pub(super) fn date_of(days: i64) -> Option<jiff::civil::Date> {
    let days = i32::try_from(days).ok()?;
    jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

/// Which of year, month and day comes first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Ymd,
    Dmy,
    Mdy,
}

impl Order {
    pub(super) fn refusal(self) -> &'static str {
        match self {
            Self::Ymd => "is not a time such as 2017-01-02 03:04:05 or 20170102 030405",
            Self::Dmy => "is not a time such as 02.01.2017 03:04:05 (day first)",
            Self::Mdy => "is not a time such as 01/02/2017 03:04:05 (month first)",
        }
    }
}

/// Reads text from the front.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
}

impl Cursor<'_> {
    pub(super) fn is_done(&self) -> bool {
        self.at == self.text.len()
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: &[u8]) -> Option<u8> {
        let byte = self.peek().filter(|byte| wanted.contains(byte))?;
        self.at += 1;
        Some(byte)
    }

    /// Exactly `count` digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits = self.text.get(self.at..self.at + count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.at += count;
        Some(digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    fn one_or_two_digits(&mut self) -> Option<i64> {
        self.digits(2).or_else(|| self.digits(1))
    }

    fn date(&mut self, order: Order) -> Option<i64> {
        const SEPARATORS: &[u8] = b"-./";
        let (year, month, day) = match order {
            Order::Ymd => {
                let year = self.digits(4)?;
                match self.take(SEPARATORS) {
                    None => (year, self.digits(2)?, self.digits(2)?),
                    Some(separator) => {
                        let month = self.one_or_two_digits()?;
                        self.take(&[separator])?;
                        (year, month, self.one_or_two_digits()?)
                    }
                }
            }
            Order::Dmy | Order::Mdy => {
                let first = self.one_or_two_digits()?;
                let separator = self.take(SEPARATORS)?;
                let second = self.one_or_two_digits()?;
                self.take(&[separator])?;
                let year = self.digits(4)?;
                let day_first = matches!(order, Order::Dmy);
                if day_first { (year, second, first) } else { (year, first, second) }
            }
        };
        days_of(year, month, day)
    }

    /// Hours and minutes, perhaps seconds and decimals of a second, with or without colons; nanoseconds.
    fn time(&mut self) -> Option<i64> {
        let hour = self.digits(2).or_else(|| self.digits(1))?;
        let colon = self.take(b":").is_some();
        let minute = self.digits(2)?;
        let more =
            if colon { self.take(b":").is_some() } else { self.peek().is_some_and(|b| b.is_ascii_digit()) };
        let second = if more { self.digits(2)? } else { 0 };
        let mut fraction = 0;
        if more && self.take(b".,").is_some() {
            let mut unit = NANOS_PER_SEC;
            while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
                self.at += 1;
                unit /= 10;
                fraction += i64::from(digit - b'0') * unit;
            }
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some(((hour * 60 + minute) * 60 + second) * NANOS_PER_SEC + fraction)
    }

    /// A zone at the end of a time: nothing, `Z`, `UTC`, `GMT`, `+01:00`, `-0500`, `GMT+0100`. The inner `None` is
    /// nothing; the outer, nonsense. Seconds.
    pub(super) fn offset(&mut self) -> Option<Option<i32>> {
        if self.is_done() {
            return Some(None);
        }
        let rest = &self.text[self.at..];
        let named = rest.starts_with(b"UTC") || rest.starts_with(b"GMT");
        if named {
            self.at += 3;
        } else if self.take(b"Zz").is_some() {
            return Some(Some(0));
        }
        if self.is_done() && named {
            return Some(Some(0));
        }
        let sign = if self.take(b"+-")? == b'-' { -1 } else { 1 };
        let hours = self.one_or_two_digits()?;
        self.take(b":");
        let minutes = if self.is_done() { 0 } else { self.digits(2)? };
        if hours > 18 || minutes > 59 {
            return None;
        }
        i32::try_from(sign * (hours * 3600 + minutes * 60)).ok().map(Some)
    }

    pub(super) fn stamp(&mut self, order: Order) -> Option<Stamp> {
        let days = self.date(order)?;
        if self.is_done() {
            return Some(Stamp { days, nanos: 0, offset: None });
        }
        self.take(b"T t,_")?;
        let nanos = self.time()?;
        while self.take(b" ").is_some() {}
        let offset = self.offset()?;
        Some(Stamp { days, nanos, offset })
    }
}
