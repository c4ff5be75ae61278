//! What is traded: increments, multiplier, currencies, trading hours and fees.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::calendar::Calendar;
use crate::error::{ValueError, ValueReason};
use crate::fixed::{self, MAX_SCALE, Price, Qty, pow10};
use crate::ids::Symbol;
use crate::money::{Currency, Money};
use crate::time::Timestamp;

/// The kind of an instrument. It decides how a fill moves cash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssetClass {
    /// A share or fund: a purchase pays its full value.
    Equity,
    /// A currency pair: held on margin, profit and loss settle in the quote currency.
    FxPair,
    /// A coin bought outright: a purchase pays its full value.
    CryptoSpot,
    /// A swap without expiry: held on margin.
    Perpetual,
    /// A contract with an expiry: held on margin.
    Future,
}

impl AssetClass {
    /// Whether a purchase pays its full value in cash (as against a contract held on margin).
    pub fn is_paid_in_full(self) -> bool {
        matches!(self, Self::Equity | Self::CryptoSpot)
    }
}

impl std::str::FromStr for AssetClass {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(match text {
            "equity" => Self::Equity,
            "fx-pair" => Self::FxPair,
            "crypto-spot" => Self::CryptoSpot,
            "perpetual" => Self::Perpetual,
            "future" => Self::Future,
            _ => {
                let why = "is not one of equity, fx-pair, crypto-spot, perpetual, future";
                return Err(ValueError::new("instrument", "class", text, ValueReason::Other(why.into())));
            }
        })
    }
}

/// What trading costs, unless the run says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeSchedule {
    /// Fee of a fill that takes liquidity, in basis points (1/100 %) of its value.
    pub taker_bps: Decimal,
    /// Fee of a fill that makes liquidity, in basis points of its value; negative for a rebate.
    pub maker_bps: Decimal,
    /// Fee for each unit of quantity (a share, a contract), in the settlement currency.
    pub per_unit: Decimal,
    /// The least a fill with any fee costs, in the settlement currency.
    pub minimum: Decimal,
}

/// An instrument. Build with [`Instrument::new`], which checks that the fields fit each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instrument {
    /// The symbol, unique in a catalog.
    pub symbol: Symbol,
    /// The kind.
    pub class: AssetClass,
    /// Decimals of a price, 0 to 9.
    pub price_scale: u8,
    /// The tick: prices of orders are multiples of it. Raw, at `price_scale`.
    pub price_increment: Price,
    /// Decimals of a quantity, 0 to 9.
    pub size_scale: u8,
    /// The lot: quantities of orders are multiples of it. Raw, at `size_scale`.
    pub size_increment: Qty,
    /// Units of the base in one unit of quantity (50 for an E-mini S&P future, 1 for a share).
    pub multiplier: Decimal,
    /// What is bought (`BTC`, `EUR`); for an equity or future the symbol's own name where it fits a code.
    pub base: Currency,
    /// What the price is in.
    pub quote: Currency,
    /// What profit and loss are paid in.
    pub settlement: Currency,
    /// When it trades.
    pub calendar: Calendar,
    /// What trading it costs by default.
    pub fees: FeeSchedule,
    /// Last instant of trading of a dated future.
    pub expiry: Option<Timestamp>,
}

