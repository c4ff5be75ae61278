//! A whole run: plan, driver, results.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use tradeflow_actors::cell::RunTables;
use tradeflow_model::plan::RunPlan;
use tradeflow_model::{Digest, MarketBatch, Timestamp};
use tradeflow_storage::catalog::Catalog;

use crate::dataflow::{self, Cluster, DataflowError, Job, Outcome};
use crate::reference;
use crate::results::{ResultFolder, ResultWriter, Summary, folder_name, report, summarise};
use crate::shard::{CellFinal, CellShard, ShardOutput, run_digest, shard_keys};
use crate::source::BatchSource;

/// Which driver runs the cells.
pub enum Driver {
    /// The plain loop.
    Reference,
    /// timely, on the threads and processes of a cluster.
    Dataflow(Box<Cluster>),
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The replay failed.
    #[error(transparent)]
    Replay(#[from] DataflowError),
    /// The results could not be written.
    #[error("results: {0}")]
    Results(String),
}

/// What a driver is told while it runs: rows done so far.
pub type Progress<'a> = Box<dyn FnMut(u64) + 'a>;

/// Runs a plan and writes its results under `out`; `None` in a process that is not the first of its cluster.
///
/// # Errors
/// When anything fails; then nothing stays under `out`.
pub fn run(
    plan: &Arc<RunPlan>,
    catalog: &Catalog,
    driver: Driver,
    out: &Path,
    progress: Progress<'_>,
    stop: &Arc<AtomicBool>,
) -> Result<Option<Summary>, RunError> {
    let first = match &driver {
        Driver::Dataflow(cluster) => cluster.process == 0,
        Driver::Reference => true,
    };
    if !first {
        drive(plan, catalog, driver, |_, _| Ok(()), progress, stop)?;
        return Ok(None);
    }
    let summary = with_results(plan, catalog.url(), out, |sink| {
        let (outcome, stopped_at) = drive(plan, catalog, driver, sink, progress, stop)?;
        let stopped_at = outcome.stopped.then_some(stopped_at);
        Ok((outcome, stopped_at))
    });
    summary.map(Some)
}

/// Where cells put what they put out: the index of the cell, and the outputs.
pub type Sink<'a> = &'a mut dyn FnMut(usize, Vec<ShardOutput>) -> Result<(), String>;

/// Writes the result folder of whatever drives the cells of a plan: a backtest, or a session that is replayed. `data`
/// says where the market data came from.
///
/// # Errors
/// When driving or writing fails; then nothing stays under `out`.
pub fn with_results(
    plan: &Arc<RunPlan>,
    data: &str,
    out: &Path,
    drive: impl FnOnce(Sink<'_>) -> Result<(Outcome, Option<Timestamp>), RunError>,
) -> Result<Summary, RunError> {
    let started = Instant::now();
    let name = folder_name(plan);
    let folder = ResultFolder::create(out, &name).map_err(RunError::Results)?;
    let mut writer = ResultWriter::start(plan, folder.path()).map_err(RunError::Results)?;
    let (outcome, stopped_at) = drive(&mut |cell, outputs| writer.take(cell, outputs))?;
    let mut collected = writer.finish().map_err(RunError::Results)?;
    let gathered = std::mem::take(&mut collected.gathered);
    let seconds = started.elapsed().as_secs_f64();
    let summary = summarise(plan, collected, &outcome, stopped_at, seconds, &out.join(name));
    let text =
        serde_json::to_string_pretty(&summary).map_err(|error| RunError::Results(error.to_string()))?;
    let file = folder.path().join("summary.json");
    std::fs::write(&file, text + "\n").map_err(|e| RunError::Results(format!("{}: {e}", file.display())))?;
    report::write(folder.path(), plan, data, &summary, &gathered).map_err(RunError::Results)?;
    folder.keep().map_err(RunError::Results)?;
    Ok(summary)
}

/// Runs a plan for its digest alone; `None` in a process that is not the first of its cluster.
///
/// # Errors
/// When the replay fails.
pub fn digest(
    plan: &Arc<RunPlan>,
    catalog: &Catalog,
    driver: Driver,
    stop: &Arc<AtomicBool>,
) -> Result<Option<Digest>, RunError> {
    let mut cells: Vec<Option<CellFinal>> = vec![None; plan.cells.len()];
    let sink = |cell: usize, outputs: Vec<ShardOutput>| {
        for output in outputs {
            if let ShardOutput::Final(last) = output {
                cells[cell] = Some(*last);
            }
        }
        Ok(())
    };
    drive(plan, catalog, driver, sink, Box::new(|_| {}), stop)?;
    let cells: Option<Vec<_>> = cells.into_iter().collect();
    Ok(cells.map(|cells| run_digest(plan, &cells)))
}

/// A plan in parts, by name: short ones as they are, long ones by their digest. Processes of a cluster that were given
/// different plans name the part that differs.
pub fn plan_parts(plan: &RunPlan) -> Vec<(String, String)> {
    /// All parts have to fit into one message; what comes after is compared as a whole.
    const CELLS_MAX: usize = 300;
    let mut parts = vec![
        ("start (from)".to_owned(), plan.from.to_string()),
        ("end (to)".to_owned(), plan.to.to_string()),
        ("seed".to_owned(), plan.seed.to_string()),
        ("batch_rows".to_owned(), plan.batch_rows.to_string()),
        ("window_batches".to_owned(), plan.window_batches.to_string()),
        part("list of instruments".to_owned(), &plan.instruments),
        ("data".to_owned(), format!("of digest {}", plan.data_digest())),
        part("list of series".to_owned(), &plan.series),
        ("number of accounts".to_owned(), plan.cells.len().to_string()),
    ];
    for cell in plan.cells.iter().take(CELLS_MAX) {
        let of = |what: &str| format!("{what} of account {}", cell.account.id);
        parts.push(part(of("setting"), &cell.account));
        parts.push(part(of("venue"), &cell.venue));
        parts.push(part(of("risk limits"), &cell.risk));
        parts.extend(cell.strategies.iter().map(|s| part(of(&format!("strategy {}", s.id)), s)));
    }
    parts
}

/// A part of a plan with its value, or its digest where that is long.
fn part(name: String, value: &impl serde::Serialize) -> (String, String) {
    const SHOWN_MAX: usize = 400;
    let text = serde_json::to_string(value).ok().filter(|text| text.len() <= SHOWN_MAX);
    (name, text.unwrap_or_else(|| format!("of digest {}", Digest::of_json(value))))
}

fn drive(
    plan: &Arc<RunPlan>,
    catalog: &Catalog,
    driver: Driver,
    sink: impl FnMut(usize, Vec<ShardOutput>) -> Result<(), String>,
    mut progress: Progress<'_>,
    stop: &Arc<AtomicBool>,
) -> Result<(Outcome, Timestamp), RunError> {
    let tables = RunTables::of(plan);
    let shard_plan = plan.clone();
    let (source_plan, catalog) = (plan.clone(), catalog.clone());
    let clock = Arc::new(Clock::default());
    let seen = clock.clone();
    let job = Job {
        shard_keys: shard_keys(plan),
        window_batches: plan.window_batches as usize,
        source: move || {
            let source = BatchSource::open(&source_plan, &catalog)?;
            Ok(source.inspect(move |batch| {
                if let Ok(batch) = batch {
                    seen.note(batch);
                }
            }))
        },
        make_shard: move |index| CellShard::new(&shard_plan, &tables, index),
        sink,
        progress: |_, rows| progress(rows),
        stop: stop.clone(),
    };
    let outcome = match driver {
        Driver::Reference => reference::run(job)?,
        Driver::Dataflow(cluster) => dataflow::run(*cluster, job)?,
    };
    Ok((outcome, clock.at(outcome.batches)))
}

/// The time of the last event of each batch that may be the last one processed.
#[derive(Default)]
struct Clock {
    recent: Mutex<Vec<(u64, i64)>>,
    last: AtomicI64,
}

impl Clock {
    /// More than may be in flight.
    const KEPT_MAX: usize = 4096;

    fn note(&self, batch: &MarketBatch) {
        let Some(run) = batch.runs.last() else { return };
        let ts = batch.parts[run.part as usize].columns.ts_event(run.end as usize - 1);
        self.last.store(ts, Ordering::Relaxed);
        if let Ok(mut recent) = self.recent.lock() {
            recent.push((batch.number, ts));
            if recent.len() > Self::KEPT_MAX {
                recent.drain(..Self::KEPT_MAX / 2);
            }
        }
    }

    /// The time at which `batches` batches were done.
    fn at(&self, batches: u64) -> Timestamp {
        let noted = self.recent.lock().ok().and_then(|recent| {
            recent.iter().rev().find(|(number, _)| number + 1 == batches).map(|(_, ts)| *ts)
        });
        Timestamp::from_nanos(noted.unwrap_or_else(|| self.last.load(Ordering::Relaxed)))
    }
}
