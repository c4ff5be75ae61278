//! Quotes by calls: once for each symbol at the start, and again and again for those that the socket does not serve.
//!
//! What comes is a last price with its time, never a bid and ask: it is shown, and nothing is matched against it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;
use tradeflow_model::Symbol;

use super::client::Served;
use super::rest::{Rest, RestError};
use crate::feed::{Feed, FeedContext, FeedState, Update};

/// How often is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polling {
    /// Between two quotes of a symbol; the limit of calls may make it longer.
    pub every: Duration,
    /// Before a symbol that the vendor does not know, or our plan does not have, is asked for again.
    pub unknown: Duration,
    /// Before the next call, after the key was refused.
    pub refused: Duration,
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(15),
            unknown: Duration::from_secs(3600),
            refused: Duration::from_secs(300),
        }
    }
}

/// Finnhub's quotes as a [`Feed`].
#[derive(Debug)]
pub struct FinnhubQuotes {
    rest: Rest,
    served: Option<Served>,
    polling: Polling,
}

impl FinnhubQuotes {
    /// Quotes of what the socket does not serve; of everything, without a socket.
    pub fn new(rest: Rest, served: Option<Served>, polling: Polling) -> Self {
        Self { rest, served, polling }
    }
}

impl Feed for FinnhubQuotes {
    fn name(&self) -> &'static str {
        "finnhub-rest"
    }

    fn run(self: Box<Self>, context: FeedContext) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let stop = context.stop.clone();
            let status = context.status.clone();
            status.set_state(FeedState::Connecting);
            let mut poller = Poller { feed: *self, context, symbols: BTreeMap::new(), watchlist_ends: false };
            poller.read_watchlist();
            tokio::select! {
                () = stop.cancelled() => {}
                () = poller.run() => {}
            }
            status.set_state(FeedState::Off);
        })
    }
}

/// A symbol that is polled.
struct Polled {
    symbol: Symbol,
    /// Not before.
    due: Instant,
    /// Whether it was ever asked for: the first time does not depend on the socket.
    asked: bool,
    /// The vendor does not know it, or our plan does not have it.
    unserved: bool,
}

struct Poller {
    feed: FinnhubQuotes,
    context: FeedContext,
    /// By the vendor's symbol.
    symbols: BTreeMap<String, Polled>,
    watchlist_ends: bool,
}

impl Poller {
    /// Runs until its future is dropped.
    async fn run(&mut self) {
        loop {
            let next = self.next();
            let call = async {
                match &next {
                    Some((name, due)) => {
                        tokio::time::sleep_until(*due).await;
                        self.feed.rest.quote(name).await
                    }
                    None => std::future::pending().await,
                }
            };
            // A change of what is wanted or served ends the wait, and a call: it may not be wanted any more.
            let answer = tokio::select! {
                answer = call => Some(answer),
                changed = self.context.watchlist.changed(), if !self.watchlist_ends => {
                    self.watchlist_ends = changed.is_err();
                    None
                }
                () = served_changes(self.feed.served.clone()) => None,
            };
            match (answer, next) {
                (Some(answer), Some((name, _))) => self.answered(&name, answer).await,
                _ => self.read_watchlist(),
            }
        }
    }

    /// The symbol that is to be asked for next, and when.
    fn next(&mut self) -> Option<(String, Instant)> {
        let served = self.feed.served.as_mut().map(|served| served.borrow_and_update().clone());
        let live = |name: &str| served.as_ref().is_some_and(|served| served.contains(name));
        let (name, polled) = self
            .symbols
            .iter()
            .filter(|(name, polled)| !polled.asked || !live(name))
            .min_by_key(|(_, polled)| polled.due)?;
        Some((name.clone(), polled.due))
    }

    async fn answered(&mut self, name: &str, answer: Result<Option<super::Quote>, RestError>) {
        let now = self.context.clock.now();
        let status = self.context.status.clone();
        let polling = self.feed.polling;
        status.rate_limited.store(self.feed.rest.rate_limited(), Relaxed);
        let Some(polled) = self.symbols.get_mut(name) else { return };
        polled.asked = true;
        polled.due = Instant::now() + polling.every;
        match answer {
            Ok(Some(quote)) => {
                polled.unserved = false;
                status.set_state(FeedState::Live);
                status.last_message.store(now.as_nanos(), Relaxed);
                status.messages.fetch_add(1, Relaxed);
                status.quotes.fetch_add(1, Relaxed);
                let symbol = polled.symbol.clone();
                self.context
                    .sink
                    .update(now, Update::Last { symbol, ts_event: quote.ts_event, price: quote.last });
                self.context.sink.flush().await;
            }
            Ok(None) => {
                status.set_state(FeedState::Live);
                polled.due = Instant::now() + polling.unknown;
                polled.unserved = true;
                let why = format!(
                    "Finnhub has no quote of {name:?}: look the symbol up with its symbol search and change the watchlist"
                );
                tracing::warn!(feed = "finnhub-rest", "{why}");
                status.set_error(why);
            }
            Err(error) => {
                let state = match error {
                    RestError::Entitlement { .. } => {
                        polled.due = Instant::now() + polling.unknown;
                        polled.unserved = true;
                        FeedState::Live
                    }
                    RestError::Refused(_) => FeedState::Refused,
                    _ => FeedState::Connecting,
                };
                if let RestError::Unexpected { .. } = error {
                    status.bad.fetch_add(1, Relaxed);
                    self.context.sink.bad(&error.to_string(), "");
                }
                tracing::warn!(feed = "finnhub-rest", symbol = name, "{error}");
                status.set_error(error.to_string());
                status.set_state(state);
                if state == FeedState::Refused {
                    tokio::time::sleep(polling.refused).await;
                }
            }
        }
        self.count_unserved();
    }

    /// Takes over what is wanted; what was polled before keeps its times.
    fn read_watchlist(&mut self) {
        let watchlist = self.context.watchlist.borrow_and_update();
        let mut before = std::mem::take(&mut self.symbols);
        for watch in &watchlist.watches {
            let polled = before.remove(&watch.vendor_symbol).unwrap_or_else(|| Polled {
                symbol: watch.instrument.symbol.clone(),
                due: Instant::now(),
                asked: false,
                unserved: false,
            });
            self.symbols.insert(watch.vendor_symbol.clone(), polled);
        }
        drop(watchlist);
        self.count_unserved();
    }

    fn count_unserved(&self) {
        let unserved = self.symbols.values().filter(|polled| polled.unserved).count();
        self.context.status.unserved.store(unserved as u64, Relaxed);
    }
}

/// Ends when what the socket serves changes.
async fn served_changes(served: Option<Served>) {
    let ended = match served {
        Some(mut served) => served.changed().await.is_err(),
        None => true,
    };
    if ended {
        std::future::pending::<()>().await;
    }
}
