//! One fill: how much, at what price, for what fee, and whether it can be paid for.

use tradeflow_model::order::{EndReason, Liquidity};
use tradeflow_model::{
    Fill, InstrumentId, Money, Order, OrderEvent, OrderEventKind, OrderId, OrderStatus, Price, Qty, Side,
    TimeInForce, Timestamp,
};

use super::SimVenue;
use crate::actor::{Fault, Outbox};

/// When something trades, and how much may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// When it trades.
    pub(super) ts_event: Timestamp,
    /// When we learn of it.
    pub(super) now: Timestamp,
    /// Quantity that may still be bought and sold, raw; `None` without a limit.
    pub(super) room: [Option<i64>; 2],
    /// Whether buys and sells share the room.
    pub(super) shared: bool,
    /// Volume of the event, zero where it has none.
    pub(super) volume: Qty,
}

impl Moment {
    fn room(&self, side: Side) -> Option<i64> {
        self.room[usize::from(side == Side::Sell)]
    }

    fn take(&mut self, side: Side, qty: Qty) {
        for of in [Side::Buy, Side::Sell] {
            if of == side || self.shared {
                let room = &mut self.room[usize::from(of == Side::Sell)];
                *room = room.map(|room| (room - qty.raw()).max(0));
            }
        }
    }
}

impl SimVenue {
    /// Fills what can be of an order at `price` (before slippage), and ends it where nothing more can come of it.
    pub(super) fn fill(
        &mut self,
        id: OrderId,
        price: Price,
        liquidity: Liquidity,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(order) = self.state.orders.get(&id).cloned() else { return Ok(()) };
        let (ts_event, now) = (moment.ts_event, moment.now);
        let definition = self.state.ledger.instrument(order.instrument);
        let mut qty = order.leaves().min(self.state.brackets.room(&order));
        if order.reduce_only {
            let held = self.state.ledger.position(order.instrument).qty.raw();
            let reducible = (-order.side.sign() * held).max(0);
            qty = qty.min(Qty::from_raw(reducible));
            if qty.is_zero() {
                let ended = OrderEventKind::Cancelled(EndReason::ReduceOnly);
                return self.close(id, ts_event, now, ended, out);
            }
        }
        if let Some(room) = moment.room(order.side) {
            qty = qty.min(definition.floor_to_lot(Qty::from_raw(room)));
        }
        let whole_or_nothing = order.time_in_force == TimeInForce::Fok;
        if whole_or_nothing && qty < order.leaves() {
            return self.close(id, ts_event, now, OrderEventKind::Cancelled(EndReason::Immediate), out);
        }
        if qty.is_zero() {
            return Ok(());
        }
        let paid = match liquidity {
            Liquidity::Maker => price,
            Liquidity::Taker => self.taker_price(&order, price),
        };
        self.state.ledger.mark(order.instrument, price)?;
        let payable = self.payable(&order, price, paid, qty, liquidity)?;
        let short_of_funds = payable < qty;
        if payable.is_zero() || (whole_or_nothing && short_of_funds) {
            return self.close(
                id,
                ts_event,
                now,
                OrderEventKind::Cancelled(EndReason::InsufficientFunds),
                out,
            );
        }
        self.book(&order, paid, payable, liquidity, moment, out)?;
        if short_of_funds {
            return self.close(
                id,
                ts_event,
                now,
                OrderEventKind::Cancelled(EndReason::InsufficientFunds),
                out,
            );
        }
        Ok(())
    }

