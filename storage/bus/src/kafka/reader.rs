//! Reading: a consumer whose partitions are assigned by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;

use super::consumers::{Lent, Use, wait_until};
use super::context::Context;
use super::message::{offset_of, partition_of, stored};
use super::topics::{Catalog, watermarks};
use crate::bus::{Position, Reader, Stored};
use crate::error::BusError;
use crate::topic::Topic;

/// Reads the partitions that it was given.
pub(super) struct KafkaReader {
    consumer: Lent,
    context: Context,
    catalog: Arc<Catalog>,
    timeout: Duration,
    /// A few topics, so a list is the quickest.
    topics: Vec<Places>,
    /// When partitions whose position is past their end are looked at again.
    look_again: Option<Instant>,
}

struct Places {
    topic: Topic,
    /// By partition.
    places: Vec<Option<Place>>,
}

#[derive(Clone, Copy)]
struct Place {
    /// The next offset to be read: whatever comes before it is of an assignment that is over.
    next: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// The first offset that is kept is this, and the position lies before it.
    Trimmed(u64),
    /// The position lies past the end.
    Ahead,
}

/// Bytes after which a poll gives what it has.
const POLL_BYTES_MAX: usize = 8 << 20;
/// How often the end of a partition is looked at that has not yet come to the reader's position.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl KafkaReader {
    pub(super) fn new(
        gather: Duration,
        timeout: Duration,
        context: &Context,
        catalog: &Arc<Catalog>,
        from: &[Position],
    ) -> Result<Self, BusError> {
        let mut reader = Self {
            consumer: catalog.consumers().take(Use::Read(gather))?,
            context: context.clone(),
            catalog: Arc::clone(catalog),
            timeout,
            topics: Vec::new(),
            look_again: None,
        };
        for position in from {
            reader.set(position)?;
        }
        Ok(reader)
    }

    fn place(&mut self, topic: &str, partition: u32) -> Option<&mut Place> {
        let places = self.topics.iter_mut().find(|places| places.topic.as_str() == topic)?;
        places.places.get_mut(partition as usize)?.as_mut()
    }

    fn all(&self) -> impl Iterator<Item = (&Topic, u32, Place)> {
        self.topics.iter().flat_map(|topic| {
            let places = (0_u32..).zip(&topic.places);
            places.filter_map(|(partition, place)| Some((&topic.topic, partition, (*place)?)))
        })
    }

    /// Fetches from here on.
    fn assign(&self, topic: &Topic, partition: u32, offset: u64) -> Result<(), BusError> {
        self.unassign(topic, partition);
        let list = list(topic, partition, Some(offset))?;
        self.consumer.incremental_assign(&list).map_err(|error| self.error(&error))
    }

    fn unassign(&self, topic: &Topic, partition: u32) {
        // The client complains in its log about one that is not assigned.
        let is_assigned = self.all().any(|(known, number, place)| {
            known == topic && number == partition && place.state == State::Reading
        });
        if is_assigned && let Ok(list) = list(topic, partition, None) {
            // Fails when it is gone by itself, which is as well.
            let _ = self.consumer.incremental_unassign(&list);
        }
    }

    fn error(&self, error: &KafkaError) -> BusError {
        self.context.error("read", error)
    }

    /// Some position can't be fetched from, and the client does not say which: looks at all of them.
    fn out_of_range(&mut self) -> Result<(), BusError> {
        let places: Vec<_> = self
            .all()
            .filter(|(_, _, place)| place.state == State::Reading)
            .map(|(topic, partition, place)| (topic.clone(), partition, place.next))
            .collect();
        for (topic, partition, next) in places {
            let bounds = watermarks(&self.consumer, &self.context, &topic, partition, self.timeout)?;
            let state = if next < bounds.start {
                State::Trimmed(bounds.start)
            } else if next > bounds.end {
                self.look_again = Some(Instant::now() + LOOK_AGAIN);
                State::Ahead
            } else {
                // It may be this one, back in range since; to assign it again does no harm.
                self.assign(&topic, partition, next)?;
                State::Reading
            };
            if state != State::Reading {
                self.unassign(&topic, partition);
                if let Some(place) = self.place(topic.as_str(), partition) {
                    place.state = state;
                }
            }
        }
        Ok(())
    }

    /// Positions past the end that the end may have come to.
    fn look_ahead(&mut self) -> Result<(), BusError> {
        if self.look_again.is_none_or(|at| Instant::now() < at) {
            return Ok(());
        }
        self.look_again = None;
        let places: Vec<_> = self
            .all()
            .filter(|(_, _, place)| place.state == State::Ahead)
            .map(|(topic, partition, place)| (topic.clone(), partition, place.next))
            .collect();
        for (topic, partition, next) in places {
            if watermarks(&self.consumer, &self.context, &topic, partition, self.timeout)?.end >= next {
                self.set(&Position { topic, partition, offset: next })?;
            } else {
                self.look_again = Some(Instant::now() + LOOK_AGAIN);
            }
        }
        Ok(())
    }

    fn trimmed(&self) -> Option<BusError> {
        self.all().find_map(|(topic, partition, place)| match place.state {
            State::Trimmed(first) => {
                Some(BusError::Trimmed { topic: topic.clone(), partition, wanted: place.next, first })
            }
            State::Reading | State::Ahead => None,
        })
    }
}

