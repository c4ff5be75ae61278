//! A full disk: writes fail and leave nothing behind, and go on when there is space again. Needs root, to mount a small
//! tmpfs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tradeflow_bus::embedded::{EmbeddedBus, Options};
use tradeflow_bus::{
    Bus, BusError, Durability, NewRecord, Position, Retention, Stored, Topic, TopicKind, TopicSpec,
};
use tradeflow_model::Timestamp;

const PATIENCE: Duration = Duration::from_secs(120);

/// A small disk, as long as it lives.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`, with a word on why, where it can't be mounted.
    fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                println!("skipped: no tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: no mount: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes bytes away from it.
    fn ballast(&self, bytes: usize) {
        std::fs::write(self.path().join("ballast"), vec![1; bytes]).expect("there is room for it");
    }

    fn drop_ballast(&self) {
        std::fs::remove_file(self.path().join("ballast")).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.path().display());
        }
    }
}

fn open(disk: &Disk, reserve: u64) -> Arc<EmbeddedBus> {
    let options = || Options {
        disk_reserve_bytes: reserve,
        maintenance_every: Duration::from_millis(20),
        segment_bytes: 100_000,
        tail_bytes: 50_000,
        ..Options::default()
    };
    // Another test starts `mount` meanwhile: until that is another program, it has all files of this one open, the lock of
    // the bus that was closed just now too.
    let deadline = Instant::now() + Duration::from_secs(30);
    let bus = loop {
        match EmbeddedBus::open(disk.path().join("bus"), options()) {
            Err(BusError::Locked { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            opened => break opened.expect("it opens"),
        }
    };
    let spec = |name: &str, kind| TopicSpec { name: Topic::new(name), partitions: 1, kind };
    bus.create(&[spec("log", TopicKind::Log(Retention::default())), spec("table", TopicKind::Table)])
        .expect("created");
    Arc::new(bus)
}

/// A call: its number into the log, twice, and into the table.
fn call(n: u64, bytes: usize) -> Vec<NewRecord> {
    let mut value = n.to_le_bytes().to_vec();
    value.resize(8 + bytes, b'x');
    let record = |topic: &str| NewRecord {
        topic: Topic::new(topic),
        partition: 0,
        key: Bytes::from_static(b"last"),
        value: Some(value.clone().into()),
        ts: Timestamp::from_nanos(n as i64),
    };
    vec![record("log"), record("table"), record("log")]
}

fn call_of(record: &Stored) -> u64 {
    u64::from_le_bytes(record.value.as_deref().expect("a value")[..8].try_into().expect("a number"))
}

/// Exactly these calls are there, each as a whole.
fn check(bus: &EmbeddedBus, calls: u64, context: &str) {
    let topic = Topic::new("log");
    let mut reader =
        bus.reader(&[Position { topic: topic.clone(), partition: 0, offset: 0 }]).expect("a reader");
    let mut found = Vec::new();
    while found.len() < 2 * calls as usize {
        let records = reader.poll(1_000, Duration::ZERO).expect("read");
        assert!(!records.is_empty(), "{context}: {} records of {calls} calls", found.len());
        found.extend(records.iter().map(|record| (record.offset, call_of(record))));
    }
    assert!(
        reader.poll(1, Duration::ZERO).expect("read").is_empty(),
        "{context}: more than was acknowledged"
    );
    let expected: Vec<_> = (0..2 * calls).map(|offset| (offset, offset / 2)).collect();
    assert!(found == expected, "{context}");
    assert_eq!(bus.bounds(&topic, 0).expect("bounds"), 0..2 * calls, "{context}");
    let last = bus.latest(&Topic::new("table"), 0, b"last").expect("read").map(|record| call_of(&record));
    assert_eq!(last, calls.checked_sub(1), "{context}: the table");
}

/// Fills the disk with calls of this size, frees space, goes on: no call is lost, halved or there that was refused.
fn fill_and_free(bytes: usize, reserve: u64, durability: Durability) {
    let Some(disk) = Disk::mount(12) else { return };
    let mut calls = 0;
    for round in 0..3 {
        let context = format!("calls of {bytes} bytes, reserve {reserve}, round {round}");
        // Less each time, as the calls that are let in stay.
        disk.ballast((3 - round) << 20);
        let bus = open(&disk, reserve);
        check(&bus, calls, &context);
        let error = loop {
            match bus.publish(call(calls, bytes), durability).wait() {
                Ok(_) => calls += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, BusError::DiskFull { .. }), "{context}: {error}");
        check(&bus, calls, &format!("{context}, full"));
        for _ in 0..3 {
            let error = bus.publish(call(calls, 4_000_000), durability).wait().expect_err("still full");
            assert!(matches!(error, BusError::DiskFull { .. }), "{context}: {error}");
        }
        if round == 2 {
            // It is closed while the disk is full, and there is space before it opens again.
            drop(bus);
            disk.drop_ballast();
            check(&open(&disk, 0), calls, &format!("{context}, opened again"));
            return;
        }
        disk.drop_ballast();
        let end = Instant::now() + PATIENCE;
        while let Err(error) = bus.publish(call(calls, bytes), durability).wait() {
            assert!(matches!(error, BusError::DiskFull { .. }), "{context}: {error}");
            assert!(Instant::now() < end, "{context}: it does not go on");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        calls += 1;
        check(&bus, calls, &format!("{context}, freed"));
        drop(bus);
        check(&open(&disk, 0), calls, &format!("{context}, restarted"));
    }
}

#[test]
fn large_calls_on_a_full_disk() {
    fill_and_free(100_000, 0, Durability::Process);
}

#[test]
fn small_calls_on_a_full_disk() {
    // They fit the buffer of the store, which is written late.
    fill_and_free(1_000, 0, Durability::Process);
}

#[test]
fn power_on_a_full_disk() {
    fill_and_free(20_000, 0, Durability::Power);
}

#[test]
fn writes_stop_at_the_reserve() {
    fill_and_free(20_000, 2 << 20, Durability::Process);
}
