//! Appending what a recorder takes from a bus: exactly once, and without rewriting a day for each minute.
//!
//! A partition (a day of ticks, a month of bars) may lie in several files: `data.parquet` and, each for the key times
//! from the one in its name on, `part-<ns>.parquet`. Rows go to the file whose stretch holds their time; those after
//! the last row go into the last file while it is small, and otherwise begin a new one. Neighbours of like size are
//! folded, so a row is rewritten a number of times that grows with the logarithm of the day, and a day that is over is
//! folded into `data.parquet` alone.
//!
//! # Exactly once
//! Each file says in its footer (`tradeflow.recorded`), for each place on a bus, the offset before which all records
//! are in it that belong there. Files are replaced whole, so rows and offset change together; what is read again after
//! a crash is passed over by it. A new file is written before the one that it continues, and a folded one before those
//! that it holds are deleted: at any instant of a crash a row that was appended is in exactly one file that is read. (A
//! part that begins at or before the end of the file before it was folded already, and is not read.)
//!
//! # Readers meanwhile
//! What a replaced file held is kept under `superseded/<seconds>-<digest>` for ten minutes: whoever listed it before, a
//! backtest that is running, still reads what it planned.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tradeflow_model::market::{Columns, SeriesKind};
use tradeflow_model::{BarColumns, Digest, Instrument, Timestamp};

use super::decode::{FileReader, Footer};
use super::encode::{Encoder, Provenance, init_is_event};
use super::rows::{self, Rows};
use super::schema::Scales;
use super::store::{Lock, Store};
use super::writer::is_timed;
use super::{Catalog, CatalogError, Partition, SeriesKey, instruments};

/// Files below this grow by any number of rows.
const ROWS_SMALL: u64 = if cfg!(test) { 8 } else { 1 << 14 };
/// Files of a day that is going on do not grow beyond this.
const ROWS_MAX: u64 = if cfg!(test) { 64 } else { 1 << 20 };
/// Rows decoded at a time.
const PIECE_ROWS: usize = if cfg!(test) { 16 } else { 1 << 17 };
/// Folder of what was replaced, and how long it is kept.
const SUPERSEDED: &str = "superseded";
const SUPERSEDED_KEEP: Duration = Duration::from_secs(600);

/// Rows of one series, taken from a bus.
#[derive(Debug, Clone, Copy)]
pub struct NewRows<'a> {
    /// The series.
    pub key: &'a SeriesKey,
    /// Where they come from, for people: the feeds.
    pub source: &'a str,
    /// The rows, sorted by key time; equal times in the order of the bus.
    pub rows: &'a Columns,
    /// The offset of each row's record.
    pub offsets: &'a [u64],
    /// The place on the bus: one name for each partition of a topic of a bus. Without `;`.
    pub place: &'a str,
    /// Every record of the series at that place before this offset is among the rows, or was in an earlier call.
    pub through: u64,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Rows that were added.
    pub added: u64,
    /// Rows that were there, from before a crash or as the same bar.
    pub there: u64,
    /// Bars that contradict or overlap one that was there, and were left out.
    pub conflicts: u64,
}

/// Appends to a catalog; holds its lock until it is dropped. Unlike [`super::CatalogWriter`] it writes at once.
#[derive(Debug)]
pub struct CatalogAppender {
    store: Store,
    _lock: Lock,
}

/// A file of a partition that is read.
#[derive(Debug, Clone)]
pub(crate) struct LiveFile {
    pub(crate) path: String,
    footer: Footer,
}

