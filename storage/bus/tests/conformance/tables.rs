//! Tables: the last record of a key, tombstones, whole tables.

use std::sync::Arc;

use bytes::Bytes;
use tradeflow_bus::{Bus, NewRecord, Stored, Topic, TopicKind};

use super::{Fixture, create, publish, reader, record, take};

fn tombstone(topic: &Topic, partition: u32, key: &str) -> NewRecord {
    NewRecord { value: None, ..record(topic, partition, key, "") }
}

fn text(record: &Stored) -> (String, Option<String>) {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    (text(&record.key), record.value.as_ref().map(text))
}

fn table(bus: &Arc<dyn Bus>, topic: &Topic, partition: u32) -> Vec<(String, String)> {
    let rows = bus.table(topic, partition).expect("read");
    rows.iter().map(text).map(|(key, value)| (key, value.expect("no tombstones in a table"))).collect()
}

fn row(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// `latest` and `table` give the last record of a key, with its offset, partition by partition.
pub fn the_last_record_of_a_key(mut fixture: impl Fixture) {
    let topic = create(&fixture, "table", 2, TopicKind::Table);
    let bus = fixture.bus();
    assert_eq!(bus.latest(&topic, 0, b"a").expect("read"), None);
    assert!(table(&bus, &topic, 0).is_empty());
    publish(
        &bus,
        vec![record(&topic, 0, "a", "1"), record(&topic, 0, "b", "1"), record(&topic, 1, "a", "other")],
    );
    let last = publish(&bus, vec![record(&topic, 0, "a", "2")]).places[0].1;
    drop(bus);
    for _ in 0..2 {
        let bus = fixture.bus();
        let a = bus.latest(&topic, 0, b"a").expect("read").expect("there");
        assert_eq!((text(&a).1.as_deref(), a.offset, a.partition), (Some("2"), last, 0));
        assert_eq!(bus.latest(&topic, 0, b"aa").expect("read"), None);
        assert_eq!(bus.latest(&topic, 0, b"").expect("read"), None);
        assert_eq!(table(&bus, &topic, 0), [row("a", "2"), row("b", "1")]);
        assert_eq!(table(&bus, &topic, 1), [row("a", "other")]);
        drop(bus);
        fixture.reopen();
    }
}

/// A tombstone takes a key out of the table; it may come back.
pub fn deleted_keys_are_gone(mut fixture: impl Fixture) {
    let topic = create(&fixture, "tombstones", 1, TopicKind::Table);
    let bus = fixture.bus();
    publish(
        &bus,
        vec![record(&topic, 0, "a", "1"), record(&topic, 0, "b", "1"), tombstone(&topic, 0, "none")],
    );
    publish(&bus, vec![tombstone(&topic, 0, "a")]);
    drop(bus);
    for _ in 0..2 {
        let bus = fixture.bus();
        assert_eq!(bus.latest(&topic, 0, b"a").expect("read"), None);
        assert_eq!(bus.latest(&topic, 0, b"none").expect("read"), None);
        assert_eq!(table(&bus, &topic, 0), [row("b", "1")]);
        drop(bus);
        fixture.reopen();
    }
    let bus = fixture.bus();
    publish(&bus, vec![record(&topic, 0, "a", "again")]);
    assert_eq!(table(&bus, &topic, 0), [row("a", "again"), row("b", "1")]);
}

/// Rows are in the order of their keys' bytes, whatever the order of writing.
pub fn a_table_is_in_the_order_of_its_keys(fixture: impl Fixture) {
    let topic = create(&fixture, "key-order", 1, TopicKind::Table);
    let bus = fixture.bus();
    let keys = ["m", "", "zz", "a", "m\u{0}", "é", "B", "ab", "10", "9"];
    for key in keys {
        publish(&bus, vec![record(&topic, 0, key, "first"), record(&topic, 0, key, key)]);
    }
    let mut sorted = keys;
    sorted.sort_unstable();
    let expected: Vec<_> = sorted.iter().map(|key| row(key, key)).collect();
    assert_eq!(table(&bus, &topic, 0), expected);
}

/// A reader of a table sees at least the last record of each key, in the order of writing, and goes on at the tail,
/// tombstones included.
pub fn a_table_is_read_like_a_log(fixture: impl Fixture) {
    let topic = create(&fixture, "table-log", 1, TopicKind::Table);
    let (bus, patience) = (fixture.bus(), fixture.abilities().patience);
    for n in 0..10 {
        publish(
            &bus,
            vec![record(&topic, 0, "hot", n.to_string()), record(&topic, 0, &format!("k{n}"), "once")],
        );
    }
    let mut reader = reader(&bus, &topic, 0, 0);
    let (mut rows, mut last_offset) = (std::collections::BTreeMap::new(), None);
    super::until("all keys are read", patience, || {
        for record in reader.poll(100, std::time::Duration::from_millis(20)).expect("read") {
            assert!(last_offset < Some(record.offset), "offsets grow");
            last_offset = Some(record.offset);
            let (key, value) = text(&record);
            rows.insert(key, value);
        }
        rows.len() == 11 && rows.contains_key("k9")
    });
    assert_eq!(rows["hot"].as_deref(), Some("9"));
    publish(&bus, vec![record(&topic, 0, "hot", "10")]);
    publish(&bus, vec![tombstone(&topic, 0, "k3")]);
    let records = take(reader.as_mut(), 2, patience);
    let seen: Vec<_> = records.iter().map(text).collect();
    assert_eq!(seen, [("hot".to_owned(), Some("10".to_owned())), ("k3".to_owned(), None)]);
}

/// The last of several records of a key in one call counts.
pub fn a_key_written_twice_in_one_call(fixture: impl Fixture) {
    let topic = create(&fixture, "twice", 1, TopicKind::Table);
    let bus = fixture.bus();
    publish(&bus, vec![record(&topic, 0, "a", "0")]);
    let written = publish(
        &bus,
        vec![
            record(&topic, 0, "a", "1"),
            record(&topic, 0, "b", "1"),
            record(&topic, 0, "a", "2"),
            tombstone(&topic, 0, "b"),
            record(&topic, 0, "c", "1"),
            tombstone(&topic, 0, "c"),
            record(&topic, 0, "c", "2"),
        ],
    );
    assert!(written.places.windows(2).all(|pair| pair[0].1 < pair[1].1), "{written:?}");
    assert_eq!(table(&bus, &topic, 0), [row("a", "2"), row("c", "2")]);
    let a = bus.latest(&topic, 0, b"a").expect("read").expect("there");
    assert_eq!(a.offset, written.places[2].1);
}
