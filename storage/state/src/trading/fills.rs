//! Fills.

use super::{FillRow, Which};
use crate::database::State;
use crate::error::StateError;
use crate::select::{Cursor, Select};

const ALL: &str = "SELECT account, seq, order_id, session, symbol, strategy, side, price, qty, fee, liquidity, position_qty,
    cash, ts FROM fills";

impl State {
    /// The number of the last fill of an account that is in the tables; 0 before the first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_fill(&self, account: &str) -> Result<u64, StateError> {
        self.last_number("SELECT COALESCE(MAX(seq), 0) FROM fills WHERE account = $1", account).await
    }

    /// Fills of an account behind one of this number, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn fills_after(&self, account: &str, seq: i64, limit: u32) -> Result<Vec<FillRow>, StateError> {
        let select = Select::from(ALL).and("account = ?", account).and("seq > ?", seq);
        select.ending(&format!("ORDER BY seq LIMIT {limit}")).fetch(self).await
    }

    /// Fills, the newest first; `order` are those of an order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn fills(
        &self,
        which: Which<'_>,
        order: Option<i64>,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Vec<FillRow>, StateError> {
        let select = which.on(Select::from(ALL), "ts").and_if("order_id = ?", order);
        select.page(["ts", "seq", "account"], cursor, limit).fetch(self).await
    }
}
