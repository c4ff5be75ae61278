//! What trades at a bar, a trade, a quote, and at a session's close.
//!
//! A bar is matched as its open, a single price, and then as its range, in which the order of prices is unknown and
//! stops go first. A trade and a quote are single moments.

use tradeflow_model::order::{Liquidity, TrailOffset};
use tradeflow_model::plan::LimitFill;
use tradeflow_model::{
    Bar, InstrumentId, MarketEvent, OrderEvent, OrderEventKind, OrderId, OrderKind, Price, Qty, Side,
    Timestamp,
};

use super::SimVenue;
use super::filling::Moment;
use crate::actor::{Fault, Outbox};

/// The prices of a moment, and how a resting limit fills in it.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// What a buyer pays who takes.
    buy_at: Price,
    /// What a seller gets who takes.
    sell_at: Price,
    /// A resting limit fills at its own price (in the book) rather than at the better price of a gap.
    at_limit: bool,
}

impl Point {
    fn at(&self, side: Side) -> Price {
        match side {
            Side::Buy => self.buy_at,
            Side::Sell => self.sell_at,
        }
    }

    fn reaches_stop(&self, side: Side, trigger: Price) -> bool {
        match side {
            Side::Buy => trigger <= self.buy_at,
            Side::Sell => trigger >= self.sell_at,
        }
    }

    fn takes(&self, side: Side, limit: Price) -> bool {
        match side {
            Side::Buy => limit >= self.buy_at,
            Side::Sell => limit <= self.sell_at,
        }
    }
}

const SIDES: [Side; 2] = [Side::Sell, Side::Buy];

impl SimVenue {
    /// Matches the resting orders of the event's instrument.
    pub(super) fn match_event(
        &mut self,
        now: Timestamp,
        event: &MarketEvent,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let instrument = event.instrument();
        if self.state.books[instrument.index()].is_quiet() {
            return Ok(());
        }
        let share = |volume: Qty| {
            let (n, d) = self.volume_share.filter(|_| !volume.is_zero())?;
            i64::try_from(i128::from(volume.raw()) * n / d).ok()
        };
        let (ts_event, ts_init) = match event {
            MarketEvent::Bar(bar) => return self.match_bar(now, bar, share(bar.volume), out),
            MarketEvent::Trade(trade) => (trade.ts_event, trade.ts_init),
            MarketEvent::Quote(quote) => (quote.ts_event, quote.ts_init),
            MarketEvent::Action(_) | MarketEvent::Session(_) => return Ok(()),
        };
        let age = ts_init.as_nanos().saturating_sub(ts_event.as_nanos());
        if self.spec.stale_after_ns.is_some_and(|limit| age > limit) {
            return Ok(());
        }
        let (point, mut moment) = match event {
            MarketEvent::Quote(quote) => {
                if quote.bid > quote.ask {
                    return Ok(()); // crossed: not a price anyone could have had
                }
                let point = Point { buy_at: quote.ask, sell_at: quote.bid, at_limit: true };
                let size = |size: Qty| (!size.is_zero() && self.volume_share.is_some()).then_some(size.raw());
                let room = [size(quote.ask_size), size(quote.bid_size)];
                (point, Moment { ts_event, now, room, shared: false, volume: Qty::ZERO })
            }
            MarketEvent::Trade(trade) => {
                let point = Point { buy_at: trade.price, sell_at: trade.price, at_limit: true };
                let room = [share(trade.qty); 2];
                (point, Moment { ts_event, now, room, shared: true, volume: trade.qty })
            }
            _ => return Ok(()),
        };
        let arrivals = self.arrivals(instrument, |_| true);
        self.match_point(instrument, point, arrivals, &mut moment, out)
    }

    fn match_bar(
        &mut self,
        now: Timestamp,
        bar: &Bar,
        room: Option<i64>,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let instrument = bar.instrument;
        let arrivals = self.arrivals(instrument, |submitted| submitted <= bar.ts_open);
        let mut moment =
            Moment { ts_event: bar.ts_open, now, room: [room; 2], shared: true, volume: bar.volume };
        let open = Point { buy_at: bar.open, sell_at: bar.open, at_limit: false };
        self.match_point(instrument, open, arrivals, &mut moment, out)?;
        moment.ts_event = bar.ts_event;
        self.awakened.clear();
        self.match_stops_in_range(bar, &mut moment, out)?;
        self.match_trailing_in_range(bar, &mut moment, out)?;
        let touching = self.spec.limit_fill == LimitFill::Touch;
        let book = &self.state.books[instrument.index()];
        let mut reached: Vec<(OrderId, Price)> = book.limits(Side::Buy, bar.low, touching).collect();
        reached.extend(book.limits(Side::Sell, bar.high, touching));
        for (id, limit) in reached {
            // A target whose entry filled somewhere inside this bar: the price may have been there before the entry.
            if !self.awakened.contains(&id) {
                self.fill(id, limit, Liquidity::Maker, &mut moment, out)?;
            }
        }
        // Entries that just filled may have brought stops to life: inside the same bar they are taken as hit.
        self.match_stops_in_range(bar, &mut moment, out)
    }

