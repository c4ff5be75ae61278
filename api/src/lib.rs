//! What a node shows over HTTP: health, readiness, metrics, status. It is read only.
//!
//! | file | holds |
//! |---|---|
//! | `source.rs` | [`NodeSource`]: what the server asks the node |
//! | `server.rs` | [`Server`]: a thread with an actix system of its own |
//! | `health.rs` | `GET /health`: ok, degraded or down, and why |
//! | `ready.rs` | `GET /ready`: whether the cells are up |
//! | `metrics/` | `GET /metrics`: for Prometheus |
//! | `status.rs` | `GET /api/v1/status`: feeds, quotes, cells, positions as JSON |
//!
//! The server looks at atomics and views that the node keeps anyway: a request costs the hot path nothing but the moment
//! for which a view is copied.

mod health;
mod metrics;
mod ready;
mod server;
mod source;
pub mod status;

pub use health::{Health, HealthState};
pub use server::{Server, ServerError};
pub use source::{FeedSource, NodeSource};
