//! A cell with a million journaled inputs, killed: how long until it is back.
//!
//! A process of its own runs the node, is fed one tick at a time, so that nearly each stands in an entry of its own, and
//! is killed. Another one, which is killed in turn so that it leaves all as it was, brings the cell back. Once where the
//! last snapshot is a little old, and once in the worst case: just before the next one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tradeflow_bus::{Clock, Durability, SystemClock};
use tradeflow_live::host::Snapshot;
use tradeflow_live::node::NodeConfig;

use crate::market;
use crate::rig::{PARTITIONS, node, sources, strategies_run, until};

/// Ticks that are on their way to the cell, at most.
const AHEAD_MAX: u64 = 4;

/// What is measured.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// Inputs that the cell has taken.
    #[arg(long, default_value_t = 1_000_000)]
    pub inputs: u64,
    /// A snapshot after so many.
    #[arg(long, default_value_t = NodeConfig::default().snapshot_events)]
    pub snapshot_events: u64,
}

/// How the cell came back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recovery {
    /// Inputs that the cell had taken.
    #[serde(default)]
    pub inputs: u64,
    /// Journal entries behind the snapshot.
    pub entries: u64,
    /// Milliseconds to open the log.
    pub open_ms: f64,
    /// Milliseconds to rebuild the cell.
    pub rebuild_ms: f64,
    /// Milliseconds from the start of the program until the node was ready.
    pub total_ms: f64,
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Report {
    pub snapshot_events: u64,
    pub usual: Recovery,
    pub worst: Recovery,
    /// The machine's load before and after.
    pub machine_load: [f64; 2],
}

/// Measures.
pub fn run(options: Options) -> anyhow::Result<Report> {
    let load_before = crate::machine::load();
    let folder = tempfile::tempdir()?;
    let every = options.snapshot_events;
    let back = |from: u64, to: u64| -> anyhow::Result<Recovery> {
        let range = ["--from", &from.to_string(), "--to", &to.to_string()].map(str::to_owned);
        killed("fill", folder.path(), every, &range)?;
        let line = killed("recover", folder.path(), every, &[])?;
        Ok(Recovery { inputs: to, ..serde_json::from_str(&line)? })
    };
    // One input is the start of the strategy.
    let usual = back(0, options.inputs + every / 10)?;
    let worst =
        back(options.inputs + every / 10, options.inputs.next_multiple_of(every) + every - every / 100)?;
    Ok(Report { snapshot_events: every, usual, worst, machine_load: [load_before, crate::machine::load()] })
}

/// Runs this program until it says something, and kills it.
fn killed(what: &str, folder: &Path, every: u64, more: &[String]) -> anyhow::Result<String> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(what)
        .arg("--folder")
        .arg(folder)
        .args(["--snapshot-events", &every.to_string()])
        .args(more)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().context("its output")?;
    let read = BufReader::new(output).read_line(&mut line);
    child.kill()?; // SIGKILL
    child.wait()?;
    if read? == 0 {
        bail!("`{what}` said nothing");
    }
    Ok(line)
}

/// Where the processes work.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The log.
    #[arg(long)]
    folder: std::path::PathBuf,
    /// A snapshot after so many inputs.
    #[arg(long)]
    snapshot_events: u64,
}

impl Place {
    fn config(&self) -> NodeConfig {
        NodeConfig {
            snapshot_events: self.snapshot_events,
            // By number alone: a slow machine must not take more of them.
            snapshot_interval: std::time::Duration::from_secs(86_400),
            ..NodeConfig::default()
        }
    }
}

/// Feeds the cell until it has taken `to` ticks, says so, and waits for its end.
pub fn fill(place: &Place, from: u64, to: u64) -> anyhow::Result<()> {
    let sources = sources(&place.folder, None, PARTITIONS)?;
    let plan = market::plan(1, 1, Durability::Process, SystemClock.now())?;
    let node = node(&sources, &plan, place.config())?;
    until("the strategy runs", || strategies_run(&node))?;
    let cell = node.cells().into_iter().next().context("a cell")?;
    for tick in from..to {
        let record = crate::ratios::trade_record(&sources, tick, SystemClock.now())?;
        sources.bus.publish(vec![record], Durability::Process).wait()?;
        while (tick + 1 - from).saturating_sub(cell.events()) >= AHEAD_MAX {
            std::thread::yield_now();
        }
    }
    // By the cell's own count: what it had not journaled before it was killed, it has read again.
    until("all is taken", || node.view().cells.iter().all(|cell| cell.events == to))?;
    println!("filled");
    wait_for_the_end()
}

/// Brings the cell back, says how that went, and waits for its end.
pub fn recover(place: &Place) -> anyhow::Result<()> {
    let started = Instant::now();
    let sources = sources(&place.folder, None, PARTITIONS)?;
    let open_ms = started.elapsed().as_secs_f64() * 1e3;
    let plan = market::plan(1, 1, Durability::Process, SystemClock.now())?;
    let account = plan.run.cells[0].account.id.as_str();
    let snapshot = Snapshot::latest(sources.bus.as_ref(), &sources.topics, PARTITIONS, account)?;
    let snapshot = snapshot.context("a snapshot of the cell")?;
    let partition = plan.journal_partition(0, PARTITIONS);
    let end = sources.bus.bounds(&sources.topics.journal, partition)?.end;
    let node = node(&sources, &plan, place.config())?;
    let total_ms = started.elapsed().as_secs_f64() * 1e3;
    until("the cell is shown", || node.view().cells.iter().all(|cell| cell.recovery_ms > 0.0))?;
    let rebuild_ms = node.view().cells.iter().map(|cell| cell.recovery_ms).sum();
    let entries = end - snapshot.journal_next;
    println!("{}", serde_json::to_string(&Recovery { inputs: 0, entries, open_ms, rebuild_ms, total_ms })?);
    wait_for_the_end()
}

fn wait_for_the_end() -> anyhow::Result<()> {
    loop {
        std::thread::park();
    }
}
