//! Log-ins. An access token is short-lived; the refresh token is exchanged for the next pair, once: one that comes again
//! has been stolen, by whoever came first or by whoever comes now, and the log-in ends.

use sqlx::Row;
use tradeflow_model::Timestamp;
use tradeflow_model::time::NANOS_PER_SEC;
use uuid::Uuid;

use crate::api_keys::Scope;
use crate::database::State;
use crate::error::StateError;
use crate::token::{Token, TokenKind, hash};
use crate::users::{COLUMNS, User, user};

/// How long tokens are good for, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// An access token.
    pub access: i64,
    /// A log-in that is not used.
    pub refresh: i64,
}

/// Two windows of one browser may exchange the same token at once: the later one is refused, but no theft is assumed.
const GRACE: i64 = 10 * NANOS_PER_SEC;

/// A log-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// When it began.
    pub created: Timestamp,
    /// When its tokens were last exchanged.
    pub used: Timestamp,
    /// When it ends unless it is used.
    pub expires: Timestamp,
    /// Where it was last used from.
    pub address: String,
    /// What the client says it is.
    pub agent: String,
}

/// New tokens of a log-in. They can't be shown again.
#[derive(Debug)]
pub struct Issued {
    /// The log-in.
    pub session: String,
    /// For requests.
    pub access: Token,
    /// Until when.
    pub access_expires: Timestamp,
    /// For the next pair.
    pub refresh: Token,
    /// Until when.
    pub expires: Timestamp,
    /// For pages that have cookies.
    pub csrf: Token,
}

/// What came of an exchange.
#[derive(Debug)]
pub enum Refreshed {
    /// New tokens.
    Done(Box<(User, Issued)>),
    /// The token is none, or its time is over.
    Unknown,
    /// It was exchanged a moment ago: take what came of that.
    JustSpent,
    /// It was exchanged before: this user's log-in has been ended.
    Stolen(Box<User>),
}

/// Who a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: User,
    /// The log-in; `None` for an API key.
    pub session: Option<String>,
    /// The API key; `None` for a log-in.
    pub key: Option<String>,
    /// What an API key may do; a log-in may do everything that the user may.
    pub scopes: Vec<Scope>,
    /// Until when.
    pub expires: Timestamp,
    /// The hash of the token that shows that a page itself asks.
    csrf: String,
}

impl Identity {
    /// Whether this is the token that was given to the page.
    pub fn is_csrf(&self, token: &str) -> bool {
        !self.csrf.is_empty() && hash(token) == self.csrf
    }

    pub(crate) fn of_key(user: User, key: String, scopes: Vec<Scope>, expires: Timestamp) -> Self {
        Self { user, session: None, key: Some(key), scopes, expires, csrf: String::new() }
    }
}

impl Issued {
    fn new(now: Timestamp, session: String, lifetimes: Lifetimes) -> Self {
        Self {
            session,
            access: Token::new(TokenKind::Access),
            access_expires: now.saturating_add(lifetimes.access),
            refresh: Token::new(TokenKind::Refresh),
            expires: now.saturating_add(lifetimes.refresh),
            csrf: Token::new(TokenKind::Csrf),
        }
    }
}

