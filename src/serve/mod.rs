//! `tradeflow serve`: runs a node.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the command: start, run, stop |
//! | `config/` | the configuration of a node |
//! | `demo.rs` | `--demo`: local vendors, a paper account, two strategies |
//! | `feeds.rs` | the feeds of a configuration |
//! | `market.rs` | the market side: feeds, bars, recorder; one node of several has it |
//! | `view.rs` | what the node shows over HTTP |
//! | `logs.rs` | logs |

pub mod config;
mod demo;
mod feeds;
mod logs;
mod market;
mod view;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Runtime;
use tradeflow_api::mail::Mail;
use tradeflow_api::oidc::Oidc;
use tradeflow_api::{
    Commander, Heard, Hub, MarketData, NodeSource, Projector, Pulse, Server, Shared, SystemLogQueue, Tail,
    Views, Watch,
};
use tradeflow_bus::{Clock, SystemClock, Topics};
use tradeflow_ingest::bars::{BarMakerConfig, BarSeries};
use tradeflow_ingest::publish::Pressure;
use tradeflow_ingest::record::RecorderConfig;
use tradeflow_live::SessionPlan;
use tradeflow_live::host::Sources;
use tradeflow_live::node::{CellStatus, Node, NodeConfig, open_session};
use tradeflow_model::Timestamp;
use tradeflow_state::State;
use tradeflow_storage::aggregate::Outside;
use tradeflow_storage::catalog::Catalog;

use crate::live::Place;
use crate::live::place::{open_bus, open_catalog, origin, sources};
use config::ServeConfig;
use config::values::Run;
use demo::Demo;
use market::{Market, MarketConfig, MarketStatus};
use view::View;

const EXAMPLES: &str = "\
Examples:
  tradeflow serve --demo --data /tmp/demo              # generated market, no key, no file
  tradeflow serve --demo --data /tmp/demo --for 60s
  tradeflow serve examples/serve.toml --print-config   # check a configuration
  TRADEFLOW_FINNHUB_KEY=... tradeflow serve examples/serve.toml

Ctrl-C ends it in order. After kill -9 the next start goes on where it was.
What it did: tradeflow sessions, tradeflow verify last, tradeflow status.";

/// Runs a node: live data, paper accounts, strategies.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A TOML file with the configuration; every setting has a default, and the environment goes before the file
    /// (TRADEFLOW__NODE__LISTEN=…)
    config: Option<PathBuf>,
    /// Run a demonstration: local vendors on generated data, a paper account with two strategies, the recorder
    #[arg(long, conflicts_with = "config")]
    demo: bool,
    #[command(flatten)]
    place: Place,
    /// End after so long, such as 60s or 8h
    #[arg(long = "for", value_name = "TIME", value_parser = period)]
    period: Option<Duration>,
    /// Address and port of health, metrics and the API; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Check the configuration, print it with all defaults and without secrets, and run nothing
    #[arg(long)]
    print_config: bool,
}

/// Runs the command.
///
/// # Errors
/// All that is wrong with the configuration; what a part could not start or go on for.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let listen = args.listen.map(|listen| listen.to_string());
    let mut flags = args.place.flags();
    flags.extend(listen.as_deref().map(|listen| ("--listen", ["node", "listen"], listen)));
    let mut config = ServeConfig::load(args.config.as_deref(), &flags)?;
    if args.print_config && !args.demo {
        if !config.instruments.is_empty() {
            config.session_plan(&open_catalog(&config)?, Timestamp::from_nanos(0))?;
        }
        print!("{}", config.to_toml());
        return Ok(ExitCode::SUCCESS);
    }
    let system_log = logs::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let demo = match args.demo {
        true => Some(runtime.block_on(Demo::start(&mut config, args.listen.is_some()))?),
        false => None,
    };
    if args.print_config {
        print!("{}", config.to_toml());
        return Ok(ExitCode::SUCCESS);
    }
    // Signals from now on end it in order.
    let mut ends = runtime.block_on(async { Ends::new() })?;
    let running = Running::start(config, &runtime, system_log)?;
    if demo.is_some() {
        let catalog = running.catalog.clone();
        runtime.spawn_blocking(move || Demo::sample(&catalog));
    }
    running.announce();
    ends.deadline = args.period.map(|period| Instant::now() + period);
    let ended = running.wait(&runtime, ends);
    let cells = running.node.cells();
    let session = running.node.plan().id.clone();
    let stopped = running.stop();
    if let Some(demo) = demo {
        runtime.block_on(demo.stop());
    }
    runtime.shutdown_background();
    ended.and(stopped)?;
    summary(&session, &cells);
    Ok(ExitCode::SUCCESS)
}

