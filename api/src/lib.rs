//! What a node shows and takes over HTTP. It adds no trading logic: it parses, authorises, hands a command to a cell over
//! the bus, and reads what the node and the database show.
//!
//! | file | holds |
//! |---|---|
//! | `source.rs` | [`NodeSource`]: what the server asks the node |
//! | `server.rs` | [`Server`]: a thread with an actix system of its own |
//! | `context.rs` | [`Shared`]: what all requests share |
//! | `auth/` | who asks, and whether he may |
//! | `routes/` | the routes under `/api/v1`, one file each |
//! | `commander.rs` | [`Commander`]: commands to cells, and their answers |
//! | `projector/` | [`Projector`]: what cells put on the bus, read into the tables of the state |
//! | `curve.rs` | curves for a screen |
//! | `webhooks/` | alerts that become signals |
//! | `jobs/` | work that takes long, in processes of their own |
//! | `housekeeping.rs` | what is done now and then: signals that wait, old logs |
//! | `socket/` | `GET /api/v1/ws`: what changes, as it does |
//! | `body.rs`, `decimal.rs` | bodies of requests, read so that an error names the field |
//! | `problem.rs` | errors as `application/problem+json` |
//! | `limits.rs` | how many requests someone may make |
//! | `openapi.rs` | `GET /api/v1/openapi.json`, made of the routes; a page for it at `/api/v1/docs/` |
//! | `health.rs` | `GET /health`: ok, degraded or down, and why |
//! | `ready.rs` | `GET /ready`: whether the cells are up |
//! | `metrics/` | `GET /metrics`: for Prometheus |
//! | `status.rs` | `GET /api/v1/status`: feeds, quotes, cells, positions as JSON |
//!
//! The server looks at atomics and views that the node keeps anyway: a request costs the hot path nothing but the moment
//! for which a view is copied.

mod auth;
mod body;
mod commander;
mod context;
mod curve;
mod decimal;
mod health;
mod housekeeping;
mod jobs;
mod limits;
mod metrics;
mod openapi;
mod problem;
pub mod projector;
mod ready;
mod routes;
mod server;
mod socket;
mod source;
pub mod status;
mod webhooks;

pub use commander::Commander;
pub use context::{ApiConfig, Shared};
pub use health::{Health, HealthState};
pub use jobs::JobsConfig;
pub use projector::{Projector, ProjectorStatus};
pub use server::{Server, ServerError};
pub use socket::{Hub, Tail, Watch};
pub use source::{FeedSource, NodeSource};
