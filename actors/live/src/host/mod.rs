//! A cell with its journal, without a runtime: what must be written before what is handled.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`CellHost`]: pending inputs, entries, handling, outputs |
//! | `snapshot.rs` | [`Snapshot`]: a cell and its places, as it stands in the snapshots table |
//! | `questions.rs` | what an order would come to, what a strategy wants |
//! | `recover.rs` | a host from snapshot and journal |
//!
//! A driver (the actix shell, the simulation, a test) does, again and again: offer what came; take a turn and handle it;
//! if anything came of it, have its entry written, with all that came of it, and only when it is there, tell anyone. A turn
//! that nothing came of is quiet: its inputs are **owed** to the journal and stand in the next entry, before those of the
//! turn that made it necessary, or in one of their own after a while. Nobody knows of a quiet turn, so that none is missed
//! if the process dies before: its inputs are read from the bus again. A driver whose append fails throws the host away: it
//! has seen what is in no journal.

mod questions;
mod recover;
mod snapshot;

pub use recover::{Sources, recover};
pub use snapshot::Snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tradeflow_actors::cell::{Answer, Command, Refusal};
use tradeflow_actors::output::CellOutput;
use tradeflow_bus::{NewRecord, Topics, partition_of};
use tradeflow_model::{InstrumentId, Signal, Timestamp};

use crate::LiveError;
use crate::cell::LiveCell;
use crate::chunk::{Chunk, MarketTopic};
use crate::history::HistoryRef;
use crate::journal::{Checkpoint, Entry, Input, Source};
use crate::outputs::Outputs;
use crate::session::SessionPlan;
use crate::warm_up::events_of;

/// What waits to be handled and journaled.
#[derive(Debug, Clone)]
pub enum Pending {
    /// Market data.
    Market(Arc<Chunk>),
    /// Time passed.
    Time(Timestamp),
    /// A signal.
    Signal {
        /// The time that the cell is told.
        now: Timestamp,
        /// Where it came from.
        source: Option<Source>,
        /// The signal.
        signal: Box<Signal>,
    },
    /// A command.
    Command {
        /// The time that the cell is told.
        now: Timestamp,
        /// Where it came from.
        source: Option<Source>,
        /// Its sender's id.
        id: String,
        /// The command.
        command: Box<Command>,
        /// For the start of a strategy: its warm-up, and the rows themselves.
        history: Vec<(HistoryRef, Arc<Vec<Chunk>>)>,
    },
}

/// Where a cell stands on the bus: the next offset of each partition that it reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Places {
    /// Of market data.
    pub market: BTreeMap<(MarketTopic, u32), u64>,
    /// Of its commands.
    pub commands: u64,
    /// Of its signals.
    pub signals: u64,
}

impl Places {
    /// Whether a chunk was taken before.
    fn has(&self, chunk: &Chunk) -> bool {
        self.market.get(&(chunk.topic, chunk.partition)).is_some_and(|next| chunk.offset < *next)
    }

    /// Goes on behind an input.
    fn pass(&mut self, input: &Input) {
        match input {
            Input::Market { topic, partition, last, .. } => {
                let next = self.market.entry((*topic, *partition)).or_default();
                *next = (*next).max(last + 1);
            }
            Input::Command { source: Some(source), .. } => {
                self.commands = self.commands.max(source.offset + 1);
            }
            Input::Signal { source: Some(source), .. } => {
                self.signals = self.signals.max(source.offset + 1);
            }
            _ => {}
        }
    }
}

/// What came of handling an entry.
#[derive(Debug, Default)]
pub struct Handled {
    /// Records to be written: orders, fills, replies.
    pub records: Vec<NewRecord>,
    /// How many of them are fills.
    pub fills: u64,
    /// Answers to commands: the sender's id, and the answer.
    pub answers: Vec<(String, Answer)>,
    /// What the cell put out: what a backtest would write to its results.
    pub output: CellOutput,
    /// Market events taken.
    pub events: u64,
}

/// A cell with its journal.
pub struct CellHost {
    plan: Arc<SessionPlan>,
    index: usize,
    topics: Topics,
    partitions: u32,
    cell: LiveCell,
    /// What was offered and not taken yet.
    pending: VecDeque<Pending>,
    pending_rows: usize,
    /// Behind what is pending: what was offered already is not taken again.
    offered: Places,
    /// Behind what was taken.
    places: Places,
    /// Inputs taken that are in no entry yet.
    owed: Vec<Input>,
    /// The rows of market data in them.
    owed_rows: usize,
    /// Market events that the last snapshot holds.
    snapshot_events: u64,
    /// Number of the last entry.
    seq: u64,
    /// The offset of the journal behind the last entry.
    journal_next: u64,
    /// Number of the last output made.
    outputs: u64,
    /// Offsets of the orders and fills topics behind which the outputs of the session lie.
    outputs_from: (u64, u64),
    /// Ids of the strategies, by index.
    strategies: Vec<String>,
    /// Ids of commands of late, to know duplicates by.
    recent: VecDeque<String>,
}

