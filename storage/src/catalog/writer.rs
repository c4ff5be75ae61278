//! Writing: rows are merged and files made in memory, and written together at the end.

use std::collections::BTreeMap;

use bytes::Bytes;
use tradeflow_model::market::{Columns, SeriesKind};
use tradeflow_model::{BarColumns, Instrument, InstrumentId, SeriesId, Symbol, Timestamp};

use super::append;
use super::decode::FileReader;
use super::encode::{Provenance, encode};
use super::instruments;
use super::merge::{self, Counts};
use super::rows;
use super::schema::Scales;
use super::store::{Lock, Store, Version};
use super::{CatalogError, CommitReport, ConflictPolicy, MergeReport, Partition, SeriesKey};

/// Changes to a catalog that are written together: [`Self::merge`] and [`Self::put_instrument`] check and prepare,
/// [`Self::commit`] writes. Nothing is written before; dropping the writer leaves the catalog as it was.
#[derive(Debug)]
pub struct CatalogWriter {
    store: Store,
    _lock: Lock,
    instruments: BTreeMap<Symbol, Instrument>,
    /// New contents by path, with what they replace.
    pending: BTreeMap<String, (Bytes, Version)>,
}

impl CatalogWriter {
    pub(crate) fn new(store: Store) -> Result<Self, CatalogError> {
        let lock = store.lock()?;
        Ok(Self { store, _lock: lock, instruments: BTreeMap::new(), pending: BTreeMap::new() })
    }

    /// Adds or replaces a definition, for the merges that follow as well.
    ///
    /// # Errors
    /// As [`super::Catalog::put_instrument`].
    pub fn put_instrument(&mut self, instrument: &Instrument) -> Result<(), CatalogError> {
        instrument.check()?;
        let old = self.instrument(&instrument.symbol)?;
        if old.as_ref() == Some(instrument) {
            return Ok(());
        }
        if let Some(old) = old {
            self.check_scales(&old, instrument)?;
        }
        let path = instruments::path(&instrument.symbol);
        let version = match self.pending.get(&path) {
            Some((_, version)) => version.clone(),
            None => self.store.get(&path)?.map_or(Version::Absent, |(_, version)| Version::Seen(version)),
        };
        self.pending.insert(path, (instruments::to_json(instrument), version));
        self.instruments.insert(instrument.symbol.clone(), instrument.clone());
        Ok(())
    }

    /// The definition of an instrument, as it will be after the commit.
    ///
    /// # Errors
    /// When the store fails or the definition can't be read.
    pub fn instrument(&self, symbol: &Symbol) -> Result<Option<Instrument>, CatalogError> {
        if let Some(instrument) = self.instruments.get(symbol) {
            return Ok(Some(instrument.clone()));
        }
        instruments::read(&self.store, symbol)
    }

    /// Refuses another scale while there is data at the old one.
    fn check_scales(&self, old: &Instrument, new: &Instrument) -> Result<(), CatalogError> {
        let changes = [
            ("price_scale", old.price_scale, new.price_scale),
            ("size_scale", old.size_scale, new.size_scale),
        ];
        let Some((field, old_scale, new_scale)) = changes.into_iter().find(|(_, old, new)| old != new) else {
            return Ok(());
        };
        let listed = self.store.list("")?;
        let paths = listed.iter().map(|(path, _)| path).chain(self.pending.keys());
        let mut of_symbol = paths.filter(|path| {
            // Actions hold money, which has no scale of the instrument's.
            SeriesKey::of_path(path)
                .is_some_and(|(key, _)| key.symbol == new.symbol && key.kind != SeriesKind::Actions)
        });
        match of_symbol.next() {
            None => Ok(()),
            Some(example) => Err(CatalogError::ScaleChange {
                symbol: new.symbol.clone(),
                field,
                old: old_scale,
                new: new_scale,
                example: example.clone(),
            }),
        }
    }

