//! Reading one partition to its end as it is now. The end can't be told from offsets: where a transaction ends there is a
//! mark that no reader sees. The client tells when it has come there.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::config::{AtEnd, KafkaConfig};
use super::context::Context;
use super::message::stored;
use super::topics::Catalog;
use crate::bus::{Position, Scan, Stored};
use crate::error::BusError;

/// What a scan shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// What was committed.
    Committed,
    /// All that was ever written.
    All,
}

/// A partition that is being read to its end.
pub(super) struct KafkaScan {
    consumer: BaseConsumer<Context>,
    context: Context,
    from: Position,
    timeout: Duration,
    ended: bool,
}

impl KafkaScan {
    pub(super) fn new(
        config: &KafkaConfig,
        context: &Context,
        catalog: &Catalog,
        from: &Position,
        shows: Shows,
    ) -> Result<Self, BusError> {
        let bounds = catalog.bounds(&from.topic, from.partition)?;
        let from = Position { offset: from.offset.max(bounds.start), ..from.clone() };
        let doing = || format!("read {}/{}", from.topic, from.partition);
        let mut settings = config.consumer("tradeflow-reader", AtEnd::Tell);
        if shows == Shows::All {
            settings.set("isolation.level", "read_uncommitted");
        }
        let consumer: BaseConsumer<Context> =
            settings.create_with_context(context.clone()).map_err(|error| context.error(&doing(), &error))?;
        let ended = shows == Shows::Committed && from.offset >= bounds.end;
        if !ended {
            let mut list = TopicPartitionList::with_capacity(1);
            let partition = i32::try_from(from.partition).unwrap_or(i32::MAX);
            let offset = i64::try_from(from.offset).unwrap_or(i64::MAX);
            list.add_partition_offset(from.topic.as_str(), partition, Offset::Offset(offset))
                .and_then(|()| consumer.assign(&list))
                .map_err(|error| context.error(&doing(), &error))?;
        }
        Ok(Self { consumer, context: context.clone(), from, timeout: config.timeout, ended })
    }
}

impl Scan for KafkaScan {
    fn next(&mut self, max: usize) -> Result<Vec<Stored>, BusError> {
        let doing = || format!("read {}/{}", self.from.topic, self.from.partition);
        let mut records = Vec::new();
        // For the time since the last record: there may be many.
        let deadline = Instant::now() + self.timeout;
        while !self.ended && records.len() < max {
            let wait = if records.is_empty() { Duration::from_millis(100) } else { Duration::ZERO };
            match self.consumer.poll(wait) {
                Some(Ok(message)) => records.push(stored(&self.from.topic, &message)),
                Some(Err(KafkaError::PartitionEOF(_))) => self.ended = true,
                None if !records.is_empty() => break,
                // A broker is away: the client looks for it by itself.
                Some(Err(error)) if Instant::now() < deadline => {
                    tracing::debug!(target: "kafka", "{}: {error}", doing());
                }
                Some(Err(error)) => return Err(self.context.error(&doing(), &error)),
                None if Instant::now() < deadline => {}
                None => return Err(self.context.unavailable(format!("{}: no answer", doing()))),
            }
        }
        Ok(records)
    }
}
