//! Where a strategy's warm-up comes from: first the catalog, then the bus, with no gap and no overlap.
//!
//! The references stand in the journal with the start of the strategy, so that a replay reads the same rows. From the
//! bus come the records up to the cell's own place in each partition: what follows, the cell sees live.

use serde::{Deserialize, Serialize};
use tradeflow_model::market::Columns;
use tradeflow_model::plan::StrategyPlan;
use tradeflow_model::{Digest, DigestWriter, SeriesId, Timestamp};

use crate::chunk::MarketTopic;
use crate::session::SessionPlan;

/// Rows of the past of one series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryRef {
    /// From the catalog: the rows with `from <= start of the row < to`. The catalog may put them into other files later,
    /// but a replay must find the same rows.
    Catalog {
        /// The series.
        series: SeriesId,
        /// The first time.
        from: Timestamp,
        /// The end.
        to: Timestamp,
        /// Digest of the rows.
        digest: Digest,
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

/// Finds and reads the past. The catalog is behind this, so that live cells need not know how it is stored.
pub trait History: Send + Sync {
    /// Which part of the catalog a strategy needs for its warm-up: the last rows of the series, as `from..to` by the start
    /// of the row. From `to` on the bus is read. `None` when the catalog has none.
    ///
    /// # Errors
    /// In words, when the catalog can't be read.
    fn find(
        &self,
        plan: &SessionPlan,
        strategy: &StrategyPlan,
        series: SeriesId,
    ) -> Result<Option<(Timestamp, Timestamp)>, String>;

    /// The rows of a series that begin in `from..to`.
    ///
    /// # Errors
    /// In words, when they can't be read.
    fn read(
        &self,
        plan: &SessionPlan,
        series: SeriesId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Columns>, String>;
}

/// The digest of rows, however they are cut into pieces.
pub fn digest_of(pieces: &[Columns]) -> Digest {
    let mut writer = DigestWriter::new();
    let mut row = |values: &[i64]| values.iter().for_each(|value| writer.i64(*value));
    for piece in pieces {
        match piece {
            Columns::Bars(c) => (0..c.ts_event.len()).for_each(|i| {
                row(&[c.ts_open[i], c.ts_event[i], c.open[i], c.high[i], c.low[i], c.close[i], c.volume[i]]);
            }),
            Columns::Trades(c) => {
                (0..c.ts_event.len()).for_each(|i| row(&[c.ts_event[i], c.price[i], c.qty[i]]))
            }
            Columns::Quotes(c) => (0..c.ts_event.len())
                .for_each(|i| row(&[c.ts_event[i], c.bid[i], c.ask[i], c.bid_size[i], c.ask_size[i]])),
            Columns::Actions(_) | Columns::Sessions(_) => {}
        }
    }
    writer.finish()
}

/// No past: strategies warm up with live data alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHistory;

impl History for NoHistory {
    fn find(
        &self,
        _: &SessionPlan,
        _: &StrategyPlan,
        _: SeriesId,
    ) -> Result<Option<(Timestamp, Timestamp)>, String> {
        Ok(None)
    }

    fn read(
        &self,
        _: &SessionPlan,
        series: SeriesId,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<Vec<Columns>, String> {
        Err(format!("series {}: the history of this session is in a catalog, and none was given", series.0))
    }
}
