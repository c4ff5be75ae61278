//! The configuration of a node: a TOML file, the environment over it, and defaults below. The comments of the structs
//! are the user's reference (`docs/configuration.md` is made of them, and a test keeps it so).
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`ServeConfig`]: reading and showing it |
//! | `node.rs` | how the node runs: bus, feeds, recorder, log |
//! | `api.rs` | what the server takes and keeps: users, limits, the database, results |
//! | `mail.rs` | mail to users |
//! | `oidc.rs` | providers of log-ins |
//! | `trading.rs` | what is traded: instruments, accounts, strategies |
//! | `values.rs` | values that are written as text, with their ranges |
//! | `tree.rs` | file and environment as one tree with places; reading with all problems at once |
//! | `check.rs` | what must fit together |
//! | `plan.rs` | from the configuration to a session's plan and the feeds' watchlists |
//! | `reference.rs` | makes the reference (in tests) |

pub mod api;
mod check;
pub mod mail;
pub mod node;
pub mod oidc;
mod plan;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
pub mod trading;
mod tree;
pub mod values;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_backtest::config::{Place, Problems};

use api::{ApiSection, ResultsSection, StateSection};
use mail::MailSection;
use node::{BusSection, Feeds, LogSection, NodeSection, RecorderSection};
use oidc::OidcSection;
use trading::{AccountSection, InstrumentSection};
use tree::Node;

/// The variable that holds Finnhub's key, as the vendor's own examples have it.
const FINNHUB_KEY: &str = "TRADEFLOW_FINNHUB_KEY";

/// The variable that names ClickHouse to all commands.
pub const CLICKHOUSE: &str = "TRADEFLOW_CLICKHOUSE";
/// The variable that holds the keys that seal secrets.
const CREDENTIALS_KEY: &str = "TRADEFLOW_CREDENTIALS_KEY";

/// A flag of the command line: its name, the setting that it gives, the value.
pub type Flag<'a> = (&'static str, [&'static str; 2], &'a str);

/// The configuration of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// The node itself.
    pub node: NodeSection,
    /// The bus: the embedded log under the node's data, or Kafka.
    pub bus: BusSection,
    /// Vendors' live data. A feed runs where an instrument names it.
    pub feeds: Feeds,
    /// The recorder: the live stream into the catalog.
    pub recorder: RecorderSection,
    /// Who may do what over HTTP, and how often.
    pub api: ApiSection,
    /// The database of users and of what they keep.
    pub state: StateSection,
    /// Results of backtests. They are written as folders under the node's data, in `results/`, whatever stands here.
    pub results: ResultsSection,
    /// Providers of log-ins that speak OpenID Connect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub oidc: Vec<OidcSection>,
    /// Mail to users, over SMTP.
    pub mail: MailSection,
    /// Logs, on standard error.
    pub log: LogSection,
    /// What is followed, the most important first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instruments: Vec<InstrumentSection>,
    /// The paper accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountSection>,
    /// Where each value stands.
    #[serde(skip)]
    places: Node,
}

impl ServeConfig {
    /// The configuration of a file, if there is one, of the environment of this process over it, and of flags over both.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(file: Option<&Path>, flags: &[Flag<'_>]) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("TRADEFLOW_")) else { continue };
            match value.into_string() {
                Ok(value) => variables.push((name.to_owned(), value)),
                Err(_) => problems.add(&Place::Variable(name.to_owned()), "is not UTF-8 text"),
            }
        }
        let name = file.map(|file| file.display().to_string()).unwrap_or_default();
        let bytes = file.and_then(|file| {
            let read = std::fs::read(file).map_err(|error| format!("{name}: {error}"));
            problems.check(&Place::Default, read)
        });
        Self::read_with(bytes.as_deref().map(|bytes| (name.as_str(), bytes)), variables, flags, problems)
    }

    /// The configuration of a file's contents (its name is for messages) and of these variables.
    ///
    /// # Errors
    /// All that is wrong with both.
    #[cfg(test)]
    pub fn read(
        file: Option<(&str, &[u8])>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        Self::read_with(file, variables, &[], Problems::default())
    }

    fn read_with(
        file: Option<(&str, &[u8])>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag<'_>],
        mut problems: Problems,
    ) -> Result<Self, Problems> {
        let variables: Vec<_> = variables.into_iter().collect();
        let mut tree =
            file.map_or_else(Node::default, |(name, bytes)| Node::of_file(name, bytes, &mut problems));
        let given = |wanted: &str| variables.iter().find(|(name, value)| name == wanted && !value.is_empty());
        let keys = [
            (FINNHUB_KEY, &["feeds", "finnhub", "key"][..]),
            (CREDENTIALS_KEY, &["state", "key"]),
            (CLICKHOUSE, &["results", "clickhouse"]),
        ];
        tree.set_variables(variables.iter().cloned(), &mut problems);
        for (name, setting) in keys {
            if let Some((name, value)) = given(name) {
                tree.set_missing(setting, value, Place::Variable(name.clone()));
            }
        }
        for (flag, keys, text) in flags {
            tree.set(keys, text, Place::Flag((*flag).to_owned()));
        }
        let mut config: Self = tree.read(&mut problems);
        config.places = tree;
        config.check(&mut problems);
        problems.finish(Some(config))
    }

    /// The configuration with all defaults, as TOML; secrets are hidden.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# it can't be shown: {error}\n"))
    }

    /// Folder or URL of the catalog.
    pub fn catalog(&self) -> String {
        let usual = || self.data_folder().join("catalog").display().to_string();
        self.recorder.catalog.clone().unwrap_or_else(usual)
    }

    /// The folder of everything that the node keeps.
    pub fn data_folder(&self) -> PathBuf {
        PathBuf::from(&self.node.data)
    }

    /// The folder of the embedded log; `None` where the bus is Kafka.
    pub fn log_folder(&self) -> Option<PathBuf> {
        self.bus.kafka.is_none().then(|| self.data_folder().join("bus"))
    }
}
