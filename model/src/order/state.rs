//! The state machine of an order.
//!
//! | from \ event | Submitted | Denied | Accepted | Rejected | Triggered | Partially­Filled | Filled | Modified | CancelRequested | Cancelled | Expired |
//! |---|---|---|---|---|---|---|---|---|---|---|---|
//! | Initialized | Submitted | Denied | | | | | | | | | |
//! | Submitted | | | Accepted | Rejected | | | | | = | | |
//! | Accepted | | | | | Triggered¹ | PartiallyFilled | Filled | = | = | Cancelled | Expired |
//! | Triggered | | | | | | PartiallyFilled | Filled | = | = | Cancelled | Expired |
//! | PartiallyFilled | | | | | | = | Filled | = | = | Cancelled | Expired |
//! | Denied, Rejected, Filled, Cancelled, Expired | | | | | | | | | | | |
//!
//! `=` stays; an empty field is an error. ¹ only an order with a trigger. A cancel is requested at most once and an order whose cancel was
//! requested may still fill: the venue decides the race. A partial fill leaves something, a fill leaves nothing, and
//! no change makes an order smaller than what has filled.

use serde::{Deserialize, Serialize};

use crate::order::{Order, OrderEvent, OrderEventKind, OrderKind};

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderStatus {
    /// Made, not yet judged by our risk gate.
    #[default]
    Initialized,
    /// On its way to the venue.
    Submitted,
    /// Refused by us.
    Denied,
    /// With the venue.
    Accepted,
    /// Refused by the venue.
    Rejected,
    /// Its stop was set off.
    Triggered,
    /// A part has traded.
    PartiallyFilled,
    /// All has traded.
    Filled,
    /// Cancelled.
    Cancelled,
    /// Its time ran out.
    Expired,
}

impl OrderStatus {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Initialized,
        Self::Submitted,
        Self::Denied,
        Self::Accepted,
        Self::Rejected,
        Self::Triggered,
        Self::PartiallyFilled,
        Self::Filled,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Whether nothing can follow.
    #[inline]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Denied | Self::Rejected | Self::Filled | Self::Cancelled | Self::Expired)
    }

    /// The name, as it stands in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialized => "initialized",
            Self::Submitted => "submitted",
            Self::Denied => "denied",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Triggered => "triggered",
            Self::PartiallyFilled => "partially-filled",
            Self::Filled => "filled",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// An event that can't follow. The order is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("order {order}: {event} can't follow {status}: {why}", status = .status.name())]
pub struct TransitionError {
    /// The order.
    pub order: crate::OrderId,
    /// Where it stood.
    pub status: OrderStatus,
    /// The event's name.
    pub event: &'static str,
    /// What is wrong.
    pub why: &'static str,
}

