//! How often a vendor may be asked, and what happens when an answer does not come.
//!
//! Each limit is a token bucket that fills evenly. Who finds it empty waits, in turn; a wait of more than
//! [`Retry::wait_max`] is refused instead, because nobody watches a command that sleeps for hours. A request that fails
//! in passing is tried again after a time that doubles, with jitter (half to all of it), or after the time that the
//! vendor names.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::HistoryError;

/// So many requests in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests; also how many may come at once.
    pub count: u32,
    /// The time in which they may.
    pub per: Duration,
}

impl Rate {
    /// `count` a second.
    pub const fn per_second(count: u32) -> Self {
        Self { count, per: Duration::from_secs(1) }
    }

    /// `count` a minute.
    pub const fn per_minute(count: u32) -> Self {
        Self { count, per: Duration::from_secs(60) }
    }

    /// `count` a day.
    pub const fn per_day(count: u32) -> Self {
        Self { count, per: Duration::from_secs(86_400) }
    }
}

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The wait after the first attempt; it doubles with each.
    pub first: Duration,
    /// The longest wait of our own choice.
    pub longest: Duration,
    /// The longest wait at all, for a limit or because the vendor asks for it.
    pub wait_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(20),
            wait_max: Duration::from_secs(90),
        }
    }
}

/// A bucket: the instant at which it will be full again says all about it.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    full_at: Instant,
}

impl Bucket {
    /// The earliest instant at which there is a token.
    fn next(&self) -> Option<Instant> {
        let others = self.rate.per.saturating_sub(self.rate.per / self.rate.count.max(1));
        self.full_at.checked_sub(others)
    }
}

/// Calls to one vendor, all of which share its limits.
#[derive(Debug)]
pub struct Calls {
    buckets: Mutex<Vec<Bucket>>,
    retry: Retry,
    jitter: Mutex<ChaCha8Rng>,
}

impl Calls {
    /// Calls within these rates. `seed` is that of the jitter.
    pub fn new(rates: &[Rate], retry: Retry, seed: u64) -> Self {
        let buckets = rates.iter().map(|rate| Bucket { rate: *rate, full_at: Instant::now() }).collect();
        Self { buckets: Mutex::new(buckets), retry, jitter: Mutex::new(ChaCha8Rng::seed_from_u64(seed)) }
    }

