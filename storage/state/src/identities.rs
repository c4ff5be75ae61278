//! Users as providers of log-ins know them, and log-ins by a provider that have begun.

use sqlx::{FromRow, Row};
use tradeflow_model::Timestamp;
use tradeflow_model::time::NANOS_PER_SEC;
use uuid::Uuid;

use crate::database::State;
use crate::error::{StateError, exists};
use crate::token::hash;
use crate::users::{COLUMNS, Role, User, user};

/// For so long a log-in that has begun waits for the user at the provider.
const LIFETIME: i64 = 600 * NANOS_PER_SEC;

/// A log-in by a provider that has begun.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ProviderLogin {
    /// The provider's name.
    pub provider: String,
    /// What the provider's answer must hold.
    pub nonce: String,
    /// What shows the provider that it is we who began (PKCE).
    pub verifier: String,
    /// Where the page goes afterwards; without it the answer has the tokens.
    pub target: Option<String>,
    /// The user who is to be known to the provider; `None` for a log-in.
    pub begun_by: Option<String>,
}

impl State {
    /// Keeps a log-in that begins, until the provider sends its user back with this state.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_provider_login(
        &self,
        now: Timestamp,
        state: &str,
        login: &ProviderLogin,
    ) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        let old = sqlx::query("DELETE FROM provider_logins WHERE expires < $1").bind(now.as_nanos());
        old.execute(&mut *transaction).await?;
        sqlx::query(
            "INSERT INTO provider_logins (state_hash, provider, nonce, verifier, target, begun_by, expires)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(hash(state))
        .bind(&login.provider)
        .bind(&login.nonce)
        .bind(&login.verifier)
        .bind(&login.target)
        .bind(&login.begun_by)
        .bind(now.saturating_add(LIFETIME).as_nanos())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Takes a log-in that has begun; each once. `None` when there is none, or its time is over.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn take_provider_login(
        &self,
        now: Timestamp,
        state: &str,
    ) -> Result<Option<ProviderLogin>, StateError> {
        let taken = sqlx::query_as(
            "DELETE FROM provider_logins WHERE state_hash = $1 AND expires >= $2
             RETURNING provider, nonce, verifier, target, begun_by",
        );
        Ok(taken.bind(hash(state)).bind(now.as_nanos()).fetch_optional(&self.pool).await?)
    }

    /// The user whom a provider knows by this subject.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn user_of_identity(&self, issuer: &str, subject: &str) -> Result<Option<User>, StateError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM identities JOIN users ON users.id = identities.user_id
             WHERE identities.issuer = $1 AND identities.subject = $2"
        );
        let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(issuer).bind(subject);
        found.fetch_optional(&self.pool).await?.map(|row| user(&row)).transpose()
    }

    /// Notes by which subject a provider knows a user.
    ///
    /// # Errors
    /// [`StateError::Exists`] when it knows a user by it.
    pub async fn add_identity(
        &self,
        now: Timestamp,
        issuer: &str,
        subject: &str,
        user: &str,
    ) -> Result<(), StateError> {
        sqlx::query("INSERT INTO identities (issuer, subject, user_id, created) VALUES ($1, $2, $3, $4)")
            .bind(issuer)
            .bind(subject)
            .bind(user)
            .bind(now.as_nanos())
            .execute(&self.pool)
            .await
            .map_err(exists(|| "a user whom the provider knows so".to_owned()))?;
        Ok(())
    }

    /// Adds a user without a password whom a provider knows.
    ///
    /// # Errors
    /// [`StateError::Exists`] for an email or a subject that is there.
    pub async fn add_user_of_identity(
        &self,
        now: Timestamp,
        (issuer, subject): (&str, &str),
        email: &str,
        name: &str,
        role: Role,
    ) -> Result<User, StateError> {
        let (id, email) = (Uuid::now_v7().to_string(), email.to_lowercase());
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO users (id, email, name, password, role, created) VALUES ($1, $2, $3, '', $4, $5)",
        )
        .bind(&id)
        .bind(&email)
        .bind(name)
        .bind(role.name())
        .bind(now.as_nanos())
        .execute(&mut *transaction)
        .await
        .map_err(exists(|| format!("user {email}")))?;
        sqlx::query("INSERT INTO identities (issuer, subject, user_id, created) VALUES ($1, $2, $3, $4)")
            .bind(issuer)
            .bind(subject)
            .bind(&id)
            .bind(now.as_nanos())
            .execute(&mut *transaction)
            .await
            .map_err(exists(|| "a user whom the provider knows so".to_owned()))?;
        transaction.commit().await?;
        Ok(User { id, email, name: name.to_owned(), role, disabled: false, created: now })
    }

    /// Takes it away that a provider knows a user. One who has no password keeps it: he could not log in any more.
    ///
    /// # Errors
    /// [`StateError::Missing`]; [`StateError::Invalid`] without a password.
    pub async fn remove_identities(&self, issuer: &str, user: &str) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        let removed = sqlx::query("DELETE FROM identities WHERE issuer = $1 AND user_id = $2");
        if removed.bind(issuer).bind(user).execute(&mut *transaction).await?.rows_affected() == 0 {
            return Err(StateError::Missing("link to this provider"));
        }
        let password = sqlx::query("SELECT password FROM users WHERE id = $1").bind(user);
        if password.fetch_one(&mut *transaction).await?.try_get::<String, _>(0)?.is_empty() {
            return Err(StateError::Invalid("set a password first: you could not log in any more".into()));
        }
        transaction.commit().await?;
        Ok(())
    }
}
