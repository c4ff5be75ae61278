//! No order too large.

use tradeflow_model::{Money, Order};

use crate::risk::{RiskRule, RiskView};

/// Largest value of one order, at its limit price or else the last price.
pub(super) struct OrderNotional {
    pub(super) max: Money,
}

impl RiskRule for OrderNotional {
    fn name(&self) -> &'static str {
        "order_notional_max"
    }

    fn check(&self, order: &Order, view: &RiskView<'_>) -> Result<(), String> {
        let price = order.kind.limit_price().or(order.kind.trigger()).or(view.last);
        let Some(price) = price else { return Err("there is no price yet to value the order at".into()) };
        let value = view.definition.notional(price, order.qty).map_err(|e| e.to_string())?.abs();
        if view.reduces || value <= self.max {
            return Ok(());
        }
        Err(format!("the order is worth {value}, above {}", self.max))
    }
}
