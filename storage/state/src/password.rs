//! Passwords: what is good enough, and what is kept of them.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use crate::error::StateError;

/// Shortest, in characters.
pub const LENGTH_MIN: usize = 12;
/// Longest, in bytes: hashing a book is no one's wish.
pub const LENGTH_MAX: usize = 256;

/// What is wrong with a new password, for people; empty when it will do. Guessing is estimated by zxcvbn, which knows
/// common passwords, names, dates and keyboard walks; at least 10¹⁰ guesses are asked for.
///
/// `known`: what others know of the user, such as the email.
pub fn problems(password: &str, known: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    if password.chars().count() < LENGTH_MIN {
        problems.push(format!("it has fewer than {LENGTH_MIN} characters"));
    }
    if password.len() > LENGTH_MAX {
        problems.push(format!("it has more than {LENGTH_MAX} bytes"));
        return problems;
    }
    let parts: Vec<&str> =
        known.iter().flat_map(|text| text.split(['@', '.', ' '])).chain(known.iter().copied()).collect();
    let parts: Vec<&str> = parts.into_iter().filter(|part| part.len() > 2).collect();
    let estimate = zxcvbn::zxcvbn(password, &parts);
    if estimate.guesses_log10() < 10.0 {
        let mut problem = format!("it is guessed in about 10^{:.0} tries", estimate.guesses_log10().max(0.0));
        let feedback = estimate.feedback();
        if let Some(warning) = feedback.and_then(|feedback| feedback.warning()) {
            problem.push_str(&format!(": {}", warning.to_string().trim_end_matches('.')));
        }
        problem.push_str("; a few words that have nothing to do with each other are better");
        problems.push(problem);
    }
    problems
}

/// The Argon2id hash of a password, on a thread for such work.
///
/// # Errors
/// When there is no such thread any more.
pub async fn hash(password: &str) -> Result<String, StateError> {
    let password = password.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
    });
    let failed = |why: String| StateError::Unavailable(format!("hash of a password: {why}"));
    hashed.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
}

/// Whether a password is the one of a hash. Without a hash (there is no such user) it takes as long, and says no.
///
/// # Errors
/// As [`hash`].
pub async fn verify(password: &str, hash: Option<&str>) -> Result<bool, StateError> {
    /// Of no one's password.
    const NO_ONES: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Uxoxs30iXLWwyRvCEYJDhTVBJJlKqDhPwgbq9kXCYZM";
    let (password, known) = (password.to_owned(), hash.is_some());
    let hash = hash.unwrap_or(NO_ONES).to_owned();
    let verified = tokio::task::spawn_blocking(move || {
        let Ok(parsed) = PasswordHash::new(&hash) else { return false };
        Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
    });
    let verified = verified.await.map_err(|error| StateError::Unavailable(error.to_string()))?;
    Ok(verified && known)
}
