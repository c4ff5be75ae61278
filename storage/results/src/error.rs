//! What can go wrong.

use std::path::Path;

/// Why a question has no answer, or an upload did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// There is no such run.
    #[error("there is no run named {0:?}: `tradeflow runs list` shows what there is")]
    Missing(String),
    /// The question can't be asked so.
    #[error("{0}")]
    Query(String),
    /// A file of a run is damaged, or is not what it should be.
    #[error("{0}")]
    Damaged(String),
    /// A file or folder can't be read or written.
    #[error("{0}")]
    Io(String),
    /// ClickHouse does not answer.
    #[error("ClickHouse at {server} does not answer: {reason}")]
    Unavailable {
        /// Its address, without the password.
        server: String,
        /// What happened.
        reason: String,
    },
    /// ClickHouse answered with an error.
    #[error("ClickHouse at {server}: {reason}")]
    Server {
        /// Its address, without the password.
        server: String,
        /// What it said.
        reason: String,
    },
    /// An error of this program.
    #[error("{0}; please report this as a defect of TradeFlow")]
    Internal(String),
}

impl ResultsError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Io(format!("{}: {error}", path.display()))
    }

    pub(crate) fn damaged(path: &Path, what: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("{}: {what}", path.display()))
    }
}
