//! So many in so long: the limits that servers hold their clients to.

use std::time::Duration;

use tokio::time::Instant;

/// Counts against a limit that begins anew every period.
#[derive(Debug, Clone)]
pub struct Window {
    limit: u64,
    period: Duration,
    started: Instant,
    used: u64,
}

impl Window {
    /// At most `limit` in a `period`.
    pub fn new(limit: u64, period: Duration) -> Self {
        Self { limit, period, started: Instant::now(), used: 0 }
    }

    /// Counts `weight` more. Counted all the same when it is too much.
    ///
    /// # Errors
    /// The time until the period is over, when there is too much in it.
    pub fn take(&mut self, weight: u64) -> Result<(), Duration> {
        let now = Instant::now();
        if now.duration_since(self.started) >= self.period {
            (self.started, self.used) = (now, 0);
        }
        self.used = self.used.saturating_add(weight);
        if self.used <= self.limit {
            return Ok(());
        }
        Err(self.period.saturating_sub(now.duration_since(self.started)))
    }

    /// How much was counted in this period.
    pub fn used(&self) -> u64 {
        self.used
    }
}
