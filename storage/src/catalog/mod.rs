//! The catalog: market data as Parquet files that plain tools read, on a local folder or an object store.
//!
//! ```text
//! instruments/<SYMBOL>.json
//! kind=bar/interval=1m/price=last/symbol=BTCUSD/month=2017-05/data.parquet    bars below a day: a file a UTC month
//! kind=bar/interval=1d/price=last/symbol=GOOG/year=2004/data.parquet          daily and weekly bars: a file a year
//! kind=trade/symbol=SPY/date=2013-10-07/data.parquet                          trades and quotes: a file a UTC date
//! kind=action/symbol=AAPL/data.parquet                                        splits and dividends: one file
//! ```
//!
//! Prices and quantities are `Decimal(18, scale)` in 64-bit integers at the instrument's scale, times are
//! nanoseconds UTC, rows are sorted by time. A file is replaced whole and atomically, so a reader sees the old
//! rows or the new ones, and an interrupted write leaves no half of a day behind. Merging the same rows again
//! changes nothing.
//!
//! All calls block. Inside an async runtime, call them from a blocking thread.

mod error;
mod key;

use tradeflow_model::market::{Columns, SeriesKind};
use tradeflow_model::plan::DataFile;
use tradeflow_model::{Instrument, InstrumentId, SeriesId, Symbol, Timestamp};

pub use error::CatalogError;
pub use key::{Partition, Partitioning, SeriesKey};

/// A catalog of market data.
#[derive(Debug, Clone)]
pub struct Catalog {}

/// What to do with a bar that differs from the one in the catalog at the same open time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ConflictPolicy {
    /// Refuse the whole merge with an error that names the time and both bars.
    #[default]
    Reject,
    /// The bar in the catalog stays.
    Keep,
    /// The new bar takes its place.
    Replace,
}

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MergeReport {
    /// Rows that were not there before.
    pub added: u64,
    /// Rows that were there already.
    pub unchanged: u64,
    /// Rows that took another's place (policy `replace`).
    pub replaced: u64,
    /// Rows that differed from the catalog's and were left out (policy `keep`).
    pub conflicts: u64,
    /// Files written.
    pub files_written: u64,
    /// Files that already held every row.
    pub files_unchanged: u64,
}

/// A series of the catalog, as its listing and file footers tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesInfo {
    /// Which series.
    pub key: SeriesKey,
    /// Rows in all.
    pub rows: u64,
    /// Files.
    pub files: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Key time of the first row: `ts_open` of a bar, `ts_event` of anything else.
    pub first: Timestamp,
    /// Key time of the last row.
    pub last: Timestamp,
    /// Where the rows came from, each source once.
    pub sources: Vec<String>,
}

/// A file of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Path, size and content digest, as a run plan names it.
    pub file: DataFile,
    /// Rows.
    pub rows: u64,
    /// Key time of the first row.
    pub first: Timestamp,
    /// Key time of the last row.
    pub last: Timestamp,
    /// Where the rows came from.
    pub sources: Vec<String>,
}

impl Catalog {
    /// Opens the catalog at a folder, a `file://` URL, or (with the cargo feature `cloud`) an `s3://`, `az://` or
    /// `gs://` URL, with credentials from the usual environment variables. A folder that is not there yet is
    /// created with the first write.
    ///
    /// # Errors
    /// When the address can't be understood or its feature is not built in.
    pub fn open(url: &str) -> Result<Self, CatalogError> {
        let _ = url;
        unimplemented!()
    }

    /// The instruments, sorted by symbol.
    ///
    /// # Errors
    /// When the store fails or a definition can't be read.
    pub fn instruments(&self) -> Result<Vec<Instrument>, CatalogError> {
        unimplemented!()
    }

    /// The definition of an instrument; `None` when there is none.
    ///
    /// # Errors
    /// When the store fails or the definition can't be read.
    pub fn instrument(&self, symbol: &Symbol) -> Result<Option<Instrument>, CatalogError> {
        let _ = symbol;
        unimplemented!()
    }

    /// Adds or replaces a definition.
    ///
    /// # Errors
    /// When it would change the scale of prices or sizes while there is data at the old one, or the store fails.
    pub fn put_instrument(&self, instrument: &Instrument) -> Result<(), CatalogError> {
        let _ = instrument;
        unimplemented!()
    }

    /// All series, sorted by symbol and kind, from listing and footers alone.
    ///
    /// # Errors
    /// When the store fails or a footer can't be read.
    pub fn series(&self) -> Result<Vec<SeriesInfo>, CatalogError> {
        unimplemented!()
    }

