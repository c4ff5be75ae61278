//! The catalog: market data as Parquet files that plain tools read, on a local folder or an object store.
//!
//! ```text
//! instruments/<SYMBOL>.json
//! kind=bar/interval=1m/price=last/symbol=BTCUSD/month=2017-05/data.parquet    bars below a day: a file a UTC month
//! kind=bar/interval=1d/price=last/symbol=GOOG/year=2004/data.parquet          daily and weekly bars: a file a year
//! kind=trade/symbol=SPY/date=2013-10-07/data.parquet                          trades and quotes: a file a UTC date
//! kind=action/symbol=AAPL/data.parquet                                        splits and dividends: one file
//! coverage/yahoo/kind=bar/interval=1d/price=last/symbol=AAPL.json             what a vendor was asked for already
//! kind=trade/symbol=BTCUSD/date=2026-11-21/part-<ns>.parquet                  a day being recorded: its rows from then on
//! recorded/…                                                                  a recorder's records in the bus's order
//! superseded/…                                                                files replaced within the last ten minutes
//! ```
//!
//! A partition that is being recorded lies in several files, one after the other in time, until they are folded into
//! one; see [`CatalogAppender`].
//!
//! Prices and quantities are `Decimal(18, scale)` in 64-bit integers at the instrument's scale, times are
//! nanoseconds UTC, rows are sorted by time. A file is replaced whole and atomically, so a reader sees the old
//! rows or the new ones, and an interrupted write leaves no half of a day behind. Merging the same rows again
//! changes nothing.
//!
//! All calls block. Inside an async runtime, call them from a blocking thread.

mod append;
#[cfg(test)]
mod append_tests;
mod content;
mod coverage;
mod decode;
mod encode;
mod error;
mod gaps;
mod instruments;
mod key;
mod merge;
mod reader;
mod rows;
mod schema;
mod seal;
mod store;
mod verify;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;

use object_store::ObjectStore;
use tradeflow_model::market::{Columns, SeriesKind};
use tradeflow_model::plan::DataFile;
use tradeflow_model::{Instrument, Symbol, Timestamp, ValueError, ValueReason};

use decode::Footer;
use store::Store;

pub use append::{Appended, CatalogAppender, NewRows};
pub use coverage::{Coverage, Covered};
pub use error::CatalogError;
pub use gaps::{Gap, GapReport};
pub use key::{Partition, Partitioning, SeriesKey};
pub use reader::ChunkReader;
pub use verify::{Fault, VerifyReport};
pub use writer::CatalogWriter;

/// A catalog of market data. Cheap to clone; clones share one connection.
#[derive(Debug, Clone)]
pub struct Catalog {
    store: Store,
}

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

impl std::str::FromStr for ConflictPolicy {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(match text {
            "reject" => Self::Reject,
            "keep" => Self::Keep,
            "replace" => Self::Replace,
            _ => {
                let why = ValueReason::Other("is not one of reject, keep, replace".into());
                return Err(ValueError::new("catalog", "conflict policy", text, why));
            }
        })
    }
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

/// What a commit wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitReport {
    /// Data files written.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
}

impl Catalog {
    /// Opens the catalog at a folder, a `file://` URL, or (with the cargo feature `cloud`) an `s3://`, `az://` or
    /// `gs://` URL, with credentials from the environment variables that the vendors' tools use. A folder that is
    /// not there yet is an empty catalog; it is created with the first write.
    ///
    /// # Errors
    /// When the address can't be understood or its feature is not built in.
    pub fn open(url: &str) -> Result<Self, CatalogError> {
        Ok(Self { store: Store::open(url)? })
    }

    /// A catalog on a store that the caller made, in memory for example. `url` is for messages.
    ///
    /// # Errors
    /// When its runtime can't be started.
    pub fn on_store(url: &str, store: Arc<dyn ObjectStore>) -> Result<Self, CatalogError> {
        Ok(Self { store: Store::of(url, store)? })
    }

    /// The address, as it was given.
    pub fn url(&self) -> &str {
        self.store.url()
    }

    /// The instruments, sorted by symbol.
    ///
    /// # Errors
    /// When the store fails or a definition can't be read.
    pub fn instruments(&self) -> Result<Vec<Instrument>, CatalogError> {
        let mut found = Vec::new();
        for symbol in instruments::symbols(&self.store)? {
            found.extend(instruments::read(&self.store, &symbol)?);
        }
        Ok(found)
    }

    /// The definition of an instrument; `None` when there is none.
    ///
    /// # Errors
    /// When the store fails or the definition can't be read.
    pub fn instrument(&self, symbol: &Symbol) -> Result<Option<Instrument>, CatalogError> {
        instruments::read(&self.store, symbol)
    }

    /// Adds or replaces a definition. An equal one is left alone.
    ///
    /// # Errors
    /// When it would change the scale of prices or sizes while there is data at the old one, or the store fails.
    pub fn put_instrument(&self, instrument: &Instrument) -> Result<(), CatalogError> {
        let mut writer = self.writer()?;
        writer.put_instrument(instrument)?;
        writer.commit().map(|_| ())
    }

