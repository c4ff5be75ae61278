//! How long to wait before connecting again.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Pauses that double from failure to failure and start anew only after a connection that was stable: one that is taken
/// and dropped at once must not become a storm (Binance allows 300 attempts in 5 minutes from an address). Up to half
/// of each pause is left out at random, so that clients do not come back all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    stable: Duration,
    failures: u32,
    random: ChaCha8Rng,
}

impl Backoff {
    pub(super) fn new(first: Duration, max: Duration, stable: Duration, seed: u64) -> Self {
        Self { first, max, stable, failures: 0, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The pause after a connection that lasted for `lived`: zero where there was none.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= self.stable {
            self.failures = 0;
        }
        let whole = self.first.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(self.random.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_connection_was_stable() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 60 * second, 60 * second, 1);
        for n in 0..20 {
            let pause = backoff.after(if n % 2 == 0 { Duration::ZERO } else { 59 * second });
            let whole = second * 2_u32.pow(n).min(60);
            assert!(whole / 2 <= pause && pause <= whole, "{n}: {pause:?}");
        }
        assert!(backoff.after(60 * second) <= second);
        assert!(backoff.after(Duration::ZERO) > second / 2);
    }
}
