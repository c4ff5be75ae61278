//! Tokens with which a forgotten password is set anew: good once, for a short time.

use sqlx::Row;
use tradeflow_model::Timestamp;
use tradeflow_model::time::NANOS_PER_SEC;

use crate::database::State;
use crate::error::StateError;
use crate::token::{Token, TokenKind, hash};

/// For so long a token is good.
const LIFETIME: i64 = 1800 * NANOS_PER_SEC;

impl State {
    /// A token for a user; earlier ones are void.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_reset(&self, now: Timestamp, user: &str) -> Result<Token, StateError> {
        let token = Token::new(TokenKind::Reset);
        let mut transaction = self.begin().await?;
        let old = sqlx::query("DELETE FROM reset_tokens WHERE user_id = $1 OR expires < $2");
        old.bind(user).bind(now.as_nanos()).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO reset_tokens (hash, user_id, expires) VALUES ($1, $2, $3)")
            .bind(token.hash())
            .bind(user)
            .bind(now.saturating_add(LIFETIME).as_nanos())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(token)
    }

    /// Whose token this is; `None` when it is no one's, was used, or is too old.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reset_of(&self, now: Timestamp, token: &str) -> Result<Option<String>, StateError> {
        let found = sqlx::query("SELECT user_id FROM reset_tokens WHERE hash = $1 AND expires >= $2");
        let row = found.bind(hash(token)).bind(now.as_nanos()).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}
