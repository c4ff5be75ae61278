//! Equity curves.

use super::EquityRow;
use crate::database::State;
use crate::error::StateError;
use crate::select::Select;

impl State {
    /// Points of an account's equity curve from a time on and before another, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn equity(
        &self,
        account: &str,
        from: Option<i64>,
        to: Option<i64>,
    ) -> Result<Vec<EquityRow>, StateError> {
        Select::from("SELECT account, ts, cash, equity FROM equity")
            .and("account = ?", account)
            .and_if("ts >= ?", from)
            .and_if("ts < ?", to)
            .ending("ORDER BY ts")
            .fetch(self)
            .await
    }
}
