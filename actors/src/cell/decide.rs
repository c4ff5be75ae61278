//! From what a strategy or a sender wants to an order: desk, sizing, risk gate, router.

use tradeflow_model::order::{DenyReason, Execution};
use tradeflow_model::{
    InstrumentId, Order, OrderEvent, OrderEventKind, OrderId, OrderKind, OrderStatus, Price, Qty, Side,
    Signal, SignalSide, SignalSource, StrategyIndex, TimeInForce, Timestamp,
};

use super::Cell;
use crate::actor::{Fault, Outbox};
use crate::execution::{IdMint, OrderRequest, VenueCommand, quantity_for};
use crate::output::Fold;
use crate::strategy::{Intent, StrategyEvent};

/// What came of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decided {
    /// Nothing is to be done, and why.
    Idle(&'static str),
    /// It waits until older orders are gone.
    Waits,
    /// These orders were sent: the entry, and its protective exits.
    Sent(Vec<OrderId>),
    /// The order that it came to was denied.
    Denied(DenyReason),
}

impl Cell {
    /// Acts on what a strategy wants.
    pub(super) fn act(
        &mut self,
        now: Timestamp,
        strategy: StrategyIndex,
        intent: Intent,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        match intent {
            Intent::Signal { instrument, side, stop_loss, take_profit } => {
                let plan = self.strategies[strategy.index()].plan();
                let scale = self.tables.instruments[instrument.index()].price_scale;
                let signal = Signal {
                    id: format!("{}-{}", ids.position(), self.counters.signals),
                    source: SignalSource::InHouse,
                    strategy: Some(strategy),
                    strategy_id: plan.id.clone(),
                    strategy_version: plan.version.clone(),
                    strategy_name: plan.kind.clone(),
                    instrument,
                    side,
                    size: None,
                    price: self.last_price(instrument).map(|price| price.to_decimal(scale)),
                    limit_price: None,
                    stop_loss: stop_loss.map(|price| price.to_decimal(scale)),
                    take_profit: take_profit.map(|price| price.to_decimal(scale)),
                    expires: None,
                    ts_event: now,
                };
                self.decide(now, signal, ids, out).map(drop)
            }
            Intent::Order { id, exits, request } => {
                self.submit(now, Some(strategy), id, exits, &request, ids, out).map(drop)
            }
            Intent::Modify { order, qty, price, trigger } => {
                let own = self.orders.get(order).is_some_and(|o| o.strategy == Some(strategy));
                if own && self.may_change(now, order, qty, price, trigger).is_ok() {
                    return out.push(VenueCommand::Modify { order, qty, price, trigger });
                }
                self.counters.changes_refused += 1;
                Ok(())
            }
            Intent::Cancel(order) => {
                if self.orders.get(order).is_some_and(|o| o.strategy == Some(strategy)) {
                    self.cancel(now, order, ids, out)?;
                }
                Ok(())
            }
            Intent::Timer { at, timer } => self.timers.set(at.max(now), strategy, timer),
        }
    }

    /// Whether the order may change so, and would still pass the risk gate; in words if not.
    pub(super) fn may_change(
        &self,
        now: Timestamp,
        order: OrderId,
        qty: Qty,
        price: Option<Price>,
        trigger: Option<Price>,
    ) -> Result<(), String> {
        let mut changed = self.orders.get(order).cloned().ok_or("it is not open")?;
        if changed.status == OrderStatus::Submitted {
            changed.status = OrderStatus::Accepted; // the venue will have it before the change
        }
        let kind = OrderEventKind::Modified { qty, price, trigger };
        let event = OrderEvent { order, ts_event: now, ts_init: now, kind };
        let last = self.last_price(changed.instrument);
        // It is one of those that are open, not one more.
        let others = self.orders.len() - 1;
        changed.apply(&event).map_err(|error| error.to_string())?;
        self.risk.check(&changed, &self.account, last, others).map_err(|reason| reason.to_string())
    }

