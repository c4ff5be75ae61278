//! How to reach the brokers, and the settings of each kind of client.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::error::BusError;

/// Where Kafka is, and how to talk to it.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Addresses of some of the brokers, `host:port`, with commas between; the others are found through them.
    pub brokers: String,
    /// Settings of librdkafka by their own names (TLS, SASL, timeouts…); they win over those chosen here, except for the
    /// few that the bus's promises rest on, which are refused.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Replicas of the topics that are created; `None` is the brokers' default.
    #[serde(default)]
    pub replication: Option<u16>,
    /// How long a request may take, retries included, until it is given up as [`BusError::Unavailable`].
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

/// How long the publisher waits for more before it sends, in milliseconds. With none each tick of a busy market is a
/// request of its own, and the broker's time for these is what all others wait for.
const LINGER: &str = "5";

/// What a reader that gathers waits for at most.
const GATHERED_BYTES: &str = "65536";

/// Largest record, key and value together, in bytes: the limit of our topics and clients, and what a journal entry or a
/// snapshot stays well below.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

/// The promises of the bus rest on these: order, no duplicates, no record that was taken back, no silent skip.
const FIXED: [&str; 13] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "message.max.bytes",
    "request.required.acks",
    "transactional.id",
];

impl KafkaConfig {
    /// Brokers without TLS or a password.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            settings: BTreeMap::new(),
            replication: None,
            timeout: default_timeout(),
        }
    }

    pub(super) fn check(&self) -> Result<(), BusError> {
        if self.brokers.trim().is_empty() {
            return Err(BusError::other("Kafka", "no brokers are given: name at least one as host:port"));
        }
        if let Some(name) = FIXED.iter().find(|name| self.settings.contains_key(**name)) {
            let reason =
                format!("setting {name} can't be changed: what the bus promises rests on it; remove it");
            return Err(BusError::other("Kafka", reason));
        }
        if self.timeout < Duration::from_secs(1) || self.timeout > Duration::from_secs(3600) {
            let reason = format!("a timeout of {:?} is not between 1 s and 1 h", self.timeout);
            return Err(BusError::other("Kafka", reason));
        }
        Ok(())
    }

    /// The values that must not be seen.
    pub(super) fn secrets(&self) -> Vec<String> {
        let secret = |name: &str| {
            let words = ["password", "passphrase", "secret", "token", "pem", "jaas", "oauthbearer.config"];
            words.iter().any(|word| name.contains(word))
        };
        let named = self.settings.iter().filter(|(name, value)| secret(name) && !value.is_empty());
        named.map(|(_, value)| value.clone()).collect()
    }

    fn timeout_ms(&self) -> String {
        self.timeout.as_millis().to_string()
    }

    /// What all clients have in common. `chosen` are the settings of one kind: the user's win over them.
    fn client(&self, chosen: &[(&str, &str)]) -> ClientConfig {
        let timeout_ms = self.timeout_ms();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "tradeflow")
            // The brokers' first answer to a lost leader is a guess: ask again soon.
            .set("retry.backoff.ms", "20")
            .set("topic.metadata.refresh.fast.interval.ms", "10")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.timeout.ms", &timeout_ms)
            .set("message.max.bytes", RECORD_BYTES_MAX.to_string());
        for (name, value) in chosen {
            config.set(*name, *value);
        }
        for (name, value) in &self.settings {
            config.set(name, value);
        }
        // Lines go through `Context::log`, which sorts them further.
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// For [`super::publisher`].
    pub(super) fn producer(&self) -> ClientConfig {
        let timeout_ms = self.timeout_ms();
        let mut config = self.client(&[
            ("compression.codec", "lz4"),
            ("linger.ms", LINGER),
            ("queue.buffering.max.messages", "100000"),
            ("queue.buffering.max.kbytes", "131072"),
            ("message.timeout.ms", &timeout_ms),
        ]);
        config.set("acks", "all").set("enable.idempotence", "true");
        config
    }

    /// For [`super::claim`].
    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let timeout_ms = self.timeout_ms();
        let socket_ms = self.timeout.as_millis().saturating_sub(200).to_string();
        let mut config = self.producer();
        if !self.settings.contains_key("linger.ms") {
            // What goes into a transaction is all there.
            config.set("linger.ms", "0");
        }
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", &timeout_ms)
            .set("socket.timeout.ms", &socket_ms);
        config
    }

    /// For [`super::reader`].
    pub(super) fn reader(&self, gather: Duration) -> ClientConfig {
        let mut config = self.consumer("tradeflow-reader", AtEnd::Wait);
        if gather > Duration::ZERO {
            for (name, value) in [
                ("fetch.wait.max.ms", gather.as_millis().to_string()),
                ("fetch.min.bytes", GATHERED_BYTES.to_owned()),
            ] {
                if !self.settings.contains_key(name) {
                    config.set(name, value);
                }
            }
        }
        config
    }

    /// For all that reads. `group` is a name alone, unless the client subscribes or commits.
    pub(super) fn consumer(&self, group: &str, at_end: AtEnd) -> ClientConfig {
        let mut config = self.client(&[
            // What is read ahead is bounded by this, for all partitions of a reader together.
            ("queued.max.messages.kbytes", "16384"),
            ("queued.min.messages", "10000"),
            ("fetch.max.bytes", "16777216"),
            // Of one partition at a time, so that a busy one does not keep the others waiting.
            ("fetch.message.max.bytes", "262144"),
            ("fetch.queue.backoff.ms", "2"),
            ("fetch.error.backoff.ms", "50"),
            // A fetch is answered as soon as there is a record; this is how long a partition that was just added waits
            // for the one under way, and how long it takes to learn that there is nothing more.
            ("fetch.wait.max.ms", if matches!(at_end, AtEnd::Tell) { "5" } else { "50" }),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "1000"),
            ("partition.assignment.strategy", "cooperative-sticky"),
        ]);
        config
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("enable.partition.eof", if matches!(at_end, AtEnd::Tell) { "true" } else { "false" });
        config
    }
}

/// What a reader does at the end of a partition.
#[derive(Clone, Copy)]
pub(super) enum AtEnd {
    /// Says so.
    Tell,
    /// Waits for more.
    Wait,
}

/// Values of settings may be secrets: their names alone are shown.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("settings", &self.settings.keys())
            .field("replication", &self.replication)
            .field("timeout", &self.timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_promises_rest_on_are_refused() {
        let mut config = KafkaConfig::new("k:9092");
        config.settings.insert("isolation.level".to_owned(), "read_uncommitted".to_owned());
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("isolation.level can't be changed"), "{error}");
    }

    #[test]
    fn a_users_settings_win_and_do_not_show() {
        let mut config = KafkaConfig::new("k:9092");
        config.settings.insert("linger.ms".to_owned(), "7".to_owned());
        config.settings.insert("sasl.password".to_owned(), "s3cr3t".to_owned());
        assert_eq!(config.producer().get("linger.ms"), Some("7"));
        assert_eq!(config.secrets(), ["s3cr3t"]);
        let shown = format!("{config:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("s3cr3t"), "{shown}");
    }
}
