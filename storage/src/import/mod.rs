//! Foreign files into the catalog: read, check, merge.
//!
//! ```text
//! source   opens files by their content: text, gzip, zstd, zip, Parquet     ┐
//! lines    lines and fields of text                                          │ read
//! layout   which column is what; presets are layouts with a name             │
//! table, clock, civil, number, decode, sides, factors  rows as times and exact integers    ┘
//! stage    rows wait by series and partition until all is read
//! instrument  what is traded, and at which scales: known, said, or inferred
//! check    whole series: order, duplicates, spikes, gaps                       check
//! mod      the order of it all, and the merge into the catalog                 merge
//! ```
//!
//! *Invariants*: nothing is written before every row of every file has been read and checked; importing the same
//! files again changes nothing; no input panics.
//!
//! *Limitations*: a table has a row a line (no line breaks within quotes); bars counted in trades, volume or value are
//! aggregated from trades, not imported; the calendar has regular hours only, so bars before the open and after the
//! close are reported as outside of sessions, and kept.

mod check;
mod civil;
mod clock;
mod decode;
mod error;
mod factors;
mod gaps;
mod instrument;
mod layout;
mod lines;
mod number;
mod parquet;
pub mod presets;
mod report;
mod sides;
mod source;
mod spike;
mod stage;
mod table;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use rust_decimal::Decimal;
use tradeflow_model::market::{ActionKind, Columns, SeriesKind};
use tradeflow_model::{CorporateAction, Instrument, InstrumentId, SeriesId, Symbol, Timestamp};

use crate::catalog::{Catalog, ConflictPolicy, SeriesKey};

pub use clock::{TimeFormat, Zone};
pub use error::{ImportError, Place};
pub use instrument::{InstrumentOptions, class_of};
pub use layout::{Column, Field, Header, Layout, Preset, RowKind, StampAt};
pub use report::{
    Action, Check, CheckReport, FileReport, Finding, Gap, GapReport, InstrumentReport, Policy, Report,
    SeriesReport,
};

use instrument::Subject;
use report::Report as Found;
use stage::{Stage, StagedSeries};

/// What to import, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The files, in any order.
    pub files: Vec<PathBuf>,
    /// How their rows are to be read.
    pub layout: Layout,
    /// The instrument; `None` where the files name theirs.
    pub symbol: Option<Symbol>,
    /// What the user says about the instrument, where the catalog does not have it.
    pub instrument: InstrumentOptions,
    /// Only members of zip archives whose names contain this.
    pub member: Option<String>,
    /// What becomes of rows that fail checks.
    pub policy: Policy,
    /// What becomes of bars that differ from those in the catalog.
    pub conflict: ConflictPolicy,
    /// Only check: write nothing.
    pub dry_run: bool,
}

/// Told of how far the import is, and asked whether to go on.
pub trait Progress {
    /// So many more bytes of the files have been read.
    fn read(&self, bytes: u64) {
        let _ = bytes;
    }

    /// All has been read; now rows are checked and written, so many partitions of them, twice.
    fn read_all(&self, partitions: u64) {
        let _ = partitions;
    }

    /// One more partition has been checked or prepared.
    fn partition(&self) {}

    /// Whether the user wants to stop. Asked until the first file of the catalog is written.
    fn stopped(&self) -> bool {
        false
    }
}

/// Progress that nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {}

/// An import under way.
struct Importer<'a> {
    request: &'a Request,
    layout: &'a Layout,
    policy: &'a Policy,
    catalog: &'a Catalog,
    progress: &'a dyn Progress,
    /// The tables that were read; an origin counts into them.
    sources: Vec<Place>,
    subjects: Vec<Subject>,
    stage: Stage,
    actions: Vec<(usize, Vec<factors::Derived>)>,
    /// Date and time of a row as one text.
    joined: Vec<u8>,
    report: Found,
}

const LINE_BITS: u32 = 40;

/// Where a row came from, in one integer: the table and the line.
fn origin_of(source: usize, line: u64) -> i64 {
    ((source as i64) << LINE_BITS) | (line as i64 & ((1 << LINE_BITS) - 1))
}

/// Index of the table, and the line.
fn place_of(origin: i64) -> (usize, u64) {
    ((origin >> LINE_BITS) as usize, (origin & ((1 << LINE_BITS) - 1)) as u64)
}

/// Reads files, checks their rows, and merges them into the catalog.
///
/// # Errors
/// As [`ImportError`] says. The catalog is as it was before, unless the error came from writing to it; then each of
/// its files is whole, and the same import again completes the work.
pub fn import(catalog: &Catalog, request: &Request, progress: &dyn Progress) -> Result<Report, ImportError> {
    if request.files.is_empty() {
        return Err(ImportError::Request("no files to import".into()));
    }
    run(catalog, request, progress, |importer| importer.read_files())
}

