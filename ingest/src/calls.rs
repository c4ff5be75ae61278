//! How often a vendor may be asked, and what happens when an answer does not come.
//!
//! Each limit is "at most so many in any stretch of such a length". Who may not call yet waits, in turn; a wait of more
//! than [`Retry::wait_max`] is refused instead, because nobody watches a command that sleeps for hours. A call that fails
//! in passing is made again after a pause that doubles, with jitter; when the vendor says "too many", all calls wait, for
//! as long as it names or for such a pause.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// So many requests in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests.
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

/// What an error says about the next try.
pub(crate) trait Failure: std::fmt::Display {
    /// Whether to try again.
    fn again(&self) -> Again;

    /// The limits let nobody call for so long.
    fn too_far_off(wait: Duration) -> Self;
}

/// Whether a failed call is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It would fail again.
    Never,
    /// After a pause.
    Later,
    /// The vendor says that there were too many; nobody calls for so long, where it says how long.
    TooMany(Option<Duration>),
}

/// Calls to one vendor, all of which share its limits.
#[derive(Debug)]
pub(crate) struct Calls {
    // Who waits holds it, so that others queue behind in the order in which they came. One that is given up while it
    // waits has used up nothing.
    queue: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    retry: Retry,
    seed: u64,
    runs: AtomicU64,
}

#[derive(Debug)]
struct State {
    windows: Vec<Window>,
    blocked_until: Option<Instant>,
}

/// The times of the last calls that count for a rate.
#[derive(Debug)]
struct Window {
    rate: Rate,
    times: VecDeque<Instant>,
}

impl Window {
    fn is_full(&self) -> bool {
        self.times.len() >= self.rate.count.max(1) as usize
    }

    /// Before this instant no call may be made.
    fn next(&self) -> Option<Instant> {
        self.is_full().then(|| self.times[0] + self.rate.per)
    }

    fn note(&mut self, now: Instant) {
        if self.is_full() {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }
}

impl Calls {
    /// Calls within these rates. `seed` is that of the jitter.
    pub(crate) fn new(rates: &[Rate], retry: Retry, seed: u64) -> Self {
        let windows = rates.iter().map(|rate| Window { rate: *rate, times: VecDeque::new() }).collect();
        let state = Mutex::new(State { windows, blocked_until: None });
        Self { queue: tokio::sync::Mutex::default(), state, retry, seed, runs: AtomicU64::new(0) }
    }

    /// Makes a call within the limits, and again while it fails in passing.
    ///
    /// # Errors
    /// The call's last one, or [`Failure::too_far_off`] when its turn is.
    pub(crate) async fn run<T, E, F>(&self, mut call: impl FnMut() -> F) -> Result<T, E>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        let seed = self.seed.wrapping_add(self.runs.fetch_add(1, Ordering::Relaxed));
        let mut backoff = Backoff::new(self.retry.first, self.retry.longest, seed);
        let mut attempt = 1;
        loop {
            self.turn().await.map_err(E::too_far_off)?;
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let (named, is_for_all) = match error.again() {
                Again::Never => return Err(error),
                Again::Later => (None, false),
                Again::TooMany(named) => (named, true),
            };
            if attempt >= self.retry.attempts || named.is_some_and(|named| named > self.retry.wait_max) {
                return Err(error);
            }
            let wait = named.unwrap_or_else(|| backoff.pause());
            tracing::debug!(%error, attempt, wait_ms = wait.as_millis() as u64, "trying again");
            if is_for_all {
                let mut state = self.state();
                state.blocked_until = state.blocked_until.max(Some(Instant::now() + wait));
            } else {
                tokio::time::sleep(wait).await;
            }
            attempt += 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a call may be made, and counts it. Refuses a wait that is too long, and says how long.
    async fn turn(&self) -> Result<(), Duration> {
        let _queue = self.queue.lock().await;
        loop {
            let next = {
                let now = Instant::now();
                let mut state = self.state();
                let next = state.windows.iter().filter_map(Window::next).chain(state.blocked_until).max();
                match next.filter(|next| *next > now) {
                    Some(next) if next - now > self.retry.wait_max => return Err(next - now),
                    Some(next) => next,
                    None => {
                        state.windows.iter_mut().for_each(|window| window.note(now));
                        return Ok(());
                    }
                }
            };
            tokio::time::sleep_until(next).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::history::HistoryError;

    fn limited_for(wait: Duration) -> HistoryError {
        HistoryError::RateLimited { what: "too many".into(), wait: Some(wait) }
    }

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
    async fn never_more_than_the_limits_allow_in_any_stretch() {
        let rate = |count, millis| Rate { count, per: Duration::from_millis(millis) };
        let rates = [rate(4, 20), rate(12, 300)];
        let calls = Calls::new(&rates, QUICK, 1);
        let times = RefCell::new(Vec::new());
        for _ in 0..40 {
            // The time is taken before the call counts, so that two are never further apart than they seem.
            let before = Instant::now();
            calls.run(|| async { Ok::<_, HistoryError>(()) }).await.unwrap();
            times.borrow_mut().push((before, Instant::now()));
        }
        for rate in rates {
            for calls in times.borrow().windows(rate.count as usize + 1) {
                let (first, last) = (calls[0].0, calls[calls.len() - 1].1);
                assert!(last - first >= rate.per, "{:?}", last - first);
            }
        }
    }

    #[tokio::test]
    async fn too_many_holds_for_everyone() {
        let calls = Calls::new(&[], QUICK, 1);
        let start = Instant::now();
        let limited = Cell::new(true);
        let first = calls.run(|| async {
            match limited.replace(false) {
                true => Err(limited_for(Duration::from_millis(60))),
                false => Ok(start.elapsed()),
            }
        });
        // Polled in this order: the second begins when the first was told.
        let second = calls.run(|| async { Ok::<_, HistoryError>(start.elapsed()) });
        let (first, second) = tokio::join!(biased; first, second);
        assert!(first.unwrap().min(second.unwrap()) >= Duration::from_millis(60));
    }

    #[tokio::test]
    async fn a_turn_that_is_too_far_off_is_refused() {
        let calls = Calls::new(&[Rate::per_day(2)], Retry::default(), 1);
        let answer = || async { Ok::<_, HistoryError>(()) };
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
                    if count.get() == 1 { Err(limited_for(asked)) } else { Ok(()) }
                })
                .await;
            assert_eq!(count.get(), tries);
            assert!(tries == 1 || start.elapsed() >= asked);
        }
    }
}
