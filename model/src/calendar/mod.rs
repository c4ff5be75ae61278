//! Trading calendars: when a market is open, as sessions.
//!
//! | name | calendar | a session | facts |
//! |---|---|---|---|
//! | `24x7` | crypto | a UTC day, 00:00 to 24:00 | none needed |
//! | `fx` | FX week | 17:00 to 17:00 New York, named by the date it ends on; Monday to Friday | rule below |
//! | `xnys` | New York Stock Exchange | 9:30 to 16:00 New York | `facts/xnys.csv` |
//! | `cme` | CME Globex equity-index futures | 17:00 of the evening before to 16:00 Chicago | `facts/cme.csv` |
//!
//! Daylight saving is that of the tz database bundled with the program; nothing is read from the machine.
//!
//! # Where the facts come from
//!
//! `scripts/calendars.py` writes the fact files from the maintained package pandas_market_calendars;
//! `scripts/check_calendars.py` compares every session with it and with exchange_calendars. They hold holidays, early
//! closes, late opens and one-off closures; the weekly hours, where they changed over the years, too.
//!
//! - **NYSE**: the package's `NYSE`, which, unlike exchange_calendars' `XNYS`, also records late opens and emergency
//!   closes (2002-09-11 opened at 12:00). One date is taken from the latter (1999-12-31, closed at 13:00).
//! - **Globex**: no one source is right. exchange_calendars' `CMES` is one calendar for all products, to 17:00, with
//!   half days at 12:00. Of pandas_market_calendars, `CME Globex Equity` has the right early closes (12:15 before
//!   holidays, 10:30 on holidays until 2014) but today's hours in all years; `CME_Equity` has the changes of hours
//!   but 12:00 for every early close, and full closures where Globex traded until 8:30. So: closes from the first,
//!   changes of hours as in the second, and a short list of corrections from the exchange's notices in
//!   `scripts/calendars.py`. The 15:15 to 15:30 halt until 2021-06-25, and the maintenance from 16:30 to 17:00 while
//!   the trade date began at 15:30 (2005 to 2012), are the session's [`Pause`].
//! - **FX** is traded over the counter: no exchange sets its hours. Here it pauses for the sessions named 25 December
//!   and 1 January, as the recorded feed of 2017-18 in the test data does, and as the rules of the Cboe FX SEF say.
//!   Single banks and brokers differ on Christmas Eve and other holidays.
//!
//! # Outside the facts
//!
//! [`Calendar::facts_start`] and [`Calendar::facts_end`] bound the dates that are vouched for. Outside them sessions
//! are still computed, from the nearest weekly rule and whatever exceptions are on file, so that holidays to come are
//! missing: [`Calendar::covers`] is false there, and who reports gaps must say so. (The dates of NYSE sessions, not
//! their hours, are good back to 1962; Globex holidays back to 1990.)
//!
//! # Limitations
//!
//! Regular hours only: no pre-market, auction or after-hours session. Trading halts within a session and moments of
//! silence are not recorded.

mod bars;
mod cursor;
mod facts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

pub use bars::{BarSlot, ExpectedBars};
pub use cursor::SessionCursor;

use crate::error::{ValueError, ValueReason};
use crate::time::Timestamp;
use facts::{CME, Facts, Hours, NYSE};

/// When an instrument trades. Written `24x7`, `fx`, `xnys`, `cme`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Calendar {
    /// Always open; sessions are UTC days.
    #[serde(rename = "24x7")]
    AlwaysOpen,
    /// The FX week, Sunday 17:00 to Friday 17:00 New York.
    #[serde(rename = "fx")]
    FxWeek,
    /// New York Stock Exchange, regular hours.
    #[serde(rename = "xnys")]
    Nyse,
    /// CME Globex, equity-index futures.
    #[serde(rename = "cme")]
    CmeGlobex,
}

/// A stretch within a session in which the market does not trade: `start <= t < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pause {
    /// First instant of the pause.
    pub start: Timestamp,
    /// First instant after it.
    pub end: Timestamp,
}

/// One trading session: `open <= t < close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session {
    /// The trade date that names it.
    pub date: Date,
    /// First instant of the session.
    pub open: Timestamp,
    /// First instant after it.
    pub close: Timestamp,
    /// A pause inside it, if there is one; it begins after `open` and ends before `close`.
    pub pause: Option<Pause>,
}

impl Session {
    /// Whether `t` belongs to this session, pause included.
    pub fn contains(&self, t: Timestamp) -> bool {
        self.open <= t && t < self.close
    }

    /// Whether the market trades at `t`: within the session and not in its pause.
    pub fn is_open(&self, t: Timestamp) -> bool {
        self.contains(t) && !self.pause.is_some_and(|pause| pause.start <= t && t < pause.end)
    }
}

static UTC: TimeZone = TimeZone::UTC;
static NEW_YORK: LazyLock<TimeZone> = LazyLock::new(|| bundled_zone("America/New_York"));
static CHICAGO: LazyLock<TimeZone> = LazyLock::new(|| bundled_zone("America/Chicago"));

/// A zone of the tz database compiled into the program. Never the machine's: two machines must agree (I3).
fn bundled_zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).expect("the bundled tz database has this zone")
}