/// A table that is in memory, such as the answer of a vendor: what a file of the request's layout would hold.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// Where it comes from: the source that its rows carry, and the place that errors name.
    pub name: &'a str,
    /// Its rows, as text.
    pub text: &'a [u8],
    /// Splits and dividends that come with it, with the time at which they take effect, in order.
    pub actions: &'a [(Timestamp, ActionKind)],
}

/// As [`import`], of a table in memory instead of the files that the request names. The request names the symbol.
///
/// # Errors
/// As [`import`].
pub fn import_table(
    catalog: &Catalog,
    request: &Request,
    table: &Table<'_>,
    progress: &dyn Progress,
) -> Result<Report, ImportError> {
    run(catalog, request, progress, |importer| {
        let place = Place::file(table.name);
        if !table.text.is_empty() {
            importer.read_text(&place, &mut { table.text })?;
        }
        if table.actions.is_empty() {
            return Ok(());
        }
        let symbol = request.symbol.clone();
        let symbol = symbol
            .ok_or_else(|| ImportError::Request("actions in memory need the request's symbol".into()))?;
        let subject = importer.subject(symbol)?;
        importer.sources.push(place);
        let origin = origin_of(importer.sources.len() - 1, 0);
        let rows = table.actions.iter().map(|(time, kind)| (time.as_nanos(), *kind, origin)).collect();
        importer.actions.push((subject, rows));
        Ok(())
    })
}

