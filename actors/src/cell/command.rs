//! Commands from outside: orders by hand, closing, pausing, the kill switch, and strategies that start and stop.

use serde::{Deserialize, Serialize};
use tradeflow_model::plan::{RiskLimits, StrategyPlan};
use tradeflow_model::{
    InstrumentId, OrderId, Price, Qty, Signal, SignalSide, SignalSource, StrategyIndex, Timestamp,
};

use super::Cell;
use super::decide::Decided;
use crate::actor::{Fault, Outbox};
use crate::execution::{IdMint, OrderRequest, VenueCommand};
use crate::risk::TradingMode;

/// What someone outside wants of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// A new order.
    Submit(OrderRequest),
    /// Change an open order.
    Modify {
        /// Which.
        order: OrderId,
        /// New quantity.
        qty: Qty,
        /// New limit price, for an order that has one.
        price: Option<Price>,
        /// New trigger, for an order that has one.
        trigger: Option<Price>,
    },
    /// A signal from outside. Where a strategy with its `strategy_id` runs, it is that one's; otherwise it is by hand.
    Signal(Box<Signal>),
    /// Cancel an open order.
    Cancel {
        /// Which.
        order: OrderId,
    },
    /// Cancel all open orders.
    CancelAll,
    /// Cancel what is open in an instrument and close its position at market.
    Close {
        /// Which.
        instrument: InstrumentId,
    },
    /// Cancel all open orders and close all positions at market.
    Flatten,
    /// Let only orders pass that reduce a position.
    Pause,
    /// Trade again, after a pause or the kill switch.
    Resume,
    /// The kill switch: cancels all orders, closes all positions, and lets only orders pass that reduce, until someone
    /// resumes.
    Kill,
    /// Other limits of the risk gate, for orders from now on. What is open stays as it is.
    Limit(RiskLimits),
    /// Start a strategy, or start the one with the same id anew with these parameters.
    Start(Box<StrategyPlan>),
    /// Stop a strategy: its orders are cancelled.
    Stop {
        /// Its id.
        id: String,
        /// Whether its positions are closed; otherwise they stay.
        close: bool,
    },
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done; the orders that it made, if any.
    Done {
        /// Their ids.
        orders: Vec<OrderId>,
    },
    /// It was not done, and nothing has changed.
    Refused {
        /// Why, for programs.
        code: Refusal,
        /// Why, for people.
        why: String,
    },
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// There is no such account here.
    UnknownAccount,
    /// There is no such instrument.
    UnknownInstrument,
    /// There is no such strategy.
    UnknownStrategy,
    /// There is no such open order: it never was, or it has ended.
    UnknownOrder,
    /// There is no position to close.
    NoPosition,
    /// A signal that asks for nothing: the position that it wants is there, or its time is over.
    Idle,
    /// A field does not fit.
    Invalid,
    /// The risk gate refused.
    Denied,
    /// The command was there before: a duplicate is not done twice.
    Duplicate,
    /// The account does not take commands now: it is halted or another node has it.
    Unavailable,
}

impl Answer {
    fn done(orders: Vec<OrderId>) -> Self {
        Self::Done { orders }
    }

    /// A refusal.
    pub fn refused(code: Refusal, why: impl Into<String>) -> Self {
        Self::Refused { code, why: why.into() }
    }
}

