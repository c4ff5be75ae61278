//! A host from snapshot and journal.

use std::sync::{Arc, Mutex};

use tradeflow_bus::{Bus, Exclusive, Position, Topic, Topics, partition_of};

use super::{CellHost, Snapshot};
use crate::LiveError;
use crate::history::History;
use crate::journal::{Archive, Replay, Step};
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

impl Sources {
    /// A place in a topic of accounts, in the partition of this one.
    pub fn place(&self, topic: &Topic, account: &str, offset: u64) -> Position {
        let partition = partition_of(account.as_bytes(), self.partitions);
        Position { topic: topic.clone(), partition, offset }
    }
}

/// The cell of an account as it stood behind the last entry of its journal. What came of the entries that readers see is on
/// the bus: it was written with them. Where the last claim ended too early for that, the entries are written once more, with
/// all that came of them, by `writer`, whose partition is the journal's.
///
/// # Errors
/// When there is no snapshot to begin with, or something of journal or market data can't be read, or written.
pub fn recover(
    sources: &Sources,
    plan: &Arc<SessionPlan>,
    index: usize,
    writer: &Mutex<Box<dyn Exclusive>>,
) -> Result<CellHost, LiveError> {
    let account = plan.run.cells[index].account.id.as_str();
    let snapshot = Snapshot::latest(sources.bus.as_ref(), &sources.topics, sources.partitions, account)?
        .ok_or_else(|| LiveError::Cell {
            account: account.to_owned(),
            why: format!("there is no snapshot of it, although session {} is open", plan.id),
        })?;
    let host =
        CellHost::at_snapshot(plan.clone(), index, sources.topics.clone(), sources.partitions, &snapshot)?;
    let mut replay = Replay::new(sources, host, snapshot.journal_next)?;
    while let Some(step) = replay.step()? {
        check(account, &step)?;
    }
    replay.go_on_with_journaled()?;
    // In one append: were only the first of them written, the others would lie before them.
    let (mut records, mut last) = (Vec::new(), 0);
    while let Some((offset, entry)) = replay.next_entry()? {
        let mut step = replay.replay(offset, &entry)?;
        check(account, &step)?;
        last = records.len();
        records.push(replay.host().record_of(&entry));
        records.append(&mut step.handled.records);
    }
    let mut host = replay.into_host();
    if !records.is_empty() {
        tracing::info!(
            account,
            records = records.len(),
            "what came of the last entries is written once more"
        );
        let receipt =
            writer.lock().map_err(|_| LiveError::Other("a writer panicked".into()))?.append(records);
        if let Some((_, offset)) = receipt.wait()?.places.get(last) {
            host.written(*offset);
        }
    }
    Ok(host)
}

/// The replay must stand where a checkpoint says.
fn check(account: &str, step: &Step) -> Result<(), LiveError> {
    let Some((written, ours)) = step.checkpoint.as_ref().filter(|(written, ours)| written != ours) else {
        return Ok(());
    };
    Err(LiveError::Cell {
        account: account.to_owned(),
        why: format!(
            "its journal says that it stood at {written:?}, but the same inputs lead to {ours:?}: the program is another \
             one, or a file of the data folder is damaged"
        ),
    })
}
