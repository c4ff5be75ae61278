//! Not too many orders open at once.

use tradeflow_model::Order;

use crate::risk::{RiskRule, RiskView};

/// Most orders open at once, the new one counted.
pub(super) struct OpenOrdersMax {
    pub(super) max: u32,
}

impl RiskRule for OpenOrdersMax {
    fn name(&self) -> &'static str {
        "open_orders_max"
    }

    fn check(&self, _order: &Order, view: &RiskView<'_>) -> Result<(), String> {
        if view.open_orders < self.max as usize {
            return Ok(());
        }
        Err(format!("{} orders are open, and {} may be", view.open_orders, self.max))
    }
}
