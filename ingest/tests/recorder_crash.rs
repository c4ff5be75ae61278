//! A recorder in a process of its own, under load, killed at random instants (`kill -9`): at the end the catalog holds
//! the rows of the bus, each once, and gives its records back.

mod recording;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use recording::rig::*;
use recording::*;
use tradeflow_bus::embedded::{EmbeddedBus, Options};
use tradeflow_bus::*;
use tradeflow_ingest::SystemClock;
use tradeflow_ingest::record::{Recorder, RecorderConfig};
use tradeflow_storage::catalog::Catalog;

const PARTITIONS: u32 = 4;
const FOLDER: &str = "RECORDER_CRASH_FOLDER";
const LIFE: &str = "RECORDER_CRASH_LIFE";
const SEED: &str = "RECORDER_CRASH_SEED";

fn open(folder: &Path) -> (Arc<EmbeddedBus>, Topics, Catalog) {
    let topics = Topics::new("t.");
    // A killed process lets go of its lock when the system has cleaned up after it.
    let deadline = Instant::now() + Duration::from_secs(120);
    let bus = loop {
        match EmbeddedBus::open(folder.join("bus"), Options::default()) {
            Ok(bus) => break bus,
            Err(error @ BusError::Locked { .. }) => assert!(Instant::now() < deadline, "{error}"),
            Err(error) => panic!("{error}"),
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    bus.create(&topics.specs(PARTITIONS, Retention::default())).unwrap();
    let catalog = Catalog::open(folder.join("catalog").to_str().unwrap()).unwrap();
    (Arc::new(bus), topics, catalog)
}

/// The process that is killed: publishes and records until it is. (A test of its own name, so that the test program can
/// start itself; without the folder it does nothing.)
#[test]
fn child() {
    let (Ok(folder), Ok(seed)) = (std::env::var(FOLDER), std::env::var(SEED)) else { return };
    let dice = Dice::new(seed.parse().unwrap());
    let (bus, topics, catalog) = open(Path::new(&folder));
    let instruments = ["AAA", "BBB", "CCC", "DDD"].map(crypto);
    let config = RecorderConfig {
        flush_every: Duration::from_millis(15),
        rows_max: 20_000,
        ..RecorderConfig::new("bus-1", instruments.to_vec())
    };
    let shared: Arc<dyn Bus> = Arc::<EmbeddedBus>::clone(&bus);
    let recorder = Recorder::start(config, shared, &topics, catalog, Arc::new(SystemClock)).unwrap();
    let life = std::env::var(LIFE).unwrap().parse().unwrap();
    let mut stream = Stream::new(&instruments, PARTITIONS, &topics).of_life(life);
    println!("started");
    let mut published = 0_u64;
    loop {
        // As quick as it records, not far ahead: what is left over is work for the last life.
        while published.saturating_sub(recorder.status().records.load(Ordering::Relaxed)) > 1_000 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        bus.publish(stream.records(&dice, 200), Durability::Process).wait().unwrap();
        published += 200;
    }
}

#[test]
fn a_recorder_killed_at_any_instant_records_each_row_once() {
    let seed = std::env::var("TRADEFLOW_SEED").map_or_else(
        |_| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::try_from(now.as_nanos() & 0xffff_ffff).unwrap()
        },
        |seed| seed.parse().unwrap(),
    );
    let kills: u64 = std::env::var("TRADEFLOW_KILLS").map_or(8, |kills| kills.parse().unwrap());
    println!("TRADEFLOW_SEED={seed} TRADEFLOW_KILLS={kills}");
    let dice = Dice::new(seed);
    let folder = tempfile::tempdir().unwrap();
    for life in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(SEED, (seed + life).to_string())
            .env(LIFE, life.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("started") {
            line.clear();
            let read = std::io::BufRead::read_line(&mut output, &mut line).unwrap();
            assert!(read > 0, "seed {seed}: the child ended by itself: {:?}", child.wait());
        }
        // Some lives end at once, some after several flushes. The time is the test's subject, not a wait for something.
        std::thread::park_timeout(Duration::from_micros(dice.roll(400_000)));
        assert!(child.try_wait().unwrap().is_none(), "seed {seed}: the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (bus, topics, catalog) = open(folder.path());
    let config = RecorderConfig {
        flush_every: Duration::from_millis(15),
        ..RecorderConfig::new("bus-1", ["AAA", "BBB", "CCC", "DDD"].map(crypto).to_vec())
    };
    let shared: Arc<dyn Bus> = Arc::<EmbeddedBus>::clone(&bus);
    let recorder = Recorder::start(config, shared, &topics, catalog.clone(), Arc::new(SystemClock)).unwrap();
    wait_for("all records", || is_recorded(bus.as_ref(), &topics, &catalog, PARTITIONS));
    recorder.stop();
    compare(bus.as_ref(), &topics, &catalog, PARTITIONS);
}
