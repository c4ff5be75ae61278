//! What is the embedded log's alone: the lock, fairness, the one member, tombstones, segments over restarts.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tempfile::TempDir;
use tradeflow_bus::embedded::{EmbeddedBus, Options};
use tradeflow_bus::{
    Bus, BusError, Durability, GroupEvent, NewRecord, Position, Retention, Stored, Topic, TopicKind,
    TopicSpec,
};
use tradeflow_model::Timestamp;

const PATIENCE: Duration = Duration::from_secs(120);

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    Timestamp::from_nanos(since.as_nanos() as i64)
}

fn options() -> Options {
    Options { maintenance_every: Duration::from_millis(5), disk_reserve_bytes: 0, ..Options::default() }
}

fn open(folder: &TempDir, options: Options) -> EmbeddedBus {
    EmbeddedBus::open(folder.path(), options).expect("it opens")
}

fn create(bus: &EmbeddedBus, name: &str, partitions: u32, kind: TopicKind) -> Topic {
    let name = Topic::new(name);
    bus.create(&[TopicSpec { name: name.clone(), partitions, kind }]).expect("created");
    name
}

fn record(topic: &Topic, partition: u32, key: &str, value: Option<&str>) -> NewRecord {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    NewRecord { topic: topic.clone(), partition, key: bytes(key), value: value.map(bytes), ts: now() }
}

fn publish(bus: &EmbeddedBus, records: Vec<NewRecord>) {
    bus.publish(records, Durability::Process).wait().expect("written");
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn all(bus: &EmbeddedBus, topic: &Topic, partition: u32) -> Vec<Stored> {
    let offset = bus.bounds(topic, partition).expect("bounds").start;
    let mut reader = bus.reader(&[Position { topic: topic.clone(), partition, offset }]).expect("a reader");
    let mut records = Vec::new();
    loop {
        let more = reader.poll(1_000, Duration::ZERO).expect("read");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

#[test]
fn a_folder_has_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = open(&folder, options());
    let error = EmbeddedBus::open(folder.path(), options()).err().expect("it is in use");
    let BusError::Locked { place } = &error else { panic!("{error}") };
    assert_eq!(place, &folder.path().display().to_string());
    drop(bus);
    open(&folder, options());
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").expect("written");
    let error = EmbeddedBus::open(&file, options()).err().expect("no folder").to_string();
    assert!(error.contains("file"), "{error}");
}

/// A creation that was cut off leaves a folder that opens.
#[test]
fn a_half_made_store_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let unfinished = folder.path().join("store.new");
    std::fs::create_dir_all(unfinished.join("keyspaces")).expect("made");
    std::fs::write(unfinished.join("0.jnl"), [0; 100]).expect("made");
    let bus = open(&folder, options());
    let topic = create(&bus, "t", 1, TopicKind::Log(Retention::default()));
    publish(&bus, vec![record(&topic, 0, "k", Some("v"))]);
    assert!(!unfinished.exists());
}

#[test]
fn a_busy_partition_starves_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = open(&folder, options());
    let topic = create(&bus, "t", 3, TopicKind::Log(Retention::default()));
    publish(&bus, (0..10_000).map(|_| record(&topic, 0, "busy", Some("x"))).collect());
    publish(&bus, vec![record(&topic, 2, "quiet", Some("x"))]);
    let at = |partition| Position { topic: topic.clone(), partition, offset: 0 };
    let mut reader = bus.reader(&[at(0), at(1), at(2)]).expect("a reader");
    let records = reader.poll(300, PATIENCE).expect("read");
    assert_eq!(records.len(), 300);
    assert!(records.iter().any(|record| record.partition == 2));
}

/// A partition that was trimmed is told even when others always have something.
#[test]
fn a_trimmed_partition_is_told_beside_busy_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = open(&folder, Options { segment_bytes: 1_000, ..options() });
    let retention = Retention { age: None, bytes: Some(10_000) };
    let trimmed = create(&bus, "trimmed", 1, TopicKind::Log(retention));
    let busy = create(&bus, "busy", 1, TopicKind::Log(Retention::default()));
    for _ in 0..100 {
        publish(&bus, (0..10).map(|_| record(&trimmed, 0, "key", Some(&"x".repeat(100)))).collect());
    }
    publish(&bus, (0..10_000).map(|_| record(&busy, 0, "key", Some("x"))).collect());
    until("it is trimmed", || bus.bounds(&trimmed, 0).expect("bounds").start > 500);
    let at = |topic: &Topic| Position { topic: topic.clone(), partition: 0, offset: 0 };
    let mut reader = bus.reader(&[at(&busy), at(&trimmed)]).expect("a reader");
    let polls = (0..4).find_map(|_| reader.poll(10, PATIENCE).err()).expect("told within a few polls");
    assert!(matches!(polls, BusError::Trimmed { .. }), "{polls}");
}

