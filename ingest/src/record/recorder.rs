//! The thread: reads, flushes, folds, commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tradeflow_bus::{
    Bus, BusError, GroupEvent, Membership, Position, Reader, SetAside, Stored, Topic, Topics,
};
use tradeflow_model::Timestamp;
use tradeflow_storage::catalog::Catalog;

use super::block::Kind;
use super::lane::Lane;
use super::{RecorderConfig, RecorderError, RecorderStatus, add};
use crate::clock::Clock;

/// Records of one poll.
const POLL_RECORDS: usize = 1_024;
/// How long a poll waits.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// How long a read gathers what comes: nobody waits for a file.
const GATHER: Duration = Duration::from_millis(50);
/// Wait before the next try after an error.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// How often the lag is measured.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How often partitions of the catalog are folded that are over, and for how long at a time nothing is read.
const FOLD_EVERY: Duration = Duration::from_secs(300);
const FOLD_WITHIN: Duration = Duration::from_secs(5);
const PURGE_EVERY: Duration = Duration::from_secs(300);
/// A partition of the catalog is folded so long after its end: late rows come before.
const FOLD_AFTER_NS: i64 = 600 * 1_000_000_000;

pub(super) struct Worker {
    config: RecorderConfig,
    bus: Arc<dyn Bus>,
    topics: Topics,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    status: Arc<RecorderStatus>,
    stop: CancellationToken,
    aside: SetAside,
}

type Lanes = BTreeMap<(Kind, u32), Lane>;

impl Worker {
    pub(super) fn new(
        config: RecorderConfig,
        bus: Arc<dyn Bus>,
        topics: Topics,
        catalog: Catalog,
        clock: Arc<dyn Clock>,
        status: Arc<RecorderStatus>,
        stop: CancellationToken,
    ) -> Result<Self, RecorderError> {
        for topic in [&topics.trades, &topics.quotes, &topics.bars, &topics.dead_letters] {
            bus.partitions(topic)?;
        }
        let aside = SetAside::new(Arc::clone(&bus), topics.dead_letters.clone());
        Ok(Self { config, bus, topics, catalog, clock, status, stop, aside })
    }

    /// Until it is stopped. After an error it begins again from what is written.
    pub(super) fn run(self) {
        while !self.stop.is_cancelled() {
            if let Err(error) = self.session() {
                self.status.failed(&error);
                self.pause();
            }
        }
    }

