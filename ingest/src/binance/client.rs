//! The live client: connecting, ending, connecting again.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;
use tradeflow_model::Symbol;

use super::connection::{Connection, End, NoConnection, connect};
use super::subscriptions::Subscriptions;
use crate::backoff::Backoff;
use crate::feed::{Feed, FeedContext, FeedState};

/// Where and how a client connects.
#[derive(Debug, Clone)]
pub struct BinanceOptions {
    /// The address of the streams: `wss://stream.binance.com:9443` (spot), `wss://fstream.binance.com` (futures), or a
    /// local server.
    pub stream_url: String,
    /// Streams of a connection, at most; Binance takes 1024. What is beyond is not served, the least important first.
    pub streams_max: usize,
    /// Its times.
    pub times: Times,
}

impl Default for BinanceOptions {
    fn default() -> Self {
        Self {
            stream_url: "wss://stream.binance.com:9443".into(),
            streams_max: 1_024,
            times: Times::default(),
        }
    }
}

/// Times of a client. The defaults are for the vendor; tests take shorter ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long connecting, or sending, may take.
    pub connect: Duration,
    /// The time between requests. Binance takes 5 messages a second, pongs included.
    pub request_gap: Duration,
    /// How long the answer to a request may take.
    pub reply: Duration,
    /// After so long without data the feed counts as silent, and after so long without anything the server is pinged.
    /// Longer than the 20 s between the server's pings.
    pub silent: Duration,
    /// After so long without anything, pings included, the connection counts as dead.
    pub dead: Duration,
    /// After so long without data a connection is given up although it answers pings.
    pub stale: Duration,
    /// The step to a new connection, before the server ends this one after 24 hours.
    pub lifetime: Duration,
    /// The first pause before connecting again.
    pub first_pause: Duration,
    /// The longest pause after a usual failure.
    pub max_pause: Duration,
    /// How long a connection must have lasted to count as stable.
    pub stable: Duration,
    /// The pause after "too many" (429) and after a refusal (403), where the server names none; a ban (418) lasts twice
    /// as long at least.
    pub limited: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request_gap: Duration::from_millis(300),
            reply: Duration::from_secs(10),
            silent: Duration::from_secs(30),
            dead: Duration::from_secs(60),
            stale: Duration::from_secs(300),
            lifetime: Duration::from_secs(23 * 3_600),
            first_pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(60),
            stable: Duration::from_secs(60),
            limited: Duration::from_secs(60),
        }
    }
}

/// The longest pause that is taken from a server: its longest ban.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3 * 86_400);

/// Binance's market streams as a [`Feed`]: trades and best quotes of the watchlist.
///
/// Trades carry their number, by which those that come twice are known. Quotes of spot have no time of their own.
/// One connection serves all; subscriptions follow the watchlist while it runs.
#[derive(Debug, Clone, Default)]
pub struct Binance {
    options: BinanceOptions,
}

impl Binance {
    /// A client.
    pub fn new(options: BinanceOptions) -> Self {
        Self { options }
    }
}

impl Feed for Binance {
    fn name(&self) -> &'static str {
        "binance"
    }

    fn run(self: Box<Self>, context: FeedContext) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let subscriptions = Subscriptions::new(self.options.streams_max);
        let client = Client {
            options: self.options,
            context,
            subscriptions,
            symbols: HashMap::new(),
            watchlist_is_final: false,
        };
        Box::pin(client.run())
    }
}

/// What lasts from connection to connection.
pub(super) struct Client {
    pub(super) options: BinanceOptions,
    pub(super) context: FeedContext,
    pub(super) subscriptions: Subscriptions,
    /// Ours by the vendor's, upper case as in frames.
    pub(super) symbols: HashMap<String, Symbol>,
    watchlist_is_final: bool,
}

impl Client {
    async fn run(mut self) {
        let times = self.options.times;
        let stop = self.context.stop.clone();
        let mut backoff = Backoff::new(times.first_pause, times.max_pause, self.context.seed);
        self.take_watchlist();
        while stop.run_until_cancelled(self.something_to_do()).await.is_some() {
            if self.context.status.state() != FeedState::Refused {
                self.context.status.set_state(FeedState::Connecting);
            }
            let Some(connected) = stop.run_until_cancelled(connect(self.options.clone())).await else {
                break;
            };
            let pause = match connected {
                Ok(stream) => {
                    self.context.status.connects.fetch_add(1, Relaxed);
                    self.context.status.set_state(FeedState::Connecting);
                    let since = Instant::now();
                    let end = Connection::new(&mut self, stream).run().await;
                    self.context.status.disconnects.fetch_add(1, Relaxed);
                    match end {
                        End::Stopped => break,
                        End::Lost(why) => {
                            self.context.status.set_state(FeedState::Connecting);
                            self.failed(&why);
                            if since.elapsed() >= times.stable {
                                backoff.reset();
                            }
                            backoff.pause()
                        }
                    }
                }
                Err(NoConnection::Failed(why)) => {
                    self.context.status.set_state(FeedState::Connecting);
                    self.failed(&why);
                    backoff.pause()
                }
                Err(NoConnection::Refused { status, retry_after }) => {
                    let least = self.refused(status, retry_after);
                    backoff.pause().max(least)
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        self.context.status.set_state(FeedState::Off);
    }

    fn failed(&self, why: &str) {
        tracing::warn!(feed = "binance", why, "no connection");
        self.context.status.set_error(why);
    }

    /// Takes note of a refusal; gives the least pause.
    fn refused(&self, status: u16, retry_after: Option<Duration>) -> Duration {
        let limited = self.options.times.limited;
        let (what, least) = match status {
            429 => ("too many requests or connections (HTTP 429)", limited),
            418 => ("this address is banned for a while (HTTP 418)", limited * 2),
            _ => ("refused by the vendor's firewall (HTTP 403); is it open to this country?", limited),
        };
        if status != 403 {
            self.context.status.rate_limited.fetch_add(1, Relaxed);
        }
        self.context.status.set_state(FeedState::Refused);
        let pause = retry_after.map_or(least, |named| named.min(RETRY_AFTER_MAX));
        tracing::warn!(feed = "binance", what, ?pause, "no connection");
        self.context.status.set_error(what);
        pause
    }

    /// Resolves when something is to be subscribed.
    async fn something_to_do(&mut self) {
        while self.subscriptions.is_empty() {
            self.context.status.set_state(FeedState::Off);
            self.watchlist_changes().await;
            self.take_watchlist();
        }
    }

    /// Resolves when the watchlist changed. Never again when nobody is left who could change it.
    pub(super) async fn watchlist_changes(&mut self) {
        if !self.watchlist_is_final {
            match self.context.watchlist.changed().await {
                Ok(()) => return,
                Err(_) => self.watchlist_is_final = true,
            }
        }
        std::future::pending().await
    }

    /// Takes what is watched now.
    pub(super) fn take_watchlist(&mut self) {
        let watchlist = self.context.watchlist.borrow_and_update();
        let names = watchlist
            .watches
            .iter()
            .map(|watch| (watch.vendor_symbol.to_ascii_uppercase(), watch.instrument.symbol.clone()));
        self.symbols = names.collect();
        self.subscriptions.want(&watchlist);
        drop(watchlist);
        self.count_unserved();
    }

    pub(super) fn count_unserved(&self) {
        self.context.status.unserved.store(self.subscriptions.unserved(), Relaxed);
    }
}
