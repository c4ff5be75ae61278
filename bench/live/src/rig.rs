//! The live path as `tradeflow serve` puts it together: client, normaliser, publisher, bus, node.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradeflow_bus::embedded::{EmbeddedBus, Options};
use tradeflow_bus::{Bus, Clock, Durability, KafkaBus, KafkaConfig, Retention, SystemClock, Topics};
use tradeflow_ingest::binance::{Binance, BinanceOptions};
use tradeflow_ingest::normalise::{Counters, Counts, Limits, Normaliser, Setup};
use tradeflow_ingest::publish::{Pressure, Publisher};
use tradeflow_ingest::{Feed, FeedContext, FeedStatus};
use tradeflow_live::host::Sources;
use tradeflow_live::node::{Node, NodeConfig, open_session};
use tradeflow_live::{NoHistory, SessionPlan};

use crate::market;

/// Partitions of the topics, as a node has them by default.
pub const PARTITIONS: u32 = 8;
/// Market data that is kept of each partition.
const MARKET: Retention = Retention { age: None, bytes: Some(256 << 20) };
/// How long something may take that takes moments.
const PATIENCE: Duration = Duration::from_secs(120);

/// The embedded bus in a folder, or Kafka, with the topics.
pub fn sources(folder: &Path, kafka: Option<&str>, partitions: u32) -> anyhow::Result<Sources> {
    let (bus, topics): (Arc<dyn Bus>, Topics) = match kafka {
        None => (Arc::new(EmbeddedBus::open(folder, Options::default())?), Topics::new("")),
        Some(brokers) => {
            let bus = KafkaBus::connect(KafkaConfig::new(brokers))?;
            (Arc::new(bus), Topics::new(&format!("bench-{}.", SystemClock.now().as_nanos())))
        }
    };
    bus.create(&topics.specs(partitions, MARKET))?;
    Ok(Sources { bus, topics, partitions, history: Arc::new(NoHistory), archive: None })
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A node on the session of a plan, ready.
pub fn node(sources: &Sources, plan: &SessionPlan, config: NodeConfig) -> anyhow::Result<Node> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let opened = open_session(sources, plan, clock.now())?;
    let node = Node::start(sources.clone(), clock, opened, config)?;
    until("the node is ready", || node.is_ready() || !node.is_running())?;
    if !node.is_running() {
        node.stop()?;
        anyhow::bail!("the node ended at once");
    }
    Ok(node)
}

/// All strategies of a node run.
pub fn strategies_run(node: &Node) -> bool {
    node.view().cells.iter().all(|cell| cell.strategies.iter().any(|strategy| strategy.running))
}

/// A client of Binance's streams, and what follows it up to the bus.
pub struct FeedRig {
    runtime: Runtime,
    counters: Arc<Counters>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _watchlist: watch::Sender<tradeflow_ingest::Watchlist>,
}

impl FeedRig {
    /// Connects to a server on this port.
    pub fn start(sources: &Sources, port: u16, symbols: usize) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("feeds")
            .enable_all()
            .build()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let status = Arc::new(FeedStatus::default());
        let counters = Counters::new("binance", status.clone());
        let pressure = Pressure::default();
        let publisher = Publisher::new(sources.bus.clone(), &sources.topics, &pressure, counters.clone())?;
        let (watchlist, watched) = watch::channel(market::watchlist(symbols)?);
        let sink = Normaliser::new(Setup {
            watchlist: watched.clone(),
            counters: counters.clone(),
            publisher: Some(publisher.clone()),
            board: None,
            clock: clock.clone(),
            secrets: Vec::new(),
            limits: Limits::default(),
        });
        let stop = CancellationToken::new();
        let context = FeedContext {
            watchlist: watched,
            sink: Box::new(sink),
            clock,
            status,
            seed: 1,
            stop: stop.clone(),
        };
        let options =
            BinanceOptions { stream_url: format!("ws://127.0.0.1:{port}"), ..BinanceOptions::default() };
        let tasks = vec![
            runtime.spawn(Box::new(Binance::new(options)).run(context)),
            runtime.spawn(publisher.upkeep(stop.clone())),
        ];
        Ok(Self { runtime, counters, stop, tasks, _watchlist: watchlist })
    }

    /// What has become of the ticks so far.
    pub fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Disconnects.
    pub fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            self.runtime.block_on(task).context("a task of the feed")?;
        }
        Ok(())
    }
}

/// What a write survives, by name.
pub fn durability(name: &str) -> Result<Durability, String> {
    match name {
        "process" => Ok(Durability::Process),
        "power" => Ok(Durability::Power),
        _ => Err("`process` or `power`".to_owned()),
    }
}
