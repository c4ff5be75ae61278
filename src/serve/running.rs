//! A node with everything around it: feeds, bars, recorder, cells. Started in the order of the data, stopped in the same
//! order, so that everything that came in is dealt with before it ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradeflow_bus::{Clock, SystemClock};
use tradeflow_ingest::bars::{BarMaker, BarMakerConfig};
use tradeflow_ingest::normalise::{Counters, Limits, Normaliser, Setup};
use tradeflow_ingest::publish::{Pressure, Publisher};
use tradeflow_ingest::quotes::QuoteBoard;
use tradeflow_ingest::record::{Recorder, RecorderConfig};
use tradeflow_ingest::{Feed, FeedContext, FeedStatus, Secret, Watchlist};
use tradeflow_live::host::Sources;
use tradeflow_live::node::{Node, NodeConfig, Opened};
use tradeflow_storage::catalog::Catalog;

/// A feed to be run.
pub struct FeedPlan {
    /// The client.
    pub feed: Box<dyn Feed>,
    /// What it is subscribed to.
    pub watchlist: Watchlist,
    /// Whether its prices go on the bus; those of polled sources are shown only.
    pub publishes: bool,
    /// What may not stand in the log.
    pub secrets: Vec<Secret>,
}

/// What runs.
pub struct Plan {
    /// Bus, topics, history.
    pub sources: Sources,
    /// Where the recorder writes.
    pub catalog: Catalog,
    /// The session.
    pub session: Opened,
    /// The cells.
    pub node: NodeConfig,
    /// The feeds.
    pub feeds: Vec<FeedPlan>,
    /// Bars made of their ticks.
    pub bars: BarMakerConfig,
    /// The recorder, if any.
    pub recorder: Option<RecorderConfig>,
    /// Where quotes are shown.
    pub board: Arc<QuoteBoard>,
}

/// A feed that runs.
pub struct RunningFeed {
    /// The vendor.
    pub name: &'static str,
    /// State and counters of the connection.
    pub status: Arc<FeedStatus>,
    /// Counts of what became of its messages.
    pub counters: Arc<Counters>,
    /// What it is subscribed to; may be changed.
    pub watchlist: watch::Sender<Watchlist>,
    task: JoinHandle<()>,
    upkeep: Option<JoinHandle<()>>,
}

/// Everything, running.
pub struct Running {
    runtime: Arc<Runtime>,
    feeds: Vec<RunningFeed>,
    stop_feeds: CancellationToken,
    stop_upkeep: CancellationToken,
    bars: Option<BarMaker>,
    recorder: Option<Recorder>,
    node: Option<Node>,
    pressure: Option<JoinHandle<()>>,
    board: Arc<QuoteBoard>,
}

impl Running {
    /// Starts everything. Cells are up before the first tick comes.
    ///
    /// # Errors
    /// When a part can't start; what was started is stopped again.
    pub fn start(plan: Plan, runtime: Arc<Runtime>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let Plan { sources, catalog, session, node, feeds, bars, recorder, board } = plan;
        let node = Node::start(sources.clone(), clock.clone(), session, node)?;
        let mut running = Self {
            runtime: runtime.clone(),
            feeds: Vec::new(),
            stop_feeds: CancellationToken::new(),
            stop_upkeep: CancellationToken::new(),
            bars: None,
            recorder: None,
            node: Some(node),
            pressure: None,
            board: board.clone(),
        };
        running.wait_until_ready()?;
        let (bus, topics) = (sources.bus.clone(), &sources.topics);
        if let Some(config) = recorder {
            running.recorder = Some(Recorder::start(config, bus.clone(), topics, catalog, clock.clone())?);
        }
        if !bars.series.is_empty() {
            running.bars = Some(BarMaker::start(bars, bus.clone(), topics, clock.clone())?);
        }
        let pressure = Pressure::default();
        for (number, plan) in feeds.into_iter().enumerate() {
            let feed = running.start_feed(plan, number as u64, &sources, &pressure, &clock);
            running.feeds.push(feed?);
        }
        Ok(running)
    }

    /// How long cells may take to be rebuilt before it is said that they do.
    const READY_PATIENCE: Duration = Duration::from_secs(60);

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let node = self.node();
        let deadline = std::time::Instant::now() + Self::READY_PATIENCE;
        while !node.is_ready() && node.is_running() {
            if std::time::Instant::now() > deadline {
                tracing::warn!("this node owns no accounts yet: another one has them, or the group is slow");
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn start_feed(
        &self,
        plan: FeedPlan,
        number: u64,
        sources: &Sources,
        pressure: &Pressure,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<RunningFeed> {
        let FeedPlan { feed, watchlist, publishes, secrets } = plan;
        let name = feed.name();
        let status = Arc::new(FeedStatus::default());
        let counters = Counters::new(name, status.clone());
        let publisher = if publishes {
            let publisher =
                Publisher::new(sources.bus.clone(), &sources.topics, pressure, counters.clone());
            Some(publisher.with_context(|| format!("feed {name}"))?)
        } else {
            None
        };
        let (watchlist, watched) = watch::channel(watchlist);
        let sink = Normaliser::new(Setup {
            watchlist: watched.clone(),
            counters: counters.clone(),
            publisher: publisher.clone(),
            board: self.board.source(name),
            clock: clock.clone(),
            secrets,
            limits: Limits::default(),
        });
        let context = FeedContext {
            watchlist: watched,
            sink: Box::new(sink),
            clock: clock.clone(),
            status: status.clone(),
            seed: clock.now().as_nanos() as u64 ^ number,
            stop: self.stop_feeds.clone(),
        };
        let task = self.runtime.spawn(feed.run(context));
        let stop = self.stop_upkeep.clone();
        let upkeep = publisher.map(|publisher| self.runtime.spawn(publisher.upkeep(stop)));
        Ok(RunningFeed { name, status, counters, watchlist, task, upkeep })
    }

    /// The cells.
    ///
    /// # Panics
    /// After [`Self::stop`], which takes it.
    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("the node is there until it is stopped")
    }

    /// The feeds.
    pub fn feeds(&self) -> &[RunningFeed] {
        &self.feeds
    }

    /// The recorder.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// The bar maker.
    pub fn bars(&self) -> Option<&BarMaker> {
        self.bars.as_ref()
    }

    /// The quotes.
    pub fn board(&self) -> &Arc<QuoteBoard> {
        &self.board
    }

    /// Stops everything in the order of the data: feeds, bars, cells, recorder.
    ///
    /// # Errors
    /// What could not be ended as it should.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.stop_feeds.cancel();
        let feeds = std::mem::take(&mut self.feeds);
        self.runtime.block_on(async {
            let mut upkeeps = Vec::new();
            for feed in feeds {
                let _ = feed.task.await;
                upkeeps.extend(feed.upkeep);
            }
            self.stop_upkeep.cancel();
            for upkeep in upkeeps {
                let _ = upkeep.await;
            }
        });
        if let Some(pressure) = self.pressure.take() {
            pressure.abort();
        }
        if let Some(bars) = self.bars.take() {
            bars.stop();
        }
        let stopped = self.node.take().map_or(Ok(()), Node::stop);
        if let Some(recorder) = self.recorder.take() {
            recorder.stop();
        }
        Ok(stopped?)
    }
}
