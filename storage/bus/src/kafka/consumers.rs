//! The consumers of readers and scans. To connect one and to close it takes a tenth of a second and more, and whoever takes
//! an account over reads a dozen times: those that are done with are kept for the next.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::config::{AtEnd, KafkaConfig};
use super::context::Context;
use super::topics::drain;
use crate::error::BusError;
use crate::topic::Topic;

/// What a consumer is for: its settings can't be changed later.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Reads to the end what was committed.
    Scan,
    /// Reads to the end all that was ever written.
    ScanAll,
    /// Waits for more at the end, and gathers it for so long.
    Read(Duration),
}

/// How long a consumer is polled until then. What is less than a millisecond it would spend asking again and again.
pub(super) fn wait_until(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX))
}

/// How long the leader of a topic is asked for.
const FIND_MAX: Duration = Duration::from_secs(1);

/// So many are kept.
const IDLE_MAX: usize = 12;

/// Makes consumers, and keeps those that nobody uses just now: they have no partitions.
pub(super) struct Consumers {
    config: KafkaConfig,
    context: Context,
    idle: Mutex<Vec<(Use, BaseConsumer<Context>)>>,
}

impl Consumers {
    pub(super) fn new(config: &KafkaConfig, context: &Context) -> Arc<Self> {
        Arc::new(Self { config: config.clone(), context: context.clone(), idle: Mutex::default() })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Use, BaseConsumer<Context>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One without partitions.
    pub(super) fn take(self: &Arc<Self>, of: Use) -> Result<Lent, BusError> {
        let mut idle = self.idle();
        // The one that was used last: its connection stands.
        let known = idle.iter().rposition(|(other, _)| *other == of).map(|at| idle.remove(at).1);
        drop(idle);
        let consumer = match known {
            Some(consumer) => {
                drain(&consumer);
                consumer
            }
            None => {
                let made = self.settings(of).create_with_context(self.context.clone());
                made.map_err(|error| self.context.error("read", &error))?
            }
        };
        Ok(Lent { consumer: Some(consumer), of, home: Arc::clone(self) })
    }

    fn settings(&self, of: Use) -> rdkafka::ClientConfig {
        match of {
            Use::Scan => self.config.consumer("tradeflow-reader", AtEnd::Tell),
            Use::ScanAll => {
                let mut settings = self.config.consumer("tradeflow-reader", AtEnd::Tell);
                settings.set("isolation.level", "read_uncommitted");
                settings
            }
            Use::Read(gather) => self.config.reader(gather),
        }
    }

    /// Takes the log lines and errors of those that are kept.
    pub(super) fn drain(&self) {
        for (_, consumer) in self.idle().iter() {
            drain(consumer);
        }
    }
}

/// Each takes a tenth of a second to close.
impl Drop for Consumers {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut *self.idle());
        std::thread::scope(|scope| {
            for (_, consumer) in idle {
                scope.spawn(move || drop(consumer));
            }
        });
    }
}

/// A consumer in use. When it is dropped its partitions are taken from it, and it is kept for the next.
///
/// What it had fetched of them is never seen again: the client marks each fetch with the assignment that it was for.
pub(super) struct Lent {
    /// There until it is dropped.
    consumer: Option<BaseConsumer<Context>>,
    of: Use,
    home: Arc<Consumers>,
}

impl Lent {
    /// Asks who leads a topic. The client would look for the leader of a topic that it has not had before within a second, and
    /// only then begin to fetch.
    pub(super) fn find(&self, topic: &Topic) {
        // Without an answer it looks by itself.
        let _ = self.fetch_metadata(Some(topic.as_str()), FIND_MAX);
    }
}

impl Deref for Lent {
    type Target = BaseConsumer<Context>;

    fn deref(&self) -> &Self::Target {
        self.consumer.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        let free = consumer.unassign().is_ok();
        let mut idle = self.home.idle();
        if free && idle.len() < IDLE_MAX {
            idle.push((self.of, consumer));
        }
    }
}
