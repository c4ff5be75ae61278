//! The whole path under load: latency, throughput and memory are what one run shows.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use serde::Serialize;
use tradeflow_bus::record::TradesRecord;
use tradeflow_bus::{BusError, Durability, Position};
use tradeflow_ingest::normalise::Counts;
use tradeflow_live::Node;
use tradeflow_live::host::Sources;
use tradeflow_live::node::{NodeConfig, Percentiles};

use crate::machine::{Cpu, load, resident_mib, slope_per_hour};
use crate::rig::{FeedRig, node, sources, strategies_run, until};
use crate::sender::{Load, Sender, Sent};

/// How often memory and backlog are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// How long what was sent may take to be through after the last tick.
const DRAIN: Duration = Duration::from_secs(60);

/// A run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is sent.
    pub load: Load,
    /// Seconds at its beginning that count for nothing.
    pub warm_up: f64,
    /// Cells.
    pub cells: usize,
    /// Threads that cells run on.
    pub arbiters: usize,
    /// What a journal entry survives.
    pub durability: Durability,
    /// Partitions of each topic.
    pub partitions: u32,
    /// Kafka's address; none for the embedded log.
    pub kafka: Option<String>,
    /// Where the log lies; a temporary folder where there is none.
    pub folder: Option<std::path::PathBuf>,
}

/// What a run shows.
#[derive(Debug, Serialize)]
pub struct Report {
    pub bus: &'static str,
    pub durability: Durability,
    pub partitions: u32,
    pub rate: u64,
    pub symbols: usize,
    pub cells: usize,
    pub seconds: f64,
    pub warm_up: f64,
    /// Ticks that were sent, and that the cells have handled (each by one cell at least).
    pub sent: u64,
    pub handled: u64,
    pub expected: u64,
    /// What became of what was received.
    pub counts: Counts,
    pub fills: u64,
    /// Microseconds from the time at which a tick was due to be sent until the client had read it: what waited in the
    /// sender or in the socket is in it.
    pub due_to_received: Percentiles,
    /// Microseconds by which the sender itself was late: part of the above that is not ours.
    pub sender_late: Percentiles,
    /// Microseconds from receipt of a tick until its cell had handled it and journaled what came of it, by ticks. Of ticks that were
    /// taken together the oldest counts for all.
    pub decision: Percentiles,
    /// Of an append to the journal, from the call to its acknowledgement.
    pub journal: Percentiles,
    /// Microseconds from receipt of the tick that filled an order until the fill was written with the durability of the
    /// journal.
    pub fill: Percentiles,
    /// The most ticks that were received and not handled yet, looked at every 100 ms.
    pub backlog_max: u64,
    /// Milliseconds from the last tick's due time until all was handled.
    pub drained_ms: f64,
    pub cpu: Cpu,
    pub cpu_us_per_tick: f64,
    pub rss_mib_first: f64,
    pub rss_mib_last: f64,
    pub rss_mib_max: f64,
    pub rss_mib_per_hour: f64,
    /// The machine's load before and after.
    pub machine_load: [f64; 2],
}

/// Runs it.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let load_before = load();
    let temporary = tempfile::tempdir()?;
    let folder = options.folder.as_deref().unwrap_or(temporary.path());
    let sources = sources(folder, options.kafka.as_deref(), options.partitions)?;
    let Options { load: of, cells, .. } = *options;
    let now = tradeflow_bus::Clock::now(&tradeflow_bus::SystemClock);
    let plan = crate::market::plan(of.symbols, cells, options.durability, now)?;
    let config = NodeConfig { arbiters: options.arbiters, ..NodeConfig::default() };
    let node = node(&sources, &plan, config)?;
    until("the strategies run", || strategies_run(&node))?;
    let mut sender = Sender::start(of)?;
    let feed = FeedRig::start(&sources, sender.port, of.symbols)?;
    sender.subscribed()?;

    let ends = std::thread::spawn(move || sender.sent().map(|sent| (sent, sender)));
    let mut watch = Watch::default();
    watch.follow(&node, &feed, |_| feed.counts().received > 0 || ends.is_finished())?;
    watch.begin(options.warm_up);
    watch.follow(&node, &feed, |watch| watch.is_warm() || ends.is_finished())?;
    latencies(&node);
    let (cpu, before) = (Cpu::now(), events(&node));
    watch.samples.clear();
    watch.follow(&node, &feed, |_| ends.is_finished())?;
    let (sent, sender) = ends.join().map_err(|_| anyhow::anyhow!("the sender's thread panicked"))??;
    let used = Cpu::now().since(&cpu);
    let expected = expected(of, cells, &sent);
    let drained = drained(&node, expected, &sent, of)?;
    let handled = events(&node);
    let [decision, fill, journal] = latencies(&node);
    let counts = feed.counts();
    feed.stop()?;
    drop(sender);
    node.stop()?;

    let rss: Vec<f64> = watch.samples.iter().map(|(_, rss)| *rss).collect();
    let ticks = ((handled - before) as f64 / followers(of, cells)).max(1.0);
    Ok(Report {
        bus: if options.kafka.is_some() { "kafka" } else { "embedded" },
        durability: options.durability,
        partitions: options.partitions,
        rate: of.rate,
        symbols: of.symbols,
        cells,
        seconds: of.seconds,
        warm_up: options.warm_up,
        sent: sent.ticks,
        handled,
        expected,
        counts,
        fills: fill.len(),
        due_to_received: Percentiles::of(&waited(&sources, of, &sent, options.warm_up)?),
        sender_late: sent.late,
        decision: Percentiles::of(&decision),
        journal: Percentiles::of(&journal),
        fill: Percentiles::of(&fill),
        backlog_max: watch.backlog,
        drained_ms: drained.as_secs_f64() * 1e3,
        cpu_us_per_tick: (used.user + used.system) * 1e6 / ticks,
        cpu: used,
        rss_mib_first: rss.first().copied().unwrap_or_default(),
        rss_mib_last: rss.last().copied().unwrap_or_default(),
        rss_mib_max: rss.iter().copied().fold(0.0, f64::max),
        rss_mib_per_hour: slope_per_hour(&watch.samples),
        machine_load: [load_before, load()],
    })
}

