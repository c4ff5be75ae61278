//! What goes wrong with a request for history, by what can be done about it.

use std::time::Duration;

use crate::calls::{Again, Failure};

/// A request for history that failed. Texts hold no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The key is missing or wrong.
    #[error("{0}")]
    Key(String),
    /// The key's plan does not include this.
    #[error("{0}")]
    Plan(String),
    /// The vendor does not know the symbol.
    #[error("{0}")]
    Symbol(String),
    /// What may be asked in a day (or another long time) is used up.
    #[error("{0}")]
    Quota(String),
    /// Too much was asked in a short time.
    #[error("{what}")]
    RateLimited {
        /// What the vendor says.
        what: String,
        /// How long it wants us to wait, where it says so.
        wait: Option<Duration>,
    },
    /// The time lies outside what the vendor keeps.
    #[error("{0}")]
    Reach(String),
    /// The vendor does not have such data.
    #[error("{0}")]
    Unsupported(String),
    /// The vendor turned us away for a reason of its own.
    #[error("{0}")]
    Refused(String),
    /// The vendor failed.
    #[error("{0}")]
    Server(String),
    /// The vendor was not reached.
    #[error("{0}")]
    Network(String),
    /// The answer is not what it should be.
    #[error("{0}")]
    Malformed(String),
}

impl HistoryError {
    /// Whether the requests for other symbols would fail as well.
    pub fn concerns_all(&self) -> bool {
        matches!(
            self,
            Self::Key(_) | Self::Quota(_) | Self::RateLimited { .. } | Self::Network(_) | Self::Refused(_)
        )
    }

    /// The same with its text changed: vendors echo keys.
    #[must_use]
    pub fn redacted(self, redact: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Key(text) => Self::Key(redact(&text)),
            Self::Plan(text) => Self::Plan(redact(&text)),
            Self::Symbol(text) => Self::Symbol(redact(&text)),
            Self::Quota(text) => Self::Quota(redact(&text)),
            Self::RateLimited { what, wait } => Self::RateLimited { what: redact(&what), wait },
            Self::Reach(text) => Self::Reach(redact(&text)),
            Self::Unsupported(text) => Self::Unsupported(redact(&text)),
            Self::Refused(text) => Self::Refused(redact(&text)),
            Self::Server(text) => Self::Server(redact(&text)),
            Self::Network(text) => Self::Network(redact(&text)),
            Self::Malformed(text) => Self::Malformed(redact(&text)),
        }
    }
}

impl Failure for HistoryError {
    fn again(&self) -> Again {
        match self {
            Self::RateLimited { wait, .. } => Again::TooMany(*wait),
            Self::Server(_) | Self::Network(_) => Again::Later,
            _ => Again::Never,
        }
    }

    fn too_far_off(wait: Duration) -> Self {
        let seconds = wait.as_secs();
        Self::Quota(format!(
            "the limit of requests is used up for another {seconds} s; run the command again then, it goes on where it \
             was"
        ))
    }
}
