//! What the node shows over HTTP.

use std::sync::Arc;

use tradeflow_api::{FeedSource, NodeSource, ProjectorStatus};
use tradeflow_ingest::bars::BarStatus;
use tradeflow_ingest::quotes::QuoteBoard;
use tradeflow_ingest::record::RecorderStatus;
use tradeflow_live::SessionPlan;
use tradeflow_live::node::{BusView, CellStatus, Node, NodeView};

use super::feeds::FeedInfo;
use super::market::MarketStatus;

/// A node with its market side, to be looked at.
pub struct View {
    /// The cells.
    pub node: Arc<Node>,
    /// Bars and recorder, while they run here.
    pub market: Arc<MarketStatus>,
    /// How the tables of the state follow the bus.
    pub read_models: Arc<ProjectorStatus>,
    /// The feeds of the configuration; those of another node are off here.
    pub feeds: Vec<FeedInfo>,
    /// The quotes.
    pub board: Arc<QuoteBoard>,
}

impl NodeSource for View {
    fn plan(&self) -> Arc<SessionPlan> {
        self.node.plan().clone()
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

    fn read_models(&self) -> Option<Arc<ProjectorStatus>> {
        Some(self.read_models.clone())
    }

    fn board(&self) -> Arc<QuoteBoard> {
        self.board.clone()
    }

    fn failure(&self) -> Option<String> {
        (!self.node.is_running()).then(|| "the node has ended; its log tells why".to_owned())
    }
}
