//! State in SQL: who may do what, and what they keep. SQLite by default, PostgreSQL by URL; one set of migrations, one
//! SQL, one suite of tests for both.
//!
//! | file | holds |
//! |---|---|
//! | `database.rs` | [`State`]: opening, migrations, transactions |
//! | `error.rs` | [`StateError`] |
//! | `token.rs` | [`Token`]: secrets of which only a hash is kept |
//! | `password.rs` | policy and hashes of passwords |
//! | `users.rs` | users, their roles, log-in attempts |
//! | `sessions.rs` | log-ins: short access tokens, refresh tokens that are exchanged |
//! | `resets.rs` | tokens with which a forgotten password is set anew |
//! | `api_keys.rs` | keys of programs |
//! | `access.rs` | whom an account is shown to |
//! | `watchlists.rs` | watchlists |
//! | `idempotency.rs` | writes that are done once, however often they are sent |
//! | `audit.rs` | who did what |
//! | `trading/` | read models: orders, fills, positions, round trips, equity |
//! | `signals.rs` | signals from outside, and what became of each |
//! | `webhooks.rs` | keys with which webhooks send, and the log of what came |
//! | `jobs.rs` | work that takes long |
//! | `select.rs` | queries whose conditions depend on what is asked |
//! | `../migrations/` | the tables |
//!
//! # Invariants
//! - The journal on the bus is the truth for trading; nothing here decides about an order.
//! - Of tokens, keys and passwords hashes alone are kept.
//! - What is read and written together is one transaction; SQLite's take the lock to write at their beginning, so that
//!   they wait for each other instead of failing.
//! - The caller gives the time.

mod access;
mod api_keys;
mod audit;
mod database;
mod error;
mod idempotency;
mod jobs;
pub mod password;
mod resets;
mod select;
mod sessions;
mod signals;
mod token;
pub mod trading;
mod users;
mod watchlists;
mod webhooks;

pub use api_keys::{ApiKey, NewApiKey, Scope};
pub use audit::{AuditEntry, AuditFilter, NewAudit};
pub use database::State;
pub use error::StateError;
pub use idempotency::{Begun, Written};
pub use jobs::{Ended, JobRow};
pub use select::Cursor;
pub use sessions::{Identity, Issued, Lifetimes, Refreshed, Session};
pub use signals::{Outcome, SignalRow};
pub use token::{Token, TokenKind};
pub use users::{Attempt, NewUser, Role, User, UserChange};
pub use watchlists::Watchlist;
pub use webhooks::{NewWebhookKey, WebhookEntry, WebhookKey};
