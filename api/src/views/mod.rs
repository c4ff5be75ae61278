//! What nodes on one bus tell each other, so that each shows all of it: accounts as their cells are, and quotes.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Views`]: the thread that tells and hears |
//! | `record.rs` | the records of `views.v1` |
//! | `told.rs` | what is to be told |
//! | `heard.rs` | [`Heard`]: what is known of all nodes |
//!
//! # Invariants
//! - It is for showing: nothing that trades, and no alert, goes by what another node tells.
//! - What runs here is shown as it is here ([`NodeSource`]).
//! - Who hears from another of what runs here tells it anew: the table's last word is that of the node that has the cell.
//! - One publication is under way at a time, of one record a key at most. While the bus is away, nothing gathers.

mod heard;
mod record;
#[cfg(test)]
mod tests;
mod told;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tradeflow_bus::{Bus, BusError, Durability, NewRecord, Position, Reader, Receipt, Stored, Topic, Topics};
use uuid::Uuid;

use crate::source::NodeSource;
use crate::worker::{Worker, no_thread};
pub(crate) use heard::better;
pub use heard::{Heard, ShownCell};
pub use record::ViewRecord;
use told::Teller;

/// Tells and hears. Dropping it stops it.
#[derive(Debug)]
pub struct Views {
    _worker: Worker,
}

/// How often it tells, at most.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// For so long it waits for what others tell.
const POLL: Duration = Duration::from_millis(50);
const RECORDS_MAX: usize = 1000;

impl Views {
    /// Begins: what all nodes told last is read, and kept in `heard` with what comes.
    ///
    /// # Errors
    /// When the bus can't be read, or there is no thread.
    pub fn start(
        bus: Arc<dyn Bus>,
        topics: &Topics,
        node: Arc<dyn NodeSource>,
        heard: Arc<Heard>,
    ) -> Result<Self, BusError> {
        let topic = topics.views.clone();
        let offset = bus.bounds(&topic, 0)?.start;
        let mut reader = bus.reader(&[Position { topic: topic.clone(), partition: 0, offset }])?;
        let mut work = Work {
            bus,
            topic,
            node,
            heard,
            teller: Teller::new(Uuid::now_v7().to_string()),
            under_way: None,
            told_at: Instant::now(),
            trouble: false,
        };
        let worker = Worker::repeat("views", move || {
            work.hear(reader.as_mut());
            work.tell();
        });
        Ok(Self { _worker: worker.map_err(no_thread("views"))? })
    }
}

struct Work {
    bus: Arc<dyn Bus>,
    topic: Topic,
    node: Arc<dyn NodeSource>,
    heard: Arc<Heard>,
    teller: Teller,
    under_way: Option<Receipt>,
    told_at: Instant,
    trouble: bool,
}

impl Work {
    fn hear(&mut self, reader: &mut dyn Reader) {
        match reader.poll(RECORDS_MAX, POLL) {
            Ok(records) => records.iter().for_each(|record| self.take(record)),
            Err(BusError::Trimmed { topic, partition, first, .. }) => {
                let _ = reader.set(&Position { topic, partition, offset: first });
            }
            Err(error) => {
                self.note(Some(&error));
                std::thread::sleep(TELL_EVERY);
            }
        }
    }

    fn take(&mut self, stored: &Stored) {
        let Ok(key) = std::str::from_utf8(&stored.key) else { return };
        match stored.value.as_deref().map(ViewRecord::decode) {
            None => self.heard.forget(key),
            Some(Ok(record)) => {
                if record.node != self.teller.node() {
                    self.teller.answer(key);
                }
                self.heard.take(record, &self.node.plan());
            }
            Some(Err(error)) => tracing::debug!(%error, key, stored.offset, "a view is passed over"),
        }
    }

    /// Tells what is due, unless the last of it is still on its way.
    fn tell(&mut self) {
        if let Some(receipt) = &mut self.under_way {
            match receipt.try_now() {
                None => return,
                Some(Ok(_)) => self.note(None),
                Some(Err(error)) => {
                    self.note(Some(&error));
                    self.teller.lost();
                }
            }
            self.under_way = None;
        }
        if self.told_at.elapsed() < TELL_EVERY {
            return;
        }
        self.told_at = Instant::now();
        let now = self.node.now();
        let quotes = if self.node.feeds_run_here() { self.node.board().shared(now) } else { Vec::new() };
        let due = self.teller.due((self.node.view().cells, quotes), &self.node.plan(), now);
        if due.is_empty() {
            return;
        }
        let record = |(key, record): (String, Option<ViewRecord>)| NewRecord {
            topic: self.topic.clone(),
            partition: 0,
            key: key.into(),
            value: record.map(|record| record.encode().into()),
            ts: now,
        };
        let records = due.into_iter().map(record).collect();
        self.under_way = Some(self.bus.publish(records, Durability::Process));
    }

    /// Says that something is wrong, and that it is well again, once.
    fn note(&mut self, error: Option<&BusError>) {
        match error {
            Some(error) if !self.trouble => {
                tracing::warn!(%error, "other nodes do not see what is shown here; trying again");
            }
            None if self.trouble => tracing::info!("other nodes see what is shown here again"),
            _ => {}
        }
        self.trouble = error.is_some();
    }
}
