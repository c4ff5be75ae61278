//! Finnhub: US stocks, FX and crypto, live.
//!
//! | file | holds |
//! |---|---|
//! | `client.rs` | [`FinnhubSocket`]: trades from the socket, with reconnection |
//! | `subscriptions.rs` | what was asked of the server, and what it takes |
//! | `pauses.rs` | when to connect again; [`Timing`] |
//! | `key.rs` | one connection a key |
//! | `wire.rs`, `conditions.rs` | frames, and which trades set a price |
//! | `rest.rs` | [`Rest`]: quotes and candles, within the limits of calls |
//! | `history.rs` | [`FinnhubHistory`]: candles into the catalog |
//! | `quotes.rs` | [`FinnhubQuotes`]: quotes at start-up, and for what the socket does not serve |
//! | `server.rs`, `frames.rs` | the protocol on localhost |
//!
//! The two feeds belong together: `FinnhubQuotes` asks for each symbol once at the start, and from then on only for
//! those that the socket does not serve just now.
//!
//! # Rules
//! - **Order and lateness** are passed on as they come; they are judged behind the [`crate::Sink`].
//! - **Duplicates.** Finnhub numbers no trades, and equal trades within a millisecond are real (the recorded frames
//!   have some). So an equal trade is no duplicate; a whole frame of two or more trades that equals, byte for byte,
//!   the frame of trades before it is one, and is counted and dropped.
//! - **Conditions**: see `conditions.rs`. Pre- and post-market trades are passed on.
//! - **A quantity of zero** is a price update without a trade, and passed on as such.
//! - **Sessions end without notice**, or go silent. Silence is told by the pings, which come once a minute.

mod client;
pub mod conditions;
mod frames;
mod history;
mod key;
mod pauses;
mod quotes;
mod rest;
pub mod server;
mod subscriptions;
pub mod wire;

pub use client::{FinnhubSocket, Served};
pub use history::FinnhubHistory;
pub use key::{KeyInUse, KeyLease};
pub use pauses::Timing;
pub use quotes::{FinnhubQuotes, Polling};
pub use rest::{CallLimits, Candle, Candles, Page, Quote, Rest, RestError};

use url::Url;

use crate::secret::Secret;

/// Where Finnhub is, and who we are.
#[derive(Debug, Clone)]
pub struct FinnhubConfig {
    /// The API key.
    pub key: Secret,
    /// The socket's address, without the key.
    pub socket: Url,
    /// The base address of the calls.
    pub rest: Url,
    /// How many symbols a connection may have (50 on the free plan). Where the server takes fewer, that is learnt.
    pub symbols_max: usize,
    /// Times.
    pub timing: Timing,
    /// How many calls are allowed.
    pub calls: CallLimits,
}

impl FinnhubConfig {
    /// The vendor itself, on the free plan.
    pub fn new(key: Secret) -> Self {
        let address = |text: &str| Url::parse(text).expect("a constant address");
        Self {
            key,
            socket: address("wss://ws.finnhub.io"),
            rest: address("https://finnhub.io/api/v1"),
            symbols_max: 50,
            timing: Timing::default(),
            calls: CallLimits::default(),
        }
    }

    /// A server on this machine, at this address (`http://127.0.0.1:4711`).
    pub fn local(key: Secret, base: &Url) -> Self {
        let mut config = Self::new(key);
        config.rest = base.join("/api/v1").unwrap_or_else(|_| base.clone());
        config.socket = base.clone();
        // "http" to "ws" is a change that this type allows.
        let _ = config.socket.set_scheme(if base.scheme() == "https" { "wss" } else { "ws" });
        config
    }
}

/// The lines of a recorded reply, where the data is there; otherwise says why a test does not read it.
#[cfg(test)]
fn recorded(name: &str) -> Option<Vec<String>> {
    let root = std::env::var("TRADEFLOW_DATA").unwrap_or("../../shared/data".into());
    let path = std::path::Path::new(&root).join("vendor_responses/finnhub").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()),
        Err(error) => {
            eprintln!("skipped: no recorded reply at {} ({error})", path.display());
            None
        }
    }
}
