//! Finds the session that is open, or opens one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tradeflow_bus::{Bus, BusError, Durability, Exclusive, NewRecord, Topics};
use tradeflow_model::Timestamp;
use tradeflow_model::time::NANOS_PER_SEC;

use super::accounts::read;
use crate::LiveError;
use crate::host::Sources;
use crate::session::{SessionPlan, SessionRecord, SessionState};

/// How often a node tries to open a session when others write sessions at the same time.
const OPEN_TRIES: usize = 8;

/// A session that a node may run.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its plan.
    pub plan: Arc<SessionPlan>,
    /// Its record.
    pub record: SessionRecord,
    /// Whether it was found open: its node was killed, or other nodes run it.
    pub resumed: bool,
}

/// All sessions of a bus, oldest first.
///
/// # Errors
/// When the table can't be read.
pub fn sessions(bus: &dyn Bus, topics: &Topics) -> Result<Vec<SessionRecord>, LiveError> {
    let mut sessions = Vec::new();
    for stored in bus.table(&topics.sessions, 0)? {
        if let Some(value) = &stored.value {
            sessions.push(decode(topics, stored.offset, value)?);
        }
    }
    sessions.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    Ok(sessions)
}

/// A session by its id; none where there is no such.
///
/// # Errors
/// When it can't be read.
pub fn session(bus: &dyn Bus, topics: &Topics, id: &str) -> Result<Option<SessionRecord>, LiveError> {
    Ok(find(bus, topics, id)?.map(|(_, record)| record))
}

/// The same, with the offset of its record.
pub(super) fn find(
    bus: &dyn Bus,
    topics: &Topics,
    id: &str,
) -> Result<Option<(u64, SessionRecord)>, LiveError> {
    let Some(stored) = bus.latest(&topics.sessions, 0, id.as_bytes())? else { return Ok(None) };
    let Some(value) = &stored.value else { return Ok(None) };
    Ok(Some((stored.offset, decode(topics, stored.offset, value)?)))
}

fn decode(topics: &Topics, offset: u64, value: &[u8]) -> Result<SessionRecord, LiveError> {
    SessionRecord::decode(value).map_err(|error| LiveError::Record {
        place: format!("{}/0 offset {offset}", topics.sessions),
        why: error.to_string(),
    })
}

/// The record of a session, to be written.
pub(crate) fn session_record(topics: &Topics, session: &SessionRecord, now: Timestamp) -> NewRecord {
    NewRecord {
        topic: topics.sessions.clone(),
        partition: 0,
        key: session.id.clone().into(),
        value: Some(session.encode().into()),
        ts: now,
    }
}

/// Begins to end a session: to be called before its cells are closed, with the result to be given to
/// [`close_session`] afterwards. Whoever takes an account over in between ([`still_open`]) keeps the session open.
///
/// # Errors
/// Those of the bus.
pub(super) fn begin_close(sources: &Sources) -> Result<Box<dyn Exclusive>, LiveError> {
    Ok(sources.bus.claim(&sources.topics.sessions, 0, Durability::Power)?)
}

/// Writes that a session is closed; unless another node has taken accounts over since [`begin_close`], and goes on.
///
/// # Errors
/// Those of the bus.
pub(super) fn close_session(
    sources: &Sources,
    mut writer: Box<dyn Exclusive>,
    session: &SessionRecord,
    now: Timestamp,
) -> Result<(), LiveError> {
    // As it is now: accounts may have been opened since this node looked last.
    let (_, session) = read(sources, &session.id)?;
    let closed = SessionRecord {
        state: SessionState::Closed,
        ended: Some(now.max(session.started)),
        ..session.clone()
    };
    match writer.append(vec![session_record(&sources.topics, &closed, now)]).wait() {
        Err(BusError::Fenced { .. }) => {
            tracing::info!(session = session.id, "stays open: another node has taken accounts over");
            Ok(())
        }
        written => Ok(written.map(drop)?),
    }
}

/// Whether accounts may be taken over in a session: to be asked when their partitions are claimed, and before anything is
/// written to them. A node that is just about to close the session is kept from it.
///
/// # Errors
/// When it was closed, or those of the bus.
pub(super) fn still_open(sources: &Sources, session: &SessionRecord) -> Result<(), LiveError> {
    drop(begin_close(sources)?);
    let known = sources.bus.latest(&sources.topics.sessions, 0, session.id.as_bytes())?;
    let value = known.and_then(|stored| stored.value).unwrap_or_default();
    let state = SessionRecord::decode(&value).map(|record| record.state);
    if state.is_ok_and(|state| state == SessionState::Open) {
        return Ok(());
    }
    Err(LiveError::Other(format!(
        "session {} was closed by another node, so its accounts can't be taken over: start this node again",
        session.id
    )))
}

