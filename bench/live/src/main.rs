//! Speed of the live path: latency, throughput, memory, recovery, and the cost of the log beside the store under it.
//!
//! | file | holds |
//! |---|---|
//! | `market.rs` | the generated market and the session that trades it |
//! | `sender.rs` | the vendor's side, a process of its own |
//! | `rig.rs` | the path as `tradeflow serve` puts it together |
//! | `load.rs` | the path under load: latency, throughput, memory |
//! | `ratios.rs` | publish and journal append beside the store's own append |
//! | `recovery.rs` | a killed cell comes back |
//! | `machine.rs` | processor time, memory |
//!
//! Tables go to the terminal; all figures, as JSON, to `--out`.
#![allow(missing_docs, reason = "fields of reports are figures with telling names")]

mod load;
mod machine;
mod market;
mod ratios;
mod recovery;
mod rig;
mod sender;
mod show;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde_json::{Map, Value, json};
use tradeflow_bus::Durability;

use crate::sender::Load;

#[cfg(unix)]
#[path = "../../../storage/bus/tests/kafka_server/mod.rs"]
mod kafka_server;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Speed of the live path, from a vendor's socket to fills in the journal")]
struct Options {
    /// Where the figures go, as JSON.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// From a tick on the socket to its fill in the journal.
    Latency(UnderLoad),
    /// As many ticks as one node takes.
    Throughput(UnderLoad),
    /// Memory over time.
    Memory(UnderLoad),
    /// Publish and journal append beside the store's own append.
    Ratios {
        /// Times that each is measured.
        #[arg(long, default_value_t = 30)]
        turns: usize,
    },
    /// A killed cell comes back.
    Recovery(recovery::Options),
    /// All of them.
    All {
        /// Seconds for memory.
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// Kafka too: `start`, or the address of a broker.
        #[arg(long)]
        kafka: Option<String>,
        /// Tiny numbers: shows that everything runs, not how fast.
        #[arg(long)]
        smoke: bool,
    },
    #[command(hide = true)]
    Send(Load),
    #[command(hide = true)]
    Fill {
        #[command(flatten)]
        place: recovery::Place,
        #[arg(long)]
        from: u64,
        #[arg(long)]
        to: u64,
    },
    #[command(hide = true)]
    Recover(recovery::Place),
}

