//! A run's folder into the tables.
//!
//! The rows of a run go in shards of [`SHARD_ROWS`] rows, each one insert. A row's key is *(run, digest of the run's tables,
//! number of the row)*, so a shard that is sent twice is there once. The run's own row comes last: until then, and after
//! an upload that was cut short, nothing of it is in any answer.

use std::path::Path;

use polars_core::prelude::*;
use polars_io::prelude::*;

use super::{ClickHouseRuns, PATIENCE, texts};
use crate::folder::OpenRun;
use crate::frame::{self, TABLES, Table};
use crate::{ResultsError, Utc};

/// Rows of a shard.
const SHARD_ROWS: usize = 20_000;
/// Bytes that are sent at once.
const CHUNK: usize = 256 * 1024;

/// What an upload came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// The run is there.
    Done {
        /// Rows of its tables.
        rows: u64,
    },
    /// It was there already, with the same tables.
    AlreadyThere,
    /// Another result of the same plan is there that finished later, and stays.
    Superseded,
}

/// What the server has of a run.
struct There {
    content: String,
    config_digest: String,
    finished: Utc,
}

impl ClickHouseRuns {
    /// Puts a run's folder into the tables, whole or not at all. May be repeated.
    ///
    /// # Errors
    /// [`ResultsError::Damaged`] when the folder can't be uploaded as it is; the errors of the server otherwise.
    pub async fn upload(&self, folder: &Path, run: &str) -> Result<Uploaded, ResultsError> {
        let open = OpenRun::open(folder, run)?;
        self.upload_open(&open, run).await
    }

    pub(crate) async fn upload_open(&self, open: &OpenRun, run: &str) -> Result<Uploaded, ResultsError> {
        let content = open.content()?;
        let there = self.there(run).await?;
        if let Some(there) = &there {
            if there.config_digest != open.row.config_digest {
                return Err(ResultsError::Damaged(format!(
                    "{run}: ClickHouse has a run of this name with another plan ({}, here {}): rename the folder",
                    there.config_digest, open.row.config_digest
                )));
            }
            if there.finished == open.row.finished && there.content == content {
                return Ok(Uploaded::AlreadyThere);
            }
            if there.finished > open.row.finished {
                return Ok(Uploaded::Superseded);
            }
        }
        // All are read before the first is sent: a damaged one leaves nothing behind.
        let mut tables = Vec::with_capacity(TABLES.len());
        for table in TABLES {
            tables.push((table, open.table(table)?));
        }
        let mut rows = 0;
        for (table, frame) in &tables {
            rows += frame.height() as u64;
            self.insert_table(*table, frame, run, &content).await?;
        }
        self.check_counts(run, &content, &tables).await?;
        self.insert_run(open, run, &content).await?;
        if let Some(there) = there.filter(|there| there.content != content) {
            self.remove(run, &there.content).await?;
        }
        Ok(Uploaded::Done { rows })
    }

    async fn there(&self, run: &str) -> Result<Option<There>, ResultsError> {
        let query = self.query(
            "SELECT content, config_digest, toUnixTimestamp64Nano(finished) AS finished FROM runs FINAL \
             WHERE run = {run:String}",
        );
        let answer = self.frame(query.param("run", run)).await?;
        if answer.height() == 0 {
            return Ok(None);
        }
        let finished = frame::integer(&answer, "finished").map_err(|error| self.unexpected(&error))?;
        Ok(Some(There {
            content: texts(self, &answer, "content")?.swap_remove(0),
            config_digest: texts(self, &answer, "config_digest")?.swap_remove(0),
            finished: Utc(tradeflow_model::Timestamp::from_nanos(finished)),
        }))
    }

    async fn insert_table(
        &self,
        table: Table,
        frame: &DataFrame,
        run: &str,
        content: &str,
    ) -> Result<(), ResultsError> {
        for first in (0..frame.height()).step_by(SHARD_ROWS) {
            let shard = frame.slice(first as i64, SHARD_ROWS);
            let numbers: Vec<u64> = (first as u64..).take(shard.height()).collect();
            let shard = shard.with_columns_of([("run", run), ("content", content)], Some(numbers));
            let names: Vec<_> = ["run", "content", "row"].into_iter().chain(table.names()).collect();
            self.insert(table.name, &names, shard.map_err(|error| encoding(&error))?).await?;
        }
        Ok(())
    }