/// A partition as the client wants it, to be fetched from an offset where one is given.
pub(super) fn list(
    topic: &Topic,
    partition: u32,
    offset: Option<u64>,
) -> Result<TopicPartitionList, BusError> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut list = TopicPartitionList::with_capacity(1);
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    match offset {
        None => drop(list.add_partition(topic.as_str(), partition)),
        Some(offset) => list
            .add_partition_offset(topic.as_str(), partition, Offset::Offset(number(offset)))
            .map_err(|error| BusError::other(topic.as_str(), format!("offset {offset}: {error}")))?,
    }
    Ok(list)
}

impl Reader for KafkaReader {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Stored>, BusError> {
        let deadline = Instant::now() + timeout;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < max && bytes < POLL_BYTES_MAX {
            if let Some(error) = self.trimmed() {
                // What was read before is handed out first: the error stays.
                return if records.is_empty() { Err(error) } else { Ok(records) };
            }
            self.look_ahead()?;
            let mut wait = Duration::ZERO;
            if records.is_empty() {
                wait = wait_until(self.look_again.map_or(deadline, |at| deadline.min(at)));
            }
            // The message borrows the consumer, the places are beside it.
            let Self { consumer, topics, .. } = self;
            match consumer.poll(wait) {
                None if !records.is_empty() || Instant::now() >= deadline => break,
                None => {}
                Some(Ok(message)) => {
                    let offset = offset_of(&message);
                    let places = topics.iter_mut().find(|places| places.topic.as_str() == message.topic());
                    if let Some(Places { topic, places }) = places
                        && let Some(Some(place)) = places.get_mut(partition_of(&message) as usize)
                        && offset >= place.next
                    {
                        place.next = offset + 1;
                        let record = stored(topic, &message);
                        bytes += record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
                        records.push(record);
                    }
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => self.out_of_range()?,
                    // Of authorisation, of a topic that was deleted, of a record that is broken.
                    Some(
                        code @ (Code::TopicAuthorizationFailed
                        | Code::GroupAuthorizationFailed
                        | Code::ClusterAuthorizationFailed
                        | Code::UnknownTopicOrPartition
                        | Code::UnknownTopic
                        | Code::BadMessage
                        | Code::Fatal),
                    ) => return Err(self.context.code("read", code)),
                    // A broker is away: the client looks for it by itself.
                    _ => tracing::debug!(target: "kafka", "read: {error}"),
                },
            }
        }
        Ok(records)
    }

    fn set(&mut self, position: &Position) -> Result<(), BusError> {
        let Position { topic, partition, offset } = position;
        self.catalog.check(topic, *partition)?;
        let known = self.topics.iter().position(|places| places.topic == *topic);
        if known.is_none() {
            self.consumer.find(topic);
        }
        self.assign(topic, *partition, *offset)?;
        let index = known.unwrap_or_else(|| {
            self.topics.push(Places { topic: topic.clone(), places: Vec::new() });
            self.topics.len() - 1
        });
        let places = &mut self.topics[index].places;
        if places.len() <= *partition as usize {
            places.resize(*partition as usize + 1, None);
        }
        places[*partition as usize] = Some(Place { next: *offset, state: State::Reading });
        Ok(())
    }

    fn remove(&mut self, topic: &Topic, partition: u32) {
        self.unassign(topic, partition);
        if let Some(places) = self.topics.iter_mut().find(|places| places.topic == *topic)
            && let Some(place) = places.places.get_mut(partition as usize)
        {
            *place = None;
        }
    }
}
