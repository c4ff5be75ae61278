//! What accounts give to brokers: sealed, and opened for the broker's own connection alone.

use sqlx::{FromRow, Row};
use tradeflow_model::Timestamp;
use zeroize::Zeroizing;

use crate::alerts;
use crate::database::State;
use crate::error::StateError;
use crate::seal::{KeyRing, SealError, Sealed};

/// A credential, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Credential {
    /// The broker.
    pub broker: String,
    /// What it is to the broker: `key_id`, `secret`.
    pub name: String,
    /// When it was given first, in nanoseconds since 1970-01-01 UTC.
    pub created: i64,
    /// When it was given last.
    pub rotated: i64,
}

/// Credentials of an account at most.
const MAX: i64 = 100;

fn place<'a>(account: &'a str, broker: &'a str, name: &'a str) -> [&'a str; 4] {
    ["broker_credentials", account, broker, name]
}

impl State {
    /// Keeps a secret of an account, in place of the one of that name.
    ///
    /// # Errors
    /// [`StateError::Seal`] without a key; [`StateError::Invalid`] when the account has a hundred.
    pub async fn put_credential(
        &self,
        now: Timestamp,
        keys: &KeyRing,
        (account, broker, name): (&str, &str, &str),
        secret: &str,
    ) -> Result<(), StateError> {
        let Sealed { key, text } = keys.seal(&place(account, broker, name), secret.as_bytes())?;
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO broker_credentials (account, broker, name, key_id, ciphertext, created, rotated)
             VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (account, broker, name)
             DO UPDATE SET key_id = excluded.key_id, ciphertext = excluded.ciphertext, rotated = excluded.rotated",
        )
        .bind(account)
        .bind(broker)
        .bind(name)
        .bind(key)
        .bind(text)
        .bind(now.as_nanos())
        .execute(&mut *transaction)
        .await?;
        let counted = sqlx::query("SELECT COUNT(*) FROM broker_credentials WHERE account = $1").bind(account);
        if counted.fetch_one(&mut *transaction).await?.try_get::<i64, _>(0)? > MAX {
            return Err(StateError::Invalid(format!("an account has at most {MAX} credentials")));
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What credentials an account has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn credentials(&self, account: &str) -> Result<Vec<Credential>, StateError> {
        let found = sqlx::query_as(
            "SELECT broker, name, created, rotated FROM broker_credentials WHERE account = $1 ORDER BY broker, name",
        );
        Ok(found.bind(account).fetch_all(&self.pool).await?)
    }

    /// The secret itself, for the connection to the broker.
    ///
    /// # Errors
    /// [`StateError::Missing`]; [`StateError::Seal`] when it does not open.
    pub async fn open_credential(
        &self,
        keys: &KeyRing,
        (account, broker, name): (&str, &str, &str),
    ) -> Result<Zeroizing<String>, StateError> {
        let found = sqlx::query(
            "SELECT key_id, ciphertext FROM broker_credentials WHERE account = $1 AND broker = $2 AND name = $3",
        );
        let row = found.bind(account).bind(broker).bind(name).fetch_optional(&self.pool).await?;
        let row = row.ok_or(StateError::Missing("credential"))?;
        let sealed = Sealed { key: row.try_get(0)?, text: row.try_get(1)? };
        let secret = keys.open(&place(account, broker, name), &sealed)?;
        let text = std::str::from_utf8(&secret).map_err(|_| SealError::Broken)?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Removes a credential.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub async fn remove_credential(&self, account: &str, broker: &str, name: &str) -> Result<(), StateError> {
        let removed =
            sqlx::query("DELETE FROM broker_credentials WHERE account = $1 AND broker = $2 AND name = $3");
        match removed.bind(account).bind(broker).bind(name).execute(&self.pool).await?.rows_affected() {
            0 => Err(StateError::Missing("credential")),
            _ => Ok(()),
        }
    }

    /// The keys that anything is sealed with.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn keys_in_use(&self) -> Result<Vec<String>, StateError> {
        let found = sqlx::query(
            "SELECT key_id FROM broker_credentials UNION SELECT key_id FROM second_factors
             UNION SELECT webhook_key FROM alerts WHERE webhook_key IS NOT NULL ORDER BY 1",
        );
        let rows = found.fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Seals everything anew with the first key, in one transaction; gives how many secrets were not sealed with it. What
    /// another process replaces meanwhile stays as that one sealed it.
    ///
    /// # Errors
    /// [`StateError::Seal`] when one does not open; nothing is changed then.
    pub async fn reseal(&self, keys: &KeyRing) -> Result<u64, StateError> {
        let newest = keys.ids().next().ok_or(SealError::NoKey)?;
        let mut transaction = self.begin().await?;
        let mut changed = 0;
        let found = sqlx::query(
            "SELECT account, broker, name, key_id, ciphertext FROM broker_credentials WHERE key_id <> $1",
        );
        for row in found.bind(newest).fetch_all(&mut *transaction).await? {
            let (account, broker, name): (String, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let old = Sealed { key: row.try_get(3)?, text: row.try_get(4)? };
            let place = place(&account, &broker, &name);
            let new = keys.seal(&place, &keys.open(&place, &old)?)?;
            let update = sqlx::query(
                "UPDATE broker_credentials SET key_id = $4, ciphertext = $5
                 WHERE account = $1 AND broker = $2 AND name = $3 AND ciphertext = $6",
            );
            let update = update.bind(&account).bind(&broker).bind(&name).bind(new.key).bind(new.text);
            changed += update.bind(old.text).execute(&mut *transaction).await?.rows_affected();
        }
        let found = sqlx::query("SELECT user_id, key_id, ciphertext FROM second_factors WHERE key_id <> $1");
        for row in found.bind(newest).fetch_all(&mut *transaction).await? {
            let user: String = row.try_get(0)?;
            let old = Sealed { key: row.try_get(1)?, text: row.try_get(2)? };
            let place = crate::second_factor::place(&user);
            let new = keys.seal(&place, &keys.open(&place, &old)?)?;
            let update = sqlx::query(
                "UPDATE second_factors SET key_id = $2, ciphertext = $3 WHERE user_id = $1 AND ciphertext = $4",
            );
            let update = update.bind(&user).bind(new.key).bind(new.text).bind(old.text);
            changed += update.execute(&mut *transaction).await?.rows_affected();
        }
        let found = sqlx::query(
            "SELECT id, webhook_key, webhook_secret FROM alerts
             WHERE webhook_secret IS NOT NULL AND (webhook_key IS NULL OR webhook_key <> $1)",
        );
        for row in found.bind(newest).fetch_all(&mut *transaction).await? {
            let (alert, key, text): (String, Option<String>, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let secret = alerts::open_secret(keys, &alert, key, text.clone())?;
            let new = keys.seal(&alerts::place(&alert), &secret)?;
            let update = sqlx::query(
                "UPDATE alerts SET webhook_key = $2, webhook_secret = $3 WHERE id = $1 AND webhook_secret = $4",
            );
            let update = update.bind(&alert).bind(new.key).bind(new.text).bind(text);
            changed += update.execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        Ok(changed)
    }
}
