//! Topics: what there is, and creation of what is missing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::config::{AtEnd, KafkaConfig, RECORD_BYTES_MAX};
use super::consumers::Consumers;
use super::context::Context;
use crate::error::BusError;
use crate::topic::{Topic, TopicKind, TopicSpec};

/// What is known of a topic. Neither changes once it is there.
#[derive(Clone, Copy)]
struct Facts {
    partitions: u32,
    /// Whether it is a table; `None` until someone needs to know.
    table: Option<bool>,
}

/// The topics, and questions about them.
pub(super) struct Catalog {
    config: KafkaConfig,
    context: Context,
    /// A consumer, because one never creates a topic by asking for it.
    client: BaseConsumer<Context>,
    consumers: Arc<Consumers>,
    facts: Mutex<BTreeMap<Topic, Facts>>,
    /// Offsets after those that claims of this process have committed: see [`Self::bounds`].
    committed: Mutex<BTreeMap<(Topic, u32), u64>>,
}

impl Catalog {
    /// Reaches the brokers, or says why not, in a bounded time.
    pub(super) fn connect(config: &KafkaConfig, context: &Context) -> Result<Self, BusError> {
        let client: BaseConsumer<Context> = config
            .consumer("tradeflow", AtEnd::Wait)
            .create_with_context(context.clone())
            .map_err(|error| context.error("connect", &error))?;
        let deadline = Instant::now() + config.timeout.min(Duration::from_secs(10));
        loop {
            // Short waits, with the client's log and errors taken between them: they say why there is no answer.
            match client.fetch_metadata(None, Duration::from_millis(500)) {
                Ok(_) => break,
                Err(error) => {
                    drain(&client);
                    if Instant::now() >= deadline {
                        return Err(context.error("can't be reached", &error));
                    }
                }
            }
        }
        context.forget();
        Ok(Self {
            config: config.clone(),
            context: context.clone(),
            client,
            consumers: Consumers::new(config, context),
            facts: Mutex::default(),
            committed: Mutex::default(),
        })
    }

    /// Takes the log lines and errors that wait.
    pub(super) fn drain(&self) {
        drain(&self.client);
        self.consumers.drain();
    }

    /// The consumers of readers and scans.
    pub(super) fn consumers(&self) -> &Arc<Consumers> {
        &self.consumers
    }

    fn facts(&self) -> MutexGuard<'_, BTreeMap<Topic, Facts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of partitions, from memory where it is known.
    pub(super) fn partitions(&self, topic: &Topic) -> Result<u32, BusError> {
        if let Some(facts) = self.facts().get(topic) {
            return Ok(facts.partitions);
        }
        let partitions = self.ask_partitions(topic)?.ok_or_else(|| BusError::NoTopic(topic.clone()))?;
        self.facts().entry(topic.clone()).or_insert(Facts { partitions, table: None });
        Ok(partitions)
    }

