//! The time of a bar.

use jiff::tz::TimeZone;
use tradeflow_model::calendar::{Calendar, Session};
use tradeflow_model::time::NANOS_PER_DAY;
use tradeflow_model::{Interval, IntervalUnit, Timestamp};

/// Where a bar stands in the catalog, and when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its `ts_open` in the catalog.
    pub(super) key: Timestamp,
    /// Its end.
    pub(super) end: Timestamp,
}

/// The slot of a bar that a vendor stamps with `ts`, by the rules of the import: a day is named by a midnight of UTC,
/// otherwise by the session in which the time lies, or by the local date.
pub(super) fn slot_of(calendar: Calendar, interval: Interval, ts: Timestamp) -> Slot {
    if let Some(nanos) = interval.nanos() {
        return Slot { key: ts, end: ts.saturating_add(nanos) };
    }
    let session = session_of(calendar, ts);
    match session {
        Some(session) => Slot { key: session.open, end: session.close },
        None => Slot { key: ts, end: ts.saturating_add(NANOS_PER_DAY) },
    }
}

/// The session that a daily stamp means.
pub(super) fn session_of(calendar: Calendar, ts: Timestamp) -> Option<Session> {
    if ts.as_nanos() % NANOS_PER_DAY == 0 {
        return calendar.session_on(ts.to_jiff().to_zoned(TimeZone::UTC).date());
    }
    calendar.session_at(ts).or_else(|| calendar.session_on(calendar.local_date(ts)))
}

/// Whether bars of this interval are fetched at all: of fixed length, or a day.
pub(super) fn is_fetched(interval: Interval) -> bool {
    interval.nanos().is_some() || interval.unit() == IntervalUnit::Day
}

/// The open of the session of a date, at which a split or dividend of that date takes effect; where there is no such
/// session the next one's.
pub(crate) fn ex_time(calendar: Calendar, date: jiff::civil::Date) -> Option<Timestamp> {
    let last = date.checked_add(jiff::Span::new().days(14)).ok()?;
    calendar.sessions_on(date, last).next().map(|session| session.open)
}
