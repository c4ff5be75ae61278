//! Indicators: small state machines over closes. They see no clock and no account, and can be snapshot.

mod cross;
mod ema;
mod rsi;
mod sma;

pub use cross::{Cross, Crossing};
pub use ema::Ema;
pub use rsi::Rsi;
pub use sma::Sma;
