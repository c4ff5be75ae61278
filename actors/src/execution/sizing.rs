//! From a size to a quantity.

use rust_decimal::Decimal;
use tradeflow_model::signal::Size;
use tradeflow_model::{Instrument, Money, Price, Qty};

use crate::execution::costs::Costs;

/// The quantity on the lot that `size` comes to at `price`, rounded down; zero when it is less than a lot.
///
/// A value or a share of equity is what the position may cost: fees and slippage are taken from it, so that "100 %"
/// can be paid for. A quantity is taken as it is. Prices at or below zero size nothing but a quantity.
pub fn quantity_for(size: &Size, definition: &Instrument, price: Price, equity: Money, costs: &Costs) -> Qty {
    match size {
        Size::Quantity(units) => {
            let raw = tradeflow_model::fixed::from_decimal(
                units.round_dp_with_strategy(
                    u32::from(definition.size_scale),
                    rust_decimal::RoundingStrategy::ToZero,
                ),
                definition.size_scale,
            );
            definition.floor_to_lot(Qty::from_raw(raw.unwrap_or(i64::MAX)))
        }
        Size::Notional(value) => affordable(Money::from_decimal(*value).ok(), definition, price, costs),
        Size::PercentOfEquity(percent) => {
            let share = Decimal::from(100);
            let (numerator, denominator) =
                (percent.mantissa(), share.mantissa() * 10_i128.pow(percent.scale()));
            affordable(equity.mul_ratio(numerator, denominator), definition, price, costs)
        }
    }
}

fn affordable(budget: Option<Money>, definition: &Instrument, price: Price, costs: &Costs) -> Qty {
    budget.map_or(Qty::ZERO, |budget| costs.affordable(definition, price, budget, (1, 1)))
}
