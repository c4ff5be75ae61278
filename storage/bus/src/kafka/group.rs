//! Consumer groups: who owns which partition, and how far each group has read.
//!
//! Members of group `G` meet in Kafka's group `G.members`; the committed positions are those of Kafka's group `G`, which
//! has no members. So a position can be committed by whoever read up to it, during a rebalance too, and is never refused
//! because of it; the records are read through [`crate::Reader`], with positions of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

use super::config::{AtEnd, KafkaConfig};
use super::consumers::wait_until;
use super::context::Context;
use super::topics::{Catalog, drain};
use crate::bus::{GroupEvent, Membership, Position};
use crate::error::BusError;
use crate::topic::Topic;

/// Clients that are kept for the groups whose positions were last used.
const CLIENTS_MAX: usize = 8;

/// The committed positions of groups.
pub(super) struct Positions {
    config: KafkaConfig,
    context: Context,
    catalog: Arc<Catalog>,
    clients: Mutex<BTreeMap<String, Arc<BaseConsumer<Context>>>>,
}

impl Positions {
    pub(super) fn new(config: &KafkaConfig, context: &Context, catalog: &Arc<Catalog>) -> Self {
        Self {
            config: config.clone(),
            context: context.clone(),
            catalog: Arc::clone(catalog),
            clients: Mutex::default(),
        }
    }

