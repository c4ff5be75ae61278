//! Orders: what is asked of a venue, what the venue says of it, and the state machine between the two.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Order`], [`OrderKind`], [`TimeInForce`], [`Execution`] |
//! | `event.rs` | [`OrderEvent`], [`Fill`], the reasons |
//! | `state.rs` | [`OrderStatus`] and the transitions, with their table |

mod event;
mod state;

pub use event::{DenyReason, EndReason, Fill, Liquidity, OrderEvent, OrderEventKind, RejectReason};
pub use state::{OrderStatus, TransitionError};

use serde::{Deserialize, Serialize};

use crate::fixed::{Price, Qty};
use crate::ids::{InstrumentId, OrderId, StrategyIndex};
use crate::time::Timestamp;

/// Buy or sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Buy.
    Buy,
    /// Sell.
    Sell,
}

impl Side {
    /// The other side.
    #[inline]
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// +1 for buy, −1 for sell.
    #[inline]
    pub fn sign(self) -> i64 {
        match self {
            Self::Buy => 1,
            Self::Sell => -1,
        }
    }

    /// The side that moves a position by `qty` (its sign); `None` for zero.
    pub fn of_change(qty: Qty) -> Option<Self> {
        match qty.raw() {
            0 => None,
            raw if raw > 0 => Some(Self::Buy),
            _ => Some(Self::Sell),
        }
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// How far a trailing stop stays behind the best price since it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrailOffset {
    /// A distance in price.
    Price(Price),
    /// A distance in basis points of the best price.
    Bps(u32),
}

/// The price conditions of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// At the best price there is.
    Market,
    /// At `price` or better.
    Limit {
        /// The worst price accepted.
        price: Price,
    },
    /// Market once the price reaches `trigger` (from below for a buy, from above for a sell).
    Stop {
        /// The price that sets it off.
        trigger: Price,
    },
    /// Limit at `price` once the price reaches `trigger`.
    StopLimit {
        /// The price that sets it off.
        trigger: Price,
        /// The worst price accepted then.
        price: Price,
    },
    /// Stop whose trigger follows the price at a distance.
    TrailingStop {
        /// The distance.
        offset: TrailOffset,
        /// The trigger now; moved by the venue.
        trigger: Option<Price>,
    },
}

impl OrderKind {
    /// The name, as it stands in files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Limit { .. } => "limit",
            Self::Stop { .. } => "stop",
            Self::StopLimit { .. } => "stop-limit",
            Self::TrailingStop { .. } => "trailing-stop",
        }
    }

    /// The limit price, where it has one.
    #[inline]
    pub fn limit_price(&self) -> Option<Price> {
        match *self {
            Self::Limit { price } | Self::StopLimit { price, .. } => Some(price),
            _ => None,
        }
    }

    /// The trigger, where it has one.
    #[inline]
    pub fn trigger(&self) -> Option<Price> {
        match *self {
            Self::Stop { trigger } | Self::StopLimit { trigger, .. } => Some(trigger),
            Self::TrailingStop { trigger, .. } => trigger,
            _ => None,
        }
    }
}

/// At which auction an order trades, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Execution {
    /// In continuous trading.
    #[default]
    Continuous,
    /// At the open of the next session.
    OnOpen,
    /// At the close of the session.
    OnClose,
}

/// How long an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeInForce {
    /// Until cancelled.
    #[default]
    Gtc,
    /// Until the session closes.
    Day,
    /// Until an instant.
    Gtd(Timestamp),
    /// What trades at once trades, the rest is cancelled.
    Ioc,
    /// All at once or nothing.
    Fok,
}

impl TimeInForce {
    /// The name, as it stands in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gtc => "gtc",
            Self::Day => "day",
            Self::Gtd(_) => "gtd",
            Self::Ioc => "ioc",
            Self::Fok => "fok",
        }
    }
}

/// An order with all that became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The client order id.
    pub id: OrderId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// The strategy it belongs to; `None` for a person's order.
    pub strategy: Option<StrategyIndex>,
    /// Buy or sell.
    pub side: Side,
    /// Price conditions.
    pub kind: OrderKind,
    /// Continuous trading or an auction.
    pub execution: Execution,
    /// How long it stands.
    pub time_in_force: TimeInForce,
    /// Quantity ordered, above zero.
    pub qty: Qty,
    /// It may only make a position smaller; what would go beyond is cancelled.
    pub reduce_only: bool,
    /// It may not take liquidity; it is rejected where it would.
    pub post_only: bool,
    /// One triggers other: it comes to life with the first fill of this order, for as much as that has filled.
    pub parent: Option<OrderId>,
    /// One cancels other: a fill of one order of the group makes the others as much smaller.
    pub oco_group: Option<OrderId>,
    /// When it left the router.
    pub ts_submitted: Timestamp,
    /// Where it stands.
    pub status: OrderStatus,
    /// Whether we asked to cancel it.
    pub cancel_requested: bool,
    /// Quantity filled.
    pub filled: Qty,
    /// Sum of price × quantity over its fills, raw at price scale + size scale; over `filled` it is the average price.
    pub filled_value: i128,
}

impl Order {
    /// Quantity still to be filled.
    #[inline]
    pub fn leaves(&self) -> Qty {
        Qty::from_raw(self.qty.raw() - self.filled.raw())
    }

    /// Whether nothing can happen to it any more.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.status.is_terminal()
    }

    /// The average price of its fills, rounded half to even at the price scale; `None` before the first.
    pub fn average_price(&self) -> Option<Price> {
        if self.filled.is_zero() {
            return None;
        }
        let raw = crate::money::div_half_even(self.filled_value, i128::from(self.filled.raw()));
        i64::try_from(raw).ok().map(Price::from_raw)
    }
}
