//! Market data from vendors, normalised and put on the bus; history into the catalog; and local servers that speak
//! the vendors' protocols.
//!
//! | file | holds |
//! |---|---|
//! | `feed.rs` | [`Feed`], [`Update`], [`Sink`]: what a vendor's client is and what it reports |
//! | `watchlist.rs` | what is subscribed |
//! | `backoff.rs` | pauses between tries |
//! | `calls.rs` | requests within the limits of a vendor, and again |
//! | `clock.rs` | the time that a node goes by |
//! | `secret.rs` | API keys that never show themselves |
//! | `normalise/` | [`normalise::Normaliser`]: what vendors report becomes market data; what is left out is counted |
//! | `publish/` | market data onto the bus; shedding |
//! | `bars/` | [`bars::BarMaker`]: bars made live of the ticks on the bus |
//! | `record/` | [`record::Recorder`]: the stream into the catalog, and back by offset |
//! | `quotes/` | the quote board: the best live source of each instrument |
//! | `history/` | history from vendors into the catalog |
//! | `alphavantage/` | Alpha Vantage: history, local server |
//! | `binance/` | Binance: market streams, history, local server |
//! | `finnhub/` | Finnhub: live client, quotes, candles, local server |
//! | `yahoo/` | Yahoo Finance: history, quotes, local server |
//! | `vendor/` | what the local vendor servers share: market, misbehaviour, HTTP |

pub mod alphavantage;
mod backoff;
pub mod bars;
pub mod binance;
mod calls;
pub mod clock;
pub mod feed;
pub mod finnhub;
pub mod history;
pub mod normalise;
pub mod publish;
pub mod quotes;
pub mod record;
pub mod secret;
pub mod vendor;
pub mod watchlist;
pub mod yahoo;

pub use clock::{Clock, SystemClock};
pub use feed::{Feed, FeedContext, FeedState, FeedStatus, Sink, Update};
pub use secret::Secret;
pub use watchlist::{Watch, Watchlist};
