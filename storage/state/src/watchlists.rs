//! Watchlists.

use std::collections::BTreeMap;

use sqlx::Row;
use tradeflow_model::Timestamp;
use uuid::Uuid;

use crate::database::State;
use crate::error::{StateError, exists};

/// A watchlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchlist {
    /// Its id.
    pub id: String,
    /// Its name, unique for its user.
    pub name: String,
    /// Its symbols in their order.
    pub symbols: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
}

impl State {
    /// A user's watchlists, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn watchlists(&self, user: &str) -> Result<Vec<Watchlist>, StateError> {
        let items = sqlx::query(
            "SELECT watchlist_items.watchlist_id, watchlist_items.symbol FROM watchlist_items
             JOIN watchlists ON watchlists.id = watchlist_items.watchlist_id
             WHERE watchlists.user_id = $1 ORDER BY watchlist_items.place",
        );
        let mut transaction = self.pool.begin().await?;
        let mut symbols: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in items.bind(user).fetch_all(&mut *transaction).await? {
            symbols.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
        }
        let lists = sqlx::query("SELECT id, name, created FROM watchlists WHERE user_id = $1 ORDER BY id");
        let rows = lists.bind(user).fetch_all(&mut *transaction).await?;
        rows.iter()
            .map(|row| {
                let id: String = row.try_get(0)?;
                let symbols = symbols.remove(&id).unwrap_or_default();
                Ok(Watchlist {
                    id,
                    name: row.try_get(1)?,
                    symbols,
                    created: Timestamp::from_nanos(row.try_get(2)?),
                })
            })
            .collect()
    }

    /// One of a user's watchlists.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it is not his.
    pub async fn watchlist(&self, user: &str, id: &str) -> Result<Watchlist, StateError> {
        let all = self.watchlists(user).await?;
        all.into_iter().find(|list| list.id == id).ok_or(StateError::Missing("watchlist"))
    }

    /// Makes a watchlist.
    ///
    /// # Errors
    /// [`StateError::Exists`] for a name that this user has.
    pub async fn add_watchlist(
        &self,
        now: Timestamp,
        user: &str,
        name: &str,
        symbols: &[String],
    ) -> Result<Watchlist, StateError> {
        let id = Uuid::now_v7().to_string();
        let mut transaction = self.begin().await?;
        sqlx::query("INSERT INTO watchlists (id, user_id, name, created) VALUES ($1, $2, $3, $4)")
            .bind(&id)
            .bind(user)
            .bind(name)
            .bind(now.as_nanos())
            .execute(&mut *transaction)
            .await
            .map_err(exists(|| format!("watchlist {name}")))?;
        fill(&mut transaction, &id, symbols).await?;
        transaction.commit().await?;
        self.watchlist(user, &id).await
    }

    /// Changes a watchlist; `None` stays.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it is not this user's, [`StateError::Exists`] for a name that he has.
    pub async fn change_watchlist(
        &self,
        user: &str,
        id: &str,
        name: Option<&str>,
        symbols: Option<&[String]>,
    ) -> Result<Watchlist, StateError> {
        let mut transaction = self.begin().await?;
        let changed =
            sqlx::query("UPDATE watchlists SET name = COALESCE($3, name) WHERE id = $1 AND user_id = $2")
                .bind(id)
                .bind(user)
                .bind(name)
                .execute(&mut *transaction)
                .await
                .map_err(exists(|| format!("watchlist {}", name.unwrap_or_default())))?;
        if changed.rows_affected() == 0 {
            return Err(StateError::Missing("watchlist"));
        }
        if let Some(symbols) = symbols {
            let old = sqlx::query("DELETE FROM watchlist_items WHERE watchlist_id = $1").bind(id);
            old.execute(&mut *transaction).await?;
            fill(&mut transaction, id, symbols).await?;
        }
        transaction.commit().await?;
        self.watchlist(user, id).await
    }

    /// Removes a watchlist.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it is not this user's.
    pub async fn remove_watchlist(&self, user: &str, id: &str) -> Result<(), StateError> {
        let removed =
            sqlx::query("DELETE FROM watchlists WHERE id = $1 AND user_id = $2").bind(id).bind(user);
        match removed.execute(&self.pool).await?.rows_affected() {
            0 => Err(StateError::Missing("watchlist")),
            _ => Ok(()),
        }
    }
}

/// Puts symbols into an empty list; one that comes twice stays where it came first.
async fn fill(
    transaction: &mut sqlx::Transaction<'static, sqlx::Any>,
    id: &str,
    symbols: &[String],
) -> Result<(), StateError> {
    for (place, symbol) in symbols.iter().enumerate() {
        sqlx::query(
            "INSERT INTO watchlist_items (watchlist_id, symbol, place) VALUES ($1, $2, $3)
             ON CONFLICT (watchlist_id, symbol) DO NOTHING",
        )
        .bind(id)
        .bind(symbol)
        .bind(place as i64)
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}
