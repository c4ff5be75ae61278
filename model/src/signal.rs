//! Signals: decisions before they become orders. A strategy's own decision, a TradingView alert and a click on the
//! dashboard are all signals and take the same way to an order: sizing, risk, router.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::ids::{InstrumentId, StrategyIndex};
use crate::time::Timestamp;

/// Where a signal comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalSource {
    /// A strategy in the cell.
    InHouse,
    /// A TradingView alert.
    TradingView,
    /// Another webhook.
    Webhook,
    /// A person.
    Manual,
}

/// What the signal wants of the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalSide {
    /// Be long: closes a short, then buys up to the size.
    Buy,
    /// Be short: closes a long, then sells up to the size.
    Sell,
    /// Be flat.
    Close,
}

/// How large the position should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Size {
    /// So many units of the base (shares, coins, contracts).
    Quantity(Decimal),
    /// So much value, in the settlement currency.
    Notional(Decimal),
    /// So many percent of the account's equity at the time of the decision.
    PercentOfEquity(Decimal),
}

impl std::str::FromStr for Size {
    type Err = crate::ValueError;

    /// Reads `100` (units), `5000 USD` or `$5000` (value), `25%` (of equity).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let refuse =
            |why: &str| crate::ValueError::new("size", "value", text, crate::ValueReason::Other(why.into()));
        let (number, size): (&str, fn(Decimal) -> Self) = if let Some(number) = trimmed.strip_suffix('%') {
            (number, Self::PercentOfEquity)
        } else if let Some(number) = trimmed.strip_prefix('$') {
            (number, Self::Notional)
        } else if let Some((number, currency)) = trimmed.split_once(' ') {
            crate::Currency::new(currency.trim()).map_err(|e| refuse(&e.reason.to_string()))?;
            (number, Self::Notional)
        } else {
            (trimmed, Self::Quantity)
        };
        let number: Decimal = number.trim().parse().map_err(|_| {
            refuse("is not a size such as 100 (units), 5000 USD or $5000 (value), or 25% (of equity)")
        })?;
        if number <= Decimal::ZERO {
            return Err(refuse("must be above zero"));
        }
        Ok(size(number))
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quantity(n) => write!(f, "{n}"),
            Self::Notional(n) => write!(f, "${n}"),
            Self::PercentOfEquity(n) => write!(f, "{n}%"),
        }
    }
}

/// A signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Unique within its source: derived from the journal position in-house, given by the sender otherwise.
    pub id: String,
    /// Where it comes from.
    pub source: SignalSource,
    /// The strategy's index in the cell, when it runs there.
    pub strategy: Option<StrategyIndex>,
    /// The strategy's id, as its author or the sender calls it.
    pub strategy_id: String,
    /// The strategy's version.
    pub strategy_version: String,
    /// The strategy's name, for people.
    pub strategy_name: String,
    /// The instrument.
    pub instrument: InstrumentId,
    /// What it wants.
    pub side: SignalSide,
    /// How large; the account's own sizing where it does not say.
    pub size: Option<Size>,
    /// The price at which the sender saw it, for slippage statistics and the price collar.
    pub price: Option<Decimal>,
    /// A limit for the entry; market where it does not say.
    pub limit_price: Option<Decimal>,
    /// A protective stop.
    pub stop_loss: Option<Decimal>,
    /// A profit target.
    pub take_profit: Option<Decimal>,
    /// After this it must not be acted on.
    pub expires: Option<Timestamp>,
    /// When the decision was made.
    pub ts_event: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!("100".parse::<Size>().unwrap(), Size::Quantity(100.into()));
        assert_eq!("100%".parse::<Size>().unwrap(), Size::PercentOfEquity(100.into()));
        assert_eq!("$5000".parse::<Size>().unwrap(), Size::Notional(5000.into()));
        assert_eq!("5000 USDT".parse::<Size>().unwrap(), Size::Notional(5000.into()));
        for bad in ["", "0", "-5", "ten", "5 usd", "5%%", "$"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
