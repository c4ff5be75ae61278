//! The recorder: what is in the catalog is what was on the bus, and comes back as it was.

mod recording;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use recording::rig::*;
use recording::*;
use tradeflow_bus::record::{DeadLetter, decode};
use tradeflow_bus::*;
use tradeflow_ingest::record::{Recorded, RecordedError, Recorder, RecorderConfig};
use tradeflow_model::market::SeriesKind;
use tradeflow_model::*;
use tradeflow_storage::catalog::{Catalog, SeriesKey};

const PARTITIONS: u32 = 2;

fn config(instruments: &[Instrument], flush_ms: u64, rows_max: usize) -> RecorderConfig {
    RecorderConfig {
        flush_every: Duration::from_millis(flush_ms),
        rows_max,
        ..RecorderConfig::new("bus-1", instruments.to_vec())
    }
}

fn start(bus: impl Bus, topics: &Topics, catalog: &Catalog, config: RecorderConfig) -> Recorder {
    Recorder::start(config, Arc::new(bus), topics, catalog.clone(), Arc::new(tradeflow_ingest::SystemClock))
        .unwrap()
}

fn memory() -> Catalog {
    let store = Arc::new(object_store::memory::InMemory::new());
    Catalog::on_store("memory", store).unwrap()
}

fn last_error(recorder: &Recorder) -> String {
    recorder.status().last_error.lock().unwrap().clone().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However often the recorder ends in mid-flight, and whatever the size of its flushes.
    #[test]
    fn the_catalog_holds_the_rows_of_the_bus_and_gives_its_records_back(
        seed in any::<u64>(),
        lives in proptest::collection::vec((1_i64..30, 0_u64..20, 1_usize..200), 0..6),
    ) {
        let dice = Dice::new(seed);
        let topics = Topics::new("t.");
        let instruments = [crypto("AAA"), crypto("BBB"), crypto("CC-C")];
        let bus = memory_bus(&topics, PARTITIONS);
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
        let mut stream = Stream::new(&instruments, PARTITIONS, &topics);
        for (life, flush_ms, rows_max) in lives {
            let mortal = Mortal::new(Arc::new(bus.clone()), life);
            let recorder = start(mortal.clone(), &topics, &catalog, config(&instruments, flush_ms, rows_max));
            bus.publish(stream.records(&dice, 60), Durability::Process).wait().unwrap();
            wait_for("death or the end", || {
                mortal.is_dead() || [&topics.trades, &topics.quotes, &topics.bars].iter().all(|t| mortal.has_read(t))
            });
            // Dead, nothing it does reaches the bus; the catalog may be written still.
            recorder.stop();
        }
        bus.publish(stream.records(&dice, 100), Durability::Process).wait().unwrap();
        let recorder = start(bus.clone(), &topics, &catalog, config(&instruments, 5, 1_000));
        wait_for("all records", || is_recorded(&bus, &topics, &catalog, PARTITIONS));
        recorder.stop();
        compare(&bus, &topics, &catalog, PARTITIONS);
        // Any range comes back as it was.
        let recorded = Recorded::new(catalog, "bus-1");
        for topic in [&topics.trades, &topics.quotes, &topics.bars] {
            for partition in 0..PARTITIONS {
                let end = bus.bounds(topic, partition).unwrap().end;
                let (a, b) = (dice.roll(end + 1), dice.roll(end + 1));
                let range = a.min(b)..a.max(b);
                let expected = on_bus(&bus, topic, partition, range.clone());
                prop_assert_eq!(recorded.records(topic, partition, range).unwrap(), expected);
                let beyond = recorded.records(topic, partition, 0..end + 1);
                let is_missing = matches!(beyond, Err(RecordedError::Missing { from, .. }) if from == end);
                prop_assert!(is_missing);
            }
        }
    }
}