impl Instrument {
    /// An instrument of `class` with the usual settings of its kind: tick and lot of one unit in the last decimal,
    /// multiplier 1, no fees, settlement in the quote currency, and the calendar of the class.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn new(
        symbol: Symbol,
        class: AssetClass,
        base: Currency,
        quote: Currency,
        price_scale: u8,
        size_scale: u8,
    ) -> Result<Self, ValueError> {
        let calendar = match class {
            AssetClass::Equity => Calendar::Nyse,
            AssetClass::FxPair => Calendar::FxWeek,
            AssetClass::CryptoSpot | AssetClass::Perpetual => Calendar::AlwaysOpen,
            AssetClass::Future => Calendar::CmeGlobex,
        };
        let instrument = Self {
            symbol,
            class,
            price_scale,
            price_increment: Price::from_raw(1),
            size_scale,
            size_increment: Qty::from_raw(1),
            multiplier: Decimal::ONE,
            base,
            settlement: quote.clone(),
            quote,
            calendar,
            fees: FeeSchedule::default(),
            expiry: None,
        };
        instrument.check()?;
        Ok(instrument)
    }

    /// Checks that scales, increments, multiplier and fees make sense together.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn check(&self) -> Result<(), ValueError> {
        let refuse = |field: &str, value: String, why: &str| {
            Err(ValueError::new(self.symbol.as_str(), field, value, ValueReason::Other(why.into())))
        };
        for (field, scale) in [("price_scale", self.price_scale), ("size_scale", self.size_scale)] {
            if scale > MAX_SCALE {
                return refuse(field, scale.to_string(), "is above 9 decimals");
            }
        }
        for (field, raw) in
            [("price_increment", self.price_increment.raw()), ("size_increment", self.size_increment.raw())]
        {
            if raw <= 0 {
                return refuse(field, raw.to_string(), "must be above zero");
            }
        }
        if self.multiplier <= Decimal::ZERO {
            return refuse("multiplier", self.multiplier.to_string(), "must be above zero");
        }
        if self.notional_factor().is_none() {
            let why = "has more decimals than price, size and multiplier together may have (18)";
            return refuse("multiplier", self.multiplier.to_string(), why);
        }
        if self.expiry.is_some() && self.class != AssetClass::Future {
            return refuse("expiry", format!("{:?}", self.class), "belongs to a future only");
        }
        Ok(())
    }

    /// The factor that turns raw price × raw quantity into raw [`Money`]; `None` when it is not a whole number.
    pub fn notional_factor(&self) -> Option<i128> {
        let scales = u32::from(self.price_scale) + u32::from(self.size_scale);
        let shift = u32::from(Money::SCALE).checked_sub(scales)?;
        if self.multiplier == Decimal::ONE {
            return Some(i128::from(pow10(shift as u8))); // nearly always, and on the hot path
        }
        let multiplier = self.multiplier.normalize();
        multiplier.mantissa().checked_mul(10_i128.pow(shift.checked_sub(multiplier.scale())?))
    }

    /// The value of `qty` at `price`, in the settlement currency, with the sign of their product.
    ///
    /// # Errors
    /// When it needs more than [`Money`] holds.
    pub fn notional(&self, price: Price, qty: Qty) -> Result<Money, ValueError> {
        self.notional_factor()
            .and_then(|factor| {
                (i128::from(price.raw()) * i128::from(qty.raw())).checked_mul(factor).map(Money::from_raw)
            })
            .ok_or_else(|| {
                let value = format!("{} × {}", self.price_text(price), self.qty_text(qty));
                let why = ValueReason::OutOfRange("beyond ±1.7·10²⁰".into());
                ValueError::new(self.symbol.as_str(), "notional", value, why)
            })
    }

    /// The price written in ASCII, which must be exact at the price scale (but not on the tick).
    ///
    /// # Errors
    /// Names the instrument and `field`.
    pub fn parse_price(&self, field: &str, text: &[u8]) -> Result<Price, ValueError> {
        fixed::parse(text, self.price_scale)
            .map(Price::from_raw)
            .map_err(|why| ValueError::new(self.symbol.as_str(), field, String::from_utf8_lossy(text), why))
    }

    /// The quantity written in ASCII, which must be exact at the size scale (but not on the lot).
    ///
    /// # Errors
    /// Names the instrument and `field`.
    pub fn parse_qty(&self, field: &str, text: &[u8]) -> Result<Qty, ValueError> {
        fixed::parse(text, self.size_scale)
            .map(Qty::from_raw)
            .map_err(|why| ValueError::new(self.symbol.as_str(), field, String::from_utf8_lossy(text), why))
    }

    /// A price for an order: a decimal on the tick, above zero for all but futures, which have traded below it.
    ///
    /// # Errors
    /// Names the instrument and `field`.
    pub fn order_price(&self, field: &str, value: Decimal) -> Result<Price, ValueError> {
        let raw = fixed::from_decimal(value, self.price_scale)
            .map_err(|why| ValueError::new(self.symbol.as_str(), field, value, why))?;
        if raw <= 0 && self.class != AssetClass::Future {
            return Err(ValueError::new(self.symbol.as_str(), field, value, ValueReason::NotPositive));
        }
        self.check_tick(field, Price::from_raw(raw))
    }

    /// A quantity for an order: a decimal above zero and on the lot.
    ///
    /// # Errors
    /// Names the instrument and `field`.
    pub fn order_qty(&self, field: &str, value: Decimal) -> Result<Qty, ValueError> {
        let raw = fixed::from_decimal(value, self.size_scale)
            .map_err(|why| ValueError::new(self.symbol.as_str(), field, value, why))?;
        self.check_lot(field, Qty::from_raw(raw))
    }

    /// Passes a price that lies on the tick.
    ///
    /// # Errors
    /// Names the instrument, `field` and the tick.
    pub fn check_tick(&self, field: &str, price: Price) -> Result<Price, ValueError> {
        if price.raw() % self.price_increment.raw() == 0 {
            return Ok(price);
        }
        let why = ValueReason::OffIncrement(self.price_text(self.price_increment));
        Err(ValueError::new(self.symbol.as_str(), field, self.price_text(price), why))
    }

    /// Passes a quantity above zero that lies on the lot.
    ///
    /// # Errors
    /// Names the instrument, `field` and the lot.
    pub fn check_lot(&self, field: &str, qty: Qty) -> Result<Qty, ValueError> {
        let why = if qty.raw() <= 0 {
            ValueReason::NotPositive
        } else if qty.raw() % self.size_increment.raw() != 0 {
            ValueReason::OffIncrement(self.qty_text(self.size_increment))
        } else {
            return Ok(qty);
        };
        Err(ValueError::new(self.symbol.as_str(), field, self.qty_text(qty), why))
    }

    /// The largest multiple of the lot that is not above `qty` (towards zero).
    pub fn floor_to_lot(&self, qty: Qty) -> Qty {
        let lot = self.size_increment.raw();
        Qty::from_raw(qty.raw() / lot * lot)
    }

    /// The largest quantity on the lot, for which `qty × price × multiplier` is at most `budget`; zero for a price
    /// or budget that is not above zero.
    pub fn qty_for(&self, budget: Money, price: Price) -> Qty {
        let Some(factor) = self.notional_factor() else { return Qty::ZERO };
        if price.raw() <= 0 || budget <= Money::ZERO {
            return Qty::ZERO;
        }
        let unit = i128::from(price.raw()).saturating_mul(factor);
        let raw = i64::try_from(budget.raw() / unit).unwrap_or(i64::MAX);
        self.floor_to_lot(Qty::from_raw(raw))
    }

    /// The price as text.
    pub fn price_text(&self, price: Price) -> String {
        price.to_decimal(self.price_scale).to_string()
    }

    /// The quantity as text.
    pub fn qty_text(&self, qty: Qty) -> String {
        qty.to_decimal(self.size_scale).normalize().to_string()
    }

    /// One whole unit of quantity, raw.
    pub fn one_unit(&self) -> i64 {
        pow10(self.size_scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn es() -> Instrument {
        let usd = Currency::new("USD").unwrap();
        let mut es = Instrument::new(
            Symbol::new("ES-202403").unwrap(),
            AssetClass::Future,
            Currency::new("ES").unwrap(),
            usd,
            2,
            0,
        )
        .unwrap();
        es.price_increment = Price::from_raw(25);
        es.multiplier = Decimal::from(50);
        es
    }

    #[test]
    fn a_price_off_the_tick_is_refused_by_name() {
        let error = es().order_price("limit price", "4000.10".parse().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ES-202403: limit price \"4000.10\" is not a multiple of the increment 0.25"
        );
        assert_eq!(
            es().order_price("limit price", "4000.25".parse().unwrap()).unwrap(),
            Price::from_raw(400_025)
        );
        assert!(es().order_qty("quantity", "0".parse().unwrap()).is_err());
        assert!(es().order_qty("quantity", "1.5".parse().unwrap()).is_err());
    }

    #[test]
    fn a_contract_is_worth_price_times_multiplier() {
        let value = es().notional(Price::from_raw(400_025), Qty::from_raw(2)).unwrap();
        assert_eq!(value.to_string(), "400025");
        assert_eq!(es().qty_for(value, Price::from_raw(400_025)), Qty::from_raw(2));
        assert_eq!(
            es().qty_for(Money::from_raw(value.raw() - 1), Price::from_raw(400_025)),
            Qty::from_raw(1)
        );
    }

    proptest! {
        #[test]
        fn an_affordable_quantity_is_the_largest(price in 1_i64..10_000_000, budget in 0_i64..10_000_000) {
            let es = es();
            let budget = Money::from_units(budget);
            let qty = es.qty_for(budget, Price::from_raw(price));
            let one_more = qty.checked_add(es.size_increment).unwrap();
            prop_assert!(es.notional(Price::from_raw(price), qty).unwrap() <= budget);
            prop_assert!(es.notional(Price::from_raw(price), one_more).unwrap() > budget);
        }
    }
}