    fn ask_partitions(&self, topic: &Topic) -> Result<Option<u32>, BusError> {
        let doing = || format!("look up topic {topic}");
        let deadline = Instant::now() + self.config.timeout;
        loop {
            let answer = self.client.fetch_metadata(Some(topic.as_str()), self.config.timeout);
            let metadata = answer.map_err(|error| self.context.error(&doing(), &error))?;
            let found = metadata.topics().iter().find(|found| found.name() == topic.as_str());
            let code = found.and_then(|found| found.error()).map(Code::from);
            match (found, code) {
                (None, _) | (_, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)) => return Ok(None),
                (Some(found), None) if !found.partitions().is_empty() => {
                    return Ok(Some(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX)));
                }
                // Just created, and its leaders are not chosen yet.
                (_, Some(Code::LeaderNotAvailable) | None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                (_, code) => {
                    return Err(self.context.code(&doing(), code.unwrap_or(Code::LeaderNotAvailable)));
                }
            }
        }
    }

    /// An error when there is no such partition.
    pub(super) fn check(&self, topic: &Topic, partition: u32) -> Result<(), BusError> {
        let partitions = self.partitions(topic)?;
        if partition < partitions {
            return Ok(());
        }
        let reason = format!("there is no partition {partition}, the topic has {partitions}");
        Err(BusError::other(topic.as_str(), reason))
    }

    /// Whether deletions may be written to it.
    pub(super) fn is_table(&self, topic: &Topic) -> Result<bool, BusError> {
        let partitions = self.partitions(topic)?;
        if let Some(Facts { table: Some(table), .. }) = self.facts().get(topic) {
            return Ok(*table);
        }
        let doing = format!("look up the settings of topic {topic}");
        let resource = ResourceSpecifier::Topic(topic.as_str());
        let answer = futures_executor::block_on(self.admin()?.describe_configs([&resource], &self.options()));
        let answer = answer.map_err(|error| self.context.error(&doing, &error))?;
        let settings = answer.into_iter().next().unwrap_or(Err(Code::UnknownTopicOrPartition));
        let settings = settings.map_err(|code| self.context.code(&doing, code))?;
        let policy = settings.get("cleanup.policy").and_then(|entry| entry.value.clone());
        let table = policy.is_some_and(|policy| policy.contains("compact"));
        self.facts().insert(topic.clone(), Facts { partitions, table: Some(table) });
        Ok(table)
    }

    /// Creates what is missing, unless something that is there does not fit.
    pub(super) fn create(&self, specs: &[TopicSpec]) -> Result<(), BusError> {
        let mut missing = Vec::new();
        for spec in specs {
            match self.ask_partitions(&spec.name)? {
                None => missing.push(spec),
                Some(there) if there != spec.partitions => {
                    return Err(BusError::Partitions {
                        topic: spec.name.clone(),
                        there,
                        wanted: spec.partitions,
                    });
                }
                Some(_) => {}
            }
        }
        if !missing.is_empty() {
            self.create_missing(&missing)?;
        }
        for spec in specs {
            let facts = Facts { partitions: spec.partitions, table: Some(spec.kind == TopicKind::Table) };
            self.facts().insert(spec.name.clone(), facts);
        }
        Ok(())
    }

    fn create_missing(&self, missing: &[&TopicSpec]) -> Result<(), BusError> {
        let settings: Vec<_> = missing.iter().map(|spec| settings(spec.kind)).collect();
        let replicas = self.config.replication.map_or(-1, i32::from);
        let mut topics = Vec::with_capacity(missing.len());
        for (spec, settings) in missing.iter().zip(&settings) {
            let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
            let topic = NewTopic::new(spec.name.as_str(), partitions, TopicReplication::Fixed(replicas));
            topics.push(settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value)));
        }
        let answer = futures_executor::block_on(self.admin()?.create_topics(&topics, &self.options()));
        let answers = answer.map_err(|error| self.context.error("create topics", &error))?;
        for answer in answers {
            match answer {
                // Another node was quicker; its partitions are checked below.
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(self.context.code(&format!("create topic {name}"), code)),
            }
        }
        let deadline = Instant::now() + self.config.timeout;
        for spec in missing {
            loop {
                match self.ask_partitions(&spec.name)? {
                    Some(there) if there == spec.partitions => break,
                    Some(there) => {
                        let (topic, wanted) = (spec.name.clone(), spec.partitions);
                        return Err(BusError::Partitions { topic, there, wanted });
                    }
                    // Created, but the broker that was asked does not know it yet.
                    None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                    None => {
                        let reason = format!("topic {} was created, but does not appear", spec.name);
                        return Err(self.context.unavailable(reason));
                    }
                }
            }
        }
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<Context>, BusError> {
        let config = self.config.producer();
        let client: Result<_, KafkaError> = config.create_with_context(self.context.clone());
        client.map_err(|error| self.context.error("connect", &error))
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.config.timeout))
            .operation_timeout(Some(self.config.timeout))
    }

    /// First offset that is kept, and the one after the last that readers may see.
    ///
    /// A commit is acknowledged before it is marked in the partitions: what this process has committed is waited for, so
    /// that it finds what it wrote.
    pub(super) fn bounds(&self, topic: &Topic, partition: u32) -> Result<Range<u64>, BusError> {
        self.check(topic, partition)?;
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = committed.get(&(topic.clone(), partition)).copied().unwrap_or(0);
        drop(committed);
        self.await_end(topic, partition, wanted, self.config.timeout)
    }

    /// Waits, at most for so long, until the commit of the record at this offset is marked in its partition.
    pub(super) fn await_mark(&self, topic: &Topic, partition: u32, offset: u64, wait: Duration) {
        // Without an answer the next transaction will say what is wrong.
        let _ = self.await_end(topic, partition, offset + 1, wait);
    }

    /// The bounds of a partition once its end is there, or when it does not come in time.
    fn await_end(
        &self,
        topic: &Topic,
        partition: u32,
        wanted: u64,
        wait: Duration,
    ) -> Result<Range<u64>, BusError> {
        let deadline = Instant::now() + wait;
        loop {
            let bounds = watermarks(&self.client, &self.context, topic, partition, wait)?;
            if bounds.end >= wanted || Instant::now() >= deadline {
                return Ok(bounds);
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// A claim has committed records up to this offset.
    pub(super) fn note_commit(&self, topic: &Topic, partition: u32, offset: u64) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let end = committed.entry((topic.clone(), partition)).or_default();
        *end = (*end).max(offset + 1);
    }
}

pub(super) fn drain(client: &BaseConsumer<Context>) {
    // Bounded, so that a broken client can't hold its caller.
    for _ in 0..1000 {
        if client.poll(Duration::ZERO).is_none() {
            break;
        }
    }
}

/// As [`Catalog::bounds`], as it stands.
pub(super) fn watermarks(
    client: &BaseConsumer<Context>,
    context: &Context,
    topic: &Topic,
    partition: u32,
    timeout: Duration,
) -> Result<Range<u64>, BusError> {
    let number = i32::try_from(partition).unwrap_or(i32::MAX);
    let deadline = Instant::now() + timeout;
    let (low, high) = loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match client.fetch_watermarks(topic.as_str(), number, left) {
            Ok(bounds) => break bounds,
            // Just created, or moving from one broker to another: the client asks once, and leaves it to us to go on.
            Err(error) if is_without_leader(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(context.error(&format!("bounds of {topic}/{partition}"), &error)),
        }
    };
    let low = u64::try_from(low).unwrap_or(0);
    Ok(low..u64::try_from(high).unwrap_or(0).max(low))
}

fn is_without_leader(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::ReplicaNotAvailable
                | Code::OffsetNotAvailable
                | Code::UnknownTopicOrPartition
        )
    )
}