/// Segments are joined and the joined ones deleted while readers are at it: they see all, or none of that.
#[test]
fn what_is_recorded_is_read_while_it_is_joined() {
    let topics = Topics::new("");
    let instruments = [crypto("AAA")];
    let bus = memory_bus(&topics, 1);
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
    let dice = Dice::new(8);
    let mut stream = Stream::new(&instruments, 1, &topics);
    let recorder = start(bus.clone(), &topics, &catalog, config(&instruments, 0, 1_000));
    let mut published = 0;
    while recorder.status().flushes.load(Ordering::Relaxed) < 100 {
        published += 5;
        bus.publish(stream.of_trades(&dice, 5), Durability::Process).wait().unwrap();
        // A new one each time: nothing is remembered.
        let recorded = Recorded::new(catalog.clone(), "bus-1");
        let through = recorded.through(&topics.trades, 0).unwrap().unwrap_or_default();
        let found = recorded.records(&topics.trades, 0, 0..through).unwrap();
        assert_eq!(found.len() as u64, through);
    }
    wait_for("all records", || is_recorded(&bus, &topics, &catalog, 1));
    assert_eq!(recorder.status().records.load(Ordering::Relaxed), published);
    recorder.stop();
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_and_blocks_nothing() {
    let topics = Topics::new("");
    let instruments = [crypto("AAA")];
    let bus = memory_bus(&topics, 1);
    let catalog = memory();
    let dice = Dice::new(1);
    let mut stream = Stream::new(&instruments, 1, &topics);
    bus.publish(stream.of_trades(&dice, 5), Durability::Process).wait().unwrap();
    let mut bad = stream.of_trades(&dice, 1);
    bad[0].value = Some("not a record".into());
    bus.publish(bad, Durability::Process).wait().unwrap();
    bus.publish(stream.of_trades(&dice, 5), Durability::Process).wait().unwrap();
    let recorder = start(bus.clone(), &topics, &catalog, config(&instruments, 5, 1_000));
    wait_for("all records", || is_recorded(&bus, &topics, &catalog, 1));
    assert_eq!(recorder.status().poison.load(Ordering::Relaxed), 1);
    recorder.stop();
    compare(&bus, &topics, &catalog, 1);
    let letters = all(&bus, &topics.dead_letters, 0);
    let letter: DeadLetter = decode("dead-letters", letters[0].value.as_deref().unwrap()).unwrap();
    assert_eq!((letter.topic.as_str(), letter.offset, letters.len()), ("md.trades.v1", 5, 1));
    // Its offset is covered, and holds nothing.
    let found = Recorded::new(catalog, "bus-1").records(&topics.trades, 0, 0..11).unwrap();
    assert_eq!(found.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]);
}

#[test]
fn another_bus_under_the_same_name_is_refused_and_told_apart_by_its_records() {
    let topics = Topics::new("");
    let instruments = [crypto("AAA")];
    let catalog = memory();
    let fill = |seed: u64, count: usize| {
        let bus = memory_bus(&topics, 1);
        let mut stream = Stream::new(&instruments, 1, &topics);
        bus.publish(stream.of_trades(&Dice::new(seed), count), Durability::Process).wait().unwrap();
        bus
    };
    let first = fill(1, 20);
    let recorder = start(first.clone(), &topics, &catalog, config(&instruments, 5, 1_000));
    wait_for("all records", || is_recorded(&first, &topics, &catalog, 1));
    recorder.stop();
    for (other, why) in [(fill(1, 10), "it ends at 10"), (fill(2, 30), "its record at 19 is another")] {
        let recorder = start(other, &topics, &catalog, config(&instruments, 5, 1_000));
        wait_for("the error", || last_error(&recorder).contains(why));
        assert!(last_error(&recorder).contains("set the recorder's `origin` to a new name"));
        recorder.stop();
    }
    compare(&first, &topics, &catalog, 1);
    // Under its own name it is recorded beside the first.
    let third = fill(3, 10);
    let named = RecorderConfig { origin: "bus-2".into(), ..config(&instruments, 5, 1_000) };
    let recorder = start(third.clone(), &topics, &catalog, named);
    let recorded = Recorded::new(catalog.clone(), "bus-2");
    wait_for("all records", || recorded.through(&topics.trades, 0).unwrap() == Some(10));
    recorder.stop();
    let rows =
        on_bus(&first, &topics.trades, 0, 0..20).into_iter().chain(on_bus(&third, &topics.trades, 0, 0..10));
    let count: usize = rows.map(|(_, record)| rows_of(&record)).sum();
    let key = SeriesKey::new(instruments[0].symbol.clone(), SeriesKind::Trades);
    assert_eq!(catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap().len(), count);
}

