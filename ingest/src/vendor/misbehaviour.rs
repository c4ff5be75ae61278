//! What goes wrong at a local vendor server, on purpose.

use serde::{Deserialize, Serialize};

/// What a server does wrong. All off by default; switched while it runs, by `PUT /_control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Misbehaviour {
    /// Every so many messages the connection is dropped without a close.
    pub drop_every: Option<u64>,
    /// After so many messages of a connection nothing more comes, pings included; the connection stays open.
    pub silence_after: Option<u64>,
    /// Every so many messages one of garbage is sent.
    pub garbage_every: Option<u64>,
    /// Every so many messages one is sent twice.
    pub duplicate_every: Option<u64>,
    /// Every so many messages one changes places with the next.
    pub reorder_every: Option<u64>,
    /// Every so many messages one is sent this late, by its own time.
    pub late_every: Option<u64>,
    /// How late, in milliseconds.
    pub late_ms: u64,
    /// The next so many requests or connections are answered with the vendor's way of saying "too many".
    pub refuse_next: u64,
    /// The next so many requests or connections are answered with a server error (HTTP 500, or HTML where the vendor
    /// does so).
    pub fail_next: u64,
}
