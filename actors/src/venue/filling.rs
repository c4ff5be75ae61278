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
        if ts_event < order.ts_submitted {
            return Ok(()); // it happened before the order was sent, and was only heard of later (I7)
        }
        let definition = self.state.ledger.instrument(order.instrument);
        let mut qty = order.leaves().min(self.state.brackets.room(&order));
        if qty.is_zero() {
            return Ok(()); // all that its entry has filled so far is closed again
        }
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
        self.after_fill(&order, price, qty);
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

    /// What an order would be filled at where the market is at `price`, its fee then, and how much of it the account can
    /// pay for. Nothing changes.
    ///
    /// # Errors
    /// When money can't count it.
    pub(crate) fn reckon(
        &mut self,
        order: &Order,
        price: Price,
        liquidity: Liquidity,
    ) -> Result<(Price, Money, Qty), Fault> {
        let paid = match liquidity {
            Liquidity::Maker => price,
            Liquidity::Taker => self.taker_price(order, price),
        };
        let definition = self.state.ledger.instrument(order.instrument);
        let fee = self.costs[order.instrument.index()].fee(definition, paid, order.qty, liquidity)?;
        let payable = self.payable(order, price, paid, order.qty, liquidity)?;
        Ok((paid, fee, payable))
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

    /// How much of `qty` the account can pay for. A margin account may always close; what opens must leave positions
    /// worth no more than the leverage times equity, both at `price`, after fee and slippage. A cash account has a
    /// leverage of 1, which for what is paid in full means: from its cash; it opens no shorts, and a sale must bring
    /// what it costs.
    fn payable(
        &mut self,
        order: &Order,
        price: Price,
        paid: Price,
        qty: Qty,
        liquidity: Liquidity,
    ) -> Result<Qty, Fault> {
        // Worth at this price; the mark itself is moved by market events only, as in the account.
        let mark = self.state.ledger.position(order.instrument).mark;
        self.state.ledger.mark(order.instrument, price)?;
        let ledger = &self.state.ledger;
        let definition = ledger.instrument(order.instrument);
        let (n, d) = self.leverage.unwrap_or((1, 1));
        let held = ledger.position(order.instrument).qty.raw();
        let against = held.signum() == -order.side.sign();
        let closing = if against { qty.raw().min(held.abs()) } else { 0 };
        let value = |price: Price, qty: i64| Some(definition.notional(price, Qty::from_raw(qty)).ok()?.raw());
        let fits = |qty: i64| -> Option<bool> {
            let (closed, opened) = (qty.min(closing), (qty - closing).max(0));
            let fee = self.costs[order.instrument.index()]
                .fee(definition, paid, Qty::from_raw(qty), liquidity)
                .ok()?;
            let slipped = (value(paid, qty)? - value(price, qty)?).abs();
            let equity = Money::from_raw(ledger.equity().raw() - fee.raw() - slipped);
            let exposure =
                ledger.exposure().raw() - value(price, closed)?.abs() + value(price, opened)?.abs();
            Some(exposure <= equity.mul_ratio(n, d)?.raw())
        };
        // What money can't count can't be paid for.
        let fits = |qty: i64| fits(qty).unwrap_or(false);
        let cash = self.leverage.is_none();
        let (least, most) = match (cash, order.side) {
            (true, Side::Sell) if !fits(closing) => (0, 0),
            (true, Side::Sell) => (closing, closing),
            _ => (closing, qty.raw()),
        };
        let payable = if least == most || fits(most) {
            most
        } else {
            let lot = definition.size_increment.raw();
            let (mut low, mut high) = (0, (most - least) / lot + 1); // lots that fit, lots that do not
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if fits(least + middle * lot) { low = middle } else { high = middle }
            }
            least + low * lot
        };
        if mark != Price::ZERO {
            self.state.ledger.mark(order.instrument, mark)?;
        }
        Ok(Qty::from_raw(payable))
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
