//! The rules, one a file.

mod daily_loss;
mod drawdown;
mod open_orders;
mod order_notional;
mod position_notional;
mod price_collar;

use rust_decimal::Decimal;
use tradeflow_model::Money;
use tradeflow_model::plan::RiskLimits;

use super::RiskRule;

/// The rules that `limits` asks for, in the order in which they are checked.
///
/// # Errors
/// In words, when a limit has more decimals than money.
pub fn rules_of(limits: &RiskLimits) -> Result<Vec<Box<dyn RiskRule>>, String> {
    let money = |field: &str, value: Decimal| {
        Money::from_decimal(value).map_err(|why| format!("risk.{field} {value} {why}"))
    };
    let mut rules: Vec<Box<dyn RiskRule>> = Vec::new();
    if let Some(max) = limits.daily_loss_max_pct {
        rules.push(Box::new(daily_loss::DailyLoss { max_pct: max }));
    }
    if let Some(max) = limits.drawdown_max_pct {
        rules.push(Box::new(drawdown::Drawdown { max_pct: max }));
    }
    if let Some(max) = limits.open_orders_max {
        rules.push(Box::new(open_orders::OpenOrdersMax { max }));
    }
    if let Some(max) = limits.order_notional_max {
        rules.push(Box::new(order_notional::OrderNotional { max: money("order_notional_max", max)? }));
    }
    if let Some(max) = limits.position_notional_max {
        rules.push(Box::new(position_notional::PositionNotional {
            max: money("position_notional_max", max)?,
        }));
    }
    if let Some(max) = limits.price_collar_bps {
        rules.push(Box::new(price_collar::PriceCollar { max_bps: max }));
    }
    Ok(rules)
}

/// Whether `equity` has fallen from `high` by `percent` or more: `(high − equity) × 100 ≥ high × percent`.
fn has_fallen(high: Money, equity: Money, percent: Decimal) -> bool {
    let lost = high.raw() - equity.raw();
    let threshold = high.mul_ratio(percent.mantissa(), 100 * 10_i128.pow(percent.scale()));
    lost > 0 && threshold.is_some_and(|threshold| lost >= threshold.raw())
}