impl Order {
    /// Applies an event, as the table of this module says.
    ///
    /// # Errors
    /// When the event can't follow; the order is then unchanged.
    pub fn apply(&mut self, event: &OrderEvent) -> Result<(), TransitionError> {
        use OrderEventKind as E;
        use OrderStatus as S;
        let refuse =
            |why| Err(TransitionError { order: self.id, status: self.status, event: event.kind.name(), why });
        if event.order != self.id {
            return refuse("the event belongs to another order");
        }
        let working = matches!(self.status, S::Accepted | S::Triggered | S::PartiallyFilled);
        match (&event.kind, self.status) {
            (E::Submitted, S::Initialized) => self.status = S::Submitted,
            (E::Denied(_), S::Initialized) => self.status = S::Denied,
            (E::Accepted, S::Submitted) => self.status = S::Accepted,
            (E::Rejected(_), S::Submitted) => self.status = S::Rejected,
            (E::Triggered, S::Accepted) => {
                if matches!(self.kind, OrderKind::Market | OrderKind::Limit { .. }) {
                    return refuse("the order has no trigger");
                }
                self.status = S::Triggered;
            }
            (E::PartiallyFilled(fill), _) | (E::Filled(fill), _) if working => {
                let whole = matches!(event.kind, E::Filled(_));
                if fill.side != self.side || fill.qty.raw() <= 0 {
                    return refuse("the fill's side or quantity is not the order's");
                }
                match (fill.qty.cmp(&self.leaves()), whole) {
                    (std::cmp::Ordering::Greater, _) => return refuse("it fills more than is left"),
                    (std::cmp::Ordering::Equal, false) => return refuse("a partial fill leaves something"),
                    (std::cmp::Ordering::Less, true) => return refuse("a fill leaves nothing"),
                    _ => {}
                }
                self.filled = crate::Qty::from_raw(self.filled.raw() + fill.qty.raw());
                self.filled_value += i128::from(fill.price.raw()) * i128::from(fill.qty.raw());
                self.status = if whole { S::Filled } else { S::PartiallyFilled };
            }
            (E::Modified { qty, price, trigger }, _) if working => {
                if *qty <= self.filled {
                    return refuse("the new quantity has already filled");
                }
                let Some(kind) = modified(self.kind, *price, *trigger) else {
                    return refuse("the order has no such price");
                };
                self.qty = *qty;
                self.kind = kind;
            }
            (E::CancelRequested, _) if working || self.status == S::Submitted => {
                if self.cancel_requested {
                    return refuse("it was requested before");
                }
                self.cancel_requested = true;
            }
            (E::Cancelled(_), _) if working => self.status = S::Cancelled,
            (E::Expired, _) if working => self.status = S::Expired,
            _ => return refuse("the state machine has no such transition"),
        }
        Ok(())
    }
}

