//! What happens to orders.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::fixed::{Price, Qty};
use crate::ids::OrderId;
use crate::money::Money;
use crate::order::Side;
use crate::time::Timestamp;

/// Whether a fill took liquidity from the book or had been resting in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liquidity {
    /// It had been resting.
    Maker,
    /// It crossed the spread.
    Taker,
}

/// An execution of an order or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// Buy or sell, as the order.
    pub side: Side,
    /// The price, slippage included.
    pub price: Price,
    /// The quantity, above zero.
    pub qty: Qty,
    /// The fee, in the settlement currency; negative for a rebate.
    pub fee: Money,
    /// Maker or taker.
    pub liquidity: Liquidity,
}

/// Why our own risk gate or router refused an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DenyReason {
    /// The size comes to less than one lot.
    SizeRoundsToZero,
    /// The named rule, and what it says.
    Rule {
        /// The rule's name, as in the configuration.
        rule: String,
        /// What was too much, with the numbers.
        detail: String,
    },
    /// Price, quantity or another field does not fit the instrument.
    Invalid(String),
}

/// Why the venue refused an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectReason {
    /// It would have taken liquidity and must not.
    PostOnlyWouldTake,
    /// It may only reduce a position, and there is none to reduce.
    NothingToReduce,
    /// Not enough cash or margin.
    InsufficientFunds,
    /// The venue does not take such an order.
    Unsupported(String),
    /// The instrument does not trade any more.
    Expired,
    /// The venue is down or overloaded.
    Unavailable,
    /// In the venue's own words.
    Other(String),
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// We asked for it.
    Requested,
    /// Immediate or fill-or-kill, and the rest did not trade.
    Immediate,
    /// The other order of its OCO group traded, or its parent ended unfilled.
    Contingent,
    /// It could only have enlarged or turned a position it was to reduce.
    ReduceOnly,
    /// Cash or margin did not suffice for the rest.
    InsufficientFunds,
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SizeRoundsToZero => f.write_str("the size comes to less than one lot"),
            Self::Rule { rule, detail } => write!(f, "{rule}: {detail}"),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PostOnlyWouldTake => f.write_str("post-only, and it would have taken liquidity"),
            Self::NothingToReduce => f.write_str("reduce-only, and there is no position to reduce"),
            Self::InsufficientFunds => f.write_str("not enough cash or margin"),
            Self::Unsupported(what) => write!(f, "the venue does not take {what}"),
            Self::Expired => f.write_str("the instrument has expired"),
            Self::Unavailable => f.write_str("the venue is not available"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "requested",
            Self::Immediate => "the rest did not trade at once",
            Self::Contingent => "the order it hung on ended",
            Self::ReduceOnly => "nothing left to reduce",
            Self::InsufficientFunds => "not enough cash or margin for the rest",
        })
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderEventKind {
    /// It left for the venue.
    Submitted,
    /// We refused it; it never left.
    Denied(DenyReason),
    /// The venue has it.
    Accepted,
    /// The venue refused it.
    Rejected(RejectReason),
    /// Its stop was set off.
    Triggered,
    /// A part traded.
    PartiallyFilled(Fill),
    /// The rest traded.
    Filled(Fill),
    /// The venue changed it as asked.
    Modified {
        /// The new quantity.
        qty: Qty,
        /// The new limit price, where it has one.
        price: Option<Price>,
        /// The new trigger, where it has one.
        trigger: Option<Price>,
    },
    /// We asked to cancel it.
    CancelRequested,
    /// It is cancelled.
    Cancelled(EndReason),
    /// Its time ran out.
    Expired,
}

impl OrderEventKind {
    /// The name, as it stands in files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Denied(_) => "denied",
            Self::Accepted => "accepted",
            Self::Rejected(_) => "rejected",
            Self::Triggered => "triggered",
            Self::PartiallyFilled(_) => "partially-filled",
            Self::Filled(_) => "filled",
            Self::Modified { .. } => "modified",
            Self::CancelRequested => "cancel-requested",
            Self::Cancelled(_) => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The fill, where it is one.
    pub fn fill(&self) -> Option<&Fill> {
        match self {
            Self::PartiallyFilled(fill) | Self::Filled(fill) => Some(fill),
            _ => None,
        }
    }
}

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEvent {
    /// The order.
    pub order: OrderId,
    /// When it happened, at the venue where it is the venue's doing. A market order that fills at a bar's open has
    /// the open's time here, though the bar is known only at its close.
    pub ts_event: Timestamp,
    /// When we learnt of it.
    pub ts_init: Timestamp,
    /// What happened.
    pub kind: OrderEventKind,
}
