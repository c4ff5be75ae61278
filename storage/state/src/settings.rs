//! What users set.

use tradeflow_model::Timestamp;

use crate::database::State;
use crate::error::StateError;

impl State {
    /// What an owner has set: name and JSON. The owner is a user's id, or `global`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn settings(&self, owner: &str) -> Result<Vec<(String, String)>, StateError> {
        let rows = sqlx::query_as("SELECT name, value FROM settings WHERE owner = $1 ORDER BY name");
        Ok(rows.bind(owner).fetch_all(&self.pool).await?)
    }

    /// Sets what has a value, and takes back what has none; all of it or nothing.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn set_settings(
        &self,
        now: Timestamp,
        owner: &str,
        changes: &[(String, Option<String>)],
    ) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        for (name, value) in changes {
            match value {
                Some(value) => sqlx::query(
                    "INSERT INTO settings (owner, name, value, updated) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (owner, name) DO UPDATE SET value = excluded.value, updated = excluded.updated",
                )
                .bind(owner)
                .bind(name)
                .bind(value)
                .bind(now.as_nanos())
                .execute(&mut *transaction),
                None => sqlx::query("DELETE FROM settings WHERE owner = $1 AND name = $2")
                    .bind(owner)
                    .bind(name)
                    .execute(&mut *transaction),
            }
            .await?;
        }
        Ok(transaction.commit().await?)
    }
}
