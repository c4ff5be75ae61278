//! What a fill costs: fees and slippage.

use rust_decimal::Decimal;
use tradeflow_model::order::Liquidity;
use tradeflow_model::plan::{Slippage, VenueSpec};
use tradeflow_model::{FeeSchedule, Instrument, Money, Price, Qty, Side};

/// A non-negative or negative rational: numerator over a positive denominator.
type Ratio = (i128, i128);

fn ratio(value: Decimal, over: i128) -> Ratio {
    (value.mantissa(), over * 10_i128.pow(value.scale()))
}

/// Fees and slippage of one instrument, ready for use on the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    taker: Ratio,
    maker: Ratio,
    per_unit: Money,
    minimum: Money,
    slippage: Slip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slip {
    None,
    /// A share of the price.
    Share(Ratio),
    /// A distance in raw price, numerator and denominator.
    Distance(Ratio),
}

const BPS: i128 = 10_000;

impl Costs {
    /// The costs of `definition` on a venue: the venue's fees where it has its own, the instrument's otherwise.
    ///
    /// # Errors
    /// In words, when an amount has more than 18 decimals.
    pub fn new(definition: &Instrument, venue: &VenueSpec) -> Result<Self, String> {
        let fees: FeeSchedule = venue.fees.unwrap_or(definition.fees);
        let money = |field: &str, value: Decimal| {
            Money::from_decimal(value).map_err(|why| format!("{}: {field} {value} {why}", definition.symbol))
        };
        let slippage = match venue.slippage {
            Slippage::None => Slip::None,
            Slippage::Bps(bps) => Slip::Share(ratio(bps, BPS)),
            Slippage::Spread(spread) => {
                let (numerator, denominator) = ratio(spread, 2);
                Slip::Distance((numerator * 10_i128.pow(u32::from(definition.price_scale)), denominator))
            }
        };
        Ok(Self {
            taker: ratio(fees.taker_bps, BPS),
            maker: ratio(fees.maker_bps, BPS),
            per_unit: money("fee per unit", fees.per_unit)?,
            minimum: money("minimum fee", fees.minimum)?,
            slippage,
        })
    }

    /// The fee of a fill: basis points of its value, and an amount for each unit, at least the minimum; half to even
    /// at 10⁻¹⁸. A rebate is negative and knows no minimum.
    ///
    /// # Errors
    /// When it leaves the range of money.
    pub fn fee(
        &self,
        definition: &Instrument,
        price: Price,
        qty: Qty,
        liquidity: Liquidity,
    ) -> Result<Money, tradeflow_model::ValueError> {
        let (numerator, denominator) = match liquidity {
            Liquidity::Taker => self.taker,
            Liquidity::Maker => self.maker,
        };
        let by_value = if numerator == 0 {
            Some(Money::ZERO)
        } else {
            definition.notional(price, qty)?.abs().mul_ratio(numerator, denominator)
        };
        let by_unit = if self.per_unit.is_zero() {
            Some(Money::ZERO)
        } else {
            self.per_unit.mul_ratio(i128::from(qty.raw()), i128::from(definition.one_unit()))
        };
        let fee = by_value.and_then(|a| by_unit.and_then(|b| a.checked_add(b))).ok_or_else(|| {
            let why = tradeflow_model::ValueReason::OutOfRange("beyond ±1.7·10²⁰".into());
            tradeflow_model::ValueError::new(definition.symbol.as_str(), "fee", definition.qty_text(qty), why)
        })?;
        Ok(if fee.raw() < 0 { fee } else { fee.max(self.minimum) })
    }

    /// The price after slippage: worse for the side, on the tick.
    pub fn slipped(&self, definition: &Instrument, side: Side, price: Price) -> Price {
        let distance = match self.slippage {
            Slip::None => return price,
            Slip::Share((n, d)) => ceil_div(i128::from(price.raw().unsigned_abs()) * n, d),
            Slip::Distance((n, d)) => ceil_div(n, d),
        };
        let tick = i128::from(definition.price_increment.raw());
        let distance = ceil_div(distance, tick) * tick;
        let moved = i128::from(price.raw()) + i128::from(side.sign()) * distance;
        i64::try_from(moved).map_or(price, Price::from_raw)
    }