#[test]
fn what_retention_took_is_counted_and_named_when_it_is_asked_for() {
    let topics = Topics::new("");
    let instruments = [crypto("AAA")];
    let bus = memory_bus(&topics, 1);
    let catalog = memory();
    let dice = Dice::new(7);
    let mut stream = Stream::new(&instruments, 1, &topics);
    let mut publish = |count| {
        bus.publish(stream.of_trades(&dice, count), Durability::Process).wait().unwrap();
    };
    publish(10);
    let recorder = start(bus.clone(), &topics, &catalog, config(&instruments, 5, 1_000));
    wait_for("all records", || is_recorded(&bus, &topics, &catalog, 1));
    recorder.stop();
    publish(10);
    bus.trim(&topics.trades, 0, 14);
    let recorder = start(bus.clone(), &topics, &catalog, config(&instruments, 5, 1_000));
    wait_for("all records", || is_recorded(&bus, &topics, &catalog, 1));
    assert_eq!(recorder.status().lost.load(Ordering::Relaxed), 4);
    recorder.stop();
    let recorded = Recorded::new(catalog, "bus-1");
    assert_eq!(recorded.records(&topics.trades, 0, 0..10).unwrap().len(), 10);
    assert_eq!(recorded.records(&topics.trades, 0, 14..20).unwrap().len(), 6);
    let error = recorded.records(&topics.trades, 0, 5..20).unwrap_err();
    assert!(error.to_string().contains("md.trades.v1/0: offsets 10 to 14 were not recorded"), "{error}");
}

