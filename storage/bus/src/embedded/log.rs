//! The log: its topics, and the store under it.
//!
//! One lock, the writer's, orders all changes: offsets are given, the store is changed, and the records are shown to
//! readers while it is held. Readers never take it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Options;
use super::layout::{
    Meta, Segment, chunk_key, chunk_offset, meta_key, meta_rest, pair, segment_of, topic_key, u64_at,
};
use super::partition::{Found, Partition};
use super::store::{Folder, Op, Space, Store};
use super::sync::Syncer;
use crate::error::BusError;
use crate::topic::{Retention, Topic, TopicKind, TopicSpec};

/// How often a writer looks whether the one before is done, and for how long it pauses each time, before it sleeps: some
/// 20 microseconds in all.
const TRIES: u32 = 64;
const PAUSES: u32 = 8;
/// Free space is looked at again after so many bytes.
const ROOM_EVERY_BYTES: u64 = 1 << 20;

/// A topic and its partitions.
pub struct TopicState {
    /// What it keeps.
    pub kind: TopicKind,
    /// Its number in the store.
    pub id: u32,
    /// In their order.
    pub partitions: Vec<Arc<Partition>>,
}

/// The log of one folder.
pub struct Log {
    /// What was set.
    pub options: Options,
    /// Syncs in groups.
    pub syncer: Syncer,
    /// What is under it; closed before the folder is free.
    pub store: Store,
    folder: Folder,
    topics: RwLock<BTreeMap<Topic, Arc<TopicState>>>,
    writer: Mutex<Writer>,
}

/// What belongs to the one who writes.
#[derive(Default)]
pub struct Writer {
    /// Bytes that were written since the disk was last looked at.
    unchecked: Option<u64>,
}

/// A topic's row in `_meta`, as JSON.
#[derive(Serialize, Deserialize)]
struct TopicRow {
    id: u32,
    partitions: u32,
    table: bool,
    age_nanos: Option<u64>,
    bytes: Option<u64>,
}

impl TopicRow {
    fn kind(&self) -> TopicKind {
        if self.table {
            return TopicKind::Table;
        }
        TopicKind::Log(Retention { age: self.age_nanos.map(Duration::from_nanos), bytes: self.bytes })
    }

    fn of(spec: &TopicSpec, id: u32) -> Self {
        let (table, retention) = match spec.kind {
            TopicKind::Table => (true, Retention::default()),
            TopicKind::Log(retention) => (false, retention),
        };
        let age_nanos = retention.age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        Self { id, partitions: spec.partitions, table, age_nanos, bytes: retention.bytes }
    }

    fn op(&self, name: &Topic) -> Op {
        let value = serde_json::to_vec(self).expect("plain data is always JSON");
        Op::set(Space::Meta, topic_key(name.as_str()), value)
    }
}

impl Log {
    /// Opens the log of a locked folder.
    pub fn open(folder: Folder, options: Options) -> Result<Self, BusError> {
        let store = Store::open(&folder, &options)?;
        let rows = rows(&store)?;
        open_logs(&store, &rows)?;
        let mut topics = BTreeMap::new();
        for (topic, row) in rows {
            let state = load(&store, &topic, &row)?;
            topics.insert(topic, Arc::new(state));
        }
        Ok(Self {
            options,
            syncer: Syncer::default(),
            folder,
            topics: RwLock::new(topics),
            store,
            writer: Mutex::default(),
        })
    }

    /// Its folder, for errors.
    pub fn place(&self) -> String {
        self.folder.place()
    }

    /// A topic.
    pub fn topic(&self, topic: &Topic) -> Result<Arc<TopicState>, BusError> {
        let topics = self.topics.read().expect("no one panics while holding it");
        topics.get(topic).cloned().ok_or_else(|| BusError::NoTopic(topic.clone()))
    }

    /// All topics.
    pub fn topics(&self) -> Vec<Arc<TopicState>> {
        self.topics.read().expect("no one panics while holding it").values().cloned().collect()
    }

    /// A partition of a topic.
    pub fn partition(&self, topic: &Topic, partition: u32) -> Result<Arc<Partition>, BusError> {
        let state = self.topic(topic)?;
        state
            .partitions
            .get(partition as usize)
            .cloned()
            .ok_or_else(|| no_partition(topic, partition, &state))
    }

