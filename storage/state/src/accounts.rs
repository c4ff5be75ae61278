//! What people say of accounts, and the versions of the accounts' strategies.

use sqlx::Row;
use tradeflow_model::Timestamp;

use crate::database::State;
use crate::error::StateError;

/// How a strategy was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategyVersion {
    /// The strategy's id within its account.
    pub strategy: String,
    /// Its number, from 1.
    pub version: u32,
    /// Kind, parameters, symbols, data and size, as JSON.
    pub request: String,
    /// When it was started so first.
    pub created: Timestamp,
    /// By whom; none for the configuration.
    pub user: Option<String>,
}

impl State {
    /// Labels of accounts, by account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_labels(&self) -> Result<Vec<(String, String)>, StateError> {
        let rows = sqlx::query("SELECT account, label FROM accounts ORDER BY account");
        let rows = rows.fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Labels an account; `opened_by` is who opened it, where it is new.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn label_account(
        &self,
        now: Timestamp,
        account: &str,
        label: &str,
        opened_by: Option<&str>,
    ) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO accounts (account, label, opened_by, created) VALUES ($1, $2, $3, $4)
             ON CONFLICT (account) DO UPDATE SET label = excluded.label",
        )
        .bind(account)
        .bind(label)
        .bind(opened_by)
        .bind(now.as_nanos())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The accounts that a user opened, those that were closed since included.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn accounts_opened_by(&self, user: &str) -> Result<Vec<String>, StateError> {
        let rows = sqlx::query("SELECT account FROM accounts WHERE opened_by = $1 ORDER BY account");
        let rows = rows.bind(user).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Keeps how a strategy was started; the same as last time is no other version. Gives the version's number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_strategy_version(
        &self,
        now: Timestamp,
        account: &str,
        strategy: &str,
        request: &str,
        user: Option<&str>,
    ) -> Result<u32, StateError> {
        let mut transaction = self.begin().await?;
        let last = sqlx::query(
            "SELECT version, request FROM strategy_versions WHERE account = $1 AND strategy = $2
             ORDER BY version DESC LIMIT 1",
        );
        let last = last.bind(account).bind(strategy).fetch_optional(&mut *transaction).await?;
        let mut version: i64 = 0;
        if let Some(row) = last {
            version = row.try_get(0)?;
            if row.try_get::<String, _>(1)? == request {
                return Ok(u32::try_from(version).unwrap_or(u32::MAX));
            }
        }
        version += 1;
        // Of two at once, one is that version: the other was started a moment earlier or later.
        sqlx::query(
            "INSERT INTO strategy_versions (account, strategy, version, request, created, user_id)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account, strategy, version) DO NOTHING",
        )
        .bind(account)
        .bind(strategy)
        .bind(version)
        .bind(request)
        .bind(now.as_nanos())
        .bind(user)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(u32::try_from(version).unwrap_or(u32::MAX))
    }

    /// Versions of an account's strategies, or of one of them, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn strategy_versions(
        &self,
        account: &str,
        strategy: Option<&str>,
    ) -> Result<Vec<StrategyVersion>, StateError> {
        let rows = sqlx::query(
            "SELECT strategy, version, request, created, user_id FROM strategy_versions
             WHERE account = $1 AND ($2 = '' OR strategy = $2) ORDER BY strategy, version DESC",
        );
        let rows = rows.bind(account).bind(strategy.unwrap_or_default()).fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                Ok(StrategyVersion {
                    strategy: row.try_get(0)?,
                    version: u32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(u32::MAX),
                    request: row.try_get(2)?,
                    created: Timestamp::from_nanos(row.try_get(3)?),
                    user: row.try_get(4)?,
                })
            })
            .collect()
    }
}
