//! `kill -9` in mid-write: a child process writes to an embedded log and is killed at a random instant, again and again.
//! What it acknowledged must be there, calls must be whole, and nothing may be missing in between.
//!
//! `TRADEFLOW_KILLS` sets the number of kills (20), `TRADEFLOW_SEED` the seed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tradeflow_bus::embedded::{EmbeddedBus, Options};
use tradeflow_bus::{Bus, Durability, NewRecord, Position, Retention, Stored, Topic, TopicKind, TopicSpec};
use tradeflow_model::Timestamp;

const CHILD: &str = "TRADEFLOW_BUS_CHILD";
const PATIENCE: Duration = Duration::from_secs(60);

struct Names {
    journal: Topic,
    orders: Topic,
    market: Topic,
    states: Topic,
}

fn names() -> Names {
    let [journal, orders, market, states] = ["journal", "orders", "market", "states"].map(Topic::new);
    Names { journal, orders, market, states }
}

fn open(folder: &Path) -> EmbeddedBus {
    let options = Options {
        segment_bytes: 20_000,
        tail_bytes: 20_000,
        memory_bytes: 1 << 20,
        maintenance_every: Duration::from_millis(3),
        disk_reserve_bytes: 0,
        ..Options::default()
    };
    let bus = EmbeddedBus::open(folder, options).expect("it opens after a kill");
    let names = names();
    let log = |name: &Topic, bytes| TopicSpec {
        name: name.clone(),
        partitions: 2,
        kind: TopicKind::Log(Retention { age: None, bytes }),
    };
    let table = TopicSpec { name: names.states.clone(), partitions: 1, kind: TopicKind::Table };
    bus.create(&[
        log(&names.journal, None),
        log(&names.orders, None),
        log(&names.market, Some(200_000)),
        table,
    ])
    .expect("created");
    bus
}

