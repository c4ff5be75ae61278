//! Reads what cells put on the bus into the tables of the state. Of several nodes one reads each partition, by a consumer
//! group; should two read one for a moment, the tables take each record once all the same.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Projector`]: the thread that follows the bus; [`rebuild`]: all of it anew |
//! | `rows.rs` | what a record comes to |

pub(crate) mod rows;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tradeflow_bus::{Bus, BusError, Clock, GroupEvent, Position, Reader, SetAside, Stored, Topic, Topics};
use tradeflow_state::trading::{Batch, Projected};
use tradeflow_state::{State, StateError};

use crate::worker::Worker;

/// Why the tables can't be written.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The database.
    #[error(transparent)]
    State(#[from] StateError),
}

/// How it goes.
#[derive(Debug, Default)]
pub struct ProjectorStatus {
    /// Records read into the tables.
    pub records: AtomicU64,
    /// Records that could not be read, and were set aside.
    pub poison: AtomicU64,
    /// Whether the last try failed.
    pub failing: AtomicBool,
    /// The last error.
    pub last_error: Mutex<Option<String>>,
}

/// Follows the bus. Dropping it stops it.
#[derive(Debug)]
pub struct Projector {
    status: Arc<ProjectorStatus>,
    _worker: Worker,
}

/// Records that are written in one transaction at most.
const BATCH_MAX: usize = 500;
/// A database that has not answered by then is away: behind a network that loses everything it never would.
const ANSWERS_MAX: Duration = Duration::from_secs(10);
/// For so long it waits for records.
const POLL: Duration = Duration::from_millis(50);
/// How long a read gathers what comes.
const GATHER: Duration = Duration::from_millis(20);
/// For so long it waits after a failure.
const PAUSE: Duration = Duration::from_millis(500);

impl Projector {
    /// Begins where the tables end. `origin` names the bus, `handle` is of the runtime that the database is asked on.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(
        bus: Arc<dyn Bus>,
        topics: &Topics,
        (group, origin): (String, String),
        state: State,
        clock: Arc<dyn Clock>,
        handle: Handle,
    ) -> std::io::Result<Self> {
        let status = Arc::new(ProjectorStatus::default());
        let work = Work {
            aside: SetAside::new(bus.clone(), topics.dead_letters.clone()),
            read: Tables { bus, origin, topics: tables(topics), state, handle },
            group,
            clock,
            status: status.clone(),
        };
        let worker = Worker::start("projector", move |stop| {
            while !stop.load(Ordering::Relaxed) {
                if let Err(error) = work.follow(stop) {
                    tracing::warn!(%error, "read models");
                    work.failing(Some(error.to_string()));
                    let _ = sleep(PAUSE, stop);
                }
            }
        })?;
        Ok(Self { status, _worker: worker })
    }

    /// How it goes.
    pub fn status(&self) -> Arc<ProjectorStatus> {
        self.status.clone()
    }
}

/// The topics that become tables.
fn tables(topics: &Topics) -> [Topic; 3] {
    [topics.orders.clone(), topics.fills.clone(), topics.equity.clone()]
}

/// Waits, unless it is to stop.
fn sleep(time: Duration, stop: &AtomicBool) -> bool {
    const STEP: Duration = Duration::from_millis(20);
    for _ in 0..time.as_millis() / STEP.as_millis() {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        std::thread::sleep(STEP);
    }
    true
}

struct Work {
    read: Tables,
    aside: SetAside,
    group: String,
    clock: Arc<dyn Clock>,
    status: Arc<ProjectorStatus>,
}

/// Where each partition is read from, as the tables have it.
type Places = BTreeMap<(Topic, u32), Option<u64>>;

impl Work {
    /// Follows the partitions that fall to it until it is to stop, or something fails.
    fn follow(&self, stop: &AtomicBool) -> Result<(), ProjectError> {
        let mut membership = self.read.bus.join(&self.group, &self.read.topics[0])?;
        let mut reader = self.read.bus.gathering_reader(&[], GATHER)?;
        let mut places = Places::new();
        while !stop.load(Ordering::Relaxed) {
            for event in membership.poll(Duration::ZERO)? {
                match event {
                    GroupEvent::Assigned(partitions) => {
                        for (topic, partition) in self.read.of(&partitions) {
                            if stop.load(Ordering::Relaxed) {
                                return Ok(());
                            }
                            let from = self.read.begin(reader.as_mut(), &topic, partition)?;
                            places.insert((topic, partition), from);
                        }
                    }
                    GroupEvent::Revoked(partitions) | GroupEvent::Lost(partitions) => {
                        for (topic, partition) in self.read.of(&partitions) {
                            reader.remove(&topic, partition);
                            places.remove(&(topic, partition));
                        }
                    }
                }
            }
            let records = match reader.poll(BATCH_MAX, POLL) {
                Err(BusError::Trimmed { topic, partition, first, .. }) => {
                    tracing::warn!(%topic, partition, first, "read models: retention was faster");
                    reader.set(&Position { topic, partition, offset: first })?;
                    continue;
                }
                records => records?,
            };
            for ((topic, partition), records) in by_partition(records) {
                let Some(from) = places.get(&(topic.clone(), partition)).copied() else { continue };
                match self
                    .read
                    .write(&topic, partition, from, &records, |record, why| self.poison(record, why))?
                {
                    Some(next) => {
                        self.status.records.fetch_add(records.len() as u64, Ordering::Relaxed);
                        places.insert((topic, partition), Some(next));
                    }
                    // Another node was here in between.
                    None => {
                        let from = self.read.begin(reader.as_mut(), &topic, partition)?;
                        places.insert((topic, partition), from);
                    }
                }
            }
            self.failing(None);
        }
        Ok(())
    }