impl CellHost {
    /// Rows of market data in one entry, at most: bounds the time to the next snapshot or command.
    pub const ENTRY_ROWS_MAX: usize = 16_384;
    /// Rows that wait, at most: then the driver must not offer more.
    pub const PENDING_ROWS_MAX: usize = 65_536;
    /// Inputs in one entry, where market data of several partitions takes turns.
    const OWED_MAX: usize = 1024;
    /// Commands whose ids are remembered.
    const RECENT_MAX: usize = 1024;

    /// A cell in its first state, whose next entry lies behind this offset of the journal. [`Self::begin_at`] says where it
    /// begins to read.
    ///
    /// # Errors
    /// When the plan does not fit together.
    pub fn new(
        plan: Arc<SessionPlan>,
        index: usize,
        topics: Topics,
        partitions: u32,
        journal_next: u64,
    ) -> Result<Self, LiveError> {
        let cell = LiveCell::new(&plan, index)
            .map_err(|fault| LiveError::cell(&plan.run.cells[index].account.id, fault))?;
        Ok(Self {
            plan,
            index,
            topics,
            partitions,
            cell,
            pending: VecDeque::new(),
            pending_rows: 0,
            offered: Places::default(),
            places: Places::default(),
            owed: Vec::new(),
            owed_rows: 0,
            snapshot_events: 0,
            seq: 0,
            journal_next,
            outputs: 0,
            outputs_from: (0, 0),
            strategies: Vec::new(),
            recent: VecDeque::new(),
        })
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        self.plan.run.cells[self.index].account.id.as_str()
    }

    /// The session.
    pub fn plan(&self) -> &Arc<SessionPlan> {
        &self.plan
    }

    /// The index of the cell in the plan.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The cell.
    pub fn cell(&self) -> &LiveCell {
        &self.cell
    }

    /// Where it stands, behind everything that was offered.
    pub fn offered(&self) -> &Places {
        &self.offered
    }

    /// Entries handled.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The offset of the journal behind the last entry.
    pub(crate) fn journal_next(&self) -> u64 {
        self.journal_next
    }

    /// How many records of its orders and fills there are.
    pub(crate) fn records(&self) -> u64 {
        self.outputs
    }

    /// Rows that wait.
    pub fn pending_rows(&self) -> usize {
        self.pending_rows
    }

    /// Whether nothing waits.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// The instruments that the account follows and may trade.
    pub fn instruments(&self) -> &[InstrumentId] {
        &self.plan.accounts[self.index].instruments
    }

    /// Market events behind the last snapshot: after a recovery those that were replayed.
    pub fn events_since_snapshot(&self) -> u64 {
        self.cell.events() - self.snapshot_events
    }

    /// A snapshot was written.
    pub(crate) fn snapshot_written(&mut self) {
        self.snapshot_events = self.cell.events();
    }

    /// Whether the account follows the instrument of a chunk.
    pub fn follows(&self, chunk: &Chunk) -> bool {
        self.instruments().contains(&chunk.instrument)
    }

    /// Goes on behind an input that was replayed.
    pub(crate) fn pass(&mut self, input: &Input) {
        self.places.pass(input);
        self.offered.pass(input);
    }

    /// Offers an input. One that was taken before (a rewound reader, a rebalance), and market data of an instrument that
    /// the account does not follow, is passed over; says whether it was taken.
    pub fn offer(&mut self, input: Pending) -> bool {
        match &input {
            Pending::Market(chunk) => {
                if self.offered.has(chunk) || !self.follows(chunk) {
                    return false;
                }
                self.offered.market.insert((chunk.topic, chunk.partition), chunk.offset + 1);
                self.pending_rows += chunk.columns.len();
            }
            Pending::Command { source: Some(source), .. } => {
                if source.offset < self.offered.commands {
                    return false;
                }
                self.offered.commands = source.offset + 1;
            }
            Pending::Signal { source: Some(source), .. } => {
                if source.offset < self.offered.signals {
                    return false;
                }
                self.offered.signals = source.offset + 1;
            }
            _ => {}
        }
        self.pending.push_back(input);
        true
    }

