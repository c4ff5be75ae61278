//! After a loss in the session, only orders that reduce pass.

use rust_decimal::Decimal;
use tradeflow_model::Order;

use super::has_fallen;
use crate::risk::{RiskRule, RiskView};

/// Loss since the session opened, in percent of equity then.
pub(super) struct DailyLoss {
    pub(super) max_pct: Decimal,
}

impl RiskRule for DailyLoss {
    fn name(&self) -> &'static str {
        "daily_loss_max_pct"
    }

    fn check(&self, _order: &Order, view: &RiskView<'_>) -> Result<(), String> {
        let equity = view.account.equity();
        if view.reduces || !has_fallen(view.session_equity, equity, self.max_pct) {
            return Ok(());
        }
        Err(format!(
            "equity fell from {} at the session's open to {equity}, by {} % or more; only orders that reduce pass \
             until the next session",
            view.session_equity, self.max_pct
        ))
    }
}
