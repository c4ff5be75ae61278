//! The sections that say how the node runs: `[node]`, `[bus]`, `[feeds]`, `[recorder]`, `[log]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use tradeflow_bus::{Durability, Retention};
use tradeflow_ingest::Secret;
use tradeflow_live::NodeConfig;

use super::tree::is_secret;
use super::values::{Age, Any, Bytes, Period, Short, Text, Whole, default};

/// The node itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSection {
    /// Its name, in logs and metrics.
    pub name: String,
    /// The folder of everything that the node keeps: the embedded log, the catalog.
    pub data: String,
    /// Address and port of health, metrics and the API. Port 0 takes a free one.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Threads that cells run on.
    pub arbiters: Text<Whole<1, 256>>,
    /// What a write to the journal survives before it is acted on: `process` (the end of the program by any means,
    /// `kill -9` too) or `power` (loss of power: synced to disk, which costs a sync for each group of inputs).
    #[schemars(with = "String")]
    pub durability: Durability,
    /// A snapshot of a cell after so many market events. It bounds how long a recovery takes.
    pub snapshot_events: Text<Whole<1_000, 100_000_000>>,
    /// A snapshot of a cell after so much time in which it took anything.
    pub snapshot_interval: Period,
    /// How long a timer or session boundary waits for data that is older.
    pub grace: Short,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            name: "tradeflow".into(),
            data: "data".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            arbiters: default("1"),
            durability: Durability::Process,
            snapshot_events: default("250000"),
            snapshot_interval: default("1m"),
            grace: default("500ms"),
        }
    }
}

impl NodeSection {
    /// The settings of the node.
    pub fn config(&self) -> NodeConfig {
        NodeConfig {
            arbiters: self.arbiters.get() as usize,
            snapshot_events: self.snapshot_events.get(),
            snapshot_interval: self.snapshot_interval.get(),
            grace: self.grace.get(),
            ..NodeConfig::default()
        }
    }
}

/// The bus: the embedded log under the node's data, or Kafka.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BusSection {
    /// Addresses of some of Kafka's brokers, `host:port`, with commas between. Without it the bus is the embedded log in
    /// the folder `bus` under the node's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<String>,
    /// Stands before the names of all topics (`prod.`): lower-case letters, digits, `.` and `-`.
    pub prefix: String,
    /// Partitions of each topic. Can't be changed once there are records.
    pub partitions: Text<Whole<1, 1_024>>,
    /// How long market data stays on the bus. What belongs to accounts stays.
    pub retention: RetentionSection,
    /// Settings of librdkafka by their own names (TLS, SASL, time-outs). Give secrets by the environment:
    /// `TRADEFLOW__BUS__SETTINGS__SASL_PASSWORD` sets `sasl.password`.
    #[serde(serialize_with = "without_secrets", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub settings: BTreeMap<String, Text<Any>>,
}

impl Default for BusSection {
    fn default() -> Self {
        Self {
            kafka: None,
            prefix: String::new(),
            partitions: default("8"),
            retention: RetentionSection::default(),
            settings: BTreeMap::new(),
        }
    }
}

/// How long market data stays on the bus: what reaches either limit is deleted, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSection {
    /// By age.
    pub age: Age,
    /// By size of a partition. Not limited where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Text<Bytes>>,
}

impl Default for RetentionSection {
    fn default() -> Self {
        Self { age: default("7d"), bytes: None }
    }
}

impl RetentionSection {
    /// As the bus takes it.
    pub fn get(&self) -> Retention {
        Retention { age: Some(self.age.get()), bytes: self.bytes.as_ref().map(Text::get) }
    }
}

/// Vendors' live data. A feed runs where an instrument names it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Feeds {
    /// Binance's public market streams: trades and quotes.
    pub binance: BinanceSection,
    /// Finnhub: trades from the socket, and last prices.
    pub finnhub: FinnhubSection,
    /// Yahoo: last prices, which are shown and never fill.
    pub yahoo: YahooSection,
}

/// Binance's public market streams: trades and quotes, without a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BinanceSection {
    /// Address of the streams: `wss://stream.binance.com:9443` (spot), `wss://fstream.binance.com` (futures), or a local
    /// server.
    pub url: String,
    /// Address of the calls for history.
    pub rest_url: String,
    /// Streams of the connection, at most: the instruments that stand first are kept.
    pub streams_max: Text<Whole<1, 1_024>>,
    /// After so long without data the feed counts as silent.
    pub silence: Period,
}

impl Default for BinanceSection {
    fn default() -> Self {
        Self {
            url: "wss://stream.binance.com:9443".into(),
            rest_url: "https://api.binance.com".into(),
            streams_max: default("1024"),
            silence: default("30s"),
        }
    }
}

/// Finnhub: trades from the socket, and last prices by calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FinnhubSection {
    /// The API key. Better given by the variable `TRADEFLOW_FINNHUB_KEY` than in the file.
    #[serde(serialize_with = "hidden", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub key: Option<Secret>,
    /// Address of the socket, without the key.
    pub url: String,
    /// Base address of the calls.
    pub rest_url: String,
    /// Symbols of the connection, at most (50 on the free plan): the instruments that stand first are kept.
    pub symbols_max: Text<Whole<1, 100_000>>,
    /// After so long without anything, pings included (they come once a minute), the connection counts as dead.
    pub silence: Period,
    /// How often last prices are asked for of symbols that the socket does not serve.
    pub poll: Period,
}

impl Default for FinnhubSection {
    fn default() -> Self {
        Self {
            key: None,
            url: "wss://ws.finnhub.io".into(),
            rest_url: "https://finnhub.io/api/v1".into(),
            symbols_max: default("50"),
            silence: default("150s"),
            poll: default("30s"),
        }
    }
}

/// Yahoo: last prices by polling, best effort, without a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct YahooSection {
    /// Base address of a local server that has Yahoo's paths. Without it, Yahoo itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How often last prices are asked for.
    pub poll: Period,
}

impl Default for YahooSection {
    fn default() -> Self {
        Self { url: None, poll: default("30s") }
    }
}

/// The recorder: the live stream into the catalog, ready for a backtest minutes later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecorderSection {
    /// Whether it runs.
    pub enabled: bool,
    /// How often what was gathered is written.
    pub flush: Period,
    /// Folder or URL of the catalog. Without it, the folder `catalog` under the node's data. History for warm-ups and
    /// definitions of instruments come from there too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
}

impl Default for RecorderSection {
    fn default() -> Self {
        Self { enabled: true, flush: default("1m"), catalog: None }
    }
}

/// Logs, on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug` or `trace`; also for parts, as `info,tradeflow_ingest=debug`.
    pub level: String,
    /// A JSON object a line, for collectors of logs.
    pub json: bool,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: "info".into(), json: false }
    }
}

pub(super) fn hidden<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ToString::to_string).serialize(serializer)
}

fn without_secrets<S: Serializer>(
    settings: &BTreeMap<String, Text<Any>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(settings.iter().map(|(name, value)| {
        let shown = if is_secret(name) { "***" } else { value.text() };
        (name, shown)
    }))
}
