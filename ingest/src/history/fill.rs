//! A fetch: what the catalog lacks of one symbol is asked for piece by piece, oldest first, and written as it comes.
//!
//! *Invariants*: rows are written before the note that they were asked for, so a fetch that ends anywhere is continued
//! by the next; a second run asks for nothing that the first one got, and changes nothing. At most
//! [`BATCH_ROWS`] and one answer wait in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tradeflow_model::{Interval, Symbol, Timestamp};
use tradeflow_storage::catalog::{Catalog, CatalogError, ConflictPolicy};
use tradeflow_storage::import::{ImportError, Report};

use super::pieces::{Part, cut};
use super::slots::is_fetched;
use super::store::{Batch, Facts, Shelf, pick};
use super::{Ask, History, HistoryError, Reach};
use crate::clock::Clock;

/// Rows that wait at most before they are written.
const BATCH_ROWS: usize = 20_000;

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The symbol in the catalog.
    pub symbol: Symbol,
    /// What the vendor calls it.
    pub vendor_symbol: String,
    /// Length of the bars.
    pub interval: Interval,
    /// First instant.
    pub from: Timestamp,
    /// First instant after it.
    pub to: Timestamp,
}

/// A fetch that did not come to its end. What came before is in the catalog.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FillError {
    /// The vendor.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The catalog refused the rows.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The user stopped it.
    #[error("stopped; run the command again and it goes on")]
    Stopped,
}

/// Told of how far a fetch is.
pub trait FillProgress: Sync {
    /// So many requests are to be made.
    fn pieces(&self, count: u64) {
        let _ = count;
    }

    /// One of them is answered, with so many bars.
    fn piece(&self, bars: u64) {
        let _ = bars;
    }
}

/// Progress that nobody watches.
impl FillProgress for () {}

/// What a fetch did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FillReport {
    /// The symbol in the catalog.
    pub symbol: String,
    /// The vendor.
    pub vendor: String,
    /// Length of the bars.
    pub interval: String,
    /// Start of the time that was looked at.
    pub from: String,
    /// Its end.
    pub to: String,
    /// Pieces that were asked for.
    pub pieces: u64,
    /// Pieces that were not asked for, because the fetch ended before.
    pub left: u64,
    /// Bars that the catalog did not have.
    pub added: u64,
    /// Bars that it had.
    pub unchanged: u64,
    /// Bars that took another's place.
    pub replaced: u64,
    /// Bars that differ from the catalog's and were left out.
    pub kept_old: u64,
    /// Splits and dividends that the catalog did not have.
    pub actions_added: u64,
    /// Start of the first bar that came.
    pub first: Option<String>,
    /// Start of the last.
    pub last: Option<String>,
    /// Rows that failed each check of the import.
    pub checks: BTreeMap<String, u64>,
    /// Things that the user should know.
    pub notes: Vec<String>,
}

/// A way from a vendor into a catalog.
pub struct Fill<'a> {
    /// The vendor.
    pub history: &'a dyn History,
    /// The catalog.
    pub catalog: Catalog,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What becomes of bars that differ from those in the catalog.
    pub conflict: ConflictPolicy,
    /// Ends it after the request at hand, with what has come written.
    pub stop: CancellationToken,
}

