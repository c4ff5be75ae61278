//! What trades at a bar, a trade, a quote, and at a session's close.
//!
//! A bar is matched as its open, a single price, and then as its range, in which the order of prices is unknown and
//! stops go first. A trade and a quote are single moments.

use std::collections::VecDeque;
use tradeflow_model::order::{Liquidity, TrailOffset};
use tradeflow_model::plan::LimitFill;
use tradeflow_model::{
    Bar, InstrumentId, MarketEvent, OrderEvent, OrderEventKind, OrderId, OrderKind, Price, Qty, Side,
    Timestamp,
};

use super::SimVenue;
use super::book::standing;
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

    /// What a resting limit that the price has passed gets.
    fn at_rest(&self, side: Side, limit: Price) -> Price {
        if self.at_limit { limit } else { self.at(side) }
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
        let (point, mut moment) = match event {
            MarketEvent::Bar(bar) => return self.match_bar(now, bar, share(bar.volume), out),
            MarketEvent::Quote(quote) => {
                let point = Point { buy_at: quote.ask, sell_at: quote.bid, at_limit: true };
                let size = |size: Qty| (!size.is_zero() && self.volume_share.is_some()).then_some(size.raw());
                let room = [size(quote.ask_size), size(quote.bid_size)];
                let ts_event = quote.ts_event;
                (point, Moment { ts_event, now, room, shared: false, volume: Qty::ZERO })
            }
            MarketEvent::Trade(trade) => {
                let point = Point { buy_at: trade.price, sell_at: trade.price, at_limit: true };
                let (ts_event, room) = (trade.ts_event, [share(trade.qty); 2]);
                (point, Moment { ts_event, now, room, shared: true, volume: trade.qty })
            }
            MarketEvent::Action(_) | MarketEvent::Session(_) => return Ok(()),
        };
        let until = moment.ts_event;
        self.match_point(instrument, point, until, &mut moment, out)
    }

    fn match_bar(
        &mut self,
        now: Timestamp,
        bar: &Bar,
        room: Option<i64>,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let instrument = bar.instrument;
        let mut moment =
            Moment { ts_event: bar.ts_open, now, room: [room; 2], shared: true, volume: bar.volume };
        let open = Point { buy_at: bar.open, sell_at: bar.open, at_limit: false };
        self.match_point(instrument, open, bar.ts_open, &mut moment, out)?;
        moment.ts_event = bar.ts_event;
        // Limits that came to life somewhere inside this bar: the price may have been there before they did.
        let mut late = self.match_stops_in_range(bar, &mut moment, out)?;
        self.match_trailing_in_range(bar, &mut moment, out)?;
        late.extend(self.awaken_in_range(bar, &mut moment, out)?);
        let touching = self.spec.limit_fill == LimitFill::Touch;
        let book = &self.state.books[instrument.index()];
        let mut reached: Vec<(OrderId, Price)> = book.limits(Side::Buy, bar.low, touching).collect();
        reached.extend(book.limits(Side::Sell, bar.high, touching));
        for (id, limit) in reached {
            if !late.contains(&id) {
                // One that could not fill at the open, for want of volume or of something to close, may lie beyond the bar.
                let price = limit.clamp(bar.low, bar.high);
                self.fill(id, price, Liquidity::Maker, &mut moment, out)?;
            }
        }
        self.awaken_in_range(bar, &mut moment, out)?;
        Ok(())
    }

    /// Orders that came no later than `until`, out of the line, in the order in which they came.
    fn arrivals(&mut self, instrument: InstrumentId, until: Timestamp) -> Vec<OrderId> {
        let fresh = &mut self.state.books[instrument.index()].fresh;
        let mut arrivals = Vec::new();
        while let Some((id, _)) = fresh.pop_front_if(|(_, came)| *came <= until) {
            arrivals.push(id);
        }
        arrivals
    }

    /// Matches everything at a single moment: first what is being filled, then stops, then resting limits, then orders
    /// that came no later than `until`, then exits of entries that just filled.
    fn match_point(
        &mut self,
        instrument: InstrumentId,
        point: Point,
        until: Timestamp,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let index = instrument.index();
        let arrivals = self.arrivals(instrument, until);
        for id in Vec::from(std::mem::take(&mut self.state.books[index].market)) {
            self.fill_at(id, point, moment, out)?;
            self.rest_or_end(id, instrument, moment, out)?;
        }
        // The open that they wait for is that of the first bar which begins with the session, not of one that ends then.
        while let Some((id, _)) = self.state.books[index].at_open.pop_front_if(|(_, opened)| *opened <= until)
        {
            self.fill_at_auction(id, point, moment, out)?;
        }
        for side in SIDES {
            while let Some((id, _)) = self.state.books[index].next_stop(side, point.at(side)) {
                self.trigger(id, point.at(side), moment, out)?;
            }
        }
        for id in Vec::from_iter(self.state.books[index].trailing.iter().copied()) {
            self.trail(id, point, moment, out)?;
        }
        let touching = self.spec.limit_fill == LimitFill::Touch;
        for side in SIDES {
            let reached: Vec<_> = self.state.books[index].limits(side, point.at(side), touching).collect();
            for (id, limit) in reached {
                self.fill(id, point.at_rest(side, limit), Liquidity::Maker, moment, out)?;
            }
        }
        for id in arrivals {
            self.arrive(id, instrument, point, moment, out)?;
        }
        for (id, _) in std::mem::take(&mut self.awakened) {
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
        let Some(order) = self.state.orders.get(&id) else { return Ok(()) };
        self.state.books[instrument.index()].note_day(order);
        let side = order.side;
        match standing(order) {
            OrderKind::Market => self.fill_at(id, point, moment, out)?,
            OrderKind::Limit { price } => {
                if point.takes(side, price) {
                    if order.post_only {
                        // It did not take when it came, so the market moved through it while it rested.
                        self.fill(id, point.at_rest(side, price), Liquidity::Maker, moment, out)?;
                    } else {
                        self.fill_at(id, point, moment, out)?;
                    }
                }
            }
            OrderKind::Stop { trigger } | OrderKind::StopLimit { trigger, .. } => {
                if point.reaches_stop(side, trigger) {
                    return self.trigger(id, point.at(side), moment, out);
                }
            }
            OrderKind::TrailingStop { trigger, .. } => {
                if trigger.is_some_and(|trigger| point.reaches_stop(side, trigger)) {
                    return self.trigger(id, point.at(side), moment, out);
                }
                self.trail(id, point, moment, out)?;
            }
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
        self.state.books[instrument.index()].unqueue(&order);
        self.report(id, moment.ts_event, moment.now, OrderEventKind::Triggered, Some(out))?;
        let takes = match order.kind.limit_price() {
            None => true,
            Some(limit) => Point { buy_at: price, sell_at: price, at_limit: false }.takes(order.side, limit),
        };
        if takes {
            self.fill(id, price, Liquidity::Taker, moment, out)?;
        }
        self.rest_or_end(id, instrument, moment, out)
    }

    /// Stops that the bar's range reaches, at their triggers. Returns those that became limits.
    fn match_stops_in_range(
        &mut self,
        bar: &Bar,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<Vec<OrderId>, Fault> {
        let index = bar.instrument.index();
        let mut late = Vec::new();
        for (side, extreme) in [(Side::Sell, bar.low), (Side::Buy, bar.high)] {
            while let Some((id, trigger)) = self.state.books[index].next_stop(side, extreme) {
                self.trigger(id, trigger, moment, out)?;
                late.push(id);
            }
        }
        Ok(late)
    }

    /// Exits whose entries filled somewhere inside this bar: a stop that the range reaches is taken as hit, at its
    /// trigger or, where the entry's price was beyond it already, at that. Returns all that came to life.
    fn awaken_in_range(
        &mut self,
        bar: &Bar,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<Vec<OrderId>, Fault> {
        let mut late = Vec::new();
        let range = Point { buy_at: bar.high, sell_at: bar.low, at_limit: false };
        for (id, entry) in std::mem::take(&mut self.awakened) {
            late.push(id);
            let Some(order) = self.state.orders.get(&id) else { continue };
            self.state.books[bar.instrument.index()].note_day(order);
            match (order.kind.trigger(), order.side) {
                (Some(trigger), side) if range.reaches_stop(side, trigger) => {
                    let price = if side == Side::Sell { trigger.min(entry) } else { trigger.max(entry) };
                    self.trigger(id, price.clamp(bar.low, bar.high), moment, out)?;
                }
                _ => self.state.books[bar.instrument.index()].rest(order),
            }
        }
        Ok(late)
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
        let tick = self.state.ledger.instrument(bar.instrument).price_increment;
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
            let moved = tighter(side, trigger, trailed(side, best, offset, tick));
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
        point: Point,
        moment: &mut Moment,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(order) = self.state.orders.get_mut(&id) else { return Ok(()) };
        let OrderKind::TrailingStop { offset, trigger } = order.kind else { return Ok(()) };
        let tick = self.state.ledger.instrument(order.instrument).price_increment;
        let side = order.side;
        let price = point.at(side);
        if trigger.is_some_and(|trigger| point.reaches_stop(side, trigger)) {
            return self.trigger(id, price, moment, out);
        }
        let next = trailed(side, price, offset, tick);
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
        let book = &mut self.state.books[instrument.index()];
        let Some(last) = book.last else { return Ok(()) };
        let ts_last = book.ts_last;
        let (due, waiting): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut book.on_close).into_iter().partition(|(_, came)| *came < ts_last);
        book.on_close = waiting;
        let point = Point { buy_at: last, sell_at: last, at_limit: false };
        let mut moment = Moment { ts_event: now, now, room: [None; 2], shared: true, volume: Qty::ZERO };
        for (id, _) in due {
            self.fill_at_auction(id, point, &mut moment, out)?;
        }
        for (id, _) in std::mem::take(&mut self.awakened) {
            self.state.books[instrument.index()].await_next(id, now);
        }
        Ok(())
    }
}

/// The trigger that keeps `offset` behind `price`, a share of the price rounded up to the tick.
fn trailed(side: Side, price: Price, offset: TrailOffset, tick: Price) -> Price {
    let distance = match offset {
        TrailOffset::Price(distance) => distance.raw(),
        TrailOffset::Bps(bps) => {
            let share = i128::from(price.raw().unsigned_abs()) * i128::from(bps);
            let ticks = (share + 10_000 * i128::from(tick.raw()) - 1) / (10_000 * i128::from(tick.raw()));
            i64::try_from(ticks * i128::from(tick.raw())).unwrap_or(i64::MAX)
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
