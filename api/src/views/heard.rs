//! What all nodes have told of their accounts and quotes, the newest of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tradeflow_ingest::quotes::{BoardQuote, MarketClock, SharedQuote};
use tradeflow_live::SessionPlan;
use tradeflow_live::node::CellView;
use tradeflow_model::{Symbol, Timestamp};

use super::record::{ViewRecord, account_of};

/// A cell as it is shown, here or on any node.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownCell {
    /// How it is.
    pub view: CellView,
    /// When it was so.
    pub as_of: Timestamp,
}

/// What was heard, of one session's accounts and instruments.
#[derive(Debug, Default)]
pub struct Heard(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    cells: BTreeMap<String, ShownCell>,
    quotes: BTreeMap<Symbol, (SharedQuote, MarketClock)>,
}

impl Heard {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a node has told. What is of another session, or of an instrument that this one does not have, is passed
    /// over, and so is a view of a cell that is older than what is known: a node that was cut off may tell late. That a cell
    /// is halted is always taken.
    pub fn take(&self, record: ViewRecord, plan: &SessionPlan) {
        if record.session != plan.id {
            return;
        }
        let mut kept = self.kept();
        if let Some(view) = record.cell {
            let known = kept.cells.get(&view.account).map(|known| known.view.seq);
            if view.halted.is_some() || known.is_none_or(|known| known <= view.seq) {
                kept.cells.insert(view.account.clone(), ShownCell { view, as_of: record.ts });
            }
        }
        if let Some(quote) = record.quote
            && let Some(id) = plan.instrument(quote.symbol.as_str())
        {
            let calendar = plan.run.instrument(id).calendar;
            let place = kept.quotes.entry(quote.symbol.clone());
            place.and_modify(|known| known.0 = quote.clone()).or_insert((quote, MarketClock::new(calendar)));
        }
    }

    /// Forgets what was deleted.
    pub fn forget(&self, key: &str) {
        if let Some(account) = account_of(key) {
            self.kept().cells.remove(account);
        }
    }

    /// The cell of an account that is open.
    pub fn cell(&self, account: &str, plan: &SessionPlan) -> Option<ShownCell> {
        plan.open_cell_of(account)?;
        self.kept().cells.get(account).cloned()
    }

    /// The cells of all accounts that are open, but for those that run here.
    pub fn others(&self, here: &[CellView], plan: &SessionPlan) -> Vec<ShownCell> {
        let here: BTreeSet<_> = here.iter().map(|view| view.account.as_str()).collect();
        let kept = self.kept();
        let open = plan.open_cells().map(|cell| plan.run.cells[cell].account.id.as_str());
        let others = open.filter(|account| !here.contains(account));
        others.filter_map(|account| kept.cells.get(account).cloned()).collect()
    }

    /// A quote as it is at `now`.
    pub fn quote(&self, symbol: &Symbol, now: Timestamp) -> Option<BoardQuote> {
        let mut kept = self.kept();
        let (quote, clock) = kept.quotes.get_mut(symbol)?;
        quote.at(clock, now)
    }

    /// All quotes as they are at `now`, by symbol.
    pub fn quotes(&self, now: Timestamp) -> Vec<BoardQuote> {
        self.kept().quotes.values_mut().filter_map(|(quote, clock)| quote.at(clock, now)).collect()
    }
}

/// Which of two quotes of an instrument is shown: one that is not stale before one that is; the one of here while feeds run
/// here; else the newer.
pub(crate) fn better(
    here: Option<BoardQuote>,
    heard: Option<BoardQuote>,
    feeds_run_here: bool,
) -> Option<BoardQuote> {
    let (here, heard) = match (here, heard) {
        (Some(here), Some(heard)) => (here, heard),
        (here, heard) => return here.or(heard),
    };
    let here_wins = match (here.stale, heard.stale) {
        (false, true) => true,
        (true, false) => false,
        (false, false) if feeds_run_here => true,
        (false, false) | (true, true) => here.ts_event >= heard.ts_event,
    };
    Some(if here_wins { here } else { heard })
}