    /// Merges rows, sorted by key time (equal times in their own order), into a series.
    ///
    /// Bars counted in time are keyed by `ts_open`: an equal bar collapses, a different one is a conflict. Of two
    /// bars that differ in `ts_init` alone the earlier is kept. Trades, quotes, actions and bars counted in ticks,
    /// volume or notional merge as multisets of whole rows: of a row that is there `m` times and given `n` times
    /// `max(m, n)` remain, those that were there first. All rows of one instant must therefore come in one call.
    ///
    /// `source` says where the rows come from; it is kept in the footer of every file they change.
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
        let instrument = self.instrument(&key.symbol)?;
        let instrument =
            instrument.ok_or_else(|| CatalogError::NoInstrument { symbol: key.symbol.clone() })?;
        let is_kind = rows::with_rows!(rows, &rows::empty(key.kind), |_a, _b| true, false);
        if !is_kind || key.folder().is_none() {
            return Err(CatalogError::WrongKind { series: key.to_string() });
        }
        check_rows(key, rows)?;
        let mut report = MergeReport::default();
        let mut prepared = Vec::new();
        let mut start = 0;
        while start < rows.len() {
            let time = Timestamp::from_nanos(rows::key_time(rows, start));
            let partition = key.partition_of(time);
            let end = match partition.bounds().1 {
                Timestamp::MAX => rows.len(),
                bound => rows::first_at(rows, bound.as_nanos()),
            };
            for (path, range) in self.places(key, partition, rows, start..end)? {
                let task = Task { key, path, instrument: &instrument, source, conflict };
                let (counts, change) = self.merge_partition(&task, &rows::slice(rows, range))?;
                report.add(counts);
                match change {
                    Some(change) => prepared.push(change),
                    None => report.files_unchanged += 1,
                }
            }
            start = end;
        }
        report.files_written = prepared.len() as u64;
        self.pending.extend(prepared);
        Ok(report)
    }

    /// The files of a partition into which rows belong, each with its rows: most partitions have one, a day that is
    /// being recorded several, each for a stretch of time.
    fn places(
        &self,
        key: &SeriesKey,
        partition: Partition,
        rows: &Columns,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<(String, std::ops::Range<usize>)>, CatalogError> {
        let Some(data) = key.path(partition) else {
            return Err(CatalogError::WrongKind { series: key.to_string() });
        };
        let mut files = vec![data];
        let live = append::live_files(&self.store, key, partition)?;
        files.extend(live.into_iter().map(|file| file.path).filter(|path| SeriesKey::is_part(path)));
        let mut places = Vec::new();
        let mut start = range.start;
        for (index, path) in files.iter().enumerate() {
            let end = match files.get(index + 1) {
                Some(next) => rows::first_at(rows, SeriesKey::start_of(next)).clamp(start, range.end),
                None => range.end,
            };
            if start < end {
                places.push((path.clone(), start..end));
            }
            start = end;
        }
        Ok(places)
    }

    /// The counts of one file, and its new contents where they change.
    #[allow(clippy::type_complexity)] // a path and its entry of `pending`, once
    fn merge_partition(
        &self,
        task: &Task<'_>,
        new: &Columns,
    ) -> Result<(Counts, Option<(String, (Bytes, Version))>), CatalogError> {
        let path = &task.path;
        let current = match self.pending.get(path) {
            Some((bytes, version)) => Some((bytes.clone(), version.clone())),
            None => self.store.get(path)?.map(|(bytes, version)| (bytes, Version::Seen(version))),
        };
        let scales = Scales::of(task.instrument);
        let corrupt = |why: String| CatalogError::Corrupt { path: path.clone(), why };
        let (mut provenance, existing, version) = match current {
            None => (Provenance::default(), rows::empty(task.key.kind), Version::Absent),
            Some((bytes, version)) => {
                let (provenance, rows) = read_whole(task.key, scales, bytes).map_err(corrupt)?;
                (provenance, rows, version)
            }
        };
        let (merged, counts) = task.merge(&existing, new)?;
        if !counts.changes() {
            return Ok((counts, None));
        }
        provenance.sources.insert(task.source.replace(';', ","));
        let encoded = encode(task.key, scales, &provenance, &merged).map_err(|e| corrupt(e.to_string()))?;
        Ok((counts, Some((path.clone(), (encoded, version)))))
    }

    /// Writes what changed, file by file, each atomically; definitions of instruments first.
    ///
    /// # Errors
    /// When the store fails. Files written until then stay; each is whole, and running the same merges again
    /// completes the work.
    pub fn commit(self) -> Result<CommitReport, CatalogError> {
        let mut report = CommitReport::default();
        let (definitions, data): (Vec<_>, Vec<_>) =
            self.pending.iter().partition(|(path, _)| SeriesKey::of_path(path).is_none());
        for (path, (bytes, version)) in definitions {
            self.store.put(path, bytes.clone(), version)?;
        }
        for (path, (bytes, version)) in data {
            self.store.put(path, bytes.clone(), version)?;
            report.files_written += 1;
            report.bytes_written += bytes.len() as u64;
        }
        Ok(report)
    }
}

/// One file to merge into.
struct Task<'a> {
    key: &'a SeriesKey,
    path: String,
    instrument: &'a Instrument,
    source: &'a str,
    conflict: ConflictPolicy,
}

