//! The market side of a node: feeds, bars made of their ticks, and the recorder. Of several nodes one has it at a time, by
//! a consumer group of its own: each tick is on the bus once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tradeflow_bus::{Clock, GroupEvent, SystemClock};
use tradeflow_ingest::FeedContext;
use tradeflow_ingest::bars::{BarMaker, BarMakerConfig, BarStatus};
use tradeflow_ingest::normalise::{Limits, Normaliser, Setup};
use tradeflow_ingest::publish::{Pressure, Publisher};
use tradeflow_ingest::quotes::QuoteBoard;
use tradeflow_ingest::record::{Recorder, RecorderConfig, RecorderStatus};
use tradeflow_live::host::Sources;
use tradeflow_storage::catalog::Catalog;

use super::config::ServeConfig;
use super::feeds::{self, FeedInfo, FeedPlan};

/// What the market side runs with.
#[derive(Clone)]
pub struct MarketConfig {
    /// The configuration, of which clients are made anew each time.
    pub config: Arc<ServeConfig>,
    /// Bus and topics.
    pub sources: Sources,
    /// Where the recorder writes.
    pub catalog: Catalog,
    /// The feeds.
    pub feeds: Vec<FeedInfo>,
    /// Bars made of their ticks.
    pub bars: BarMakerConfig,
    /// The recorder, if any.
    pub recorder: Option<RecorderConfig>,
    /// Where quotes are shown.
    pub board: Arc<QuoteBoard>,
    /// How hard pressed the cells are.
    pub pressure: Pressure,
    /// The consumer group.
    pub group: String,
}

/// What can be seen of the market side.
#[derive(Debug, Default)]
pub struct MarketStatus {
    here: AtomicBool,
    recorder: std::sync::Mutex<Option<Arc<RecorderStatus>>>,
    bars: std::sync::Mutex<Option<Arc<BarStatus>>>,
}

impl MarketStatus {
    /// The recorder, where it runs here.
    pub fn recorder(&self) -> Option<Arc<RecorderStatus>> {
        self.recorder.lock().ok()?.clone()
    }

    /// The bar maker, where it runs here.
    pub fn bars(&self) -> Option<Arc<BarStatus>> {
        self.bars.lock().ok()?.clone()
    }

    /// Whether it runs here.
    pub fn is_here(&self) -> bool {
        self.here.load(Ordering::Relaxed)
    }

    fn show(&self, side: Option<&Side>) {
        self.here.store(side.is_some(), Ordering::Relaxed);
        if let Ok(mut recorder) = self.recorder.lock() {
            *recorder = side.and_then(|side| Some(side.recorder.as_ref()?.status().clone()));
        }
        if let Ok(mut bars) = self.bars.lock() {
            *bars = side.and_then(|side| Some(side.bars.as_ref()?.status().clone()));
        }
    }
}

/// Takes the market side when the group says so, on a thread of its own.
pub struct Market {
    stop: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Market {
    /// Starts it; what can be seen of it is kept in `status`.
    ///
    /// # Errors
    /// When no client can be made of the configuration: told now, not when the group assigns it.
    pub fn start(config: MarketConfig, status: Arc<MarketStatus>, runtime: Handle) -> anyhow::Result<Self> {
        drop(feeds::plans(&config.config, &config.feeds)?);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let work = move || follow(&config, &runtime, &status, &stopped);
        let thread = std::thread::Builder::new().name("market".into()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Whether it goes on; false after a failure that [`Self::stop`] then tells.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops the feeds, then the bars, then the recorder, which writes what was read.
    ///
    /// # Errors
    /// What made it end before.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| anyhow::anyhow!("the market side panicked"))?
    }
}

fn follow(
    config: &MarketConfig,
    runtime: &Handle,
    status: &MarketStatus,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let bus = &config.sources.bus;
    // The topic of sessions has one partition: one node is assigned it.
    let mut membership = bus.join(&config.group, &config.sources.topics.sessions)?;
    let mut side: Option<Side> = None;
    let mut assigned = false;
    let mut again = std::time::Instant::now();
    while !stop.is_cancelled() {
        for event in membership.poll(Duration::from_millis(50))? {
            match event {
                GroupEvent::Assigned(partitions) => assigned |= !partitions.is_empty(),
                GroupEvent::Revoked(partitions) | GroupEvent::Lost(partitions) => {
                    assigned &= partitions.is_empty();
                }
            }
        }
        if assigned && side.is_none() && std::time::Instant::now() >= again {
            match Side::start(config, runtime) {
                Ok(started) => {
                    status.show(Some(&started));
                    side = Some(started);
                }
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "feeds and recorder can't start; trying again"
                    );
                    again = std::time::Instant::now() + Duration::from_secs(5);
                }
            }
        }
        if !assigned && let Some(side) = side.take() {
            status.show(None);
            side.stop(runtime);
        }
    }
    if let Some(side) = side.take() {
        side.stop(runtime);
    }
    status.show(None);
    Ok(())
}

