//! Creation of topics, unknown topics and partitions.

use std::time::Duration;

use tradeflow_bus::{BusError, Durability, NewRecord, Retention, TopicKind, TopicSpec, Topics};

use super::{Fixture, all, at, log, number, numbered, publish, record, refused, topic};

/// All topics of TradeFlow are created in one call, and again without harm.
pub fn creation_is_repeatable(fixture: impl Fixture) {
    let (bus, topics) = (fixture.bus(), Topics::new(&fixture.prefix()));
    let specs = topics.specs(2, Retention { age: Some(Duration::from_secs(3_600)), bytes: Some(1 << 30) });
    bus.create(&specs).expect("created");
    publish(&bus, vec![numbered(&topics.trades, 1, 1)]);
    bus.create(&specs).expect("as they are");
    for spec in &specs {
        assert_eq!(bus.partitions(&spec.name).expect("there"), spec.partitions);
    }
    assert_eq!(all(&bus, &topics.trades, 1, fixture.abilities().patience).len(), 1);
    bus.create(&[]).expect("nothing to create");
}

/// Another number of partitions is an error, and then nothing is created.
pub fn another_number_of_partitions_is_refused(fixture: impl Fixture) {
    let (there, bus) = (log(&fixture, "there", 2), fixture.bus());
    let new = topic(&fixture, "new");
    let kind = TopicKind::Log(Retention::default());
    let spec = |name: &tradeflow_bus::Topic, partitions| TopicSpec { name: name.clone(), partitions, kind };
    let error = bus.create(&[spec(&new, 1), spec(&there, 3)]).expect_err("another number");
    let BusError::Partitions { topic, there: has, wanted } = error else { panic!("{error}") };
    assert_eq!((topic, has, wanted), (there.clone(), 2, 3));
    assert!(matches!(bus.partitions(&new), Err(BusError::NoTopic(_))), "none is created");
    assert_eq!(bus.partitions(&there).expect("there"), 2);
}

/// Every call tells an unknown topic.
pub fn unknown_topics_are_told(fixture: impl Fixture) {
    let (bus, unknown, group) = (fixture.bus(), topic(&fixture, "unknown"), format!("{}g", fixture.prefix()));
    let known = log(&fixture, "known", 1);
    let errors = [
        bus.partitions(&unknown).map(drop),
        bus.bounds(&unknown, 0).map(drop),
        bus.publish(vec![numbered(&unknown, 0, 1)], Durability::Process).wait().map(drop),
        bus.publish(vec![numbered(&unknown, 0, 1)], Durability::Power).wait().map(drop),
        bus.reader(&[at(&known, 0, 0), at(&unknown, 0, 0)]).map(drop),
        bus.reader(&[]).expect("a reader").set(&at(&unknown, 0, 0)),
        bus.latest(&unknown, 0, b"key").map(drop),
        bus.table(&unknown, 0).map(drop),
        bus.committed(&group, &unknown, 0).map(drop),
        bus.commit(&group, &[at(&unknown, 0, 1)]),
        bus.join(&group, &unknown).map(drop),
        bus.claim(&unknown, 0, Durability::Process).map(drop),
    ];
    for (i, result) in errors.into_iter().enumerate() {
        let error = result.expect_err("an error");
        assert!(matches!(&error, BusError::NoTopic(name) if *name == unknown), "call {i}: {error}");
    }
}

/// Every call tells a partition that the topic does not have.
pub fn unknown_partitions_are_told(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "two", 2), fixture.bus());
    let errors = [
        bus.bounds(&topic, 2).map(drop),
        bus.publish(vec![numbered(&topic, 2, 1)], Durability::Process).wait().map(drop),
        bus.reader(&[at(&topic, 2, 0)]).map(drop),
        bus.claim(&topic, 2, Durability::Process).map(drop),
    ];
    for (i, result) in errors.into_iter().enumerate() {
        let error = result.expect_err("an error").to_string();
        assert!(error.contains(topic.as_str()), "call {i}: {error}");
    }
}

/// A record without value is for tables alone.
pub fn a_log_takes_no_tombstones(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "values", 1), fixture.bus());
    let tombstone = NewRecord { value: None, ..record(&topic, 0, "key", "") };
    let error = refused(&bus, vec![tombstone]).to_string();
    assert!(error.contains(topic.as_str()), "{error}");
    publish(&bus, vec![numbered(&topic, 0, 1)]);
    let found = all(&bus, &topic, 0, fixture.abilities().patience);
    assert_eq!(found.iter().map(number).collect::<Vec<_>>(), [1]);
}
