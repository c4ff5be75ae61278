//! Who did what.

use sqlx::FromRow;
use tradeflow_model::Timestamp;
use uuid::Uuid;

use crate::database::State;
use crate::error::StateError;
use crate::select::Select;

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
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)] // as in `NewAudit`
pub struct AuditEntry {
    /// Its id; later entries have greater ones.
    pub id: String,
    /// When, in nanoseconds since 1970-01-01 UTC.
    pub ts: i64,
    #[sqlx(rename = "user_id")]
    pub user: Option<String>,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub outcome: String,
    pub address: String,
    /// Of a command to a cell: what was sent, and the orders that it made, as a JSON object.
    pub detail: Option<String>,
}

/// Which entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter<'a> {
    /// Those of a user.
    pub user: Option<&'a str>,
    /// Those whose action begins so.
    pub action: Option<&'a str>,
    /// Those with this object, such as an account.
    pub object: Option<&'a str>,
    /// Those from this time on, in nanoseconds.
    pub from: Option<i64>,
    /// Those before this time.
    pub to: Option<i64>,
    /// Those older than the one with this id.
    pub before: Option<&'a str>,
}

impl State {
    /// Adds an entry.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_audit(&self, now: Timestamp, new: NewAudit<'_>) -> Result<(), StateError> {
        self.add_command_audit(now, new, None).await
    }

    /// Adds the entry of a command to a cell: `detail` is what was sent, and what orders it made, as a JSON object.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_command_audit(
        &self,
        now: Timestamp,
        new: NewAudit<'_>,
        detail: Option<&str>,
    ) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO audit_log (id, ts, user_id, actor, action, object, outcome, address, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(now.as_nanos())
        .bind(new.user)
        .bind(new.actor)
        .bind(new.action)
        .bind(new.object)
        .bind(new.outcome)
        .bind(new.address)
        .bind(detail)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Entries, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit(&self, filter: AuditFilter<'_>, limit: u32) -> Result<Vec<AuditEntry>, StateError> {
        Select::from("SELECT id, ts, user_id, actor, action, object, outcome, address, detail FROM audit_log")
            .and_if("user_id = ?", filter.user)
            .and_if("substr(action, 1, length(?)) = ?", filter.action)
            .and_if("object = ?", filter.object)
            .and_if("ts >= ?", filter.from)
            .and_if("ts < ?", filter.to)
            .and_if("id < ?", filter.before)
            .ending(&format!("ORDER BY id DESC LIMIT {limit}"))
            .fetch(self)
            .await
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