    /// Takes a signal: nothing to do when the position is there or on its way; otherwise older orders of the same
    /// strategy and instrument are cancelled first, and the signal waits at the desk until they are gone.
    pub(super) fn decide(
        &mut self,
        now: Timestamp,
        signal: Signal,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Decided, Fault> {
        self.counters.signals += 1;
        let (strategy, instrument) = (signal.strategy, signal.instrument);
        let expired = signal.expires.is_some_and(|expires| expires < now);
        if now < self.tables.from || expired {
            return Ok(self.idle(if expired { "it has expired" } else { "trading has not begun yet" }));
        }
        if self.is_wanted(&signal) {
            return Ok(self.idle("the position that it wants is there, or on its way"));
        }
        let older: Vec<OrderId> = self.orders.of(strategy, instrument).map(|order| order.id).collect();
        if self.desk.wait(signal).is_some() {
            self.counters.signals_idle += 1; // replaced before it could be acted on
        }
        if older.is_empty() {
            return self.release(now, strategy, instrument, ids, out);
        }
        for order in older {
            self.cancel(now, order, ids, out)?;
        }
        Ok(Decided::Waits)
    }

    fn idle(&mut self, why: &'static str) -> Decided {
        self.counters.signals_idle += 1;
        Decided::Idle(why)
    }

    /// Whether the position that a signal wants is there, or on its way with nothing against it.
    fn is_wanted(&self, signal: &Signal) -> bool {
        let wanted = match signal.side {
            SignalSide::Buy => 1,
            SignalSide::Sell => -1,
            SignalSide::Close => 0,
        };
        // The newest word counts: a signal that waits, then orders on their way, then the position.
        if let Some(waiting) = self.desk.waiting(signal.strategy, signal.instrument) {
            return waiting.side == signal.side;
        }
        let held = self.account.strategy_position(signal.strategy, signal.instrument).raw();
        let mut working =
            self.orders.of(signal.strategy, signal.instrument).filter(|o| o.parent.is_none()).peekable();
        if working.peek().is_none() {
            return held.signum() == wanted;
        }
        let after =
            working.fold(held, |sum, order| sum.saturating_add(order.side.sign() * order.leaves().raw()));
        after.signum() == wanted
    }

    /// Acts on the signal that waits, once no older order is in the way.
    pub(super) fn release(
        &mut self,
        now: Timestamp,
        strategy: Option<StrategyIndex>,
        instrument: InstrumentId,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Decided, Fault> {
        if self.desk.waiting(strategy, instrument).is_none()
            || self.orders.of(strategy, instrument).next().is_some()
        {
            return Ok(Decided::Waits);
        }
        let Some(signal) = self.desk.take(strategy, instrument) else { return Ok(Decided::Waits) };
        if signal.expires.is_some_and(|expires| expires < now) {
            return Ok(self.idle("it has expired"));
        }
        let held = self.account.strategy_position(strategy, instrument).raw();
        let (target, side) = match signal.side {
            SignalSide::Close => (0, Side::of_change(Qty::from_raw(held)).map(Side::opposite)),
            SignalSide::Buy => (self.size_of(&signal).raw(), Some(Side::Buy)),
            SignalSide::Sell => (-self.size_of(&signal).raw(), Some(Side::Sell)),
        };
        let Some(side) = side else {
            return Ok(self.idle("there is no position to close"));
        };
        let change = target.saturating_sub(held);
        if change.signum() == -side.sign() || (change == 0 && held != 0) {
            return Ok(self.idle("the position is as large as it wants, or larger"));
        }
        let qty = Qty::from_raw(change.abs());
        let id = ids.next_id()?;
        let definition = &self.tables.instruments[instrument.index()];
        let mut request = OrderRequest::market(instrument, side, qty);
        let mut exits = [None, None];
        let mut invalid = None;
        let mut price_of = |field: &str, value: Option<rust_decimal::Decimal>| -> Option<Price> {
            let value = value?;
            definition.order_price(field, value).map_err(|error| invalid = Some(error.to_string())).ok()
        };
        if let Some(price) = price_of("limit price", signal.limit_price) {
            request.kind = OrderKind::Limit { price };
        }
        if signal.side != SignalSide::Close {
            request.stop_loss = price_of("stop loss", signal.stop_loss);
            request.take_profit = price_of("take profit", signal.take_profit);
        }
        for (exit, wanted) in exits.iter_mut().zip([request.stop_loss, request.take_profit]) {
            if wanted.is_some() {
                *exit = Some(ids.next_id()?);
            }
        }
        // What only closes must not open, whatever happens on the way. (Where strategies of one account hold against each
        // other, closing for one may well open for the account.)
        let netted = self.account.ledger().position(instrument).qty.raw();
        request.reduce_only = target == 0 && netted.signum() == held.signum() && netted.abs() >= held.abs();
        if let Some(why) = invalid {
            let order = order_of(strategy, id, &request, now);
            let reason = DenyReason::Invalid(why);
            self.deny(now, order, reason.clone(), ids, out)?;
            return Ok(Decided::Denied(reason));
        }
        Ok(match self.submit(now, strategy, id, exits, &request, ids, out)? {
            None => Decided::Sent(std::iter::once(id).chain(exits.into_iter().flatten()).collect()),
            Some(reason) => Decided::Denied(reason),
        })
    }

    fn size_of(&self, signal: &Signal) -> Qty {
        let definition = &self.tables.instruments[signal.instrument.index()];
        let Some(price) = self.last_price(signal.instrument) else { return Qty::ZERO };
        let own = signal.strategy.map(|strategy| self.strategies[strategy.index()].plan().size);
        let Some(size) = signal.size.or(own) else { return Qty::ZERO };
        let costs = &self.costs[signal.instrument.index()];
        quantity_for(&size, definition, price, self.account.equity(), costs)
    }

    /// Sends an order, with its protective exits, past the risk gate to the venue; says why if it was denied.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn submit(
        &mut self,
        now: Timestamp,
        strategy: Option<StrategyIndex>,
        id: OrderId,
        exits: [Option<OrderId>; 2],
        request: &OrderRequest,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Option<DenyReason>, Fault> {
        let order = order_of(strategy, id, request, now);
        let bracket = bracket_of(&order, request, exits);
        let last = self.last_price(request.instrument);
        let verdict = std::iter::once(&order)
            .chain(&bracket)
            .try_for_each(|order| self.risk.check(order, &self.account, last, self.orders.len()));
        if let Err(reason) = verdict {
            self.deny(now, order, reason.clone(), ids, out)?;
            return Ok(Some(reason));
        }
        // All leave before the strategy hears of any: what it then wants (a cancel, say) must reach the venue after them.
        let mut submitted = Vec::with_capacity(1 + bracket.len());
        for order in std::iter::once(order).chain(bracket) {
            self.counters.orders += 1;
            let event =
                OrderEvent { order: order.id, ts_event: now, ts_init: now, kind: OrderEventKind::Submitted };
            self.orders.insert(order);
            let order = self.orders.apply(&event)?;
            event.fold(&mut self.digest);
            self.note(&event, &order);
            out.push(VenueCommand::Submit(order.clone()))?;
            submitted.push((event, order));
        }
        let Some(strategy) = strategy else { return Ok(None) };
        for (event, order) in &submitted {
            self.tell(now, strategy, StrategyEvent::Order(event, order), ids, out)?;
        }
        Ok(None)
    }

    fn deny(
        &mut self,
        now: Timestamp,
        order: Order,
        reason: DenyReason,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        let event =
            OrderEvent { order: order.id, ts_event: now, ts_init: now, kind: OrderEventKind::Denied(reason) };
        self.counters.orders += 1;
        self.orders.insert(order);
        self.apply(now, &event, ids, out)
    }

    pub(super) fn cancel(
        &mut self,
        now: Timestamp,
        order: OrderId,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        if self.orders.get(order).is_none_or(|order| order.cancel_requested) {
            return Ok(());
        }
        let event = OrderEvent { order, ts_event: now, ts_init: now, kind: OrderEventKind::CancelRequested };
        self.apply(now, &event, ids, out)?;
        out.push(VenueCommand::Cancel(order))
    }
}

/// The exits that a request asks for, under these ids.
pub(super) fn bracket_of(order: &Order, request: &OrderRequest, exits: [Option<OrderId>; 2]) -> Vec<Order> {
    let kinds = [
        request.stop_loss.map(|trigger| OrderKind::Stop { trigger }),
        request.take_profit.map(|price| OrderKind::Limit { price }),
    ];
    let exits = exits.into_iter().zip(kinds).filter_map(|(id, kind)| Some((id?, kind?)));
    let exit = |(id, kind)| Order {
        id,
        side: order.side.opposite(),
        kind,
        execution: Execution::Continuous,
        time_in_force: TimeInForce::Gtc,
        reduce_only: true,
        post_only: false,
        parent: Some(order.id),
        oco_group: Some(order.id),
        ..order.clone()
    };
    exits.map(exit).collect()
}

pub(super) fn order_of(
    strategy: Option<StrategyIndex>,
    id: OrderId,
    request: &OrderRequest,
    now: Timestamp,
) -> Order {
    Order {
        id,
        instrument: request.instrument,
        strategy,
        side: request.side,
        kind: request.kind,
        execution: request.execution,
        time_in_force: request.time_in_force,
        qty: request.qty,
        reduce_only: request.reduce_only,
        post_only: request.post_only,
        parent: None,
        oco_group: None,
        ts_submitted: now,
        status: OrderStatus::Initialized,
        cancel_requested: false,
        filled: Qty::ZERO,
        filled_value: 0,
    }
}