/// The instant as ours; `None` outside 1677 to 2262.
fn to_timestamp(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    let instant = zone.to_timestamp(local).ok()?;
    i64::try_from(instant.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

impl Calendar {
    /// All calendars.
    pub const ALL: [Self; 4] = [Self::AlwaysOpen, Self::FxWeek, Self::Nyse, Self::CmeGlobex];

    /// The name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlwaysOpen => "24x7",
            Self::FxWeek => "fx",
            Self::Nyse => "xnys",
            Self::CmeGlobex => "cme",
        }
    }

    /// The time zone in which the market's hours are stated.
    pub fn time_zone(self) -> TimeZone {
        self.zone().clone()
    }

    fn zone(self) -> &'static TimeZone {
        match self {
            Self::AlwaysOpen => &UTC,
            Self::FxWeek | Self::Nyse => &NEW_YORK,
            Self::CmeGlobex => &CHICAGO,
        }
    }

    fn facts(self) -> Option<&'static Facts> {
        match self {
            Self::AlwaysOpen | Self::FxWeek => None,
            Self::Nyse => Some(&NYSE),
            Self::CmeGlobex => Some(&CME),
        }
    }

    /// First trade date whose hours are vouched for; `None` for a calendar that is a rule and needs no facts.
    pub fn facts_start(self) -> Option<Date> {
        self.facts().map(|facts| facts.first)
    }

    /// Last trade date whose hours are vouched for; `None` for a calendar that is a rule and needs no facts.
    pub fn facts_end(self) -> Option<Date> {
        self.facts().map(|facts| facts.last)
    }

    /// Whether sessions at `t` are vouched for: its local date lies within the facts. Where this is false they follow
    /// the weekly rule, and holidays may be missing (see the module's page).
    pub fn covers(self, t: Timestamp) -> bool {
        self.facts().is_none_or(|facts| (facts.first..=facts.last).contains(&self.local_date(t)))
    }

    /// The date at `t` in the market's time zone.
    pub fn local_date(self, t: Timestamp) -> Date {
        self.zone().to_datetime(t.to_jiff()).date()
    }

    /// The session of a trade date; `None` when there is none that day, or it lies outside 1677 to 2262.
    pub fn session_on(self, date: Date) -> Option<Session> {
        let hours = match self {
            Self::AlwaysOpen => return utc_day(date),
            Self::FxWeek => facts::fx_hours_on(date)?,
            Self::Nyse => NYSE.hours_on(date)?,
            Self::CmeGlobex => CME.hours_on(date)?,
        };
        self.session(date, hours)
    }

    fn session(self, date: Date, hours: Hours) -> Option<Session> {
        let eve = date.yesterday().ok()?;
        let instant = |time: Time| {
            let day = if hours.is_on_eve(time) { eve } else { date };
            to_timestamp(self.zone(), day.to_datetime(time))
        };
        let pause = match hours.pause {
            Some((start, end)) => Some(Pause { start: instant(start)?, end: instant(end)? }),
            None => None,
        };
        // The close is on the trade date even where it equals the opening time of day.
        let close = to_timestamp(self.zone(), date.to_datetime(hours.close))?;
        Some(Session { date, open: instant(hours.open)?, close, pause })
    }

    /// The session that `t` belongs to (`open <= t < close`).
    ///
    /// Takes a few hundred nanoseconds. For many timestamps use a [`SessionCursor`], or walk [`Calendar::sessions`].
    pub fn session_at(self, t: Timestamp) -> Option<Session> {
        // A session ends on its trade date and begins on it or on the evening before.
        let date = self.local_date(t);
        [Some(date), date.tomorrow().ok()]
            .into_iter()
            .flatten()
            .filter_map(|date| self.session_on(date))
            .find(|session| session.contains(t))
    }

    /// Whether the market trades at `t`: in a session, and not in its pause.
    pub fn is_open(self, t: Timestamp) -> bool {
        self.session_at(t).is_some_and(|session| session.is_open(t))
    }

    /// The first session with `open >= t`, so that `next_session(s.close)` follows session `s` and `next_session(s.open)`
    /// is `s`. `None` only where it would lie past 2262.
    pub fn next_session(self, t: Timestamp) -> Option<Session> {
        let end = self.local_date(Timestamp::MAX).tomorrow().ok()?;
        self.sessions_on(self.local_date(t), end).find(|session| session.open >= t)
    }

    /// The last session with `close <= t`, so that `previous_session(s.open)` precedes session `s`. `None` only where
    /// it would lie before 1677.
    pub fn previous_session(self, t: Timestamp) -> Option<Session> {
        let start = self.local_date(Timestamp::MIN);
        let mut date = self.local_date(t);
        while date >= start {
            if let Some(session) = self.session_on(date).filter(|session| session.close <= t) {
                return Some(session);
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    /// The sessions that overlap `from..to`, in order: those with `open < to` and `close > from`.
    pub fn sessions(self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Session> + Clone + use<> {
        let last = self.local_date(to);
        let last = last.tomorrow().unwrap_or(last);
        self.sessions_on(self.local_date(from), last)
            .skip_while(move |session| session.close <= from)
            .take_while(move |session| session.open < to && from < to)
    }

    /// The sessions of the trade dates `first..=last`.
    pub fn sessions_on(self, first: Date, last: Date) -> impl Iterator<Item = Session> + Clone + use<> {
        std::iter::successors(Some(first), |date| date.tomorrow().ok())
            .take_while(move |date| *date <= last)
            .filter_map(move |date| self.session_on(date))
    }
}

fn utc_day(date: Date) -> Option<Session> {
    let open = to_timestamp(&UTC, date.to_datetime(Time::midnight()))?;
    let close = open.checked_add(crate::time::NANOS_PER_DAY)?;
    Some(Session { date, open, close, pause: None })
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Calendar {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::ALL.into_iter().find(|calendar| calendar.name() == text).ok_or_else(|| {
            let why = "is not a trading calendar; choose 24x7, fx, xnys or cme";
            ValueError::new("calendar", "name", text, ValueReason::Other(why.into()))
        })
    }
}
