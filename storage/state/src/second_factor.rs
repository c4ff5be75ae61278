//! The second factor of a log-in: codes of an authenticator (RFC 6238), and recovery codes for when it is lost. Each code
//! is good once.

use sqlx::{Any, Row, Transaction};
use totp_rs::{Builder, Secret, Totp};
use tradeflow_model::Timestamp;
use tradeflow_model::time::NANOS_PER_SEC;

use crate::database::State;
use crate::error::{StateError, exists};
use crate::seal::{KeyRing, SealError, Sealed};
use crate::token::hash;
use crate::users::User;

/// Bytes of an authenticator's secret, as RFC 4226 recommends.
const SECRET: usize = 20;
/// Recovery codes that a user gets.
const CODES: usize = 10;
/// Bytes of a recovery code: so many that a fast hash keeps it safe.
const CODE: usize = 10;

/// A new authenticator. It is shown once.
#[derive(Debug)]
pub struct Enrolment {
    /// The secret in base32, to be typed.
    pub secret: String,
    /// The same as `otpauth://…`, to be shown as a picture.
    pub url: String,
}

/// Where a user stands with his second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// Since when, in nanoseconds since 1970-01-01 UTC.
    pub created: i64,
    /// Whether log-ins ask for it: it was confirmed with a code.
    pub confirmed: bool,
    /// Recovery codes that are left.
    pub codes_left: i64,
}

pub(crate) fn place(user: &str) -> [&str; 2] {
    ["second_factors", user]
}

fn totp(secret: &[u8], email: &str) -> Result<Totp, StateError> {
    // Six digits, 30 seconds, SHA-1, one step to either side: what all authenticators know.
    let builder = Builder::new().with_secret(secret.to_vec().into_boxed_slice()).with_skew(1);
    // The label of a URL takes no colon, and an email may have one in quotes.
    let built = builder.with_issuer(Some("TradeFlow")).with_account_name(email.replace(':', " ")).build();
    built.map_err(|error| StateError::Invalid(format!("the authenticator's secret: {error}")))
}

/// As people type them: case, blanks and lines do not matter.
fn recovery_hash(user: &str, code: &str) -> String {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    hash(&format!("{user}:{}", code.to_ascii_lowercase()))
}

impl State {
    /// Begins to give a user a second factor; one that was not confirmed is replaced.
    ///
    /// # Errors
    /// [`StateError::Exists`] when he has one; [`StateError::Seal`] without a key.
    pub async fn begin_second_factor(
        &self,
        now: Timestamp,
        keys: &KeyRing,
        user: &User,
    ) -> Result<Enrolment, StateError> {
        let mut secret = zeroize::Zeroizing::new([0; SECRET]);
        getrandom::fill(&mut *secret).map_err(|error| StateError::Unavailable(error.to_string()))?;
        let totp = totp(&*secret, &user.email)?;
        let Sealed { key, text } = keys.seal(&place(&user.id), &*secret)?;
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM second_factors WHERE user_id = $1 AND confirmed = 0")
            .bind(&user.id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO second_factors (user_id, key_id, ciphertext, created) VALUES ($1, $2, $3, $4)",
        )
        .bind(&user.id)
        .bind(key)
        .bind(text)
        .bind(now.as_nanos())
        .execute(&mut *transaction)
        .await
        .map_err(exists(|| "the second factor".to_owned()))?;
        transaction.commit().await?;
        let url = totp.to_url().map_err(|error| StateError::Invalid(error.to_string()))?;
        Ok(Enrolment { secret: totp.secret().to_base32(), url })
    }

    /// Confirms a second factor with its first code: log-ins ask for one from then on. Gives the recovery codes, or nothing
    /// where the code is wrong.
    ///
    /// # Errors
    /// [`StateError::Missing`] when none was begun; [`StateError::Exists`] when it is confirmed.
    pub async fn confirm_second_factor(
        &self,
        now: Timestamp,
        keys: &KeyRing,
        user: &User,
        code: &str,
    ) -> Result<Option<Vec<String>>, StateError> {
        match self.second_factor(&user.id).await? {
            None => return Err(StateError::Missing("second factor")),
            Some(SecondFactor { confirmed: true, .. }) => {
                return Err(StateError::Exists("the second factor".to_owned()));
            }
            Some(_) => {}
        }
        let mut transaction = self.begin().await?;
        if !spend(&mut transaction, now, keys, user, code).await? {
            return Ok(None);
        }
        sqlx::query("UPDATE second_factors SET confirmed = 1 WHERE user_id = $1")
            .bind(&user.id)
            .execute(&mut *transaction)
            .await?;
        let codes = new_codes(&mut transaction, &user.id).await?;
        transaction.commit().await?;
        Ok(Some(codes))
    }

