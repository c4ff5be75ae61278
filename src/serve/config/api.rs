//! The sections that say what the server takes and keeps: `[api]`, `[state]`, `[results]`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_api::tls::TlsConfig;
use tradeflow_api::{ApiConfig, JobsConfig};
use tradeflow_ingest::Secret;
use tradeflow_results::{ClickHouseUrl, ResultsError};
use tradeflow_state::{KeyRing, Lifetimes, SealError};

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
    /// A PEM file with the server's certificate, and those between it and the authority's: it speaks TLS then, and nothing
    /// else, and cookies are sent over TLS alone. Files that are renewed are read again within seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<String>,
    /// A PEM file with the certificate's private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<String>,
    /// Pages elsewhere that may ask with the log-ins of their users, such as `["https://app.example.org"]`. A page on the
    /// same site as the server can log in with cookies, one elsewhere with tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cors_origins: Vec<String>,
    /// Where users find the server, such as `https://trade.example.org`: for links in mail, and where
    /// providers of log-ins send users back to. It is never taken from a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
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
    /// Whether webhooks of alerts may go to this machine and into its network: to loopback, private and link-local
    /// addresses. Whoever may make alerts reaches with them what the node reaches.
    pub alert_private_addresses: bool,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            registration: true,
            access_lifetime: default("15m"),
            login_lifetime: default("30d"),
            secure_cookies: false,
            local_status: true,
            tls_certificate: None,
            tls_key: None,
            cors_origins: Vec::new(),
            public_url: None,
            requests_per_second: default("200"),
            anonymous_per_second: default("50"),
            jobs: default("1"),
            job_memory_mib: default("2048"),
            attempts_per_minute: default("30"),
            alert_private_addresses: false,
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
            secure_cookies: self.secure_cookies || self.tls().is_some(),
            tls: self.tls(),
            cors_origins: self.cors_origins.clone(),
            local_status: self.local_status,
            public_url: self.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            requests_per_second: count(&self.requests_per_second),
            anonymous_per_second: count(&self.anonymous_per_second),
            attempts_per_minute: count(&self.attempts_per_minute),
            alert_private_addresses: self.alert_private_addresses,
        }
    }
}

impl ApiSection {
    /// Certificate and key, where both are given.
    fn tls(&self) -> Option<TlsConfig> {
        let (certificate, key) = (self.tls_certificate.as_ref()?, self.tls_key.as_ref()?);
        Some(TlsConfig { certificate: certificate.into(), key: key.into() })
    }

    /// How jobs are done.
    pub fn jobs(&self, config: &ServeConfig) -> JobsConfig {
        let data = config.data_folder();
        JobsConfig {
            program: std::env::current_exe().unwrap_or_else(|_| "tradeflow".into()),
            catalog: config.catalog(),
            results: data.join("results"),
            clickhouse: config.results.url(),
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
    /// A file with the keys that seal what must be read again (credentials of brokers, secrets of authenticators): a line
    /// each, `id:key`, the key being 32 bytes in base64; the first seals, all open. Without it, `credentials.key` under the
    /// node's data, which is made at the first start. Nodes that share the database share the keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// The same keys, with commas between, in place of a file. Better given by the variable `TRADEFLOW_CREDENTIALS_KEY`
    /// than in the file.
    #[serde(serialize_with = "hidden", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub key: Option<Secret>,
}

impl StateSection {
    /// The keys that seal secrets; a file of them is made where none is named and there is none.
    ///
    /// # Errors
    /// What is wrong with them, or with their file.
    pub fn keys(&self, data: &Path) -> Result<KeyRing, SealError> {
        match (&self.key, self.keys_path(data)) {
            (Some(keys), _) => KeyRing::parse(keys.expose()),
            (None, path) if self.key_file.is_some() => KeyRing::read(&path),
            (None, path) => KeyRing::read_or_make(&path),
        }
    }

    /// The file with the keys.
    pub fn keys_path(&self, data: &Path) -> PathBuf {
        self.key_file.as_ref().map_or_else(|| data.join("credentials.key"), PathBuf::from)
    }

    /// The database's URL.
    pub fn url(&self, data: &Path) -> String {
        let usual = || format!("sqlite://{}", data.join("state.db").display());
        self.url.as_ref().map_or_else(usual, |url| url.expose().to_owned())
    }
}

/// Results of backtests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResultsSection {
    /// ClickHouse, as `http://user:password@host:8123/database`: runs go there too, and questions about them are answered
    /// from there; `none` for none. Where nothing is said here, the variable `TRADEFLOW_CLICKHOUSE` counts, which
    /// commands such as `tradeflow runs` go by.
    #[serde(serialize_with = "hidden", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub clickhouse: Option<Secret>,
}

impl ResultsSection {
    /// Where ClickHouse is.
    pub fn url(&self) -> Option<ClickHouseUrl> {
        self.parse().ok().flatten() // what is wrong was told when the configuration was read
    }

    /// Where ClickHouse is, if that can be read.
    pub(super) fn parse(&self) -> Result<Option<ClickHouseUrl>, ResultsError> {
        match self.clickhouse.as_ref().map(Secret::expose) {
            None | Some("" | "none") => Ok(None),
            Some(url) => url.parse().map(Some),
        }
    }
}
