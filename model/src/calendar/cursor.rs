//! A cursor that remembers the last session found, for many timestamps in nearly ascending order.

use super::{Calendar, Session};
use crate::time::Timestamp;

/// Finds the sessions of many timestamps. Gives the same answers as [`Calendar::session_at`] in any order of
/// timestamps; a few nanoseconds each as long as they stay in one session, or in one gap between two.
#[derive(Debug, Clone)]
pub struct SessionCursor {
    calendar: Calendar,
    /// The stretch `from <= t < to` for which `session` is the answer.
    from: Timestamp,
    to: Timestamp,
    session: Option<Session>,
}

impl SessionCursor {
    /// A cursor over the sessions of `calendar`.
    pub fn new(calendar: Calendar) -> Self {
        Self { calendar, from: Timestamp::MAX, to: Timestamp::MIN, session: None }
    }

    /// The session that `t` belongs to.
    pub fn session_at(&mut self, t: Timestamp) -> Option<Session> {
        if !(self.from <= t && t < self.to) {
            self.seek(t);
        }
        self.session
    }

    /// Whether the market trades at `t`: in a session, and not in its pause.
    pub fn is_open(&mut self, t: Timestamp) -> bool {
        self.session_at(t).is_some_and(|session| session.is_open(t))
    }

    #[cold]
    fn seek(&mut self, t: Timestamp) {
        self.session = self.calendar.session_at(t);
        (self.from, self.to) = match self.session {
            Some(session) => (session.open, session.close),
            None => (
                self.calendar.previous_session(t).map_or(Timestamp::MIN, |session| session.close),
                self.calendar.next_session(t).map_or(Timestamp::MAX, |session| session.open),
            ),
        };
    }
}
