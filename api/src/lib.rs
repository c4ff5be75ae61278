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
//! | `bars/` | bars of the catalog, of the bus, and such as are made of finer ones |
//! | `curve.rs` | curves for a screen |
//! | `webhooks/` | alerts that become signals |
//! | `jobs/` | work that takes long |
//! | `replays.rs` | forks of recorded sessions, for jobs and for the command line |
//! | `uploads.rs` | what of the results has yet to go to ClickHouse |
//! | `jobs/` | work that takes long, in processes of their own |
//! | `mail.rs` | [`mail::Mail`]: letters to users, sent in the background |
//! | `housekeeping.rs` | what is done now and then: signals that wait, old logs |
//! | `socket/` | `GET /api/v1/ws`: what changes, as it does |
//! | `views/` | what nodes on one bus tell each other, so that each shows all |
//! | `alerts/` | who wants to be told of what, and is |
//! | `system_log/` | what the node says of itself, kept in the state |
//! | `worker.rs` | threads that work until they are let go |
//! | `body.rs`, `decimal.rs` | bodies of requests, read so that an error names the field |
//! | `problem.rs` | errors as `application/problem+json` |
//! | `limits.rs` | how many requests someone may make |
//! | `tls.rs` | TLS by rustls, certificates that are renewed |
//! | `oidc.rs` | providers of log-ins that speak OpenID Connect |
//! | `openapi.rs` | `GET /api/v1/openapi.json`, made of the routes; a page for it at `/api/v1/docs/` |
//! | `health.rs` | `GET /health`: ok, degraded or down, and why |
//! | `pulse.rs` | [`Pulse`]: whether the bus answers |
//! | `ready.rs` | `GET /ready`: whether the cells are up |
//! | `metrics/` | `GET /metrics`: for Prometheus |
//! | `status.rs` | `GET /api/v1/status`: feeds, quotes, cells, positions as JSON |
//!
//! The server looks at atomics and views that the node keeps anyway: a request costs the hot path nothing but the moment
//! for which a view is copied.

mod alerts;
mod auth;
mod bars;
mod body;
mod commander;
mod context;
mod curve;
mod decimal;
mod health;
mod housekeeping;
mod jobs;
mod limits;
pub mod mail;
mod metrics;
pub mod oidc;
mod openapi;
mod problem;
pub mod projector;
mod pulse;
mod ready;
pub mod replays;
mod routes;
mod server;
mod socket;
mod source;
pub mod status;
mod system_log;
pub mod tls;
mod uploads;
pub mod views;
mod webhooks;
mod worker;

pub use bars::MarketData;
pub use commander::Commander;
pub use context::{ApiConfig, Shared};
pub use health::{Health, HealthState};
pub use jobs::JobsConfig;
pub use projector::{Projector, ProjectorStatus};
pub use pulse::{Pulse, PulseStatus};
pub use server::{Server, ServerError};
pub use socket::{Hub, Tail, Watch};
pub use source::{FeedSource, NodeSource};
pub use system_log::{SystemLogLayer, SystemLogQueue, system_log};
pub use uploads::UploadStatus;
pub use views::{Heard, Views};
