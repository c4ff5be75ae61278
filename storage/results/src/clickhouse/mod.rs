//! [`ClickHouseRuns`]: the results of a team in ClickHouse.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the connection |
//! | `url.rs` | [`ClickHouseUrl`]: its address |
//! | `migrations.rs` | the schema |
//! | `queries.rs` | the questions |
//! | `upload.rs` | a run's folder into the tables |
//!
//! Whatever comes from outside goes to the server as a bound parameter, never into the text of a statement. Rows go and
//! come as Parquet, so that both stores have the same columns.

mod migrations;
mod queries;
mod upload;
mod url;

use std::sync::Arc;
use std::time::Duration;

use ::clickhouse::query::Query;
use ::clickhouse::{Client, Compression};
use polars_core::prelude::*;
use polars_io::prelude::*;
use tokio::sync::OnceCell;

use crate::{ResultsError, frame};

pub use self::upload::Uploaded;
pub use self::url::ClickHouseUrl;

/// How long the server may take over one statement, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to ClickHouse. Cheap to clone; clones are one connection.
#[derive(Clone)]
pub struct ClickHouseRuns {
    url: ClickHouseUrl,
    client: Client,
    patience: Duration,
    /// Whether the schema is in place.
    ready: Arc<OnceCell<()>>,
}

impl ClickHouseRuns {
    /// Connects, and brings the schema up to date; makes the database where there is none.
    ///
    /// # Errors
    /// [`ResultsError::Unavailable`] when the server does not answer, [`ResultsError::Server`] when it refuses.
    pub async fn open(url: &ClickHouseUrl) -> Result<Self, ResultsError> {
        let runs = Self::at(url, PATIENCE);
        runs.ready().await?;
        Ok(runs)
    }

    /// Connects with the first question, so the server need not be there yet. Each statement may take so long.
    pub fn at(url: &ClickHouseUrl, patience: Duration) -> Self {
        let mut client = Client::default().with_url(&url.server).with_compression(Compression::None);
        if !url.user.is_empty() {
            client = client.with_user(&url.user);
        }
        if !url.password.is_empty() {
            client = client.with_password(&url.password);
        }
        let client = client
            .with_setting("output_format_parquet_string_as_string", "1")
            .with_setting("output_format_parquet_compression_method", "zstd");
        Self { url: url.clone(), client, patience, ready: Arc::default() }
    }

    /// Asks whether the server answers, and brings the schema up to date if that was not done.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn ping(&self) -> Result<(), ResultsError> {
        self.ready().await?;
        self.frame(self.without_database("SELECT toUInt64(1) AS one")).await.map(drop)
    }

    async fn ready(&self) -> Result<(), ResultsError> {
        self.ready.get_or_try_init(|| migrations::apply(self)).await.copied()
    }

    /// Its address.
    pub fn url(&self) -> &ClickHouseUrl {
        &self.url
    }

    fn query(&self, statement: &str) -> Query {
        self.client.clone().with_database(&self.url.database).query(statement)
    }

    fn without_database(&self, statement: &str) -> Query {
        self.client.query(statement)
    }

    async fn execute(&self, query: Query) -> Result<(), ResultsError> {
        match tokio::time::timeout(self.patience, query.execute()).await {
            Ok(done) => done.map_err(|error| self.failed(&error)),
            Err(_) => Err(self.slow()),
        }
    }

    /// The answer of a question, once the schema is in place.
    async fn answer(&self, query: Query) -> Result<DataFrame, ResultsError> {
        self.ready().await?;
        self.frame(query).await
    }

    async fn frame(&self, query: Query) -> Result<DataFrame, ResultsError> {
        let answer = async {
            let mut cursor = query.fetch_bytes("Parquet")?;
            cursor.collect().await
        };
        let bytes = match tokio::time::timeout(self.patience, answer).await {
            Ok(bytes) => bytes.map_err(|error| self.failed(&error))?,
            Err(_) => return Err(self.slow()),
        };
        let read = ParquetReader::new(std::io::Cursor::new(bytes)).finish();
        read.map_err(|error| self.unexpected(&error))
    }

    /// What an error of the client means.
    fn failed(&self, error: &::clickhouse::error::Error) -> ResultsError {
        use ::clickhouse::error::Error;
        let (server, mut reason) = (self.url.to_string(), error.to_string());
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            cause = error.source();
        }
        let reason = self.url.redact(&reason);
        match error {
            Error::Network(_) | Error::TimedOut => ResultsError::Unavailable { server, reason },
            _ => ResultsError::Server { server, reason },
        }
    }

    fn slow(&self) -> ResultsError {
        let reason = format!("no answer within {} s", self.patience.as_secs());
        ResultsError::Unavailable { server: self.url.to_string(), reason }
    }

    fn refused(&self, reason: String) -> ResultsError {
        ResultsError::Server { server: self.url.to_string(), reason }
    }

    /// An answer that is not what was asked for.
    fn unexpected(&self, error: &PolarsError) -> ResultsError {
        self.refused(self.url.redact(&format!("its answer can't be read: {error}")))
    }
}

/// The texts of a column of an answer.
fn texts(runs: &ClickHouseRuns, answer: &DataFrame, column: &str) -> Result<Vec<String>, ResultsError> {
    frame::texts(answer, column).map_err(|error| runs.unexpected(&error))
}
