//! Users, their roles, and attempts to log in.

use sqlx::Row;
use sqlx::any::AnyRow;
use tradeflow_model::Timestamp;
use tradeflow_model::time::NANOS_PER_SEC;
use uuid::Uuid;

use crate::database::State;
use crate::error::{StateError, exists};

/// What a user may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at what is shown to him.
    Viewer,
    /// Trade in the accounts that are his.
    Trader,
    /// Trade in all accounts, and say whose they are.
    Manager,
    /// Everything: users, settings, logs.
    Administrator,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Trader, Self::Manager, Self::Administrator];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Trader => "trader",
            Self::Manager => "manager",
            Self::Administrator => "administrator",
        }
    }

    pub(crate) fn read(name: &str) -> Result<Self, StateError> {
        let found = Self::ALL.into_iter().find(|role| role.name() == name);
        found.ok_or_else(|| StateError::Invalid(format!("role {name:?} is none that this version knows")))
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// His id.
    pub id: String,
    /// In lower case.
    pub email: String,
    /// What he is called; may be empty.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// Whether he can't log in.
    pub disabled: bool,
    /// When he registered.
    pub created: Timestamp,
}

/// A user who registers.
#[derive(Debug, Clone)]
pub struct NewUser<'a> {
    /// The email; case does not matter.
    pub email: &'a str,
    /// May be empty.
    pub name: &'a str,
    /// The password's hash.
    pub password: &'a str,
    /// Whether someone may register who is not the first. The first becomes administrator.
    pub open: bool,
}

/// What is to be changed; `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserChange<'a> {
    /// What he is called.
    pub name: Option<&'a str>,
    /// What he may do.
    pub role: Option<Role>,
    /// Whether he can't log in.
    pub disabled: Option<bool>,
}

/// A user who says that he is one.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The user.
    pub user: User,
    /// The hash that the password must have.
    pub password: String,
    /// No attempt counts before this.
    pub locked_until: Timestamp,
}

impl Attempt {
    /// For how many seconds he must wait, if at all.
    pub fn wait(&self, now: Timestamp) -> Option<u64> {
        let left = self.locked_until.as_nanos() - now.as_nanos();
        (left > 0).then(|| (left / NANOS_PER_SEC).unsigned_abs() + 1)
    }
}

/// Failed log-ins after which each further one must wait, the first second by second, then twice as long each time.
const FREE_FAILURES: i64 = 5;
/// The longest wait, in seconds.
const WAIT_MAX_SECS: i64 = 900;

pub(crate) const COLUMNS: &str =
    "users.id, users.email, users.name, users.role, users.disabled, users.created";

pub(crate) fn user(row: &AnyRow) -> Result<User, StateError> {
    Ok(User {
        id: row.try_get(0)?,
        email: row.try_get(1)?,
        name: row.try_get(2)?,
        role: Role::read(row.try_get(3)?)?,
        disabled: row.try_get::<i64, _>(4)? != 0,
        created: Timestamp::from_nanos(row.try_get(5)?),
    })
}

impl State {
    /// Adds a user: the first as administrator, others as traders. `None` when registration is closed.
    ///
    /// # Errors
    /// [`StateError::Exists`] for an email that is there.
    pub async fn add_user(&self, now: Timestamp, new: NewUser<'_>) -> Result<Option<User>, StateError> {
        let mut transaction = self.begin().await?;
        self.lock_users(&mut transaction).await?;
        let first =
            sqlx::query("SELECT id FROM users LIMIT 1").fetch_optional(&mut *transaction).await?.is_none();
        if !first && !new.open {
            return Ok(None);
        }
        let user = User {
            id: Uuid::now_v7().to_string(),
            email: new.email.to_lowercase(),
            name: new.name.to_owned(),
            role: if first { Role::Administrator } else { Role::Trader },
            disabled: false,
            created: now,
        };
        sqlx::query(
            "INSERT INTO users (id, email, name, password, role, created) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&user.id)
        .bind(&user.email)
        .bind(&user.name)
        .bind(new.password)
        .bind(user.role.name())
        .bind(now.as_nanos())
        .execute(&mut *transaction)
        .await
        .map_err(exists(|| format!("user {}", user.email)))?;
        transaction.commit().await?;
        Ok(Some(user))
    }

    /// Whether there is a user at all.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_users(&self) -> Result<bool, StateError> {
        Ok(sqlx::query("SELECT id FROM users LIMIT 1").fetch_optional(&self.pool).await?.is_some())
    }

