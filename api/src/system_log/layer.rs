//! Takes events from `tracing`.

use std::fmt::Debug;

use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tradeflow_bus::{Clock, SystemClock};
use uuid::Uuid;

use super::Event;
use super::redact::{is_secret, without_tokens};

/// Parts whose events are not taken: those that write the log, and the audit log, which has a table of its own.
const OTHERS: [&str; 3] = ["sqlx", "tradeflow_api::system_log", "audit"];
/// Characters of a text, and fields of an event, at most.
const TEXT_MAX: usize = 4000;
const FIELDS_MAX: usize = 32;

/// Takes information, warnings and errors of the program, and never waits.
#[derive(Debug)]
pub struct SystemLogLayer {
    events: mpsc::Sender<Event>,
    shed: Counter,
}

impl SystemLogLayer {
    pub(super) fn new(events: mpsc::Sender<Event>, shed: Counter) -> Self {
        Self { events, shed }
    }
}

impl<S: Subscriber> Layer<S> for SystemLogLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let level = match *about.level() {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            _ => return,
        };
        let others = OTHERS.iter().any(|other| {
            about.target().strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        if others {
            return;
        }
        let Ok(place) = self.events.try_reserve() else {
            self.shed.inc();
            return;
        };
        let mut read = Read::default();
        event.record(&mut read);
        place.send(Event {
            id: Uuid::now_v7().to_string(),
            ts: SystemClock.now().as_nanos(),
            level,
            target: about.target().to_owned(),
            message: read.message,
            fields: read.fields,
        });
    }
}

/// The parts of an event.
#[derive(Default)]
struct Read {
    message: String,
    fields: Map<String, Value>,
}

impl Read {
    fn put(&mut self, field: &Field, value: Value) {
        let value = if is_secret(field.name()) { Value::from("…") } else { value };
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) if self.fields.len() < FIELDS_MAX => {
                self.fields.insert(name.to_owned(), value);
            }
            _ => {}
        }
    }
}

/// Without secrets, and of a length that is bounded. No database holds a zero character.
fn plain(text: &str) -> Value {
    let text = without_tokens(text).replace('\0', "\u{fffd}");
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => Value::from(format!("{}…", &text[..end])),
        None => Value::from(text),
    }
}

impl Visit for Read {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, plain(&format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, plain(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, plain(&value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::{WAITING_MAX, system_log};
    use super::*;

    #[test]
    fn events_are_taken_with_their_fields_and_without_secrets() {
        let (layer, mut queue) = system_log();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "a::b", symbol = "BTCUSD", count = 3_u64, share = 0.5, good = true, "it \0 begins");
            tracing::warn!(target: "c", api_token = "hunter2", "sent tfp_{}", "0a".repeat(32));
            tracing::error!(target: "d", error = %std::fmt::Error, long = "é".repeat(5000), "it fails");
            tracing::debug!(target: "a", "nobody needs it");
            tracing::warn!(target: "sqlx::query", "slow");
            tracing::warn!(target: "tradeflow_api::system_log::writer", "the database is away");
            tracing::info!(target: "audit", "someone logs in");
            tracing::info!(target: "auditor", "no one's");
        });
        let mut events = Vec::new();
        while let Ok(event) = queue.events.try_recv() {
            events.push(event);
        }
        let short: Vec<_> = events.iter().map(|e| (e.level, e.target.as_str(), e.message.as_str())).collect();
        let expected = [
            (3, "a::b", "it \u{fffd} begins"),
            (2, "c", "sent tfp_…"),
            (1, "d", "it fails"),
            (3, "auditor", "no one's"),
        ];
        assert_eq!(short, expected);
        assert_eq!(
            Value::from(events[0].fields.clone()),
            serde_json::json!({"symbol": "BTCUSD", "count": 3, "share": 0.5, "good": true})
        );
        assert_eq!(events[1].fields["api_token"], "…");
        assert_eq!(events[2].fields["long"].as_str().map(|text| text.chars().count()), Some(TEXT_MAX + 1));
        assert!(events.is_sorted_by(|a, b| a.id < b.id && a.ts <= b.ts));
        assert_eq!(queue.shed.get(), 0);
    }

    #[test]
    fn whoever_logs_never_waits_and_what_is_shed_is_counted() {
        let (layer, mut queue) = system_log();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for number in 0..WAITING_MAX as u64 + 7 {
                tracing::info!(target: "a", number, "an event");
            }
        });
        assert_eq!(queue.shed.get(), 7);
        let taken = std::iter::from_fn(|| queue.events.try_recv().ok());
        let numbers: Vec<_> = taken.map(|event| event.fields["number"].as_u64()).collect();
        let expected: Vec<_> = (0..WAITING_MAX as u64).map(Some).collect();
        assert_eq!(numbers, expected, "what was there first stays");
    }
}
