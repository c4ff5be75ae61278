//! The bars one expects of a calendar: what a gap checker compares a series with.

use jiff::ToSpan;
use jiff::civil::Date;

use super::{Calendar, Session};
use crate::time::{Interval, IntervalUnit, Timestamp};

/// The time of one expected bar: `open <= t < close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BarSlot {
    /// First instant of the bar.
    pub open: Timestamp,
    /// First instant after it. The last bar of a session ends with the session, however short that makes it.
    pub close: Timestamp,
}

/// The expected bars of a stretch of time, ascending. See [`Calendar::expected_bars`].
#[derive(Debug, Clone)]
pub struct ExpectedBars {
    calendar: Calendar,
    from: Timestamp,
    to: Timestamp,
    /// The next trade date, or Monday of the next week, to look at.
    date: Option<Date>,
    step: Step,
}

#[derive(Debug, Clone)]
enum Step {
    /// Bars of `nanos` within sessions; `at` is the open of the next one in `session`.
    Intraday { nanos: i64, session: Option<Session>, at: Timestamp },
    /// One bar a session.
    Session,
    /// One bar a week, from the open of its first session to the close of its last.
    Week,
}

impl Calendar {
    /// The bars of `interval` that open in `from..to`.
    ///
    /// Intraday bars are counted from the open of their session and the last is cut off at its close; a bar that lies
    /// wholly in a [pause](super::Pause) is not expected. A day's bar spans the session; a week's bar spans its
    /// sessions with trade dates Monday to Sunday. `None` for an interval that is not counted in time.
    pub fn expected_bars(self, interval: Interval, from: Timestamp, to: Timestamp) -> Option<ExpectedBars> {
        let date = self.local_date(from);
        let (date, step) = match (interval.unit(), interval.nanos()) {
            (_, Some(nanos)) => (Some(date), Step::Intraday { nanos, session: None, at: from }),
            (IntervalUnit::Day, None) => (Some(date), Step::Session),
            // The evening of a Sunday may belong to the next week: begin a week early and skip.
            (IntervalUnit::Week, None) => (Some(monday_of(date)), Step::Week),
            _ => return None,
        };
        Some(ExpectedBars { calendar: self, from, to, date, step })
    }
}

fn monday_of(date: Date) -> Date {
    let days = i64::from(date.weekday().to_monday_zero_offset());
    date.checked_sub(days.days()).unwrap_or(date)
}

impl ExpectedBars {
    /// The next date at which to look for sessions; `None` past the end.
    fn take_date(&mut self, days: i64) -> Option<Date> {
        let date = self.date?;
        // A session opens at most a day before its trade date.
        if self.from >= self.to || date > self.calendar.local_date(self.to).tomorrow().ok()? {
            self.date = None;
            return None;
        }
        self.date = date.checked_add(days.days()).ok();
        Some(date)
    }

    /// The next session that ends after `from`.
    fn next_session(&mut self) -> Option<Session> {
        loop {
            let date = self.take_date(1)?;
            let session = self.calendar.session_on(date);
            if let Some(session) = session.filter(|session| session.close > self.from) {
                return Some(session);
            }
        }
    }

    /// The span of the sessions of the next week that has any.
    fn next_week(&mut self) -> Option<BarSlot> {
        loop {
            let monday = self.take_date(7)?;
            let sunday = monday.checked_add(6.days()).ok()?;
            let mut sessions = self.calendar.sessions_on(monday, sunday);
            let Some(first) = sessions.next() else { continue };
            let last = sessions.last().unwrap_or(first);
            return Some(BarSlot { open: first.open, close: last.close });
        }
    }

    /// The next bar of `nanos`, whether or not it opens before `from`; `session` and `at` as in [`Step::Intraday`].
    fn next_intraday(&mut self, nanos: i64, session: Option<Session>, at: Timestamp) -> Option<BarSlot> {
        let (session, open) = match session.filter(|session| at < session.close) {
            Some(session) => (session, at),
            None => {
                let session = self.next_session()?;
                // The whole bars of this session before `from` need not be walked through.
                let before = self.from.as_nanos().saturating_sub(session.open.as_nanos()).max(0) / nanos;
                (session, session.open.saturating_add(before * nanos))
            }
        };
        let close = open.saturating_add(nanos).min(session.close);
        // Where a bar lies wholly in the pause, so do all up to the last that ends by the end of the pause.
        let paused = session.pause.filter(|pause| pause.start <= open && close <= pause.end);
        let Some(pause) = paused else {
            self.step = Step::Intraday { nanos, session: Some(session), at: close };
            return Some(BarSlot { open, close });
        };
        let skipped = (pause.end.as_nanos() - open.as_nanos()) / nanos;
        let at = open.saturating_add(skipped * nanos);
        self.next_intraday(nanos, Some(session), at)
    }
}

impl Iterator for ExpectedBars {
    type Item = BarSlot;

    fn next(&mut self) -> Option<BarSlot> {
        loop {
            let slot = match self.step {
                Step::Intraday { nanos, session, at } => self.next_intraday(nanos, session, at)?,
                Step::Session => {
                    let session = self.next_session()?;
                    BarSlot { open: session.open, close: session.close }
                }
                Step::Week => self.next_week()?,
            };
            if slot.open >= self.to {
                self.date = None;
                self.step = Step::Session;
                return None;
            }
            if slot.open >= self.from {
                return Some(slot);
            }
        }
    }
}