impl Fill<'_> {
    /// Fetches what is missing. The report tells what was done, also where it ended with an error.
    pub async fn run(
        &self,
        wanted: &Wanted,
        progress: &dyn FillProgress,
    ) -> (FillReport, Result<(), FillError>) {
        let mut report = FillReport {
            symbol: wanted.symbol.to_string(),
            vendor: self.history.name().into(),
            interval: wanted.interval.to_string(),
            ..FillReport::default()
        };
        let result = self.fetch(wanted, progress, &mut report).await;
        (report, result)
    }

    async fn fetch(
        &self,
        wanted: &Wanted,
        progress: &dyn FillProgress,
        report: &mut FillReport,
    ) -> Result<(), FillError> {
        let now = self.clock.now();
        let (reach, from, to) = self.bounds(wanted, now, report)?;
        let shelf = Shelf {
            catalog: self.catalog.clone(),
            vendor: self.history.name(),
            wanted: wanted.clone(),
            conflict: self.conflict,
        };
        let (missing, known) = {
            let shelf = shelf.clone();
            blocking(move || Ok::<_, FillError>((shelf.missing(from, to)?, shelf.instrument()?))).await?
        };
        let parts = cut(&missing, &reach.cut);
        progress.pieces(parts.len() as u64);
        report.left = parts.len() as u64;
        let mut facts = Facts::default();
        let mut batch = Batch::default();
        let mut result = Ok(());
        let mut nothing_before = Timestamp::MIN;
        for part in &parts {
            if part.to <= nothing_before {
                batch.answered.extend(&part.wanted);
                report.left -= 1;
                progress.piece(0);
                continue;
            }
            let piece = match self.ask(wanted, part).await {
                Ok(piece) => piece,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            facts.learn(&piece);
            let calendar =
                known.as_ref().map_or_else(|| facts.calendar(&wanted.symbol), |known| known.calendar);
            pick(&mut batch, &piece, &part.wanted, wanted, calendar, (now, reach.settles_in));
            nothing_before = piece.nothing_before.unwrap_or(nothing_before).min(now);
            for note in &piece.notes {
                report.note(note);
            }
            report.pieces += 1;
            report.left -= 1;
            progress.piece(piece.bars.len() as u64);
            if batch.bars.len() >= BATCH_ROWS {
                commit(&shelf, std::mem::take(&mut batch), &facts, report).await?;
            }
        }
        commit(&shelf, batch, &facts, report).await?;
        result
    }

    /// The reach of the vendor, and the time that is asked for within it.
    fn bounds(
        &self,
        wanted: &Wanted,
        now: Timestamp,
        report: &mut FillReport,
    ) -> Result<(Reach, Timestamp, Timestamp), FillError> {
        let vendor = self.history.name();
        if !is_fetched(wanted.interval) {
            return Err(HistoryError::Unsupported(format!(
                "bars of {} are not fetched; fetch finer ones and aggregate them with `tradeflow catalog aggregate`",
                wanted.interval
            ))
            .into());
        }
        let reach = self.history.reach(&wanted.vendor_symbol, wanted.interval, now)?;
        let (mut from, to) = (wanted.from, wanted.to.min(now));
        if let Some(earliest) = reach.earliest.filter(|earliest| *earliest > from) {
            if earliest >= to {
                return Err(HistoryError::Reach(format!(
                    "{}: {vendor} keeps bars of {} since {earliest} only, and all of the time asked for is before",
                    wanted.symbol, wanted.interval
                ))
                .into());
            }
            report.note(&format!(
                "{vendor} keeps bars of {} since {earliest} only: nothing before was asked for",
                wanted.interval
            ));
            from = earliest;
        }
        if from >= to {
            let why = format!("{}: nothing is over yet between {from} and {}", wanted.symbol, wanted.to);
            return Err(HistoryError::Reach(why).into());
        }
        (report.from, report.to) = (from.to_string(), to.to_string());
        Ok((reach, from, to))
    }

    async fn ask(&self, wanted: &Wanted, part: &Part) -> Result<super::Piece, FillError> {
        let ask = Ask {
            symbol: wanted.vendor_symbol.clone(),
            interval: wanted.interval,
            from: part.from,
            to: part.to,
        };
        match self.stop.run_until_cancelled(self.history.fetch(&ask)).await {
            Some(answer) => Ok(answer?),
            None => Err(FillError::Stopped),
        }
    }
}

/// Writes a batch, and adds what it did to the report.
async fn commit(
    shelf: &Shelf,
    batch: Batch,
    facts: &Facts,
    report: &mut FillReport,
) -> Result<(), FillError> {
    let (shelf, facts) = (shelf.clone(), facts.clone());
    let (found, notes) = blocking(move || shelf.commit(&batch, &facts)).await?;
    report.add(&found);
    notes.iter().for_each(|note| report.note(note));
    Ok(())
}

async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Notes of one fetch that are kept; one for each of thousands of pieces would help nobody.
const NOTES_MAX: usize = 50;

impl FillReport {
    fn note(&mut self, note: &str) {
        if self.notes.len() < NOTES_MAX && !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    fn add(&mut self, found: &Report) {
        for series in &found.series {
            if series.kind == "action" {
                self.actions_added += series.added;
                continue;
            }
            self.added += series.added;
            self.unchanged += series.unchanged;
            self.replaced += series.replaced;
            self.kept_old += series.kept_old;
            if !series.first.is_empty() {
                self.first.get_or_insert_with(|| series.first.clone());
                self.last = Some(series.last.clone());
            }
        }
        for (check, rows) in &found.checks {
            *self.checks.entry(check.name().to_owned()).or_default() += rows.rows;
            for finding in rows.first.iter().take(3) {
                self.note(&format!("{}: {}", check.name(), finding.detail));
            }
        }
        for instrument in &found.instruments {
            instrument.assumed.iter().for_each(|assumed| self.note(assumed));
        }
    }
}
