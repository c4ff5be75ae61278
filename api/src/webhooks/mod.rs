//! Webhooks: alerts that become signals.
//!
//! | file | holds |
//! |---|---|
//! | `payload.rs` | [`Payload`]: what was sent, read by content, however its sender labels it |
//! | `alert.rs` | [`Alert`]: what a sender wants, in our terms |
//! | `tradingview.rs` | TradingView, and the services whose forms its users send |
//! | `trailhacker.rs` | TrailHacker |
//! | `receive.rs` | key, age, duplicates, log; then the signal |
//!
//! A sender can set no header, so the secret comes in the body (or in the URL's query); it is never logged. The answer
//! comes before the signal is executed: TradingView waits for three seconds, and sends again after an answer of 5xx.

mod alert;
mod payload;
pub(crate) mod receive;
mod tradingview;
mod trailhacker;