    /// The files of a series that hold rows with `from ≤ key time < to`, in time order, from footers alone.
    ///
    /// # Errors
    /// When the store fails or a footer can't be read.
    pub fn files(
        &self,
        key: &SeriesKey,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<FileInfo>, CatalogError> {
        let _ = (key, from, to);
        unimplemented!()
    }

    /// Merges rows into a series and writes at once; [`Self::writer`] merges many pieces and writes at the end.
    ///
    /// # Errors
    /// As [`CatalogWriter::merge`] and [`CatalogWriter::commit`].
    pub fn merge(
        &self,
        key: &SeriesKey,
        source: &str,
        rows: &Columns,
        conflict: ConflictPolicy,
    ) -> Result<MergeReport, CatalogError> {
        let mut writer = self.writer()?;
        let mut report = writer.merge(key, source, rows, conflict)?;
        let commit = writer.commit()?;
        report.files_written = commit.files_written;
        Ok(report)
    }

    /// Begins to write. One writer at a time: the call waits for another to end (local catalogs).
    ///
    /// # Errors
    /// When the lock can't be taken.
    pub fn writer(&self) -> Result<CatalogWriter, CatalogError> {
        unimplemented!()
    }

    /// Reads files of a series, `batch_rows` rows at a time.
    pub fn reader(
        &self,
        instrument: &Instrument,
        kind: SeriesKind,
        files: Vec<DataFile>,
        batch_rows: usize,
    ) -> ChunkReader {
        let _ = (instrument, kind, files, batch_rows);
        unimplemented!()
    }

    /// All rows of a series with `from ≤ key time < to`, in one piece.
    ///
    /// # Errors
    /// When there is no such instrument, or as [`Self::files`] and [`ChunkReader`].
    pub fn read(&self, key: &SeriesKey, from: Timestamp, to: Timestamp) -> Result<Columns, CatalogError> {
        let _ = (key, from, to);
        unimplemented!()
    }
}

/// Changes to a catalog that are written together: [`Self::merge`] and [`Self::put_instrument`] check and prepare,
/// [`Self::commit`] writes. Nothing is written before; dropping the writer leaves the catalog as it was.
pub struct CatalogWriter {}

impl CatalogWriter {
    /// Adds or replaces a definition, for the merges that follow as well.
    ///
    /// # Errors
    /// As [`Catalog::put_instrument`].
    pub fn put_instrument(&mut self, instrument: &Instrument) -> Result<(), CatalogError> {
        let _ = instrument;
        unimplemented!()
    }

    /// Merges rows, sorted by key time (equal times in their own order), into a series.
    ///
    /// Bars counted in time are keyed by `ts_open`: an equal bar collapses, a different one is a conflict. Of two
    /// bars that differ in `ts_init` alone the earlier is kept. Trades, quotes, actions and bars counted in ticks,
    /// volume or notional merge as multisets of whole rows: of a row that is there `m` times and given `n` times
    /// `max(m, n)` remain, those that were there first. All rows of one instant must therefore come in one call.
    ///
    /// # Errors
    /// For rows of another kind, not sorted, or overlapping; for a conflict under `Reject`; for a file that can't
    /// be read. Nothing of the call is kept then.
    pub fn merge(
        &mut self,
        key: &SeriesKey,
        source: &str,
        rows: &Columns,
        conflict: ConflictPolicy,
    ) -> Result<MergeReport, CatalogError> {
        let _ = (key, source, rows, conflict);
        unimplemented!()
    }

    /// Writes what changed, file by file, each atomically.
    ///
    /// # Errors
    /// When the store fails. Files written until then stay; each is whole, and running the same merges again
    /// completes the work.
    pub fn commit(self) -> Result<CommitReport, CatalogError> {
        unimplemented!()
    }
}

/// What a commit wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitReport {
    /// Data files written.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
}

/// Reads files one after another in pieces; see [`Catalog::reader`]. Ends after the first error.
pub struct ChunkReader {}

impl ChunkReader {
    /// Only rows with `from ≤ key time < to`.
    #[must_use]
    pub fn between(self, from: Timestamp, to: Timestamp) -> Self {
        let _ = (from, to);
        self
    }

    /// The ids that corporate actions carry in themselves (other kinds get theirs from the batch); 0 otherwise.
    #[must_use]
    pub fn with_ids(self, series: SeriesId, instrument: InstrumentId) -> Self {
        let _ = (series, instrument);
        self
    }
}

impl Iterator for ChunkReader {
    type Item = Result<Columns, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}
