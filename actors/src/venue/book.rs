//! Resting orders of one instrument, found by price.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use tradeflow_model::{Order, OrderId, OrderKind, OrderStatus, Price, Side, TimeInForce, Timestamp};

/// The orders of one instrument that wait for a price, an event or a time.
///
/// Sets are ordered by price, then id, so that equal prices fill in the order in which they came. A price is kept
/// negated where the highest must come first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Book {
    /// Accepted or changed, and not yet seen by an event that may match them; in order of time, which stands beside.
    pub(super) fresh: VecDeque<(OrderId, Timestamp)>,
    /// Market orders, and stops that have triggered, with something left to fill.
    pub(super) market: VecDeque<OrderId>,
    /// Buy limits, highest first (price negated).
    buy_limits: BTreeSet<(i64, OrderId)>,
    /// Sell limits, lowest first.
    sell_limits: BTreeSet<(i64, OrderId)>,
    /// Buy stops, lowest trigger first.
    buy_stops: BTreeSet<(i64, OrderId)>,
    /// Sell stops, highest trigger first (price negated).
    sell_stops: BTreeSet<(i64, OrderId)>,
    /// Trailing stops.
    pub(super) trailing: BTreeSet<OrderId>,
    /// Waiting for the next session's open.
    pub(super) on_open: VecDeque<OrderId>,
    /// The session is open since the time beside: they trade at the next price.
    pub(super) at_open: VecDeque<(OrderId, Timestamp)>,
    /// Waiting for the session's close, with the time at which they came.
    pub(super) on_close: VecDeque<(OrderId, Timestamp)>,
    /// Orders for the day.
    pub(super) day: BTreeSet<OrderId>,
    /// Orders good till a date, soonest first.
    pub(super) expiries: BTreeSet<(Timestamp, OrderId)>,
    /// Last price.
    pub(super) last: Option<Price>,
    /// When it was.
    pub(super) ts_last: Timestamp,
    /// Best bid and ask, where there are quotes.
    pub(super) touch: Option<(Price, Price)>,
}

impl Book {
    /// Puts an order in line for the first event that came after `now`.
    pub(super) fn await_next(&mut self, id: OrderId, now: Timestamp) {
        self.fresh.push_back((id, now));
    }

    /// Notes the date until which an order is good.
    pub(super) fn note_date(&mut self, order: &Order) {
        if let TimeInForce::Gtd(until) = order.time_in_force {
            self.expiries.insert((until, order.id));
        }
    }

    /// Notes that an order for the day has met its session's market. One that is sent between sessions, or with the last
    /// bar of one, so stands for the next.
    pub(super) fn note_day(&mut self, order: &Order) {
        if order.time_in_force == TimeInForce::Day {
            self.day.insert(order.id);
        }
    }

    /// Lets an order rest at its price.
    pub(super) fn rest(&mut self, order: &Order) {
        let id = order.id;
        match standing(order) {
            OrderKind::Market => self.market.push_back(id),
            OrderKind::Limit { price } => self.rest_limit(order.side, price, id),
            OrderKind::Stop { trigger } | OrderKind::StopLimit { trigger, .. } => match order.side {
                Side::Buy => {
                    self.buy_stops.insert((trigger.raw(), id));
                }
                Side::Sell => {
                    self.sell_stops.insert((-trigger.raw(), id));
                }
            },
            OrderKind::TrailingStop { .. } => {
                self.trailing.insert(id);
            }
        }
    }

    fn rest_limit(&mut self, side: Side, price: Price, id: OrderId) {
        match side {
            Side::Buy => self.buy_limits.insert((-price.raw(), id)),
            Side::Sell => self.sell_limits.insert((price.raw(), id)),
        };
    }

    /// Forgets an order.
    pub(super) fn remove(&mut self, order: &Order) {
        self.unqueue(order);
        self.day.remove(&order.id);
        if let TimeInForce::Gtd(until) = order.time_in_force {
            self.expiries.remove(&(until, order.id));
        }
    }

    /// Takes an order out of where it waits; whether it waited anywhere. When its time runs out is not forgotten.
    pub(super) fn unqueue(&mut self, order: &Order) -> bool {
        let id = order.id;
        let mut found = false;
        if let Some(price) = order.kind.limit_price() {
            found |= match order.side {
                Side::Buy => self.buy_limits.remove(&(-price.raw(), id)),
                Side::Sell => self.sell_limits.remove(&(price.raw(), id)),
            };
        }
        if let Some(trigger) = order.kind.trigger() {
            found |= match order.side {
                Side::Buy => self.buy_stops.remove(&(trigger.raw(), id)),
                Side::Sell => self.sell_stops.remove(&(-trigger.raw(), id)),
            };
        }
        found |= self.trailing.remove(&id);
        // The queues hold the few orders of the last instant, so looking through them costs nothing that grows.
        found |= take_out(&mut self.market, |queued| *queued == id);
        found |= take_out(&mut self.fresh, |(queued, _)| *queued == id);
        found |= take_out(&mut self.on_open, |queued| *queued == id);
        found |= take_out(&mut self.at_open, |(queued, _)| *queued == id);
        found |= take_out(&mut self.on_close, |(queued, _)| *queued == id);
        found
    }

    /// The first stop of a side that a price reaches: for buys at or below `price`, for sells at or above.
    pub(super) fn next_stop(&self, side: Side, price: Price) -> Option<(OrderId, Price)> {
        match side {
            Side::Buy => self.buy_stops.first().map(|&(trigger, id)| (id, trigger)),
            Side::Sell => self.sell_stops.first().map(|&(trigger, id)| (id, -trigger)),
        }
        .filter(|&(_, trigger)| match side {
            Side::Buy => trigger <= price.raw(),
            Side::Sell => trigger >= price.raw(),
        })
        .map(|(id, trigger)| (id, Price::from_raw(trigger)))
    }

    /// The limits of a side that a price reaches, best first: for buys at or above `price`, for sells at or below; the
    /// price itself only when `touching`.
    pub(super) fn limits(
        &self,
        side: Side,
        price: Price,
        touching: bool,
    ) -> impl Iterator<Item = (OrderId, Price)> {
        let (set, sign) = match side {
            Side::Buy => (&self.buy_limits, -1),
            Side::Sell => (&self.sell_limits, 1),
        };
        let bound = sign * price.raw();
        set.iter()
            .take_while(move |(key, _)| *key < bound || (touching && *key == bound))
            .map(move |&(key, id)| (id, Price::from_raw(sign * key)))
    }

    /// Whether no order can match.
    pub(super) fn is_quiet(&self) -> bool {
        self.fresh.is_empty()
            && self.market.is_empty()
            && self.at_open.is_empty()
            && self.trailing.is_empty()
            && self.buy_limits.is_empty()
            && self.sell_limits.is_empty()
            && self.buy_stops.is_empty()
            && self.sell_stops.is_empty()
    }
}

fn take_out<T>(queue: &mut VecDeque<T>, is_it: impl FnMut(&T) -> bool) -> bool {
    queue.iter().position(is_it).is_some_and(|at| queue.remove(at).is_some())
}

/// What an order stands for now: a stop that has triggered (and perhaps filled in part) is what it became.
pub(super) fn standing(order: &Order) -> OrderKind {
    let triggered = matches!(order.status, OrderStatus::Triggered | OrderStatus::PartiallyFilled);
    match order.kind {
        OrderKind::StopLimit { price, .. } if triggered => OrderKind::Limit { price },
        OrderKind::Stop { .. } | OrderKind::TrailingStop { .. } if triggered => OrderKind::Market,
        kind => kind,
    }
}