impl CatalogAppender {
    pub(crate) fn new(store: Store) -> Result<Self, CatalogError> {
        let lock = store.lock()?;
        Ok(Self { store, _lock: lock })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// When the instrument has no definition, a file can't be read, or the store fails. What was written until then
    /// stays, and the same call again completes it.
    ///
    /// # Panics
    /// When there are not as many offsets as rows, or rows of another kind.
    pub fn append(&mut self, new: &NewRows<'_>) -> Result<Appended, CatalogError> {
        let NewRows { key, rows, offsets, .. } = *new;
        assert_eq!(rows.len(), offsets.len(), "an offset for each row");
        let mut report = Appended::default();
        let mut start = 0;
        while start < rows.len() {
            let partition = key.partition_of(Timestamp::from_nanos(rows::key_time(rows, start)));
            let end = match partition.bounds().1 {
                Timestamp::MAX => rows.len(),
                bound => rows::first_at(rows, bound.as_nanos()),
            };
            let of_partition = rows::slice(rows, start..end);
            let new = NewRows { rows: &of_partition, offsets: &offsets[start..end], ..*new };
            self.append_partition(&new, partition, &mut report)?;
            start = end;
        }
        Ok(report)
    }

    fn append_partition(
        &self,
        new: &NewRows<'_>,
        partition: Partition,
        report: &mut Appended,
    ) -> Result<(), CatalogError> {
        let key = new.key;
        let instrument = self.instrument(key)?;
        let files = self.tidy(key, partition)?;
        let mut end = new.rows.len();
        // From the last file back, so that a new one is there before the one that it continues says that it is.
        for (index, file) in files.iter().enumerate().rev() {
            let start = match index {
                0 => 0,
                _ => rows::first_at(new.rows, SeriesKey::start_of(&file.path)).min(end),
            };
            let covered = file.footer.recorded.get(new.place).copied().unwrap_or(0);
            let mine: Vec<usize> = (start..end).filter(|row| new.offsets[*row] >= covered).collect();
            report.there += (end - start - mine.len()) as u64;
            end = start;
            let mine = pick(new.rows, &mine);
            let last = file.footer.last.as_nanos();
            let old = rows::first_at(&mine, last.saturating_add(1));
            let fresh = (mine.len() - old) as u64;
            let begins_new = index + 1 == files.len()
                && file.footer.rows > ROWS_SMALL
                && (file.footer.rows > 2 * fresh || file.footer.rows + fresh > ROWS_MAX)
                && last >= 0;
            if begins_new && fresh > 0 {
                let path = key.part_path(partition, last + 1).unwrap_or_default();
                let rows = rows::slice(&mine, old..mine.len());
                self.write(&instrument, new, &[], path, &rows, report)?;
            }
            let rows = if begins_new { rows::slice(&mine, 0..old) } else { mine };
            if !rows.is_empty() {
                self.write(&instrument, new, std::slice::from_ref(file), file.path.clone(), &rows, report)?;
            }
        }
        if files.is_empty() {
            let path = key.path(partition).ok_or_else(|| wrong_kind(key))?;
            self.write(&instrument, new, &[], path, new.rows, report)?;
        }
        self.fold_neighbours(new, partition, &instrument)
    }

    /// Folds the last files of a partition while they are of like size.
    fn fold_neighbours(
        &self,
        new: &NewRows<'_>,
        partition: Partition,
        instrument: &Instrument,
    ) -> Result<(), CatalogError> {
        loop {
            let files = live_files(&self.store, new.key, partition)?;
            let [.., before, last] = files.as_slice() else { return Ok(()) };
            let (larger, smaller) = (before.footer.rows, last.footer.rows);
            let alike = larger <= 2 * smaller && larger + smaller <= ROWS_MAX;
            if !alike || !are_covered(&files[files.len() - 2..], new.place, new.through) {
                return Ok(());
            }
            self.fold_files(new, instrument, &files[files.len() - 2..], before.path.clone())?;
        }
    }

    /// Folds the partition's files into one. `false` when it is one already, or when some of its rows wait to be
    /// appended again after a crash: try later. `through` is as in [`NewRows`], and nothing of the place is missing.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn fold(
        &mut self,
        key: &SeriesKey,
        partition: Partition,
        place: &str,
        through: u64,
    ) -> Result<bool, CatalogError> {
        let files = self.tidy(key, partition)?;
        if files.len() < 2 || !are_covered(&files, place, through) {
            return Ok(false);
        }
        let instrument = self.instrument(key)?;
        let path = key.path(partition).ok_or_else(|| wrong_kind(key))?;
        let none = rows::empty(key.kind);
        let new = NewRows { key, source: "", rows: &none, offsets: &[], place, through };
        self.fold_files(&new, &instrument, &files, path)?;
        Ok(true)
    }