    /// A user.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub async fn user(&self, id: &str) -> Result<User, StateError> {
        let found = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM users WHERE id = $1")));
        let row = found.bind(id).fetch_optional(&self.pool).await?;
        user(&row.ok_or(StateError::Missing("user"))?)
    }

    /// Users behind an id (`""`: from the first), in the order in which they registered.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn users(&self, after: &str, limit: u32) -> Result<Vec<User>, StateError> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE id > $1 ORDER BY id LIMIT $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(user).collect()
    }

    /// Changes a user. The last administrator that can log in stays one.
    ///
    /// # Errors
    /// [`StateError::Missing`], or [`StateError::Invalid`] for the last administrator.
    pub async fn change_user(&self, id: &str, change: UserChange<'_>) -> Result<User, StateError> {
        let mut transaction = self.begin().await?;
        self.lock_users(&mut transaction).await?;
        sqlx::query(
            "UPDATE users SET name = COALESCE($2, name), role = COALESCE($3, role), disabled = COALESCE($4, disabled)
             WHERE id = $1",
        )
        .bind(id)
        .bind(change.name)
        .bind(change.role.map(Role::name))
        .bind(change.disabled.map(i64::from))
        .execute(&mut *transaction)
        .await?;
        let left = sqlx::query("SELECT id FROM users WHERE role = 'administrator' AND disabled = 0 LIMIT 1");
        if left.fetch_optional(&mut *transaction).await?.is_none() {
            return Err(StateError::Invalid(
                "the last administrator stays one: make another one first".into(),
            ));
        }
        if change.disabled == Some(true) {
            sqlx::query("DELETE FROM sessions WHERE user_id = $1")
                .bind(id)
                .execute(&mut *transaction)
                .await?;
        }
        let sql = format!("SELECT {COLUMNS} FROM users WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *transaction).await?;
        let changed = user(&row.ok_or(StateError::Missing("user"))?)?;
        transaction.commit().await?;
        Ok(changed)
    }

    /// What is needed to judge a log-in; `None` for an email that no one has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn attempt(&self, email: &str) -> Result<Option<Attempt>, StateError> {
        let sql = format!("SELECT {COLUMNS}, users.password, users.locked_until FROM users WHERE email = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(email.to_lowercase())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(Attempt {
                user: user(&row)?,
                password: row.try_get(6)?,
                locked_until: Timestamp::from_nanos(row.try_get(7)?),
            })
        })
        .transpose()
    }

    /// The hash of a user's password.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub async fn password_of(&self, id: &str) -> Result<String, StateError> {
        let row = sqlx::query("SELECT password FROM users WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.ok_or(StateError::Missing("user"))?.try_get(0)?)
    }

    /// Notes that a log-in failed; says until when the next must wait.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn note_failed_login(&self, now: Timestamp, id: &str) -> Result<Timestamp, StateError> {
        let mut transaction = self.begin().await?;
        let counted = sqlx::query(
            "UPDATE users SET failed_logins = failed_logins + 1 WHERE id = $1 RETURNING failed_logins",
        );
        let row = counted.bind(id).fetch_one(&mut *transaction).await?;
        let over = row.try_get::<i64, _>(0)? - FREE_FAILURES;
        let secs = if over < 0 { 0 } else { (1 << over.min(20)).min(WAIT_MAX_SECS) };
        let until = now.saturating_add(secs * NANOS_PER_SEC);
        let locked =
            sqlx::query("UPDATE users SET locked_until = $2 WHERE id = $1").bind(id).bind(until.as_nanos());
        locked.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(until)
    }

    /// Sets another password, ends all log-ins but one, and makes reset tokens void.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn set_password(&self, id: &str, password: &str, keep_session: &str) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        let set =
            sqlx::query("UPDATE users SET password = $2, failed_logins = 0, locked_until = 0 WHERE id = $1");
        set.bind(id).bind(password).execute(&mut *transaction).await?;
        let ended = sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2");
        ended.bind(id).bind(keep_session).execute(&mut *transaction).await?;
        sqlx::query("DELETE FROM reset_tokens WHERE user_id = $1")
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}