fn all(bus: &EmbeddedBus, topic: &Topic, partition: u32) -> Vec<Stored> {
    let bounds = bus.bounds(topic, partition).expect("bounds");
    let from = Position { topic: topic.clone(), partition, offset: bounds.start };
    let mut reader = bus.reader(&[from]).expect("a reader");
    let mut records = Vec::new();
    loop {
        let more = reader.poll(10_000, Duration::ZERO).expect("read");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

fn call_of(record: &Stored) -> u64 {
    let value = record.value.as_deref().expect("a value");
    u64::from_le_bytes(value[..8].try_into().expect("a number at the front"))
}

/// Records of each topic in one call.
fn counts(call: u64) -> [(u64, u32); 2] {
    [(1 + call % 5, (call % 2) as u32), (call % 3, 1)]
}

/// Not a test of its own: the process that is killed. It writes numbered calls and prints each one that is acknowledged.
#[test]
#[ignore = "run by the test below"]
fn child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let (bus, names) = (open(Path::new(&folder)), names());
    let from = bus.latest(&names.states, 0, b"last").expect("read").map_or(0, |record| call_of(&record) + 1);
    let mut claim = bus.claim(&names.journal, 0, Durability::Process).expect("claimed");
    let mut durable = bus.claim(&names.journal, 1, Durability::Power).expect("claimed");
    let mut out = std::io::stdout().lock();
    for call in from.. {
        let record = |topic: &Topic, partition, bytes: usize| {
            let mut value = call.to_le_bytes().to_vec();
            value.resize(8 + bytes, b'x');
            let (topic, ts) = (topic.clone(), Timestamp::from_nanos(call as i64));
            NewRecord { topic, partition, key: Bytes::from_static(b"last"), value: Some(value.into()), ts }
        };
        let [(journal, partition), (orders, orders_partition)] = counts(call);
        let mut records: Vec<_> = (0..journal).map(|_| record(&names.journal, partition, 50)).collect();
        records.extend((0..orders).map(|_| record(&names.orders, orders_partition, 200)));
        records.push(record(&names.market, 0, 3_000));
        records.push(record(&names.states, 0, 500));
        let writer = if call % 16 == 1 { &mut durable } else { &mut claim };
        writer.append(records).wait().expect("written");
        writeln!(out, "ack {call}").and_then(|()| out.flush()).expect("the parent listens");
    }
}

#[test]
fn nothing_is_lost_or_halved_by_kill_9() {
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let seed = number("TRADEFLOW_SEED").unwrap_or(since.as_nanos() as u64);
    let kills = number("TRADEFLOW_KILLS").unwrap_or(20);
    println!("TRADEFLOW_SEED={seed}");
    let mut state = seed;
    // SplitMix64.
    let mut random = move |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = None;
    for kill in 0..kills {
        // Sometimes while it opens, else after some calls.
        let calls = if random(4) == 0 { None } else { Some(random(1_500)) };
        let micros = random(20_000);
        if let Some(last) = run_and_kill(folder.path(), calls, Duration::from_micros(micros)) {
            acknowledged = Some(last);
        }
        let context = format!("TRADEFLOW_SEED={seed}, kill {kill}");
        let last = check(folder.path(), &context);
        assert!(last >= acknowledged, "{context}: {acknowledged:?} was acknowledged, {last:?} is the last");
    }
    println!("{kills} kills, {acknowledged:?} calls");
    assert!(kills < 10 || acknowledged > Some(100), "it hardly wrote");
}

/// Lets a child write so many calls and some time more, and kills it; the last call that it acknowledged.
fn run_and_kill(folder: &Path, calls: Option<u64>, more: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let stdout = child.stdout.take().expect("its output");
    let (sender, acknowledged) = mpsc::channel::<u64>();
    let listener = std::thread::spawn(move || {
        // The test harness writes to the same place; the first acknowledgement may stand behind its words.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some((_, call)) = line.split_once("ack ")
                && let Ok(call) = call.parse()
                && sender.send(call).is_err()
            {
                return;
            }
        }
    });
    let mut last = None;
    for _ in 0..calls.unwrap_or(0) {
        last = Some(acknowledged.recv_timeout(PATIENCE).expect("it writes"));
    }
    // The instant of the kill is what is random here; nothing is waited for.
    std::thread::sleep(more);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    last = acknowledged.iter().last().or(last);
    listener.join().expect("its output ends");
    last
}

/// All is whole and without holes; the number of the last call.
fn check(folder: &Path, context: &str) -> Option<u64> {
    let (bus, names) = (open(folder), names());
    let last = bus.latest(&names.states, 0, b"last").expect("read").map(|record| call_of(&record));
    let calls = last.map_or(0, |last| last + 1);
    for (i, topic) in [&names.journal, &names.orders].into_iter().enumerate() {
        let mut found: BTreeMap<(u64, u32), u64> = BTreeMap::new();
        for partition in 0..2 {
            let records = all(&bus, topic, partition);
            assert!(
                records.iter().zip(0..).all(|(record, offset)| record.offset == offset),
                "{context}: offsets"
            );
            assert!(records.is_sorted_by_key(call_of), "{context}: order");
            for record in &records {
                *found.entry((call_of(record), partition)).or_default() += 1;
            }
        }
        let expected = (0..calls).map(|call| (call, counts(call)[i])).filter(|(_, (count, _))| *count > 0);
        let expected: BTreeMap<_, _> =
            expected.map(|(call, (count, partition))| ((call, partition), count)).collect();
        assert!(found == expected, "{context}: {topic} does not hold each call as a whole, up to {last:?}");
    }
    let market = all(&bus, &names.market, 0);
    let bounds = bus.bounds(&names.market, 0).expect("bounds");
    assert_eq!(bounds.end, calls, "{context}: market");
    assert_eq!(market.len() as u64, bounds.end - bounds.start, "{context}: market has holes");
    assert!(
        market.iter().zip(bounds).all(|(record, n)| record.offset == n && call_of(record) == n),
        "{context}"
    );
    last
}
