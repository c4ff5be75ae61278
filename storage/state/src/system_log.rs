//! The system log: events of all nodes.

use sqlx::FromRow;
use tradeflow_model::Timestamp;

use crate::database::State;
use crate::error::StateError;
use crate::select::{Select, contains};

/// An event of a node.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct SystemEntry {
    /// Its id; later ones of a node have greater ones.
    pub id: String,
    /// When, in nanoseconds since 1970-01-01 UTC.
    pub ts: i64,
    /// The node's name.
    pub node: String,
    /// 1 an error, 2 a warning, 3 information.
    pub level: i64,
    /// The part of the program.
    pub target: String,
    /// What happened.
    pub message: String,
    /// Its other fields, as a JSON object.
    pub fields: String,
}

/// Which events.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemFilter<'a> {
    /// As grave as this, or graver: 1 errors alone, 3 all.
    pub level: Option<i64>,
    /// Of the parts whose name begins so.
    pub target: Option<&'a str>,
    /// With this text in their message or fields, whatever its case.
    pub text: Option<&'a str>,
    /// From this time on, in nanoseconds.
    pub from: Option<i64>,
    /// Before this time.
    pub to: Option<i64>,
    /// Older than the one with this id.
    pub before: Option<&'a str>,
}

impl State {
    /// Adds events, all of them or none.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_system_entries(&self, entries: &[SystemEntry]) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        for entry in entries {
            sqlx::query(
                "INSERT INTO system_log (id, ts, node, level, target, message, fields) VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (id) DO NOTHING",
            )
            .bind(&entry.id)
            .bind(entry.ts)
            .bind(&entry.node)
            .bind(entry.level)
            .bind(&entry.target)
            .bind(&entry.message)
            .bind(&entry.fields)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Events, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn system_entries(
        &self,
        filter: SystemFilter<'_>,
        limit: u32,
    ) -> Result<Vec<SystemEntry>, StateError> {
        let text = filter.text.map(contains);
        Select::from("SELECT id, ts, node, level, target, message, fields FROM system_log")
            .and_if("level <= ?", filter.level)
            .and_if("substr(target, 1, length(?)) = ?", filter.target)
            .and_if(
                "(lower(message) LIKE lower(?) ESCAPE '!' OR lower(fields) LIKE lower(?) ESCAPE '!')",
                text.as_deref(),
            )
            .and_if("ts >= ?", filter.from)
            .and_if("ts < ?", filter.to)
            .and_if("id < ?", filter.before)
            .ending(&format!("ORDER BY id DESC LIMIT {limit}"))
            .fetch(self)
            .await
    }

    /// Removes events that are older.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim_system_log(&self, before: Timestamp) -> Result<u64, StateError> {
        let removed = sqlx::query("DELETE FROM system_log WHERE ts < $1").bind(before.as_nanos());
        Ok(removed.execute(&self.pool).await?.rows_affected())
    }
}
