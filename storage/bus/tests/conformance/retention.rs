//! Retention by age and by size; a reader that was away is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tradeflow_bus::{Bus, BusError, NewRecord, Reader, Retention, Topic, TopicKind};
use tradeflow_model::Timestamp;

use super::{Fixture, at, create, now, number, publish, reader, record, take};

const VALUE_BYTES: usize = 10_000;

/// Writes `bytes` of numbered records, the number at the front of the value.
fn fill(bus: &Arc<dyn Bus>, topic: &Topic, bytes: usize, ts: Timestamp, next: &mut u64) {
    let count = bytes.div_ceil(VALUE_BYTES) as u64;
    for n in *next..*next + count {
        let value = format!("{n:0VALUE_BYTES$}");
        publish(bus, vec![NewRecord { ts, ..record(topic, 0, "fill", value) }]);
    }
    *next += count;
}

fn hours_ago(hours: i64) -> Timestamp {
    now().saturating_add(-hours * 3_600_000_000_000)
}

/// The numbers of all records of partition 0 that are kept, up to the last before `next`. Retention may be at work still:
/// when it takes what is being read, reading begins again.
fn read_kept(
    reader: &mut dyn Reader,
    bus: &Arc<dyn Bus>,
    topic: &Topic,
    next: u64,
    patience: Duration,
) -> Vec<u64> {
    let end = Instant::now() + patience;
    loop {
        let start = bus.bounds(topic, 0).expect("bounds").start;
        reader.set(&at(topic, 0, start)).expect("set");
        let mut numbers: Vec<u64> = Vec::new();
        while numbers.last().is_none_or(|last| last + 1 < next) {
            assert!(Instant::now() < end, "not read within {patience:?}: {} numbers", numbers.len());
            match reader.poll(1000, patience) {
                Ok(records) => {
                    assert!(records.iter().all(|record| record.offset >= start), "before the first");
                    numbers.extend(records.iter().map(number));
                }
                Err(BusError::Trimmed { .. }) => break,
                Err(error) => panic!("records are read: {error}"),
            }
        }
        if numbers.last().is_some_and(|last| last + 1 == next) {
            return numbers;
        }
    }
}

/// The oldest records go when a partition is larger than its limit; the newest stay.
pub fn by_size(mut fixture: impl Fixture) {
    let abilities = fixture.abilities();
    let limit = 2 * abilities.retention_unit as u64;
    let kind = TopicKind::Log(Retention { age: None, bytes: Some(limit) });
    let topic = create(&fixture, "by-size", 2, kind);
    let bus = fixture.bus();
    publish(&bus, vec![record(&topic, 1, "other", "partition")]);
    let mut next = 0;
    fill(&bus, &topic, 8 * abilities.retention_unit, now(), &mut next);
    let room = (limit + abilities.retention_slack) / VALUE_BYTES as u64;
    let kept = |bus: &Arc<dyn Bus>| bus.bounds(&topic, 0).expect("bounds");
    super::until("the oldest are deleted", abilities.patience, || kept(&bus).start > 0);
    super::until("it shrinks to its limit", abilities.patience, || {
        let bounds = kept(&bus);
        bounds.end - bounds.start <= room
    });
    drop(bus);
    fixture.reopen();
    let bus = fixture.bus();
    let bounds = kept(&bus);
    assert!(
        (bounds.end - bounds.start) * VALUE_BYTES as u64 + VALUE_BYTES as u64 >= limit,
        "too much is gone"
    );
    let mut reader = reader(&bus, &topic, 0, bounds.start);
    let numbers = read_kept(reader.as_mut(), &bus, &topic, next, abilities.patience);
    assert!(numbers[0] > 0, "the oldest is there");
    assert_eq!(numbers, (numbers[0]..next).collect::<Vec<_>>(), "all after the first are there");
    assert_eq!(bus.bounds(&topic, 1).expect("bounds").start, 0, "the other partition is below the limit");
}

