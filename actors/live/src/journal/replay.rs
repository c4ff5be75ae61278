//! Replaying a journal: the same inputs through the same host. Recovery, `verify` and `fork` are this loop.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::{Checkpoint, Entry, Input, JournalReader, MarketReader};
use crate::LiveError;
use crate::chunk::{Chunk, Decoder};
use crate::history::{History, HistoryRef, digest_of};
use crate::host::{CellHost, Handled, Pending, Sources, Turn};

/// Tells `watch` how much of a thousand of this part of a journal is done at `offset`.
///
/// # Errors
/// [`LiveError::Stopped`] when it says so.
pub(crate) fn tell_progress(
    offset: u64,
    part: Range<u64>,
    watch: impl FnOnce(u64) -> ControlFlow<()>,
) -> Result<(), LiveError> {
    let done = 1000 * offset.saturating_sub(part.start) / part.end.saturating_sub(part.start).max(1);
    match watch(done.min(1000)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(LiveError::Stopped),
    }
}

/// A host that follows a journal.
pub struct Replay {
    host: CellHost,
    sources: Sources,
    journal: JournalReader,
    market: MarketReader,
    decoder: Decoder,
}

/// An entry that was replayed.
#[derive(Debug)]
pub struct Step {
    /// Where the entry lies in the journal.
    pub offset: u64,
    /// What came of it.
    pub handled: Handled,
    /// For a checkpoint: as it was written, and as the replay stands.
    pub checkpoint: Option<(Checkpoint, Checkpoint)>,
}

impl Replay {
    /// From an offset of the account's journal up to its end as it is now.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn new(sources: &Sources, host: CellHost, from: u64) -> Result<Self, LiveError> {
        let place = sources.place(&sources.topics.journal, host.account(), from);
        let journal = JournalReader::new(&sources.bus, &place, host.account())?;
        let market = MarketReader::new(sources.bus.clone(), sources.topics.clone(), sources.archive.clone());
        let decoder = Decoder::new(host.plan(), &sources.topics);
        Ok(Self { host, sources: sources.clone(), journal, market, decoder })
    }

    /// Goes on, when all entries that readers see are replayed, with those of them that they do not see.
    ///
    /// # Errors
    /// Those of the bus.
    pub(crate) fn go_on_with_journaled(&mut self) -> Result<(), LiveError> {
        let (sources, account) = (&self.sources, self.host.account());
        let place = sources.place(&sources.topics.journal, account, self.host.journal_next());
        self.journal = JournalReader::with_journaled(&sources.bus, &place, account)?;
        Ok(())
    }

    /// The host.
    pub fn host(&self) -> &CellHost {
        &self.host
    }

    /// The host, to change its course (`fork`).
    pub fn host_mut(&mut self) -> &mut CellHost {
        &mut self.host
    }

    /// The host, when the replay is over.
    pub fn into_host(self) -> CellHost {
        self.host
    }

    /// The next entry of the host's session, resolved but not handled. Entries of other sessions, and those that the
    /// host has handled, are passed over.
    ///
    /// # Errors
    /// Those of the bus, and an entry that does not follow the last.
    pub fn next_entry(&mut self) -> Result<Option<(u64, Entry)>, LiveError> {
        while let Some((offset, entry)) = self.journal.read()? {
            if entry.session != self.host.plan().id || entry.seq <= self.host.seq() {
                continue;
            }
            if entry.seq != self.host.seq() + 1 {
                return Err(LiveError::Record {
                    place: format!("journal of {}", entry.account),
                    why: format!("entry {} follows entry {}", entry.seq, self.host.seq()),
                });
            }
            return Ok(Some((offset, entry)));
        }
        Ok(None)
    }

    /// Replays the next entry; `None` at the end.
    ///
    /// # Errors
    /// Those of the bus, of the cell, and an entry that does not follow the last.
    pub fn step(&mut self) -> Result<Option<Step>, LiveError> {
        let Some((offset, entry)) = self.next_entry()? else { return Ok(None) };
        self.replay(offset, &entry).map(Some)
    }

    /// Replays an entry.
    ///
    /// # Errors
    /// Those of the bus, and of the cell.
    pub(crate) fn replay(&mut self, offset: u64, entry: &Entry) -> Result<Step, LiveError> {
        if let [Input::Checkpoint(written)] = entry.inputs.as_slice() {
            let ours = self.host.checkpoint(written.end);
            self.host.passed(entry.seq);
            self.host.written(offset);
            let checkpoint = Some(((**written).clone(), ours));
            return Ok(Step { offset, handled: Handled::default(), checkpoint });
        }
        let inputs = self.resolve(entry)?;
        let handled = self.host.handle(&Turn::of(inputs))?;
        self.host.passed(entry.seq);
        self.host.written(offset);
        for input in &entry.inputs {
            self.host.pass(input);
        }
        Ok(Step { offset, handled, checkpoint: None })
    }

    /// The inputs of an entry with the market data that it refers to.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn resolve(&mut self, entry: &Entry) -> Result<Vec<Pending>, LiveError> {
        let mut inputs = Vec::with_capacity(entry.inputs.len());
        for input in &entry.inputs {
            match input {
                Input::Market { topic, partition, first, last } => {
                    let host = &self.host;
                    self.market.range(&self.decoder, *topic, *partition, (*first, *last), |chunk| {
                        if host.follows(&chunk) {
                            inputs.push(Pending::Market(Arc::new(chunk)));
                        }
                        Ok(())
                    })?;
                }
                Input::Time { at } => inputs.push(Pending::Time(*at)),
                Input::Signal { now, source, signal } => {
                    inputs.push(Pending::Signal { now: *now, source: *source, signal: signal.clone() });
                }
                Input::Command { now, source, id, command, history } => {
                    let history = history.iter().map(|reference| {
                        let rows = self.history_rows(reference)?;
                        Ok((reference.clone(), Arc::new(rows)))
                    });
                    let history = history.collect::<Result<_, LiveError>>()?;
                    let (id, command) = (id.clone(), command.clone());
                    inputs.push(Pending::Command { now: *now, source: *source, id, command, history });
                }
                Input::Checkpoint(_) => {}
            }
        }
        Ok(inputs)
    }

    fn history_rows(&mut self, reference: &HistoryRef) -> Result<Vec<Chunk>, LiveError> {
        let plan = self.host.plan().clone();
        let history = self.sources.history.clone();
        read_history(reference, &plan, history.as_ref(), &mut self.market, &self.decoder)
    }
}

