//! Reading one partition to its end as it is now. The end can't be told from offsets alone: where a transaction ends there is a
//! mark that no reader sees. The client tells when it has come there; where others go on writing it may never come there, and
//! the first record behind the end tells as well.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;

use super::consumers::{Lent, Use};
use super::context::Context;
use super::message::{offset_of, stored};
use super::reader::list;
use super::topics::{Catalog, watermarks};
use crate::bus::{Position, Scan, Stored};
use crate::error::BusError;

/// A partition that is being read to its end.
pub(super) struct KafkaScan {
    consumer: Lent,
    context: Context,
    from: Position,
    /// What lies there and behind was written since.
    end: u64,
    timeout: Duration,
    ended: bool,
}

impl KafkaScan {
    /// `of`: [`Use::Scan`] or [`Use::ScanAll`].
    pub(super) fn new(
        context: &Context,
        catalog: &Catalog,
        from: &Position,
        of: Use,
        timeout: Duration,
    ) -> Result<Self, BusError> {
        catalog.check(&from.topic, from.partition)?;
        let consumer = catalog.consumers().take(of)?;
        let bounds = match of {
            // The end for this client, which sees more.
            Use::ScanAll => watermarks(&consumer, context, &from.topic, from.partition, timeout)?,
            _ => catalog.bounds(&from.topic, from.partition)?,
        };
        let from = Position { offset: from.offset.max(bounds.start), ..from.clone() };
        let ended = from.offset >= bounds.end;
        if !ended {
            consumer.find(&from.topic);
            let list = list(&from.topic, from.partition, Some(from.offset))?;
            let doing = || format!("read {}/{}", from.topic, from.partition);
            consumer.assign(&list).map_err(|error| context.error(&doing(), &error))?;
        }
        Ok(Self { consumer, context: context.clone(), from, end: bounds.end, timeout, ended })
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
                Some(Ok(message)) => {
                    let offset = offset_of(&message);
                    if offset < self.end {
                        records.push(stored(&self.from.topic, &message));
                    }
                    self.ended = offset + 1 >= self.end;
                }
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