    async fn insert_run(&self, open: &OpenRun, run: &str, content: &str) -> Result<(), ResultsError> {
        let row = frame::of_runs(std::slice::from_ref(&open.row));
        let row =
            row.and_then(|row| row.with_columns_of([("content", content), ("summary", &open.summary)], None));
        let names: Vec<_> = frame::RUN_COLUMNS.into_iter().chain(["content", "summary"]).collect();
        tracing::debug!(run, "all rows are there; the run's own row follows");
        self.insert("runs", &names, row.map_err(|error| encoding(&error))?).await
    }

    /// One insert.
    async fn insert(&self, table: &str, names: &[&str], mut frame: DataFrame) -> Result<(), ResultsError> {
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).finish(&mut frame).map_err(|error| encoding(&error))?;
        let statement = format!("INSERT INTO {table} ({}) FORMAT Parquet", names.join(", "));
        let client = self.client.clone().with_database(&self.url.database).with_setting("async_insert", "0");
        let mut insert =
            client.insert_formatted_with(statement).with_timeouts(Some(PATIENCE), Some(PATIENCE));
        let bytes = bytes::Bytes::from(bytes);
        let sent = async {
            for first in (0..bytes.len()).step_by(CHUNK) {
                insert.send(bytes.slice(first..bytes.len().min(first + CHUNK))).await?;
            }
            insert.end().await
        };
        sent.await.map_err(|error| self.failed(&error))
    }

    /// Every row of the tables must be there once.
    async fn check_counts(
        &self,
        run: &str,
        content: &str,
        tables: &[(Table, DataFrame)],
    ) -> Result<(), ResultsError> {
        let counts: Vec<_> = TABLES
            .iter()
            .map(|table| {
                let of = "WHERE run = {run:String} AND content = {content:String}";
                format!("(SELECT count() FROM {0} FINAL {of}) AS {0}", table.name)
            })
            .collect();
        let query = self.query(&format!("SELECT {}", counts.join(", ")));
        let answer = self.frame(query.param("run", run).param("content", content)).await?;
        for (table, frame) in tables {
            let there = frame::number(&answer, table.name).map_err(|error| self.unexpected(&error))?;
            if there != frame.height() as u64 {
                return Err(self.refused(format!(
                    "of {} rows of {run} in {} it has {there} after all were inserted",
                    frame.height(),
                    table.name
                )));
            }
        }
        Ok(())
    }

    /// Removes the rows of tables that no run names any more.
    async fn remove(&self, run: &str, content: &str) -> Result<(), ResultsError> {
        for table in TABLES {
            let statement = format!(
                "DELETE FROM {} WHERE run = {{run:String}} AND content = {{content:String}}",
                table.name
            );
            self.execute(self.query(&statement).param("run", run).param("content", content)).await?;
        }
        Ok(())
    }
}

/// Adds what is the same in all rows, and the numbers of the rows.
trait WithColumns: Sized {
    fn with_columns_of(self, texts: [(&str, &str); 2], numbers: Option<Vec<u64>>) -> PolarsResult<Self>;
}

impl WithColumns for DataFrame {
    fn with_columns_of(mut self, texts: [(&str, &str); 2], numbers: Option<Vec<u64>>) -> PolarsResult<Self> {
        for (name, text) in texts {
            let value = Scalar::new(DataType::String, AnyValue::StringOwned(text.into()));
            let column = Column::new_scalar(name.into(), value, self.height());
            self.with_column(column)?;
        }
        if let Some(numbers) = numbers {
            self.with_column(Column::new("row".into(), numbers))?;
        }
        Ok(self)
    }
}

fn encoding(error: &PolarsError) -> ResultsError {
    ResultsError::Internal(format!("rows can't be encoded: {error}"))
}
