//! Alerts: what someone wants to be told of, each time it was, and what became of the mails and webhooks of it.
//!
//! An alert goes off once, however many nodes see its reason: a node takes it for itself with one conditional update, by
//! the number of times that it knows it to have gone off, or, where its reason is a fill, by the fill's number. The same
//! update asks whether its user may still see the account.

use sqlx::FromRow;
use tradeflow_model::Timestamp;
use zeroize::Zeroizing;

use crate::database::State;
use crate::error::StateError;
use crate::seal::{KeyRing, SealError, Sealed};
use crate::select::Select;

/// An alert. Times are nanoseconds since 1970-01-01 UTC, yes and no 1 and 0.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AlertRow {
    /// Its id; later ones have greater ones.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Its name.
    pub name: String,
    /// The condition, as JSON.
    pub rule: String,
    /// The account that it is about.
    pub account: Option<String>,
    /// Whether it goes on after it has gone off.
    pub repeats: i64,
    /// For so long it is quiet then, in nanoseconds.
    pub pause: i64,
    /// Whether it is watched.
    pub enabled: i64,
    /// Whether a mail is sent.
    pub mail: i64,
    /// Where a webhook is sent to.
    pub webhook_url: Option<String>,
    /// The key of its signatures, sealed.
    pub webhook_secret: Option<String>,
    /// With which key; one of before that was kept is not sealed.
    pub webhook_key: Option<String>,
    /// When it was made.
    pub created: i64,
    /// When its user changed it last.
    pub changed: i64,
    /// When it went off last.
    pub fired: Option<i64>,
    /// How often it went off.
    pub fires: i64,
    /// The number of the last fill that it has seen.
    pub seen: i64,
    /// How far its condition is, as JSON.
    pub progress: String,
    /// Whether its user can log in, and may see the account.
    pub allowed: i64,
}

/// An alert that goes off.
#[derive(Debug, Clone, Copy)]
pub struct Firing<'a> {
    /// The alert, as the node knows it: it must not have been changed since.
    pub alert: &'a AlertRow,
    /// When its reason was, by the time that its pause is counted in.
    pub at: i64,
    /// The fill that is its reason; none for other reasons, where `fires` of the alert tells whether another node was
    /// earlier.
    pub fill: Option<i64>,
    /// How far its condition is then.
    pub progress: &'a str,
    /// What is told.
    pub event: &'a AlertEventRow,
}

/// A time that an alert went off.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)] // as in the table
pub struct AlertEventRow {
    pub id: String,
    pub alert_id: String,
    pub user_id: String,
    pub ts: i64,
    pub node: String,
    pub name: String,
    pub kind: String,
    pub message: String,
    /// What set it off, as JSON.
    pub data: String,
    /// Whether it is a trial.
    pub test: i64,
}

/// A mail or a webhook of an event.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)] // as in the table
pub struct DeliveryRow {
    pub event_id: String,
    /// `mail` or `webhook`.
    pub way: String,
    /// `waiting`, `sent` or `failed`.
    pub status: String,
    pub attempts: i64,
    /// When it is tried next.
    pub due: i64,
    pub error: Option<String>,
}

/// Where a delivery goes. None where its alert is gone.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[allow(missing_docs)] // as in the alert
pub struct Target {
    pub email: String,
    pub webhook_url: Option<String>,
    pub webhook_secret: Option<String>,
    pub webhook_key: Option<String>,
    pub alert_id: String,
}

/// What the secret of an alert's webhook is bound to.
pub(crate) fn place(alert: &str) -> [&str; 2] {
    ["alerts", alert]
}

impl AlertRow {
    /// Gives its webhook a secret of its own, sealed.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn seal_secret(&mut self, keys: &KeyRing, secret: &str) -> Result<(), SealError> {
        let Sealed { key, text } = keys.seal(&place(&self.id), secret.as_bytes())?;
        (self.webhook_key, self.webhook_secret) = (Some(key), Some(text));
        Ok(())
    }
}

impl Target {
    /// The key of the webhook's signatures, if there is a webhook.
    ///
    /// # Errors
    /// When it does not open.
    pub fn open_secret(&self, keys: &KeyRing) -> Result<Option<Zeroizing<Vec<u8>>>, SealError> {
        let Some(text) = self.webhook_secret.clone() else { return Ok(None) };
        open_secret(keys, &self.alert_id, self.webhook_key.clone(), text).map(Some)
    }
}