    /// Orders that came before the event, out of the line, in the order in which they came.
    fn arrivals(&mut self, instrument: InstrumentId, before: impl Fn(Timestamp) -> bool) -> Vec<OrderId> {
        let orders = &self.state.orders;
        let book = &mut self.state.books[instrument.index()];
        let mut arrivals = Vec::new();
        while let Some(&id) = book.fresh.front() {
            if orders.get(&id).is_some_and(|order| !before(order.ts_submitted)) {
                break;
            }
            book.fresh.pop_front();
            arrivals.push(id);
        }
        arrivals
    }

    /// Matches everything at a single moment: first what is being filled, then stops, then resting limits, then new
    /// orders.
    fn match_point(
        &mut self,
        instrument: InstrumentId,
        point: Point,
        arrivals: Vec<OrderId>,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let index = instrument.index();
        for id in Vec::from(std::mem::take(&mut self.state.books[index].market)) {
            self.fill_at(id, point, moment, out)?;
            self.rest_or_end(id, instrument, moment, out)?;
        }
        for id in std::mem::take(&mut self.state.books[index].at_open) {
            self.fill_at_auction(id, point, moment, out)?;
        }
        for side in SIDES {
            while let Some((id, _)) = self.state.books[index].next_stop(side, point.at(side)) {
                self.trigger(id, point.at(side), moment, out)?;
            }
        }
        for id in Vec::from_iter(self.state.books[index].trailing.iter().copied()) {
            self.trail(id, point.sell_at, point.buy_at, moment, out)?;
        }
        let touching = self.spec.limit_fill == LimitFill::Touch;
        for side in SIDES {
            let reached: Vec<_> = self.state.books[index].limits(side, point.at(side), touching).collect();
            for (id, limit) in reached {
                let price = if point.at_limit { limit } else { point.at(side) };
                self.fill(id, price, Liquidity::Maker, moment, out)?;
            }
        }
        for id in arrivals {
            self.arrive(id, instrument, point, moment, out)?;
        }
        Ok(())
    }

    /// An order meets the market for the first time.
    fn arrive(
        &mut self,
        id: OrderId,
        instrument: InstrumentId,
        point: Point,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(order) = self.state.orders.get_mut(&id) else { return Ok(()) };
        self.state.books[instrument.index()].note_time(order);
        let side = order.side;
        match order.kind {
            OrderKind::Market => self.fill_at(id, point, moment, out)?,
            OrderKind::Limit { price } => {
                if point.takes(side, price) && !order.post_only {
                    self.fill_at(id, point, moment, out)?;
                }
            }
            OrderKind::Stop { trigger } | OrderKind::StopLimit { trigger, .. } => {
                if point.reaches_stop(side, trigger) {
                    return self.trigger(id, point.at(side), moment, out);
                }
            }
            OrderKind::TrailingStop { offset, trigger: None } => {
                let trigger = trailed(side, point.at(side), offset);
                order.kind = OrderKind::TrailingStop { offset, trigger: Some(trigger) };
            }
            OrderKind::TrailingStop { .. } => {}
        }
        self.rest_or_end(id, instrument, moment, out)
    }

    fn fill_at(
        &mut self,
        id: OrderId,
        point: Point,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(side) = self.state.orders.get(&id).map(|order| order.side) else { return Ok(()) };
        self.fill(id, point.at(side), Liquidity::Taker, moment, out)
    }

    /// Sets a stop off at a price: a stop goes to market, a stop-limit becomes a limit.
    fn trigger(
        &mut self,
        id: OrderId,
        price: Price,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(order) = self.state.orders.get(&id).cloned() else { return Ok(()) };
        let instrument = order.instrument;
        self.state.books[instrument.index()].remove(&order);
        self.report(id, moment.ts_event, moment.now, OrderEventKind::Triggered, Some(out))?;
        let takes = match order.kind.limit_price() {
            None => true,
            Some(limit) => Point { buy_at: price, sell_at: price, at_limit: false }.takes(order.side, limit),
        };
        if takes {
            self.fill(id, price, Liquidity::Taker, moment, out)?;
        }
        if let Some(order) = self.state.orders.get(&id) {
            self.state.books[instrument.index()].note_time(order);
        }
        self.rest_or_end(id, instrument, moment, out)
    }