    fn pause(&self) {
        let until = Instant::now() + RETRY_WAIT;
        while Instant::now() < until && !self.stop.is_cancelled() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn session(&self) -> Result<(), RecorderError> {
        let mut members: Vec<(Kind, Box<dyn Membership>)> = Vec::new();
        for kind in Kind::ALL {
            members.push((kind, self.bus.join(&self.config.group, kind.topic(&self.topics))?));
        }
        let mut reader = self.bus.gathering_reader(&[], GATHER)?;
        let mut lanes = Lanes::new();
        let [mut flushed, mut measured, mut folded, mut purged] = [Instant::now(); 4];
        while !self.stop.is_cancelled() {
            for (kind, member) in &mut members {
                for event in member.poll(Duration::ZERO)? {
                    self.regroup(*kind, event, reader.as_mut(), &mut lanes)?;
                }
            }
            let rows: usize = lanes.values().map(Lane::rows).sum();
            if rows < self.config.rows_max {
                self.read(reader.as_mut(), &mut lanes)?;
            }
            if rows >= self.config.rows_max || flushed.elapsed() >= self.config.flush_every {
                self.flush_or_wait(&mut lanes)?;
                flushed = Instant::now();
                if folded.elapsed() >= FOLD_EVERY {
                    self.fold(&lanes, FOLD_WITHIN)?;
                    folded = Instant::now();
                }
            }
            if measured.elapsed() >= STATUS_EVERY {
                self.measure(&lanes)?;
                measured = Instant::now();
            }
            if purged.elapsed() >= PURGE_EVERY {
                self.catalog.appender()?.purge()?;
                purged = Instant::now();
            }
        }
        self.flush(&mut lanes)?;
        self.fold(&lanes, self.config.stop_within)?;
        self.measure(&lanes)
    }

    fn regroup(
        &self,
        kind: Kind,
        event: GroupEvent,
        reader: &mut dyn Reader,
        lanes: &mut Lanes,
    ) -> Result<(), RecorderError> {
        let topic = kind.topic(&self.topics);
        match event {
            GroupEvent::Assigned(partitions) => {
                for partition in partitions {
                    // Each takes its time on Kafka, and the end of a node waits for it.
                    if self.stop.is_cancelled() {
                        return Ok(());
                    }
                    let bus = self.bus.as_ref();
                    let lane =
                        Lane::open(&self.config, bus, &self.catalog, kind, topic, partition, &self.status)?;
                    reader.set(&lane.position(lane.next))?;
                    lanes.insert((kind, partition), lane);
                }
            }
            GroupEvent::Revoked(partitions) => {
                self.flush(lanes)?;
                for partition in partitions {
                    reader.remove(topic, partition);
                    lanes.remove(&(kind, partition));
                }
            }
            GroupEvent::Lost(partitions) => {
                for partition in partitions {
                    reader.remove(topic, partition);
                    lanes.remove(&(kind, partition));
                }
            }
        }
        Ok(())
    }

    fn read(&self, reader: &mut dyn Reader, lanes: &mut Lanes) -> Result<(), RecorderError> {
        match reader.poll(POLL_RECORDS, POLL_WAIT) {
            Ok(records) => {
                let now = self.clock.now();
                for stored in records {
                    self.take(&stored, now, lanes)?;
                }
                Ok(())
            }
            Err(error @ BusError::Trimmed { .. }) => {
                let BusError::Trimmed { topic, partition, wanted, first } = &error else {
                    return Err(error.into());
                };
                // What is before the gap is written as such; the gap is one in `recorded/` too.
                self.flush(lanes)?;
                add(&self.status.lost, first.saturating_sub(*wanted));
                self.status.error(&error);
                if let Some(lane) = self.kind_of(topic).and_then(|kind| lanes.get_mut(&(kind, *partition))) {
                    lane.jump_to(*first);
                    reader.set(&lane.position(*first))?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn kind_of(&self, topic: &Topic) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.topic(&self.topics) == topic)
    }

    fn take(&self, stored: &Stored, now: Timestamp, lanes: &mut Lanes) -> Result<(), RecorderError> {
        let Some(kind) = self.kind_of(&stored.topic) else { return Ok(()) };
        let Some(lane) = lanes.get_mut(&(kind, stored.partition)) else { return Ok(()) };
        match kind.decode(stored.value.as_deref().unwrap_or_default()) {
            Ok(record) => {
                lane.push(stored.offset, &record, now);
                add(&self.status.records, 1);
            }
            Err(error) => {
                self.aside.record(stored, &error.to_string(), now)?;
                add(&self.status.poison, 1);
                lane.skip_to(stored.offset + 1);
            }
        }
        Ok(())
    }

    /// Tries until it is written or the recorder is stopped: what was read is kept, and nothing more is read.
    fn flush_or_wait(&self, lanes: &mut Lanes) -> Result<(), RecorderError> {
        loop {
            match self.flush(lanes) {
                Err(error @ RecorderError::Catalog(_)) if !self.stop.is_cancelled() => {
                    self.status.failed(&error);
                    self.measure(lanes)?;
                    self.pause();
                }
                other => {
                    self.status.failing.store(other.is_err(), Ordering::Relaxed);
                    return other;
                }
            }
        }
    }

    fn flush(&self, lanes: &mut Lanes) -> Result<(), RecorderError> {
        if lanes.values().all(|lane| lane.next == lane.written) {
            return Ok(());
        }
        let mut appender = self.catalog.appender()?;
        let mut positions: Vec<Position> = Vec::new();
        for lane in lanes.values_mut().filter(|lane| lane.next != lane.written) {
            lane.flush(&self.catalog, &mut appender, &self.status)?;
            positions.push(lane.position(lane.written));
        }
        drop(appender);
        self.bus.commit(&self.config.group, &positions)?;
        add(&self.status.flushes, 1);
        Ok(())
    }

    /// Folds partitions of the catalog that are over; when the recorder stops, those that go on too.
    fn fold(&self, lanes: &Lanes, within: Duration) -> Result<(), RecorderError> {
        let over = self.clock.now().saturating_add(-FOLD_AFTER_NS);
        let before = if self.stop.is_cancelled() { Timestamp::MAX } else { over };
        let deadline = Instant::now() + within;
        for lane in lanes.values() {
            add(&self.status.folds, lane.fold(&self.catalog, before, deadline)?);
        }
        Ok(())
    }

    fn measure(&self, lanes: &Lanes) -> Result<(), RecorderError> {
        let mut records = 0;
        for lane in lanes.values() {
            records += self.bus.bounds(&lane.topic, lane.partition)?.end.saturating_sub(lane.written);
        }
        let now = self.clock.now().as_nanos();
        let oldest = lanes.values().filter_map(|lane| lane.since).min();
        let lag = oldest.map_or(0, |since| now.saturating_sub(since.as_nanos()));
        self.status.lag_records.store(records, Ordering::Relaxed);
        self.status.lag_ns.store(lag, Ordering::Relaxed);
        Ok(())
    }
}
