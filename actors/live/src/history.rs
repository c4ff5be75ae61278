//! Where a strategy's warm-up comes from: first the catalog, then the bus, with no gap and no overlap.
//!
//! The references stand in the journal with the start of the strategy, so that a replay reads the same rows. From the
//! bus come the records up to the cell's own place in each partition: what follows, the cell sees live.

use serde::{Deserialize, Serialize};
use tradeflow_model::market::Columns;
use tradeflow_model::plan::{DataFile, StrategyPlan};
use tradeflow_model::{SeriesId, Timestamp};

use crate::chunk::MarketTopic;
use crate::session::SessionPlan;

/// Rows of the past of one series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryRef {
    /// From the catalog: rows with `from <= start of the row < to`.
    Catalog {
        /// The series.
        series: SeriesId,
        /// The first time.
        from: Timestamp,
        /// The end.
        to: Timestamp,
        /// The files, with the digests of their contents.
        files: Vec<DataFile>,
    },
    /// From the bus: rows of the series that begin at or after `after`, in records with `first <= offset < end`.
    Bus {
        /// The series.
        series: SeriesId,
        /// The topic.
        topic: MarketTopic,
        /// The partition.
        partition: u32,
        /// The first offset.
        first: u64,
        /// One past the last.
        end: u64,
        /// Rows before this are in the catalog's part already.
        after: Timestamp,
    },
}

/// Reads and finds the past. The catalog is behind this, so that live cells need not know how it is stored.
pub trait History: Send + Sync {
    /// What a strategy needs of the catalog for its warm-up: for each of its series rows up to what the catalog has, and
    /// the end of that, from where on the bus is read.
    ///
    /// # Errors
    /// In words, when the catalog can't be read.
    fn find(
        &self,
        plan: &SessionPlan,
        strategy: &StrategyPlan,
        series: SeriesId,
    ) -> Result<Option<HistoryRef>, String>;

    /// The rows of a reference to the catalog.
    ///
    /// # Errors
    /// In words, when a file is missing or has changed.
    fn read(
        &self,
        plan: &SessionPlan,
        series: SeriesId,
        from: Timestamp,
        to: Timestamp,
        files: &[DataFile],
    ) -> Result<Vec<Columns>, String>;
}

/// No past: strategies warm up with live data alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHistory;

impl History for NoHistory {
    fn find(&self, _: &SessionPlan, _: &StrategyPlan, _: SeriesId) -> Result<Option<HistoryRef>, String> {
        Ok(None)
    }

    fn read(
        &self,
        _: &SessionPlan,
        series: SeriesId,
        _: Timestamp,
        _: Timestamp,
        _: &[DataFile],
    ) -> Result<Vec<Columns>, String> {
        Err(format!("series {}: the history of this session is in a catalog, and none was given", series.0))
    }
}