/// The secret of an alert's webhook, from what is kept of it.
pub(crate) fn open_secret(
    keys: &KeyRing,
    alert: &str,
    key: Option<String>,
    text: String,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    match key {
        Some(key) => keys.open(&place(alert), &Sealed { key, text }),
        None => Ok(Zeroizing::new(text.into_bytes())),
    }
}

/// Whether the user of an alert can log in, and may see its account.
const ALLOWED: &str = "EXISTS (SELECT 1 FROM users WHERE users.id = alerts.user_id AND users.disabled = 0 AND (
    alerts.account IS NULL OR users.role IN ('manager', 'administrator') OR EXISTS (SELECT 1 FROM account_access WHERE
    account_access.user_id = alerts.user_id AND account_access.account = alerts.account)))";
const EVENTS: &str =
    "SELECT id, alert_id, user_id, ts, node, name, kind, message, data, test FROM alert_events";
const DELIVERIES: &str = "SELECT event_id, way, status, attempts, due, error FROM alert_deliveries";
/// Mails and webhooks of a user that wait, at most.
const WAITING_MAX: i64 = 1000;

fn all() -> Select {
    Select::from(&format!(
        "SELECT id, user_id, name, rule, account, repeats, pause, enabled, mail, webhook_url, webhook_secret, webhook_key, created,
         changed, fired, fires, seen, progress, CAST(CASE WHEN {ALLOWED} THEN 1 ELSE 0 END AS BIGINT) AS allowed FROM alerts"
    ))
}