fn run(
    catalog: &Catalog,
    request: &Request,
    progress: &dyn Progress,
    read: impl FnOnce(&mut Importer<'_>) -> Result<(), ImportError>,
) -> Result<Report, ImportError> {
    let mut importer = Importer {
        request,
        layout: &request.layout,
        policy: &request.policy,
        catalog,
        progress,
        sources: Vec::new(),
        subjects: Vec::new(),
        stage: Stage::default(),
        actions: Vec::new(),
        joined: Vec::new(),
        report: Found::default(),
    };
    importer.check_request()?;
    read(&mut importer)?;
    importer.seal_all()?;
    let instruments = importer.finish_instruments()?;
    let left_out = importer.check_series(&instruments)?;
    if importer.report.rejected() > 0 {
        return Err(ImportError::Rejected(Box::new(importer.report)));
    }
    importer.merge(&instruments, &left_out)?;
    Ok(importer.report)
}

impl Importer<'_> {
    fn check_request(&self) -> Result<(), ImportError> {
        let refuse = |what: &str| Err(ImportError::Request(what.into()));
        let makes_bars = matches!(self.layout.kind, RowKind::Bar | RowKind::QuoteBar);
        match self.layout.interval {
            None if makes_bars => {
                return refuse(
                    "the files do not say how long their bars are: say it with --interval, for example --interval 1m",
                );
            }
            Some(interval) if makes_bars && interval.nominal_nanos() == 0 => {
                return refuse(
                    "bars counted in trades, volume or value are not imported; import the trades and aggregate them",
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn read_files(&mut self) -> Result<(), ImportError> {
        let files = self.distinct_files()?;
        let progress = self.progress;
        let request = self.request;
        for file in files {
            source::visit(&file, request.member.as_deref(), progress, &mut |place, content| match content {
                source::Content::Text(reader) => self.read_text(place, reader),
                source::Content::Parquet(file) => self.read_parquet(place, file),
            })?;
        }
        Ok(())
    }

    fn seal_all(&mut self) -> Result<(), ImportError> {
        for at in 0..self.stage.series.len() {
            let scales = self.subjects[self.stage.series[at].subject].scales;
            self.stage.seal(at, None, scales)?;
        }
        Ok(())
    }

    /// The files without those that are there twice, which would double trades and quotes.
    fn distinct_files(&mut self) -> Result<Vec<PathBuf>, ImportError> {
        let failed = |path: &PathBuf, error: std::io::Error| {
            ImportError::input(&Place::file(path.display().to_string()), lines::describe(&error))
        };
        let mut sizes = Vec::new();
        for path in &self.request.files {
            sizes.push(std::fs::metadata(path).map_err(|error| failed(path, error))?.len());
        }
        let mut seen = BTreeSet::new();
        let mut distinct = Vec::new();
        for (at, path) in self.request.files.iter().enumerate() {
            // Only files of one size can be equal, so that most need no digest.
            if sizes.iter().filter(|size| **size == sizes[at]).count() > 1 && sizes[at] > 0 {
                let mut hasher = blake3::Hasher::new();
                let mut file = std::fs::File::open(path).map_err(|error| failed(path, error))?;
                std::io::copy(&mut file, &mut hasher).map_err(|error| failed(path, error))?;
                // The name counts where the date comes from it.
                let name = (self.layout.time == TimeFormat::MillisOfDay).then(|| path.file_name()).flatten();
                if !seen.insert((hasher.finalize().to_hex().to_string(), name)) {
                    self.report
                        .notes
                        .push(format!("{}: the same file was named before; read once", path.display()));
                    continue;
                }
            }
            distinct.push(path.clone());
        }
        Ok(distinct)
    }

    /// Index of the instrument with this symbol.
    fn subject(&mut self, symbol: Symbol) -> Result<usize, ImportError> {
        if let Some(at) = self.subjects.iter().position(|subject| subject.symbol == symbol) {
            return Ok(at);
        }
        let existing = self.catalog.instrument(&symbol)?;
        self.subjects.push(Subject::new(symbol, existing, self.layout, &self.request.instrument)?);
        Ok(self.subjects.len() - 1)
    }

    /// Index of a series of an instrument.
    fn series(&mut self, subject: usize, kind: SeriesKind) -> usize {
        let found =
            self.stage.series.iter().position(|series| series.subject == subject && series.kind == kind);
        found.unwrap_or_else(|| {
            self.stage.series.push(StagedSeries::new(subject, kind));
            self.stage.series.len() - 1
        })
    }

    fn key(&self, series: usize) -> SeriesKey {
        let series = &self.stage.series[series];
        SeriesKey::new(self.subjects[series.subject].symbol.clone(), series.kind)
    }

    /// The first instant of the partition that a key time lies in, and the first after it.
    fn partition_of(&self, series: usize, key: i64) -> (i64, i64) {
        let partition = self.key(series).partition_of(Timestamp::from_nanos(key));
        let (start, end) = partition.bounds();
        (start.as_nanos(), end.as_nanos())
    }

    fn finish_instruments(&mut self) -> Result<Vec<Instrument>, ImportError> {
        let mut instruments = Vec::new();
        for subject in &self.subjects {
            let (instrument, assumed) = subject.finish(&self.request.instrument)?;
            let new = subject.existing.is_none();
            self.report.instruments.push(InstrumentReport { instrument: instrument.clone(), new, assumed });
            instruments.push(instrument);
        }
        Ok(instruments)
    }

    /// Merges what was read into the catalog and writes it.
    fn merge(&mut self, instruments: &[Instrument], left_out: &BTreeSet<i64>) -> Result<(), ImportError> {
        let mut writer = self.catalog.writer()?;
        for instrument in instruments {
            writer.put_instrument(instrument)?;
        }
        for at in 0..self.stage.series.len() {
            let key = self.key(at);
            let instrument = &instruments[self.stage.series[at].subject];
            for partition in self.stage.series[at].partitions() {
                if self.progress.stopped() {
                    return Err(ImportError::Stopped);
                }
                let (columns, source) = self.columns(at, partition, instrument, left_out)?;
                if !columns.is_empty() {
                    let merged = writer.merge(&key, &source, &columns, self.request.conflict)?;
                    self.count(at, &merged);
                }
                self.progress.partition();
            }
        }
        for (subject, derived) in std::mem::take(&mut self.actions) {
            let key = SeriesKey::new(self.subjects[subject].symbol.clone(), SeriesKind::Actions);
            let rows: Vec<_> = derived
                .iter()
                .map(|(time, kind, _)| CorporateAction {
                    // The ids of a run; the catalog's reader sets them.
                    series: SeriesId(0),
                    instrument: InstrumentId(0),
                    ts_event: Timestamp::from_nanos(*time),
                    ts_init: Timestamp::from_nanos(*time),
                    kind: *kind,
                })
                .collect();
            let source = derived.first().map_or(String::new(), |(_, _, origin)| self.source_name(*origin));
            self.report.series.push(SeriesReport {
                symbol: key.symbol.to_string(),
                kind: key.kind_name().into(),
                rows: rows.len() as u64,
                first: rows.first().map_or(String::new(), |row| row.ts_event.to_string()),
                last: rows.last().map_or(String::new(), |row| row.ts_event.to_string()),
                ..SeriesReport::default()
            });
            if rows.is_empty() {
                continue;
            }
            let merged = writer.merge(&key, &source, &Columns::Actions(rows), self.request.conflict)?;
            self.count(self.report.series.len() - 1, &merged);
        }
        if self.request.dry_run {
            self.report.notes.push("dry run: nothing was written".into());
            return Ok(());
        }
        if self.progress.stopped() {
            return Err(ImportError::Stopped);
        }
        self.report.files_written = writer.commit()?.files_written;
        Ok(())
    }

    fn count(&mut self, series: usize, merged: &crate::catalog::MergeReport) {
        let report = &mut self.report.series[series];
        report.added += merged.added;
        report.unchanged += merged.unchanged;
        report.replaced += merged.replaced;
        report.kept_old += merged.conflicts;
    }

    fn source_name(&self, origin: i64) -> String {
        self.sources.get(place_of(origin).0).map_or(String::new(), |place| place.source_name().to_owned())
    }
}
