//! The rows: decimals as texts, as they stand on the bus; times in nanoseconds since 1970-01-01 UTC; yes and no as 1 and 0.

use sqlx::FromRow;

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)] // as on the bus
pub struct OrderRow {
    pub account: String,
    pub order_id: i64,
    pub session: String,
    pub symbol: String,
    pub strategy: Option<String>,
    pub side: String,
    pub kind: String,
    pub qty: String,
    pub price: Option<String>,
    /// What sets a stop off.
    pub stop_trigger: Option<String>,
    pub filled: String,
    pub average_price: Option<String>,
    pub time_in_force: String,
    pub expires: Option<i64>,
    pub execution: String,
    pub reduce_only: i64,
    pub post_only: i64,
    pub parent: Option<i64>,
    pub status: String,
    /// Why it is so, where there is a reason.
    pub reason: Option<String>,
    pub created: i64,
    pub updated: i64,
}

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)]
pub struct OrderEventRow {
    pub account: String,
    /// Its number among the account's records.
    pub seq: i64,
    pub order_id: i64,
    pub event: String,
    pub status: String,
    pub reason: Option<String>,
    pub filled: String,
    pub ts: i64,
}

/// A fill.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)]
pub struct FillRow {
    pub account: String,
    pub seq: i64,
    pub order_id: i64,
    pub session: String,
    pub symbol: String,
    pub strategy: Option<String>,
    pub side: String,
    pub price: String,
    pub qty: String,
    pub fee: String,
    pub liquidity: String,
    /// The account's position in the instrument after it.
    pub position_qty: String,
    /// The account's cash after it.
    pub cash: String,
    pub ts: i64,
}

/// A position, as the last fill left it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)]
pub struct PositionRow {
    pub account: String,
    pub symbol: String,
    pub qty: String,
    pub cost: String,
    pub realized: String,
    pub fees: String,
    pub updated: i64,
}

/// A round trip.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)]
pub struct TradeRow {
    pub account: String,
    /// The number of the fill that ended it.
    pub seq: i64,
    pub session: String,
    pub symbol: String,
    pub strategy: Option<String>,
    /// `long` or `short`.
    pub side: String,
    pub qty: String,
    pub entry_time: i64,
    pub exit_time: i64,
    pub entry_price: String,
    pub exit_price: String,
    /// Before fees and dividends.
    pub pnl: String,
    pub fees: String,
    pub dividends: String,
    /// After fees, with dividends.
    pub pnl_net: String,
}

/// A point of an equity curve.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)]
pub struct EquityRow {
    pub account: String,
    pub ts: i64,
    pub cash: String,
    pub equity: String,
}