    fn fold_files(
        &self,
        new: &NewRows<'_>,
        instrument: &Instrument,
        files: &[LiveFile],
        path: String,
    ) -> Result<(), CatalogError> {
        for file in files.iter().filter(|file| file.path != path) {
            self.set_aside(file)?;
        }
        let none = rows::empty(new.key.kind);
        self.write(instrument, new, files, path.clone(), &none, &mut Appended::default())?;
        for file in files.iter().filter(|file| file.path != path) {
            self.store.delete(&file.path)?;
        }
        Ok(())
    }

    /// Writes a file of all rows of others, in their order, with new ones between them.
    fn write(
        &self,
        instrument: &Instrument,
        new: &NewRows<'_>,
        files: &[LiveFile],
        path: String,
        rows: &Columns,
        report: &mut Appended,
    ) -> Result<(), CatalogError> {
        let key = new.key;
        let corrupt = |path: &str, why: String| CatalogError::Corrupt { path: path.into(), why };
        let failed = |error: parquet::errors::ParquetError| corrupt(&path, error.to_string());
        let repeats = files.iter().all(|file| file.footer.init_is_event) && init_is_event(rows);
        let scales = Scales::of(instrument);
        let mut encoder = Encoder::new(key, scales, repeats).map_err(failed)?;
        let mut provenance = Provenance::default();
        let mut weave = Weave { timed: is_timed(key.kind), taken: 0, last: None, report };
        for file in files {
            let Some((bytes, _)) = self.store.get(&file.path)? else {
                return Err(corrupt(&file.path, "is gone; try again".into()));
            };
            let fail = |why| corrupt(&file.path, why);
            let mut reader = FileReader::open(key, scales, bytes).map_err(fail)?;
            let Provenance { sources, recorded } = reader.provenance();
            provenance.sources.extend(sources);
            for (place, through) in recorded {
                let known = provenance.recorded.entry(place).or_default();
                *known = through.max(*known);
            }
            while let Some(piece) = reader.next(PIECE_ROWS).map_err(fail)? {
                encoder.add(&weave.piece(piece, rows)).map_err(failed)?;
            }
        }
        encoder.add(&weave.rest(rows)).map_err(failed)?;
        if !new.source.is_empty() {
            provenance.sources.insert(new.source.replace(';', ","));
        }
        let known = provenance.recorded.entry(new.place.to_owned()).or_default();
        *known = new.through.max(*known);
        let bytes = encoder.finish(&provenance).map_err(failed)?;
        if let Some(replaced) = files.iter().find(|file| file.path == path) {
            self.set_aside(replaced)?;
        }
        self.store.replace(&path, bytes)
    }

    fn instrument(&self, key: &SeriesKey) -> Result<Instrument, CatalogError> {
        let found = instruments::read(&self.store, &key.symbol)?;
        found.ok_or_else(|| CatalogError::NoInstrument { symbol: key.symbol.clone() })
    }

    /// The files of a partition; parts that were folded already are deleted.
    fn tidy(&self, key: &SeriesKey, partition: Partition) -> Result<Vec<LiveFile>, CatalogError> {
        let (live, folded) = all_files(&self.store, key, partition)?;
        for path in folded {
            self.store.delete(&path)?;
        }
        Ok(live)
    }

    fn set_aside(&self, file: &LiveFile) -> Result<(), CatalogError> {
        let to = format!("{SUPERSEDED}/{:012}-{}", now_secs(), file.footer.content);
        self.store.copy(&file.path, &to)
    }

    /// Deletes what was replaced more than ten minutes ago.
    ///
    /// # Errors
    /// When the store fails.
    pub fn purge(&mut self) -> Result<(), CatalogError> {
        let limit = now_secs().saturating_sub(SUPERSEDED_KEEP.as_secs());
        for (path, _) in self.store.list(SUPERSEDED)? {
            let name = path.rsplit('/').next().unwrap_or_default();
            let since = name.split_once('-').and_then(|(secs, _)| secs.parse::<u64>().ok());
            if since.is_none_or(|since| since < limit) {
                self.store.delete(&path)?;
            }
        }
        Ok(())
    }