/// Of a run under load; what is not given is the target's.
#[derive(clap::Args, Clone, Default)]
struct UnderLoad {
    /// Ticks a second.
    #[arg(long)]
    rate: Option<u64>,
    /// Symbols.
    #[arg(long)]
    symbols: Option<usize>,
    /// Cells; each follows one symbol.
    #[arg(long)]
    cells: Option<usize>,
    /// Seconds, the first ones included that are not measured.
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds at the beginning that are not measured: a fifth, five at most; two minutes more on Kafka, whose broker compiles
    /// its code while it runs.
    #[arg(long)]
    warm_up: Option<f64>,
    /// Threads that cells run on.
    #[arg(long)]
    arbiters: Option<usize>,
    /// `process` or `power`.
    #[arg(long, value_parser = rig::durability)]
    durability: Option<Durability>,
    /// Partitions of each topic: on Kafka each has a transaction of its own under way.
    #[arg(long)]
    partitions: Option<u32>,
    /// `start`, or the address of a broker; without it the embedded log.
    #[arg(long)]
    kafka: Option<String>,
    /// Where the log lies; a temporary folder where there is none.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// The targets.
const LATENCY: (u64, usize, f64) = (20_000, 100, 20.0);
const THROUGHPUT: (u64, usize, f64) = (200_000, 10, 20.0);
const MEMORY: (u64, usize, f64) = (20_000, 100, 60.0);
/// How long a broker is warmed up.
const KAFKA_WARM_UP: f64 = 120.0;

impl UnderLoad {
    fn run(&self, (rate, symbols, seconds): (u64, usize, f64)) -> anyhow::Result<load::Report> {
        let (kafka, _broker) = broker(self.kafka.as_deref())?;
        let (mut seconds, given) = (self.seconds.unwrap_or(seconds), self.seconds.is_some());
        let mut warm_up = self.warm_up.unwrap_or((seconds / 5.0).min(5.0));
        if kafka.is_some() && !given && self.warm_up.is_none() {
            (seconds, warm_up) = (seconds + KAFKA_WARM_UP, warm_up + KAFKA_WARM_UP);
        }
        let symbols = self.symbols.unwrap_or(symbols);
        load::run(&load::Options {
            load: Load { rate: self.rate.unwrap_or(rate), symbols, seconds },
            warm_up,
            cells: self.cells.unwrap_or(symbols),
            arbiters: self.arbiters.unwrap_or(1),
            durability: self.durability.unwrap_or_default(),
            partitions: self.partitions.unwrap_or(rig::PARTITIONS),
            kafka,
            folder: self.folder.clone(),
        })
    }
}

/// The address of a broker, which is started where that is wanted.
fn broker(kafka: Option<&str>) -> anyhow::Result<(Option<String>, Option<kafka_server::Server>)> {
    match kafka {
        Some("start") => {
            let server = kafka_server::Server::start_as("latency").map_err(anyhow::Error::msg)?;
            Ok((Some(server.brokers()), Some(server)))
        }
        address => Ok((address.map(str::to_owned), None)),
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut report = Map::new();
    let mut add = |name: &str, value: Value| {
        show::show(name, &value);
        report.insert(name.to_owned(), value);
    };
    match options.what {
        What::Send(load) => return sender::run(load),
        What::Fill { place, from, to } => return recovery::fill(&place, from, to),
        What::Recover(place) => return recovery::recover(&place),
        What::Latency(load) => {
            let name = if load.kafka.is_some() { "latency_kafka" } else { "latency" };
            add(name, json!(load.run(LATENCY)?));
        }
        What::Throughput(load) => add("throughput", json!(load.run(THROUGHPUT)?)),
        What::Memory(load) => add("memory", json!(load.run(MEMORY)?)),
        What::Ratios { turns } => add("ratios", json!(ratios::run(turns)?)),
        What::Recovery(options) => add("recovery", json!(recovery::run(options)?)),
        What::All { seconds, kafka, smoke } => all(seconds, kafka, smoke, add)?,
    }
    if let Some(path) = options.out {
        std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")?;
        println!("\nall figures: {}", path.display());
    }
    Ok(())
}

fn all(
    seconds: f64,
    kafka: Option<String>,
    smoke: bool,
    mut add: impl FnMut(&str, Value),
) -> anyhow::Result<()> {
    let tiny = |rate, cells| UnderLoad {
        rate: Some(rate),
        symbols: Some(cells),
        seconds: Some(1.5),
        ..UnderLoad::default()
    };
    let (latency, throughput) = if smoke { (tiny(2_000, 20), tiny(5_000, 5)) } else { Default::default() };
    let memory = UnderLoad { seconds: if smoke { Some(1.5) } else { Some(seconds) }, ..latency.clone() };
    let power = UnderLoad { durability: Some(Durability::Power), ..latency.clone() };
    add("ratios", json!(ratios::run(if smoke { 2 } else { 30 })?));
    add("latency", json!(latency.run(LATENCY)?));
    add("latency_power", json!(power.run(LATENCY)?));
    if kafka.is_some() {
        let one = UnderLoad { kafka: kafka.clone(), partitions: Some(1), ..latency.clone() };
        add("latency_kafka_one_partition", json!(one.run(LATENCY)?));
        add("latency_kafka", json!(UnderLoad { kafka, ..latency }.run(LATENCY)?));
    }
    add("throughput", json!(throughput.run(THROUGHPUT)?));
    let recovery = if smoke { (2_000, 1_000) } else { (1_000_000, 250_000) };
    let recovery = recovery::Options { inputs: recovery.0, snapshot_events: recovery.1 };
    add("recovery", json!(recovery::run(recovery)?));
    add("memory", json!(memory.run(MEMORY)?));
    Ok(())
}
