//! The stretches of time that bars stand for.

use jiff::ToSpan;
use tradeflow_model::calendar::{Calendar, Session, SessionCursor};
use tradeflow_model::{Interval, IntervalUnit, Timestamp};

use super::Outside;

/// A stretch `open <= t < close` whose events belong together: an interval, or for bars not counted in time the
/// whole session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) open: Timestamp,
    pub(super) close: Timestamp,
}

/// Finds the slots of instants that come in order.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    calendar: Calendar,
    interval: Interval,
    outside: Outside,
    sessions: SessionCursor,
    /// The last slot found; most instants lie in it.
    last: Option<Slot>,
}

impl Slots {
    pub(super) fn new(calendar: Calendar, interval: Interval, outside: Outside) -> Self {
        Self { calendar, interval, outside, sessions: SessionCursor::new(calendar), last: None }
    }

    /// The slot of an instant; `None` outside sessions, unless those are kept.
    pub(super) fn at(&mut self, t: Timestamp) -> Option<Slot> {
        // A week holds stretches without a session, so being in its slot says nothing.
        let is_week = self.interval.unit() == IntervalUnit::Week;
        if let Some(slot) = self.last.filter(|slot| !is_week && slot.open <= t && t < slot.close) {
            return Some(slot);
        }
        let slot = match self.sessions.session_at(t) {
            Some(session) => self.within(session, t),
            None if self.outside == Outside::Keep => self.between_sessions(t)?,
            None => return None,
        };
        self.last = Some(slot);
        Some(slot)
    }

    fn within(&self, session: Session, t: Timestamp) -> Slot {
        match (self.interval.unit(), self.interval.nanos()) {
            (_, Some(nanos)) => {
                let since = t.as_nanos() - session.open.as_nanos();
                let open = session.open.saturating_add(since / nanos * nanos);
                Slot { open, close: open.saturating_add(nanos).min(session.close) }
            }
            (IntervalUnit::Week, None) => self.week_of(session),
            _ => Slot { open: session.open, close: session.close },
        }
    }

    fn week_of(&self, session: Session) -> Slot {
        let back = i64::from(session.date.weekday().to_monday_zero_offset());
        let monday = session.date.checked_sub(back.days()).unwrap_or(session.date);
        let sunday = monday.checked_add(6.days()).unwrap_or(session.date);
        let mut sessions = self.calendar.sessions_on(monday, sunday);
        let first = sessions.next().unwrap_or(session);
        Slot { open: first.open, close: sessions.last().unwrap_or(first).close }
    }

    fn between_sessions(&self, t: Timestamp) -> Option<Slot> {
        let before = self.calendar.previous_session(t).map_or(Timestamp::MIN, |session| session.close);
        let after = self.calendar.next_session(t).map_or(Timestamp::MAX, |session| session.open);
        match (self.interval.unit(), self.interval.nanos()) {
            (_, Some(nanos)) => {
                let open = Timestamp::from_nanos(t.as_nanos().div_euclid(nanos).saturating_mul(nanos));
                let close = open.saturating_add(nanos);
                Some(Slot { open: open.max(before), close: close.min(after) })
            }
            (IntervalUnit::Day | IntervalUnit::Week, None) => None,
            _ => Some(Slot { open: before, close: after }),
        }
    }
}
