//! A cell and the simulated venue, run to quiescence after each input: paper trading and backtests.

use serde::{Deserialize, Serialize};
use tradeflow_model::market::{Columns, SeriesKind};
use tradeflow_model::plan::{CellPlan, RunPlan};
use tradeflow_model::{
    InstrumentId, MarketBatch, MarketEvent, OrderEvent, SeriesId, Signal, StrategyIndex, Timestamp,
};

use super::{Answer, Cell, Command, RunTables};
use crate::actor::{Actor, Fault, Outbox, seal, unseal};
use crate::execution::VenueCommand;
use crate::output::{CellOutput, Counters};
use crate::strategy::StrategyActor;
use crate::venue::{SimVenue, VenueInput};

/// A cell that trades on the simulated venue.
///
/// For each market event: timers that are due fire; the venue matches what rests; its reports go to the cell; then the
/// cell sees the event and its commands go to the venue. Commands and reports go back and forth until there are none,
/// and then the books of cell and venue must agree.
pub struct PaperCell {
    cell: Cell,
    venue: SimVenue,
    now: Timestamp,
    commands: Outbox<VenueCommand>,
    reports: Outbox<OrderEvent>,
}

#[derive(Serialize, Deserialize)]
struct State {
    cell: Vec<u8>,
    venue: Vec<u8>,
    now: Timestamp,
}

/// For each instrument the series whose events fill orders: quotes before trades before the finest bars. Bars of traded
/// prices go before those of bids, asks or mids of the same length.
pub fn matched_series(plan: &RunPlan) -> Vec<Option<SeriesId>> {
    let fineness = |kind: SeriesKind| match kind {
        SeriesKind::Quotes => Some((0, 0, 0)),
        SeriesKind::Trades => Some((1, 0, 0)),
        SeriesKind::Bars { interval, price_type } => Some((2, interval.nominal_nanos(), price_type as u8)),
        SeriesKind::Actions | SeriesKind::SessionOpens | SeriesKind::SessionCloses => None,
    };
    let mut best = vec![None; plan.instruments.len()];
    for (index, series) in plan.series.iter().enumerate() {
        let Some(rank) = fineness(series.kind) else { continue };
        let best = &mut best[series.instrument.index()];
        if best.is_none_or(|(least, _)| rank < least) {
            *best = Some((rank, SeriesId(index as u16)));
        }
    }
    best.into_iter().map(|best| best.map(|(_, series)| series)).collect()
}

impl RunTables {
    /// The tables of a plan.
    pub fn of(plan: &RunPlan) -> Self {
        Self {
            instruments: plan.instruments.clone().into(),
            series: plan.series.iter().map(|series| series.instrument).collect(),
            from: plan.from,
        }
    }
}

impl PaperCell {
    /// How often timers may fire at one instant: a strategy that asks again and again for a time that has passed is
    /// stopped rather than waited for.
    const TIMERS_MAX: usize = 65_536;

    /// A cell of a run, at its start.
    ///
    /// # Errors
    /// When the plan does not fit together; a checked plan does.
    pub fn new(run: &RunPlan, plan: &CellPlan, tables: &RunTables) -> Result<Self, Fault> {
        Self::around(run, plan, tables, Cell::new(plan, tables)?)
    }

