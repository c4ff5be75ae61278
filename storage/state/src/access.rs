//! Whom an account is shown to. Managers and administrators see all of them.

use sqlx::Row;

use crate::database::State;
use crate::error::StateError;

impl State {
    /// The accounts of a user, in the order of their names.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn accounts_of(&self, user: &str) -> Result<Vec<String>, StateError> {
        let rows = sqlx::query("SELECT account FROM account_access WHERE user_id = $1 ORDER BY account");
        let rows = rows.bind(user).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Whether an account is a user's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_access(&self, user: &str, account: &str) -> Result<bool, StateError> {
        let row = sqlx::query("SELECT account FROM account_access WHERE user_id = $1 AND account = $2");
        Ok(row.bind(user).bind(account).fetch_optional(&self.pool).await?.is_some())
    }

    /// The ids of the users who have an account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn users_of(&self, account: &str) -> Result<Vec<String>, StateError> {
        let rows = sqlx::query("SELECT user_id FROM account_access WHERE account = $1 ORDER BY user_id");
        let rows = rows.bind(account).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Gives a user an account.
    ///
    /// # Errors
    /// [`StateError::Missing`] when there is no such user.
    pub async fn grant_access(&self, user: &str, account: &str) -> Result<(), StateError> {
        let granted = sqlx::query(
            "INSERT INTO account_access (account, user_id) VALUES ($1, $2) ON CONFLICT (account, user_id) DO NOTHING",
        );
        match granted.bind(account).bind(user).execute(&self.pool).await {
            Err(error) if error.as_database_error().is_some_and(|error| error.is_foreign_key_violation()) => {
                Err(StateError::Missing("user"))
            }
            result => Ok(result.map(drop)?),
        }
    }

    /// Takes an account from a user.
    ///
    /// # Errors
    /// [`StateError::Missing`] when he does not have it.
    pub async fn revoke_access(&self, user: &str, account: &str) -> Result<(), StateError> {
        let revoked = sqlx::query("DELETE FROM account_access WHERE user_id = $1 AND account = $2");
        match revoked.bind(user).bind(account).execute(&self.pool).await?.rows_affected() {
            0 => Err(StateError::Missing("access")),
            _ => Ok(()),
        }
    }
}
