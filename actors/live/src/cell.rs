//! A paper cell with the opens and closes of its instruments' sessions.
//!
//! In a replay these are series of their own, merged in the total order. Live nobody sends them: they follow from the
//! calendar, and are put between the events that do come, by the same rule: opens before quotes and trades of their
//! instant, closes after bars of theirs. The driver calls [`LiveCell::on_time`] when nothing comes.

use serde::{Deserialize, Serialize};
use tradeflow_actors::actor::Fault;
use tradeflow_actors::cell::{Answer, Command, PaperCell, RunTables};
use tradeflow_model::calendar::Session;
use tradeflow_model::market::{SeriesKind, SessionPhase};
use tradeflow_model::{InstrumentId, MarketEvent, SeriesId, SessionEvent, Signal, Timestamp};

use crate::chunk::Chunk;
use crate::session::SessionPlan;

/// The place of a boundary among events: time, then kind, then instrument.
type Key = (Timestamp, u8, InstrumentId);

/// What a boundary of one instrument's sessions needs.
#[derive(Debug, Clone)]
struct Instrument {
    id: InstrumentId,
    calendar: tradeflow_model::calendar::Calendar,
    opens: SeriesId,
    closes: SeriesId,
    next: Option<(Key, SessionPhase)>,
}

/// A cell that trades on paper, live.
pub struct LiveCell {
    paper: PaperCell,
    instruments: Vec<Instrument>,
    /// The boundaries up to here, inclusive, were delivered.
    passed: Key,
    /// The next one; its time alone is compared with each event.
    next: Option<Key>,
    /// The kind of each series, as its place among events of one instant.
    ranks: Vec<u8>,
    /// Market events taken.
    events: u64,
}

/// What a snapshot holds.
#[derive(Serialize, Deserialize)]
struct State {
    paper: Vec<u8>,
    passed: Key,
    events: u64,
}

impl LiveCell {
    /// The cell with this index at the start of its session.
    ///
    /// # Errors
    /// When the plan does not fit together.
    pub fn new(plan: &SessionPlan, cell: usize) -> Result<Self, Fault> {
        let tables = RunTables::of(&plan.run);
        let mut paper = PaperCell::new(&plan.run, &plan.run.cells[cell], &tables)?;
        paper.tell_events();
        let ranks = plan.run.series.iter().map(|series| series.kind.rank().0).collect();
        let passed = (plan.run.from, 0, InstrumentId(0));
        let mut instruments = Vec::new();
        for id in &plan.accounts[cell].instruments {
            let series = |kind| {
                plan.series_of(*id, kind)
                    .ok_or_else(|| Fault::new(format!("{} has no series of sessions", plan.symbol(*id))))
            };
            instruments.push(Instrument {
                id: *id,
                calendar: plan.run.instrument(*id).calendar,
                opens: series(SeriesKind::SessionOpens)?,
                closes: series(SeriesKind::SessionCloses)?,
                next: None,
            });
        }
        let mut live = Self { paper, instruments, passed, next: None, ranks, events: 0 };
        live.seek();
        Ok(live)
    }

    /// The cell.
    pub fn paper(&self) -> &PaperCell {
        &self.paper
    }

    /// The cell, to take its output.
    pub fn paper_mut(&mut self) -> &mut PaperCell {
        &mut self.paper
    }

    /// Market events taken.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// When the next timer or boundary is due: nothing need be done before.
    pub fn next_due(&self) -> Timestamp {
        let boundary = self.next.map_or(Timestamp::MAX, |(at, _, _)| at);
        self.paper.cell().next_timer().min(boundary)
    }

    /// Takes the rows of a chunk.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn on_chunk(&mut self, chunk: &Chunk) -> Result<(), Fault> {
        let rank = self.ranks[chunk.series.index()];
        for row in 0..chunk.columns.len() {
            let event = chunk.columns.get(row, chunk.series, chunk.instrument);
            let key = (event.ts_event(), rank, chunk.instrument);
            if self.next.is_some_and(|next| next < key) {
                self.pass_boundaries(key)?;
            }
            self.paper.on_event(&event)?;
            self.events += 1;
        }
        Ok(())
    }

    /// Lets time pass up to `now`: timers and boundaries that are due.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn on_time(&mut self, now: Timestamp) -> Result<(), Fault> {
        self.pass_boundaries((now, u8::MAX, InstrumentId(u32::MAX)))?;
        self.paper.on_time(now)
    }

    /// Takes a signal from outside.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn on_signal(&mut self, now: Timestamp, signal: &Signal) -> Result<(), Fault> {
        self.on_time(now)?;
        self.paper.on_signal(now, signal)
    }

    /// Takes a command from outside.
    ///
    /// # Errors
    /// A broken invariant; what is wrong with the command is in the answer.
    pub fn on_command(&mut self, now: Timestamp, command: &Command) -> Result<Answer, Fault> {
        self.on_time(now)?;
        self.paper.on_command(now, command)
    }

    fn pass_boundaries(&mut self, until: Key) -> Result<(), Fault> {
        while let Some(key) = self.next.filter(|next| *next < until) {
            let due = self.instruments.iter().find(|i| i.next.is_some_and(|(next, _)| next == key));
            let Some(due) = due else { break };
            let phase = due.next.map_or(SessionPhase::Open, |(_, phase)| phase);
            let series = if phase == SessionPhase::Open { due.opens } else { due.closes };
            let (ts_event, _, instrument) = key;
            let event = SessionEvent { series, instrument, ts_event, ts_init: ts_event, phase };
            self.paper.on_event(&MarketEvent::Session(event))?;
            self.passed = key;
            self.seek();
        }
        Ok(())
    }

    /// Finds the next boundary after the last one passed.
    fn seek(&mut self) {
        let passed = self.passed;
        for instrument in &mut self.instruments {
            if instrument.next.is_some_and(|(key, _)| key > passed) {
                continue;
            }
            let id = instrument.id;
            let boundaries = |session: Session| {
                let open = ((session.open, SeriesKind::SessionOpens.rank().0, id), SessionPhase::Open);
                let close = ((session.close, SeriesKind::SessionCloses.rank().0, id), SessionPhase::Close);
                [open, close]
            };
            // The session that closes at this very instant may still have its close to come.
            let from = passed.0.saturating_add(-1);
            instrument.next = instrument
                .calendar
                .sessions(from, Timestamp::MAX)
                .flat_map(boundaries)
                .find(|(key, _)| *key > passed);
        }
        self.next = self.instruments.iter().filter_map(|i| i.next).map(|(key, _)| key).min();
    }

    /// The state between two inputs.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        let state = State { paper: self.paper.snapshot()?, passed: self.passed, events: self.events };
        Ok(postcard::to_allocvec(&state)?)
    }

    /// Goes back to a snapshot of a cell of the same plan.
    ///
    /// # Errors
    /// When the bytes are not such a snapshot; the cell is then unchanged.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let state: State = postcard::from_bytes(snapshot)?;
        self.paper.restore(&state.paper)?;
        self.passed = state.passed;
        self.events = state.events;
        self.instruments.iter_mut().for_each(|instrument| instrument.next = None);
        self.seek();
        Ok(())
    }
}
