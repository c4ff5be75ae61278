//! How long to wait before the next try.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Pauses that double from failure to failure up to a longest one. Up to half of each is left out at random, so that
/// clients do not come back all at once.
///
/// Of connections, the pauses start anew only after one that was **stable**: one that is taken and dropped at once must
/// not become a storm, which vendors answer with refusals (Binance allows 300 attempts in 5 minutes from an address,
/// Finnhub says 429).
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    random: ChaCha8Rng,
}

impl Backoff {
    /// Pauses from `first` to `max`, with jitter from a seed.
    pub(crate) fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { first, max, failures: 0, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.first.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(self.random.random_range(0.5..=1.0))
    }

    /// From the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_double_up_to_the_longest_less_a_half_at_most(seed: u64, resets in proptest::collection::vec(0_u32..80, 1..5)) {
            let (first, max) = (Duration::from_secs(1), Duration::from_secs(60));
            let mut backoff = Backoff::new(first, max, seed);
            for failures in resets {
                for n in 0..failures {
                    let (pause, whole) = (backoff.pause(), first * 2_u32.pow(n.min(6)).min(60));
                    prop_assert!(whole / 2 <= pause && pause <= whole, "{}: {:?}", n, pause);
                }
                backoff.reset();
            }
        }
    }
}
