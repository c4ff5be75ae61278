//! Who did what.

use sqlx::Row;
use tradeflow_model::Timestamp;
use uuid::Uuid;

use crate::database::State;
use crate::error::StateError;

/// Something that was done, or tried.
#[derive(Debug, Clone, Copy)]
pub struct NewAudit<'a> {
    /// Who; `None` when no one is known.
    pub user: Option<&'a str>,
    /// His email, or what was given as one.
    pub actor: &'a str,
    /// What, such as `auth.login`.
    pub action: &'a str,
    /// With what, such as an account.
    pub object: &'a str,
    /// What came of it: `done`, or why not.
    pub outcome: &'a str,
    /// From where.
    pub address: &'a str,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // as in `NewAudit`
pub struct AuditEntry {
    /// Its id; later entries have greater ones.
    pub id: String,
    pub ts: Timestamp,
    pub user: Option<String>,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub outcome: String,
    pub address: String,
}

/// Which entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter<'a> {
    /// Those of a user.
    pub user: Option<&'a str>,
    /// Those whose action begins so.
    pub action: Option<&'a str>,
    /// Those older than the one with this id.
    pub before: Option<&'a str>,
}

impl State {
    /// Adds an entry.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_audit(&self, now: Timestamp, new: NewAudit<'_>) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO audit_log (id, ts, user_id, actor, action, object, outcome, address)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(now.as_nanos())
        .bind(new.user)
        .bind(new.actor)
        .bind(new.action)
        .bind(new.object)
        .bind(new.outcome)
        .bind(new.address)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Entries, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit(&self, filter: AuditFilter<'_>, limit: u32) -> Result<Vec<AuditEntry>, StateError> {
        let rows = sqlx::query(
            "SELECT id, ts, user_id, actor, action, object, outcome, address FROM audit_log
             WHERE ($1 = '' OR user_id = $1) AND ($2 = '' OR substr(action, 1, length($2)) = $2) AND ($3 = '' OR id < $3)
             ORDER BY id DESC LIMIT $4",
        )
        .bind(filter.user.unwrap_or_default())
        .bind(filter.action.unwrap_or_default())
        .bind(filter.before.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(AuditEntry {
                    id: row.try_get(0)?,
                    ts: Timestamp::from_nanos(row.try_get(1)?),
                    user: row.try_get(2)?,
                    actor: row.try_get(3)?,
                    action: row.try_get(4)?,
                    object: row.try_get(5)?,
                    outcome: row.try_get(6)?,
                    address: row.try_get(7)?,
                })
            })
            .collect()
    }

    /// Removes entries that are older.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim_audit(&self, before: Timestamp) -> Result<u64, StateError> {
        let removed = sqlx::query("DELETE FROM audit_log WHERE ts < $1").bind(before.as_nanos());
        Ok(removed.execute(&self.pool).await?.rows_affected())
    }
}
