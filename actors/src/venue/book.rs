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
    /// Accepted, and not yet seen by an event that may match them; in order of acceptance.
    pub(super) fresh: VecDeque<OrderId>,
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
    pub(super) on_open: Vec<OrderId>,
    /// The session is open: they trade at the next price.
    pub(super) at_open: Vec<OrderId>,
    /// Waiting for the session's close, with the number of events matched when they came.
    pub(super) on_close: Vec<(OrderId, u64)>,
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
    /// Puts an order in line for the next event that may match it.
    pub(super) fn await_next(&mut self, id: OrderId) {
        self.fresh.push_back(id);
    }

    /// Notes when an order's time runs out.
    pub(super) fn note_time(&mut self, order: &Order) {
        match order.time_in_force {
            TimeInForce::Day => {
                self.day.insert(order.id);
            }
            TimeInForce::Gtd(until) => {
                self.expiries.insert((until, order.id));
            }
            TimeInForce::Gtc | TimeInForce::Ioc | TimeInForce::Fok => {}
        }
    }

    /// Lets an order rest at its price.
    pub(super) fn rest(&mut self, order: &Order) {
        let id = order.id;
        if order.status == OrderStatus::Triggered || is_filling_stop(order) {
            if let OrderKind::StopLimit { price, .. } = order.kind {
                self.rest_limit(order.side, price, id);
                return;
            }
            self.market.push_back(id);
            return;
        }
        match order.kind {
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

    /// Takes an order out wherever it is; whether it was anywhere.
    pub(super) fn remove(&mut self, order: &Order) -> bool {
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
        self.day.remove(&id);
        if let TimeInForce::Gtd(until) = order.time_in_force {
            self.expiries.remove(&(until, id));
        }
        // The queues hold the few orders of the last instant, so looking through them costs nothing that grows.
        for queue in [&mut self.fresh, &mut self.market] {
            if let Some(at) = queue.iter().position(|queued| *queued == id) {
                queue.remove(at);
                found = true;
            }
        }
        for queue in [&mut self.on_open, &mut self.at_open] {
            if let Some(at) = queue.iter().position(|queued| *queued == id) {
                queue.remove(at);
                found = true;
            }
        }
        if let Some(at) = self.on_close.iter().position(|(queued, _)| *queued == id) {
            self.on_close.remove(at);
            found = true;
        }
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

/// A stop that has triggered and filled in part: it goes on as what it became.
fn is_filling_stop(order: &Order) -> bool {
    order.status == OrderStatus::PartiallyFilled
        && matches!(
            order.kind,
            OrderKind::Stop { .. } | OrderKind::StopLimit { .. } | OrderKind::TrailingStop { .. }
        )
}