/// How many cells take a tick, on average.
fn followers(of: Load, cells: usize) -> f64 {
    cells as f64 / of.symbols as f64
}

/// Ticks times the cells that follow each.
fn expected(of: Load, cells: usize, sent: &Sent) -> u64 {
    let symbols = of.symbols as u64;
    let ticks = |symbol: u64| sent.ticks / symbols + u64::from(symbol < sent.ticks % symbols);
    (0..cells as u64).map(|cell| ticks(cell % symbols)).sum()
}

fn events(node: &Node) -> u64 {
    node.cells().iter().map(|cell| cell.events()).sum()
}

/// Of all cells, since they were last taken.
fn latencies(node: &Node) -> [Histogram<u64>; 3] {
    let taken = node.cells().into_iter().map(|cell| {
        let (decision, fill) = cell.take_latencies();
        [decision, fill, cell.take_journal_times()]
    });
    let sum = |mut all: [Histogram<u64>; 3], more: [Histogram<u64>; 3]| {
        for (all, more) in all.iter_mut().zip(more) {
            all.add(more).expect("all have the same bounds");
        }
        all
    };
    taken.reduce(sum).expect("a node has cells")
}

/// Waits until all is handled, and gives the time since the last tick was due.
fn drained(node: &Node, expected: u64, sent: &Sent, of: Load) -> anyhow::Result<Duration> {
    let deadline = Instant::now() + DRAIN;
    while events(node) < expected && Instant::now() < deadline {
        ensure!(node.cells().iter().all(|cell| cell.halted().is_none()), "a cell is halted");
        std::thread::sleep(Duration::from_millis(1));
    }
    let end = sent.start + of.due(sent.ticks) as i64;
    let now = tradeflow_bus::Clock::now(&tradeflow_bus::SystemClock).as_nanos();
    Ok(Duration::from_nanos((now - end).max(0) as u64))
}

/// What is seen while it runs.
#[derive(Default)]
struct Watch {
    since: Option<(Instant, Duration)>,
    /// Seconds, and MiB.
    samples: Vec<(f64, f64)>,
    backlog: u64,
}

impl Watch {
    fn begin(&mut self, warm_up: f64) {
        self.since = Some((Instant::now(), Duration::from_secs_f64(warm_up)));
    }

    fn is_warm(&self) -> bool {
        self.since.is_some_and(|(since, warm_up)| since.elapsed() >= warm_up)
    }

    /// Looks at everything now and then until something is so.
    fn follow(&mut self, node: &Node, feed: &FeedRig, so: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let followers = node.plan().run.cells.len() as f64 / node.plan().run.instruments.len() as f64;
        while !so(self) {
            let halted = node.cells().iter().find_map(|cell| cell.halted());
            ensure!(halted.is_none(), "a cell is halted: {halted:?}");
            ensure!(node.is_running(), "the node has ended");
            if let Some((since, _)) = self.since {
                self.samples.push((since.elapsed().as_secs_f64(), resident_mib()));
                let handled = (events(node) as f64 / followers) as u64;
                self.backlog = self.backlog.max(feed.counts().received.saturating_sub(handled));
            }
            std::thread::sleep(SAMPLE_EVERY);
        }
        Ok(())
    }
}

/// From the time at which ticks were due to that at which they were received: read from the bus afterwards.
fn waited(sources: &Sources, of: Load, sent: &Sent, warm_up: f64) -> anyhow::Result<Histogram<u64>> {
    let mut histogram = Histogram::new_with_bounds(1, 600_000_000_000, 3)?;
    let symbols: HashMap<String, usize> = (0..of.symbols).map(|i| (crate::market::symbol(i), i)).collect();
    for partition in 0..sources.partitions {
        let place = Position { topic: sources.topics.trades.clone(), partition, offset: 0 };
        tradeflow_live::journal::records::<BusError>(&sources.bus, place, |stored| {
            let Ok(record) = TradesRecord::decode(stored.value.as_deref().unwrap_or_default()) else {
                return Ok(());
            };
            let Some(symbol) = symbols.get(record.symbol.as_str()) else { return Ok(()) };
            for (event, init) in record.ts_event.iter().zip(&record.ts_init) {
                // Where a symbol has several ticks in a millisecond they can't be told apart: the millisecond counts.
                let due = match of.tick_at(sent.start, *symbol, event.div_euclid(1_000_000)) {
                    Some(tick) if of.rate / of.symbols as u64 <= 1_000 => sent.start + of.due(tick) as i64,
                    _ => *event + 500_000,
                };
                if due - sent.start >= (warm_up * 1e9) as i64 {
                    histogram.saturating_record((init - due).max(1) as u64);
                }
            }
            Ok(())
        })?;
    }
    Ok(histogram)
}
