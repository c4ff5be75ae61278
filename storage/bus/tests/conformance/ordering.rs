//! Many writers, keys and partitions, order, offsets.

use std::collections::HashMap;

use tradeflow_bus::{Durability, Written, partition_of};

use super::{Fixture, all, log, number, numbered, numbers, publish, reader, record, take};

/// Writers interleave, and each one's records stay in the order in which it gave them.
pub fn writers_keep_their_order(fixture: impl Fixture) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 200;
    let (topic, bus, abilities) = (log(&fixture, "many-writers", 2), fixture.bus(), fixture.abilities());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (bus, topic) = (bus.clone(), topic.clone());
            scope.spawn(move || {
                // The number says who wrote it and when; even calls go to both partitions.
                let receipts: Vec<_> = (0..EACH)
                    .map(|i| {
                        let n = writer * EACH + i;
                        let records = vec![numbered(&topic, 0, n), numbered(&topic, 1, n)];
                        bus.publish(records, Durability::Process)
                    })
                    .collect();
                for receipt in receipts {
                    assert_eq!(receipt.wait().expect("written").places.len(), 2);
                }
            });
        }
    });
    for partition in 0..2 {
        let mut reader = reader(&bus, &topic, partition, 0);
        let records = take(reader.as_mut(), (WRITERS * EACH) as usize, abilities.patience);
        let mut next: HashMap<u64, u64> = HashMap::new();
        for record in &records {
            let (writer, i) = (number(record) / EACH, number(record) % EACH);
            let expected = next.entry(writer).or_default();
            assert_eq!(i, *expected, "partition {partition}, writer {writer}");
            *expected += 1;
        }
        assert!(records.windows(2).all(|pair| pair[0].offset < pair[1].offset), "offsets grow");
        if abilities.contiguous {
            assert!(records.iter().zip(0..).all(|(record, i)| record.offset == i), "offsets have no gaps");
        }
    }
}

/// A receipt names partition and offset of each record, in the order of the call.
pub fn receipts_say_where_records_are(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "receipts", 3), fixture.bus());
    let calls: [&[u32]; 3] = [&[0, 2, 0, 1, 2], &[1], &[2, 2, 2]];
    let mut n = 0;
    for partitions in calls {
        let first = n;
        let records: Vec<_> = partitions
            .iter()
            .map(|partition| {
                n += 1;
                numbered(&topic, *partition, n - 1)
            })
            .collect();
        let written = publish(&bus, records);
        assert_eq!(written.places.iter().map(|place| place.0).collect::<Vec<_>>(), partitions);
        for (i, (partition, offset)) in written.places.into_iter().enumerate() {
            let mut reader = reader(&bus, &topic, partition, offset);
            let record = take(reader.as_mut(), 1, fixture.abilities().patience).remove(0);
            assert_eq!(
                (record.partition, record.offset, number(&record)),
                (partition, offset, first + i as u64)
            );
            assert_eq!(record.topic, topic);
        }
    }
}

/// All records of a key are in one partition, in order, when it is chosen by [`partition_of`].
pub fn keys_stay_in_their_partition(fixture: impl Fixture) {
    let (topic, bus, patience) = (log(&fixture, "keys", 4), fixture.bus(), fixture.abilities().patience);
    let keys = ["AAPL", "BTCUSD", "EURUSD", "SPY", "account-1", "account-2"];
    let records = (0..120_u64).map(|n| {
        let key = keys[n as usize % keys.len()];
        record(&topic, partition_of(key.as_bytes(), 4), key, n.to_string())
    });
    publish(&bus, records.collect());
    let mut seen: HashMap<String, Vec<u64>> = HashMap::new();
    let mut homes: HashMap<String, u32> = HashMap::new();
    for partition in 0..4 {
        for record in all(&bus, &topic, partition, patience) {
            let key = String::from_utf8(record.key.to_vec()).expect("text");
            assert_eq!(*homes.entry(key.clone()).or_insert(partition), partition, "{key}");
            seen.entry(key).or_default().push(number(&record));
        }
    }
    for (i, key) in keys.iter().enumerate() {
        let expected: Vec<u64> = (0..20).map(|n| n * keys.len() as u64 + i as u64).collect();
        assert_eq!(seen[*key], expected, "{key}");
    }
}

/// Both durabilities write to the same log.
pub fn both_durabilities_write(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "durabilities", 1), fixture.bus());
    for n in 0..20 {
        let durability = if n % 2 == 0 { Durability::Process } else { Durability::Power };
        bus.publish(vec![numbered(&topic, 0, n)], durability).wait().expect("written");
    }
    let records = take(reader(&bus, &topic, 0, 0).as_mut(), 20, fixture.abilities().patience);
    assert_eq!(numbers(&records), (0..20).collect::<Vec<_>>());
}

/// No records: nothing to wait for.
pub fn nothing_to_write_is_written_at_once(fixture: impl Fixture) {
    for durability in [Durability::Process, Durability::Power] {
        let written = fixture.bus().publish(Vec::new(), durability).wait().expect("nothing fails");
        assert_eq!(written, Written::default());
    }
}

/// A receipt can be awaited, and asked without waiting.
pub fn receipts_are_futures(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "futures", 1), fixture.bus());
    for durability in [Durability::Process, Durability::Power] {
        let receipt = bus.publish(vec![numbered(&topic, 0, 1)], durability);
        let written = futures_executor::block_on(receipt).expect("written");
        assert_eq!(written.places.len(), 1);
        let mut receipt = bus.publish(vec![numbered(&topic, 0, 2)], durability);
        let mut answer = None;
        super::until("an answer", fixture.abilities().patience, || {
            answer = receipt.try_now();
            answer.is_some()
        });
        assert_eq!(answer.expect("an answer").expect("written").places.len(), 1);
    }
}
