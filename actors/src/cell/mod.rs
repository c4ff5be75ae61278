//! The cell: one account with its strategies, its desk, its risk gate and its router.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Cell`]: inputs in, venue commands out |
//! | `decide.rs` | from intents and signals to orders |
//! | `command.rs` | [`Command`]: orders by hand, closing, pausing, the kill switch |
//! | `slots.rs` | strategies that start, stop and fail while the cell runs |
//! | `timers.rs` | timers of the strategies |
//! | `equity.rs` | the points of the equity curve |
//! | `preview.rs` | [`Preview`]: what an order would cost, and whether it would pass |
//! | `paper.rs` | [`PaperCell`]: a cell and the simulated venue, run to quiescence |
//!
//! The cell does not know whether the venue is simulated or real (I1): commands go out, reports come in. Strategies see
//! each input in the order of the plan. Every input raises the journal position, from which order ids derive.

mod command;
mod decide;
mod equity;
mod paper;
mod preview;
mod slots;
mod timers;

pub use command::{Answer, Command, Refusal};
pub use paper::{PaperCell, matched_series};
pub use preview::{Cost, Preview};

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tradeflow_model::market::SessionPhase;
use tradeflow_model::plan::{CellPlan, Containment, RiskLimits};
use tradeflow_model::{
    Digest, DigestWriter, Instrument, InstrumentId, MarketEvent, Money, Order, OrderEvent, OrderEventKind,
    Price, SeriesId, Signal, StrategyIndex, Timestamp,
};

use crate::account::{Account, AccountInput, RoundTrip};
use crate::actor::{Actor, Fault, Outbox, seal, unseal};
use crate::execution::costs::Costs;
use crate::execution::{Desk, IdMint, OpenOrders, VenueCommand};
use crate::output::{
    CellOutput, Counters, EquityColumns, FillRecord, Fold, OrderRecord, PositionRecord, reason_of,
};
use crate::risk::{RiskGate, RiskState};
use crate::strategy::{Intent, StrategyActor, StrategyEvent, StrategyInput, View};
use equity::EquityCurve;
use slots::{Slot, SlotState};
use timers::Timers;