    /// Where a user stands; `None` where he has none.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn second_factor(&self, user: &str) -> Result<Option<SecondFactor>, StateError> {
        let found = sqlx::query(
            "SELECT created, confirmed, (SELECT COUNT(*) FROM recovery_codes WHERE recovery_codes.user_id = $1)
             FROM second_factors WHERE user_id = $1",
        );
        let row = found.bind(user).fetch_optional(&self.pool).await?;
        row.map(|row| {
            let confirmed = row.try_get::<i64, _>(1)? != 0;
            Ok(SecondFactor { created: row.try_get(0)?, confirmed, codes_left: row.try_get(2)? })
        })
        .transpose()
    }

    /// Whether this is a code of the user's authenticator that was not used yet, or one of his recovery codes; it is used
    /// then.
    ///
    /// # Errors
    /// [`StateError::Seal`] when his secret does not open.
    pub async fn spend_code(
        &self,
        now: Timestamp,
        keys: &KeyRing,
        user: &User,
        code: &str,
    ) -> Result<bool, StateError> {
        let mut transaction = self.begin().await?;
        if !spend(&mut transaction, now, keys, user, code).await? {
            let used = sqlx::query("DELETE FROM recovery_codes WHERE hash = $1 AND user_id = $2");
            let used = used.bind(recovery_hash(&user.id, code)).bind(&user.id);
            if used.execute(&mut *transaction).await?.rows_affected() == 0 {
                return Ok(false);
            }
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// New recovery codes; those before are void.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn renew_recovery_codes(&self, user: &str) -> Result<Vec<String>, StateError> {
        let mut transaction = self.begin().await?;
        let codes = new_codes(&mut transaction, user).await?;
        transaction.commit().await?;
        Ok(codes)
    }

    /// Takes a user's second factor away.
    ///
    /// # Errors
    /// [`StateError::Missing`] when he has none.
    pub async fn remove_second_factor(&self, user: &str) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        let codes = sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1").bind(user);
        codes.execute(&mut *transaction).await?;
        let removed = sqlx::query("DELETE FROM second_factors WHERE user_id = $1").bind(user);
        if removed.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Err(StateError::Missing("second factor"));
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Whether this is a code of the authenticator, of a step that is not spent; it is then, with those before it.
async fn spend(
    transaction: &mut Transaction<'static, Any>,
    now: Timestamp,
    keys: &KeyRing,
    user: &User,
    code: &str,
) -> Result<bool, StateError> {
    let found = sqlx::query("SELECT key_id, ciphertext FROM second_factors WHERE user_id = $1");
    let Some(row) = found.bind(&user.id).fetch_optional(&mut **transaction).await? else { return Ok(false) };
    let sealed = Sealed { key: row.try_get(0)?, text: row.try_get(1)? };
    let secret = keys.open(&place(&user.id), &sealed)?;
    let code: String = code.chars().filter(|c| *c != ' ').collect();
    let secs = u64::try_from(now.as_nanos() / NANOS_PER_SEC).unwrap_or_default();
    let Some(step) = totp(&secret, &user.email)?.check(&code, secs) else { return Ok(false) };
    let step = i64::try_from(step).map_err(|_| SealError::Broken)?;
    let spent = sqlx::query("UPDATE second_factors SET step = $2 WHERE user_id = $1 AND step < $2");
    Ok(spent.bind(&user.id).bind(step).execute(&mut **transaction).await?.rows_affected() == 1)
}

async fn new_codes(
    transaction: &mut Transaction<'static, Any>,
    user: &str,
) -> Result<Vec<String>, StateError> {
    sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1")
        .bind(user)
        .execute(&mut **transaction)
        .await?;
    let mut codes = Vec::with_capacity(CODES);
    for _ in 0..CODES {
        let mut bytes = [0; CODE];
        getrandom::fill(&mut bytes).map_err(|error| StateError::Unavailable(error.to_string()))?;
        let text = Secret::from(bytes.to_vec().into_boxed_slice()).to_base32().to_ascii_lowercase();
        let code = format!("{}-{}-{}-{}", &text[..4], &text[4..8], &text[8..12], &text[12..16]);
        sqlx::query("INSERT INTO recovery_codes (hash, user_id) VALUES ($1, $2)")
            .bind(recovery_hash(user, &code))
            .bind(user)
            .execute(&mut **transaction)
            .await?;
        codes.push(code);
    }
    Ok(codes)
}