/// The kind with new prices; `None` when it is given a price it does not have.
fn modified(
    kind: OrderKind,
    price: Option<crate::Price>,
    trigger: Option<crate::Price>,
) -> Option<OrderKind> {
    Some(match (kind, price, trigger) {
        (kind, None, None) => kind,
        (OrderKind::Limit { .. }, Some(price), None) => OrderKind::Limit { price },
        (OrderKind::Stop { .. }, None, Some(trigger)) => OrderKind::Stop { trigger },
        (OrderKind::StopLimit { trigger: t, price: p }, price, trigger) => {
            OrderKind::StopLimit { trigger: trigger.unwrap_or(t), price: price.unwrap_or(p) }
        }
        (OrderKind::TrailingStop { offset, .. }, None, Some(t)) => {
            OrderKind::TrailingStop { offset, trigger: Some(t) }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{DenyReason, EndReason, Execution, Fill, Liquidity, RejectReason, Side, TimeInForce};
    use crate::{InstrumentId, Money, OrderId, Price, Qty, Timestamp};
    use proptest::prelude::*;

    fn order(kind: OrderKind) -> Order {
        Order {
            id: OrderId::derive(1, 0).unwrap(),
            instrument: InstrumentId(0),
            strategy: None,
            side: Side::Buy,
            kind,
            execution: Execution::Continuous,
            time_in_force: TimeInForce::Gtc,
            qty: Qty::from_raw(10),
            reduce_only: false,
            post_only: false,
            parent: None,
            oco_group: None,
            ts_submitted: Timestamp::default(),
            status: OrderStatus::Initialized,
            cancel_requested: false,
            filled: Qty::ZERO,
            filled_value: 0,
        }
    }

    fn event(kind: OrderEventKind) -> OrderEvent {
        OrderEvent {
            order: OrderId::derive(1, 0).unwrap(),
            ts_event: Timestamp::default(),
            ts_init: Timestamp::default(),
            kind,
        }
    }

    fn fill(qty: i64) -> Fill {
        Fill {
            side: Side::Buy,
            price: Price::from_raw(100),
            qty: Qty::from_raw(qty),
            fee: Money::ZERO,
            liquidity: Liquidity::Taker,
        }
    }

    /// One event of each kind; fills as the order in `state` would need them.
    fn events(leaves: i64) -> Vec<OrderEventKind> {
        use OrderEventKind as E;
        vec![
            E::Submitted,
            E::Denied(DenyReason::SizeRoundsToZero),
            E::Accepted,
            E::Rejected(RejectReason::InsufficientFunds),
            E::Triggered,
            E::PartiallyFilled(fill(1)),
            E::Filled(fill(leaves.max(1))),
            E::Modified { qty: Qty::from_raw(20), price: None, trigger: None },
            E::CancelRequested,
            E::Cancelled(EndReason::Requested),
            E::Expired,
        ]
    }

    /// The table of the module's documentation is the oracle: the test reads it.
    #[test]
    fn the_documented_table_is_what_the_code_does() {
        let source = include_str!("state.rs");
        let rows: Vec<Vec<String>> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .filter(|line| !line.starts_with("from"))
            .map(|line| {
                line.trim_end_matches('|')
                    .split('|')
                    .map(|s| s.trim().replace('¹', "").to_lowercase())
                    .collect()
            })
            .collect();
        assert_eq!(rows.len(), 6);
        let mut checked = 0;
        for row in &rows {
            for status in OrderStatus::ALL {
                if !row[0].split(", ").any(|name| name == status.name().replace('-', "")) {
                    continue;
                }
                for column in 0..events(0).len() {
                    let mut order = order(OrderKind::Stop { trigger: Price::from_raw(100) });
                    order.status = status;
                    if status == OrderStatus::PartiallyFilled {
                        order.filled = Qty::from_raw(4);
                    }
                    let kind = events(order.leaves().raw())[column].clone();
                    let name = kind.name();
                    let documented = &row[column + 1];
                    let before = order.clone();
                    match order.apply(&event(kind)) {
                        Ok(()) if documented == "=" => assert_eq!(order.status, status, "{name}"),
                        Ok(()) => assert_eq!(
                            order.status.name().replace('-', ""),
                            *documented,
                            "{} + {name}",
                            status.name()
                        ),
                        Err(error) => {
                            assert_eq!(documented, "", "{error}");
                            assert_eq!(order, before, "a refused event must change nothing");
                        }
                    }
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 110);
    }

    #[test]
    fn fills_must_add_up() {
        let mut order = order(OrderKind::Market);
        for kind in [OrderEventKind::Submitted, OrderEventKind::Accepted] {
            order.apply(&event(kind)).unwrap();
        }
        assert!(order.apply(&event(OrderEventKind::PartiallyFilled(fill(10)))).is_err());
        assert!(order.apply(&event(OrderEventKind::Filled(fill(9)))).is_err());
        assert!(order.apply(&event(OrderEventKind::Filled(fill(11)))).is_err());
        assert!(order.apply(&event(OrderEventKind::Triggered)).is_err());
        order.apply(&event(OrderEventKind::PartiallyFilled(fill(4)))).unwrap();
        order.apply(&event(OrderEventKind::Filled(fill(6)))).unwrap();
        assert_eq!(order.average_price(), Some(Price::from_raw(100)));
        assert!(order.is_closed());
    }

    proptest! {
        #[test]
        fn no_sequence_of_events_breaks_an_order(picks in proptest::collection::vec((0_usize..11, 1_i64..12), 0..30)) {
            let mut order = order(OrderKind::Stop { trigger: Price::from_raw(100) });
            for (pick, qty) in picks {
                let before = order.clone();
                let kind = match pick {
                    5 => OrderEventKind::PartiallyFilled(fill(qty)),
                    6 => OrderEventKind::Filled(fill(qty)),
                    7 => OrderEventKind::Modified { qty: Qty::from_raw(qty), price: None, trigger: None },
                    _ => events(qty)[pick].clone(),
                };
                if order.apply(&event(kind)).is_err() {
                    prop_assert_eq!(&order, &before);
                }
                prop_assert!(order.filled.raw() >= 0 && order.filled <= order.qty);
                prop_assert_eq!(order.status == OrderStatus::Filled, order.leaves().is_zero());
                prop_assert!(!before.is_closed() || order == before);
            }
        }
    }
}
