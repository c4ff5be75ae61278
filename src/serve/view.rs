//! What the node shows over HTTP.

use std::sync::Arc;

use tradeflow_api::{FeedSource, Heard, NodeSource, ProjectorStatus, PulseStatus, UploadStatus};
use tradeflow_ingest::bars::BarStatus;
use tradeflow_ingest::quotes::QuoteBoard;
use tradeflow_ingest::record::RecorderStatus;
use tradeflow_live::SessionPlan;
use tradeflow_live::node::{AccountError, BusView, CellStatus, Node, NodeView};
use tradeflow_model::InstrumentId;
use tradeflow_model::plan::CellPlan;

use super::feeds::FeedInfo;
use super::market::MarketStatus;

/// A node with its market side, to be looked at.
pub struct View {
    /// The cells.
    pub node: Arc<Node>,
    /// Bars and recorder, while they run here.
    pub market: Arc<MarketStatus>,
    /// Whether the bus answers.
    pub pulse: Arc<PulseStatus>,
    /// How the tables of the state follow the bus.
    pub read_models: Arc<ProjectorStatus>,
    /// What of the results waits for ClickHouse, where it is configured.
    pub uploads: Option<Arc<UploadStatus>>,
    /// The feeds of the configuration; those of another node are off here.
    pub feeds: Vec<FeedInfo>,
    /// The quotes.
    pub board: Arc<QuoteBoard>,
    /// What other nodes tell, where the bus is one that nodes share.
    pub heard: Option<Arc<Heard>>,
}

impl NodeSource for View {
    fn plan(&self) -> Arc<SessionPlan> {
        self.node.plan()
    }

    fn open_account(&self, cell: &CellPlan, instruments: &[InstrumentId]) -> Result<(), AccountError> {
        self.node.open_account(cell, instruments)
    }

    fn close_account(&self, account: &str) -> Result<(), AccountError> {
        self.node.close_account(account)
    }

    fn view(&self) -> NodeView {
        self.node.view()
    }

    fn cells(&self) -> Vec<Arc<CellStatus>> {
        self.node.cells()
    }

    fn bus(&self) -> BusView {
        self.node.bus()
    }

    fn feeds(&self) -> Vec<FeedSource> {
        let source = |info: &FeedInfo| FeedSource {
            name: info.name.to_owned(),
            status: info.status.clone(),
            counters: info.counters.clone(),
        };
        self.feeds.iter().map(source).collect()
    }

    fn recorder(&self) -> Option<Arc<RecorderStatus>> {
        self.market.recorder()
    }

    fn bars(&self) -> Option<Arc<BarStatus>> {
        self.market.bars()
    }

    fn bus_trouble(&self) -> Option<String> {
        self.pulse.trouble()
    }

    fn read_models(&self) -> Option<Arc<ProjectorStatus>> {
        Some(self.read_models.clone())
    }

    fn uploads(&self) -> Option<Arc<UploadStatus>> {
        self.uploads.clone()
    }

    fn board(&self) -> Arc<QuoteBoard> {
        self.board.clone()
    }

    fn feeds_run_here(&self) -> bool {
        self.market.is_here()
    }

    fn heard(&self) -> Option<Arc<Heard>> {
        self.heard.clone()
    }

    fn failure(&self) -> Option<String> {
        (!self.node.is_running()).then(|| "the node has ended; its log tells why".to_owned())
    }
}
