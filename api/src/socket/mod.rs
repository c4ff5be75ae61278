//! The socket: `GET /api/v1/ws`, over which a client is told of quotes, bars, orders, fills, positions and equity as they
//! change.
//!
//! | file | holds |
//! |---|---|
//! | `messages.rs` | what client and server say, and `GET /api/v1/asyncapi.json` made of it |
//! | `hub.rs` | [`Hub`]: streams, who follows them, and the newest of each for those who come back |
//! | `outbox.rs` | what waits for one client, bounded |
//! | `connection.rs` | one client |
//! | `subscribe.rs` | the beginning of a subscription: snapshot, or what was missed |
//! | `tail.rs` | orders, fills and bars, as they come on the bus |
//! | `watch.rs` | quotes, positions and equity, looked at while someone follows them |
//!
//! # Invariants
//! - Within a subscription sequence numbers grow, and nothing between two is left out, but for streams of a state (quotes,
//!   positions, equity), of which a client gets the newest.
//! - A client that does not keep up costs a bounded number of messages; it is told when a subscription ends for that.

pub(crate) mod connection;
mod hub;
pub(crate) mod messages;
mod outbox;
mod subscribe;
mod tail;
mod watch;

pub use hub::Hub;
pub use tail::Tail;
pub use watch::Watch;
