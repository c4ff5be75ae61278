//! What this node tells the others: what has changed, and after a while what has not.

use std::collections::BTreeMap;

use tradeflow_ingest::quotes::SharedQuote;
use tradeflow_live::SessionPlan;
use tradeflow_live::node::CellView;
use tradeflow_model::Timestamp;

use super::record::{ViewRecord, account_key, account_of, quote_key};

/// What was told last of what runs here, by key.
#[derive(Debug)]
pub(super) struct Teller {
    node: String,
    told: BTreeMap<String, Told>,
}

#[derive(Debug)]
struct Told {
    what: What,
    at: Timestamp,
}

#[derive(Debug, PartialEq)]
enum What {
    Cell(Box<CellView>),
    Quote(SharedQuote),
}

/// A cell is told of again after so long, so that others see that its node lives. (A quote has its own time.)
const REPEAT: i64 = 5_000_000_000;

impl Teller {
    /// `node` is the id that it tells under.
    pub(super) fn new(node: String) -> Self {
        Self { node, told: BTreeMap::new() }
    }

    /// The id that it tells under.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// What is to be told now of these, which run here, by key; nothing for what is to be deleted. It counts as told.
    pub(super) fn due(
        &mut self,
        (cells, quotes): (Vec<CellView>, Vec<SharedQuote>),
        plan: &SessionPlan,
        now: Timestamp,
    ) -> Vec<(String, Option<ViewRecord>)> {
        let mut before = std::mem::take(&mut self.told);
        let mut due = Vec::new();
        let record = |cell, quote| {
            let (node, session) = (self.node.clone(), plan.id.clone());
            Some(ViewRecord { v: ViewRecord::VERSION, node, session, ts: now, cell, quote })
        };
        for cell in cells {
            let (key, what) = (account_key(&cell.account), What::Cell(Box::new(shown_of(&cell))));
            match before.remove(&key) {
                Some(told) if told.what == what && now.as_nanos() - told.at.as_nanos() < REPEAT => {
                    self.told.insert(key, told);
                }
                _ => {
                    self.told.insert(key.clone(), Told { what, at: now });
                    due.push((key, record(Some(cell), None)));
                }
            }
        }
        for quote in quotes {
            let (key, what) = (quote_key(&quote.symbol), What::Quote(quote.clone()));
            let told = before.remove(&key).filter(|told| told.what == what);
            if told.is_none() {
                due.push((key.clone(), record(None, Some(quote))));
            }
            self.told.insert(key, told.unwrap_or(Told { what, at: now }));
        }
        // What is left is of another node now, or closed.
        let is_closed = |account: &str| plan.open_cell_of(account).is_none();
        due.extend(
            before.into_keys().filter(|key| account_of(key).is_some_and(is_closed)).map(|key| (key, None)),
        );
        due
    }

    /// Another node has told of this: if it runs here, it is told anew.
    pub(super) fn answer(&mut self, key: &str) {
        self.told.remove(key);
    }

    /// What was told last was lost: all is told anew.
    pub(super) fn lost(&mut self) {
        self.told.clear();
    }
}

/// What others show of a cell, without what changes with each tick and is not shown.
fn shown_of(cell: &CellView) -> CellView {
    CellView {
        seq: 0,
        events: 0,
        pending: 0,
        ts: 0,
        recovery_ms: 0.0,
        snapshot_ms: 0.0,
        snapshots: 0,
        ..cell.clone()
    }
}