    /// A cell with strategies that were built by hand, as tests do.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_strategies(
        run: &RunPlan,
        plan: &CellPlan,
        tables: &RunTables,
        strategies: Vec<StrategyActor>,
    ) -> Result<Self, Fault> {
        Self::around(run, plan, tables, Cell::with_strategies(plan, tables, strategies)?)
    }

    fn around(run: &RunPlan, plan: &CellPlan, tables: &RunTables, cell: Cell) -> Result<Self, Fault> {
        let venue = SimVenue::new(&plan.account, &tables.instruments, plan.venue, matched_series(run))?;
        let now = Timestamp::MIN;
        Ok(Self { cell, venue, now, commands: Outbox::default(), reports: Outbox::default() })
    }

    /// The cell.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// The venue.
    pub fn venue(&self) -> &SimVenue {
        &self.venue
    }

    pub(super) fn venue_mut(&mut self) -> &mut SimVenue {
        &mut self.venue
    }

    /// What it did so far.
    pub fn counters(&self) -> Counters {
        Counters { fills_over_volume: self.venue.fills_over_volume(), ..*self.cell.counters() }
    }

    /// Takes what it put out since the last time.
    pub fn take_output(&mut self) -> CellOutput {
        self.cell.take_output()
    }

    /// Takes a batch, event by event in its order. The loop is over columns; each kind of column has its own.
    ///
    /// # Errors
    /// A broken invariant, with the time at which it broke.
    pub fn on_batch(&mut self, batch: &MarketBatch) -> Result<(), Fault> {
        for run in &batch.runs {
            let part = &batch.parts[run.part as usize];
            let rows = run.start as usize..run.end as usize;
            match part.columns.as_ref() {
                Columns::Bars(bars) => {
                    for bar in bars.rows(rows, part.series, part.instrument) {
                        self.on_event(&MarketEvent::Bar(bar))?;
                    }
                }
                columns => {
                    for row in rows {
                        self.on_event(&columns.get(row, part.series, part.instrument))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a market event, at its time. One that is older than what came before (a late one, live) is taken now: time
    /// never runs backwards. It keeps its own time, so it fills nothing that was ordered after it happened.
    ///
    /// # Errors
    /// A broken invariant, with the time at which it broke.
    #[inline]
    pub fn on_event(&mut self, event: &MarketEvent) -> Result<(), Fault> {
        let now = event.ts_event().max(self.now);
        self.step(now, event).map_err(|Fault(why)| Fault::new(format!("at {now}: {why}")))
    }

    #[inline]
    fn step(&mut self, now: Timestamp, event: &MarketEvent) -> Result<(), Fault> {
        if self.cell.next_timer() <= now {
            self.pass_time(now)?;
        }
        self.now = now;
        self.venue.on_market(now, event, &mut self.reports)?;
        if !self.reports.is_empty() {
            self.settle(now)?;
        }
        self.cell.on_market(now, event, &mut self.commands)?;
        if !self.commands.is_empty() {
            self.settle(now)?;
        }
        Ok(())
    }

    /// Takes a signal from outside, at `now`, or at the time of the last input if that is later.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn on_signal(&mut self, now: Timestamp, signal: &Signal) -> Result<(), Fault> {
        let now = now.max(self.now);
        self.pass_time(now)?;
        self.cell.on_signal(now, signal, &mut self.commands)?;
        self.settle(now)
    }

    /// Takes a command from outside, at `now`, or at the time of the last input if that is later.
    ///
    /// # Errors
    /// A broken invariant; what is wrong with the command itself is in the answer.
    pub fn on_command(&mut self, now: Timestamp, command: &Command) -> Result<Answer, Fault> {
        let now = now.max(self.now);
        self.pass_time(now)?;
        let answer = self.cell.on_command(now, command, &mut self.commands)?;
        self.settle(now)?;
        Ok(answer)
    }

    /// Lets time pass up to `now`: what a driver does when no event comes for as long as a timer waits.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn on_time(&mut self, now: Timestamp) -> Result<(), Fault> {
        self.pass_time(now.max(self.now))
    }

    /// Gives a strategy an event of the past, to warm it up.
    ///
    /// # Errors
    /// As [`Cell::warm_up`].
    pub fn warm_up(&mut self, strategy: StrategyIndex, event: &MarketEvent) -> Result<(), Fault> {
        self.cell.warm_up(strategy, event)
    }

    /// The time of the last input.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// As [`Cell::tell_events`].
    pub fn tell_events(&mut self) {
        self.cell.tell_events();
    }

    /// Lets the timers fire that come up to `now`, which is not before the last input.
    #[cold]
    fn pass_time(&mut self, now: Timestamp) -> Result<(), Fault> {
        let mut at_once = 0;
        while self.cell.next_timer() <= now {
            let due = self.cell.next_timer().max(self.now);
            at_once = if due == self.now { at_once + 1 } else { 0 };
            if at_once > Self::TIMERS_MAX {
                return Err(Fault::new(format!(
                    "timers fired more than {} times at {due}",
                    Self::TIMERS_MAX
                )));
            }
            self.now = due;
            self.cell.on_time(due, &mut self.commands)?;
            self.settle(due)?;
        }
        self.now = now;
        Ok(())
    }

    /// Carries reports and commands back and forth until there are none. After the reports of one moment the books of
    /// account and venue must agree in cash and in what was traded.
    fn settle(&mut self, now: Timestamp) -> Result<(), Fault> {
        let mut traded: Option<InstrumentId> = None;
        loop {
            if let Some(report) = self.reports.pop() {
                if report.kind.fill().is_some() {
                    traded = self.cell.orders().get(report.order).map(|order| order.instrument).or(traded);
                }
                self.cell.on_report(now, &report, &mut self.commands)?;
                continue;
            }
            if let Some(instrument) = traded.take() {
                self.cell.account().ledger().reconcile(self.venue.ledger(), instrument)?;
            }
            let Some(command) = self.commands.pop() else { return Ok(()) };
            self.venue.handle(now, VenueInput::Command(&command), &mut self.reports)?;
        }
    }

    /// Ends the run.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn finish(&mut self) -> Result<(), Fault> {
        self.cell.finish(self.now)
    }

    /// The state between two inputs.
    ///
    /// # Errors
    /// When the state can't be written.
    pub fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        let state = State { cell: self.cell.snapshot()?, venue: self.venue.snapshot()?, now: self.now };
        Ok(seal(&self.cell.fingerprint, &postcard::to_allocvec(&state)?))
    }

    /// Goes back to a snapshot of a cell that was built alike.
    ///
    /// # Errors
    /// When the bytes are not such a snapshot; the cell is then unchanged.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let state: State = postcard::from_bytes(unseal(&self.cell.fingerprint, snapshot)?)?;
        // The cell goes first, and back should the venue's part be none: all or nothing.
        let before = self.cell.snapshot()?;
        self.cell.restore(&state.cell)?;
        if let Err(why) = self.venue.restore(&state.venue) {
            self.cell.restore(&before)?;
            return Err(why);
        }
        self.now = state.now;
        Ok(())
    }
}
