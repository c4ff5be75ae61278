//! Jobs: work that takes long. A node takes one for as long as it says that it is alive; a job of a node that is gone is
//! taken by another, and begins anew.

use sqlx::FromRow;
use tradeflow_model::Timestamp;

use crate::database::State;
use crate::error::StateError;
use crate::select::Select;

/// A job. Times are nanoseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)] // as in the table
pub struct JobRow {
    /// Its id; later ones have greater ones.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// `backtest`, `verify` or `fork`.
    pub kind: String,
    pub name: String,
    /// What is wanted.
    pub request: String,
    /// `queued`, `running`, `done`, `failed` or `cancelled`.
    pub status: String,
    pub created: i64,
    pub started: Option<i64>,
    pub ended: Option<i64>,
    /// Of `total`, so much is done.
    pub progress: i64,
    /// 0 before it is known.
    pub total: i64,
    /// Who does it.
    pub node: Option<String>,
    /// Until when no one else may.
    pub lease: i64,
    pub error: Option<String>,
    /// What came of it, as JSON.
    pub result: Option<String>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy)]
pub enum Ended<'a> {
    /// With this, as JSON.
    Done(&'a str),
    /// For this reason.
    Failed(&'a str),
}

const ALL: &str = "SELECT id, user_id, kind, name, request, status, created, started, ended, progress, total, node, lease, error,
    result FROM jobs";

impl State {
    /// Queues a job, unless its user has so many that wait or run: whether it was queued.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_job(&self, row: &JobRow, waiting_max: i64) -> Result<bool, StateError> {
        let mut transaction = self.begin().await?;
        let (waiting,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM jobs WHERE user_id = $1 AND status IN ('queued', 'running')",
        )
        .bind(&row.user_id)
        .fetch_one(&mut *transaction)
        .await?;
        if waiting >= waiting_max {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO jobs (id, user_id, kind, name, request, status, created, progress, total, lease)
             VALUES ($1, $2, $3, $4, $5, 'queued', $6, 0, $7, 0)",
        )
        .bind(&row.id)
        .bind(&row.user_id)
        .bind(&row.kind)
        .bind(&row.name)
        .bind(&row.request)
        .bind(row.created)
        .bind(row.total)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Jobs of a user, or of all, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn jobs(
        &self,
        user: Option<&str>,
        status: Option<&str>,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<JobRow>, StateError> {
        Select::from(ALL)
            .and_if("user_id = ?", user)
            .and_if("status = ?", status)
            .and_if("id < ?", before)
            .ending(&format!("ORDER BY id DESC LIMIT {limit}"))
            .fetch(self)
            .await
    }

    /// A job.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub async fn job(&self, id: &str) -> Result<JobRow, StateError> {
        let found = Select::from(ALL).and("id = ?", id).fetch(self).await?.pop();
        found.ok_or(StateError::Missing("job"))
    }

    /// Takes the oldest job that waits, or that was left by a node that is gone.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn take_job(
        &self,
        now: Timestamp,
        node: &str,
        lease: Timestamp,
    ) -> Result<Option<JobRow>, StateError> {
        const FREE: &str = "(status = 'queued' OR (status = 'running' AND lease < ?))";
        let mut free: Vec<JobRow> =
            Select::from(ALL).and(FREE, now.as_nanos()).ending("ORDER BY id LIMIT 1").fetch(self).await?;
        let Some(job) = free.pop() else { return Ok(None) };
        let taken = sqlx::query(
            "UPDATE jobs SET status = 'running', node = $2, lease = $3, started = $4, progress = 0
             WHERE id = $1 AND (status = 'queued' OR (status = 'running' AND lease < $4))",
        )
        .bind(&job.id)
        .bind(node)
        .bind(lease.as_nanos())
        .bind(now.as_nanos())
        .execute(&self.pool)
        .await?;
        // Another node was a moment earlier: it has it.
        Ok((taken.rows_affected() > 0).then_some(job))
    }

    /// Goes on with a job: how far it is, and until when it is this node's. No when it is not any more: it was cancelled,
    /// or another node has it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn keep_job(
        &self,
        id: &str,
        node: &str,
        lease: Timestamp,
        progress: (i64, i64),
    ) -> Result<bool, StateError> {
        let kept = sqlx::query(
            "UPDATE jobs SET lease = $3, progress = $4, total = $5 WHERE id = $1 AND node = $2 AND status = 'running'",
        )
        .bind(id)
        .bind(node)
        .bind(lease.as_nanos())
        .bind(progress.0)
        .bind(progress.1)
        .execute(&self.pool)
        .await?;
        Ok(kept.rows_affected() > 0)
    }

    /// Ends a job that is this node's; whether it was.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn end_job(
        &self,
        now: Timestamp,
        id: &str,
        node: &str,
        ended: Ended<'_>,
    ) -> Result<bool, StateError> {
        let (status, error, result) = match ended {
            Ended::Done(result) => ("done", None, Some(result)),
            Ended::Failed(error) => ("failed", Some(error), None),
        };
        let changed = sqlx::query(
            "UPDATE jobs SET status = $3, error = $4, result = $5, ended = $6 WHERE id = $1 AND node = $2 AND
             status = 'running'",
        )
        .bind(id)
        .bind(node)
        .bind(status)
        .bind(error)
        .bind(result)
        .bind(now.as_nanos())
        .execute(&self.pool)
        .await?;
        Ok(changed.rows_affected() > 0)
    }

    /// Gives a job back that this node can't go on with: it waits again.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn return_job(&self, id: &str, node: &str) -> Result<(), StateError> {
        sqlx::query(
            "UPDATE jobs SET status = 'queued', node = NULL WHERE id = $1 AND node = $2 AND status = 'running'",
        )
        .bind(id)
        .bind(node)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Cancels a job that waits or runs; whether it did.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn cancel_job(&self, now: Timestamp, id: &str) -> Result<bool, StateError> {
        let changed = sqlx::query(
            "UPDATE jobs SET status = 'cancelled', ended = $2 WHERE id = $1 AND status IN ('queued', 'running')",
        )
        .bind(id)
        .bind(now.as_nanos())
        .execute(&self.pool)
        .await?;
        Ok(changed.rows_affected() > 0)
    }
}
