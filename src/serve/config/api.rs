//! The sections that say what the server takes and keeps: `[api]`, `[state]`.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_api::{ApiConfig, JobsConfig};
use tradeflow_ingest::Secret;
use tradeflow_state::Lifetimes;

use super::ServeConfig;
use super::node::hidden;
use super::values::{Age, Text, Whole, default};

/// Who may do what over HTTP, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSection {
    /// Whether anyone who reaches the server may register, as a trader without accounts. The first user always may, and
    /// becomes administrator.
    pub registration: bool,
    /// How long an access token is good for; then it is exchanged for the next.
    pub access_lifetime: Age,
    /// How long a log-in lasts that is not used.
    pub login_lifetime: Age,
    /// Whether cookies are sent over TLS alone: for a server behind a proxy that speaks it.
    pub secure_cookies: bool,
    /// Whether `/api/v1/status` answers without a log-in to whoever asks from this machine. Behind a proxy on the same
    /// machine set it to false: all that comes through it comes from here.
    pub local_status: bool,
    /// Requests a second of a user or an API key; twice as many at once.
    pub requests_per_second: Text<Whole<1, 1_000_000>>,
    /// Requests a second from an address without a log-in; twice as many at once.
    pub anonymous_per_second: Text<Whole<1, 1_000_000>>,
    /// Backtests that run at once, as jobs; 0 for a node that runs none. They have processes of their own, at the lowest
    /// priority.
    pub jobs: Text<Whole<0, 256>>,
    /// Memory that a job may take, in MiB; beyond it the job fails.
    pub job_memory_mib: Text<Whole<64, 1_048_576>>,
    /// Attempts a minute to log in, register or reset a password, from one address.
    pub attempts_per_minute: Text<Whole<1, 1_000_000>>,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            registration: true,
            access_lifetime: default("15m"),
            login_lifetime: default("30d"),
            secure_cookies: false,
            local_status: true,
            requests_per_second: default("200"),
            anonymous_per_second: default("50"),
            jobs: default("1"),
            job_memory_mib: default("2048"),
            attempts_per_minute: default("30"),
        }
    }
}

impl ApiSection {
    /// The settings of the server.
    pub fn config(&self) -> ApiConfig {
        let count = |text: &Text<Whole<1, 1_000_000>>| text.get() as u32;
        let nanos = |age: &Age| i64::try_from(age.get().as_nanos()).unwrap_or(i64::MAX);
        ApiConfig {
            registration: self.registration,
            lifetimes: Lifetimes {
                access: nanos(&self.access_lifetime),
                refresh: nanos(&self.login_lifetime),
            },
            secure_cookies: self.secure_cookies,
            local_status: self.local_status,
            requests_per_second: count(&self.requests_per_second),
            anonymous_per_second: count(&self.anonymous_per_second),
            attempts_per_minute: count(&self.attempts_per_minute),
        }
    }
}

impl ApiSection {
    /// How jobs are done.
    pub fn jobs(&self, config: &ServeConfig) -> JobsConfig {
        let data = config.data_folder();
        JobsConfig {
            program: std::env::current_exe().unwrap_or_else(|_| "tradeflow".into()),
            catalog: config.catalog(),
            results: data.join("results"),
            folder: data.join("jobs"),
            at_once: self.jobs.get() as usize,
            memory_mib: self.job_memory_mib.get(),
            node: config.node.name.clone(),
        }
    }
}

/// The database of users and of what they keep. Trading does not depend on it: the journal on the bus is the truth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateSection {
    /// `postgres://user:password@host/database`, or `sqlite:///path/of/file.db`; without it the file `state.db` under the
    /// node's data. Nodes that share accounts share it.
    #[serde(serialize_with = "hidden", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub url: Option<Secret>,
}

impl StateSection {
    /// The database's URL.
    pub fn url(&self, data: &Path) -> String {
        let usual = || format!("sqlite://{}", data.join("state.db").display());
        self.url.as_ref().map_or_else(usual, |url| url.expose().to_owned())
    }
}
