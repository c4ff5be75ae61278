//! A local server that speaks Binance's protocol, fed from a [`Market`].
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | what is served under which name, limits, errors |
//! | `streams.rs` | `/ws` and `/stream`: subscriptions and frames |
//! | `rest.rs` | `/api/v3/…` |
//!
//! All instruments of the market are served, shares too, under the name that [`symbol_of`] gives. Streams are `trade`,
//! `aggTrade` and `bookTicker`; others are taken without a word and stay empty, as they do at Binance. Times are in
//! milliseconds. Limits: 5 messages a second and 1024 streams a connection, 300 connections in 5 minutes, a weight of
//! 6000 a minute.

mod rest;
mod streams;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tradeflow_model::{AssetClass, Instrument, Symbol, Timestamp};

use crate::vendor::{Control, Fault, Market, Server, Tick, Window};

/// Limits and times of the server. The defaults are Binance's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerOptions {
    /// The time between pings.
    pub ping_every: Duration,
    /// A client that does not answer a ping for so long is dropped.
    pub pong_within: Duration,
    /// A connection ends after so long.
    pub lifetime: Duration,
    /// Streams of a connection, at most.
    pub streams_max: usize,
    /// Messages a second from a client, pings and pongs included.
    pub messages_per_second: u64,
    /// Connections in five minutes.
    pub connections: u64,
    /// Weight of the requests in a minute.
    pub weight: u64,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(20),
            pong_within: Duration::from_secs(60),
            lifetime: Duration::from_secs(24 * 3_600),
            streams_max: 1_024,
            messages_per_second: 5,
            connections: 300,
            weight: 6_000,
        }
    }
}

/// What Binance calls an instrument: a coin against dollars is one against Tether, unless its name says so already; of
/// others letters and digits count.
pub fn symbol_of(instrument: &Instrument) -> String {
    let is_coin = matches!(instrument.class, AssetClass::CryptoSpot | AssetClass::Perpetual);
    let name = instrument.symbol.as_str().chars().filter(char::is_ascii_alphanumeric);
    let mut name = name.collect::<String>().to_ascii_uppercase();
    if is_coin && instrument.quote.code() == "USD" && !name.ends_with("USDT") {
        name.push_str(if name.ends_with("USD") { "T" } else { "USDT" });
    }
    name
}

/// Starts a server.
///
/// # Errors
/// When the address can't be listened on.
pub async fn start(
    listen: SocketAddr,
    market: Arc<dyn Market>,
    control: &Arc<Control>,
    options: ServerOptions,
) -> io::Result<Server> {
    let symbols =
        market.instruments().iter().map(|instrument| (symbol_of(instrument), instrument.symbol.clone()));
    let symbols = symbols.collect();
    let served = Arc::new(Served {
        options,
        symbols,
        control: Arc::clone(control),
        weight: Mutex::new(Window::new(options.weight, Duration::from_secs(60))),
        connections: Mutex::new(Window::new(options.connections, Duration::from_secs(300))),
        recent: Mutex::new(VecDeque::new()),
        market,
    });
    // From now on, and not from when the task begins.
    let ticks = served.market.subscribe();
    tokio::spawn(remember(Arc::clone(&served), ticks));
    let router = Router::new()
        .route("/ws", get(streams::raw))
        .route("/ws/{*streams}", get(streams::raw_of))
        .route("/stream", get(streams::combined))
        .merge(rest::routes())
        .with_state(served);
    Server::start(listen, control, control.guard(router, faulty)).await
}

/// Ticks that the server remembers for `aggTrades`, give or take a burst.
const RECENT_MAX: usize = 20_000;

/// What is served, and how much of it was used.
struct Served {
    market: Arc<dyn Market>,
    control: Arc<Control>,
    options: ServerOptions,
    /// Symbols by the vendor's names.
    symbols: HashMap<String, Symbol>,
    weight: Mutex<Window>,
    connections: Mutex<Window>,
    /// The last ticks, in bursts.
    recent: Mutex<VecDeque<Arc<[Tick]>>>,
}

impl Served {
    fn instrument(&self, name: &str) -> Option<&Instrument> {
        let symbol = self.symbols.get(name)?;
        self.market.instruments().iter().find(|instrument| instrument.symbol == *symbol)
    }
}

/// What another thread left behind in a panic is still a count.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn remember(served: Arc<Served>, mut ticks: Receiver<Arc<[Tick]>>) {
    let mut remembered = 0;
    loop {
        let burst = tokio::select! {
            () = served.control.stopped() => return,
            burst = ticks.recv() => burst,
        };
        match burst {
            Ok(burst) => {
                let mut recent = locked(&served.recent);
                remembered += burst.len();
                recent.push_back(burst);
                while remembered > RECENT_MAX {
                    let Some(oldest) = recent.pop_front() else { break };
                    remembered -= oldest.len();
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn millis(time: Timestamp) -> i64 {
    time.as_nanos().div_euclid(1_000_000)
}

/// An error as Binance words it.
fn refusal(status: StatusCode, code: i32, message: impl AsRef<str>) -> Response {
    let body = json!({ "code": code, "msg": message.as_ref() }).to_string();
    (status, [(axum::http::header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// "Too many", with the time to wait; a ban for those who do not.
fn too_many(wait: Duration, is_banned: bool) -> Response {
    let status = if is_banned { StatusCode::IM_A_TEAPOT } else { StatusCode::TOO_MANY_REQUESTS };
    let mut response =
        refusal(status, -1003, "Too many requests; please use the websocket for live updates.");
    let seconds = HeaderValue::from(wait.as_secs() + 1);
    response.headers_mut().insert(HeaderName::from_static("retry-after"), seconds);
    response
}

fn faulty(fault: Fault) -> Response {
    match fault {
        Fault::Refuse => too_many(Duration::ZERO, false),
        Fault::Fail => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            -1000,
            "An unknown error occurred while processing the request.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::{Generated, GeneratedOptions};

    #[tokio::test]
    async fn names_are_those_of_the_vendor() {
        let market = Generated::start(&GeneratedOptions::default()).unwrap();
        let names: Vec<_> = market.instruments().iter().map(symbol_of).collect();
        assert_eq!(names, ["BTCUSDT", "ETHUSDT", "AAPL", "SPY", "EURUSD"]);
    }
}
