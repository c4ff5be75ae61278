//! What is bounded: slow consumers, too large records; and poison records, which block no one.

use std::time::Duration;

use tradeflow_bus::record::{DeadLetter, decode};
use tradeflow_bus::{BusError, SetAside};

use super::{
    Fixture, all, assert_no_more, log, now, number, numbered, publish, reader, record, refused, take,
};

/// A consumer that is slower than the writers loses nothing: records stay in the log until retention takes them, and the
/// reader fetches them at its own pace. Writers do not wait for it.
pub fn a_slow_consumer_gets_everything(fixture: impl Fixture) {
    const CALLS: u64 = 200;
    const EACH: u64 = 20;
    let (topic, bus, patience) = (log(&fixture, "slow", 1), fixture.bus(), fixture.abilities().patience);
    let filler = "x".repeat(5_000);
    let mut slow = reader(&bus, &topic, 0, 0);
    let mut seen = 0;
    for call in 0..CALLS {
        let batch = (call * EACH..(call + 1) * EACH)
            .map(|n| record(&topic, 0, &filler, n.to_string()))
            .collect::<Vec<_>>();
        publish(&bus, batch);
        // One record for twenty that are written.
        let records = take(slow.as_mut(), 1, patience);
        assert_eq!(number(&records[0]), seen);
        seen += 1;
    }
    for expected in seen..CALLS * EACH {
        assert_eq!(number(&take(slow.as_mut(), 1, patience)[0]), expected);
    }
    assert_no_more(slow.as_mut());
}

/// A poll gives at most what was asked for, and less when the records are large: 40 MB are not held at once.
pub fn one_poll_is_bounded(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "bounded", 1), fixture.bus());
    let value = vec![7_u8; 400_000];
    for _ in 0..100 {
        publish(&bus, vec![record(&topic, 0, "large", value.clone())]);
    }
    let mut reader = reader(&bus, &topic, 0, 0);
    let (mut seen, mut largest) = (0, 0);
    super::until("all are read", fixture.abilities().patience, || {
        let records = reader.poll(usize::MAX, Duration::from_millis(100)).expect("read");
        assert!(records.iter().all(|record| record.value.as_deref() == Some(value.as_slice())));
        largest = largest.max(records.len());
        seen += records.len();
        seen == 100
    });
    assert!(largest <= 50, "{largest} records of 400 kB in one poll");
}

/// A record above the limit is refused before anything is written; what was written with it too, where calls are whole.
pub fn too_large_is_refused(fixture: impl Fixture) {
    let (topic, bus, abilities) = (log(&fixture, "too-large", 1), fixture.bus(), fixture.abilities());
    let large = || record(&topic, 0, "large", vec![0; abilities.too_large]);
    let error = refused(&bus, vec![large()]);
    let BusError::TooLarge { topic: of, bytes, limit } = error else { panic!("{error}") };
    assert_eq!(of, topic);
    assert!(bytes >= abilities.too_large && limit < bytes, "{bytes} bytes, limit {limit}");
    assert!(matches!(refused(&bus, vec![numbered(&topic, 0, 1), large()]), BusError::TooLarge { .. }));
    publish(&bus, vec![numbered(&topic, 0, 2)]);
    let found = all(&bus, &topic, 0, abilities.patience);
    let found: Vec<u64> = found.iter().map(number).collect();
    if abilities.atomic_publish {
        assert_eq!(found, [2]);
    } else {
        assert_eq!(found.last(), Some(&2));
    }
}

/// Records that can't be decoded are set aside with the reason, counted, and block nothing.
pub fn poison_records_are_set_aside(fixture: impl Fixture) {
    let (topic, letters) = (log(&fixture, "poisoned", 1), log(&fixture, "dead-letters", 3));
    let (bus, patience) = (fixture.bus(), fixture.abilities().patience);
    let values: [&[u8]; 5] = [b"1", b"\xff\xfe", b"2", b"", b"3"];
    publish(&bus, values.iter().map(|value| record(&topic, 0, "k\u{1}", value.to_vec())).collect());
    let aside = SetAside::new(bus.clone(), letters.clone());
    let mut good = Vec::new();
    for stored in take(reader(&bus, &topic, 0, 0).as_mut(), values.len(), patience) {
        let value = stored.value.as_deref().expect("a value");
        match std::str::from_utf8(value)
            .map_err(|e| e.to_string())
            .and_then(|text| text.parse::<u64>().map_err(|e| e.to_string()))
        {
            Ok(n) => good.push(n),
            Err(reason) => aside.record(&stored, &reason, now()).expect("set aside"),
        }
    }
    assert_eq!(good, [1, 2, 3]);
    assert_eq!(aside.count(), 2);
    let found: Vec<DeadLetter> = (0..3)
        .flat_map(|partition| all(&bus, &letters, partition, patience))
        .map(|stored| decode("dead letter", stored.value.as_deref().expect("a value")).expect("readable"))
        .collect();
    assert_eq!(found.len(), 2);
    for (letter, value) in found.iter().zip([values[1], values[3]]) {
        assert_eq!((letter.topic.as_str(), letter.partition), (topic.as_str(), 0));
        assert_eq!((letter.value.as_slice(), letter.key.as_slice()), (value, b"k\x01".as_slice()));
        assert!(!letter.reason.is_empty());
    }
    assert!(found[0].offset < found[1].offset);
}
