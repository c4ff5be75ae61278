//! Results of many runs: which was best, how two differ, the curve of one. Asked of the folders that backtests leave, or
//! of ClickHouse, through one trait with equal answers.
//!
//! | file | holds |
//! |---|---|
//! | `store.rs` | [`RunStore`]: the questions |
//! | `query.rs` | what is asked: [`RunQuery`], [`Metric`], [`GroupQuery`], [`RowQuery`] |
//! | `rows.rs` | what is answered: [`Run`], [`Fill`], [`GroupStatistics`] … |
//! | `compare.rs` | what is alike and what differs among a few runs |
//! | `folder.rs` | a run's folder, opened as it is at one moment |
//! | `summary.rs` | from `summary.json` to a row of the table of runs |
//! | `frame.rs` | between polars' columns and rows |
//! | `parquet/` | [`ParquetRuns`]: the folders, through polars, with an index |
//! | `clickhouse/` | [`ClickHouseRuns`]: schema, queries, inserts |
//! | `queue.rs` | [`UploadQueue`]: what has yet to go to ClickHouse, on disk |
//! | `../migrations/` | ClickHouse's tables |
//!
//! # Invariants
//! - Both stores give equal answers for the same runs; one suite of tests asks both.
//! - Amounts are exact: decimals from end to end, text in JSON.
//! - A run is in ClickHouse whole or not at all: its row in `runs` comes last, and the others count only through it.
//! - An insert may be repeated: rows have the key *(run, digest of its tables, number of the row)*.

#![forbid(unsafe_code)]

mod clickhouse;
mod compare;
mod error;
mod folder;
mod frame;
mod parquet;
mod query;
mod queue;
mod rows;
mod store;
mod summary;

pub use clickhouse::{ClickHouseRuns, ClickHouseUrl, Uploaded};
pub use compare::{Comparison, Difference};
pub use error::ResultsError;
pub use parquet::ParquetRuns;
pub use query::{GroupBy, GroupQuery, Metric, RowQuery, RunFilter, RunQuery, SortKey};
pub use queue::{Outcome, Pending, Skipped, Synced, UploadQueue};
pub use rows::{EquityPoint, Fill, GroupStatistics, Order, Page, Run, RunStrategy, Trade, Utc};
pub use store::RunStore;
