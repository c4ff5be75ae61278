//! Opening the database.

use std::str::FromStr;
use std::sync::Once;
use std::time::{Duration, Instant};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, Transaction};

use crate::error::StateError;

/// The state, open. Clones share the connections.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) pool: AnyPool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

/// Connections to PostgreSQL at most, and to SQLite, where one writes at a time anyway.
const CONNECTIONS_MAX: [u32; 2] = [16, 4];

/// How long a request waits for a connection, or for SQLite's lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long SQLite's file may take to be opened.
const OPENS_MAX: Duration = Duration::from_secs(30);

impl State {
    /// Opens `sqlite:///path/of/file.db` (made where it is missing) or `postgres://user:password@host/database`, and
    /// brings its tables to this version.
    ///
    /// # Errors
    /// [`StateError::Url`], [`StateError::Unavailable`], or what is wrong with the tables.
    pub async fn open(url: &str) -> Result<Self, StateError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let wrong = |why: String| StateError::Url { url: without_password(url), why };
        let (kind, address) = match url.split_once(':') {
            Some(("sqlite", _)) if !url.contains('?') => (Kind::Sqlite, format!("{url}?mode=rwc")),
            Some(("sqlite", _)) => (Kind::Sqlite, url.to_owned()),
            Some(("postgres" | "postgresql", _)) => (Kind::Postgres, url.to_owned()),
            _ => {
                return Err(wrong(
                    "takes sqlite:///path/of/file.db or postgres://user:password@host/database".into(),
                ));
            }
        };
        let options = AnyConnectOptions::from_str(&address).map_err(|error| wrong(error.to_string()))?;
        let pools = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX[usize::from(kind == Kind::Sqlite)])
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if kind == Kind::Sqlite {
                        // A commit is synced: what was answered is kept when the power fails.
                        sqlx::raw_sql(
                            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                             PRAGMA foreign_keys = ON",
                        )
                        .execute(connection)
                        .await?;
                    }
                    Ok(())
                })
            });
        let begun = Instant::now();
        let pool = loop {
            match pools.clone().connect_with(options.clone()).await {
                Ok(pool) => break pool,
                // To make a file and its journal takes a disk that is busy longer than anything later.
                Err(sqlx::Error::PoolTimedOut) if kind == Kind::Sqlite && begun.elapsed() < OPENS_MAX => {
                    tracing::warn!(%url, "the database's disk is slow; still opening it");
                }
                Err(sqlx::Error::Configuration(why)) => return Err(wrong(why.to_string())),
                Err(error) if kind == Kind::Sqlite => return Err(wrong(error.to_string())),
                Err(error) => return Err(error.into()),
            }
        };
        sqlx::migrate!().run(&pool).await?;
        Ok(Self { pool, kind })
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// [`StateError::Unavailable`] as a rule.
    pub async fn ping(&self) -> Result<(), StateError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Closes all connections; calls fail from now on.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, StateError> {
        Ok(match self.kind {
            Kind::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
            Kind::Postgres => self.pool.begin().await?,
        })
    }

    /// Keeps others from writing to a table until the transaction ends. (SQLite's has kept them from all of it.)
    pub(crate) async fn lock_users(
        &self,
        transaction: &mut Transaction<'static, Any>,
    ) -> Result<(), StateError> {
        if self.kind == Kind::Postgres {
            sqlx::query("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE").execute(&mut **transaction).await?;
        }
        Ok(())
    }
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => format!("{}…{}", &url[..scheme + 3], &url[at..]),
        _ => url.to_owned(),
    }
}
