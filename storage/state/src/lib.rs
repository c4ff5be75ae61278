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
//! | `second_factor.rs` | codes of authenticators, recovery codes |
//! | `identities.rs` | users as other providers of log-ins know them |
//! | `resets.rs` | tokens with which a forgotten password is set anew |
//! | `api_keys.rs` | keys of programs |
//! | `seal.rs` | [`KeyRing`]: secrets that must be read again, sealed |
//! | `credentials.rs` | what accounts give to brokers |
//! | `access.rs` | whom an account is shown to |
//! | `accounts.rs` | labels of accounts, versions of their strategies |
//! | `watchlists.rs` | watchlists |
//! | `settings.rs` | what users set |
//! | `idempotency.rs` | writes that are done once, however often they are sent |
//! | `audit.rs` | who did what |
//! | `alerts.rs` | what someone wants to be told of, and each time he was |
//! | `system_log.rs` | events of nodes |
//! | `trading/` | read models: orders, fills, positions, round trips, equity |
//! | `signals.rs` | signals from outside, and what became of each |
//! | `webhooks.rs` | keys with which webhooks send, and the log of what came |
//! | `jobs.rs` | work that takes long |
//! | `select.rs` | queries whose conditions depend on what is asked |
//! | `../migrations/` | the tables |
//!
//! # Invariants
//! - The journal on the bus is the truth for trading; nothing here decides about an order.
//! - Of tokens, keys and passwords hashes alone are kept; what must be read again is sealed, and bound to its row.
//! - What is read and written together is one transaction; SQLite's take the lock to write at their beginning, so that
//!   they wait for each other instead of failing.
//! - The caller gives the time.

mod access;
mod accounts;
mod alerts;
mod api_keys;
mod audit;
mod credentials;
mod database;
mod error;
mod idempotency;
mod identities;
mod jobs;
pub mod password;
mod resets;
mod seal;
mod second_factor;
mod select;
mod sessions;
mod settings;
mod signals;
mod system_log;
mod token;
pub mod trading;
mod users;
mod watchlists;
mod webhooks;

pub use accounts::StrategyVersion;
pub use alerts::{AlertEventRow, AlertRow, DeliveryRow, Firing, Target};
pub use api_keys::{ApiKey, NewApiKey, Scope};
pub use audit::{AuditEntry, AuditFilter, NewAudit};
pub use credentials::Credential;
pub use database::State;
pub use error::StateError;
pub use idempotency::{Begun, Written};
pub use identities::ProviderLogin;
pub use jobs::{Ended, JobRow};
pub use seal::{KeyRing, SealError, Sealed};
pub use second_factor::{Enrolment, SecondFactor};
pub use select::Cursor;
pub use sessions::{Identity, Issued, Lifetimes, Refreshed, Session};
pub use signals::{Outcome, SignalRow};
pub use system_log::{SystemEntry, SystemFilter};
pub use token::{Token, TokenKind};
pub use users::{Attempt, NewUser, Role, User, UserChange};
pub use watchlists::Watchlist;
pub use webhooks::{NewWebhookKey, WebhookEntry, WebhookKey};
