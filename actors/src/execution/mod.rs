//! From a decision to an order, and what is known of the orders on their way.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`OrderRequest`], [`VenueCommand`], [`IdMint`] |
//! | `sizing.rs` | from a size (quantity, value, percent of equity) to a quantity on the lot |
//! | `desk.rs` | signals that wait until earlier orders are out of the way |
//! | `open_orders.rs` | the orders that are not closed yet |
//! | `costs.rs` | fees and slippage |

pub mod costs;
mod desk;
mod open_orders;
mod sizing;

pub use desk::Desk;
pub use open_orders::OpenOrders;
pub use sizing::quantity_for;

use serde::{Deserialize, Serialize};
use tradeflow_model::order::Execution;
use tradeflow_model::{InstrumentId, Order, OrderId, OrderKind, Price, Qty, Side, TimeInForce};

use crate::actor::Fault;

/// An order that someone wants, before the risk gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// The instrument.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Price conditions.
    pub kind: OrderKind,
    /// Continuous trading or an auction.
    pub execution: Execution,
    /// How long it stands.
    pub time_in_force: TimeInForce,
    /// Quantity.
    pub qty: Qty,
    /// It may only make a position smaller.
    pub reduce_only: bool,
    /// It may not take liquidity.
    pub post_only: bool,
    /// With its first fill a stop is placed here that closes what it opened.
    pub stop_loss: Option<Price>,
    /// With its first fill a limit is placed here that closes what it opened; stop and limit cancel each other.
    pub take_profit: Option<Price>,
}

impl OrderRequest {
    /// A market order, good till cancelled.
    pub fn market(instrument: InstrumentId, side: Side, qty: Qty) -> Self {
        Self {
            instrument,
            side,
            kind: OrderKind::Market,
            execution: Execution::Continuous,
            time_in_force: TimeInForce::Gtc,
            qty,
            reduce_only: false,
            post_only: false,
            stop_loss: None,
            take_profit: None,
        }
    }

    /// A limit order, good till cancelled.
    pub fn limit(instrument: InstrumentId, side: Side, qty: Qty, price: Price) -> Self {
        Self { kind: OrderKind::Limit { price }, ..Self::market(instrument, side, qty) }
    }

    /// A stop order, good till cancelled.
    pub fn stop(instrument: InstrumentId, side: Side, qty: Qty, trigger: Price) -> Self {
        Self { kind: OrderKind::Stop { trigger }, ..Self::market(instrument, side, qty) }
    }

    /// This order with protective exits.
    pub fn with_bracket(self, stop_loss: Option<Price>, take_profit: Option<Price>) -> Self {
        Self { stop_loss, take_profit, ..self }
    }
}

/// What the router tells a venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VenueCommand {
    /// A new order.
    Submit(Order),
    /// Change a working order.
    Modify {
        /// Which.
        order: OrderId,
        /// New quantity.
        qty: Qty,
        /// New limit price, for an order that has one.
        price: Option<Price>,
        /// New trigger, for an order that has one.
        trigger: Option<Price>,
    },
    /// Cancel a working order.
    Cancel(OrderId),
}

/// Mints client order ids for one input (see [`OrderId`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMint {
    position: u64,
    index: u64,
}

impl IdMint {
    /// For the input at `position` of the journal.
    pub fn new(position: u64) -> Self {
        Self { position, index: 0 }
    }

    /// The journal position.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next id.
    ///
    /// # Errors
    /// When one input causes more than [`OrderId::PER_INPUT_MAX`] orders.
    pub fn next_id(&mut self) -> Result<OrderId, Fault> {
        let id = OrderId::derive(self.position, self.index).ok_or_else(|| {
            Fault::new(format!(
                "the input at journal position {} causes more than {} orders",
                self.position,
                OrderId::PER_INPUT_MAX
            ))
        })?;
        self.index += 1;
        Ok(id)
    }
}