/// What a cell is told.
#[derive(Debug, Clone, Copy)]
pub enum CellInput<'a> {
    /// Something happened in the market.
    Market(&'a MarketEvent),
    /// The venue says what became of an order.
    Report(&'a OrderEvent),
    /// A signal from outside.
    Signal(&'a Signal),
    /// Time has passed: timers that are due fire.
    Time,
}

/// What all cells of a run share.
#[derive(Debug, Clone)]
pub struct RunTables {
    /// The instruments.
    pub instruments: Arc<[Instrument]>,
    /// Instrument of each series.
    pub series: Arc<[InstrumentId]>,
    /// First instant of trading.
    pub from: Timestamp,
}

/// A cell.
pub struct Cell {
    tables: RunTables,
    /// Of everything it was built from: a snapshot is of a cell with the same.
    fingerprint: Digest,
    costs: Vec<Costs>,
    /// Strategies that see a series, by series.
    subscribers: Vec<Vec<StrategyIndex>>,
    /// Strategies that see any series of an instrument, and so its sessions, by instrument.
    followers: Vec<Vec<StrategyIndex>>,
    strategies: Vec<StrategyActor>,
    /// By strategy.
    slots: Vec<Slot>,
    containment: Option<Containment>,
    account: Account,
    planned_limits: RiskLimits,
    risk: RiskGate,
    /// Whether [`CellOutput::events`] is filled.
    tells_events: bool,
    desk: Desk,
    orders: OpenOrders,
    timers: Timers,
    curve: EquityCurve,
    /// Inputs taken so far: the journal position.
    position: u64,
    counters: Counters,
    digest: DigestWriter,
    output: CellOutput,
    intents: Outbox<Intent>,
    ended_trips: Outbox<RoundTrip>,
}

#[derive(Serialize, Deserialize)]
struct State {
    slots: Vec<SlotState>,
    account: Vec<u8>,
    risk: RiskState,
    desk: Desk,
    orders: OpenOrders,
    timers: Timers,
    curve: EquityCurve,
    position: u64,
    counters: Counters,
    digest: DigestWriter,
}

impl Cell {
    /// A cell at its start.
    ///
    /// # Errors
    /// When the plan does not fit together; a checked plan does.
    pub fn new(plan: &CellPlan, tables: &RunTables) -> Result<Self, Fault> {
        let strategies = plan
            .strategies
            .iter()
            .enumerate()
            .map(|(index, strategy)| {
                let index =
                    StrategyIndex(u16::try_from(index).map_err(|_| Fault::new("too many strategies"))?);
                let series: Vec<_> = strategy.series.iter().map(|s| (*s, tables.series[s.index()])).collect();
                StrategyActor::new(index, strategy, &series, &tables.instruments, tables.from)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::with_strategies(plan, tables, strategies)
    }

    /// A cell with strategies that were built by hand, as tests do.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_strategies(
        plan: &CellPlan,
        tables: &RunTables,
        strategies: Vec<StrategyActor>,
    ) -> Result<Self, Fault> {
        let costs = tables
            .instruments
            .iter()
            .map(|definition| Costs::new(definition, &plan.venue))
            .collect::<Result<_, _>>()
            .map_err(Fault::new)?;
        let fingerprint = Digest::of_json(&(plan, &*tables.instruments, &*tables.series, tables.from));
        let count = strategies.len();
        let account = Account::new(Arc::new(plan.account.clone()), &tables.instruments, count)?;
        let mut cell = Self {
            costs,
            fingerprint,
            subscribers: vec![Vec::new(); tables.series.len()],
            followers: vec![Vec::new(); tables.instruments.len()],
            slots: vec![Slot { active: true, failures: 0, from: tables.from }; count],
            containment: plan.containment,
            tells_events: false,
            strategies,
            planned_limits: plan.risk,
            risk: RiskGate::new(&plan.risk, account.equity())?,
            account,
            desk: Desk::new(tables.instruments.len(), count),
            orders: OpenOrders::default(),
            timers: Timers::default(),
            curve: EquityCurve::new(plan.equity_interval_ns, tables.from),
            position: 0,
            counters: Counters::default(),
            digest: DigestWriter::new(),
            output: CellOutput::default(),
            intents: Outbox::default(),
            ended_trips: Outbox::default(),
            tables: tables.clone(),
        };
        cell.subscribe();
        Ok(cell)
    }

    /// From now on [`CellOutput::events`] holds every change of an order: a live cell tells people at once, a backtest
    /// only how orders ended.
    pub fn tell_events(&mut self) {
        self.tells_events = true;
    }

    /// The risk gate.
    pub fn risk(&self) -> &RiskGate {
        &self.risk
    }

    /// The account.
    #[inline]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Open orders.
    pub fn orders(&self) -> &OpenOrders {
        &self.orders
    }

    /// What it did so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Digest of everything it put out so far.
    pub fn output_digest(&self) -> Digest {
        self.digest.finish()
    }

    /// When the next timer is due.
    #[inline]
    pub fn next_timer(&self) -> Timestamp {
        self.timers.next()
    }

    /// Takes what it put out since the last time.
    pub fn take_output(&mut self) -> CellOutput {
        // The next stretch is probably as long: its columns need not grow bit by bit.
        let points = self.output.equity.ts_event.len();
        let equity = EquityColumns {
            ts_event: Vec::with_capacity(points),
            cash: Vec::with_capacity(points),
            equity: Vec::with_capacity(points),
        };
        std::mem::replace(&mut self.output, CellOutput { equity, ..CellOutput::default() })
    }

    /// Ends the run: the last point of the equity curve, and the orders and trades that are still open.
    pub fn finish(&mut self, now: Timestamp) -> Result<(), Fault> {
        self.curve.flush(&self.account, &mut self.output.equity, &mut self.digest);
        for order in self.orders.iter() {
            order.fold(&mut self.digest);
            self.output.orders.push(OrderRecord {
                order: order.clone(),
                ts_closed: now,
                reason: String::new(),
            });
        }
        for trip in self.account.open_trips() {
            trip.fold(&mut self.digest);
            self.output.trades.push(*trip);
        }
        Ok(())
    }

    #[inline]
    fn begin(&mut self) -> IdMint {
        self.position += 1;
        self.counters.inputs += 1;
        IdMint::new(self.position)
    }

    /// Takes a market event: marks positions, tells the strategies, and acts on what they want.
    ///
    /// # Errors
    /// A broken invariant.
    #[inline]
    pub fn on_market(
        &mut self,
        now: Timestamp,
        event: &MarketEvent,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        let mut ids = self.begin();
        let (told, price, begins) = match event {
            MarketEvent::Bar(bar) => (StrategyEvent::Bar(bar), bar.close, bar.ts_open),
            MarketEvent::Trade(trade) => (StrategyEvent::Trade(trade), trade.price, trade.ts_event),
            MarketEvent::Quote(quote) => {
                let half = (quote.ask.raw() - quote.bid.raw()) / 2;
                let mid = Price::from_raw(quote.bid.raw() + half);
                (StrategyEvent::Quote(quote), mid, quote.ts_event)
            }
            MarketEvent::Session(session) => {
                if session.phase == SessionPhase::Open {
                    self.risk.on_session_open(self.account.equity());
                }
                let told = StrategyEvent::Session(session);
                for at in 0..self.followers[session.instrument.index()].len() {
                    let strategy = self.followers[session.instrument.index()][at];
                    self.tell(now, strategy, told, &mut ids, out)?;
                }
                return Ok(());
            }
            MarketEvent::Action(action) => {
                self.before_change(now);
                self.account.handle(now, AccountInput::Action(action), &mut self.ended_trips)?;
                return self.book_changes(now, action.instrument);
            }
        };
        let instrument = event.instrument();
        let trading = begins >= self.tables.from;
        match (trading, event) {
            (false, _) => self.counters.warm_up += 1,
            (true, MarketEvent::Bar(_)) => self.counters.bars += 1,
            (true, _) => self.counters.ticks += 1,
        }
        if trading {
            self.before_change(now);
        }
        self.account.mark(instrument, price)?;
        self.risk.on_equity(self.account.equity());
        for at in 0..self.subscribers[event.series().index()].len() {
            let strategy = self.subscribers[event.series().index()][at];
            self.tell(now, strategy, told, &mut ids, out)?;
        }
        Ok(())
    }

    /// What comes now changes the account: an interval of the equity curve that is over gets its point first.
    #[inline]
    fn before_change(&mut self, now: Timestamp) {
        if now >= self.tables.from {
            self.curve.before(now, &self.account, &mut self.output.equity, &mut self.digest);
        }
    }

    /// Takes a report of the venue.
    ///
    /// # Errors
    /// A broken invariant: a report that can't follow, books that do not balance.
    pub fn on_report(
        &mut self,
        now: Timestamp,
        report: &OrderEvent,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        let mut ids = self.begin();
        self.apply(now, report, &mut ids, out)
    }

    /// Fires the timers that are due.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn on_time(&mut self, now: Timestamp, out: &mut Outbox<VenueCommand>) -> Result<(), Fault> {
        let mut ids = self.begin();
        for (strategy, timer) in self.timers.take_due(now) {
            self.tell(now, strategy, StrategyEvent::Timer(timer), &mut ids, out)?;
        }
        Ok(())
    }

    /// Takes a signal from outside: a webhook's, a person's.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn on_signal(
        &mut self,
        now: Timestamp,
        signal: &Signal,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        let mut ids = self.begin();
        self.decide(now, signal.clone(), &mut ids, out).map(drop)
    }

    /// Tells a strategy something, and acts on what it wants.
    #[inline]
    fn tell(
        &mut self,
        now: Timestamp,
        strategy: StrategyIndex,
        event: StrategyEvent<'_>,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        if !self.slots[strategy.index()].active {
            return Ok(());
        }
        if self.containment.is_some() {
            self.tell_contained(now, strategy, event, ids, out)?;
        } else {
            let view = View { account: &self.account, orders: &self.orders };
            let input = StrategyInput { event, view, ids };
            self.strategies[strategy.index()].handle(now, input, &mut self.intents)?;
        }
        if self.intents.is_empty() {
            return Ok(());
        }
        // What comes of an intent may tell the strategy more, and lead to intents of its own: those go first.
        let mut wanted = std::mem::take(&mut self.intents);
        while let Some(intent) = wanted.pop() {
            self.act(now, strategy, intent, ids, out)?;
        }
        self.intents = wanted;
        Ok(())
    }

    /// Applies an event to its order, books a fill, records, and tells the strategy.
    fn apply(
        &mut self,
        now: Timestamp,
        event: &OrderEvent,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        let order = self.orders.apply(event)?;
        event.fold(&mut self.digest);
        self.note(event, &order);
        if let Some(fill) = event.kind.fill() {
            self.before_change(now);
            let input = AccountInput::Fill {
                strategy: order.strategy,
                instrument: order.instrument,
                ts_event: event.ts_event,
                fill,
            };
            self.account.handle(now, input, &mut self.ended_trips)?;
            self.counters.fills += 1;
            self.output.fills.push(FillRecord {
                order: order.id,
                strategy: order.strategy,
                instrument: order.instrument,
                ts_event: event.ts_event,
                ts_init: event.ts_init,
                side: fill.side,
                price: fill.price,
                qty: fill.qty,
                fee: fill.fee,
                liquidity: fill.liquidity,
                position: self.account.ledger().position(order.instrument).qty,
                cash: self.account.ledger().cash(),
                ends_trade: !self.ended_trips.is_empty(),
            });
            self.book_changes(event.ts_event, order.instrument)?;
            self.risk.on_equity(self.account.equity());
        }
        if order.is_closed() {
            match event.kind {
                OrderEventKind::Denied(_) => self.counters.denied += 1,
                OrderEventKind::Rejected(_) => self.counters.rejected += 1,
                _ => {}
            }
            let reason = reason_of(&event.kind);
            self.output.orders.push(OrderRecord { order: order.clone(), ts_closed: event.ts_event, reason });
        }
        if let Some(strategy) = order.strategy {
            self.tell(now, strategy, StrategyEvent::Order(event, &order), ids, out)?;
        }
        if order.is_closed() {
            self.release(now, order.strategy, order.instrument, ids, out)?;
        }
        Ok(())
    }

    /// Keeps a change of an order for those who watch.
    #[inline]
    fn note(&mut self, event: &OrderEvent, order: &Order) {
        if self.tells_events {
            self.output.events.push((event.clone(), order.clone()));
        }
    }

    /// Records the trips that ended and the position after a change.
    fn book_changes(&mut self, ts_event: Timestamp, instrument: InstrumentId) -> Result<(), Fault> {
        while let Some(trip) = self.ended_trips.pop() {
            trip.fold(&mut self.digest);
            self.counters.trades += 1;
            self.output.trades.push(trip);
        }
        let position = self.account.ledger().position(instrument);
        self.output.positions.push(PositionRecord {
            ts_event,
            instrument,
            qty: position.qty,
            cost: position.cost,
            realized: position.realized,
            fees: position.fees,
        });
        Ok(())
    }

    /// The last price of an instrument; `None` before the first.
    fn last_price(&self, instrument: InstrumentId) -> Option<Price> {
        let mark = self.account.ledger().position(instrument).mark;
        (mark != Price::ZERO).then_some(mark)
    }

    /// Instrument of a series.
    pub fn instrument_of(&self, series: SeriesId) -> InstrumentId {
        self.tables.series[series.index()]
    }

    /// Equity now.
    pub fn equity(&self) -> Money {
        self.account.equity()
    }
}

