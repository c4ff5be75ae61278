//! From an offset, at the tail, several partitions, set and remove.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tradeflow_bus::NewRecord;
use tradeflow_model::Timestamp;

use super::{Fixture, assert_no_more, at, log, numbered, numbers, publish, reader, take};

/// A reader starts at any offset, and reads to the end and no further.
pub fn from_any_offset(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "from-offset", 1), fixture.bus());
    let patience = fixture.abilities().patience;
    let mut offsets = Vec::new();
    for call in 0..10 {
        let records = (0..10).map(|i| numbered(&topic, 0, call * 10 + i)).collect();
        offsets.extend(publish(&bus, records).places.into_iter().map(|place| place.1));
    }
    for from in [0, 1, 9, 10, 11, 55, 99] {
        let mut reader = reader(&bus, &topic, 0, offsets[from]);
        let records = take(reader.as_mut(), 100 - from, patience);
        assert_eq!(numbers(&records), (from as u64..100).collect::<Vec<_>>());
        assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), offsets[from..]);
        assert_no_more(reader.as_mut());
    }
    // Polls of one record each give the same.
    let mut reader = reader(&bus, &topic, 0, offsets[40]);
    let single: Vec<u64> = (40..100).flat_map(|_| numbers(&take(reader.as_mut(), 1, patience))).collect();
    assert_eq!(single, (40..100).collect::<Vec<_>>());
    let bounds = bus.bounds(&topic, 0).expect("bounds");
    assert_eq!(bounds.start, offsets[0]);
    assert!(bounds.end > offsets[99]);
}

/// At the end a reader waits as long as it was told, and no longer.
pub fn the_tail_waits_for_records(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "tail", 1), fixture.bus());
    let mut reader = reader(&bus, &topic, 0, 0);
    let start = Instant::now();
    assert!(reader.poll(10, Duration::from_millis(100)).expect("no error").is_empty());
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(95), "{waited:?}");
    assert!(waited < fixture.abilities().patience, "{waited:?}");
    publish(&bus, vec![numbered(&topic, 0, 7)]);
    assert_eq!(numbers(&take(reader.as_mut(), 1, fixture.abilities().patience)), [7]);
    assert_no_more(reader.as_mut());
}

/// A reader that waits is woken by a record of each of its partitions.
pub fn a_waiting_reader_is_woken(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "woken", 2), fixture.bus());
    let patience = fixture.abilities().patience;
    let (written, next) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let mut reader = bus.reader(&[at(&topic, 0, 0), at(&topic, 1, 0)]).expect("a reader");
        let waiting = scope.spawn(move || {
            for n in 0..20_u64 {
                let records = reader.poll(10, patience).expect("records");
                assert_eq!(numbers(&records), [n]);
                assert_eq!(records[0].partition, (n % 2) as u32);
                written.send(()).expect("the writer is there");
            }
        });
        for n in 0..20 {
            publish(&bus, vec![numbered(&topic, (n % 2) as u32, n)]);
            next.recv_timeout(patience).expect("the reader is woken");
        }
        waiting.join().expect("the reader saw all");
    });
}

/// One reader reads several partitions, each in its order.
pub fn several_partitions_are_read(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "fair", 3), fixture.bus());
    for call in 0..20 {
        publish(&bus, (0..100).map(|i| numbered(&topic, 0, call * 100 + i)).collect());
    }
    publish(&bus, vec![numbered(&topic, 2, 1), numbered(&topic, 2, 2)]);
    let from = [at(&topic, 0, 0), at(&topic, 1, 0), at(&topic, 2, 0)];
    let mut reader = bus.reader(&from).expect("a reader");
    let records = take(reader.as_mut(), 2_002, fixture.abilities().patience);
    for (partition, expected) in [(0, (0..2_000).collect::<Vec<_>>()), (1, vec![]), (2, vec![1, 2])] {
        let of: Vec<_> = records.iter().filter(|record| record.partition == partition).cloned().collect();
        assert_eq!(numbers(&of), expected);
    }
    assert_no_more(reader.as_mut());
}