impl State {
    /// Makes an alert, unless its user has so many: whether it was made.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_alert(&self, row: &AlertRow, max: i64) -> Result<bool, StateError> {
        let mut transaction = self.begin().await?;
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM alerts WHERE user_id = $1")
            .bind(&row.user_id)
            .fetch_one(&mut *transaction)
            .await?;
        if count >= max {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO alerts (id, user_id, name, rule, account, repeats, pause, enabled, mail, webhook_url, webhook_secret,
             webhook_key, created, changed, fires, seen, progress)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, $15, $16)",
        )
        .bind(&row.id)
        .bind(&row.user_id)
        .bind(&row.name)
        .bind(&row.rule)
        .bind(&row.account)
        .bind(row.repeats)
        .bind(row.pause)
        .bind(row.enabled)
        .bind(row.mail)
        .bind(&row.webhook_url)
        .bind(&row.webhook_secret)
        .bind(&row.webhook_key)
        .bind(row.created)
        .bind(row.changed)
        .bind(row.seen)
        .bind(&row.progress)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// A user's alerts, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn alerts(
        &self,
        user: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AlertRow>, StateError> {
        let select = all().and("user_id = ?", user).and_if("id < ?", before);
        select.ending(&format!("ORDER BY id DESC LIMIT {limit}")).fetch(self).await
    }

    /// An alert of a user.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it is not his.
    pub async fn alert(&self, user: &str, id: &str) -> Result<AlertRow, StateError> {
        let found = all().and("id = ?", id).and("user_id = ?", user).fetch(self).await?.pop();
        found.ok_or(StateError::Missing("alert"))
    }

    /// The alerts that are to be watched: they are enabled, and their users may see what they are about.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn watched_alerts(&self) -> Result<Vec<AlertRow>, StateError> {
        all().and("enabled = ?", 1).ending(&format!("AND {ALLOWED} ORDER BY id")).fetch(self).await
    }

    /// Changes what its user may change, and how far its condition is.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it is not this user's.
    pub async fn change_alert(&self, row: &AlertRow) -> Result<(), StateError> {
        let changed = sqlx::query(
            "UPDATE alerts SET name = $3, rule = $4, account = $5, repeats = $6, pause = $7, enabled = $8, mail = $9,
             webhook_url = $10, webhook_secret = $11, webhook_key = $12, changed = $13, seen = $14, progress = $15
             WHERE id = $1 AND user_id = $2",
        )
        .bind(&row.id)
        .bind(&row.user_id)
        .bind(&row.name)
        .bind(&row.rule)
        .bind(&row.account)
        .bind(row.repeats)
        .bind(row.pause)
        .bind(row.enabled)
        .bind(row.mail)
        .bind(&row.webhook_url)
        .bind(&row.webhook_secret)
        .bind(&row.webhook_key)
        .bind(row.changed)
        .bind(row.seen)
        .bind(&row.progress);
        match changed.execute(&self.pool).await?.rows_affected() {
            0 => Err(StateError::Missing("alert")),
            _ => Ok(()),
        }
    }

    /// Keeps how far the condition of an alert is, unless it was changed or went off since.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn keep_alert(&self, row: &AlertRow) -> Result<(), StateError> {
        sqlx::query(
            "UPDATE alerts SET progress = $4, seen = CASE WHEN seen < $5 THEN $5 ELSE seen END
             WHERE id = $1 AND changed = $2 AND fires = $3",
        )
        .bind(&row.id)
        .bind(row.changed)
        .bind(row.fires)
        .bind(&row.progress)
        .bind(row.seen)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Removes an alert. What it told stays.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it is not this user's.
    pub async fn remove_alert(&self, user: &str, id: &str) -> Result<(), StateError> {
        let removed = sqlx::query("DELETE FROM alerts WHERE id = $1 AND user_id = $2").bind(id).bind(user);
        match removed.execute(&self.pool).await?.rows_affected() {
            0 => Err(StateError::Missing("alert")),
            _ => Ok(()),
        }
    }

    /// Lets an alert go off, once among all nodes: whether it does. Its mail and webhook wait to be sent then.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn fire_alert(&self, firing: Firing<'_>) -> Result<bool, StateError> {
        let Firing { alert, at, fill, progress, event } = firing;
        let first = match fill {
            // The pause is counted from fill to fill, whoever has seen the one before.
            Some(_) => "seen < $6 AND (fired IS NULL OR fired + pause <= $4)",
            None => "fires = $6",
        };
        let taken = format!(
            "UPDATE alerts SET fired = $4, fires = fires + 1, progress = $5, seen = CASE WHEN seen < $3 THEN $3 ELSE seen END,
             enabled = CASE WHEN repeats = 1 THEN enabled ELSE 0 END
             WHERE id = $1 AND changed = $2 AND enabled = 1 AND {first} AND {ALLOWED}"
        );
        let mut transaction = self.begin().await?;
        let taken = sqlx::query(sqlx::AssertSqlSafe(taken))
            .bind(&alert.id)
            .bind(alert.changed)
            .bind(fill.unwrap_or(alert.seen))
            .bind(at)
            .bind(progress)
            .bind(fill.unwrap_or(alert.fires))
            .execute(&mut *transaction)
            .await?;
        if taken.rows_affected() == 0 {
            return Ok(false);
        }
        add_event(&mut transaction, alert, event).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Tells of an alert as if it had gone off, for a trial.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn test_alert(&self, alert: &AlertRow, event: &AlertEventRow) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        add_event(&mut transaction, alert, event).await?;
        Ok(transaction.commit().await?)
    }

    /// When a user's alerts went off, or one of them, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn alert_events(
        &self,
        user: &str,
        alert: Option<&str>,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AlertEventRow>, StateError> {
        let select = Select::from(EVENTS).and("user_id = ?", user).and_if("alert_id = ?", alert);
        select.and_if("id < ?", before).ending(&format!("ORDER BY id DESC LIMIT {limit}")).fetch(self).await
    }

    /// Events of all users from a time on, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn alert_events_since(&self, since: Timestamp) -> Result<Vec<AlertEventRow>, StateError> {
        let select = Select::from(EVENTS).and("ts >= ?", since.as_nanos());
        select.ending("ORDER BY id LIMIT 10000").fetch(self).await
    }

    /// An event.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub async fn alert_event(&self, id: &str) -> Result<AlertEventRow, StateError> {
        let found = Select::from(EVENTS).and("id = ?", id).fetch(self).await?.pop();
        found.ok_or(StateError::Missing("event"))
    }

    /// The mails and webhooks of events.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deliveries_of(&self, events: &[String]) -> Result<Vec<DeliveryRow>, StateError> {
        let select = Select::from(DELIVERIES).among("event_id", Some(events));
        select.ending("ORDER BY event_id, way").fetch(self).await
    }

    /// Mails and webhooks that are due. Each is this node's until `lease`, unless it ends it before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn take_deliveries(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StateError> {
        let due = Select::from(DELIVERIES).and("status = ?", "waiting").and("due <= ?", now.as_nanos());
        let due: Vec<DeliveryRow> = due.ending(&format!("ORDER BY due LIMIT {limit}")).fetch(self).await?;
        let mut taken = Vec::new();
        for row in due {
            let mine = sqlx::query(
                "UPDATE alert_deliveries SET due = $3, attempts = attempts + 1
                 WHERE event_id = $1 AND way = $2 AND status = 'waiting' AND due = $4",
            )
            .bind(&row.event_id)
            .bind(&row.way)
            .bind(lease.as_nanos())
            .bind(row.due)
            .execute(&self.pool)
            .await?;
            if mine.rows_affected() > 0 {
                taken.push(DeliveryRow { due: lease.as_nanos(), attempts: row.attempts + 1, ..row });
            }
        }
        Ok(taken)
    }

    /// Keeps what became of a delivery that is this node's: its status, when it is tried again, and why it failed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn keep_delivery(&self, taken: &DeliveryRow, kept: &DeliveryRow) -> Result<(), StateError> {
        sqlx::query(
            "UPDATE alert_deliveries SET status = $3, due = $4, error = $5
             WHERE event_id = $1 AND way = $2 AND status = 'waiting' AND due = $6",
        )
        .bind(&taken.event_id)
        .bind(&taken.way)
        .bind(&kept.status)
        .bind(kept.due)
        .bind(&kept.error)
        .bind(taken.due)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Where the mail or webhook of an event goes; none when its alert is gone, or its user can't log in any more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn delivery_target(&self, event: &str) -> Result<Option<Target>, StateError> {
        let target = sqlx::query_as(
            "SELECT users.email, alerts.webhook_url, alerts.webhook_secret, alerts.webhook_key, alerts.id AS alert_id
             FROM alert_events
             JOIN alerts ON alerts.id = alert_events.alert_id JOIN users ON users.id = alert_events.user_id
             WHERE alert_events.id = $1 AND users.disabled = 0",
        );
        Ok(target.bind(event).fetch_optional(&self.pool).await?)
    }

    /// Removes events that are older, with their mails and webhooks.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim_alert_events(&self, before: Timestamp) -> Result<u64, StateError> {
        let removed = sqlx::query("DELETE FROM alert_events WHERE ts < $1").bind(before.as_nanos());
        Ok(removed.execute(&self.pool).await?.rows_affected())
    }
}

