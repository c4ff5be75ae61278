//! Secrets that we make: access and refresh tokens, API keys.
//!
//! They are 32 random bytes, so that a fast hash keeps them as safe as a slow one would.

use std::fmt;

/// What a token is for; its first letters say so, and scanners for leaked secrets find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Short-lived, of a log-in.
    Access,
    /// Exchanged for the next pair.
    Refresh,
    /// Of a page that has cookies: shows that the page itself asks.
    Csrf,
    /// Sets a forgotten password anew.
    Reset,
    /// A program's key.
    ApiKey,
    /// With which a webhook sends.
    Webhook,
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Access => "tfa_",
            Self::Refresh => "tfr_",
            Self::Csrf => "tfc_",
            Self::Reset => "tfp_",
            Self::ApiKey => "tfk_",
            Self::Webhook => "tfw_",
        }
    }

    /// What a token is for, by its text.
    pub fn of(text: &str) -> Option<Self> {
        let kinds = [Self::Access, Self::Refresh, Self::Csrf, Self::Reset, Self::ApiKey, Self::Webhook];
        kinds.into_iter().find(|kind| text.starts_with(kind.prefix()))
    }
}

/// A new secret. It is shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Panics
    /// When the system gives no random numbers: then nothing is safe.
    pub fn new(kind: TokenKind) -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the system gives random numbers");
        let mut text = kind.prefix().to_owned();
        bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        Self(text)
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The first characters, to tell keys apart.
    pub fn hint(&self) -> String {
        self.0.chars().take(10).collect()
    }

    /// What is kept of it.
    pub fn hash(&self) -> String {
        hash(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.0[..4])
    }
}

/// The hash of a token's text. Two are compared by the database's index; who could measure that learns of hashes alone.
pub(crate) fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
