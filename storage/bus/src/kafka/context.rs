//! What librdkafka tells us beside the answers: log lines and errors, without secrets; and its errors as ours.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::config::KafkaConfig;
use crate::error::BusError;

/// Takes a client's log lines and errors.
#[derive(Clone)]
pub(super) struct Context {
    shared: Arc<Told>,
}

struct Told {
    brokers: String,
    secrets: Vec<String>,
    /// All values of settings: an error of the configuration repeats the one that it is about.
    values: Vec<String>,
    /// Why a broker could not be reached, in the client's words: what a mere time-out does not say.
    last: Mutex<Option<String>>,
}

impl Context {
    pub(super) fn new(config: &KafkaConfig) -> Self {
        let values = config.settings.values().filter(|value| value.len() > 1).cloned().collect();
        let shared = Told {
            brokers: config.brokers.clone(),
            secrets: config.secrets(),
            values,
            last: Mutex::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    fn redact(&self, text: &str) -> String {
        self.shared.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    /// Forgets what was told so far: an error that is reported afterwards is of the present.
    pub(super) fn forget(&self) {
        *self.shared.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A request that could not be served.
    pub(super) fn unavailable(&self, reason: impl std::fmt::Display) -> BusError {
        let last = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reason = match last {
            Some(last) => format!("{reason} ({last})"),
            None => reason.to_string(),
        };
        BusError::Unavailable { brokers: self.shared.brokers.clone(), reason: self.redact(&reason) }
    }

    /// An error of the client as ours; `doing` says what was tried.
    pub(super) fn error(&self, doing: &str, error: &KafkaError) -> BusError {
        match error {
            KafkaError::ClientConfig(_, text, name, _) => {
                // The text may repeat the value, and a name that is not known (a misspelt one) may hold a secret.
                let text =
                    self.shared.values.iter().fold(text.clone(), |text, value| text.replace(value, "***"));
                BusError::other("Kafka", format!("setting {name}: {text}"))
            }
            KafkaError::ClientCreation(text) => {
                let text =
                    self.shared.values.iter().fold(text.clone(), |text, value| text.replace(value, "***"));
                BusError::other("Kafka", format!("the settings do not fit together: {text}"))
            }
            _ => match error.rdkafka_error_code() {
                Some(code) => match self.code(doing, code) {
                    BusError::Unavailable { .. } if let KafkaError::Transaction(error) = error => {
                        // Says more than its code.
                        self.unavailable(format!("{doing}: {error}"))
                    }
                    error => error,
                },
                None => self.unavailable(format!("{doing}: {error}")),
            },
        }
    }

    /// As [`Self::error`], of an error code.
    pub(super) fn code(&self, doing: &str, code: Code) -> BusError {
        let place = format!("Kafka at {}", self.shared.brokers);
        match code {
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => BusError::other(
                place,
                format!("{doing}: not permitted ({code}): give this user the right to"),
            ),
            _ => self.unavailable(format!("{doing}: {code}")),
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let line = self.redact(line);
        match level {
            // A setting of producers given to a consumer too: as it is meant.
            // Nor is a request news that was given up because nobody waits for it any more.
            _ if facility == "CONFWARN" || facility == "REQTMOUT" => {
                tracing::debug!(target: "kafka", "{facility} {line}")
            }
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::warn!(target: "kafka", "{facility} {line}"),
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "kafka", "{facility} {line}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "kafka", "{facility} {line}")
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = self.redact(reason);
        tracing::debug!(target: "kafka", "{error}: {reason}");
        // "All brokers are down" and the end of a partition say less than what came before them.
        let code = error.rdkafka_error_code();
        if !matches!(code, Some(Code::AllBrokersDown | Code::PartitionEOF | Code::AutoOffsetReset)) {
            *self.shared.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        }
    }
}

impl ConsumerContext for Context {}
