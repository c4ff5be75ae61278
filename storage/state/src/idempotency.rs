//! Writes that are done once, however often they are sent.
//!
//! A client gives a write a key of its own. The first time the key is kept, with the id of the command that it becomes;
//! sent again, it gets the same answer, or becomes the same command, which a cell takes once.

use sqlx::Row;
use tradeflow_model::Timestamp;

use crate::database::State;
use crate::error::StateError;

/// What is known of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is new, or has no answer yet: do it, under this command id.
    Do(String),
    /// It was done: this was answered.
    Done(Written),
    /// The key was used for something else.
    Other,
}

/// An answer that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Keys are kept for a day.
const KEPT: i64 = 86_400 * tradeflow_model::time::NANOS_PER_SEC;

impl State {
    /// Begins a write. `fingerprint` is of all that makes it what it is; `command` the id that it gets if it is new.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_write(
        &self,
        now: Timestamp,
        user: &str,
        key: &str,
        fingerprint: &str,
        command: &str,
    ) -> Result<Begun, StateError> {
        let mut transaction = self.begin().await?;
        let old = sqlx::query("DELETE FROM idempotency_keys WHERE created < $1");
        old.bind(now.saturating_add(-KEPT).as_nanos()).execute(&mut *transaction).await?;
        let added = sqlx::query(
            "INSERT INTO idempotency_keys (user_id, idempotency_key, fingerprint, command_id, created)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id, idempotency_key) DO NOTHING",
        )
        .bind(user)
        .bind(key)
        .bind(fingerprint)
        .bind(command)
        .bind(now.as_nanos())
        .execute(&mut *transaction)
        .await?;
        if added.rows_affected() > 0 {
            transaction.commit().await?;
            return Ok(Begun::Do(command.to_owned()));
        }
        let row = sqlx::query(
            "SELECT fingerprint, command_id, status, body FROM idempotency_keys WHERE user_id = $1 AND idempotency_key = $2",
        )
        .bind(user)
        .bind(key)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        if row.try_get::<String, _>(0)? != fingerprint {
            return Ok(Begun::Other);
        }
        Ok(match (row.try_get::<Option<i64>, _>(2)?, row.try_get::<Option<String>, _>(3)?) {
            (Some(status), Some(body)) => {
                Begun::Done(Written { status: u16::try_from(status).unwrap_or(500), body })
            }
            _ => Begun::Do(row.try_get(1)?),
        })
    }

    /// Keeps the answer to a write; the first one stays.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn end_write(&self, user: &str, key: &str, written: &Written) -> Result<(), StateError> {
        sqlx::query(
            "UPDATE idempotency_keys SET status = $3, body = $4 WHERE user_id = $1 AND idempotency_key = $2
             AND status IS NULL",
        )
        .bind(user)
        .bind(key)
        .bind(i64::from(written.status))
        .bind(&written.body)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
