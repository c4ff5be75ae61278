//! What the local vendor servers share. Each vendor's own protocol is in its folder (`binance/server.rs`, …).
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Market`]: what a server serves |
//! | `misbehaviour.rs` | [`Misbehaviour`]: what goes wrong, switchable while it runs |
//!
//! A server is an axum router on loopback. Every one has, beside the vendor's own paths, `GET /_control` and `PUT
//! /_control` with a [`Misbehaviour`] as JSON.

mod misbehaviour;

pub use misbehaviour::Misbehaviour;

use rust_decimal::Decimal;
use tokio::sync::broadcast;
use tradeflow_model::market::Aggressor;
use tradeflow_model::{Bar, Instrument, Interval, Symbol, Timestamp};

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

    /// The last trade and quote of a symbol.
    fn last(&self, symbol: &Symbol) -> (Option<Tick>, Option<Tick>);

    /// The live stream from now on, in bursts as they happen. Who is slow loses the oldest (and is told so by the
    /// channel): a vendor does not wait.
    fn subscribe(&self) -> broadcast::Receiver<std::sync::Arc<[Tick]>>;
}