/// What ends a node in order.
struct Ends {
    deadline: Option<Instant>,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            deadline: None,
            interrupt: signal(SignalKind::interrupt()).context("waiting for signals")?,
            terminate: signal(SignalKind::terminate()).context("waiting for signals")?,
        })
    }

    /// Waits for one of them, or for so long; whether it is the end.
    async fn reached_within(&mut self, patience: Duration) -> bool {
        let left = self.deadline.map_or(patience, |at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => true,
            () = tokio::time::sleep(left.min(patience)) => {
                self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
            }
        }
    }
}

/// A node with everything around it.
struct Running {
    config: Arc<ServeConfig>,
    catalog: Catalog,
    node: Arc<Node>,
    market: Market,
    server: Server,
    projector: Projector,
    pulse: Pulse,
    socket: (Tail, Watch),
    views: Option<Views>,
    pressure: tokio::task::JoinHandle<()>,
}

impl Running {
    /// How far the cells may be behind the bus until the feeds shed.
    const BEHIND_MAX: Duration = Duration::from_secs(2);

    /// Starts everything; cells are up before the first tick comes.
    fn start(config: ServeConfig, runtime: &Runtime, system_log: SystemLogQueue) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let listener = Server::bind(config.node.listen)?;
        let folder = config.data_folder();
        std::fs::create_dir_all(&folder).with_context(|| format!("folder {}", folder.display()))?;
        let state = runtime.block_on(State::open(&config.state.url(&folder)))?;
        let keys = config.state.keys(&folder)?;
        for key in runtime.block_on(state.keys_in_use())? {
            if !keys.ids().any(|known| known == key) {
                tracing::error!(
                    key,
                    "secrets are sealed with a key that this node does not have: they can't be used"
                );
            }
        }
        let bus = open_bus(&config)?;
        let topics = Topics::new(&config.bus.prefix);
        bus.create(&topics.specs(config.bus.partitions.get() as u32, config.bus.retention.get()))?;
        let catalog = open_catalog(&config)?;
        let wanted = config.session_plan(&catalog, clock.now())?;
        let bare = sources(bus.clone(), topics.clone(), &catalog)?;
        let opened = open_session(&bare, &wanted, clock.now())?;
        let plan = opened.plan.clone();
        if opened.resumed {
            tracing::info!(
                session = plan.id,
                "the session goes on: it was not ended, or runs on another node"
            );
        } else {
            tracing::info!(session = plan.id, "a new session");
        }
        let commander = Commander::start(bus.clone(), topics.clone())?;
        let handle = runtime.handle().clone();
        let reader = (group(&config, "state"), origin(bus.as_ref(), &topics)?.unwrap_or_default());
        let hub = Arc::new(Hub::default());
        let tail = Tail::start(bus.clone(), topics.clone(), &reader.1, &state, hub.clone(), &handle)?;
        let projector = Projector::start(bus.clone(), &topics, reader, state.clone(), clock.clone(), handle)?;
        let pulse = Pulse::start(bus.clone(), &topics)?;
        // The first session names the bus for the recorder.
        let sources = sources(bus, topics, &catalog)?;
        let node = NodeConfig { group: group(&config, "cells"), ..config.node.config() };
        let config = Arc::new(config);
        let pressure = Pressure::default();
        let data = MarketData { catalog: catalog.clone(), sources: sources.clone() };
        let market = market_config(&config, &sources, &catalog, &plan, &pressure)?;
        let (feeds, board) = (market.feeds.clone(), market.board.clone());
        let shown = Arc::new(MarketStatus::default());
        let node = Arc::new(Node::start(sources, clock, opened, node)?);
        let read_models = projector.status();
        let uploads = config.results.url().is_some().then(Arc::default);
        // The embedded log is one node's.
        let heard = config.bus.kafka.is_some().then(Arc::<Heard>::default);
        let view = View {
            node: node.clone(),
            market: shown.clone(),
            pulse: pulse.status(),
            read_models,
            uploads,
            feeds,
            board,
            heard: heard.clone(),
        };
        let view: Arc<dyn NodeSource> = Arc::new(view);
        let MarketData { sources: Sources { bus, topics, .. }, .. } = &data;
        let views = heard.map(|heard| Views::start(bus.clone(), topics, view.clone(), heard)).transpose()?;
        let watch = Watch::start(view.clone(), hub.clone())?;
        let jobs = config.api.jobs(&config);
        let mail = config.mail.config().map(|mail| Mail::new(&mail)).transpose().context("[mail]")?;
        let providers = config.oidc.iter().map(|provider| provider.config()).collect();
        let oidc = Oidc::new(providers, config.api.config().public_url.as_deref().unwrap_or_default())?;
        let shared = Shared::new(view, state, commander, hub, data, jobs, config.api.config())
            .with_mail(mail.unwrap_or_default())
            .with_system_log(system_log)
            .with_oidc(oidc)
            .with_keys(keys);
        let server = Server::start(listener, shared)?;
        wait_until_ready(&node);
        let market = Market::start(market, shown, runtime.handle().clone())?;
        let (gauge, lag) = (pressure.gauge(), node.lag());
        let pressure = runtime.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            loop {
                ticks.tick().await;
                gauge.set_fill(lag.behind().as_millis() as usize, Self::BEHIND_MAX.as_millis() as usize);
            }
        });
        Ok(Self {
            config,
            catalog,
            node,
            market,
            server,
            projector,
            pulse,
            socket: (tail, watch),
            views,
            pressure,
        })
    }

    /// Says on standard output that it runs.
    fn announce(&self) {
        let plan = self.node.plan();
        println!("session {}", plan.id);
        println!("data    {}", self.config.data_folder().display());
        let account = |cell: usize| plan.run.cells[cell].account.id.as_str();
        let accounts: Vec<_> = plan.open_cells().map(account).collect();
        let symbols: Vec<_> = plan.run.instruments.iter().map(|known| known.symbol.as_str()).collect();
        println!("trading {} on paper, for {}", symbols.join(", "), accounts.join(", "));
        println!("look    {}/api/v1/status, or: tradeflow status --url {0}", self.server.url());
        println!("api     {}/api/v1/docs/", self.server.url());
        println!("stop    Ctrl-C");
    }

    /// Waits for the end; an error when a part failed before.
    fn wait(&self, runtime: &Runtime, mut ends: Ends) -> anyhow::Result<()> {
        const LOOK_EVERY: Duration = Duration::from_millis(200);
        loop {
            if runtime.block_on(ends.reached_within(LOOK_EVERY)) {
                return Ok(());
            }
            if !self.node.is_running() || !self.market.is_running() {
                tracing::error!("a part of the node has failed; it ends");
                return Ok(()); // stopping tells the reason
            }
        }
    }

    /// Stops everything in the order of the data: feeds, bars, recorder, cells.
    fn stop(self) -> anyhow::Result<()> {
        tracing::info!("stopping");
        self.pressure.abort();
        let market = self.market.stop();
        let node = self.node.stop();
        self.server.stop();
        drop((self.projector, self.socket, self.views, self.pulse));
        market?;
        Ok(node?)
    }
}

