//! What can go wrong.

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database is away or overloaded; it may be tried again.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The URL is none that is known, or a folder is missing.
    #[error("database {url}: {why}")]
    Url {
        /// The URL, without its password.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// There is one already.
    #[error("{0} is there already")]
    Exists(String),
    /// There is none.
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// A value that can't be, such as a role that no version knows.
    #[error("{0}")]
    Invalid(String),
    /// A text that the database can't hold: it has a zero character.
    #[error("a text holds a zero character")]
    Text,
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] crate::seal::SealError),
    /// The tables could not be brought to this version.
    #[error("migration of the database: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Anything else that the database says.
    #[error("the database: {0}")]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for StateError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error.to_string()),
            sqlx::Error::Database(ref database) => {
                let code = database.code().unwrap_or_default();
                // PostgreSQL's classes: 08 connection, 53 resources, 57 operator (it is going down); SQLite's 5: busy.
                let away = ["08", "53", "57"].iter().any(|class| code.len() == 5 && code.starts_with(class));
                match code.as_ref() {
                    // PostgreSQL: character not in repertoire.
                    "22021" => Self::Text,
                    code if away || code == "5" => Self::Unavailable(error.to_string()),
                    _ => Self::Database(error),
                }
            }
            error => Self::Database(error),
        }
    }
}

/// An error of a write that fails as [`StateError::Exists`] where a unique value is there already.
pub(crate) fn exists(what: impl FnOnce() -> String) -> impl FnOnce(sqlx::Error) -> StateError {
    |error| match error.as_database_error().is_some_and(|error| error.is_unique_violation()) {
        true => StateError::Exists(what()),
        false => error.into(),
    }
}