    /// Puts a file of the recorder's own, atomically; `path` begins with `recorded/`.
    ///
    /// # Errors
    /// When the store fails.
    ///
    /// # Panics
    /// For another path.
    pub fn put_recorded(&mut self, path: &str, bytes: Bytes) -> Result<(), CatalogError> {
        assert!(path.starts_with("recorded/"), "{path}");
        self.store.replace(path, bytes)
    }

    /// Deletes such a file.
    ///
    /// # Errors
    /// When the store fails.
    ///
    /// # Panics
    /// For another path.
    pub fn delete_recorded(&mut self, path: &str) -> Result<(), CatalogError> {
        assert!(path.starts_with("recorded/"), "{path}");
        self.store.delete(path)
    }
}

impl Catalog {
    /// Begins to append; waits for other writers as [`Self::writer`].
    ///
    /// # Errors
    /// When the lock can't be taken.
    pub fn appender(&self) -> Result<CatalogAppender, CatalogError> {
        CatalogAppender::new(self.store.clone())
    }

    /// Partitions of a series that lie in several files, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn unfolded(&self, key: &SeriesKey) -> Result<Vec<Partition>, CatalogError> {
        let files = self.list(key)?.into_iter();
        let mut partitions: Vec<_> =
            files.filter(|(path, ..)| SeriesKey::is_part(path)).map(|(.., partition)| partition).collect();
        partitions.dedup();
        Ok(partitions)
    }

    /// Paths and sizes of a recorder's own files below a folder that begins with `recorded`, sorted.
    ///
    /// # Errors
    /// When the store fails.
    pub fn recorded_files(&self, folder: &str) -> Result<Vec<(String, u64)>, CatalogError> {
        self.store.list(folder)
    }

    /// The bytes of such a file; `None` when it is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub fn recorded_file(&self, path: &str) -> Result<Option<Bytes>, CatalogError> {
        Ok(self.store.get(path)?.map(|(bytes, _)| bytes))
    }
}

/// The files of a partition that are read, in time order.
pub(crate) fn live_files(
    store: &Store,
    key: &SeriesKey,
    partition: Partition,
) -> Result<Vec<LiveFile>, CatalogError> {
    all_files(store, key, partition).map(|(live, _)| live)
}

/// The files of a partition that are read, and paths of those that were folded into others.
fn all_files(
    store: &Store,
    key: &SeriesKey,
    partition: Partition,
) -> Result<(Vec<LiveFile>, Vec<String>), CatalogError> {
    let data = key.path(partition).ok_or_else(|| wrong_kind(key))?;
    let folder = data.strip_suffix("/data.parquet").unwrap_or_default();
    let (mut live, mut folded) = (Vec::<LiveFile>::new(), Vec::new());
    for (path, bytes) in store.list(folder)? {
        if SeriesKey::of_path(&path) != Some((key.clone(), partition)) {
            continue;
        }
        let footer = store.footer(key, &path, bytes)?;
        if live.last().is_some_and(|before| footer.first <= before.footer.last) {
            folded.push(path);
        } else {
            live.push(LiveFile { path, footer });
        }
    }
    Ok((live, folded))
}

/// What a file held that was replaced, by the digest of its content.
pub(crate) fn superseded(store: &Store, digest: Digest) -> Result<Option<Bytes>, CatalogError> {
    let digest = digest.to_string();
    let found = store.list(SUPERSEDED)?.into_iter().find(|(path, _)| path.ends_with(&digest));
    match found {
        Some((path, _)) => Ok(store.get(&path)?.map(|(bytes, _)| bytes)),
        None => Ok(None),
    }
}

/// Whether a path lies in one of the folders beside the series.
pub(crate) fn is_beside(path: &str) -> bool {
    path.starts_with("recorded/") || path.starts_with("superseded/")
}