    /// The right to write. Who has it is done in microseconds, and to fall asleep and be woken takes many of them.
    pub fn writer(&self) -> MutexGuard<'_, Writer> {
        for _ in 0..TRIES {
            if let Ok(writer) = self.writer.try_lock() {
                return writer;
            }
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
        }
        self.writer.lock().expect("no one panics while holding it")
    }

    /// Creates the topics that are missing.
    pub fn create(&self, specs: &[TopicSpec]) -> Result<(), BusError> {
        let mut writer = self.writer();
        let mut new: BTreeMap<Topic, TopicRow> = BTreeMap::new();
        let there = self.topics().len() as u32;
        let (mut next, mut ops) = (there, Vec::new());
        for spec in specs {
            if spec.partitions == 0 {
                return Err(BusError::other(spec.name.as_str(), "a topic has at least one partition"));
            }
            let known = match (self.topic(&spec.name), new.get(&spec.name)) {
                (Ok(state), _) => Some((state.id, state.partitions.len() as u32, state.kind)),
                (_, Some(row)) => Some((row.id, row.partitions, row.kind())),
                _ => None,
            };
            let row = match known {
                None => {
                    next += 1;
                    TopicRow::of(spec, next - 1)
                }
                Some((_, there, _)) if there != spec.partitions => {
                    let (topic, wanted) = (spec.name.clone(), spec.partitions);
                    return Err(BusError::Partitions { topic, there, wanted });
                }
                Some((_, _, kind)) if kind == spec.kind => continue,
                Some((_, _, kind)) if (kind == TopicKind::Table) != (spec.kind == TopicKind::Table) => {
                    let reason = format!("it is there as {kind:?}, the configuration says {:?}", spec.kind);
                    return Err(BusError::other(spec.name.as_str(), reason));
                }
                Some((id, _, _)) => TopicRow::of(spec, id),
            };
            ops.push(row.op(&spec.name));
            new.insert(spec.name.clone(), row);
        }
        if new.is_empty() {
            return Ok(());
        }
        self.ready(&mut writer, 0)?;
        let mut names: Vec<_> = new.iter().map(|(name, row)| (row.id, name)).collect();
        names.sort_unstable();
        for (id, name) in names {
            if id >= there {
                self.store.open_log(id, name.as_str())?;
            }
        }
        self.commit(&mut writer, &ops)?;
        let mut topics = self.topics.write().expect("no one panics while holding it");
        for (name, row) in new {
            let state = match topics.get(&name) {
                // Another retention: the partitions stay.
                Some(state) => {
                    TopicState { kind: row.kind(), id: state.id, partitions: state.partitions.clone() }
                }
                None => load(&self.store, &name, &row)?,
            };
            topics.insert(name, Arc::new(state));
        }
        Ok(())
    }

    /// Whether `bytes` more can be written: looks at the disk now and then.
    pub fn ready(&self, writer: &mut Writer, bytes: usize) -> Result<(), BusError> {
        let unchecked = writer.unchecked.map(|unchecked| unchecked + bytes as u64);
        writer.unchecked = match unchecked {
            Some(unchecked) if unchecked < ROOM_EVERY_BYTES => Some(unchecked),
            _ if self.folder.free()? < self.options.disk_reserve_bytes => {
                writer.unchecked = None;
                return Err(BusError::DiskFull { place: self.place() });
            }
            _ => Some(0),
        };
        Ok(())
    }

    /// Changes the store: all or none. Only when [`Self::ready`].
    pub fn commit(&self, writer: &mut Writer, ops: &[Op]) -> Result<(), BusError> {
        self.store.commit(ops).inspect_err(|error| {
            tracing::error!("a write was refused: {error}");
            writer.unchecked = None;
        })
    }
}

/// The error of a partition that is not there.
pub fn no_partition(topic: &Topic, partition: u32, state: &TopicState) -> BusError {
    BusError::other(
        topic.as_str(),
        format!("there is no partition {partition}, it has {} of them", state.partitions.len()),
    )
}

/// Topics as the store knows them.
fn rows(store: &Store) -> Result<Vec<(Topic, TopicRow)>, BusError> {
    let mut rows = Vec::new();
    for row in store.meta(&[Meta::Topic as u8]) {
        let (key, value) = row?;
        let name = std::str::from_utf8(&key[1..]).map_err(|_| store.damaged("a topic's name"))?;
        let row: TopicRow =
            serde_json::from_slice(&value).map_err(|_| store.damaged(&format!("topic {name}")))?;
        rows.push((Topic::new(name), row));
    }
    Ok(rows)
}

fn open_logs(store: &Store, rows: &[(Topic, TopicRow)]) -> Result<(), BusError> {
    let mut names: Vec<_> = rows.iter().map(|(name, row)| (row.id, name)).collect();
    names.sort_unstable();
    for (id, name) in names {
        store.open_log(id, name.as_str())?;
    }
    Ok(())
}

fn load(store: &Store, topic: &Topic, row: &TopicRow) -> Result<TopicState, BusError> {
    let partitions = (0..row.partitions).map(|number| {
        let found = find(store, topic, row.id, number)?;
        Ok(Arc::new(Partition::new(topic, row.id, number, row.table, found)))
    });
    Ok(TopicState { kind: row.kind(), id: row.id, partitions: partitions.collect::<Result<_, BusError>>()? })
}

/// What the store holds of a partition: a few reads, however large it is.
fn find(store: &Store, topic: &Topic, id: u32, number: u32) -> Result<Found, BusError> {
    let damaged = || store.damaged(&format!("{topic}/{number}"));
    let get = |meta| store.get(Space::Meta, &meta_key(meta, id, number, b""));
    let (first, floor) = match get(Meta::First)? {
        Some(row) => u64_at(&row, 0).zip(u64_at(&row, 8)).ok_or_else(damaged)?,
        None => (0, 0),
    };
    let epoch = get(Meta::Epoch)?.map_or(Some(0), |row| u64_at(&row, 0)).ok_or_else(damaged)?;
    let mut sealed = std::collections::VecDeque::new();
    for row in store.meta(&meta_key(Meta::Segment, id, number, b"")) {
        let (key, value) = row?;
        let base = meta_rest(&key).try_into().map(u64::from_be_bytes).map_err(|_| damaged())?;
        sealed.push_back(Segment::decode(base, &value).ok_or_else(damaged)?);
    }
    let sealed_to = sealed.back().map_or(first, |segment: &Segment| segment.end);
    let last = store.last(Space::Log(id), &chunk_key(number, 0), &chunk_key(number, u64::MAX))?;
    let mut segment = Segment::at(sealed_to.max(floor));
    if let Some((key, value)) = last {
        let base = chunk_offset(&key).ok_or_else(damaged)?;
        let found = segment_of(base, &value).ok_or_else(damaged)?;
        if found.end > segment.end {
            segment = found;
        }
    }
    Ok(Found { first, next: segment.end.max(floor), epoch, segment, sealed })
}

/// The row that says where a partition begins.
pub fn first_op(partition: &Partition, first: u64, floor: u64) -> Op {
    Op::set(Space::Meta, meta_key(Meta::First, partition.id, partition.number, b""), pair(first, floor))
}
