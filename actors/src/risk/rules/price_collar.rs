//! No limit price far through the market: the fat finger.

use tradeflow_model::{Order, OrderKind};

use crate::risk::{RiskRule, RiskView};

/// Farthest a limit may lie beyond the last price on the side that would trade at once.
pub(super) struct PriceCollar {
    pub(super) max_bps: u32,
}

impl RiskRule for PriceCollar {
    fn name(&self) -> &'static str {
        "price_collar_bps"
    }

    fn check(&self, order: &Order, view: &RiskView<'_>) -> Result<(), String> {
        let (OrderKind::Limit { price }, Some(last)) = (order.kind, view.last) else { return Ok(()) };
        let beyond = i128::from(order.side.sign()) * (i128::from(price.raw()) - i128::from(last.raw()));
        if beyond * 10_000 <= i128::from(last.raw()).abs() * i128::from(self.max_bps) {
            return Ok(());
        }
        let definition = view.definition;
        Err(format!(
            "the limit {} lies more than {} bps beyond the last price {}",
            definition.price_text(price),
            self.max_bps,
            definition.price_text(last)
        ))
    }
}