    fn failing(&self, error: Option<String>) {
        self.status.failing.store(error.is_some(), Ordering::Relaxed);
        if let (Some(error), Ok(mut last)) = (error, self.status.last_error.lock()) {
            *last = Some(error);
        }
    }

    fn poison(&self, record: &Stored, why: &str) -> Result<(), BusError> {
        self.status.poison.fetch_add(1, Ordering::Relaxed);
        tracing::error!(topic = %record.topic, record.partition, record.offset, why, "a record was set aside");
        self.aside.record(record, why, self.clock.now())
    }
}

fn by_partition(records: Vec<Stored>) -> BTreeMap<(Topic, u32), Vec<Stored>> {
    let mut groups: BTreeMap<_, Vec<Stored>> = BTreeMap::new();
    for record in records {
        groups.entry((record.topic.clone(), record.partition)).or_default().push(record);
    }
    groups
}

/// The bus on one side, the tables on the other.
struct Tables {
    bus: Arc<dyn Bus>,
    origin: String,
    topics: [Topic; 3],
    state: State,
    handle: Handle,
}

impl Tables {
    fn of(&self, partitions: &[u32]) -> Vec<(Topic, u32)> {
        let topics = self.topics.iter();
        topics.flat_map(|topic| partitions.iter().map(|partition| (topic.clone(), *partition))).collect()
    }

    /// Reads a partition from where its table ends.
    fn begin(
        &self,
        reader: &mut dyn Reader,
        topic: &Topic,
        partition: u32,
    ) -> Result<Option<u64>, ProjectError> {
        let from = self.from(topic, partition)?;
        let bounds = self.bus.bounds(topic, partition)?;
        let offset = from.unwrap_or(0).max(bounds.start);
        reader.set(&Position { topic: topic.clone(), partition, offset })?;
        Ok(from)
    }

    fn from(&self, topic: &Topic, partition: u32) -> Result<Option<u64>, ProjectError> {
        self.ask(self.state.projected(&self.origin, topic.as_str(), partition))
    }

    /// Waits for the database.
    fn ask<T>(&self, asked: impl Future<Output = Result<T, StateError>>) -> Result<T, ProjectError> {
        let answered = self.handle.block_on(async { tokio::time::timeout(ANSWERS_MAX, asked).await });
        Ok(answered.unwrap_or_else(|_| {
            Err(StateError::Unavailable(format!("no answer within {} s", ANSWERS_MAX.as_secs())))
        })?)
    }

    /// Writes records of a partition; where to read on, or none when someone else wrote in between.
    fn write(
        &self,
        topic: &Topic,
        partition: u32,
        from: Option<u64>,
        records: &[Stored],
        mut poison: impl FnMut(&Stored, &str) -> Result<(), BusError>,
    ) -> Result<Option<u64>, ProjectError> {
        let Some(last) = records.last() else { return Ok(from) };
        let [orders, fills, _] = &self.topics;
        let mut rows: Vec<Projected> = Vec::with_capacity(records.len());
        for record in records {
            let value = record.value.as_deref().unwrap_or_default();
            let row = match topic {
                topic if topic == orders => rows::order(value),
                topic if topic == fills => rows::fill(value),
                _ => rows::equity(value),
            };
            match row {
                Ok(row) => rows.push(row),
                Err(error) => poison(record, &error.to_string())?,
            }
        }
        let next = last.offset + 1;
        let (origin, topic) = (self.origin.as_str(), topic.as_str());
        let batch = Batch { origin, topic, partition, from, next, rows: &rows };
        Ok(self.ask(self.state.project(batch))?.then_some(next))
    }
}

/// Empties the read models and reads the bus anew, to its end as it is: how many records there were. Records that can't be
/// read are told to `poison` and passed over.
///
/// # Errors
/// When bus or database fail, or another one writes meanwhile; it can be run again.
pub fn rebuild(
    bus: Arc<dyn Bus>,
    topics: &Topics,
    origin: String,
    state: State,
    handle: Handle,
    mut poison: impl FnMut(&Stored, &str),
) -> Result<u64, ProjectError> {
    let tables = Tables { bus, origin, topics: tables(topics), state, handle };
    tables.handle.block_on(tables.state.forget_projections())?;
    let mut read = 0;
    for topic in &tables.topics {
        for partition in 0..tables.bus.partitions(topic)? {
            let mut scan = tables.bus.scan(&Position { topic: topic.clone(), partition, offset: 0 })?;
            let mut from = tables.from(topic, partition)?;
            loop {
                let records = scan.next(BATCH_MAX)?;
                if records.is_empty() {
                    break;
                }
                let next = tables.write(topic, partition, from, &records, |record, why| {
                    poison(record, why);
                    Ok(())
                })?;
                // A node that runs has read this partition meanwhile, from the beginning as well.
                let Some(next) = next else { break };
                from = Some(next);
                read += records.len() as u64;
            }
        }
    }
    Ok(read)
}