    /// Makes a call within the limits, and again while it fails in passing.
    ///
    /// # Errors
    /// The call's last one, or [`HistoryError::Quota`] when its turn is too far off.
    pub async fn run<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, HistoryError>
    where
        F: Future<Output = Result<T, HistoryError>>,
    {
        let mut attempt = 1;
        loop {
            tokio::time::sleep_until(self.turn()?).await;
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_passing() && attempt < self.retry.attempts => error,
                Err(error) => return Err(error),
            };
            let wait = match &error {
                HistoryError::RateLimited { wait: Some(wait), .. } if *wait > self.retry.wait_max => {
                    return Err(error);
                }
                HistoryError::RateLimited { wait: Some(wait), .. } => *wait,
                _ => self.back_off(attempt),
            };
            tracing::debug!(%error, attempt, wait_ms = wait.as_millis() as u64, "trying again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Takes a token of every bucket; when the last of them is there.
    fn turn(&self) -> Result<Instant, HistoryError> {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = buckets.iter().filter_map(Bucket::next).max().map_or(now, |next| next.max(now));
        if turn - now > self.retry.wait_max {
            let seconds = (turn - now).as_secs();
            return Err(HistoryError::Quota(format!(
                "the limit of requests is used up for another {seconds} s; run the command again then, it goes on \
                 where it was"
            )));
        }
        for bucket in buckets.iter_mut() {
            bucket.full_at = bucket.full_at.max(turn) + bucket.rate.per / bucket.rate.count.max(1);
        }
        Ok(turn)
    }

    fn back_off(&self, attempt: u32) -> Duration {
        let doubled = self.retry.first.saturating_mul(1 << (attempt - 1).min(16)).min(self.retry.longest);
        let mut jitter = self.jitter.lock().unwrap_or_else(PoisonError::into_inner);
        doubled.mul_f64(jitter.random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    fn passing() -> HistoryError {
        HistoryError::Server("status 500".into())
    }

    const QUICK: Retry = Retry {
        attempts: 5,
        first: Duration::from_millis(4),
        longest: Duration::from_millis(16),
        wait_max: Duration::from_secs(5),
    };

    // Bounds from below alone: a busy machine is late, never early.
    #[tokio::test]
    async fn nobody_asks_before_the_limits_allow() {
        let rates = [
            Rate { count: 2, per: Duration::from_millis(40) },
            Rate { count: 10, per: Duration::from_millis(400) },
        ];
        let start = Instant::now();
        let calls = Calls::new(&rates, QUICK, 1);
        let times = RefCell::new(Vec::new());
        for _ in 0..20 {
            calls
                .run(|| async {
                    times.borrow_mut().push(start.elapsed());
                    Ok(())
                })
                .await
                .unwrap();
        }
        let times = times.into_inner();
        for rate in rates {
            let each = rate.per / rate.count;
            for (at, time) in times.iter().enumerate() {
                let others = (at as u32 + 1).saturating_sub(rate.count);
                assert!(*time >= each * others, "request {at} after {time:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_turn_that_is_too_far_off_is_refused() {
        let calls = Calls::new(&[Rate::per_day(2)], Retry::default(), 1);
        let answer = || async { Ok(()) };
        calls.run(answer).await.unwrap();
        calls.run(answer).await.unwrap();
        let error = calls.run(answer).await.unwrap_err();
        assert!(matches!(&error, HistoryError::Quota(text) if text.contains("s; run")), "{error:?}");
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_a_bounded_number_of_times() {
        let calls = Calls::new(&[], QUICK, 7);
        let count = Cell::new(0);
        let start = Instant::now();
        let error = calls
            .run(|| async {
                count.set(count.get() + 1);
                Err::<(), _>(passing())
            })
            .await;
        assert_eq!((error, count.get()), (Err(passing()), 5));
        // 4 + 8 + 16 + 16 ms, each at least half of it.
        assert!(start.elapsed() >= Duration::from_millis(22), "{:?}", start.elapsed());
        let tries = Cell::new(0);
        let failed = calls
            .run(|| async {
                tries.set(tries.get() + 1);
                Err::<(), _>(HistoryError::Key("wrong".into()))
            })
            .await;
        assert!(failed.is_err() && tries.get() == 1, "a wrong key is told at once");
    }

    #[tokio::test]
    async fn the_vendor_says_how_long_to_wait_within_reason() {
        for (asked, tries) in [(Duration::from_millis(30), 2), (Duration::from_secs(3600), 1)] {
            let calls = Calls::new(&[], QUICK, 7);
            let count = Cell::new(0);
            let start = Instant::now();
            let _ = calls
                .run(|| async {
                    count.set(count.get() + 1);
                    let limited = HistoryError::RateLimited { what: "too many".into(), wait: Some(asked) };
                    if count.get() == 1 { Err(limited) } else { Ok(()) }
                })
                .await;
            assert_eq!(count.get(), tries);
            assert!(tries == 1 || start.elapsed() >= asked);
        }
    }

    proptest::proptest! {
        #[test]
        fn waits_grow_with_jitter_and_are_bounded(seed: u64, attempt in 1_u32..40) {
            let calls = Calls::new(&[], Retry::default(), seed);
            let (wait, most) = (calls.back_off(attempt), calls.retry.longest);
            let full = calls.retry.first.saturating_mul(1 << (attempt - 1).min(16)).min(most);
            proptest::prop_assert!(wait >= full / 2 && wait <= full);
        }
    }
}
