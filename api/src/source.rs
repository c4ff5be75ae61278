//! What the server asks the node.

use std::collections::BTreeMap;
use std::sync::Arc;

use tradeflow_bus::{Clock, SystemClock};
use tradeflow_ingest::FeedStatus;
use tradeflow_ingest::bars::BarStatus;
use tradeflow_ingest::normalise::Counters;
use tradeflow_ingest::quotes::{BoardQuote, QuoteBoard};
use tradeflow_ingest::record::RecorderStatus;
use tradeflow_live::SessionPlan;
use tradeflow_live::node::{AccountError, BusView, CellStatus, NodeView};
use tradeflow_model::plan::CellPlan;
use tradeflow_model::{InstrumentId, Symbol, Timestamp};

use crate::projector::ProjectorStatus;
use crate::uploads::UploadStatus;
use crate::views::{Heard, ShownCell, better};

/// A feed, as the node runs it.
#[derive(Debug, Clone)]
pub struct FeedSource {
    /// The vendor.
    pub name: String,
    /// State and counters of the connection.
    pub status: Arc<FeedStatus>,
    /// What became of its messages.
    pub counters: Arc<Counters>,
}

/// A node that can be looked at. Each call gives what is so now; none may wait for long.
pub trait NodeSource: Send + Sync + 'static {
    /// Instruments and accounts of the session.
    fn plan(&self) -> Arc<SessionPlan>;

    /// Opens an account while the session runs. Waits for the bus: not to be called where others wait for the thread.
    ///
    /// # Errors
    /// Why it was not opened.
    fn open_account(&self, cell: &CellPlan, instruments: &[InstrumentId]) -> Result<(), AccountError>;

    /// Closes an account that was opened so. Waits as [`Self::open_account`] does.
    ///
    /// # Errors
    /// Why it was not closed.
    fn close_account(&self, account: &str) -> Result<(), AccountError>;

    /// Session and cells.
    fn view(&self) -> NodeView;

    /// The cells that run here, for latencies and counts.
    fn cells(&self) -> Vec<Arc<CellStatus>>;

    /// How far the bus is read. May ask the bus, and so take a moment; it is called for `/metrics` alone.
    fn bus(&self) -> BusView;

    /// The feeds, in the order of the configuration.
    fn feeds(&self) -> Vec<FeedSource>;

    /// The recorder, where it runs.
    fn recorder(&self) -> Option<Arc<RecorderStatus>>;

    /// The bar maker, where it runs.
    fn bars(&self) -> Option<Arc<BarStatus>>;

    /// What is wrong with the bus; nothing while it answers.
    fn bus_trouble(&self) -> Option<String> {
        None
    }

    /// How the read models follow the bus.
    fn read_models(&self) -> Option<Arc<ProjectorStatus>>;

    /// What of the results waits for ClickHouse, where it is configured.
    fn uploads(&self) -> Option<Arc<UploadStatus>>;

    /// The quotes of the feeds that run here, or ran.
    fn board(&self) -> Arc<QuoteBoard>;

    /// Whether feeds run here: of several nodes one has them.
    fn feeds_run_here(&self) -> bool {
        true
    }

    /// What other nodes tell; none where there are none.
    fn heard(&self) -> Option<Arc<Heard>> {
        None
    }

    /// A cell, wherever it runs. For people: nothing is decided by it.
    fn shown_cell(&self, account: &str) -> Option<ShownCell> {
        let here = self.view().cells.into_iter().find(|view| view.account == account);
        let here = here.map(|view| ShownCell { view, as_of: self.now() });
        here.or_else(|| self.heard()?.cell(account, &self.plan()))
    }

    /// All cells, wherever they run.
    fn shown_cells(&self) -> Vec<ShownCell> {
        let (here, as_of) = (self.view().cells, self.now());
        let others = self.heard().map(|heard| heard.others(&here, &self.plan()));
        let here = here.into_iter().map(|view| ShownCell { view, as_of });
        here.chain(others.unwrap_or_default()).collect()
    }

    /// A quote, wherever its feed runs.
    fn shown_quote(&self, symbol: &Symbol) -> Option<BoardQuote> {
        let now = self.now();
        let heard = self.heard().and_then(|heard| heard.quote(symbol, now));
        better(self.board().get(symbol, now), heard, self.feeds_run_here())
    }

    /// All quotes, by symbol.
    fn shown_quotes(&self) -> Vec<BoardQuote> {
        let now = self.now();
        let here = self.board().all(now);
        let Some(heard) = self.heard() else { return here };
        let mut heard: BTreeMap<_, _> =
            heard.quotes(now).into_iter().map(|quote| (quote.symbol.clone(), quote)).collect();
        for quote in here {
            let symbol = quote.symbol.clone();
            let shown = better(Some(quote), heard.remove(&symbol), self.feeds_run_here());
            heard.extend(shown.map(|shown| (symbol, shown)));
        }
        heard.into_values().collect()
    }

    /// Why the node does not go on; none while it does.
    fn failure(&self) -> Option<String>;

    /// The time that ages are measured at.
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}