    fn book(
        &mut self,
        order: &Order,
        price: Price,
        qty: Qty,
        liquidity: Liquidity,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let definition = self.state.ledger.instrument(order.instrument);
        let fee = self.costs[order.instrument.index()].fee(definition, price, qty, liquidity)?;
        let fill = Fill { side: order.side, price, qty, fee, liquidity };
        let whole = qty == order.leaves();
        let kind = if whole { OrderEventKind::Filled(fill) } else { OrderEventKind::PartiallyFilled(fill) };
        self.report(order.id, moment.ts_event, moment.now, kind, Some(out))?;
        self.state.ledger.book_fill(order.instrument, &fill)?;
        moment.take(order.side, qty);
        let volume = moment.volume.raw();
        self.state.fills_over_volume += u64::from(volume > 0 && qty.raw() > volume / 10);
        let order = self.state.orders[&order.id].clone();
        self.after_fill(&order, qty);
        if whole {
            return self.retire(order.id, moment.ts_event, moment.now, out);
        }
        // A partial fill may have used up what the order's group had open.
        self.settle_bracket_of_part(&order, moment, out)
    }

    fn settle_bracket_of_part(
        &mut self,
        order: &Order,
        moment: &Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        match order.oco_group {
            Some(group) => self.settle_group(group, moment.ts_event, moment.now, out),
            None => Ok(()),
        }
    }

    /// The price a taker pays: slipped, but never beyond the order's limit.
    fn taker_price(&self, order: &Order, price: Price) -> Price {
        let definition = self.state.ledger.instrument(order.instrument);
        let slipped = self.costs[order.instrument.index()].slipped(definition, order.side, price);
        match (order.kind.limit_price(), order.side) {
            (None, _) => slipped,
            (Some(limit), Side::Buy) => slipped.min(limit),
            (Some(limit), Side::Sell) => slipped.max(limit),
        }
    }

    /// How much of `qty` the account can pay for: what closes a position always, what opens one only from cash (cash
    /// account) or up to the leverage (margin account), the fee included.
    fn payable(
        &self,
        order: &Order,
        price: Price,
        paid: Price,
        qty: Qty,
        liquidity: Liquidity,
    ) -> Result<Qty, Fault> {
        let ledger = &self.state.ledger;
        let definition = ledger.instrument(order.instrument);
        let costs = &self.costs[order.instrument.index()];
        let held = ledger.position(order.instrument).qty.raw();
        let against = held.signum() == -order.side.sign();
        let closing = if against { qty.raw().min(held.abs()) } else { 0 };
        let opening = qty.raw() - closing;
        if opening == 0 {
            return Ok(qty);
        }
        let fee = costs.fee(definition, paid, qty, liquidity)?;
        let Some((n, d)) = self.leverage else {
            if order.side == Side::Sell {
                return Ok(Qty::from_raw(closing)); // no short sales from cash
            }
            let cost = definition.notional(paid, qty)?.raw() + fee.raw();
            if cost <= ledger.cash().raw() {
                return Ok(qty);
            }
            return Ok(costs.affordable(definition, price, ledger.cash(), (1, 1)).min(qty));
        };
        let limit = ledger.equity().mul_ratio(n, d).unwrap_or(Money::ZERO).raw();
        let value = ledger.position(order.instrument).value.raw().abs();
        let others = ledger.exposure().raw() - if against { value } else { 0 };
        let room = limit - others;
        let need = definition.notional(paid, Qty::from_raw(opening))?.abs().raw() + fee.raw() * n / d;
        if need <= room {
            return Ok(qty);
        }
        let closing_fee =
            costs.fee(definition, paid, Qty::from_raw(closing.max(1)), liquidity)?.raw() * n / d;
        let budget = Money::from_raw(room - if closing > 0 { closing_fee } else { 0 });
        let opening = costs.affordable(definition, price, budget, (n, d)).raw().min(opening);
        Ok(Qty::from_raw(closing + opening))
    }

    /// After its first moment an immediate order ends; any other rests.
    pub(super) fn rest_or_end(
        &mut self,
        id: OrderId,
        instrument: InstrumentId,
        moment: &Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(order) = self.state.orders.get(&id) else { return Ok(()) };
        if matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok) {
            let ended = OrderEventKind::Cancelled(EndReason::Immediate);
            return self.close(id, moment.ts_event, moment.now, ended, out);
        }
        debug_assert_ne!(order.status, OrderStatus::Filled);
        self.state.books[instrument.index()].rest(order);
        Ok(())
    }
}
