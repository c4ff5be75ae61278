//! The result folder of a run: Parquet tables that plain tools read, `summary.json`, and `report.html`.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`ResultWriter`]: takes what cells put out, on a thread of its own |
//! | `table.rs` | a Parquet table, written column by column |
//! | `tables.rs` | the columns of each table |
//! | `summary.rs` | `summary.json` |
//! | `report.rs` | `report.html` |
//! | `format.rs` | numbers as people read them |
//! | `folder.rs` | a folder that appears whole or not at all |
//!
//! Amounts are rounded half to even at the reporting scale of the account's currency
//! ([`tradeflow_model::Currency::report_scale`]); the ledger behind them is exact.

mod folder;
pub mod format;
pub mod report;
mod summary;
pub mod table;
pub(crate) mod tables;

pub use folder::{ResultFolder, folder_name};
pub use summary::{AccountSummary, Assumption, StrategySummary, Summary, summarise};

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tradeflow_model::plan::RunPlan;

use crate::shard::{CellFinal, ShardOutput};
use crate::statistics::{CurveStatistics, Statistics};
use report::{Gathered, KeptTrades};
use tables::Tables;

/// Everything that was gathered while the tables were written.
#[derive(Debug)]
pub struct Collected {
    /// Each cell's last word, in the order of the plan.
    pub cells: Vec<CellFinal>,
    /// Statistics of each cell.
    pub statistics: Vec<Statistics>,
    /// The curve of all accounts together.
    pub curve: CurveStatistics,
    /// What the report shows beyond these.
    pub gathered: Gathered,
}

/// Writes the tables on a thread of its own, so that encoding does not hold up the cells.
pub struct ResultWriter {
    sender: Option<SyncSender<(usize, Vec<ShardOutput>)>>,
    thread: Option<JoinHandle<Result<Collected, String>>>,
}

impl ResultWriter {
    /// Outputs that may wait for the writer.
    const QUEUE_MAX: usize = 4;

    /// Starts the tables of a run in a folder.
    ///
    /// # Errors
    /// When a file can't be created.
    pub fn start(plan: &Arc<RunPlan>, folder: &Path) -> Result<Self, String> {
        let tables = Tables::create(plan, folder)?;
        let (sender, receiver) = sync_channel(Self::QUEUE_MAX);
        let plan = plan.clone();
        let thread = std::thread::Builder::new()
            .name("results".into())
            .spawn(move || write(&plan, tables, &receiver))
            .map_err(|error| format!("the thread that writes results: {error}"))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Hands over what a cell put out. Waits while the writer is behind.
    ///
    /// # Errors
    /// When the writer has failed.
    pub fn take(&mut self, cell: usize, outputs: Vec<ShardOutput>) -> Result<(), String> {
        let sent = self.sender.as_ref().is_some_and(|sender| sender.send((cell, outputs)).is_ok());
        if sent { Ok(()) } else { Err(self.join().err().unwrap_or_else(|| "the writer has ended".into())) }
    }

    /// Ends the tables.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn finish(mut self) -> Result<Collected, String> {
        self.join()
    }

    fn join(&mut self) -> Result<Collected, String> {
        self.sender = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err("the thread that writes results panicked".into()),
            None => Err("the writer has ended".into()),
        }
    }
}

fn write(
    plan: &RunPlan,
    mut tables: Tables,
    receiver: &Receiver<(usize, Vec<ShardOutput>)>,
) -> Result<Collected, String> {
    let mut statistics: Vec<Statistics> = plan.cells.iter().map(|cell| Statistics::new(plan, cell)).collect();
    let mut cells: Vec<Option<CellFinal>> = vec![None; plan.cells.len()];
    let mut trades = KeptTrades::default();
    let mut total = crate::statistics::TotalCurve::new(plan);
    while let Ok((cell, outputs)) = receiver.recv() {
        for output in outputs {
            match output {
                ShardOutput::Batch(output) => {
                    statistics[cell]
                        .take_trades(&output.trades, |trip, profit| trades.take(cell, trip, profit));
                    let points = tables.take(cell, *output)?;
                    statistics[cell].take_points(&points);
                    total.take(cell, &points);
                }
                ShardOutput::Final(last) => cells[cell] = Some(*last),
            }
        }
    }
    tables.finish()?;
    let cells: Option<Vec<_>> = cells.into_iter().collect();
    let cells = cells.ok_or("the run ended before every cell did")?;
    let accounts: Vec<_> = statistics.iter_mut().filter_map(Statistics::take_trace).collect();
    let (curve, trace) = total.finish(&statistics);
    let total = trace.or_else(|| accounts.first().cloned());
    Ok(Collected { cells, statistics, curve, gathered: Gathered { total, accounts, trades } })
}