impl Task<'_> {
    fn merge(&self, existing: &Columns, new: &Columns) -> Result<(Columns, Counts), CatalogError> {
        match (existing, new) {
            (Columns::Bars(existing), Columns::Bars(new)) if self.is_timed() => {
                let (merged, counts) = merge::by_key(existing, new, self.conflict).map_err(|clash| {
                    let in_catalog = existing.ts_open.get(clash.existing) == Some(&new.ts_open[clash.new]);
                    let other = if in_catalog {
                        self.bar_text(existing, clash.existing)
                    } else {
                        // Both are among the new rows, next to each other.
                        self.bar_text(new, clash.new.saturating_sub(1))
                    };
                    CatalogError::Conflict {
                        series: self.key.to_string(),
                        time: Timestamp::from_nanos(new.ts_open[clash.new]),
                        existing: other,
                        new: self.bar_text(new, clash.new),
                    }
                })?;
                self.check_overlap(&merged)?;
                Ok((Columns::Bars(merged), counts))
            }
            (Columns::Bars(existing), Columns::Bars(new)) => {
                let (merged, counts) = merge::as_multiset(existing, new);
                Ok((Columns::Bars(merged), counts))
            }
            (Columns::Trades(existing), Columns::Trades(new)) => {
                let (merged, counts) = merge::as_multiset(existing, new);
                Ok((Columns::Trades(merged), counts))
            }
            (Columns::Quotes(existing), Columns::Quotes(new)) => {
                let (merged, counts) = merge::as_multiset(existing, new);
                Ok((Columns::Quotes(merged), counts))
            }
            (Columns::Actions(existing), Columns::Actions(new)) => {
                let (merged, counts) = merge::as_multiset(existing, new);
                Ok((Columns::Actions(merged), counts))
            }
            _ => Err(CatalogError::WrongKind { series: self.key.to_string() }),
        }
    }

    fn is_timed(&self) -> bool {
        is_timed(self.key.kind)
    }

    fn bar_text(&self, bars: &BarColumns, row: usize) -> String {
        let bar = bars.get(row, SeriesId(0), InstrumentId(0));
        let price = |p| self.instrument.price_text(p);
        format!(
            "O {} H {} L {} C {} V {} (closes {})",
            price(bar.open),
            price(bar.high),
            price(bar.low),
            price(bar.close),
            self.instrument.qty_text(bar.volume),
            bar.ts_event
        )
    }

    fn check_overlap(&self, bars: &BarColumns) -> Result<(), CatalogError> {
        let pairs = bars.ts_event.iter().zip(bars.ts_open.iter().skip(1));
        match pairs.into_iter().find(|(end, next)| end > next) {
            None => Ok(()),
            Some((end, next)) => Err(CatalogError::Overlap {
                series: self.key.to_string(),
                time: Timestamp::from_nanos(*next),
                previous_end: Timestamp::from_nanos(*end),
            }),
        }
    }
}

/// Whether bars of this kind are counted in time, and so have one bar at a time.
pub(crate) fn is_timed(kind: SeriesKind) -> bool {
    use tradeflow_model::IntervalUnit::{Notional, Tick, Volume};
    matches!(kind, SeriesKind::Bars { interval, .. } if !matches!(interval.unit(), Tick | Volume | Notional))
}

/// Checks what the catalog relies on: rows sorted by key time, bars that close after they open.
fn check_rows(key: &SeriesKey, rows: &Columns) -> Result<(), CatalogError> {
    let refuse = |row: usize, why: &str| {
        let time = Timestamp::from_nanos(rows::key_time(rows, row));
        Err(CatalogError::BadRow { series: key.to_string(), row, time, why: why.into() })
    };
    for row in 1..rows.len() {
        if rows::key_time(rows, row) < rows::key_time(rows, row - 1) {
            return refuse(row, "lies before the row above it; sort the rows by time");
        }
    }
    let Columns::Bars(bars) = rows else { return Ok(()) };
    let least = i64::from(is_timed(key.kind));
    for row in 0..bars.ts_open.len() {
        if bars.ts_event[row].saturating_sub(bars.ts_open[row]) < least {
            return refuse(row, "the bar closes before it opens");
        }
    }
    Ok(())
}

/// All rows of a file, and where they came from.
pub(crate) fn read_whole(
    key: &SeriesKey,
    scales: Scales,
    bytes: Bytes,
) -> Result<(Provenance, Columns), String> {
    const PIECE_ROWS: usize = 1 << 20;
    let mut reader = FileReader::open(key, scales, bytes)?;
    let provenance = reader.provenance();
    let mut rows: Option<Columns> = None;
    while let Some(piece) = reader.next(PIECE_ROWS)? {
        match &mut rows {
            None => rows = Some(piece),
            Some(rows) => rows::append(rows, &piece),
        }
    }
    Ok((provenance, rows.unwrap_or_else(|| rows::empty(key.kind))))
}

impl MergeReport {
    fn add(&mut self, counts: Counts) {
        self.added += counts.added;
        self.unchanged += counts.unchanged;
        self.replaced += counts.replaced;
        self.conflicts += counts.conflicts;
    }
}
