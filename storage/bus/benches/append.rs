//! Writing to the embedded log beside the raw store in the same run, and the time from a write to a reader in another
//! thread. A record has 200 bytes, a batch 50 of them.

#![allow(missing_docs)] // criterion's macros

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tradeflow_bus::embedded::{EmbeddedBus, Options};
use tradeflow_bus::{Bus, Durability, NewRecord, Position, Retention, Topic, TopicKind, TopicSpec};
use tradeflow_model::Timestamp;

const RECORD_BYTES: usize = 200;
const BATCH: usize = 50;

struct Raw {
    _folder: tempfile::TempDir,
    db: Database,
    keyspace: Keyspace,
    next: u64,
    value: Vec<u8>,
}

impl Raw {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Database::builder(folder.path()).open().expect("it opens");
        let keyspace = db.keyspace("raw", KeyspaceCreateOptions::default).expect("created");
        Self { _folder: folder, db, keyspace, next: 0, value: vec![7; RECORD_BYTES] }
    }

    fn insert(&mut self) {
        self.next += 1;
        self.keyspace.insert(self.next.to_be_bytes(), self.value.as_slice()).expect("written");
    }

    fn batch(&mut self) {
        let mut batch = self.db.batch();
        for _ in 0..BATCH {
            self.next += 1;
            batch.insert(&self.keyspace, self.next.to_be_bytes(), self.value.as_slice());
        }
        batch.commit().expect("written");
    }

    fn sync(&self) {
        self.db.persist(PersistMode::SyncData).expect("synced");
    }
}

struct Log {
    _folder: tempfile::TempDir,
    bus: Arc<EmbeddedBus>,
    record: NewRecord,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bus = EmbeddedBus::open(folder.path(), Options::default()).expect("it opens");
        let topic = Topic::new("bench");
        let kind = TopicKind::Log(Retention::default());
        bus.create(&[TopicSpec { name: topic.clone(), partitions: 1, kind }]).expect("created");
        let value = Some(Bytes::from(vec![7; RECORD_BYTES]));
        let record =
            NewRecord { topic, partition: 0, key: Bytes::new(), value, ts: Timestamp::from_nanos(0) };
        Self { _folder: folder, bus: Arc::new(bus), record }
    }

    fn publish(&self, count: usize, durability: Durability) {
        self.bus.publish(vec![self.record.clone(); count], durability).wait().expect("written");
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    let (mut raw, log) = (Raw::new(), Log::new());
    group.bench_function("process/one/store", |bencher| bencher.iter(|| raw.insert()));
    group.bench_function("process/one/bus", |bencher| bencher.iter(|| log.publish(1, Durability::Process)));
    let (mut raw, log) = (Raw::new(), Log::new());
    group.bench_function("process/batch/store", |bencher| bencher.iter(|| raw.batch()));
    group.bench_function("process/batch/bus", |bencher| {
        bencher.iter(|| log.publish(BATCH, Durability::Process))
    });

    group.sample_size(20);
    let (mut raw, log) = (Raw::new(), Log::new());
    group.bench_function("power/one/store", |bencher| {
        bencher.iter(|| {
            raw.insert();
            raw.sync();
        });
    });
    group.bench_function("power/one/bus", |bencher| bencher.iter(|| log.publish(1, Durability::Power)));
    group.bench_function("power/batch/store", |bencher| {
        bencher.iter(|| {
            raw.batch();
            raw.sync();
        });
    });
    group.bench_function("power/batch/bus", |bencher| bencher.iter(|| log.publish(BATCH, Durability::Power)));
    // 64 writes are under way at once: groups.
    group.bench_function("power/64_one/bus", |bencher| {
        bencher.iter(|| {
            let receipts: Vec<_> =
                (0..64).map(|_| log.bus.publish(vec![log.record.clone()], Durability::Power)).collect();
            receipts.into_iter().for_each(|receipt| {
                receipt.wait().expect("written");
            });
        });
    });
    group.finish();
}

/// From the call of `publish` to the return of `poll` in another thread, which sleeps until then.
fn wake(criterion: &mut Criterion) {
    let log = Log::new();
    let (sender, seen) = mpsc::channel::<(u64, Instant)>();
    let stop = Arc::new(AtomicBool::new(false));
    let from = Position { topic: log.record.topic.clone(), partition: 0, offset: 0 };
    let mut reader = log.bus.reader(&[from]).expect("a reader");
    let ended = stop.clone();
    let thread = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            for record in reader.poll(100, Duration::from_millis(100)).expect("read") {
                sender.send((record.offset, Instant::now())).expect("the bench listens");
            }
        }
    });
    let mut latencies = Vec::new();
    criterion.bench_function("publish_to_poll", |bencher| {
        bencher.iter_custom(|iterations| {
            (0..iterations)
                .map(|_| {
                    let start = Instant::now();
                    log.publish(1, Durability::Process);
                    let (_, at) = seen.recv().expect("the reader reads");
                    let took = at.duration_since(start);
                    latencies.push(took);
                    took
                })
                .sum()
        });
    });
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!("publish_to_poll: p50 {:?}, p99 {:?}, p99.9 {:?}", at(0.5), at(0.99), at(0.999));
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("the reader ends");
}

criterion_group!(benches, append, wake);
criterion_main!(benches);