impl Cell {
    /// Takes a command.
    ///
    /// # Errors
    /// A broken invariant; what is wrong with the command itself is in the answer.
    pub fn on_command(
        &mut self,
        now: Timestamp,
        command: &Command,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Answer, Fault> {
        let mut ids = self.begin();
        match command {
            Command::Submit(request) => self.submit_by_hand(now, request, &mut ids, out),
            Command::Modify { order, qty, price, trigger } => {
                if self.orders.get(*order).is_none() {
                    return Ok(no_order(*order));
                }
                if let Err(why) = self.may_change(now, *order, *qty, *price, *trigger) {
                    self.counters.changes_refused += 1;
                    return Ok(Answer::refused(Refusal::Denied, why));
                }
                let (order, qty, price, trigger) = (*order, *qty, *price, *trigger);
                out.push(VenueCommand::Modify { order, qty, price, trigger })?;
                Ok(Answer::done(vec![order]))
            }
            Command::Signal(signal) => self.signal_from_outside(now, signal, &mut ids, out),
            Command::Cancel { order } => {
                if self.orders.get(*order).is_none() {
                    return Ok(no_order(*order));
                }
                self.cancel(now, *order, &mut ids, out)?;
                Ok(Answer::done(vec![*order]))
            }
            Command::CancelAll => {
                self.cancel_where(now, |_, _| true, &[], &mut ids, out)?;
                Ok(Answer::done(Vec::new()))
            }
            Command::Close { instrument } => {
                if instrument.index() >= self.tables.instruments.len() {
                    return Ok(Answer::refused(Refusal::UnknownInstrument, "there is no such instrument"));
                }
                let orders = self.close_where(now, |_, of| of == *instrument, &mut ids, out)?;
                self.cancel_where(now, |_, of| of == *instrument, &orders, &mut ids, out)?;
                if orders.is_empty() {
                    let symbol = &self.tables.instruments[instrument.index()].symbol;
                    let why = format!("there is no position in {symbol}");
                    return Ok(Answer::refused(Refusal::NoPosition, why));
                }
                Ok(Answer::done(orders))
            }
            Command::Flatten => self.flatten(now, &mut ids, out),
            Command::Pause => {
                if self.risk.mode() == TradingMode::Open {
                    self.risk.set_mode(TradingMode::Paused);
                }
                Ok(Answer::done(Vec::new()))
            }
            Command::Resume => {
                self.risk.set_mode(TradingMode::Open);
                Ok(Answer::done(Vec::new()))
            }
            Command::Kill => {
                self.risk.set_mode(TradingMode::Killed);
                self.flatten(now, &mut ids, out)
            }
            Command::Limit(limits) => Ok(match self.risk.set_limits(limits) {
                Ok(()) => Answer::done(Vec::new()),
                Err(why) => Answer::refused(Refusal::Invalid, why),
            }),
            Command::Start(plan) => self.start(now, plan, &mut ids, out),
            Command::Stop { id, close } => {
                let Some(strategy) = self.strategy_index(id).filter(|s| self.slots[s.index()].active) else {
                    let why = format!("there is no strategy {id} running");
                    return Ok(Answer::refused(Refusal::UnknownStrategy, why));
                };
                let orders = self.stop(now, strategy, *close, &mut ids, out)?;
                Ok(Answer::done(orders))
            }
        }
    }

    fn signal_from_outside(
        &mut self,
        now: Timestamp,
        signal: &Signal,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Answer, Fault> {
        if signal.instrument.index() >= self.tables.instruments.len() {
            return Ok(Answer::refused(Refusal::UnknownInstrument, "there is no such instrument"));
        }
        let named = self.strategy_index(&signal.strategy_id);
        let strategy = named.filter(|strategy| self.slots[strategy.index()].active);
        let sized = signal.size.is_some() || strategy.is_some() || signal.side == SignalSide::Close;
        if !sized {
            let why = "it says no size, and no strategy with its id runs in the account, which would";
            return Ok(Answer::refused(Refusal::Invalid, why));
        }
        Ok(match self.decide(now, Signal { strategy, ..signal.clone() }, ids, out)? {
            Decided::Sent(orders) => Answer::done(orders),
            Decided::Waits => Answer::done(Vec::new()),
            Decided::Idle(why) => Answer::refused(Refusal::Idle, why),
            Decided::Denied(why) => Answer::refused(Refusal::Denied, why.to_string()),
        })
    }

    fn submit_by_hand(
        &mut self,
        now: Timestamp,
        request: &OrderRequest,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Answer, Fault> {
        if request.instrument.index() >= self.tables.instruments.len() {
            return Ok(Answer::refused(Refusal::UnknownInstrument, "there is no such instrument"));
        }
        let id = ids.next_id()?;
        let mut exits = [None, None];
        for (exit, wanted) in exits.iter_mut().zip([request.stop_loss, request.take_profit]) {
            if wanted.is_some() {
                *exit = Some(ids.next_id()?);
            }
        }
        match self.submit(now, None, id, exits, request, ids, out)? {
            None => Ok(Answer::done(std::iter::once(id).chain(exits.into_iter().flatten()).collect())),
            Some(why) => Ok(Answer::refused(Refusal::Denied, why.to_string())),
        }
    }

    fn flatten(
        &mut self,
        now: Timestamp,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Answer, Fault> {
        let orders = self.close_where(now, |_, _| true, ids, out)?;
        self.cancel_where(now, |_, _| true, &orders, ids, out)?;
        Ok(Answer::done(orders))
    }

    /// Cancels the open orders of the owners and instruments that are meant, but for those to `keep`.
    pub(super) fn cancel_where(
        &mut self,
        now: Timestamp,
        meant: impl Fn(Option<StrategyIndex>, InstrumentId) -> bool,
        keep: &[OrderId],
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        let open: Vec<_> = self
            .orders
            .iter()
            .filter(|order| meant(order.strategy, order.instrument) && !keep.contains(&order.id))
            .map(|order| order.id)
            .collect();
        open.into_iter().try_for_each(|order| self.cancel(now, order, ids, out))
    }

    /// Closes the positions of the owners and instruments that are meant, each for itself, as a signal to close does: what
    /// could still fill is cancelled first, and the rest is closed at market when that is out of the way. Returns the
    /// orders that close now.
    pub(super) fn close_where(
        &mut self,
        now: Timestamp,
        meant: impl Fn(Option<StrategyIndex>, InstrumentId) -> bool,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Vec<OrderId>, Fault> {
        let held: Vec<_> = self
            .account
            .open_trips()
            .map(|trip| (trip.strategy, trip.instrument))
            .filter(|(strategy, instrument)| meant(*strategy, *instrument))
            .collect();
        let mut orders = Vec::new();
        for (strategy, instrument) in held {
            let name = strategy.map(|s| self.strategies[s.index()].plan().id.clone()).unwrap_or_default();
            let signal = Signal {
                id: format!("{}-close-{}", ids.position(), self.counters.signals),
                source: SignalSource::Manual,
                strategy,
                strategy_id: name.clone(),
                strategy_version: String::new(),
                strategy_name: name,
                instrument,
                side: SignalSide::Close,
                size: None,
                price: None,
                limit_price: None,
                stop_loss: None,
                take_profit: None,
                expires: None,
                ts_event: now,
            };
            self.decide(now, signal, ids, out)?;
            let working = self.orders.of(strategy, instrument).filter(|order| !order.cancel_requested);
            orders.extend(working.map(|order| order.id));
        }
        Ok(orders)
    }
}

fn no_order(order: OrderId) -> Answer {
    Answer::refused(
        Refusal::UnknownOrder,
        format!("order {order} is not open: it never was, or it has ended"),
    )
}
