//! How quick the bus is on Kafka: publish → poll and append → receipt, and records a second.
//!
//!     cargo run --release -p tradeflow-bus --example kafka_speed -- 127.0.0.1:9092 [seconds]
//!
//! Makes topics of its own, `speed-<time>.…`, and leaves them there.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tradeflow_bus::{
    Bus, BusError, Durability, KafkaBus, KafkaConfig, NewRecord, Position, Retention, Topic, TopicKind,
    TopicSpec,
};
use tradeflow_model::Timestamp;

/// As large as a record of one trade.
const VALUE_BYTES: usize = 120;

fn main() -> Result<(), BusError> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let bus = KafkaBus::connect(KafkaConfig::new(brokers))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let topic = Topic::new(&format!("speed-{}.ticks", since.as_millis()));
    let journal = Topic::new(&format!("speed-{}.journal", since.as_millis()));
    let spec = |name: &Topic| TopicSpec {
        name: name.clone(),
        partitions: 4,
        kind: TopicKind::Log(Retention::default()),
    };
    let table = Topic::new(&format!("speed-{}.table", since.as_millis()));
    bus.create(&[spec(&topic), spec(&journal), TopicSpec { kind: TopicKind::Table, ..spec(&table) }])?;
    let time = Duration::from_secs(seconds);
    latency(&bus, &topic, time)?;
    tables(&bus, &table)?;
    claims(&bus, &journal, time)?;
    throughput(&bus, &topic, time)
}

fn record(topic: &Topic, partition: u32) -> NewRecord {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ts = Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    let value = Some(Bytes::from_static(&[7; VALUE_BYTES]));
    NewRecord { topic: topic.clone(), partition, key: Bytes::from_static(b"BTCUSD"), value, ts }
}

/// One record at a time, a thousand a second: from the call until a reader has it.
fn latency(bus: &KafkaBus, topic: &Topic, time: Duration) -> Result<(), BusError> {
    let mut reader = bus.reader(&[Position { topic: topic.clone(), partition: 0, offset: 0 }])?;
    let (mut taken, start) = (Vec::new(), Instant::now());
    while start.elapsed() < time {
        let sent = Instant::now();
        let receipt = bus.publish(vec![record(topic, 0)], Durability::Process);
        while reader.poll(1, Duration::from_secs(1))?.is_empty() {}
        taken.push(sent.elapsed());
        receipt.wait()?;
        std::thread::sleep(Duration::from_millis(1).saturating_sub(sent.elapsed()));
    }
    print("publish to poll", &mut taken);
    Ok(())
}

/// The last record of one key among a hundred.
fn tables(bus: &KafkaBus, table: &Topic) -> Result<(), BusError> {
    let key = |n: u32| Bytes::from(format!("account-{n}"));
    bus.publish(
        (0..100).map(|n| NewRecord { key: key(n), ..record(table, 0) }).collect(),
        Durability::Process,
    )
    .wait()?;
    let mut taken = Vec::new();
    for n in 0..20 {
        let start = Instant::now();
        let found = bus.latest(table, 0, &key(n))?;
        taken.push(start.elapsed());
        assert!(found.is_some(), "it was written");
    }
    print("latest record of a key", &mut taken);
    Ok(())
}

/// A journal entry with two outputs, one call after the other; then with many waiting.
fn claims(bus: &KafkaBus, journal: &Topic, time: Duration) -> Result<(), BusError> {
    let mut claim = bus.claim(journal, 0, Durability::Process)?;
    let entry = || vec![record(journal, 0), record(journal, 1), record(journal, 2)];
    let (mut taken, start) = (Vec::new(), Instant::now());
    while start.elapsed() < time {
        let sent = Instant::now();
        claim.append(entry()).wait()?;
        taken.push(sent.elapsed());
    }
    print("append to receipt, one at a time", &mut taken);

    let (mut taken, start) = (Vec::new(), Instant::now());
    let mut waiting = std::collections::VecDeque::new();
    while start.elapsed() < time || !waiting.is_empty() {
        if start.elapsed() < time {
            waiting.push_back((Instant::now(), claim.append(entry())));
            std::thread::sleep(Duration::from_micros(100));
        }
        while let Some((sent, receipt)) = waiting.front_mut() {
            match receipt.try_now() {
                Some(written) => written?,
                None => break,
            };
            taken.push(sent.elapsed());
            waiting.pop_front();
        }
    }
    print("append to receipt, thousands a second", &mut taken);
    Ok(())
}

/// As many as go, over four partitions, in calls of 100 records; and the same records read.
fn throughput(bus: &KafkaBus, topic: &Topic, time: Duration) -> Result<(), BusError> {
    let from: Vec<_> = (0..4)
        .map(|partition| {
            Ok(Position { topic: topic.clone(), partition, offset: bus.bounds(topic, partition)?.end })
        })
        .collect::<Result<_, BusError>>()?;
    let (mut receipts, start) = (Vec::new(), Instant::now());
    while start.elapsed() < time {
        for partition in 0..4 {
            let records = (0..100).map(|_| record(topic, partition)).collect();
            receipts.push(bus.publish(records, Durability::Process));
        }
    }
    let written = receipts.len() * 100;
    for receipt in receipts {
        receipt.wait()?;
    }
    println!("{:40} {:>9.0} records/s", "publish", written as f64 / start.elapsed().as_secs_f64());
    let mut reader = bus.reader(&from)?;
    let (mut read, start) = (0, Instant::now());
    while read < written {
        read += reader.poll(10_000, Duration::from_secs(1))?.len();
    }
    println!("{:40} {:>9.0} records/s", "poll", read as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

fn print(what: &str, taken: &mut [Duration]) {
    taken.sort_unstable();
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize];
    println!(
        "{what:40} p50 {:>8.2?}  p99 {:>8.2?}  max {:>8.2?}  of {}",
        at(0.5),
        at(0.99),
        at(1.0),
        taken.len()
    );
}
