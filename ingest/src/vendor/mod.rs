//! What the local vendor servers share. Each vendor's own protocol is in its folder (`binance/server.rs`, …).
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Market`]: what a server serves |
//! | `misbehaviour.rs` | [`Misbehaviour`]: what goes wrong, switchable while it runs |
//! | `generated.rs`, `path.rs` | [`Generated`]: a market invented from a seed |
//! | `replayed.rs` | [`Replayed`]: a day of a catalog, once more |
//! | `stored.rs` | [`Stored`]: a catalog's history, at rest |
//! | `live.rs` | the live side of both: ticks sent when their time comes |
//! | `control.rs` | [`Control`]: the switches of a running server, and the faults of its answers |
//! | `server.rs` | [`Server`]: listening and ending |
//! | `socket.rs`, `outgoing.rs` | [`Socket`]: a WebSocket connection, and what misbehaviour makes of its messages |
//! | `window.rs` | [`Window`]: so many requests in so long |
//!
//! A server is an axum router on loopback: the vendor's paths behind [`Control::guard`], started by [`Server::start`],
//! with connections by [`Control::upgrade`]. Every one has, beside the vendor's own paths, `GET /_control` and `PUT
//! /_control` with a [`Misbehaviour`] as JSON.

mod control;
mod generated;
mod live;
mod misbehaviour;
mod outgoing;
mod path;
mod replayed;
mod server;
mod socket;
mod stored;
mod window;

pub use control::{Control, Fault};
pub use generated::{Generated, GeneratedOptions, SYMBOLS};
pub use misbehaviour::Misbehaviour;
pub use outgoing::{Dropped, Outgoing};
pub use replayed::{ReplayError, Replayed, ReplayedOptions};
pub use server::Server;
pub use socket::{Ended, Incoming, Socket};
pub use stored::Stored;
pub use window::Window;

use rust_decimal::Decimal;
use tokio::sync::broadcast;
use tradeflow_model::market::Aggressor;
use tradeflow_model::{Bar, CorporateAction, Instrument, Interval, Symbol, Timestamp};

/// Something that happens in a served market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// The instrument.
    pub symbol: Symbol,
    /// When.
    pub ts_event: Timestamp,
    /// Number within the symbol, from 1, for trades; of quotes a number that grows.
    pub id: u64,
    /// What.
    pub kind: TickKind,
}

/// A trade or a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // as in `model::market`
pub enum TickKind {
    Trade { price: Decimal, qty: Decimal, aggressor: Aggressor },
    Quote { bid: Decimal, ask: Decimal, bid_size: Decimal, ask_size: Decimal },
}

/// What a server serves: history and a live stream, from the generator or from a catalog.
pub trait Market: Send + Sync + 'static {
    /// The instruments.
    fn instruments(&self) -> &[Instrument];

    /// The time in this market: the machine's, or that of the replayed day at its speed.
    fn now(&self) -> Timestamp;

    /// Bars that opened in `[from, to)`, oldest first, none that is not over at [`Self::now`].
    ///
    /// # Errors
    /// In words, when they can't be read.
    fn bars(
        &self,
        symbol: &Symbol,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Bar>, String>;

    /// Splits and dividends that take effect in `[from, to)`, oldest first; a market may have none.
    ///
    /// # Errors
    /// In words, when they can't be read.
    fn actions(
        &self,
        symbol: &Symbol,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<CorporateAction>, String> {
        let _ = (symbol, from, to);
        Ok(Vec::new())
    }

    /// The last trade and quote of a symbol.
    fn last(&self, symbol: &Symbol) -> (Option<Tick>, Option<Tick>);

    /// The live stream from now on, in bursts as they happen. Who is slow loses the oldest (and is told so by the
    /// channel): a vendor does not wait.
    fn subscribe(&self) -> broadcast::Receiver<std::sync::Arc<[Tick]>>;

    /// A client has subscribed to something. A market that waits for that begins, a moment later.
    fn begin(&self) {}
}

/// [`Market::bars`] for async code: they may come from files, or take long to work out.
///
/// # Errors
/// As [`Market::bars`].
pub async fn bars(
    market: &std::sync::Arc<dyn Market>,
    symbol: &Symbol,
    interval: Interval,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Bar>, String> {
    let (market, symbol) = (std::sync::Arc::clone(market), symbol.clone());
    blocking(move || market.bars(&symbol, interval, from, to)).await
}

/// [`Market::actions`] for async code.
///
/// # Errors
/// As [`Market::actions`].
pub async fn actions(
    market: &std::sync::Arc<dyn Market>,
    symbol: &Symbol,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<CorporateAction>, String> {
    let (market, symbol) = (std::sync::Arc::clone(market), symbol.clone());
    blocking(move || market.actions(&symbol, from, to)).await
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
}
