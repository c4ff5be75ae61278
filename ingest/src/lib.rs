//! Market data from vendors, normalised and put on the bus; history into the catalog; and local servers that speak
//! the vendors' protocols.
//!
//! | file | holds |
//! |---|---|
//! | `feed.rs` | [`Feed`], [`Update`], [`Sink`]: what a vendor's client is and what it reports |
//! | `watchlist.rs` | what is subscribed |
//! | `clock.rs` | the time that a node goes by |
//! | `secret.rs` | API keys that never show themselves |
//! | `bars/` | [`bars::BarMaker`]: bars made live of the ticks on the bus |
//! | `record/` | [`record::Recorder`]: the stream into the catalog, and back by offset |
//! | `vendor/` | what the local vendor servers share: market, misbehaviour, HTTP |

pub mod bars;
pub mod clock;
pub mod feed;
pub mod record;
pub mod secret;
pub mod vendor;
pub mod watchlist;

pub use clock::{Clock, SystemClock};
pub use feed::{Feed, FeedContext, FeedState, FeedStatus, Sink, Update};
pub use secret::Secret;
pub use watchlist::{Watch, Watchlist};