    /// Offers the time: if a timer or session boundary is due at `now`, it is an input, at its own time. Once what
    /// waits is handled, that is: data that came before goes first.
    pub fn offer_time(&mut self, now: Timestamp) {
        let due = self.cell.next_due();
        if self.pending.is_empty() && due <= now {
            self.pending.push_back(Pending::Time(due));
        }
    }

    /// A command that does not fit is answered without reaching the cell.
    pub(crate) fn refuse(&mut self, source: Source, id: &str, answer: &Answer, now: Timestamp) -> NewRecord {
        self.answered(source);
        self.outputs().reply(id, answer, now)
    }

    /// What is answered without the journal is not read again.
    fn answered(&mut self, source: Source) {
        self.offered.commands = self.offered.commands.max(source.offset + 1);
    }

    /// The entry of the turn that was handled is at this offset of the journal.
    pub fn written(&mut self, journal: u64) {
        self.journal_next = journal + 1;
    }

    /// Begins a new session in the state of the last one, or in its first: reads on from the end of the bus as it is now,
    /// and puts out behind these offsets of orders and fills. Strategies are to be started anew.
    pub fn begin_at(&mut self, places: Places, outputs_from: (u64, u64)) {
        self.offered = places.clone();
        self.places = places;
        self.outputs_from = outputs_from;
    }

    /// Takes the next turn. Its inputs are owed to the journal from now on.
    pub fn take(&mut self) -> Option<Turn> {
        let mut taken = Vec::new();
        let (mut rows, first) = (0, self.owed.len().saturating_sub(1));
        while rows < Self::ENTRY_ROWS_MAX {
            let Some(pending) = self.pending.pop_front() else { break };
            if let Pending::Market(chunk) = &pending {
                rows += chunk.columns.len();
            }
            push_input(&mut self.owed, &pending);
            taken.push(pending);
        }
        if taken.is_empty() {
            return None;
        }
        self.pending_rows -= rows;
        self.owed_rows += rows;
        // The last of those before may have become longer.
        self.owed[first..].iter().for_each(|input| self.places.pass(input));
        Some(Turn { inputs: taken })
    }

    /// Whether inputs were taken that are in no entry.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Whether it owes as much as an entry should hold.
    pub fn owes_much(&self) -> bool {
        self.owed_rows >= Self::ENTRY_ROWS_MAX || self.owed.len() >= Self::OWED_MAX
    }

    /// The entry of all that is owed.
    pub fn entry(&mut self) -> Option<NewRecord> {
        if self.owed.is_empty() {
            return None;
        }
        self.owed_rows = 0;
        let inputs = std::mem::take(&mut self.owed);
        Some(self.next_entry(inputs))
    }

    fn next_entry(&mut self, inputs: Vec<Input>) -> NewRecord {
        self.seq += 1;
        let (account, session) = (self.account().to_owned(), self.plan.id.clone());
        self.record_of(&Entry { v: Entry::VERSION, account, session, seq: self.seq, inputs })
    }

    /// The record of an entry.
    pub(crate) fn record_of(&self, entry: &Entry) -> NewRecord {
        let key = Bytes::copy_from_slice(self.account().as_bytes());
        NewRecord {
            topic: self.topics.journal.clone(),
            partition: partition_of(&key, self.partitions),
            key,
            value: Some(entry.encode().into()),
            ts: self.cell.paper().now().max(self.plan.run.from),
        }
    }

    /// Handles a turn. Nobody may learn what came of it before it is written, with its entry.
    ///
    /// # Errors
    /// A broken invariant: the cell must not be used any more.
    pub fn handle(&mut self, turn: &Turn) -> Result<Handled, LiveError> {
        let mut handled = Handled::default();
        let before = self.cell.events();
        let mut replies = Vec::new();
        for input in &turn.inputs {
            if let Some((id, now, answer)) = self.apply(input)? {
                replies.push(self.outputs().reply(&id, &answer, now));
                handled.answers.push((id, answer));
            }
        }
        let output = self.cell.paper_mut().take_output();
        handled.events = self.cell.events() - before;
        handled.fills = output.fills.len() as u64;
        let mut seq = self.outputs;
        handled.records = self.outputs().records(&output, &self.strategies, &mut seq);
        handled.records.append(&mut replies);
        self.outputs = seq;
        handled.output = output;
        Ok(handled)
    }

