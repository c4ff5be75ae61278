//! The same session from some instant on with other parameters, or another strategy: "what if my stop had been 2 %?"
//!
//! Up to the instant the journal is replayed as it was. There the strategy is started anew as it is wanted, warmed up
//! with the data that it would have had, and from there on the cell goes its own way over the same market data, time
//! and commands; only commands that start or stop that strategy are left out.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use tradeflow_actors::cell::{Answer, Command};
use tradeflow_actors::output::CellOutput;
use tradeflow_model::market::MarketEvent;
use tradeflow_model::plan::StrategyPlan;
use tradeflow_model::{SeriesId, Timestamp};

use crate::LiveError;
use crate::chunk::Chunk;
use crate::host::{CellHost, Pending, Sources};
use crate::journal::{Input, Replay, tell_progress};
use crate::session::SessionPlan;
use crate::verify::opening;

/// What is to be different, and from when on.
#[derive(Debug, Clone)]
pub struct Fork {
    /// From when on.
    pub at: Timestamp,
    /// The strategy as it should be; its id names the one that it replaces.
    pub strategy: StrategyPlan,
}

/// Replays an account's part of a session, with a change if there is one. After each entry of the journal `watch` is told
/// how much of a thousand is done, and may stop it. `take` is given what the cell puts out, and says to stop by an error.
///
/// # Errors
/// When the session can't be read, the strategy can't be started, or `take` fails; [`LiveError::Stopped`].
pub fn replay(
    sources: &Sources,
    plan: &Arc<SessionPlan>,
    cell: usize,
    fork: Option<&Fork>,
    mut watch: impl FnMut(u64) -> ControlFlow<()>,
    mut take: impl FnMut(CellOutput) -> Result<(), String>,
) -> Result<CellHost, LiveError> {
    let (host, snapshot) = opening(sources, plan, cell)?;
    let partition = plan.journal_partition(cell, sources.partitions);
    let end = sources.bus.bounds(&sources.topics.journal, partition)?.end;
    let first = snapshot.journal_next;
    let mut replay = Replay::new(sources, host, snapshot.journal_next)?;
    let mut course = Course { fork, forked: false, past: Past::new(fork) };
    while let Some((offset, entry)) = replay.next_entry()? {
        tell_progress(offset, first..end, &mut watch)?;
        if !matches!(entry.inputs.as_slice(), [Input::Checkpoint(_)]) {
            let inputs = replay.resolve(&entry)?;
            let host = replay.host_mut();
            for input in &inputs {
                course.apply(host, input)?;
            }
        }
        let host = replay.host_mut();
        host.passed(entry.seq);
        let output = host.cell_mut().paper_mut().take_output();
        if !output.is_empty() {
            take(output).map_err(LiveError::Other)?;
        }
    }
    if fork.is_some() && !course.forked {
        let last = replay.host().cell().paper().now();
        return Err(LiveError::Other(format!("the session ended at {last}, before the instant of the fork")));
    }
    let mut host = replay.into_host();
    let paper = host.cell_mut().paper_mut();
    paper.finish().map_err(|fault| LiveError::cell(&snapshot.account, fault))?;
    take(paper.take_output()).map_err(LiveError::Other)?;
    Ok(host)
}

struct Course<'a> {
    fork: Option<&'a Fork>,
    forked: bool,
    past: Past,
}

impl Course<'_> {
    fn apply(&mut self, host: &mut CellHost, input: &Pending) -> Result<(), LiveError> {
        let Some(fork) = self.fork else { return host.apply(input).map(drop) };
        if !self.forked && time_of(input) >= fork.at {
            self.forked = true;
            self.start(host, fork)?;
        }
        match input {
            Pending::Market(chunk) => self.past.note(chunk),
            Pending::Command { command, history, .. } => {
                for chunk in history.iter().flat_map(|(_, chunks)| chunks.iter()) {
                    self.past.note(chunk);
                }
                let id = match command.as_ref() {
                    Command::Start(plan) => Some(&plan.id),
                    Command::Stop { id, .. } => Some(id),
                    _ => None,
                };
                if self.forked && id == Some(&fork.strategy.id) {
                    return Ok(());
                }
            }
            _ => {}
        }
        host.apply(input).map(drop)
    }

    fn start(&mut self, host: &mut CellHost, fork: &Fork) -> Result<(), LiveError> {
        let account = host.account().to_owned();
        let failed = |fault| LiveError::cell(&account, fault);
        let start = Command::Start(Box::new(fork.strategy.clone()));
        let answer = host.cell_mut().on_command(fork.at, &start).map_err(failed)?;
        if let Answer::Refused { why, .. } = answer {
            return Err(LiveError::Other(why));
        }
        let Some(index) = host.cell().paper().cell().strategy_index(&fork.strategy.id) else { return Ok(()) };
        for event in self.past.rows.drain(..) {
            host.cell_mut().paper_mut().warm_up(index, &event).map_err(failed)?;
        }
        Ok(())
    }
}

/// The time of an input, before which the fork must come.
fn time_of(input: &Pending) -> Timestamp {
    match input {
        Pending::Market(chunk) if !chunk.columns.is_empty() => {
            Timestamp::from_nanos(chunk.columns.ts_event(chunk.columns.len() - 1))
        }
        Pending::Market(_) => Timestamp::MIN,
        Pending::Time(at) => *at,
        Pending::Signal { now, .. } | Pending::Command { now, .. } => *now,
    }
}

/// The last rows of the strategy's series before the fork.
struct Past {
    series: Vec<SeriesId>,
    rows_max: usize,
    rows: VecDeque<MarketEvent>,
}

impl Past {
    fn new(fork: Option<&Fork>) -> Self {
        let strategy = fork.map(|fork| &fork.strategy);
        let series = strategy.map(|strategy| strategy.series.clone()).unwrap_or_default();
        // Enough of each series, also where they come unevenly; what is more is seen too, and does no harm.
        let rows_max = strategy.map_or(0, |s| s.warm_up_bars as usize * 4 * s.series.len().max(1));
        Self { series, rows_max, rows: VecDeque::new() }
    }

    fn note(&mut self, chunk: &Chunk) {
        if !self.series.contains(&chunk.series) {
            return;
        }
        for row in 0..chunk.columns.len() {
            if self.rows.len() >= self.rows_max {
                self.rows.pop_front();
            }
            self.rows.push_back(chunk.columns.get(row, chunk.series, chunk.instrument));
        }
    }
}