/// Records that are older than the limit by their own time go; younger ones stay.
pub fn by_age(fixture: impl Fixture) {
    let abilities = fixture.abilities();
    let kind = TopicKind::Log(Retention { age: Some(Duration::from_secs(3_600)), bytes: None });
    let topic = create(&fixture, "by-age", 1, kind);
    let bus = fixture.bus();
    let mut next = 0;
    fill(&bus, &topic, 3 * abilities.retention_unit, hours_ago(5), &mut next);
    let old = next;
    fill(&bus, &topic, 3 * abilities.retention_unit, now(), &mut next);
    super::until("the old are deleted", abilities.patience, || {
        bus.bounds(&topic, 0).expect("bounds").start > 0
    });
    let start = bus.bounds(&topic, 0).expect("bounds").start;
    let mut reader = reader(&bus, &topic, 0, start);
    let numbers = read_kept(reader.as_mut(), &bus, &topic, next, abilities.patience);
    let first = numbers[0];
    assert!((1..=old).contains(&first), "the first that is kept is {first}; {old} is the first young one");
    assert_eq!(numbers, (first..next).collect::<Vec<_>>());
}

/// A reader whose records are gone gets the error, again and again, until it is set elsewhere: never a silent skip.
pub fn a_reader_that_was_away_is_told(fixture: impl Fixture) {
    let abilities = fixture.abilities();
    let limit = 2 * abilities.retention_unit as u64;
    let kind = TopicKind::Log(Retention { age: None, bytes: Some(limit) });
    let topic = create(&fixture, "away", 1, kind);
    let bus = fixture.bus();
    let mut next = 0;
    fill(&bus, &topic, 2 * VALUE_BYTES, now(), &mut next);
    let mut reader = reader(&bus, &topic, 0, 0);
    let read = take(reader.as_mut(), 1, abilities.patience).remove(0);
    assert_eq!(number(&read), 0);
    fill(&bus, &topic, 8 * abilities.retention_unit, now(), &mut next);
    super::until("the oldest are deleted", abilities.patience, || {
        bus.bounds(&topic, 0).expect("bounds").start > 20
    });
    // What it has read ahead it may still give, in order; then it must say what is missing.
    let mut expected = 1;
    let trimmed = loop {
        match reader.poll(1, abilities.patience) {
            Ok(records) => {
                let record = records.first().expect("a record, or the error");
                assert_eq!(number(record), expected, "skipped silently");
                expected += 1;
            }
            Err(error) => break Some(error),
        }
        if expected == next {
            break None;
        }
    };
    if let Some(error) = trimmed {
        let BusError::Trimmed { topic: of, partition, wanted, first } = error else { panic!("{error}") };
        assert_eq!((of, partition), (topic.clone(), 0));
        assert!(wanted < first, "{wanted} is gone, {first} is there");
        let again = reader.poll(1, Duration::from_millis(50));
        assert!(matches!(again, Err(BusError::Trimmed { .. })), "the position stays");
        let numbers = read_kept(reader.as_mut(), &bus, &topic, next, abilities.patience);
        assert_eq!(numbers, (numbers[0]..next).collect::<Vec<_>>());
    } else {
        let written = 8 * abilities.retention_unit;
        assert!(
            abilities.read_ahead_bytes >= written,
            "it gave records that were gone, beyond its read-ahead"
        );
    }
    // A reader that starts at a place that is gone is told too.
    let mut late = super::reader(&bus, &topic, 0, 0);
    assert!(matches!(late.poll(1, abilities.patience), Err(BusError::Trimmed { wanted: 0, .. })));
}

/// When everything is deleted, offsets go on where they were, also over a restart.
pub fn offsets_go_on_when_all_is_gone(mut fixture: impl Fixture) {
    let abilities = fixture.abilities();
    let kind = TopicKind::Log(Retention { age: Some(Duration::from_secs(3_600)), bytes: None });
    let topic = create(&fixture, "all-gone", 1, kind);
    let bus = fixture.bus();
    let mut next = 0;
    fill(&bus, &topic, 3 * abilities.retention_unit, hours_ago(5), &mut next);
    super::until("the old are deleted", abilities.patience, || {
        bus.bounds(&topic, 0).expect("bounds").start > 0
    });
    drop(bus);
    fixture.reopen();
    let bus = fixture.bus();
    let end = bus.bounds(&topic, 0).expect("bounds").end;
    assert!(end >= next, "{end}");
    let place = publish(&bus, vec![record(&topic, 0, "new", "1")]).places[0].1;
    assert!(place >= next, "{place}");
    let mut reader = reader(&bus, &topic, 0, place);
    assert_eq!(take(reader.as_mut(), 1, abilities.patience)[0].offset, place);
}