/// The rows of a reference to the past.
///
/// # Errors
/// When a part of it is not there any more.
pub fn read_history(
    reference: &HistoryRef,
    plan: &crate::SessionPlan,
    history: &dyn History,
    market: &mut MarketReader,
    decoder: &Decoder,
) -> Result<Vec<Chunk>, LiveError> {
    match reference {
        HistoryRef::Catalog { series, from, to, digest } => {
            let instrument = plan.run.series[series.index()].instrument;
            let kind = plan.run.series[series.index()].kind;
            let topic = crate::MarketTopic::of(kind)
                .ok_or_else(|| LiveError::Other(format!("series {} holds no market data", series.0)))?;
            let columns = history.read(plan, *series, *from, *to).map_err(LiveError::Other)?;
            if digest_of(&columns) != *digest {
                return Err(LiveError::Other(format!(
                    "the catalog's {} from {from} to {to} has changed since the session began with it",
                    plan.symbol(instrument)
                )));
            }
            let chunk =
                |columns| Chunk { topic, partition: 0, offset: 0, series: *series, instrument, columns };
            Ok(columns.into_iter().map(chunk).collect())
        }
        HistoryRef::Bus { series, topic, partition, first, end, after } => {
            let mut chunks = Vec::new();
            market.until(decoder, *topic, *partition, (*first, *end), |chunk| {
                if chunk.series == *series
                    && let Some(chunk) = chunk.since(*after)
                {
                    chunks.push(chunk);
                }
                Ok(())
            })?;
            Ok(chunks)
        }
    }
}
