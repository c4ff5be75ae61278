//! What is there after a clean restart.

use std::time::Duration;

use tradeflow_bus::{TopicKind, TopicSpec};

use super::{Fixture, all, at, create, log, numbered, numbers, publish, reader, record, take};

/// Topics, records, offsets, tables and positions are as they were.
pub fn everything_is_there(mut fixture: impl Fixture) {
    let patience = fixture.abilities().patience;
    let logged = log(&fixture, "restarted-log", 3);
    let table = create(&fixture, "restarted-table", 1, TopicKind::Table);
    let group = format!("{}restart", fixture.prefix());
    let (mut before, mut next) = (Vec::new(), 0);
    for round in 0..3_u64 {
        let bus = fixture.bus();
        for partition in 0..2 {
            publish(&bus, (0..20).map(|i| numbered(&logged, partition, next + i)).collect());
        }
        next += 20;
        publish(
            &bus,
            vec![record(&table, 0, "round", round.to_string()), record(&table, 0, &next.to_string(), "x")],
        );
        bus.commit(&group, &[at(&logged, 1, next)]).expect("committed");
        before = (0..3).map(|partition| all(&bus, &logged, partition, patience)).collect();
        drop(bus);

        fixture.reopen();
        let bus = fixture.bus();
        assert_eq!(bus.partitions(&logged).expect("there"), 3);
        for partition in 0..3 {
            assert_eq!(all(&bus, &logged, partition, patience), before[partition as usize], "round {round}");
        }
        let last = bus.latest(&table, 0, b"round").expect("read").expect("there");
        assert_eq!(last.value.as_deref(), Some(round.to_string().as_bytes()));
        assert_eq!(bus.table(&table, 0).expect("read").len() as u64, round + 2);
        assert_eq!(bus.committed(&group, &logged, 1).expect("read"), Some(next));
        assert_eq!(bus.committed(&group, &logged, 0).expect("read"), None);
        // Creating again what is there changes nothing.
        let kind = TopicKind::Log(tradeflow_bus::Retention::default());
        bus.create(&[TopicSpec { name: logged.clone(), partitions: 3, kind }]).expect("as it is");
    }
    assert_eq!(numbers(&before[0]), (0..60).collect::<Vec<_>>());
    assert!(before[2].is_empty());
}

/// A consumer that committed its position goes on exactly there.
pub fn reading_goes_on_where_it_was(mut fixture: impl Fixture) {
    let patience = fixture.abilities().patience;
    let (topic, group) = (log(&fixture, "goes-on", 1), format!("{}goes-on", fixture.prefix()));
    publish(&fixture.bus(), (0..100).map(|n| numbered(&topic, 0, n)).collect());
    let mut seen = Vec::new();
    for _ in 0..4 {
        let bus = fixture.bus();
        let from = bus.committed(&group, &topic, 0).expect("read").unwrap_or(0);
        let mut reader = reader(&bus, &topic, 0, from);
        let records = take(reader.as_mut(), 25, patience);
        let after = records[24].offset + 1;
        seen.extend(numbers(&records));
        bus.commit(&group, &[at(&topic, 0, after)]).expect("committed");
        drop((reader, bus));
        fixture.reopen();
    }
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    // New records follow the old ones.
    let bus = fixture.bus();
    let from = bus.committed(&group, &topic, 0).expect("read").expect("committed");
    let mut reader = reader(&bus, &topic, 0, from);
    assert!(reader.poll(1, Duration::from_millis(50)).expect("no error").is_empty());
    let place = publish(&bus, vec![numbered(&topic, 0, 100)]).places[0];
    let records = take(reader.as_mut(), 1, patience);
    assert_eq!((numbers(&records), records[0].offset), (vec![100], place.1));
    assert!(place.1 >= from);
}