#[test]
fn a_member_that_joins_later_takes_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = open(&folder, options());
    let topic = create(&bus, "t", 2, TopicKind::Log(Retention::default()));
    let mut first = bus.join("group", &topic).expect("joined");
    assert_eq!(first.poll(PATIENCE).expect("events"), [GroupEvent::Assigned(vec![0, 1])]);
    let mut other = bus.join("other", &topic).expect("joined");
    assert_eq!(other.poll(PATIENCE).expect("events"), [GroupEvent::Assigned(vec![0, 1])]);
    let mut second = bus.join("group", &topic).expect("joined");
    assert_eq!(first.poll(PATIENCE).expect("events"), [GroupEvent::Lost(vec![0, 1])]);
    assert_eq!(second.poll(PATIENCE).expect("events"), [GroupEvent::Assigned(vec![0, 1])]);
    for member in [&mut first, &mut second, &mut other] {
        assert_eq!(member.poll(Duration::from_millis(10)).expect("events"), []);
    }
}

#[test]
fn tombstones_go_after_their_time_and_offsets_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let soon = Options { tombstones_for: Duration::ZERO, ..options() };
    {
        let bus = open(&folder, options());
        let topic = create(&bus, "t", 1, TopicKind::Table);
        publish(&bus, vec![record(&topic, 0, "a", Some("1")), record(&topic, 0, "b", Some("1"))]);
        publish(&bus, vec![record(&topic, 0, "b", None)]);
        assert_eq!(bus.bounds(&topic, 0).expect("bounds"), 0..3);
    }
    for _ in 0..2 {
        let bus = open(&folder, soon);
        let topic = Topic::new("t");
        until("the tombstone is gone", || all(&bus, &topic, 0).len() == 1);
        assert_eq!(bus.bounds(&topic, 0).expect("bounds").end, 3, "no offset is given twice");
        assert_eq!(bus.table(&topic, 0).expect("read").len(), 1);
    }
    let bus = open(&folder, soon);
    let topic = Topic::new("t");
    let places =
        bus.publish(vec![record(&topic, 0, "b", Some("2"))], Durability::Power).wait().expect("written");
    assert_eq!(places.places, [(0, 3)]);
    assert_eq!(bus.latest(&topic, 0, b"b").expect("read").expect("there").offset, 3);
}

/// Retention may change with the configuration; a table can't become a log.
#[test]
fn another_retention_is_taken_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = TopicKind::Log(Retention { age: None, bytes: Some(10_000) });
    {
        let bus = open(&folder, Options { segment_bytes: 2_000, ..options() });
        let topic = create(&bus, "t", 1, TopicKind::Log(Retention::default()));
        for n in 0..100 {
            publish(
                &bus,
                (0..10).map(|_| record(&topic, 0, &n.to_string(), Some(&"x".repeat(100)))).collect(),
            );
        }
        assert_eq!(bus.bounds(&topic, 0).expect("bounds"), 0..1_000);
        let error = bus.create(&[TopicSpec { name: topic, partitions: 1, kind: TopicKind::Table }]);
        assert!(error.expect_err("a log is no table").to_string().starts_with("t: "));
    }
    let bus = open(&folder, Options { segment_bytes: 2_000, ..options() });
    let topic = create(&bus, "t", 1, small);
    until("it is trimmed", || bus.bounds(&topic, 0).expect("bounds").start > 800);
    drop(bus);
    let bus = open(&folder, Options { segment_bytes: 2_000, ..options() });
    let bounds = bus.bounds(&topic, 0).expect("bounds");
    assert!(bounds.start > 800 && bounds.end == 1_000, "{bounds:?}");
    assert_eq!(all(&bus, &topic, 0).len() as u64, bounds.end - bounds.start);
}

/// Receipts of all threads resolve when the bus ends while they write, and what was acknowledged is there.
#[test]
fn writes_to_the_disk_resolve_while_the_bus_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let topic = Topic::new("t");
    let mut acknowledged = 0;
    for _ in 0..5 {
        let bus = Arc::new(open(&folder, options()));
        create(&bus, "t", 1, TopicKind::Log(Retention::default()));
        let mut claim = bus.claim(&topic, 0, Durability::Power).expect("claimed");
        let receipts: Vec<_> =
            (0..50).map(|_| claim.append(vec![record(&topic, 0, "k", Some("v"))])).collect();
        drop(bus);
        // The claim outlives the bus: it syncs by itself.
        claim.append(vec![record(&topic, 0, "k", Some("v"))]).wait().expect("written");
        for receipt in receipts {
            receipt.wait().expect("written");
        }
        acknowledged += 51;
        drop(claim);
    }
    assert_eq!(all(&open(&folder, options()), &topic, 0).len(), acknowledged);
}

/// A claim that outlives the bus writes on, also when what it writes has to be put in order: no thread is left for that.
#[test]
fn a_claim_that_outlives_the_bus_makes_room_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = Options { memory_bytes: 1_000, ..options() };
    let bus = open(&folder, small);
    let topic = create(&bus, "t", 1, TopicKind::Log(Retention::default()));
    let mut claim = bus.claim(&topic, 0, Durability::Process).expect("claimed");
    drop(bus);
    for _ in 0..100 {
        claim.append(vec![record(&topic, 0, "k", Some(&"x".repeat(500)))]).wait().expect("written");
    }
    drop(claim);
    assert_eq!(all(&open(&folder, small), &topic, 0).len(), 100);
}
