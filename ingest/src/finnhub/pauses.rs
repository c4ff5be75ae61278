//! When to connect again, and what an end of a connection means.

use std::time::Duration;

use crate::backoff::Backoff;

/// Times of the client. The defaults are for the vendor; tests take shorter ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The first pause before connecting again.
    pub first: Duration,
    /// The longest pause after a usual failure.
    pub max: Duration,
    /// The first pause after "too many" (429, or a limit reached) and when the key seems to be in use elsewhere.
    pub long: Duration,
    /// The longest of those.
    pub long_max: Duration,
    /// The pause after the key was refused: only a person can change that.
    pub refused: Duration,
    /// How long a connection must have lasted to count as stable.
    pub stable: Duration,
    /// How long nothing may come, pings included (one a minute), before the connection counts as dead. Twice that
    /// while the markets of all watched instruments are closed.
    pub silence: Duration,
    /// How long connecting, or sending, may take.
    pub connect: Duration,
    /// How long to wait for further complaints about subscriptions before they are acted on.
    pub settle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            long: Duration::from_secs(60),
            long_max: Duration::from_secs(600),
            refused: Duration::from_secs(300),
            stable: Duration::from_secs(60),
            silence: Duration::from_secs(150),
            connect: Duration::from_secs(10),
            settle: Duration::from_millis(500),
        }
    }
}

/// How a connection, or the attempt at one, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// We were told to stop.
    Stopped,
    /// HTTP 401: the key is not taken.
    Refused,
    /// HTTP 429 on the handshake, or a limit reached afterwards.
    TooMany,
    /// No connection, for this reason.
    Failed(String),
    /// The connection ended, for this reason.
    Dropped(String),
    /// Nothing came for too long.
    Silent,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// How long to wait.
    pub delay: Duration,
    /// Whether it looks as if the key were in use elsewhere.
    pub key_in_use: bool,
}

/// So many connections in a row that were taken and then dropped before they were stable look like a key that is used
/// elsewhere: each of the two clients has the other dropped.
const SHORT_MAX: u32 = 3;

/// The pauses of a client.
#[derive(Debug)]
pub struct Pauses {
    timing: Timing,
    usual: Backoff,
    long: Backoff,
    short: u32,
}

impl Pauses {
    /// With jitter from a seed.
    pub fn new(timing: Timing, seed: u64) -> Self {
        let usual = Backoff::new(timing.first, timing.max, seed);
        let long = Backoff::new(timing.long, timing.long_max, seed);
        Self { timing, usual, long, short: 0 }
    }

    /// The pause after a connection ended that lasted for `lived` (zero when there was none).
    pub fn after(&mut self, ended: &Ended, lived: Duration) -> Pause {
        let is_stable = lived >= self.timing.stable;
        if is_stable {
            self.usual.reset();
            self.long.reset();
        }
        self.short = match ended {
            Ended::Dropped(_) if !is_stable => self.short.saturating_add(1),
            _ => 0,
        };
        let key_in_use = self.short >= SHORT_MAX;
        let least = match ended {
            Ended::Refused => self.timing.refused,
            Ended::TooMany => self.long.pause(),
            _ if key_in_use => self.long.pause(),
            _ => Duration::ZERO,
        };
        Pause { delay: self.usual.pause().max(least), key_in_use }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn dropped() -> Ended {
        Ended::Dropped("reset".into())
    }

    #[test]
    fn pauses_double_and_start_anew_only_after_a_stable_connection() {
        let mut pauses = Pauses::new(Timing::default(), 1);
        let failed = Ended::Failed("refused".into());
        let mut seconds: Vec<f64> = Vec::new();
        for _ in 0..8 {
            seconds.push(pauses.after(&failed, Duration::ZERO).delay.as_secs_f64());
        }
        for (pause, whole) in seconds.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]) {
            assert!((whole / 2.0..=whole).contains(pause), "{seconds:?}");
        }
        // A connection that was taken, but ended before it was stable, changes nothing …
        assert!(pauses.after(&dropped(), 59 * SECOND).delay >= 30 * SECOND);
        // … and one that lasted does.
        assert!(pauses.after(&dropped(), 60 * SECOND).delay <= SECOND);
    }

    #[test]
    fn too_many_waits_longer_and_a_refused_key_longer_still() {
        let mut pauses = Pauses::new(Timing::default(), 2);
        for whole in [60, 120, 240, 480, 600, 600] {
            let delay = pauses.after(&Ended::TooMany, Duration::ZERO).delay;
            assert!(delay >= SECOND * whole / 2 && delay <= SECOND * whole, "{delay:?} of {whole}");
        }
        let mut pauses = Pauses::new(Timing::default(), 2);
        assert!(pauses.after(&Ended::Refused, Duration::ZERO).delay >= 150 * SECOND);
    }

    #[test]
    fn three_short_connections_in_a_row_mean_a_key_in_use() {
        let mut pauses = Pauses::new(Timing::default(), 3);
        assert!(!pauses.after(&dropped(), SECOND).key_in_use);
        assert!(!pauses.after(&dropped(), SECOND).key_in_use);
        let pause = pauses.after(&dropped(), SECOND);
        assert!(pause.key_in_use && pause.delay >= 30 * SECOND);
        // Anything else in between starts the count anew.
        pauses.after(&Ended::Silent, SECOND);
        assert!(!pauses.after(&dropped(), SECOND).key_in_use);
    }

    proptest! {
        #[test]
        fn pauses_are_bounded(seed: u64, ends in proptest::collection::vec((0_u8..5, 0_u64..100), 1..200)) {
            let mut pauses = Pauses::new(Timing::default(), seed);
            for (end, lived) in ends {
                let ended = match end {
                    0 => Ended::Refused,
                    1 => Ended::TooMany,
                    2 => Ended::Failed(String::new()),
                    3 => Ended::Silent,
                    _ => dropped(),
                };
                let delay = pauses.after(&ended, Duration::from_secs(lived)).delay;
                prop_assert!(delay >= SECOND / 2 && delay <= 600 * SECOND, "{:?}", delay);
            }
        }
    }
}