/// An event, and the mail and webhook of it that wait.
async fn add_event(
    transaction: &mut sqlx::Transaction<'static, sqlx::Any>,
    alert: &AlertRow,
    event: &AlertEventRow,
) -> Result<(), StateError> {
    sqlx::query(
        "INSERT INTO alert_events (id, alert_id, user_id, ts, node, name, kind, message, data, test)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&event.id)
    .bind(&event.alert_id)
    .bind(&event.user_id)
    .bind(event.ts)
    .bind(&event.node)
    .bind(&event.name)
    .bind(&event.kind)
    .bind(&event.message)
    .bind(&event.data)
    .bind(event.test)
    .execute(&mut **transaction)
    .await?;
    let (waiting,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM alert_deliveries JOIN alert_events ON alert_events.id = alert_deliveries.event_id
         WHERE alert_deliveries.status = 'waiting' AND alert_events.user_id = $1",
    )
    .bind(&event.user_id)
    .fetch_one(&mut **transaction)
    .await?;
    let full = waiting >= WAITING_MAX;
    let (status, error) =
        if full { ("failed", Some("too many of yours wait already")) } else { ("waiting", None) };
    let ways = [("mail", alert.mail == 1), ("webhook", alert.webhook_url.is_some())];
    for (way, _) in ways.into_iter().filter(|(_, wanted)| *wanted) {
        sqlx::query(
            "INSERT INTO alert_deliveries (event_id, way, status, attempts, due, error) VALUES ($1, $2, $3, 0, $4, $5)",
        )
        .bind(&event.id)
        .bind(way)
        .bind(status)
        .bind(event.ts)
        .bind(error)
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}
