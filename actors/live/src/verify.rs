//! Proves that a session was what its journal says: the journal is replayed from the session's opening, and every order,
//! fill and balance is compared with what the live cells put on the bus.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tradeflow_bus::record::decode;
use tradeflow_bus::{NewRecord, Topic};
use tradeflow_model::{Digest, DigestWriter};

use crate::LiveError;
use crate::host::{CellHost, Snapshot, Sources};
use crate::journal::{Checkpoint, KeyReader, Replay, tell_progress};
use crate::session::{AccountPlan, SessionPlan, SessionRecord, SessionState};

/// What came of a verification.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// The session.
    pub session: String,
    /// The engine that ran it.
    pub engine: String,
    /// Whether the session was ended; otherwise it was compared as far as it got.
    pub closed: bool,
    /// Inputs replayed.
    pub inputs: u64,
    /// Orders.
    pub orders: u64,
    /// Fills.
    pub fills: u64,
    /// Digest of what the live cells put out, up to their last checkpoints; none before the first.
    pub digest_live: Option<Digest>,
    /// Digest of what the replay put out, up to the same checkpoints.
    pub digest_replay: Option<Digest>,
    /// Whether all was equal.
    pub equal: bool,
    /// The accounts.
    pub accounts: Vec<AccountVerdict>,
}

/// An account in a verification.
#[derive(Debug, Clone, Serialize)]
pub struct AccountVerdict {
    /// Its name.
    pub account: String,
    /// Inputs replayed.
    pub inputs: u64,
    /// Orders.
    pub orders: u64,
    /// Fills.
    pub fills: u64,
    /// Cash at the end, exact.
    pub cash: String,
    /// Equity at the end, exact.
    pub equity: String,
    /// Records of orders and fills that were compared.
    pub compared: u64,
    /// Checkpoints that were compared.
    pub checkpoints: u64,
    /// The first difference.
    pub difference: Option<Difference>,
    /// Digest at the last checkpoint, live.
    #[serde(skip)]
    live: Option<Digest>,
    /// The same of the replay.
    #[serde(skip)]
    replay: Option<Digest>,
}

/// The first thing that differed.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// What it is of: `orders.v1`, `fills.v1`, `checkpoint`.
    pub place: String,
    /// As the live session had it; none where it had nothing.
    pub live: Option<Value>,
    /// As the replay has it.
    pub replay: Option<Value>,
    /// The likely cause, in words.
    pub cause: String,
}

/// Replays a session and compares.
///
/// # Errors
/// When the session can't be read: its market data has gone, say. (A difference is no error.)
pub fn verify(sources: &Sources, session: &SessionRecord) -> Result<Verified, LiveError> {
    verify_watched(sources, session, |_| ControlFlow::Continue(()))
}

