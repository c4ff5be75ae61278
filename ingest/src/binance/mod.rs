//! Binance: public market data.

mod history;

pub use history::{BASE as HISTORY_BASE, BinanceHistory};
