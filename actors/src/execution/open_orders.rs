//! The orders that are not closed yet. Closed ones leave at once: their history is in the outputs, so the work for an
//! input does not grow with the orders of the past.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tradeflow_model::{InstrumentId, Order, OrderEvent, OrderId, StrategyIndex};

use crate::actor::Fault;

type Owner = (Option<StrategyIndex>, InstrumentId);

/// The open orders of a cell.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OpenOrders {
    orders: BTreeMap<OrderId, Order>,
    by_owner: BTreeSet<(Owner, OrderId)>,
}

impl OpenOrders {
    /// Adds an order.
    pub fn insert(&mut self, order: Order) {
        self.by_owner.insert(((order.strategy, order.instrument), order.id));
        self.orders.insert(order.id, order);
    }

    /// An open order.
    pub fn get(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Order> {
        self.orders.values()
    }

    /// Those of one strategy in one instrument, by id.
    pub fn of(
        &self,
        strategy: Option<StrategyIndex>,
        instrument: InstrumentId,
    ) -> impl Iterator<Item = &Order> {
        let owner = (strategy, instrument);
        let first = OrderId::derive(0, 0).expect("zero is a position");
        self.by_owner
            .range((owner, first)..)
            .take_while(move |(o, _)| *o == owner)
            .filter_map(|(_, id)| self.orders.get(id))
    }

    /// Applies an event to its order and returns the order as it is then; a closed one is taken out.
    ///
    /// # Errors
    /// When there is no such open order, or the event can't follow.
    pub fn apply(&mut self, event: &OrderEvent) -> Result<Order, Fault> {
        let Some(order) = self.orders.get_mut(&event.order) else {
            return Err(Fault::new(format!(
                "{} for order {}, which is not open",
                event.kind.name(),
                event.order
            )));
        };
        order.apply(event)?;
        let order = order.clone();
        if order.is_closed() {
            self.orders.remove(&order.id);
            self.by_owner.remove(&((order.strategy, order.instrument), order.id));
        }
        Ok(order)
    }
}
