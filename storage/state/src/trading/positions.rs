//! Positions.

use super::PositionRow;
use crate::database::State;
use crate::error::StateError;
use crate::select::Select;

impl State {
    /// An account's positions as the last fills left them, closed ones included, by symbol.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn positions(&self, account: &str) -> Result<Vec<PositionRow>, StateError> {
        Select::from("SELECT account, symbol, qty, cost, realized, fees, updated FROM positions")
            .and("account = ?", account)
            .ending("ORDER BY symbol")
            .fetch(self)
            .await
    }
}
