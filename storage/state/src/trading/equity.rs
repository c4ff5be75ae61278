//! Equity curves.

use super::EquityRow;
use crate::database::State;
use crate::error::StateError;
use crate::select::Select;

impl State {
    /// The highest equity of an account from a time on, or of all time; none where there is no point.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn peak_equity(&self, account: &str, from: Option<i64>) -> Result<Option<String>, StateError> {
        // Texts are not in the order of numbers; of two that are equal as such, either is the highest.
        let rows: Vec<EquityRow> = Select::from("SELECT account, ts, cash, equity FROM equity")
            .and("account = ?", account)
            .and_if("ts >= ?", from)
            .ending("ORDER BY CAST(equity AS DOUBLE PRECISION) DESC LIMIT 1")
            .fetch(self)
            .await?;
        Ok(rows.into_iter().next().map(|row| row.equity))
    }

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
