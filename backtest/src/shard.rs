//! A cell as the unit that drivers run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tradeflow_actors::cell::{PaperCell, RunTables};
use tradeflow_actors::output::{CellOutput, Counters};
use tradeflow_model::plan::RunPlan;
use tradeflow_model::{Digest, DigestWriter, MarketBatch, Money};

use crate::dataflow::Shard;

/// What a cell makes of a batch, and what is known of it at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ShardOutput {
    /// Orders, fills, trades, positions and equity of a batch.
    Batch(Box<CellOutput>),
    /// The last word.
    Final(Box<CellFinal>),
}

/// A cell at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellFinal {
    /// Digest of everything it put out.
    pub digest: Digest,
    /// What it did.
    pub counters: Counters,
    /// Cash and positions at their marks.
    pub equity: Money,
    /// Cash.
    pub cash: Money,
    /// Fees.
    pub fees: Money,
    /// Profit of closed parts, before fees.
    pub realized: Money,
    /// Profit of open parts at their marks.
    pub unrealized: Money,
    /// Dividends.
    pub dividends: Money,
}

impl CellFinal {
    /// Of a cell that has finished.
    pub fn of(cell: &PaperCell) -> Self {
        let ledger = cell.cell().account().ledger();
        Self {
            digest: cell.cell().output_digest(),
            counters: cell.counters(),
            equity: ledger.equity(),
            cash: ledger.cash(),
            fees: ledger.fees(),
            realized: ledger.realized(),
            unrealized: ledger.unrealized(),
            dividends: ledger.flows(),
        }
    }
}

/// A cell, run by a driver.
pub struct CellShard {
    cell: PaperCell,
}

impl CellShard {
    /// The cell with this index in the plan.
    ///
    /// # Errors
    /// When the plan does not fit together.
    pub fn new(plan: &Arc<RunPlan>, tables: &RunTables, index: usize) -> Result<Self, String> {
        let cell = PaperCell::new(plan, &plan.cells[index], tables).map_err(|fault| fault.0)?;
        Ok(Self { cell })
    }
}

impl Shard for CellShard {
    type Output = ShardOutput;

    fn on_batch(&mut self, batch: &MarketBatch, out: &mut Vec<ShardOutput>) -> Result<(), String> {
        self.cell.on_batch(batch).map_err(|fault| fault.0)?;
        let output = self.cell.take_output();
        if !output.is_empty() {
            out.push(ShardOutput::Batch(Box::new(output)));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<ShardOutput>) -> Result<(), String> {
        self.cell.finish().map_err(|fault| fault.0)?;
        out.push(ShardOutput::Batch(Box::new(self.cell.take_output())));
        out.push(ShardOutput::Final(Box::new(CellFinal::of(&self.cell))));
        Ok(())
    }
}

/// The stable key of each cell, from which its worker follows: a digest of the account's name. It depends neither on
/// the number of workers nor on the other cells.
pub fn shard_keys(plan: &RunPlan) -> Vec<u64> {
    plan.cells
        .iter()
        .map(|cell| {
            let digest = Digest::of(cell.account.id.as_str().as_bytes());
            u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("a digest has 32 bytes"))
        })
        .collect()
}

/// The digest of a run: of its cells' digests, in the order of the plan.
pub fn run_digest(plan: &RunPlan, cells: &[CellFinal]) -> Digest {
    let mut digest = DigestWriter::new();
    for (cell, last) in plan.cells.iter().zip(cells) {
        digest.text(cell.account.id.as_str());
        digest.bytes(last.digest.as_bytes());
    }
    digest.finish()
}
