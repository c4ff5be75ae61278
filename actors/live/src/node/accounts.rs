//! Accounts that are opened and closed while a session runs: a change of the session's record, which the nodes see.

use std::collections::BTreeMap;
use std::sync::Arc;

use tradeflow_bus::{BusError, Durability};
use tradeflow_model::plan::CellPlan;
use tradeflow_model::{InstrumentId, Timestamp};

use super::open::{find, session_record};
use crate::LiveError;
use crate::host::Sources;
use crate::session::{AccountPlan, OpenedAccount, SessionPlan, SessionRecord, SessionState};

/// Why an account was not opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is one of this name, or was: its history is there.
    #[error("there is an account {0} already, or there was one: its history is kept under its name")]
    Taken(String),
    /// There is none.
    #[error("there is no account {0}")]
    Unknown(String),
    /// It is of the configuration.
    #[error("account {0} is of the node's configuration: take it out there")]
    Configured(String),
    /// The bus, or the session.
    #[error(transparent)]
    Live(#[from] LiveError),
}

impl From<BusError> for AccountError {
    fn from(error: BusError) -> Self {
        Self::Live(error.into())
    }
}

/// How often a change is tried when others write sessions at the same time.
const TRIES: usize = 16;

/// Opens an account.
///
/// # Errors
/// When the name is taken, the session is not open, or the bus fails.
pub(super) fn open_account(
    sources: &Sources,
    session: &str,
    cell: &CellPlan,
    instruments: &[InstrumentId],
    now: Timestamp,
) -> Result<(), AccountError> {
    change(sources, session, now, |plan, journal_from| {
        let account = &cell.account.id;
        if plan.cell_of(account.as_str()).is_some() {
            return Err(AccountError::Taken(account.to_string()));
        }
        let partition = tradeflow_bus::partition_of(account.as_str().as_bytes(), sources.partitions);
        let end = |topic| sources.bus.bounds(topic, partition).map(|bounds| bounds.end);
        journal_from.insert(account.to_string(), end(&sources.topics.journal)?);
        let opened = OpenedAccount { at: now, commands_from: end(&sources.topics.commands)? };
        plan.run.cells.push(cell.clone());
        plan.accounts.push(AccountPlan {
            instruments: instruments.to_vec(),
            opened: Some(opened),
            ..AccountPlan::default()
        });
        Ok(())
    })
}

/// Closes an account that was opened with [`open_account`].
///
/// # Errors
/// When there is no such account, the session is not open, or the bus fails.
pub(super) fn close_account(
    sources: &Sources,
    session: &str,
    account: &str,
    now: Timestamp,
) -> Result<(), AccountError> {
    change(sources, session, now, |plan, _| {
        let cell = plan.open_cell_of(account).ok_or_else(|| AccountError::Unknown(account.to_owned()))?;
        if plan.accounts[cell].opened.is_none() {
            return Err(AccountError::Configured(account.to_owned()));
        }
        plan.accounts[cell].closed = Some(now);
        Ok(())
    })
}

/// Changes the plan of a session that is open.
fn change(
    sources: &Sources,
    session: &str,
    now: Timestamp,
    change: impl Fn(&mut SessionPlan, &mut BTreeMap<String, u64>) -> Result<(), AccountError>,
) -> Result<(), AccountError> {
    let topics = &sources.topics;
    for left in (0..TRIES).rev() {
        let mut writer = sources.bus.claim(&topics.sessions, 0, Durability::Power)?;
        let (_, mut record) = read(sources, session)?;
        if record.state != SessionState::Open {
            return Err(LiveError::Other(format!("session {session} was ended")).into());
        }
        let mut plan = record.plan().map_err(LiveError::Other)?;
        change(&mut plan, &mut record.journal_from)?;
        record.set_plan(&plan).map_err(LiveError::Other)?;
        match writer.append(vec![session_record(topics, &record, now)]).wait() {
            Err(BusError::Fenced { .. }) if left > 0 => {} // another node writes sessions just now
            written => return Ok(written.map(drop)?),
        }
    }
    Ok(())
}

/// The record of a session, and its offset.
///
/// # Errors
/// When there is none, or the bus fails.
pub(super) fn read(sources: &Sources, session: &str) -> Result<(u64, SessionRecord), LiveError> {
    let found = find(sources.bus.as_ref(), &sources.topics, session)?;
    found.ok_or_else(|| LiveError::Other(format!("session {session} is not on the bus")))
}

/// The session's record as it is on the bus, to see when it was changed.
#[derive(Debug)]
pub(super) struct Watched {
    /// The end of the table when it was read last.
    end: u64,
    /// The offset of the record.
    offset: u64,
}

impl Watched {
    /// As of now.
    pub(super) fn new() -> Self {
        Self { end: 0, offset: 0 }
    }

    /// The plan, if it was changed since it was asked for last.
    ///
    /// # Errors
    /// Those of the bus, and a plan that can't be read.
    pub(super) fn changed(
        &mut self,
        sources: &Sources,
        session: &str,
    ) -> Result<Option<(SessionRecord, Arc<SessionPlan>)>, LiveError> {
        let end = sources.bus.bounds(&sources.topics.sessions, 0)?.end;
        if end == self.end {
            return Ok(None);
        }
        let (offset, record) = read(sources, session)?;
        self.end = end;
        if offset == self.offset {
            return Ok(None);
        }
        self.offset = offset;
        let plan = Arc::new(record.plan().map_err(LiveError::Other)?);
        Ok(Some((record, plan)))
    }
}
