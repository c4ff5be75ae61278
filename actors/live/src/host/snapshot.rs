//! A cell and its places at one moment, as it stands in the snapshots table (`snapshots.v1`, key: the account; the one
//! with which a session began stays under `account@session`).

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tradeflow_bus::record::{RecordError, decode, encode};
use tradeflow_bus::{Bus, NewRecord, Stored, Topics, partition_of};
use tradeflow_model::{Digest, Timestamp};

use super::{CellHost, Places};
use crate::LiveError;
use crate::session::SessionPlan;

/// A cell at one moment between two entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of this schema.
    pub v: u16,
    /// The account.
    pub account: String,
    /// The session.
    pub session: String,
    /// What must be the same of the plan for a cell to go on from here.
    pub fingerprint: Digest,
    /// The last entry handled.
    pub seq: u64,
    /// The offset of the journal to go on from.
    pub journal_next: u64,
    /// The last output made.
    pub outputs: u64,
    /// Offsets of the orders and fills topics behind which the outputs of the session lie.
    pub outputs_from: (u64, u64),
    /// Where the cell reads on.
    pub places: Places,
    /// Ids of commands of late.
    pub recent: Vec<String>,
    /// The cell.
    #[serde(with = "serde_bytes")]
    pub cell: Vec<u8>,
}

impl Snapshot {
    /// The version that is written.
    pub const VERSION: u16 = 2;

    /// From its bytes.
    ///
    /// # Errors
    /// When they are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode("snapshots", bytes)
    }

    /// The last snapshot of an account.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn latest(
        bus: &dyn Bus,
        topics: &Topics,
        partitions: u32,
        key: &str,
    ) -> Result<Option<Self>, LiveError> {
        let partition = partition_of(account_of(key).as_bytes(), partitions);
        let stored = bus.latest(&topics.snapshots, partition, key.as_bytes())?;
        let Some(Stored { value: Some(value), offset, .. }) = stored else { return Ok(None) };
        Self::decode(&value).map(Some).map_err(|error| LiveError::Record {
            place: format!("{}/{partition} offset {offset}", topics.snapshots),
            why: error.to_string(),
        })
    }

    /// The record under a key.
    pub fn record(&self, topics: &Topics, partitions: u32, key: String, ts: Timestamp) -> NewRecord {
        NewRecord {
            topic: topics.snapshots.clone(),
            partition: partition_of(self.account.as_bytes(), partitions),
            key: key.into(),
            value: Some(encode(self).into()),
            ts,
        }
    }

    /// The key under which the opening of a session is kept.
    pub fn opening_key(account: &str, session: &str) -> String {
        format!("{account}@{session}")
    }
}

/// The account of a key: names of accounts hold no `@`.
fn account_of(key: &str) -> &str {
    key.split('@').next().unwrap_or(key)
}

impl CellHost {
    /// The cell and its places now. Only between two entries, when all outputs so far are written.
    ///
    /// # Errors
    /// When the state can't be written.
    pub fn snapshot(&self) -> Result<Snapshot, LiveError> {
        Ok(Snapshot {
            v: Snapshot::VERSION,
            account: self.account().to_owned(),
            session: self.plan.id.clone(),
            fingerprint: self.plan.fingerprint(self.index),
            seq: self.seq,
            journal_next: self.journal_next,
            outputs: self.outputs,
            outputs_from: self.outputs_from,
            places: self.places.clone(),
            recent: self.recent.iter().cloned().collect(),
            cell: self.cell.snapshot().map_err(|fault| LiveError::cell(self.account(), fault))?,
        })
    }

    /// A host at a snapshot, in a session of a plan with the same fingerprint.
    ///
    /// # Errors
    /// When it is of another plan, or damaged.
    pub fn at_snapshot(
        plan: Arc<SessionPlan>,
        index: usize,
        topics: Topics,
        partitions: u32,
        snapshot: &Snapshot,
    ) -> Result<Self, LiveError> {
        // Version 1 was of all cells together; what is of this one, the cell knows itself by.
        if snapshot.v >= 2 && snapshot.fingerprint != plan.fingerprint(index) {
            return Err(LiveError::Cell {
                account: snapshot.account.clone(),
                why: format!(
                    "its state is of session {} with other instruments, limits or strategies: restore that \
                     configuration, or begin anew with another data folder",
                    snapshot.session
                ),
            });
        }
        let mut host = Self::new(plan, index, topics, partitions, snapshot.journal_next)?;
        host.begin_at(snapshot.places.clone(), snapshot.outputs_from);
        host.cell.restore(&snapshot.cell).map_err(|fault| LiveError::cell(&snapshot.account, fault))?;
        host.snapshot_events = host.cell.events();
        host.seq = snapshot.seq;
        host.outputs = snapshot.outputs;
        host.recent = VecDeque::from(snapshot.recent.clone());
        host.strategies = host.cell.paper().cell().strategies().map(|(plan, ..)| plan.id.clone()).collect();
        Ok(host)
    }
}
