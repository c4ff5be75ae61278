//! From gathered rows to records on the bus, and what happens when they do not get there.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Publisher`]: the bounded outbox in front of the bus |
//! | `rows.rs` | the rows of one instrument that are being gathered |
//! | `pressure.rs` | [`Pressure`]: how hard pressed the readers are |
//!
//! # Shedding
//! A vendor does not wait, so what can't be kept up with is left out, by this policy, and counted. What is left out was
//! never on the bus: whoever reads it later, live or in replay, sees the same (invariant I3).
//!
//! | level | quotes | trades | pause after a burst |
//! |---|---|---|---|
//! | [`Level::Free`] | all | all | – |
//! | [`Level::Conflate`] | the newest of each instrument and burst | all | 5 ms |
//! | [`Level::Shed`] | the newest of each instrument and burst | the newest of each instrument and burst | 20 ms |
//!
//! The pause makes bursts larger, so that there is something to conflate: meanwhile what the vendor sends waits in the
//! socket. It is the longest that a socket is kept waiting.
//!
//! The level is the highest that any [`Gauge`] shows: each cell has one for its mailbox, each [`Publisher`] one for its
//! outbox ([`OUTBOX_ROWS_MAX`] rows; conflate from one half, shed from three quarters).
//!
//! # When the bus fails
//! What could not be written goes back into the outbox and is tried again, at first after 50 ms, at last every 5 s; the
//! publisher is [degraded](Counters::is_degraded) meanwhile. When the outbox is full, its oldest rows are shed and
//! counted. The rows of a series reach the bus in the order in which they came: rows whose successors are on the bus
//! already are shed and counted instead of being put behind them. A write of which the bus does not know whether it
//! took place (a broker that died with it) may so be repeated: then its rows are on the bus twice.

mod pressure;
mod rows;

pub use pressure::{Gauge, Level, Pressure};
pub use rows::ROWS_PER_RECORD;
pub(crate) use rows::Rows;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tradeflow_bus::{Bus, BusError, Durability, NewRecord, Receipt, Topic, Topics, partition_of};
use tradeflow_model::Timestamp;

use crate::normalise::Counters;

/// As many rows wait for the bus, written but not confirmed ones included.
pub const OUTBOX_ROWS_MAX: usize = 65_536;
/// As many writes are under way at a time.
const IN_FLIGHT_MAX: usize = 256;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// How often an idle outbox is looked after.
const TEND_EVERY: Duration = Duration::from_millis(20);
/// How long a publisher that is to end still tries to get rid of what it has.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where records go.
#[derive(Debug)]
pub(crate) struct Route {
    trades: (Topic, u32),
    quotes: (Topic, u32),
}

impl Route {
    fn trades(&self, key: &Bytes, value: &[u8], ts: Timestamp) -> NewRecord {
        record(&self.trades, key, value, ts)
    }

    fn quotes(&self, key: &Bytes, value: &[u8], ts: Timestamp) -> NewRecord {
        record(&self.quotes, key, value, ts)
    }
}

/// Retention goes by the time of receipt: a replayed day would be gone at once by its own.
fn record((topic, partitions): &(Topic, u32), key: &Bytes, value: &[u8], ts: Timestamp) -> NewRecord {
    let partition = partition_of(key, *partitions);
    NewRecord {
        topic: topic.clone(),
        partition,
        key: key.clone(),
        value: Some(Bytes::copy_from_slice(value)),
        ts,
    }
}

/// Records that are written in one call, and the rows in each.
type Batch = Vec<(NewRecord, usize)>;

fn rows_of(batch: &Batch) -> usize {
    batch.iter().map(|(_, rows)| rows).sum()
}

/// The outbox of one feed.
pub struct Publisher {
    bus: Arc<dyn Bus>,
    route: Route,
    pressure: Pressure,
    counters: Arc<Counters>,
    outbox: Mutex<Outbox>,
}

struct Outbox {
    /// To be written, oldest first.
    backlog: VecDeque<Batch>,
    /// Written, not confirmed.
    in_flight: VecDeque<(Batch, Receipt)>,
    /// Not taken by the bus, while writes that came later are still under way.
    refused: VecDeque<Batch>,
    /// Rows of all three.
    rows: usize,
    /// Rows of `in_flight`.
    rows_in_flight: usize,
    retry: Option<(Instant, Duration)>,
    gauge: Gauge,
}

