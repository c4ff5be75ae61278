//! The live side of a market: ticks in the order of time, sent when their time comes.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::{SetOnce, broadcast};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tradeflow_model::{Symbol, Timestamp};

use super::{Tick, TickKind};
use crate::clock::{Clock, SystemClock};

/// Bursts that a slow subscriber may be behind: some seconds.
const BURSTS: usize = 4096;
/// Ticks in a burst at most.
const BURST_MAX: usize = 4096;
/// Ticks that come closer together than this go out together.
const GRAIN: Duration = Duration::from_millis(1);

/// From the beginning of a market that stood still to its first tick: time to subscribe to all that is wanted, which
/// takes several messages.
const LEAD: Duration = Duration::from_secs(1);

/// The time of a market.
#[derive(Debug, Clone)]
pub(super) struct MarketClock {
    /// Market time at `started`, and how fast it goes from there; `None` for the machine's clock.
    shifted: Option<(Timestamp, f64)>,
    /// When it started; not set while it stands still.
    started: Arc<SetOnce<Instant>>,
}

impl MarketClock {
    /// The machine's time.
    pub(super) fn machine() -> Self {
        Self { shifted: None, started: Arc::new(SetOnce::new_with(Some(Instant::now()))) }
    }

    /// Market time that is `origin` now and goes `speed` times as fast as the machine's.
    pub(super) fn from(origin: Timestamp, speed: f64) -> Self {
        Self { shifted: Some((origin, speed)), ..Self::machine() }
    }

    /// As [`Self::from`], but it stands still until [`Self::begin`].
    pub(super) fn held(origin: Timestamp, speed: f64) -> Self {
        Self { shifted: Some((origin, speed)), started: Arc::default() }
    }

    /// Lets it go, [`LEAD`] from now, where it stands still.
    pub(super) fn begin(&self) {
        // Who was second changes nothing.
        let _ = self.started.set(Instant::now() + LEAD);
    }

    /// Resolves when it goes.
    async fn begun(&self) {
        tokio::time::sleep_until(*self.started.wait().await).await;
    }

    pub(super) fn now(&self) -> Timestamp {
        match self.shifted {
            None => SystemClock.now(),
            Some((origin, speed)) => {
                let elapsed = self.started.get().map_or(Duration::ZERO, Instant::elapsed);
                origin.saturating_add((elapsed.as_nanos() as f64 * speed) as i64)
            }
        }
    }

    /// How long until it is `time`.
    fn until(&self, time: Timestamp) -> Duration {
        let speed = self.shifted.map_or(1.0, |(_, speed)| speed);
        let nanos = time.as_nanos().saturating_sub(self.now().as_nanos()).max(0);
        Duration::from_nanos((nanos as f64 / speed) as u64)
    }
}

type Last = HashMap<Symbol, (Option<Tick>, Option<Tick>)>;

/// Sends ticks when their time comes, until it is dropped.
#[derive(Debug)]
pub(super) struct Live {
    sender: broadcast::Sender<Arc<[Tick]>>,
    last: Arc<RwLock<Last>>,
    driver: AbortHandle,
}

impl Live {
    /// Begins. Called within a tokio runtime.
    pub(super) fn start(
        clock: MarketClock,
        ticks: impl Iterator<Item = Tick> + Send + 'static,
        last: Last,
    ) -> Self {
        let sender = broadcast::Sender::new(BURSTS);
        let last = Arc::new(RwLock::new(last));
        let driver = tokio::spawn(drive(clock, ticks, sender.clone(), Arc::clone(&last))).abort_handle();
        Self { sender, last, driver }
    }

    pub(super) fn last(&self, symbol: &Symbol) -> (Option<Tick>, Option<Tick>) {
        self.last.read().map(|last| last.get(symbol).cloned().unwrap_or_default()).unwrap_or_default()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<[Tick]>> {
        self.sender.subscribe()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive(
    clock: MarketClock,
    ticks: impl Iterator<Item = Tick>,
    sender: broadcast::Sender<Arc<[Tick]>>,
    last: Arc<RwLock<Last>>,
) {
    let mut ticks = ticks.peekable();
    let mut burst = Vec::new();
    clock.begun().await;
    while let Some(next) = ticks.peek() {
        let wait = clock.until(next.ts_event);
        if wait > Duration::ZERO {
            tokio::time::sleep(wait.max(GRAIN)).await;
        } else {
            tokio::task::yield_now().await;
        }
        let now = clock.now();
        while burst.len() < BURST_MAX {
            let Some(tick) = ticks.next_if(|tick| tick.ts_event <= now) else { break };
            burst.push(tick);
        }
        keep(&last, &burst);
        if !burst.is_empty() {
            // Nobody listens: that is fine.
            let _ = sender.send(burst.drain(..).collect());
        }
    }
}

/// Remembers the last trade and quote of each symbol in a burst.
fn keep(last: &RwLock<Last>, burst: &[Tick]) {
    let Ok(mut last) = last.write() else { return };
    for tick in burst {
        if !last.contains_key(&tick.symbol) {
            last.insert(tick.symbol.clone(), (None, None));
        }
        let Some((trade, quote)) = last.get_mut(&tick.symbol) else { continue };
        let place = if matches!(tick.kind, TickKind::Trade { .. }) { trade } else { quote };
        match place {
            // The symbol's text is kept where it is.
            Some(place) => (place.ts_event, place.id, place.kind) = (tick.ts_event, tick.id, tick.kind),
            None => *place = Some(tick.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_decimal::Decimal;

    #[tokio::test]
    async fn what_is_held_begins_a_moment_after_it_is_told_to() {
        let origin: Timestamp = "2024-01-02T09:00".parse().unwrap();
        let symbol = Symbol::new("X").unwrap();
        let second = 1_000_000_000;
        let ticks = (0..3).map(move |n| Tick {
            symbol: symbol.clone(),
            ts_event: origin.saturating_add(n * second),
            id: n as u64 + 1,
            kind: TickKind::Trade {
                price: Decimal::ONE,
                qty: Decimal::ONE,
                aggressor: tradeflow_model::market::Aggressor::Buyer,
            },
        });
        let clock = MarketClock::held(origin, 10.0);
        let live = Live::start(clock.clone(), ticks, Last::default());
        let mut stream = live.subscribe();
        let held = tokio::time::timeout(Duration::from_millis(50), stream.recv()).await;
        assert!(held.is_err(), "{held:?}");
        assert_eq!(clock.now(), origin);

        let begun = Instant::now();
        clock.begin();
        clock.begin(); // changes nothing
        let mut ids = Vec::new();
        while ids.len() < 3 {
            ids.extend(stream.recv().await.unwrap().iter().map(|tick| tick.id));
            let due = LEAD + Duration::from_millis(100) * (ids.len() as u32 - 1);
            assert!(begun.elapsed() >= due, "{ids:?} came early");
        }
        assert_eq!(ids, [1, 2, 3]);
    }
}