    /// The largest quantity on the lot whose value at `price`, as a taker and with slippage, fits `budget` together
    /// with `weight` times its fee. Costs are to be paid from equity, of which a margin account may hold a multiple:
    /// there a unit of fee takes `leverage` units of room.
    pub fn affordable(&self, definition: &Instrument, price: Price, budget: Money, weight: Ratio) -> Qty {
        let price = self.slipped(definition, Side::Buy, price);
        // First by proportion, then down by what minimum fees and rounding took; that converges in a step or two.
        let (n, d) = self.taker;
        let (n, d) = (n.max(0) * weight.0, d * weight.1);
        let mut qty = budget.mul_ratio(d, d + n).map_or(Qty::ZERO, |b| definition.qty_for(b, price));
        for _ in 0..8 {
            if qty.is_zero() {
                return qty;
            }
            let spent = definition.notional(price, qty).ok().zip(
                self.fee(definition, price, qty, Liquidity::Taker)
                    .ok()
                    .and_then(|fee| fee.mul_ratio(weight.0, weight.1)),
            );
            let Some((value, fee)) = spent else { return Qty::ZERO };
            let over = value.raw() + fee.raw() - budget.raw();
            if over <= 0 {
                return qty;
            }
            let per_lot = definition.notional(price, definition.size_increment).map_or(1, |v| v.raw().max(1));
            let lots = i64::try_from(ceil_div(over, per_lot)).unwrap_or(i64::MAX);
            let less = definition.size_increment.raw().saturating_mul(lots);
            qty = Qty::from_raw((qty.raw() - less.min(qty.raw())).max(0));
        }
        Qty::ZERO
    }
}

fn ceil_div(numerator: i128, denominator: i128) -> i128 {
    numerator.div_euclid(denominator) + i128::from(numerator.rem_euclid(denominator) != 0)
}

#[cfg(test)]
#[allow(clippy::inconsistent_digit_grouping, reason = "cents stand apart: 1_000_00 is 1000.00")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tradeflow_model::{AssetClass, Currency, Symbol};

    fn coin() -> Instrument {
        let (base, quote) = (Currency::new("BTC").unwrap(), Currency::new("USD").unwrap());
        Instrument::new(Symbol::new("BTCUSD").unwrap(), AssetClass::CryptoSpot, base, quote, 2, 8).unwrap()
    }

    fn costs(bps: &str, per_unit: &str, minimum: &str, slippage: Slippage) -> Costs {
        let fees = FeeSchedule {
            taker_bps: bps.parse().unwrap(),
            maker_bps: "-1".parse().unwrap(),
            per_unit: per_unit.parse().unwrap(),
            minimum: minimum.parse().unwrap(),
        };
        Costs::new(&coin(), &VenueSpec { fees: Some(fees), slippage, ..VenueSpec::default() }).unwrap()
    }

    #[test]
    fn a_fee_is_value_times_bps_plus_units_and_at_least_the_minimum() {
        let fee = |costs: Costs, liquidity| {
            costs
                .fee(&coin(), Price::from_raw(1_000_00), Qty::from_raw(2_0000_0000), liquidity)
                .unwrap()
                .to_string()
        };
        assert_eq!(fee(costs("10", "0", "0", Slippage::None), Liquidity::Taker), "2");
        assert_eq!(fee(costs("10", "0.005", "0", Slippage::None), Liquidity::Taker), "2.01");
        assert_eq!(fee(costs("10", "0", "3.5", Slippage::None), Liquidity::Taker), "3.5");
        assert_eq!(fee(costs("10", "0", "3.5", Slippage::None), Liquidity::Maker), "-0.2");
    }

    #[test]
    fn slippage_is_against_the_side_and_on_the_tick() {
        let bps = costs("0", "0", "0", Slippage::Bps("1.5".parse().unwrap()));
        assert_eq!(bps.slipped(&coin(), Side::Buy, Price::from_raw(1_000_00)), Price::from_raw(1_000_15));
        assert_eq!(bps.slipped(&coin(), Side::Sell, Price::from_raw(1_000_00)), Price::from_raw(999_85));
        assert_eq!(bps.slipped(&coin(), Side::Buy, Price::from_raw(1)), Price::from_raw(2));
        let spread = costs("0", "0", "0", Slippage::Spread("0.05".parse().unwrap()));
        assert_eq!(spread.slipped(&coin(), Side::Buy, Price::from_raw(1_000_00)), Price::from_raw(1_000_03));
    }

    proptest! {
        #[test]
        fn what_is_affordable_can_be_paid(
            price in 1_i64..1_000_000_00, budget in 0_i64..1_000_000, bps in 0_i64..500, minimum in 0_i64..20,
        ) {
            let costs = costs(&bps.to_string(), "0.001", &minimum.to_string(), Slippage::None);
            let (coin, price, budget) = (coin(), Price::from_raw(price), Money::from_units(budget));
            let qty = costs.affordable(&coin, price, budget, (1, 1));
            if !qty.is_zero() {
                let fee = costs.fee(&coin, price, qty, Liquidity::Taker).unwrap();
                prop_assert!(coin.notional(price, qty).unwrap().checked_add(fee).unwrap() <= budget);
            }
        }
    }
}
