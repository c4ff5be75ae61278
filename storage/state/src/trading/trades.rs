//! Round trips, with the tags and notes that people keep.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::{TradeRow, Which};
use crate::database::State;
use crate::error::StateError;
use crate::select::{Cursor, Select};

/// A round trip with what is kept with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    /// The trip.
    pub row: TradeRow,
    /// Its tags, in the order of the alphabet.
    pub tags: Vec<String>,
    /// Its note; empty when there is none.
    pub note: String,
}

const ALL: &str = "SELECT account, seq, session, symbol, strategy, side, qty, entry_time, exit_time, entry_price, exit_price,
    pnl, fees, dividends, pnl_net FROM trades";

impl State {
    /// Round trips, the last ended first; `tag` are those with a tag.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trades(
        &self,
        which: Which<'_>,
        tag: Option<&str>,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Vec<Trade>, StateError> {
        const TAGGED: &str = "EXISTS (SELECT 1 FROM trade_tags WHERE trade_tags.account = trades.account AND
            trade_tags.seq = trades.seq AND trade_tags.tag = ?)";
        let select = which.on(Select::from(ALL), "exit_time").and_if(TAGGED, tag);
        let rows = select.page(["exit_time", "seq", "account"], cursor, limit).fetch(self).await?;
        self.with_notes(rows).await
    }

    /// A round trip.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub async fn trade(&self, account: &str, seq: i64) -> Result<Trade, StateError> {
        let rows = Select::from(ALL).and("account = ?", account).and("seq = ?", seq).fetch(self).await?;
        self.with_notes(rows).await?.pop().ok_or(StateError::Missing("trade"))
    }

    /// Keeps tags and a note with a round trip; `None` stays.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub async fn annotate_trade(
        &self,
        account: &str,
        seq: i64,
        tags: Option<&[String]>,
        note: Option<&str>,
    ) -> Result<Trade, StateError> {
        self.trade(account, seq).await?;
        let mut transaction = self.begin().await?;
        if let Some(note) = note {
            sqlx::query(
                "INSERT INTO trade_notes (account, seq, note) VALUES ($1, $2, $3)
                 ON CONFLICT (account, seq) DO UPDATE SET note = excluded.note",
            )
            .bind(account)
            .bind(seq)
            .bind(note)
            .execute(&mut *transaction)
            .await?;
        }
        if let Some(tags) = tags {
            let old = sqlx::query("DELETE FROM trade_tags WHERE account = $1 AND seq = $2");
            old.bind(account).bind(seq).execute(&mut *transaction).await?;
            for tag in tags {
                sqlx::query(
                    "INSERT INTO trade_tags (account, seq, tag) VALUES ($1, $2, $3)
                     ON CONFLICT (account, seq, tag) DO NOTHING",
                )
                .bind(account)
                .bind(seq)
                .bind(tag)
                .execute(&mut *transaction)
                .await?;
            }
        }
        transaction.commit().await?;
        self.trade(account, seq).await
    }

    async fn with_notes(&self, rows: Vec<TradeRow>) -> Result<Vec<Trade>, StateError> {
        #[derive(FromRow)]
        struct Kept {
            account: String,
            seq: i64,
            text: String,
        }
        let Some(range) = rows.iter().map(|row| row.seq).min().zip(rows.iter().map(|row| row.seq).max())
        else {
            return Ok(Vec::new());
        };
        let mut accounts: Vec<_> = rows.iter().map(|row| row.account.clone()).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let of = |sql: &str, order: &str| {
            let select = Select::from(sql).among("account", Some(&accounts));
            select.and("seq >= ?", range.0).and("seq <= ?", range.1).ending(order)
        };
        let notes = of("SELECT account, seq, note AS text FROM trade_notes", "");
        let notes: Vec<Kept> = notes.fetch(self).await?;
        let mut notes: BTreeMap<_, _> =
            notes.into_iter().map(|kept| ((kept.account, kept.seq), kept.text)).collect();
        let kept = of("SELECT account, seq, tag AS text FROM trade_tags", "ORDER BY tag");
        let kept: Vec<Kept> = kept.fetch(self).await?;
        let mut tags: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for Kept { account, seq, text } in kept {
            tags.entry((account, seq)).or_default().push(text);
        }
        let found = rows.into_iter().map(|row| {
            let key = (row.account.clone(), row.seq);
            Trade {
                tags: tags.remove(&key).unwrap_or_default(),
                note: notes.remove(&key).unwrap_or_default(),
                row,
            }
        });
        Ok(found.collect())
    }
}