    fn outputs(&self) -> Outputs<'_> {
        Outputs { plan: &self.plan, cell: self.index, topics: &self.topics, partitions: self.partitions }
    }

    /// Gives an input to the cell.
    pub(crate) fn apply(
        &mut self,
        input: &Pending,
    ) -> Result<Option<(String, Timestamp, Answer)>, LiveError> {
        let account = &self.plan.run.cells[self.index].account.id;
        let failed = |fault| LiveError::cell(account, fault);
        match input {
            Pending::Market(chunk) => self.cell.on_chunk(chunk).map_err(failed)?,
            Pending::Time(at) => self.cell.on_time(*at).map_err(failed)?,
            Pending::Signal { now, signal, .. } => self.cell.on_signal(*now, signal).map_err(failed)?,
            Pending::Command { now, id, command, history, .. } => {
                if self.recent.contains(id) {
                    let why = format!("command {id} was there before");
                    let answer = Answer::refused(Refusal::Duplicate, why);
                    return Ok(Some((id.clone(), *now, answer)));
                }
                if self.recent.len() >= Self::RECENT_MAX {
                    self.recent.pop_front();
                }
                self.recent.push_back(id.clone());
                let answer = self.cell.on_command(*now, command).map_err(failed)?;
                if let (Command::Start(plan), Answer::Done { .. }) = (command.as_ref(), &answer) {
                    self.warm_up(plan, history)?;
                }
                return Ok(Some((id.clone(), *now, answer)));
            }
        }
        Ok(None)
    }

    fn warm_up(
        &mut self,
        plan: &tradeflow_model::plan::StrategyPlan,
        history: &[(HistoryRef, Arc<Vec<Chunk>>)],
    ) -> Result<(), LiveError> {
        let account = &self.plan.run.cells[self.index].account.id;
        self.strategies = self.cell.paper().cell().strategies().map(|(plan, ..)| plan.id.clone()).collect();
        let Some(index) = self.cell.paper().cell().strategy_index(&plan.id) else { return Ok(()) };
        for event in events_of(history) {
            self.cell.paper_mut().warm_up(index, &event).map_err(|fault| LiveError::cell(account, fault))?;
        }
        Ok(())
    }

    /// Where the cell stands, for the journal: a replay must stand there too.
    pub fn checkpoint(&self, end: bool) -> Checkpoint {
        let cell = self.cell.paper().cell();
        let counters = self.cell.paper().counters();
        let ledger = cell.account().ledger();
        Checkpoint {
            digest: cell.output_digest(),
            inputs: counters.inputs,
            orders: counters.orders,
            fills: counters.fills,
            cash: ledger.cash().to_string(),
            equity: ledger.equity().to_string(),
            end,
        }
    }

    /// The entry that holds a checkpoint, when nothing is owed.
    pub fn checkpoint_entry(&mut self, end: bool) -> NewRecord {
        let checkpoint = Box::new(self.checkpoint(end));
        self.next_entry(vec![Input::Checkpoint(checkpoint)])
    }

    /// The entry with this number, read from the journal, is dealt with.
    pub(crate) fn passed(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// The cell, to change its course.
    pub(crate) fn cell_mut(&mut self) -> &mut LiveCell {
        &mut self.cell
    }
}

/// Inputs that are handled together.
#[derive(Debug)]
pub struct Turn {
    inputs: Vec<Pending>,
}

impl Turn {
    /// When the oldest of its market data was received; none without market data.
    pub fn received(&self) -> Option<Timestamp> {
        let received = self.inputs.iter().filter_map(|input| match input {
            Pending::Market(chunk) => chunk.received(),
            _ => None,
        });
        received.min()
    }

    /// Inputs of an entry that was read back.
    pub(crate) fn of(inputs: Vec<Pending>) -> Self {
        Self { inputs }
    }
}

/// Adds an input to an entry; market data that goes on where the last of its partition ended makes that longer.
fn push_input(inputs: &mut Vec<Input>, pending: &Pending) {
    let input = match pending {
        Pending::Market(chunk) => {
            if let Some(Input::Market { topic, partition, last, .. }) = inputs.last_mut()
                && (*topic, *partition) == (chunk.topic, chunk.partition)
            {
                *last = chunk.offset;
                return;
            }
            Input::Market {
                topic: chunk.topic,
                partition: chunk.partition,
                first: chunk.offset,
                last: chunk.offset,
            }
        }
        Pending::Time(at) => Input::Time { at: *at },
        Pending::Signal { now, source, signal } => {
            Input::Signal { now: *now, source: *source, signal: signal.clone() }
        }
        Pending::Command { now, source, id, command, history } => Input::Command {
            now: *now,
            source: *source,
            id: id.clone(),
            command: command.clone(),
            history: history.iter().map(|(reference, _)| reference.clone()).collect(),
        },
    };
    inputs.push(input);
}