impl Publisher {
    /// A publisher to the market-data topics.
    ///
    /// # Errors
    /// [`BusError::NoTopic`] when they were not created.
    pub fn new(
        bus: Arc<dyn Bus>,
        topics: &Topics,
        pressure: &Pressure,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>, BusError> {
        let place = |topic: &Topic| bus.partitions(topic).map(|partitions| (topic.clone(), partitions));
        let route = Route { trades: place(&topics.trades)?, quotes: place(&topics.quotes)? };
        let outbox = Outbox {
            backlog: VecDeque::new(),
            in_flight: VecDeque::new(),
            refused: VecDeque::new(),
            rows: 0,
            rows_in_flight: 0,
            retry: None,
            gauge: pressure.gauge(),
        };
        let outbox = Mutex::new(outbox);
        Ok(Arc::new(Self { bus, route, pressure: pressure.clone(), counters, outbox }))
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The pressure that it goes by.
    pub fn level(&self) -> Level {
        self.pressure.level()
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// Takes records, and writes what can be written now.
    pub(crate) fn send(&self, batch: Batch) {
        let mut outbox = self.lock();
        outbox.rows += rows_of(&batch);
        outbox.backlog.push_back(batch);
        self.tend_outbox(&mut outbox);
    }

    /// Looks after the outbox: takes the bus's answers, writes what waits, tries again what is due.
    pub fn tend(&self) {
        self.tend_outbox(&mut self.lock());
    }

    /// Looks after the outbox while the feed is quiet, until `stop`: to be run as a task, and stopped after the feed. At
    /// the end it has up to five seconds to get rid of what is left; the rest is shed and counted.
    pub async fn upkeep(self: Arc<Self>, stop: CancellationToken) {
        while tokio::time::timeout(TEND_EVERY, stop.cancelled()).await.is_err() {
            self.tend();
        }
        let end = Instant::now() + FAREWELL;
        self.tend();
        while self.lock().rows > 0 && Instant::now() < end {
            tokio::time::sleep(TEND_EVERY).await;
            self.tend();
        }
        self.give_up(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tend_outbox(&self, outbox: &mut Outbox) {
        self.settle(outbox);
        while self.may_write(outbox)
            && let Some(batch) = outbox.backlog.pop_front()
        {
            let records = batch.iter().map(|(record, _)| record.clone()).collect();
            let receipt = self.bus.publish(records, Durability::Process);
            outbox.rows_in_flight += rows_of(&batch);
            outbox.in_flight.push_back((batch, receipt));
            self.settle(outbox);
        }
        while outbox.rows > OUTBOX_ROWS_MAX
            && let Some(batch) = outbox.backlog.pop_front()
        {
            self.shed(outbox, rows_of(&batch));
        }
        outbox.gauge.set_fill(outbox.rows, OUTBOX_ROWS_MAX);
        self.counters.set_pending(outbox.rows);
    }

    fn may_write(&self, outbox: &Outbox) -> bool {
        let (limit, due) = match outbox.retry {
            // One by one while the bus is in doubt.
            Some((at, _)) => (1, Instant::now() >= at),
            None => (IN_FLIGHT_MAX, true),
        };
        due && outbox.refused.is_empty()
            && outbox.in_flight.len() < limit
            && outbox.rows_in_flight < OUTBOX_ROWS_MAX
    }

    /// Takes the answers that are there, in the order of the writes.
    fn settle(&self, outbox: &mut Outbox) {
        while let Some((_, receipt)) = outbox.in_flight.front_mut()
            && let Some(answer) = receipt.try_now()
            && let Some((batch, _)) = outbox.in_flight.pop_front()
        {
            outbox.rows_in_flight -= rows_of(&batch);
            match answer {
                Ok(_) => self.written(outbox, &batch),
                Err(error) => self.refused(outbox, batch, &error),
            }
        }
        if outbox.in_flight.is_empty() && !outbox.refused.is_empty() {
            while let Some(batch) = outbox.refused.pop_back() {
                outbox.backlog.push_front(batch);
            }
        }
    }

    fn written(&self, outbox: &mut Outbox, batch: &Batch) {
        let rows = rows_of(batch);
        outbox.rows -= rows;
        self.counters.add_published(rows);
        // What was refused before may not come behind what has been written now.
        let mut overtaken = 0;
        for refused in &mut outbox.refused {
            refused.retain(|(old, rows)| {
                let behind = batch.iter().any(|(new, _)| new.topic == old.topic && new.key == old.key);
                overtaken += if behind { *rows } else { 0 };
                !behind
            });
        }
        outbox.refused.retain(|batch| !batch.is_empty());
        self.shed(outbox, overtaken);
        if outbox.refused.is_empty() && outbox.retry.take().is_some() {
            self.counters.set_degraded(false);
            tracing::info!(source = self.counters.source(), "market data is written to the bus again");
        }
    }

    fn refused(&self, outbox: &mut Outbox, batch: Batch, error: &BusError) {
        self.counters.add_publish_error(error);
        if matches!(error, BusError::TooLarge { .. }) {
            // Would be refused for ever, and hold up all that follows.
            return self.shed(outbox, rows_of(&batch));
        }
        if outbox.refused.is_empty() {
            let wait = outbox.retry.map_or(RETRY_FIRST, |(_, wait)| (wait * 2).min(RETRY_LAST));
            if outbox.retry.is_none() {
                tracing::warn!(source = self.counters.source(), %error, "market data can't be written to the bus: trying again");
            }
            outbox.retry = Some((Instant::now() + wait, wait));
            self.counters.set_degraded(true);
        }
        outbox.refused.push_back(batch);
    }

    fn shed(&self, outbox: &mut Outbox, rows: usize) {
        outbox.rows -= rows;
        self.counters.add_shed(rows);
    }

    fn give_up(&self, outbox: &mut Outbox) {
        let rows = outbox.rows;
        if rows > 0 {
            tracing::warn!(
                source = self.counters.source(),
                rows,
                "market data was not confirmed by the bus at the end"
            );
        }
        outbox.backlog.clear();
        outbox.in_flight.clear();
        outbox.refused.clear();
        outbox.rows_in_flight = 0;
        self.shed(outbox, rows);
        self.counters.set_pending(0);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.tend();
        self.give_up(&mut self.lock());
    }
}
