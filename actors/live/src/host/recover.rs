//! A host from snapshot and journal.

use std::sync::Arc;

use tradeflow_bus::{Bus, Topics};

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

/// The cell of an account as it stood behind the last entry of its journal. What came of these entries is on the bus:
/// it was written with them.
///
/// # Errors
/// When there is no snapshot to begin with, or something of journal or market data can't be read.
pub fn recover(sources: &Sources, plan: &Arc<SessionPlan>, index: usize) -> Result<CellHost, LiveError> {
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
    Ok(replay.into_host())
}
