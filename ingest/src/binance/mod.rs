//! Binance: public market streams, live, history, and a local server that speaks the same.
//!
//! | file | holds |
//! |---|---|
//! | `client.rs` | [`Binance`]: the [`crate::Feed`]: connecting, ending, connecting again |
//! | `connection.rs` | one connection: messages in, time-outs |
//! | `subscriptions.rs` | what is subscribed, what is to be, and the requests in between |
//! | `wire.rs` | the frames |
//! | `history.rs` | klines into the catalog |
//! | `server/` | the local server |

mod client;
mod connection;
mod history;
pub mod server;
mod subscriptions;
pub mod wire;

pub use client::{Binance, BinanceOptions, Times};
pub use history::{BASE as HISTORY_BASE, BinanceHistory};
