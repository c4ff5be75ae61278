//! Retention, and tombstones that have served their time: a thread of its own.

use std::sync::{Arc, Condvar, Mutex};

use tradeflow_model::Timestamp;

use super::layout::{KeyRow, Meta, Segment, chunk_key, meta_key};
use super::log::{Log, first_op};
use super::partition::Partition;
use super::store::{Op, Space};
use crate::clock::{Clock, SystemClock};
use crate::error::BusError;
use crate::topic::{Retention, TopicKind};

/// Ends a thread that waits.
#[derive(Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Stops.
    pub fn stop(&self) {
        *self.stopped.lock().expect("no one panics while holding it") = true;
        self.changed.notify_all();
    }

    /// Waits; `true` when stopped.
    fn wait(&self, time: std::time::Duration) -> bool {
        let stopped = self.stopped.lock().expect("no one panics while holding it");
        let waited = self.changed.wait_timeout_while(stopped, time, |stopped| !*stopped);
        *waited.expect("no one panics while holding it").0
    }
}

/// Runs until it is stopped.
pub fn run(log: &Log, stop: &Stop) {
    while !stop.wait(log.options.maintenance_every) {
        if let Err(error) = once(log, SystemClock.now()) {
            tracing::warn!("retention is put off: {error}");
        }
    }
}

/// Everything that is due at this time.
pub fn once(log: &Log, now: Timestamp) -> Result<(), BusError> {
    for topic in log.topics() {
        for partition in &topic.partitions {
            match topic.kind {
                TopicKind::Log(retention) => retain(log, partition, &retention, now)?,
                TopicKind::Table => forget_tombstones(log, partition, now)?,
            }
        }
    }
    Ok(())
}

fn before(now: Timestamp, age: std::time::Duration) -> Timestamp {
    now.saturating_add(-i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
}

/// Deletes segments from the front of a partition, each as a whole.
fn retain(
    log: &Log,
    partition: &Arc<Partition>,
    retention: &Retention,
    now: Timestamp,
) -> Result<(), BusError> {
    while let Some((segment, sealed)) = due(partition, retention, now) {
        // What lies in it changes no more, so it is listed before anyone has to wait.
        let (number, space) = (partition.number, Space::Log(partition.id));
        let (from, to) = (chunk_key(number, segment.base), chunk_key(number, segment.end));
        let chunks = log.store.entries(space, &from, &to);
        let mut ops =
            chunks.map(|chunk| Ok(Op::remove(space, chunk?.0))).collect::<Result<Vec<Op>, BusError>>()?;
        let mut writer = log.writer();
        let mut state = partition.state();
        if !sealed && state.segment != segment {
            // It grew in between: its records are not all old any more.
            return Ok(());
        }
        // Readers learn it before anything is deleted, so that none of them sees a hole.
        state.trim(segment.end);
        drop(state);
        ops.push(first_op(partition, segment.end, segment.end));
        if sealed {
            let base = segment.base.to_be_bytes();
            ops.push(Op::remove(Space::Meta, meta_key(Meta::Segment, partition.id, partition.number, &base)));
        }
        log.commit(&mut writer, &ops)?;
        let mut state = partition.state();
        if sealed {
            state.sealed.pop_front();
        } else {
            state.segment = Segment::at(segment.end);
        }
    }
    Ok(())
}

/// The oldest segment, when it is to be deleted, and whether it is sealed.
fn due(partition: &Partition, retention: &Retention, now: Timestamp) -> Option<(Segment, bool)> {
    let state = partition.state();
    let sealed = state.sealed.front();
    let segment = *sealed.unwrap_or(&state.segment);
    let old = retention.age.is_some_and(|age| segment.latest < before(now, age));
    // Without the oldest segment it must still hold what the limit promises.
    let bytes: u64 =
        state.sealed.iter().skip(1).map(|segment| segment.bytes).sum::<u64>() + state.segment.bytes;
    let large = sealed.is_some() && retention.bytes.is_some_and(|limit| bytes >= limit);
    (segment.end > segment.base && (old || large)).then_some((segment, sealed.is_some()))
}

/// Takes tombstones out of a table that every reader has had time to see.
fn forget_tombstones(log: &Log, partition: &Arc<Partition>, now: Timestamp) -> Result<(), BusError> {
    if !partition.state().tombstones {
        return Ok(());
    }
    let limit = before(now, log.options.tombstones_for);
    let mut writer = log.writer();
    let (mut ops, mut left) = (Vec::new(), false);
    for row in log.store.meta(&meta_key(Meta::Key, partition.id, partition.number, b"")) {
        let (key, value) = row?;
        let Some(KeyRow { offset, deleted: Some(ts) }) = KeyRow::decode(&value) else { continue };
        if ts >= limit {
            left = true;
            continue;
        }
        ops.push(Op::remove(Space::Meta, key));
        ops.push(Op::remove(Space::Log(partition.id), chunk_key(partition.number, offset)));
    }
    if !ops.is_empty() {
        // The newest record may be among them: offsets go on all the same.
        ops.push(first_op(partition, 0, partition.state().next));
        log.ready(&mut writer, 0)?;
        log.commit(&mut writer, &ops)?;
    }
    partition.state().tombstones = left;
    Ok(())
}