fn period(text: &str) -> Result<Duration, String> {
    Run::read(text).map(|period| period.get())
}

/// The name of a consumer group: with the topics' prefix, for what shares a cluster.
fn group(config: &ServeConfig, name: &str) -> String {
    format!("{}tradeflow-{name}", config.bus.prefix)
}

fn market_config(
    config: &Arc<ServeConfig>,
    sources: &Sources,
    catalog: &Catalog,
    plan: &SessionPlan,
    pressure: &Pressure,
) -> anyhow::Result<MarketConfig> {
    let instruments = &plan.run.instruments;
    let feeds = feeds::infos(config, instruments);
    let mut series = Vec::new();
    for section in &config.instruments {
        let (intervals, price_type) = section.made_bars();
        let known = instruments.iter().find(|known| known.symbol == section.symbol);
        let known = known.with_context(|| format!("{}: not in the session", section.symbol))?;
        series.extend(intervals.into_iter().map(|interval| BarSeries {
            instrument: known.clone(),
            interval,
            price_type,
            outside: Outside::Drop,
        }));
    }
    let recorder = match origin(sources.bus.as_ref(), &sources.topics)? {
        Some(origin) if config.recorder.enabled => Some(RecorderConfig {
            group: group(config, "recorder"),
            flush_every: config.recorder.flush.get(),
            ..RecorderConfig::new(&origin, instruments.clone())
        }),
        _ => None,
    };
    Ok(MarketConfig {
        config: config.clone(),
        sources: sources.clone(),
        catalog: catalog.clone(),
        board: feeds::board(&feeds),
        feeds,
        bars: BarMakerConfig { group: group(config, "bars"), ..BarMakerConfig::new(series) },
        recorder,
        pressure: pressure.clone(),
        group: group(config, "market"),
    })
}

/// Waits until the cells that fall to this node are up; not for ever, because another node may have all of them.
fn wait_until_ready(node: &Node) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let deadline = Instant::now() + PATIENCE;
    while !node.is_ready() && node.is_running() {
        if Instant::now() > deadline {
            tracing::warn!("this node owns no accounts yet: another one has them, or the group is slow");
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What came of it, on standard output.
fn summary(session: &str, cells: &[Arc<CellStatus>]) {
    println!("ended   session {session}");
    for cell in cells.iter().map(|cell| cell.view()) {
        println!(
            "{}: {} events, {} orders, {} fills, equity {} {}, realized {}, fees {}",
            cell.account,
            cell.events,
            cell.orders,
            cell.fills,
            cell.equity,
            cell.currency,
            cell.realized,
            cell.fees
        );
        for position in &cell.positions {
            println!(
                "  {} {} at {}, unrealized {}",
                position.qty, position.symbol, position.mark, position.unrealized
            );
        }
    }
    println!("check   tradeflow verify {session}");
}