    /// All series, sorted by symbol and kind, from listing and footers alone.
    ///
    /// # Errors
    /// When the store fails or a footer can't be read.
    pub fn series(&self) -> Result<Vec<SeriesInfo>, CatalogError> {
        let mut all: Vec<SeriesInfo> = Vec::new();
        for (path, bytes) in self.store.list("")? {
            let Some((key, _)) = SeriesKey::of_path(&path) else { continue };
            let footer = self.footer(&key, &path, bytes)?;
            let before = all.last().filter(|info| info.key == key).map(|info| info.last);
            if SeriesKey::is_part(&path) && before.is_some_and(|last| footer.first <= last) {
                continue; // Folded already; see `files`.
            }
            // The listing is sorted by path, so the files of a series stand together.
            let Some(info) = all.last_mut().filter(|info| info.key == key) else {
                let Footer { rows, first, last, sources, .. } = footer;
                all.push(SeriesInfo { key, rows, files: 1, bytes, first, last, sources });
                continue;
            };
            info.rows += footer.rows;
            info.files += 1;
            info.bytes += bytes;
            info.first = info.first.min(footer.first);
            info.last = info.last.max(footer.last);
            let sources: BTreeSet<_> = info.sources.drain(..).chain(footer.sources).collect();
            info.sources = sources.into_iter().collect();
        }
        all.sort_by_cached_key(|info| (info.key.symbol.clone(), info.key.kind.rank(), info.key.to_string()));
        Ok(all)
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
        let mut files = Vec::new();
        let mut before = Timestamp::MIN;
        for (path, bytes, partition) in self.list(key)? {
            let (start, end) = partition.bounds();
            if end <= from || start >= to {
                continue;
            }
            let Footer { rows, first, last, sources, content, .. } = self.footer(key, &path, bytes)?;
            if SeriesKey::is_part(&path) && first <= before {
                // Its rows are in the file before it: a recorder was stopped between folding and deleting it.
                continue;
            }
            before = last;
            if last < from || first >= to {
                continue;
            }
            files.push(FileInfo {
                file: DataFile { path, bytes, digest: content },
                rows,
                first,
                last,
                sources,
            });
        }
        Ok(files)
    }

    /// Paths, sizes and partitions of a series' files, in time order.
    fn list(&self, key: &SeriesKey) -> Result<Vec<(String, u64, Partition)>, CatalogError> {
        let Some(folder) = key.folder() else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for (path, bytes) in self.store.list(&folder)? {
            if let Some((_, partition)) = SeriesKey::of_path(&path).filter(|(found, _)| found == key) {
                files.push((path, bytes, partition));
            }
        }
        // The files of a partition are already in the order of their names, and so of time.
        files.sort_by_key(|(_, _, partition)| *partition);
        Ok(files)
    }

    fn footer(&self, key: &SeriesKey, path: &str, bytes: u64) -> Result<Footer, CatalogError> {
        self.store.footer(key, path, bytes)
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
        let report = writer.merge(key, source, rows, conflict)?;
        writer.commit()?;
        Ok(report)
    }

    /// Begins to write. One writer at a time: on a folder the call waits for another to end, in this process or any
    /// other; on a bucket, which has no lock, the commit of the slower one fails with [`CatalogError::Raced`].
    ///
    /// # Errors
    /// When the lock can't be taken.
    pub fn writer(&self) -> Result<CatalogWriter, CatalogError> {
        CatalogWriter::new(self.store.clone())
    }

    /// Reads files of a series, in the order given, at most `batch_rows` rows at a time.
    pub fn reader(
        &self,
        instrument: &Instrument,
        kind: SeriesKind,
        files: Vec<DataFile>,
        batch_rows: usize,
    ) -> ChunkReader {
        ChunkReader::new(self.store.clone(), instrument, kind, files, batch_rows)
    }

    /// All rows of a series with `from ≤ key time < to`, in one piece.
    ///
    /// # Errors
    /// When there is no such instrument, or as [`Self::files`] and [`ChunkReader`].
    pub fn read(&self, key: &SeriesKey, from: Timestamp, to: Timestamp) -> Result<Columns, CatalogError> {
        const PIECE_ROWS: usize = 1 << 20;
        let instrument = self.instrument(&key.symbol)?;
        let instrument =
            instrument.ok_or_else(|| CatalogError::NoInstrument { symbol: key.symbol.clone() })?;
        let files = self.files(key, from, to)?.into_iter().map(|info| info.file).collect();
        let mut all = rows::empty(key.kind);
        for piece in self.reader(&instrument, key.kind, files, PIECE_ROWS).between(from, to) {
            rows::append(&mut all, &piece?);
        }
        Ok(all)
    }

    /// Decodes every file, or those of one symbol, and checks bytes, digests, order, unique keys, bars that contradict
    /// themselves, statistics and place. `progress` is called with files done and files in all; it may stop the rest.
    ///
    /// # Errors
    /// When the store fails. What is wrong with files is in the report.
    pub fn verify(
        &self,
        symbol: Option<&Symbol>,
        progress: impl FnMut(u64, u64) -> std::ops::ControlFlow<()>,
    ) -> Result<VerifyReport, CatalogError> {
        verify::verify(self, symbol, progress)
    }

    /// What is missing of a series in `from..to` (by default from its first row to its last) against the calendar of
    /// its instrument. Silences of trades and quotes count from `silence_ns` on. `None` when there are no rows there.
    ///
    /// # Errors
    /// When there is no such instrument, the store fails or a file can't be read.
    pub fn gaps(
        &self,
        key: &SeriesKey,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        silence_ns: i64,
    ) -> Result<Option<GapReport>, CatalogError> {
        gaps::gaps(self, key, from, to, silence_ns)
    }
}