    fn client(&self, group: &str) -> Result<Arc<BaseConsumer<Context>>, BusError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        for client in clients.values() {
            drain(client);
        }
        if let Some(client) = clients.get(group) {
            return Ok(Arc::clone(client));
        }
        let client = self.config.consumer(group, AtEnd::Wait).create_with_context(self.context.clone());
        let client = Arc::new(client.map_err(|error| self.context.error("connect", &error))?);
        if clients.len() >= CLIENTS_MAX {
            clients.pop_first();
        }
        clients.insert(group.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    pub(super) fn committed(
        &self,
        group: &str,
        topic: &Topic,
        partition: u32,
    ) -> Result<Option<u64>, BusError> {
        self.catalog.check(topic, partition)?;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(topic.as_str(), i32::try_from(partition).unwrap_or(i32::MAX));
        let doing = || format!("position of group {group} in {topic}/{partition}");
        let client = self.client(group)?;
        let list = self.again(&doing, || client.committed_offsets(list.clone(), self.config.timeout))?;
        let found = list.elements().into_iter().next().map(|element| (element.error(), element.offset()));
        match found {
            Some((Err(error), _)) => Err(self.context.error(&doing(), &error)),
            Some((Ok(()), Offset::Offset(offset))) => Ok(u64::try_from(offset).ok()),
            _ => Ok(None),
        }
    }

    pub(super) fn commit(&self, group: &str, positions: &[Position]) -> Result<(), BusError> {
        if positions.is_empty() {
            return Ok(());
        }
        let doing = || format!("commit positions of group {group}");
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for Position { topic, partition, offset } in positions {
            self.catalog.check(topic, *partition)?;
            let (number, offset) = (i32::try_from(*partition), i64::try_from(*offset));
            let (number, offset) = (number.unwrap_or(i32::MAX), offset.unwrap_or(i64::MAX));
            list.add_partition_offset(topic.as_str(), number, Offset::Offset(offset))
                .map_err(|error| self.context.error(&doing(), &error))?;
        }
        let client = self.client(group)?;
        self.again(&doing, || client.commit(&list, CommitMode::Sync))
    }

    /// Tries as long as the group's coordinator is being looked for.
    fn again<T>(
        &self,
        doing: &dyn Fn() -> String,
        mut act: impl FnMut() -> Result<T, KafkaError>,
    ) -> Result<T, BusError> {
        let deadline = Instant::now() + self.config.timeout;
        loop {
            match act() {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let passing = matches!(
                        error.rdkafka_error_code(),
                        Some(
                            Code::WaitingForCoordinator
                                | Code::CoordinatorNotAvailable
                                | Code::CoordinatorLoadInProgress
                                | Code::NotCoordinator
                                | Code::BrokerTransportFailure
                                | Code::AllBrokersDown
                                | Code::OperationTimedOut
                                | Code::RequestTimedOut
                        )
                    );
                    if !passing || Instant::now() >= deadline {
                        return Err(self.context.error(&doing(), &error));
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// A member of a group. It is told which partitions are its own; it reads nothing itself.
pub(super) struct Member {
    consumer: BaseConsumer<Changes>,
    context: Context,
    group: String,
    /// Partitions that the caller is letting go of.
    leaving: Option<TopicPartitionList>,
}

impl Member {
    pub(super) fn join(
        config: &KafkaConfig,
        context: &Context,
        catalog: &Catalog,
        group: &str,
        topic: &Topic,
    ) -> Result<Self, BusError> {
        catalog.partitions(topic)?;
        let group = format!("{group}.members");
        let changes =
            Changes { context: context.clone(), closing: AtomicBool::new(false), list: Mutex::default() };
        let consumer: BaseConsumer<Changes> = config
            .consumer(&group, AtEnd::Wait)
            .create_with_context(changes)
            .map_err(|error| context.error("join", &error))?;
        consumer.subscribe(&[topic.as_str()]).map_err(|error| context.error("join", &error))?;
        Ok(Self { consumer, context: context.clone(), group, leaving: None })
    }

    fn release(&mut self) {
        if let Some(list) = self.leaving.take() {
            unassign(&self.consumer, &list);
        }
    }
}

impl Membership for Member {
    fn poll(&mut self, timeout: Duration) -> Result<Vec<GroupEvent>, BusError> {
        self.release();
        let deadline = Instant::now() + timeout;
        loop {
            match self.consumer.poll(wait_until(deadline)) {
                // The partitions are paused: a record that was under way is not ours to read.
                None | Some(Ok(_)) => {}
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(
                        Code::TopicAuthorizationFailed
                        | Code::GroupAuthorizationFailed
                        | Code::InconsistentGroupProtocol
                        | Code::InvalidSessionTimeout
                        | Code::FencedInstanceId
                        | Code::UnknownTopicOrPartition
                        | Code::UnknownTopic
                        | Code::Fatal,
                    ) => return Err(self.context.error(&format!("group {}", self.group), &error)),
                    // A broker is away, or the group is on the move: the client goes on by itself.
                    _ => tracing::debug!(target: "kafka", "group {}: {error}", self.group),
                },
            }
            let changes: Vec<Change> = self.consumer.context().list().drain(..).collect();
            let mut events = Vec::new();
            for change in changes {
                match change {
                    Change::Assigned(partitions) => events.push(GroupEvent::Assigned(partitions)),
                    Change::Lost(partitions) => events.push(GroupEvent::Lost(partitions)),
                    Change::Revoked(list) => {
                        events.push(GroupEvent::Revoked(partitions(&list)));
                        self.leaving = Some(list);
                    }
                }
            }
            if !events.is_empty() || Instant::now() >= deadline {
                return Ok(events);
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Leaving revokes all that is left, which is let go of at once.
        self.consumer.context().closing.store(true, Ordering::SeqCst);
        self.release();
    }
}

enum Change {
    Assigned(Vec<u32>),
    Revoked(TopicPartitionList),
    Lost(Vec<u32>),
}

/// Notes what changes. A rebalance waits until what is revoked was let go of, so one is noted at a time.
struct Changes {
    context: Context,
    closing: AtomicBool,
    list: Mutex<VecDeque<Change>>,
}

impl Changes {
    fn list(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Changes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientContext::error(&self.context, error, reason);
    }
}

impl ConsumerContext for Changes {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let changed = partitions(list);
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            assign(consumer, list);
            if !changed.is_empty() {
                self.list().push_back(Change::Assigned(changed));
            }
            return;
        }
        let lost = consumer.assignment_lost();
        if lost || changed.is_empty() || self.closing.load(Ordering::SeqCst) {
            unassign(consumer, list);
            if lost && !changed.is_empty() {
                self.list().push_back(Change::Lost(changed));
            }
            return;
        }
        // Others get them when the caller has let go of them, and asks again.
        self.list().push_back(Change::Revoked(list.clone()));
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<u32> {
    let mut partitions: Vec<u32> =
        list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
    partitions.sort_unstable();
    partitions
}

fn assign(consumer: &BaseConsumer<Changes>, list: &mut TopicPartitionList) {
    // The records are read elsewhere: from the end, and paused at once.
    let assigned = list.set_all_offsets(Offset::End).and_then(|()| match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    });
    if let Err(error) = assigned.and_then(|()| consumer.pause(list)) {
        tracing::warn!(target: "kafka", "assignment of partitions: {error}");
    }
}

fn unassign(consumer: &BaseConsumer<Changes>, list: &TopicPartitionList) {
    let unassigned = match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    };
    if let Err(error) = unassigned {
        tracing::warn!(target: "kafka", "release of partitions: {error}");
    }
}