    /// Stops that the bar's range reaches, at their triggers.
    fn match_stops_in_range(
        &mut self,
        bar: &Bar,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let index = bar.instrument.index();
        for (side, extreme) in [(Side::Sell, bar.low), (Side::Buy, bar.high)] {
            while let Some((id, trigger)) = self.state.books[index].next_stop(side, extreme) {
                // A stop that came to life beyond the bar's range can't have traded outside it.
                let price = trigger.clamp(bar.low, bar.high);
                self.trigger(id, price, moment, out)?;
            }
        }
        Ok(())
    }

    /// A trailing stop in a bar: the old trigger against the range; then it follows the extreme; then, because the
    /// close comes after the extreme, the new trigger against the close.
    fn match_trailing_in_range(
        &mut self,
        bar: &Bar,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let index = bar.instrument.index();
        for id in Vec::from_iter(self.state.books[index].trailing.iter().copied()) {
            let Some(order) = self.state.orders.get_mut(&id) else { continue };
            let OrderKind::TrailingStop { offset, trigger: Some(trigger) } = order.kind else { continue };
            let side = order.side;
            let hit = |trigger: Price, price: Price| match side {
                Side::Sell => price <= trigger,
                Side::Buy => price >= trigger,
            };
            let (adverse, best) = match side {
                Side::Sell => (bar.low, bar.high),
                Side::Buy => (bar.high, bar.low),
            };
            if hit(trigger, adverse) {
                self.trigger(id, trigger, moment, out)?;
                continue;
            }
            let moved = tighter(side, trigger, trailed(side, best, offset));
            order.kind = OrderKind::TrailingStop { offset, trigger: Some(moved) };
            if hit(moved, bar.close) {
                self.trigger(id, moved, moment, out)?;
            }
        }
        Ok(())
    }

    /// A trailing stop at a single price: set off, or moved along.
    fn trail(
        &mut self,
        id: OrderId,
        sell_at: Price,
        buy_at: Price,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(order) = self.state.orders.get_mut(&id) else { return Ok(()) };
        let OrderKind::TrailingStop { offset, trigger } = order.kind else { return Ok(()) };
        let side = order.side;
        let price = if side == Side::Sell { sell_at } else { buy_at };
        let reached = Point { buy_at, sell_at, at_limit: false };
        if trigger.is_some_and(|trigger| reached.reaches_stop(side, trigger)) {
            return self.trigger(id, price, moment, out);
        }
        let next = trailed(side, price, offset);
        let moved = trigger.map_or(next, |trigger| tighter(side, trigger, next));
        order.kind = OrderKind::TrailingStop { offset, trigger: Some(moved) };
        Ok(())
    }

    /// An order for the open: at this price, or not at all.
    fn fill_at_auction(
        &mut self,
        id: OrderId,
        point: Point,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(order) = self.state.orders.get(&id) else { return Ok(()) };
        if order.kind.limit_price().is_none_or(|limit| point.takes(order.side, limit)) {
            self.fill_at(id, point, moment, out)?;
        }
        if !self.state.orders.contains_key(&id) {
            return Ok(());
        }
        self.close(id, moment.ts_event, moment.now, OrderEventKind::Expired, out)
    }

    /// Orders for the close trade at the session's last price, if it came after them.
    pub(super) fn match_close(
        &mut self,
        now: Timestamp,
        instrument: InstrumentId,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let events = self.state.events;
        let book = &mut self.state.books[instrument.index()];
        let Some(last) = book.last else { return Ok(()) };
        let (due, waiting): (Vec<_>, Vec<_>) = book.on_close.iter().partition(|(_, seen)| *seen < events);
        book.on_close = waiting;
        let point = Point { buy_at: last, sell_at: last, at_limit: false };
        let mut moment = Moment { ts_event: now, now, room: [None; 2], shared: true, volume: Qty::ZERO };
        for (id, _) in due {
            self.fill_at_auction(id, point, &mut moment, out)?;
        }
        Ok(())
    }
}

/// The trigger that keeps `offset` behind `price`.
fn trailed(side: Side, price: Price, offset: TrailOffset) -> Price {
    let distance = match offset {
        TrailOffset::Price(distance) => distance.raw(),
        TrailOffset::Bps(bps) => {
            i64::try_from(i128::from(price.raw().unsigned_abs()) * i128::from(bps) / 10_000)
                .unwrap_or(i64::MAX)
        }
    };
    Price::from_raw(price.raw().saturating_sub(side.opposite().sign() * distance))
}

/// Of two triggers the one closer to the market.
fn tighter(side: Side, a: Price, b: Price) -> Price {
    match side {
        Side::Sell => a.max(b),
        Side::Buy => a.min(b),
    }
}
