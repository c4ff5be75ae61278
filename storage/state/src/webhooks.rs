//! Keys with which webhooks send, and the log of what came.

use sqlx::FromRow;
use tradeflow_model::Timestamp;
use uuid::Uuid;

use crate::database::State;
use crate::error::StateError;
use crate::select::Select;
use crate::token::{Token, TokenKind, hash};

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct WebhookKey {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Its name.
    pub name: String,
    /// The first characters of the secret.
    pub hint: String,
    /// The account that its signals are for.
    pub account: String,
    /// Whether they are executed as they come (1), or wait for someone (0).
    pub auto_execute: i64,
    /// Size of positions where neither signal nor strategy says.
    pub default_size: Option<String>,
    /// Alerts that are older are refused, in nanoseconds.
    pub max_age: i64,
    /// When it was made, in nanoseconds since 1970-01-01 UTC.
    pub created: i64,
    /// When it was used last.
    pub used: Option<i64>,
}

/// A key to be made.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // as in `WebhookKey`
pub struct NewWebhookKey<'a> {
    pub name: &'a str,
    pub account: &'a str,
    pub auto_execute: bool,
    pub default_size: Option<&'a str>,
    pub max_age: i64,
}

/// Something that came.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)] // as in the table
pub struct WebhookEntry {
    /// Its id; later ones have greater ones.
    pub id: String,
    pub ts: i64,
    pub route: String,
    pub key_id: Option<String>,
    pub user_id: Option<String>,
    pub address: String,
    /// The status that it was answered with.
    pub status: i64,
    /// What came of it, in words.
    pub outcome: String,
    pub signal_id: Option<String>,
    /// Without secrets.
    pub body: String,
}

const KEYS: &str = "SELECT id, user_id, name, hint, account, auto_execute, default_size, max_age, created, used FROM webhook_keys";

impl State {
    /// Makes a key; its secret is shown this once.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_webhook_key(
        &self,
        now: Timestamp,
        user: &str,
        new: NewWebhookKey<'_>,
    ) -> Result<(WebhookKey, Token), StateError> {
        let (id, secret) = (Uuid::now_v7().to_string(), Token::new(TokenKind::Webhook));
        sqlx::query(
            "INSERT INTO webhook_keys (id, user_id, name, hash, hint, account, auto_execute, default_size, max_age, created)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&id)
        .bind(user)
        .bind(new.name)
        .bind(secret.hash())
        .bind(secret.hint())
        .bind(new.account)
        .bind(i64::from(new.auto_execute))
        .bind(new.default_size)
        .bind(new.max_age)
        .bind(now.as_nanos())
        .execute(&self.pool)
        .await?;
        let made = Select::from(KEYS).and("id = ?", id.as_str()).fetch(self).await?.pop();
        Ok((made.ok_or(StateError::Missing("webhook key"))?, secret))
    }

    /// A user's keys, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhook_keys(&self, user: &str) -> Result<Vec<WebhookKey>, StateError> {
        Select::from(KEYS).and("user_id = ?", user).ending("ORDER BY id").fetch(self).await
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it is not this user's.
    pub async fn remove_webhook_key(&self, user: &str, id: &str) -> Result<(), StateError> {
        let removed =
            sqlx::query("DELETE FROM webhook_keys WHERE id = $1 AND user_id = $2").bind(id).bind(user);
        match removed.execute(&self.pool).await?.rows_affected() {
            0 => Err(StateError::Missing("webhook key")),
            _ => Ok(()),
        }
    }

    /// The key with this secret; it was used now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn use_webhook_key(
        &self,
        now: Timestamp,
        secret: &str,
    ) -> Result<Option<WebhookKey>, StateError> {
        if TokenKind::of(secret) != Some(TokenKind::Webhook) {
            return Ok(None);
        }
        let found: Vec<WebhookKey> =
            Select::from(KEYS).and("hash = ?", hash(secret).as_str()).fetch(self).await?;
        let Some(key) = found.into_iter().next() else { return Ok(None) };
        sqlx::query("UPDATE webhook_keys SET used = $2 WHERE id = $1")
            .bind(&key.id)
            .bind(now.as_nanos())
            .execute(&self.pool)
            .await?;
        Ok(Some(key))
    }

    /// Notes what came. The id is made here.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_webhook_entry(&self, entry: &WebhookEntry) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO webhook_log (id, ts, route, key_id, user_id, address, status, outcome, signal_id, body)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(entry.ts)
        .bind(&entry.route)
        .bind(&entry.key_id)
        .bind(&entry.user_id)
        .bind(&entry.address)
        .bind(entry.status)
        .bind(&entry.outcome)
        .bind(&entry.signal_id)
        .bind(&entry.body)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What came, the newest first: of a user, or all of it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhook_entries(
        &self,
        user: Option<&str>,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<WebhookEntry>, StateError> {
        let all = "SELECT id, ts, route, key_id, user_id, address, status, outcome, signal_id, body FROM webhook_log";
        Select::from(all)
            .and_if("user_id = ?", user)
            .and_if("id < ?", before)
            .ending(&format!("ORDER BY id DESC LIMIT {limit}"))
            .fetch(self)
            .await
    }

    /// Removes entries that are older, and alerts that are too old to come again.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim_webhooks(&self, before: Timestamp, seen_before: Timestamp) -> Result<u64, StateError> {
        sqlx::query("DELETE FROM webhook_seen WHERE ts < $1")
            .bind(seen_before.as_nanos())
            .execute(&self.pool)
            .await?;
        let removed = sqlx::query("DELETE FROM webhook_log WHERE ts < $1").bind(before.as_nanos());
        Ok(removed.execute(&self.pool).await?.rows_affected())
    }
}
