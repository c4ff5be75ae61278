//! A host from snapshot and journal.

use std::sync::Arc;

use serde::Deserialize;
use tradeflow_bus::record::decode;
use tradeflow_bus::{Bus, BusError, NewRecord, Position, Topic, Topics, partition_of};

use super::{CellHost, Snapshot};
use crate::LiveError;
use crate::history::History;
use crate::journal::{Archive, Replay};
use crate::session::SessionPlan;

/// What a cell is rebuilt from.
#[derive(Clone)]
pub struct Sources {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Its topics.
    pub topics: Topics,
    /// Partitions of the topics of accounts.
    pub partitions: u32,
    /// Where warm-ups come from.
    pub history: Arc<dyn History>,
    /// Where market data is that has left the bus.
    pub archive: Option<Arc<dyn Archive>>,
}

/// The cell of an account as it stood behind the last entry of its journal, and the outputs that were not on the bus
/// yet when its node died.
///
/// # Errors
/// When there is no snapshot to begin with, or something of journal or market data can't be read.
pub fn recover(
    sources: &Sources,
    plan: &Arc<SessionPlan>,
    index: usize,
) -> Result<(CellHost, Vec<NewRecord>), LiveError> {
    let account = plan.run.cells[index].account.id.as_str();
    let snapshot = Snapshot::latest(sources.bus.as_ref(), &sources.topics, sources.partitions, account)?
        .ok_or_else(|| LiveError::Cell {
            account: account.to_owned(),
            why: format!("there is no snapshot of it, although session {} is open", plan.id),
        })?;
    let mut host =
        CellHost::at_snapshot(plan.clone(), index, sources.topics.clone(), sources.partitions, &snapshot)?;
    host.outputs_known = last_output(sources, &snapshot)?.max(snapshot.outputs);
    let mut replay = Replay::new(sources, host, snapshot.journal_next)?;
    let mut missing = Vec::new();
    while let Some(step) = replay.step()? {
        missing.extend(step.handled.records);
        if let Some((written, ours)) = step.checkpoint
            && written != ours
        {
            return Err(LiveError::Cell {
                account: account.to_owned(),
                why: format!(
                    "its journal says that it stood at {written:?}, but the same inputs lead to {ours:?}: the program is \
                     another one, or a file of the data folder is damaged"
                ),
            });
        }
    }
    Ok((replay.into_host(), missing))
}

/// The number of the last output of an account that is on the bus.
fn last_output(sources: &Sources, snapshot: &Snapshot) -> Result<u64, LiveError> {
    /// What all outputs have.
    #[derive(Deserialize)]
    struct Numbered {
        account: String,
        seq: u64,
    }
    let partition = partition_of(snapshot.account.as_bytes(), sources.partitions);
    let mut last = 0;
    let (orders, fills) = snapshot.outputs_from;
    for (topic, from) in [(&sources.topics.orders, orders), (&sources.topics.fills, fills)] {
        each(sources, topic, partition, from, |value| {
            if let Ok(record) = decode::<Numbered>("output", value)
                && record.account == snapshot.account
            {
                last = last.max(record.seq);
            }
        })?;
    }
    Ok(last)
}

/// Hands over the values of a partition from an offset to its end as it is now.
fn each(
    sources: &Sources,
    topic: &Topic,
    partition: u32,
    from: u64,
    mut take: impl FnMut(&[u8]),
) -> Result<(), BusError> {
    let place = Position { topic: topic.clone(), partition, offset: from };
    crate::journal::records(&sources.bus, place, |stored| {
        take(stored.value.as_deref().unwrap_or_default());
        Ok::<_, BusError>(())
    })
}
