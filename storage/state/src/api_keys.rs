//! Keys of programs.

use sqlx::Row;
use tradeflow_model::Timestamp;
use uuid::Uuid;

use crate::database::State;
use crate::error::{StateError, exists};
use crate::sessions::Identity;
use crate::token::{Token, TokenKind, hash};
use crate::users::{COLUMNS, Role, user};

/// What a key may do, as far as its user may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look.
    Read,
    /// Trade.
    Trade,
    /// What managers do.
    Manage,
    /// What administrators do.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Trade, Self::Manage, Self::Admin];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Trade => "trade",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }

    /// The scope that is needed for what this role may do and those before it may not.
    pub const fn of(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Read,
            Role::Trader => Self::Trade,
            Role::Manager => Self::Manage,
            Role::Administrator => Self::Admin,
        }
    }

    fn read_all(text: &str) -> Result<Vec<Self>, StateError> {
        let one = |name: &str| {
            let found = Self::ALL.into_iter().find(|scope| scope.name() == name);
            found
                .ok_or_else(|| StateError::Invalid(format!("scope {name:?} is none that this version knows")))
        };
        text.split_whitespace().map(one).collect()
    }
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// What its user calls it.
    pub name: String,
    /// Its first characters.
    pub hint: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it is good; `None` for ever.
    pub expires: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub used: Option<Timestamp>,
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewApiKey<'a> {
    /// What its user calls it.
    pub name: &'a str,
    /// What it may do.
    pub scopes: &'a [Scope],
    /// Until when it is good; `None` for ever.
    pub expires: Option<Timestamp>,
}

/// `used` is written when it is older than this: not with each request.
const USED_EVERY: i64 = 60 * tradeflow_model::time::NANOS_PER_SEC;

impl State {
    /// Makes a key; its secret is shown now and never again.
    ///
    /// # Errors
    /// [`StateError::Exists`] never, in practice; when the database does not answer.
    pub async fn add_api_key(
        &self,
        now: Timestamp,
        user: &str,
        new: NewApiKey<'_>,
    ) -> Result<(ApiKey, Token), StateError> {
        let token = Token::new(TokenKind::ApiKey);
        let mut scopes = new.scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let key = ApiKey {
            id: Uuid::now_v7().to_string(),
            name: new.name.to_owned(),
            hint: token.hint(),
            scopes,
            created: now,
            expires: new.expires,
            used: None,
        };
        let names: Vec<_> = key.scopes.iter().map(|scope| scope.name()).collect();
        sqlx::query(
            "INSERT INTO api_keys (id, user_id, name, hash, hint, scopes, created, expires)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&key.id)
        .bind(user)
        .bind(&key.name)
        .bind(token.hash())
        .bind(&key.hint)
        .bind(names.join(" "))
        .bind(now.as_nanos())
        .bind(new.expires.map(Timestamp::as_nanos))
        .execute(&self.pool)
        .await
        .map_err(exists(|| format!("key {}", key.name)))?;
        Ok((key, token))
    }

    /// A user's keys, the oldest first; those that have expired too.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn api_keys(&self, user: &str) -> Result<Vec<ApiKey>, StateError> {
        let rows = sqlx::query(
            "SELECT id, name, hint, scopes, created, expires, used FROM api_keys WHERE user_id = $1 ORDER BY id",
        )
        .bind(user)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ApiKey {
                    id: row.try_get(0)?,
                    name: row.try_get(1)?,
                    hint: row.try_get(2)?,
                    scopes: Scope::read_all(row.try_get(3)?)?,
                    created: Timestamp::from_nanos(row.try_get(4)?),
                    expires: row.try_get::<Option<i64>, _>(5)?.map(Timestamp::from_nanos),
                    used: row.try_get::<Option<i64>, _>(6)?.map(Timestamp::from_nanos),
                })
            })
            .collect()
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it is not this user's.
    pub async fn remove_api_key(&self, user: &str, id: &str) -> Result<(), StateError> {
        let removed = sqlx::query("DELETE FROM api_keys WHERE id = $1 AND user_id = $2").bind(id).bind(user);
        match removed.execute(&self.pool).await?.rows_affected() {
            0 => Err(StateError::Missing("API key")),
            _ => Ok(()),
        }
    }

    pub(crate) async fn identify_key(
        &self,
        now: Timestamp,
        token: &str,
    ) -> Result<Option<Identity>, StateError> {
        let sql = format!(
            "SELECT {COLUMNS}, api_keys.id, api_keys.scopes, api_keys.expires, api_keys.used FROM api_keys
             JOIN users ON users.id = api_keys.user_id
             WHERE api_keys.hash = $1 AND (api_keys.expires IS NULL OR api_keys.expires >= $2) AND users.disabled = 0"
        );
        let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash(token)).bind(now.as_nanos());
        let Some(row) = found.fetch_optional(&self.pool).await? else { return Ok(None) };
        let id: String = row.try_get(6)?;
        let used: Option<i64> = row.try_get(9)?;
        if used.is_none_or(|used| used + USED_EVERY < now.as_nanos()) {
            let noted =
                sqlx::query("UPDATE api_keys SET used = $2 WHERE id = $1").bind(&id).bind(now.as_nanos());
            noted.execute(&self.pool).await?;
        }
        let expires = row.try_get::<Option<i64>, _>(8)?.map_or(Timestamp::MAX, Timestamp::from_nanos);
        Ok(Some(Identity::of_key(user(&row)?, id, Scope::read_all(row.try_get(7)?)?, expires)))
    }
}