/// A feed that runs.
struct RunningFeed {
    task: tokio::task::JoinHandle<()>,
    upkeep: Option<tokio::task::JoinHandle<()>>,
    /// Kept: a feed whose watchlist can't change any more ends.
    _watchlist: watch::Sender<tradeflow_ingest::Watchlist>,
}

/// Feeds, bars and recorder, running.
struct Side {
    feeds: Vec<RunningFeed>,
    stop_feeds: CancellationToken,
    stop_upkeep: CancellationToken,
    bars: Option<BarMaker>,
    recorder: Option<Recorder>,
}

impl Side {
    fn start(config: &MarketConfig, runtime: &Handle) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (bus, topics) = (&config.sources.bus, &config.sources.topics);
        let mut side = Self {
            feeds: Vec::new(),
            stop_feeds: CancellationToken::new(),
            stop_upkeep: CancellationToken::new(),
            bars: None,
            recorder: None,
        };
        if let Some(recorder) = config.recorder.clone() {
            let catalog = config.catalog.clone();
            let recorder = Recorder::start(recorder, bus.clone(), topics, catalog, clock.clone());
            side.recorder = Some(recorder.context("the recorder")?);
        }
        if !config.bars.series.is_empty() {
            let bars = BarMaker::start(config.bars.clone(), bus.clone(), topics, clock.clone());
            side.bars = Some(bars.context("the bar maker")?);
        }
        for plan in feeds::plans(&config.config, &config.feeds)? {
            let name = plan.info.name;
            let feed = side.start_feed(config, plan, runtime, &clock);
            side.feeds.push(feed.with_context(|| format!("feed {name}"))?);
        }
        Ok(side)
    }

    fn start_feed(
        &self,
        config: &MarketConfig,
        plan: FeedPlan,
        runtime: &Handle,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<RunningFeed> {
        let FeedPlan { info, feed, secrets } = plan;
        let (bus, topics) = (&config.sources.bus, &config.sources.topics);
        let publisher = match info.publishes {
            true => Some(Publisher::new(bus.clone(), topics, &config.pressure, info.counters.clone())?),
            false => None,
        };
        let (watchlist, watched) = watch::channel(info.watchlist);
        let sink = Normaliser::new(Setup {
            watchlist: watched.clone(),
            counters: info.counters,
            publisher: publisher.clone(),
            board: config.board.source(info.name),
            clock: clock.clone(),
            secrets,
            limits: Limits::default(),
        });
        let context = FeedContext {
            watchlist: watched,
            sink: Box::new(sink),
            clock: clock.clone(),
            status: info.status,
            seed: feeds::seed(),
            stop: self.stop_feeds.clone(),
        };
        let task = runtime.spawn(feed.run(context));
        let stop = self.stop_upkeep.clone();
        let upkeep = publisher.map(|publisher| runtime.spawn(publisher.upkeep(stop)));
        Ok(RunningFeed { task, upkeep, _watchlist: watchlist })
    }

    fn stop(mut self, runtime: &Handle) {
        self.stop_feeds.cancel();
        let feeds = std::mem::take(&mut self.feeds);
        runtime.block_on(async {
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
        if let Some(bars) = self.bars.take() {
            bars.stop();
        }
        if let Some(recorder) = self.recorder.take() {
            recorder.stop();
        }
    }
}

impl Drop for Side {
    /// What was started goes when a later part can't start; the threads of bars and recorder end with their handles.
    fn drop(&mut self) {
        self.stop_feeds.cancel();
        self.stop_upkeep.cancel();
    }
}
