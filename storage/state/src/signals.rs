//! Signals from outside, and what became of each.

use sqlx::FromRow;
use tradeflow_model::Timestamp;

use crate::database::State;
use crate::error::StateError;
use crate::select::Select;
use crate::trading::Which;

/// A signal. Decimals are texts, times nanoseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)] // as in the model
pub struct SignalRow {
    /// Its id; later ones have greater ones.
    pub id: String,
    pub account: String,
    /// Whose: who sent it, or whose webhook key it came with.
    pub user_id: String,
    pub source: String,
    pub strategy_id: String,
    pub strategy_version: String,
    pub strategy_name: String,
    pub symbol: String,
    pub side: String,
    pub size: Option<String>,
    pub price: Option<String>,
    pub limit_price: Option<String>,
    pub stop_loss: Option<String>,
    pub take_profit: Option<String>,
    pub ts_event: i64,
    pub expires: Option<i64>,
    pub created: i64,
    /// `new` (it waits for someone), `queued` (it is being executed), `executed`, `refused`, `expired` or `cancelled`.
    pub status: String,
    /// Why it was refused.
    pub reason: Option<String>,
    /// The orders that it made, with blanks between.
    pub order_ids: String,
    /// When it was executed, refused or cancelled.
    pub decided: Option<i64>,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The new status.
    pub status: &'a str,
    /// Why, where it was refused.
    pub reason: Option<&'a str>,
    /// The orders that it made, with blanks between.
    pub order_ids: &'a str,
}

const ALL: &str = "SELECT id, account, user_id, source, strategy_id, strategy_version, strategy_name, symbol, side, size, price,
    limit_price, stop_loss, take_profit, ts_event, expires, created, status, reason, order_ids, decided FROM signals";

impl State {
    /// Keeps a signal. With `seen`, the hash of an alert and the time since which one with the same hash is the same:
    /// when there was one, nothing is kept, and the answer is its signal's id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_signal(
        &self,
        row: &SignalRow,
        seen: Option<(&str, Timestamp)>,
    ) -> Result<Option<String>, StateError> {
        let mut transaction = self.begin().await?;
        if let Some((hash, since)) = seen {
            let first = sqlx::query(
                "INSERT INTO webhook_seen (hash, ts, signal_id) VALUES ($1, $2, $3)
                 ON CONFLICT (hash) DO UPDATE SET ts = excluded.ts, signal_id = excluded.signal_id
                 WHERE webhook_seen.ts < $4",
            )
            .bind(hash)
            .bind(row.created)
            .bind(&row.id)
            .bind(since.as_nanos())
            .execute(&mut *transaction)
            .await?;
            if first.rows_affected() == 0 {
                let (signal,): (String,) =
                    sqlx::query_as("SELECT signal_id FROM webhook_seen WHERE hash = $1")
                        .bind(hash)
                        .fetch_one(&mut *transaction)
                        .await?;
                return Ok(Some(signal));
            }
        }
        sqlx::query(
            "INSERT INTO signals (id, account, user_id, source, strategy_id, strategy_version, strategy_name, symbol, side, size,
                 price, limit_price, stop_loss, take_profit, ts_event, expires, created, status, reason, order_ids, decided)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
        )
        .bind(&row.id)
        .bind(&row.account)
        .bind(&row.user_id)
        .bind(&row.source)
        .bind(&row.strategy_id)
        .bind(&row.strategy_version)
        .bind(&row.strategy_name)
        .bind(&row.symbol)
        .bind(&row.side)
        .bind(&row.size)
        .bind(&row.price)
        .bind(&row.limit_price)
        .bind(&row.stop_loss)
        .bind(&row.take_profit)
        .bind(row.ts_event)
        .bind(row.expires)
        .bind(row.created)
        .bind(&row.status)
        .bind(&row.reason)
        .bind(&row.order_ids)
        .bind(row.decided)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(None)
    }

    /// Signals, the newest first, of these statuses; `before` is the id of the last one of the page before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn signals(
        &self,
        which: Which<'_>,
        statuses: Option<&[String]>,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SignalRow>, StateError> {
        Select::from(ALL)
            .among("account", which.accounts)
            .and_if("symbol = ?", which.symbol)
            .and_if("strategy_id = ?", which.strategy)
            .and_if("side = ?", which.side)
            .and_if("created >= ?", which.from)
            .and_if("created < ?", which.to)
            .among("status", statuses)
            .and_if("id < ?", before)
            .ending(&format!("ORDER BY id DESC LIMIT {limit}"))
            .fetch(self)
            .await
    }

    /// A signal.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub async fn signal(&self, id: &str) -> Result<SignalRow, StateError> {
        let found = Select::from(ALL).and("id = ?", id).fetch(self).await?.pop();
        found.ok_or(StateError::Missing("signal"))
    }

    /// Changes what became of a signal, if it is one of `from`; whether it was.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn decide_signal(
        &self,
        now: Timestamp,
        id: &str,
        from: &str,
        outcome: Outcome<'_>,
    ) -> Result<bool, StateError> {
        let changed = sqlx::query(
            "UPDATE signals SET status = $3, reason = $4, order_ids = $5, decided = $6 WHERE id = $1 AND status = $2",
        )
        .bind(id)
        .bind(from)
        .bind(outcome.status)
        .bind(outcome.reason)
        .bind(outcome.order_ids)
        .bind(now.as_nanos())
        .execute(&self.pool)
        .await?;
        Ok(changed.rows_affected() > 0)
    }
}