/// Goes on with the session that is open, if its plan is `wanted`'s; otherwise opens a new one, in which accounts go on
/// from where the last session left them.
///
/// # Errors
/// When the open session, or the state of the accounts, is of another configuration; or the bus fails.
pub fn open_session(sources: &Sources, wanted: &SessionPlan, now: Timestamp) -> Result<Opened, LiveError> {
    for _ in 0..OPEN_TRIES {
        match try_open(sources, wanted, now) {
            Err(LiveError::Bus(BusError::Fenced { .. })) => {} // another node opens, takes over or ends just now
            opened => return opened,
        }
    }
    try_open(sources, wanted, now)
}

/// Adds the accounts that were opened while the last session ran to those of the configuration, of which those that were
/// there must be as they were. Gives the cells of `wanted` that the last session did not have.
fn add_opened(wanted: &mut SessionPlan, last: &SessionPlan, session: &str) -> Result<Vec<usize>, LiveError> {
    let other = |what: &str| {
        LiveError::Other(format!(
            "{what} of session {session} are not those of the configuration, which may add accounts but change nothing of \
             those that are there: restore it, or use another data folder (or topic prefix)"
        ))
    };
    let market = |plan: &SessionPlan| {
        let series: Vec<_> = plan.run.series.iter().map(|series| (series.instrument, series.kind)).collect();
        (plan.run.instruments.clone(), series)
    };
    if market(wanted) != market(last) {
        return Err(other("instruments and their data"));
    }
    let configured = 0..wanted.run.cells.len();
    for (index, cell) in last.run.cells.iter().enumerate() {
        let account = &cell.account.id;
        let known = wanted.cell_of(account.as_str());
        if known.is_none() && last.accounts[index].opened.is_some() {
            wanted.run.cells.push(cell.clone());
            wanted.accounts.push(last.accounts[index].clone());
        } else if known.is_none_or(|known| last.fingerprint(index) != wanted.fingerprint(known)) {
            return Err(other(&format!("instruments, limits or venue of account {account}")));
        }
    }
    Ok(configured
        .filter(|cell| last.cell_of(wanted.run.cells[*cell].account.id.as_str()).is_none())
        .collect())
}

fn try_open(sources: &Sources, wanted: &SessionPlan, now: Timestamp) -> Result<Opened, LiveError> {
    let topics = &sources.topics;
    let mut wanted = wanted.clone();
    // One at a time: whoever comes second finds what the first has written.
    let mut writer = sources.bus.claim(&topics.sessions, 0, Durability::Process)?;
    let known = sessions(sources.bus.as_ref(), topics)?;
    let last = known.last();
    if let Some(last) = last {
        let plan = last.plan().map_err(LiveError::Other)?;
        let new = add_opened(&mut wanted, &plan, &last.id)?;
        if last.state == SessionState::Open {
            let (mut plan, mut record) = (plan, last.clone());
            for cell in &new {
                plan.run.cells.push(wanted.run.cells[*cell].clone());
                plan.accounts.push(wanted.accounts[*cell].clone());
                record.journal_from.extend([journal_end(sources, &plan, plan.run.cells.len() - 1)?]);
            }
            if !new.is_empty() {
                record.set_plan(&plan).map_err(LiveError::Other)?;
                writer.append(vec![session_record(topics, &record, now)]).wait()?;
            }
            return Ok(Opened { plan: Arc::new(plan), record, resumed: true });
        }
    }
    // Sessions follow one another by their start, and are named by its second: also when the clock was set back.
    let now = last.map_or(now, |last| now.max(last.started.saturating_add(NANOS_PER_SEC)));
    // Cells are restored into cells of the same plan: trading began when the first session did.
    let mut run = wanted.run;
    if let Some(first) = last {
        run.from = first.plan().map_err(LiveError::Other)?.run.from;
    }
    let plan = SessionPlan::new(run, wanted.accounts, wanted.durability, now);
    let mut journal_from = BTreeMap::new();
    for cell in 0..plan.run.cells.len() {
        journal_from.extend([journal_end(sources, &plan, cell)?]);
    }
    let record = SessionRecord {
        v: SessionRecord::VERSION,
        id: plan.id.clone(),
        state: SessionState::Open,
        started: now,
        ended: None,
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        plan: serde_json::to_string(&plan).map_err(|error| LiveError::Other(error.to_string()))?,
        journal_from,
    };
    writer.append(vec![session_record(topics, &record, now)]).wait()?;
    Ok(Opened { plan: Arc::new(plan), record, resumed: false })
}

/// An account, and the end of its journal.
fn journal_end(sources: &Sources, plan: &SessionPlan, cell: usize) -> Result<(String, u64), LiveError> {
    let partition = plan.journal_partition(cell, sources.partitions);
    let end = sources.bus.bounds(&sources.topics.journal, partition)?.end;
    Ok((plan.run.cells[cell].account.id.to_string(), end))
}