impl Actor for Cell {
    type Input<'a> = CellInput<'a>;
    type Output = VenueCommand;

    fn handle(
        &mut self,
        now: Timestamp,
        input: CellInput<'_>,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        match input {
            CellInput::Market(event) => self.on_market(now, event, out),
            CellInput::Report(report) => self.on_report(now, report, out),
            CellInput::Signal(signal) => self.on_signal(now, signal, out),
            CellInput::Time => self.on_time(now, out),
        }
    }

    /// The state between two inputs; outputs that were not taken are not part of it.
    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        let state = State {
            slots: self.slot_states()?,
            account: self.account.snapshot()?,
            risk: self.risk.state(),
            desk: self.desk.clone(),
            orders: self.orders.clone(),
            timers: self.timers.clone(),
            curve: self.curve.clone(),
            position: self.position,
            counters: self.counters,
            digest: self.digest.clone(),
        };
        // Limits follow only where they are not those of the plan, as no snapshot had them before they could be changed.
        let mut bytes = postcard::to_allocvec(&state)?;
        if *self.risk.limits() != self.planned_limits {
            bytes.extend(postcard::to_allocvec(self.risk.limits())?);
        }
        Ok(seal(&self.fingerprint, &bytes))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let (state, rest): (State, _) = postcard::take_from_bytes(unseal(&self.fingerprint, snapshot)?)?;
        let limits = if rest.is_empty() { self.planned_limits } else { postcard::from_bytes(rest)? };
        self.account.restore(&state.account)?;
        self.set_slots(state.slots)?;
        self.risk.set_limits(&limits).map_err(Fault::new)?;
        self.risk.set_state(state.risk);
        self.desk = state.desk;
        self.orders = state.orders;
        self.timers = state.timers;
        self.curve = state.curve;
        self.position = state.position;
        self.counters = state.counters;
        self.digest = state.digest;
        Ok(())
    }
}