/// A reader goes elsewhere, takes partitions in, and lets go of them.
pub fn partitions_are_added_and_removed(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "moving", 2), fixture.bus());
    let patience = fixture.abilities().patience;
    let mut places = Vec::new();
    for partition in 0..2_u32 {
        let records = (0..10).map(|n| numbered(&topic, partition, n)).collect();
        places.push(publish(&bus, records).places);
    }
    let mut reader = bus.reader(&[]).expect("a reader of nothing");
    assert_no_more(reader.as_mut());
    reader.set(&at(&topic, 0, places[0][5].1)).expect("taken in");
    assert_eq!(numbers(&take(reader.as_mut(), 5, patience)), [5, 6, 7, 8, 9]);
    // Back, after part of it was read.
    reader.set(&at(&topic, 0, places[0][2].1)).expect("set");
    assert_eq!(numbers(&take(reader.as_mut(), 3, patience)), [2, 3, 4]);
    reader.set(&at(&topic, 0, places[0][8].1)).expect("set");
    assert_eq!(numbers(&take(reader.as_mut(), 2, patience)), [8, 9]);
    // The other one instead.
    reader.remove(&topic, 0);
    reader.set(&at(&topic, 1, 0)).expect("taken in");
    publish(&bus, vec![numbered(&topic, 0, 10), numbered(&topic, 1, 10)]);
    let records = take(reader.as_mut(), 11, patience);
    assert!(records.iter().all(|record| record.partition == 1));
    assert_eq!(numbers(&records), (0..=10).collect::<Vec<_>>());
    assert_no_more(reader.as_mut());
    // What was let go of is taken in again.
    reader.set(&at(&topic, 0, places[0][9].1)).expect("taken in");
    assert_eq!(numbers(&take(reader.as_mut(), 2, patience)), [9, 10]);
    reader.remove(&topic, 0);
    reader.remove(&topic, 0);
    reader.remove(&topic, 1);
    assert_no_more(reader.as_mut());
}

/// Keys and values are any bytes, times any instant that retention allows; all come back as they were.
pub fn keys_and_values_are_any_bytes(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "bytes", 1), fixture.bus());
    let bytes: Vec<u8> = (0..=255).collect();
    let sizes = [0_usize, 1, 255, 256, 70_000, 300_000];
    let records: Vec<NewRecord> = sizes
        .iter()
        .map(|size| NewRecord {
            topic: topic.clone(),
            partition: 0,
            key: Bytes::from(bytes[..(*size).min(256)].to_vec()),
            value: Some(bytes.iter().copied().cycle().take(*size).collect::<Vec<u8>>().into()),
            ts: Timestamp::from_millis(1_700_000_000_000 + *size as i64).expect("in range"),
        })
        .collect();
    publish(&bus, records.clone());
    let stored = take(reader(&bus, &topic, 0, 0).as_mut(), records.len(), fixture.abilities().patience);
    for (stored, record) in stored.iter().zip(&records) {
        assert_eq!(stored.key, record.key);
        assert!(stored.value == record.value, "a value of {:?} bytes", record.value.as_ref().map(Bytes::len));
        assert_eq!(stored.ts, record.ts);
    }
}

/// Readers of one partition, at different places, do not disturb each other.
pub fn readers_do_not_disturb_each_other(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "readers", 1), fixture.bus());
    let patience = fixture.abilities().patience;
    publish(&bus, (0..50).map(|n| numbered(&topic, 0, n)).collect());
    let mut first = reader(&bus, &topic, 0, 0);
    let mut second = reader(&bus, &topic, 0, 0);
    assert_eq!(numbers(&take(first.as_mut(), 30, patience)), (0..30).collect::<Vec<_>>());
    assert_eq!(numbers(&take(second.as_mut(), 5, patience)), (0..5).collect::<Vec<_>>());
    drop(first);
    assert_eq!(numbers(&take(second.as_mut(), 45, patience)), (5..50).collect::<Vec<_>>());
}

/// What was read of one place does not show in what is read of another, however the first was left: at its end, half-way, at
/// once, or while more was being written. A client may use one connection for all of them.
pub fn what_was_left_does_not_show_elsewhere(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "left", 2), fixture.bus());
    let patience = fixture.abilities().patience;
    let scan = |partition: u32, from: u64, rest: bool| {
        let mut scan = bus.scan(&at(&topic, partition, from)).expect("a scan");
        let mut found = scan.next(2).expect("records");
        let mut ended = !rest;
        while !ended {
            let more = scan.next(100).expect("records");
            ended = more.is_empty();
            found.extend(more);
        }
        numbers(&found)
    };
    let mut offsets = [Vec::new(), Vec::new()];
    for turn in 0..20_u64 {
        for (partition, offsets) in (0..).zip(&mut offsets) {
            let records = (0..3).map(|i| numbered(&topic, partition, turn * 3 + i)).collect();
            offsets.extend(publish(&bus, records).places.into_iter().map(|place| place.1));
        }
        let count = turn * 3 + 3;
        for (partition, offsets) in (0..).zip(&offsets) {
            // The same place again, another one, the end, the other partition.
            for from in [0, 0, count - 1, turn, count / 2] {
                let place = offsets[from as usize];
                assert_eq!(
                    scan(partition, place, true),
                    (from..count).collect::<Vec<_>>(),
                    "from {from} in turn {turn}"
                );
                drop(scan(partition, offsets[0], false));
                let left = take(reader(&bus, &topic, partition, place).as_mut(), 1, patience);
                assert_eq!(numbers(&left), [from], "read in turn {turn}");
            }
            assert!(scan(partition, offsets[count as usize - 1] + 1, true).is_empty(), "there is no more");
        }
        // Left, and written to before anything is read again.
        drop(scan(0, 0, false));
        drop(reader(&bus, &topic, 0, 0));
    }
}
