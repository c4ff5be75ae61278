//! What the server asks the node.

use std::sync::Arc;

use tradeflow_bus::{Clock, SystemClock};
use tradeflow_ingest::FeedStatus;
use tradeflow_ingest::bars::BarStatus;
use tradeflow_ingest::normalise::Counters;
use tradeflow_ingest::quotes::QuoteBoard;
use tradeflow_ingest::record::RecorderStatus;
use tradeflow_live::SessionPlan;
use tradeflow_live::node::{AccountError, BusView, CellStatus, NodeView};
use tradeflow_model::plan::CellPlan;
use tradeflow_model::{InstrumentId, Timestamp};

use crate::projector::ProjectorStatus;
use crate::uploads::UploadStatus;

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

    /// The quotes.
    fn board(&self) -> Arc<QuoteBoard>;

    /// Why the node does not go on; none while it does.
    fn failure(&self) -> Option<String>;

    /// The time that ages are measured at.
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}
