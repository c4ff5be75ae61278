//! How many calls may be made: at most so many in any minute and in any second, over all who share the key.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Limits of calls, and how patient a call is. The defaults are those of the free plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls in a minute.
    pub per_minute: u32,
    /// Calls in a second; 30 on every plan.
    pub per_second: u32,
    /// How often a call is tried again after 429, a server error or a broken connection.
    pub retries: u32,
    /// The pause before the first of these; it doubles, so that the default outlasts the minute after which the
    /// vendor counts anew.
    pub retry_first: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            per_minute: 60,
            per_second: 30,
            retries: 3,
            retry_first: Duration::from_secs(15),
            timeout: Duration::from_secs(15),
        }
    }
}

/// Times of the last calls.
#[derive(Debug)]
pub struct Budget {
    // Who waits holds the lock, so that others queue behind in the order in which they came.
    calls: Mutex<Calls>,
}

#[derive(Debug)]
struct Calls {
    windows: [Window; 2],
    /// The vendor said "too many": nobody calls before.
    blocked_until: Option<Instant>,
}

/// The times of the last `max` calls, for "at most `max` in any `span`".
#[derive(Debug)]
struct Window {
    max: usize,
    span: Duration,
    times: VecDeque<Instant>,
}

impl Window {
    /// When the next call may be made.
    fn next(&self) -> Option<Instant> {
        (self.times.len() >= self.max).then(|| self.times[0] + self.span)
    }

    fn note(&mut self, now: Instant) {
        if self.times.len() >= self.max {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }
}

impl Budget {
    /// Within these limits.
    pub fn new(limits: &CallLimits) -> Self {
        Self::of([(limits.per_minute, Duration::from_secs(60)), (limits.per_second, Duration::from_secs(1))])
    }

    fn of(windows: [(u32, Duration); 2]) -> Self {
        let windows =
            windows.map(|(max, span)| Window { max: max.max(1) as usize, span, times: VecDeque::new() });
        Self { calls: Mutex::new(Calls { windows, blocked_until: None }) }
    }

    /// Waits until a call may be made, and counts it.
    pub async fn take(&self) {
        let mut calls = self.calls.lock().await;
        let next = calls.windows.iter().filter_map(Window::next).chain(calls.blocked_until).max();
        if let Some(next) = next {
            tokio::time::sleep_until(next).await;
        }
        let now = Instant::now();
        calls.blocked_until = None;
        for window in &mut calls.windows {
            window.note(now);
        }
    }

    /// Nobody calls for so long.
    pub async fn block(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut calls = self.calls.lock().await;
        calls.blocked_until = calls.blocked_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn never_more_than_allowed_in_any_window() {
        let (long, short) = (Duration::from_millis(300), Duration::from_millis(20));
        let budget = Budget::of([(12, long), (4, short)]);
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..40 {
            budget.take().await;
            times.push(start.elapsed());
        }
        for (max, span) in [(12, long), (4, short)] {
            for pair in times.windows(max + 1) {
                // Less what passes between the taking and our look at the clock.
                assert!(pair[max] - pair[0] + Duration::from_millis(5) >= span, "{pair:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_block_holds_for_everyone() {
        let budget = Budget::new(&CallLimits::default());
        budget.take().await;
        let start = Instant::now();
        budget.block(Duration::from_millis(60)).await;
        budget.block(Duration::from_millis(5)).await;
        tokio::join!(budget.take(), budget.take());
        assert!(start.elapsed() >= Duration::from_millis(60));
    }
}
