//! No position too large.

use tradeflow_model::{Money, Order, Qty};

use crate::risk::{RiskRule, RiskView};

/// Largest value of the position in one instrument after the order, at the last price.
pub(super) struct PositionNotional {
    pub(super) max: Money,
}

impl RiskRule for PositionNotional {
    fn name(&self) -> &'static str {
        "position_notional_max"
    }

    fn check(&self, order: &Order, view: &RiskView<'_>) -> Result<(), String> {
        if view.reduces {
            return Ok(());
        }
        let Some(price) = view.last else {
            return Err("there is no price yet to value the position at".into());
        };
        let held = view.account.ledger().position(order.instrument).qty.raw();
        let after = held.saturating_add(order.side.sign().saturating_mul(order.qty.raw()));
        let value = view.definition.notional(price, Qty::from_raw(after)).map_err(|e| e.to_string())?.abs();
        if value <= self.max {
            return Ok(());
        }
        Err(format!("the position would be worth {value}, above {}", self.max))
    }
}
