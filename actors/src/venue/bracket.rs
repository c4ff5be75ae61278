//! One triggers other, one cancels other.
//!
//! Exits of a bracket name their entry as `parent` and share an `oco_group`. They come to life with the entry's first
//! fill, for as much as it has filled; what one exit fills is gone for the others. Orders that only share a group (no
//! parent) have the largest of their quantities to fill between them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tradeflow_model::order::EndReason;
use tradeflow_model::{Order, OrderEvent, OrderEventKind, OrderId, Qty, Timestamp};

use super::{SimVenue, is_working};
use crate::actor::{Fault, Outbox};

/// A group of orders of which one cancels the others.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Group {
    members: Vec<OrderId>,
    /// Quantity that the members may fill between them.
    open: Qty,
    /// Quantity that they have filled.
    filled: Qty,
    /// Whether `open` can't grow any more.
    settled: bool,
}

/// All groups, by id (for a bracket the id of its entry).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Brackets {
    groups: BTreeMap<OrderId, Group>,
}

impl Brackets {
    /// Notes an accepted order.
    pub(super) fn add(&mut self, order: &Order) {
        let Some(id) = order.oco_group else { return };
        let group = self.groups.entry(id).or_default();
        group.members.push(order.id);
        if order.parent.is_none() {
            group.open = group.open.max(order.qty);
            group.settled = true;
        }
    }

    /// How much of an order may fill, as far as its group is concerned.
    pub(super) fn room(&self, order: &Order) -> Qty {
        match order.oco_group.and_then(|id| self.groups.get(&id)) {
            Some(group) => Qty::from_raw(group.open.raw() - group.filled.raw()),
            None => order.leaves(),
        }
    }
}

impl SimVenue {
    /// After a fill of an order: exits that hang on it come to life, exits beside it shrink.
    pub(super) fn after_fill(&mut self, order: &Order, qty: Qty) {
        if let Some(group) = order.oco_group.and_then(|id| self.state.brackets.groups.get_mut(&id)) {
            group.filled = Qty::from_raw(group.filled.raw() + qty.raw());
        }
        let Some(group) = self.state.brackets.groups.get_mut(&order.id) else { return };
        let asleep = group.open.is_zero();
        group.open = order.filled;
        if !asleep {
            return;
        }
        for member in group.members.clone() {
            if let Some(exit) = self.state.orders.get(&member) {
                self.awakened.push(member);
                let book = &mut self.state.books[exit.instrument.index()];
                book.note_time(exit);
                book.rest(exit);
            }
        }
    }

    /// After an order ended: exits of an entry that never filled end with it, and members of a group with nothing left
    /// to fill end too.
    pub(super) fn settle_bracket(
        &mut self,
        order: &Order,
        ts_event: Timestamp,
        now: Timestamp,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        if let Some(group) = self.state.brackets.groups.get_mut(&order.id) {
            group.settled = true;
        }
        for id in [Some(order.id), order.oco_group].into_iter().flatten() {
            self.settle_group(id, ts_event, now, out)?;
        }
        Ok(())
    }

    pub(super) fn settle_group(
        &mut self,
        id: OrderId,
        ts_event: Timestamp,
        now: Timestamp,
        out: &mut Outbox<OrderEvent>,
    ) -> Result<(), Fault> {
        let Some(group) = self.state.brackets.groups.get_mut(&id) else { return Ok(()) };
        let orders = &self.state.orders;
        group.members.retain(|member| orders.contains_key(member));
        let done = group.settled && group.filled >= group.open;
        // A group of one cancels the other: a member that was cancelled or expired leaves the others alone.
        let members = if done { group.members.clone() } else { Vec::new() };
        for member in members {
            if self.state.orders.get(&member).is_some_and(|o| is_working(o.status)) {
                self.close(member, ts_event, now, OrderEventKind::Cancelled(EndReason::Contingent), out)?;
            }
        }
        if self.state.brackets.groups.get(&id).is_some_and(|g| g.settled && g.members.is_empty()) {
            self.state.brackets.groups.remove(&id);
        }
        Ok(())
    }
}