#[test]
fn a_damaged_file_is_named_its_rows_are_kept_and_others_go_on() {
    let topics = Topics::new("");
    let instruments = [crypto("AAA"), crypto("BBB")];
    let bus = memory_bus(&topics, 1);
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
    let dice = Dice::new(3);
    let mut stream = Stream::new(&instruments, 1, &topics);
    let mut publish = |count| {
        bus.publish(stream.of_trades(&dice, count), Durability::Process).wait().unwrap();
    };
    publish(30);
    let recorder = start(bus.clone(), &topics, &catalog, config(&instruments, 5, 1_000));
    wait_for("all records", || is_recorded(&bus, &topics, &catalog, 1));
    recorder.stop();
    let key = |index: usize| SeriesKey::new(instruments[index].symbol.clone(), SeriesKind::Trades);
    let files = catalog.files(&key(0), Timestamp::MIN, Timestamp::MAX).unwrap();
    let path = folder.path().join(&files.last().unwrap().file.path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    publish(30);
    let recorder = start(bus.clone(), &topics, &catalog, config(&instruments, 5, 1_000));
    wait_for("all records", || is_recorded(&bus, &topics, &catalog, 1));
    let error = last_error(&recorder);
    assert!(error.contains("data.parquet: is damaged") && error.contains("restore the file"), "{error}");
    assert!(recorder.status().rows_refused.load(Ordering::Relaxed) > 0);
    recorder.stop();
    // The records are all there, and the other instrument's series.
    let all = on_bus(&bus, &topics.trades, 0, 0..60);
    assert_eq!(Recorded::new(catalog.clone(), "bus-1").records(&topics.trades, 0, 0..60).unwrap(), all);
    let of_b = all.iter().filter(|(_, record)| symbol_of(record) == &instruments[1].symbol);
    let count: usize = of_b.map(|(_, record)| rows_of(record)).sum();
    assert_eq!(catalog.read(&key(1), Timestamp::MIN, Timestamp::MAX).unwrap().len(), count);
}

#[test]
fn a_store_that_refuses_stops_reading_says_so_and_goes_on_when_it_takes_writes_again() {
    let topics = Topics::new("");
    let instruments = [crypto("AAA")];
    let bus = memory_bus(&topics, 1);
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
    let dice = Dice::new(4);
    let mut stream = Stream::new(&instruments, 1, &topics);
    // A file where a folder should be: every write of trades fails, as on a full disk.
    std::fs::write(folder.path().join("kind=trade"), "in the way").unwrap();
    bus.publish(stream.of_trades(&dice, 40), Durability::Process).wait().unwrap();
    let recorder = start(bus.clone(), &topics, &catalog, config(&instruments, 5, 20));
    wait_for("the error", || last_error(&recorder).contains("free space or repair the store"));
    assert!(!is_recorded(&bus, &topics, &catalog, 1));
    wait_for("the lag", || recorder.status().lag_records.load(Ordering::Relaxed) == 40);
    assert!(recorder.status().lag_ns.load(Ordering::Relaxed) > 0);
    std::fs::remove_file(folder.path().join("kind=trade")).unwrap();
    wait_for("all records", || is_recorded(&bus, &topics, &catalog, 1));
    recorder.stop();
    compare(&bus, &topics, &catalog, 1);
}

#[test]
fn an_instrument_without_a_definition_is_kept_in_the_order_of_the_bus_alone() {
    let topics = Topics::new("");
    let bus = memory_bus(&topics, 1);
    let catalog = memory();
    let unknown = crypto("NEW");
    let mut stream = Stream::new(&[unknown], 1, &topics);
    bus.publish(stream.of_trades(&Dice::new(5), 10), Durability::Process).wait().unwrap();
    let recorder = start(bus.clone(), &topics, &catalog, config(&[], 5, 1_000));
    wait_for("all records", || is_recorded(&bus, &topics, &catalog, 1));
    let error = last_error(&recorder);
    assert!(error.contains("NEW: the catalog has no such instrument"), "{error}");
    recorder.stop();
    let found = Recorded::new(catalog, "bus-1").records(&topics.trades, 0, 0..10).unwrap();
    assert_eq!(found, on_bus(&bus, &topics.trades, 0, 0..10));
}

/// Enough rows of one day for several files: the sizes are those of real use.
#[test]
fn a_busy_day_lies_in_few_files_and_in_one_after_a_stop() {
    let topics = Topics::new("");
    let instruments = [crypto("AAA")];
    let bus = memory_bus(&topics, 1);
    let catalog = memory();
    let dice = Dice::new(6);
    let mut stream = Stream::new(&instruments, 1, &topics);
    let config = RecorderConfig { stop_within: Duration::ZERO, ..config(&instruments, 60_000, 10_000) };
    let recorder = start(bus.clone(), &topics, &catalog, config.clone());
    let mut published = 0;
    while published < 200_000 {
        let records = stream.one_day(&dice, 500);
        published += records.iter().map(|record| rows_of(&market_record(&topics, record))).sum::<usize>();
        bus.publish(records, Durability::Process).wait().unwrap();
    }
    let end = bus.bounds(&topics.trades, 0).unwrap().end;
    wait_for("all records", || recorder.status().records.load(Ordering::Relaxed) == end);
    recorder.stop();
    let key = SeriesKey::new(instruments[0].symbol.clone(), SeriesKind::Trades);
    let files = catalog.files(&key, Timestamp::MIN, Timestamp::MAX).unwrap();
    assert!((2..=8).contains(&files.len()), "{} files", files.len());
    compare(&bus, &topics, &catalog, 1);
    // One more record, and a stop that folds.
    bus.publish(stream.one_day(&dice, 1), Durability::Process).wait().unwrap();
    let recorder = start(
        bus.clone(),
        &topics,
        &catalog,
        RecorderConfig { stop_within: Duration::from_secs(60), ..config },
    );
    wait_for("the record", || recorder.status().records.load(Ordering::Relaxed) == 1);
    recorder.stop();
    assert_eq!(catalog.files(&key, Timestamp::MIN, Timestamp::MAX).unwrap().len(), 1);
    compare(&bus, &topics, &catalog, 1);
}
