//! Orders.

use super::{OrderEventRow, OrderRow, Which};
use crate::database::State;
use crate::error::StateError;
use crate::select::{Cursor, Select};

const ALL: &str = "SELECT account, order_id, session, symbol, strategy, side, kind, qty, price, stop_trigger, filled,
    average_price, time_in_force, expires, execution, reduce_only, post_only, parent, status, reason, created, updated
    FROM orders";

impl State {
    /// Orders, the newest first; `open` are those that stand, or those that do not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn orders(
        &self,
        which: Which<'_>,
        open: Option<bool>,
        status: Option<&str>,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Vec<OrderRow>, StateError> {
        const ENDED: &str = "('denied', 'rejected', 'cancelled', 'expired', 'filled')";
        let mut select = which.on(Select::from(ALL), "created").and_if("status = ?", status);
        select = match open {
            Some(true) => select.ending(&format!("AND status NOT IN {ENDED}")),
            Some(false) => select.ending(&format!("AND status IN {ENDED}")),
            None => select,
        };
        select.page(["created", "order_id", "account"], cursor, limit).fetch(self).await
    }

    /// An order.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub async fn order(&self, account: &str, order_id: i64) -> Result<OrderRow, StateError> {
        let found = Select::from(ALL).and("account = ?", account).and("order_id = ?", order_id);
        found.fetch(self).await?.pop().ok_or(StateError::Missing("order"))
    }

    /// The number of the last change of an order of an account that is in the tables; 0 before the first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_order_event(&self, account: &str) -> Result<u64, StateError> {
        self.last_number("SELECT COALESCE(MAX(seq), 0) FROM order_events WHERE account = $1", account).await
    }

    pub(super) async fn last_number(&self, query: &'static str, account: &str) -> Result<u64, StateError> {
        let (last,): (i64,) = sqlx::query_as(query).bind(account).fetch_one(&self.pool).await?;
        Ok(last as u64)
    }

    /// What happened to an order, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn order_events(&self, account: &str, order_id: i64) -> Result<Vec<OrderEventRow>, StateError> {
        Select::from("SELECT account, seq, order_id, event, status, reason, filled, ts FROM order_events")
            .and("account = ?", account)
            .and("order_id = ?", order_id)
            .ending("ORDER BY seq")
            .fetch(self)
            .await
    }
}
