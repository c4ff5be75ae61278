//! What misbehaviour makes of a stream of messages.

use std::collections::VecDeque;

use tokio_tungstenite::tungstenite::Utf8Bytes;
use tradeflow_model::Timestamp;

use super::Misbehaviour;

/// Messages that wait to be late, at most; one more goes out at once.
const LATE_MAX: usize = 10_000;

/// The connection is to be dropped, without a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped;

/// The messages of one connection on their way out.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Messages so far.
    count: u64,
    /// One that lets the next go first.
    held: Option<Utf8Bytes>,
    /// Those that are late, with the time at which they go.
    late: VecDeque<(Timestamp, Utf8Bytes)>,
}

impl Outgoing {
    /// Whether nothing goes out any more.
    pub fn is_silent(&self, rules: &Misbehaviour) -> bool {
        rules.silence_after.is_some_and(|after| self.count >= after)
    }

    /// Whether a message is held back, for the next one or for its time.
    pub fn holds_back(&self) -> bool {
        self.held.is_some() || !self.late.is_empty()
    }

    /// Takes the next message, of market time `ts_event`, and hands out what is to be sent now.
    ///
    /// # Errors
    /// [`Dropped`] when the connection ends instead; the message is lost with it.
    pub fn push(
        &mut self,
        rules: &Misbehaviour,
        ts_event: Timestamp,
        message: Utf8Bytes,
        mut send: impl FnMut(Utf8Bytes),
    ) -> Result<(), Dropped> {
        if self.is_silent(rules) {
            return Ok(());
        }
        self.count += 1;
        let turn =
            |every: Option<u64>| every.is_some_and(|every| every > 0 && self.count.is_multiple_of(every));
        if turn(rules.drop_every) {
            return Err(Dropped);
        }
        if turn(rules.garbage_every) {
            send(garbage(self.count, &message));
        }
        if turn(rules.late_every) && self.late.len() < LATE_MAX {
            let delay = i64::try_from(rules.late_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            self.late.push_back((ts_event.saturating_add(delay), message));
            return Ok(());
        }
        let is_twice = turn(rules.duplicate_every);
        if turn(rules.reorder_every) && self.held.is_none() {
            self.held = Some(message);
            return Ok(());
        }
        if is_twice {
            send(message.clone());
        }
        send(message);
        if let Some(held) = self.held.take() {
            send(held);
        }
        Ok(())
    }

    /// Hands out the late ones whose time has come.
    pub fn release(&mut self, rules: &Misbehaviour, now: Timestamp, mut send: impl FnMut(Utf8Bytes)) {
        if self.is_silent(rules) {
            return;
        }
        while self.late.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, message)) = self.late.pop_front() else { return };
            send(message);
        }
    }
}

/// By turns what is no JSON, JSON that was cut off, and JSON that means nothing.
fn garbage(count: u64, message: &Utf8Bytes) -> Utf8Bytes {
    match count % 3 {
        0 => "<html>502 Bad Gateway</html>".into(),
        1 => message.chars().take(message.len() / 2).collect::<String>().into(),
        _ => "{\"stream\":7,\"data\":[],\"type\":null}".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rules: Misbehaviour, count: i64) -> (Vec<String>, bool) {
        let mut outgoing = Outgoing::default();
        let mut sent = Vec::new();
        for n in 1..=count {
            let time = Timestamp::from_nanos(n * 1_000_000);
            outgoing.release(&rules, time, |text| sent.push(text.to_string()));
            if outgoing.push(&rules, time, n.to_string().into(), |text| sent.push(text.to_string())).is_err()
            {
                return (sent, true);
            }
        }
        (sent, false)
    }

    #[test]
    fn what_is_held_back_goes_out_after_the_switch_is_off() {
        let mut outgoing = Outgoing::default();
        let mut sent = Vec::new();
        let time = |n: u64| Timestamp::from_nanos(n as i64 * 1_000_000);
        let late = Misbehaviour { late_every: Some(1), late_ms: 2, ..Default::default() };
        let reorder = Misbehaviour { reorder_every: Some(1), ..Default::default() };
        let off = Misbehaviour::default();
        for (n, rules) in [(1, late), (2, reorder), (3, off), (4, off)] {
            outgoing.release(&rules, time(n), |text| sent.push(text.to_string()));
            outgoing.push(&rules, time(n), n.to_string().into(), |text| sent.push(text.to_string())).unwrap();
            assert_eq!(outgoing.holds_back(), n < 3, "after {n}");
        }
        assert_eq!(sent, ["1", "3", "2", "4"]);
    }

    #[test]
    fn each_switch_does_what_it_says() {
        let all = |text: &str| (text.split(' ').map(String::from).collect::<Vec<_>>(), false);
        assert_eq!(run(Misbehaviour::default(), 4), all("1 2 3 4"));
        let rules = Misbehaviour { duplicate_every: Some(3), ..Default::default() };
        assert_eq!(run(rules, 4), all("1 2 3 3 4"));
        let rules = Misbehaviour { reorder_every: Some(2), ..Default::default() };
        assert_eq!(run(rules, 5), all("1 3 2 5 4"));
        let rules = Misbehaviour { late_every: Some(2), late_ms: 2, ..Default::default() };
        assert_eq!(run(rules, 6), all("1 3 2 5 4"));
        let rules = Misbehaviour { silence_after: Some(2), ..Default::default() };
        assert_eq!(run(rules, 4), all("1 2"));
        let rules = Misbehaviour { drop_every: Some(3), ..Default::default() };
        assert_eq!(run(rules, 4), (vec!["1".into(), "2".into()], true));
        let rules = Misbehaviour { garbage_every: Some(3), ..Default::default() };
        assert_eq!(run(rules, 3).0.len(), 4);
    }
}
