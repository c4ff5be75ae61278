//! After a fall from the highest equity, only orders that reduce pass.

use rust_decimal::Decimal;
use tradeflow_model::Order;

use super::has_fallen;
use crate::risk::{RiskRule, RiskView};

/// Loss from the highest equity, in percent of it.
pub(super) struct Drawdown {
    pub(super) max_pct: Decimal,
}

impl RiskRule for Drawdown {
    fn name(&self) -> &'static str {
        "drawdown_max_pct"
    }

    fn check(&self, _order: &Order, view: &RiskView<'_>) -> Result<(), String> {
        let equity = view.account.equity();
        if view.reduces || !has_fallen(view.peak_equity, equity, self.max_pct) {
            return Ok(());
        }
        Err(format!(
            "equity fell from its highest, {}, to {equity}, by {} % or more; only orders that reduce pass",
            view.peak_equity, self.max_pct
        ))
    }
}