/// Whether no file has rows of records that others still lack.
fn are_covered(files: &[LiveFile], place: &str, through: u64) -> bool {
    files.iter().all(|file| file.footer.recorded.get(place).is_none_or(|covered| *covered <= through))
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn wrong_kind(key: &SeriesKey) -> CatalogError {
    CatalogError::WrongKind { series: key.to_string() }
}

/// Some rows, by their numbers, which grow.
fn pick(columns: &Columns, wanted: &[usize]) -> Columns {
    let mut picked = match columns {
        Columns::Bars(_) => Columns::Bars(BarColumns::default()),
        Columns::Trades(_) => rows::empty(SeriesKind::Trades),
        Columns::Quotes(_) => rows::empty(SeriesKind::Quotes),
        Columns::Actions(_) => rows::empty(SeriesKind::Actions),
        Columns::Sessions(_) => Columns::Sessions(Vec::new()),
    };
    for run in wanted.chunk_by(|a, b| a + 1 == *b) {
        rows::append(&mut picked, &rows::slice(columns, run[0]..run[run.len() - 1] + 1));
    }
    picked
}

/// Puts new rows between those of files, which come in pieces: after the rows of their own time.
struct Weave<'a> {
    /// Bars counted in time: one at a time, none across another.
    timed: bool,
    /// New rows dealt with.
    taken: usize,
    /// The bar before.
    last: Option<[i64; 8]>,
    report: &'a mut Appended,
}

impl Weave<'_> {
    /// A piece, with the new rows before its last time.
    fn piece(&mut self, piece: Columns, new: &Columns) -> Columns {
        let Some(last) = piece.len().checked_sub(1) else { return piece };
        let end = rows::first_at(new, rows::key_time(&piece, last)).max(self.taken);
        self.join(piece, new, end)
    }

    /// What is left of the new rows.
    fn rest(&mut self, new: &Columns) -> Columns {
        let none = rows::slice(new, 0..0);
        self.join(none, new, new.len())
    }

    fn join(&mut self, piece: Columns, new: &Columns, end: usize) -> Columns {
        let start = std::mem::replace(&mut self.taken, end);
        if let (Columns::Bars(old), Columns::Bars(new), true) = (&piece, new, self.timed) {
            return Columns::Bars(self.join_bars(old, new, start..end));
        }
        self.report.added += (end - start) as u64;
        if start == end {
            return piece;
        }
        match (&piece, new) {
            (Columns::Bars(old), Columns::Bars(new)) => Columns::Bars(join_rows(old, new, start..end)),
            (Columns::Trades(old), Columns::Trades(new)) => Columns::Trades(join_rows(old, new, start..end)),
            (Columns::Quotes(old), Columns::Quotes(new)) => Columns::Quotes(join_rows(old, new, start..end)),
            (Columns::Actions(old), Columns::Actions(new)) => {
                Columns::Actions(join_rows(old, new, start..end))
            }
            _ => piece,
        }
    }

    fn join_bars(&mut self, old: &BarColumns, new: &BarColumns, range: std::ops::Range<usize>) -> BarColumns {
        let mut joined = BarColumns::default();
        let mut at = 0;
        for row in range {
            let stop = at + old.ts_open[at..].partition_point(|t| *t <= new.ts_open[row]);
            joined.extend(old, at..stop);
            at = stop;
            let count = joined.ts_open.len();
            let before = if count > 0 { Some(joined.values(count - 1)) } else { self.last };
            let bar = new.values(row);
            // Values are times of open and close, prices, volume and, last, `ts_init`.
            match before {
                Some(before) if before[0] == bar[0] && before[..7] == bar[..7] => self.report.there += 1,
                Some(before) if before[1] > bar[0] => self.report.conflicts += 1,
                _ if old.ts_open.get(at).is_some_and(|next| *next < bar[1]) => self.report.conflicts += 1,
                _ => {
                    joined.extend(new, row..row + 1);
                    self.report.added += 1;
                }
            }
        }
        joined.extend(old, at..old.ts_open.len());
        self.last = joined.ts_open.len().checked_sub(1).map(|row| joined.values(row)).or(self.last);
        joined
    }
}

fn join_rows<R: Rows>(old: &R, new: &R, range: std::ops::Range<usize>) -> R {
    let mut joined = R::default();
    let mut at = 0;
    for row in range {
        let stop = (at..old.len()).find(|r| old.key(*r) > new.key(row)).unwrap_or(old.len());
        joined.extend(old, at..stop);
        joined.extend(new, row..row + 1);
        at = stop;
    }
    joined.extend(old, at..old.len());
    joined
}