/// As [`verify`]. After each entry of a journal `watch` is told how much of a thousand is done, and may stop it.
///
/// # Errors
/// As [`verify`]; [`LiveError::Stopped`].
pub fn verify_watched(
    sources: &Sources,
    session: &SessionRecord,
    mut watch: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Verified, LiveError> {
    let plan = Arc::new(session.plan().map_err(LiveError::Other)?);
    let mut accounts = Vec::new();
    let cells = plan.run.cells.len() as u64;
    for cell in 0..plan.run.cells.len() {
        let AccountPlan { opened, closed, .. } = &plan.accounts[cell];
        let was_closed = closed.is_some_and(|at| at <= session.started);
        // One that was opened just now may not have begun.
        let not_begun = || match opening(sources, &plan, cell) {
            Ok(_) => Ok(false),
            Err(LiveError::NoOpening { .. }) => Ok(true),
            Err(error) => Err(error),
        };
        if was_closed || (opened.is_some() && not_begun()?) {
            continue;
        }
        let before = 1000 * cell as u64;
        accounts.push(account(sources, session, &plan, cell, &mut |done| watch((before + done) / cells))?);
    }
    let total = |of: fn(&AccountVerdict) -> u64| accounts.iter().map(of).sum();
    let digest = |of: fn(&AccountVerdict) -> Option<Digest>| {
        let mut writer = DigestWriter::new();
        let mut any = false;
        for account in &accounts {
            let Some(digest) = of(account) else { continue };
            any = true;
            writer.text(&account.account);
            writer.bytes(digest.as_bytes());
        }
        any.then(|| writer.finish())
    };
    let (digest_live, digest_replay) = (digest(|a| a.live), digest(|a| a.replay));
    Ok(Verified {
        session: session.id.clone(),
        engine: session.engine.clone(),
        closed: session.state == SessionState::Closed,
        inputs: total(|a| a.inputs),
        orders: total(|a| a.orders),
        fills: total(|a| a.fills),
        digest_live,
        digest_replay,
        equal: accounts.iter().all(|account| account.difference.is_none()) && digest_live == digest_replay,
        accounts,
    })
}

/// The cell of an account at the opening of a session, and the offset of its journal there.
///
/// # Errors
/// When the opening is not there, or of another engine.
pub fn opening(
    sources: &Sources,
    plan: &Arc<SessionPlan>,
    cell: usize,
) -> Result<(CellHost, Snapshot), LiveError> {
    let account = plan.run.cells[cell].account.id.as_str();
    let key = Snapshot::opening_key(account, &plan.id);
    let snapshot = Snapshot::latest(sources.bus.as_ref(), &sources.topics, sources.partitions, &key)?
        .ok_or_else(|| LiveError::NoOpening { session: plan.id.clone(), account: account.to_owned() })?;
    let host =
        CellHost::at_snapshot(plan.clone(), cell, sources.topics.clone(), sources.partitions, &snapshot)?;
    Ok((host, snapshot))
}

fn account(
    sources: &Sources,
    session: &SessionRecord,
    plan: &Arc<SessionPlan>,
    cell: usize,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<AccountVerdict, LiveError> {
    let (host, snapshot) = opening(sources, plan, cell)?;
    let before = host.cell().paper().counters();
    // The journal's end is looked up first: the outputs of what lies before it were written with it, so they are there.
    let partition = plan.journal_partition(cell, sources.partitions);
    let journal_end = || sources.bus.bounds(&sources.topics.journal, partition).map(|bounds| bounds.end);
    let end = journal_end()?;
    let mut replay = Replay::new(sources, host, snapshot.journal_next)?;
    let mut written = Outputs::new(sources, &snapshot)?;
    let mut verdict = AccountVerdict {
        account: snapshot.account.clone(),
        inputs: 0,
        orders: 0,
        fills: 0,
        cash: String::new(),
        equity: String::new(),
        compared: 0,
        checkpoints: 0,
        difference: None,
        live: None,
        replay: None,
    };
    let first = snapshot.journal_next;
    while let Some(step) = replay.step()? {
        tell_progress(step.offset, first..end, &mut *watch)?;
        for record in &step.handled.records {
            if verdict.difference.is_none() {
                verdict.difference = written.compare(record, session)?;
            }
        }
        if let Some((live, ours)) = step.checkpoint {
            verdict.checkpoints += 1;
            (verdict.live, verdict.replay) = (Some(live.digest), Some(ours.digest));
            if live != ours && verdict.difference.is_none() {
                verdict.difference = Some(of_checkpoints(&live, &ours, session));
            }
        }
    }
    // A session that goes on meanwhile has more to show.
    if verdict.difference.is_none() && journal_end()? == end {
        verdict.difference = written.rest(plan)?;
    }
    verdict.compared = written.compared;
    let paper = replay.host().cell().paper();
    let after = paper.counters();
    let ledger = paper.cell().account().ledger();
    verdict.inputs = after.inputs - before.inputs;
    verdict.orders = after.orders - before.orders;
    verdict.fills = after.fills - before.fills;
    verdict.cash = ledger.cash().to_string();
    verdict.equity = ledger.equity().to_string();
    Ok(verdict)
}

fn cause(session: &SessionRecord) -> String {
    let ours = env!("CARGO_PKG_VERSION");
    if session.engine == ours {
        "the same engine version decided otherwise: a strategy reads something that is no input, or what was recorded \
         has been changed since"
            .to_owned()
    } else {
        format!("the session ran on engine {}, this is {ours}", session.engine)
    }
}

fn of_checkpoints(live: &Checkpoint, ours: &Checkpoint, session: &SessionRecord) -> Difference {
    let value = |checkpoint| serde_json::to_value(checkpoint).ok();
    Difference {
        place: "checkpoint".to_owned(),
        live: value(live),
        replay: value(ours),
        cause: cause(session),
    }
}

/// Whether a record is `ours` in an older version of the schema, which had fewer fields.
fn is_older_form(live: Option<&[u8]>, ours: Option<&[u8]>) -> bool {
    let read = |bytes: Option<&[u8]>| decode::<serde_json::Map<String, Value>>("output", bytes?).ok();
    let (Some(live), Some(ours)) = (read(live), read(ours)) else { return false };
    let version = |record: &serde_json::Map<String, Value>| record.get("v").and_then(Value::as_u64);
    version(&live) < version(&ours)
        && live.iter().all(|(field, value)| field == "v" || ours.get(field) == Some(value))
}

/// What a live account put on the bus, read along with the replay.
struct Outputs {
    orders: (Topic, KeyReader),
    fills: (Topic, KeyReader),
    session: String,
    /// Records that were compared.
    compared: u64,
}

impl Outputs {
    fn new(sources: &Sources, opening: &Snapshot) -> Result<Self, LiveError> {
        let reader = |topic: &Topic, offset| {
            let place = sources.place(topic, &opening.account, offset);
            KeyReader::new(&sources.bus, &place, &opening.account).map(|reader| (topic.clone(), reader))
        };
        let (orders, fills) = opening.outputs_from;
        Ok(Self {
            orders: reader(&sources.topics.orders, orders)?,
            fills: reader(&sources.topics.fills, fills)?,
            session: opening.session.clone(),
            compared: 0,
        })
    }

    /// The next record of a topic that is of this session.
    fn next(reader: &mut KeyReader, session: &str) -> Result<Option<Vec<u8>>, LiveError> {
        #[derive(serde::Deserialize)]
        struct Of {
            session: String,
        }
        while let Some(stored) = reader.read()? {
            let value = stored.value.unwrap_or_default();
            match decode::<Of>("output", &value) {
                Ok(of) if of.session == session => return Ok(Some(value.to_vec())),
                _ => {}
            }
        }
        Ok(None)
    }

    fn compare(
        &mut self,
        record: &NewRecord,
        session: &SessionRecord,
    ) -> Result<Option<Difference>, LiveError> {
        let readers = [&mut self.orders, &mut self.fills];
        let Some((_, reader)) = readers.into_iter().find(|(topic, _)| *topic == record.topic) else {
            return Ok(None); // a reply; a point of the equity curve, which is in the digest
        };
        let live = Self::next(reader, &self.session)?;
        self.compared += 1;
        let ours = record.value.as_deref();
        if live.as_deref() == ours || is_older_form(live.as_deref(), ours) {
            return Ok(None);
        }
        let shown = |bytes: Option<&[u8]>| bytes.and_then(|bytes| decode::<Value>("output", bytes).ok());
        Ok(Some(Difference {
            place: record.topic.to_string(),
            live: shown(live.as_deref()),
            replay: shown(ours),
            cause: cause(session),
        }))
    }

    /// What is on the bus although the replay is over.
    fn rest(&mut self, plan: &SessionPlan) -> Result<Option<Difference>, LiveError> {
        for (topic, reader) in [&mut self.orders, &mut self.fills] {
            if let Some(live) = Self::next(reader, &plan.id)? {
                return Ok(Some(Difference {
                    place: topic.to_string(),
                    live: decode("output", &live).ok(),
                    replay: None,
                    cause: "the live session put out more than its journal leads to".to_owned(),
                }));
            }
        }
        Ok(None)
    }
}