impl State {
    /// Begins a log-in of a user who has shown that he is one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_session(
        &self,
        now: Timestamp,
        user: &str,
        lifetimes: Lifetimes,
        address: &str,
        agent: &str,
    ) -> Result<Issued, StateError> {
        let issued = Issued::new(now, Uuid::now_v7().to_string(), lifetimes);
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE users SET failed_logins = 0, locked_until = 0 WHERE id = $1")
            .bind(user)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM sessions WHERE expires < $1")
            .bind(now.as_nanos())
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO sessions (id, user_id, access_hash, access_expires, refresh_hash, expires, csrf_hash, created, used,
             address, agent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10)",
        )
        .bind(&issued.session)
        .bind(user)
        .bind(issued.access.hash())
        .bind(issued.access_expires.as_nanos())
        .bind(issued.refresh.hash())
        .bind(issued.expires.as_nanos())
        .bind(issued.csrf.hash())
        .bind(now.as_nanos())
        .bind(address)
        .bind(agent)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(issued)
    }

    /// Exchanges a refresh token.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn refresh(
        &self,
        now: Timestamp,
        token: &str,
        lifetimes: Lifetimes,
        address: &str,
    ) -> Result<Refreshed, StateError> {
        let old = hash(token);
        let mut transaction = self.begin().await?;
        let sql = format!(
            "SELECT {COLUMNS}, sessions.id FROM sessions JOIN users ON users.id = sessions.user_id
             WHERE sessions.refresh_hash = $1 AND sessions.expires >= $2 AND users.disabled = 0"
        );
        let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&old).bind(now.as_nanos());
        let Some(row) = found.fetch_optional(&mut *transaction).await? else {
            let sql = format!(
                "SELECT {COLUMNS}, spent_tokens.spent, sessions.id FROM spent_tokens
                 JOIN sessions ON sessions.id = spent_tokens.session_id JOIN users ON users.id = sessions.user_id
                 WHERE spent_tokens.hash = $1"
            );
            let spent =
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&old).fetch_optional(&mut *transaction).await?;
            let Some(row) = spent else { return Ok(Refreshed::Unknown) };
            if row.try_get::<i64, _>(6)?.saturating_add(GRACE) >= now.as_nanos() {
                return Ok(Refreshed::JustSpent);
            }
            let session: String = row.try_get(7)?;
            sqlx::query("DELETE FROM sessions WHERE id = $1")
                .bind(session)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            return Ok(Refreshed::Stolen(Box::new(user(&row)?)));
        };
        let issued = Issued::new(now, row.try_get(6)?, lifetimes);
        let changed = sqlx::query(
            "UPDATE sessions SET access_hash = $2, access_expires = $3, refresh_hash = $4, expires = $5, csrf_hash = $6,
             used = $7, address = $8 WHERE id = $1 AND refresh_hash = $9",
        )
        .bind(&issued.session)
        .bind(issued.access.hash())
        .bind(issued.access_expires.as_nanos())
        .bind(issued.refresh.hash())
        .bind(issued.expires.as_nanos())
        .bind(issued.csrf.hash())
        .bind(now.as_nanos())
        .bind(address)
        .bind(&old)
        .execute(&mut *transaction)
        .await?;
        if changed.rows_affected() == 0 {
            // PostgreSQL let another exchange of the same token go first.
            return Ok(Refreshed::JustSpent);
        }
        let spent = sqlx::query("INSERT INTO spent_tokens (hash, session_id, spent) VALUES ($1, $2, $3)");
        spent.bind(&old).bind(&issued.session).bind(now.as_nanos()).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Refreshed::Done(Box::new((user(&row)?, issued))))
    }

    /// Whose access token or API key this is; `None` when it is no one's, or its time is over.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn identify(&self, now: Timestamp, token: &str) -> Result<Option<Identity>, StateError> {
        match TokenKind::of(token) {
            Some(TokenKind::Access) => {}
            Some(TokenKind::ApiKey) => return self.identify_key(now, token).await,
            _ => return Ok(None),
        }
        let sql = format!(
            "SELECT {COLUMNS}, sessions.id, sessions.access_expires, sessions.csrf_hash FROM sessions
             JOIN users ON users.id = sessions.user_id
             WHERE sessions.access_hash = $1 AND sessions.access_expires >= $2 AND users.disabled = 0"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(hash(token))
            .bind(now.as_nanos())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(Identity {
                user: user(&row)?,
                session: Some(row.try_get(6)?),
                key: None,
                scopes: Scope::ALL.to_vec(),
                expires: Timestamp::from_nanos(row.try_get(7)?),
                csrf: row.try_get(8)?,
            })
        })
        .transpose()
    }

    /// A user's log-ins, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sessions(&self, now: Timestamp, user: &str) -> Result<Vec<Session>, StateError> {
        let rows = sqlx::query(
            "SELECT id, created, used, expires, address, agent FROM sessions WHERE user_id = $1 AND expires >= $2
             ORDER BY id DESC",
        )
        .bind(user)
        .bind(now.as_nanos())
        .fetch_all(&self.pool)
        .await?;
        let time = |row: &sqlx::any::AnyRow, column: usize| row.try_get(column).map(Timestamp::from_nanos);
        rows.iter()
            .map(|row| {
                Ok(Session {
                    id: row.try_get(0)?,
                    created: time(row, 1)?,
                    used: time(row, 2)?,
                    expires: time(row, 3)?,
                    address: row.try_get(4)?,
                    agent: row.try_get(5)?,
                })
            })
            .collect()
    }

    /// Ends a log-in of a user.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it is not his, or has ended.
    pub async fn end_session(&self, user: &str, id: &str) -> Result<(), StateError> {
        let ended = sqlx::query("DELETE FROM sessions WHERE id = $1 AND user_id = $2").bind(id).bind(user);
        match ended.execute(&self.pool).await?.rows_affected() {
            0 => Err(StateError::Missing("session")),
            _ => Ok(()),
        }
    }

    /// Ends all log-ins of a user.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn end_sessions(&self, user: &str) -> Result<u64, StateError> {
        let ended =
            sqlx::query("DELETE FROM sessions WHERE user_id = $1").bind(user).execute(&self.pool).await?;
        Ok(ended.rows_affected())
    }
}