fn settings(kind: TopicKind) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("max.message.bytes", RECORD_BYTES_MAX.to_string()),
        // The record's own time counts, as it is: of a replayed day, or of a venue whose clock is ahead.
        ("message.timestamp.type", "CreateTime".to_owned()),
        ("message.timestamp.after.max.ms", i64::MAX.to_string()),
    ];
    match kind {
        TopicKind::Log(retention) => {
            let age = retention.age.map_or(-1, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            let bytes = retention.bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
            settings.push(("cleanup.policy", "delete".to_owned()));
            settings.push(("retention.ms", age.to_string()));
            settings.push(("retention.bytes", bytes.to_string()));
            // Whole segments are deleted, and only when they are over: they must be smaller than the limit.
            if let Some(age) = retention.age {
                let ms = u64::try_from(age.as_millis() / 8).unwrap_or(u64::MAX);
                settings.push(("segment.ms", ms.clamp(1_000, 7 * 86_400_000).to_string()));
            }
            if let Some(bytes) = retention.bytes {
                settings.push(("segment.bytes", (bytes / 8).clamp(1 << 20, 1 << 30).to_string()));
            }
        }
        TopicKind::Table => {
            settings.push(("cleanup.policy", "compact".to_owned()));
            // Reading a table reads its partition to the end: kept short.
            settings.push(("min.cleanable.dirty.ratio", "0.2".to_owned()));
            settings.push(("segment.ms", "600000".to_owned()));
            settings.push(("segment.bytes", (64_u32 << 20).to_string()));
        }
    }
    settings
}
