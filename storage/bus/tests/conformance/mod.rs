//! What every bus must do, as plain functions over a [`Fixture`]. Each implementation has a test file that gives a
//! fixture and calls [`conformance!`]: then all of this runs against it, each function as a test of its own.
//!
//! | file | holds |
//! |---|---|
//! | `ordering.rs` | many writers, keys and partitions, order, offsets |
//! | `reading.rs` | from an offset, at the tail, several partitions, set and remove |
//! | `model.rs` | a property test: any history of writes, reads and restarts against a plain model |
//! | `restart.rs` | what is there after a clean restart |
//! | `tables.rs` | last record of a key, tombstones, whole tables |
//! | `groups.rs` | committed positions, membership |
//! | `retention.rs` | by age and by size; a reader that was away is told |
//! | `claims.rs` | the one writer of a partition, fencing, all or none |
//! | `limits.rs` | slow consumers, too large records, poison records |
//! | `topics.rs` | creation, unknown topics and partitions |

#![allow(dead_code)] // each implementation's test file uses its own part

pub mod claims;
pub mod groups;
pub mod limits;
pub mod model;
pub mod ordering;
pub mod reading;
pub mod restart;
pub mod retention;
pub mod tables;
pub mod topics;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tradeflow_bus::{
    Bus, BusError, Durability, NewRecord, Position, Reader, Retention, Stored, Topic, TopicKind, TopicSpec,
    Written,
};
use tradeflow_model::Timestamp;

/// A bus under test.
pub trait Fixture {
    /// The bus. Not kept over a [`Self::reopen`].
    fn bus(&self) -> Arc<dyn Bus>;
    /// Ends the client (embedded: the store) cleanly and starts it again.
    fn reopen(&mut self);
    /// Where implementations truly differ.
    fn abilities(&self) -> Abilities;
    /// Goes before names of topics and groups, so that tests that share a broker do not meet.
    fn prefix(&self) -> String;
}

/// Where implementations truly differ.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// Offsets of a log have no gaps.
    pub contiguous: bool,
    /// [`Bus::publish`] is all or none, even when a record in the middle can't be written.
    pub atomic_publish: bool,
    /// A group may have several members.
    pub several_members: bool,
    /// Bytes of a value that is certainly larger than the limit of a record.
    pub too_large: usize,
    /// Bytes that retention may keep beyond its limit, as it deletes in pieces.
    pub retention_slack: u64,
    /// Bytes that must be written before retention is certain to have something to delete.
    pub retention_unit: usize,
    /// Bytes that a reader may fetch before it is asked for them.
    pub read_ahead_bytes: usize,
    /// Cases of a property test.
    pub cases: u32,
    /// How long anything may take.
    pub patience: Duration,
}

/// Runs the suite: `conformance!(expression that makes a fixture)`.
#[macro_export]
macro_rules! conformance {
    ($fixture:expr) => {
        $crate::conformance!(@ $fixture;
            claims: an_older_claim_is_fenced_off, a_claim_writes_all_or_none, what_was_journaled_stays, a_claim_is_made_again_after_a_restart,
                fencing_under_load_lets_through_whole_appends_of_one_writer_at_a_time,
                a_claim_covers_its_partition_alone, a_scan_ends_where_the_last_append_ends;
            groups: positions_are_committed, a_member_gets_all_partitions, members_commit_and_come_back,
                partitions_are_shared_among_members;
            limits: a_slow_consumer_gets_everything, one_poll_is_bounded, too_large_is_refused,
                poison_records_are_set_aside;
            model: any_history_reads_as_the_model_says;
            ordering: writers_keep_their_order, receipts_say_where_records_are, keys_stay_in_their_partition,
                both_durabilities_write, nothing_to_write_is_written_at_once, receipts_are_futures;
            reading: from_any_offset, the_tail_waits_for_records, a_waiting_reader_is_woken,
                several_partitions_are_read, partitions_are_added_and_removed, keys_and_values_are_any_bytes,
                readers_do_not_disturb_each_other, what_was_left_does_not_show_elsewhere;
            restart: everything_is_there, reading_goes_on_where_it_was;
            retention: by_size, by_age, a_reader_that_was_away_is_told, offsets_go_on_when_all_is_gone;
            tables: the_last_record_of_a_key, deleted_keys_are_gone, a_table_is_in_the_order_of_its_keys,
                a_table_is_read_like_a_log, a_key_written_twice_in_one_call;
            topics: creation_is_repeatable, another_number_of_partitions_is_refused, unknown_topics_are_told,
                unknown_partitions_are_told, a_log_takes_no_tombstones;
        );
    };
    (@ $fixture:expr; $($file:ident: $($test:ident),+;)+) => {
        $(mod $file {
            #[allow(unused_imports)]
            use super::*;
            $(#[test]
            fn $test() {
                $crate::conformance::$file::$test($fixture);
            })+
        })+
    };
}

/// The topic of this name.
pub fn topic(fixture: &impl Fixture, name: &str) -> Topic {
    Topic::new(&format!("{}{name}", fixture.prefix()))
}

/// Creates a log that keeps everything.
pub fn log(fixture: &impl Fixture, name: &str, partitions: u32) -> Topic {
    create(fixture, name, partitions, TopicKind::Log(Retention::default()))
}

/// Creates a topic.
pub fn create(fixture: &impl Fixture, name: &str, partitions: u32, kind: TopicKind) -> Topic {
    let name = topic(fixture, name);
    fixture
        .bus()
        .create(&[TopicSpec { name: name.clone(), partitions, kind }])
        .expect("the topic is created");
    name
}

/// Now, by the machine's clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).expect("a clock before 2262"))
}

/// A record of now.
pub fn record(topic: &Topic, partition: u32, key: &str, value: impl Into<Bytes>) -> NewRecord {
    let (topic, key) = (topic.clone(), Bytes::copy_from_slice(key.as_bytes()));
    NewRecord { topic, partition, key, value: Some(value.into()), ts: now() }
}

/// A record that holds a number.
pub fn numbered(topic: &Topic, partition: u32, number: u64) -> NewRecord {
    record(topic, partition, &format!("key-{number}"), number.to_string())
}

/// The number of a [`numbered`] record.
pub fn number(record: &Stored) -> u64 {
    let value = record.value.as_deref().expect("a value");
    std::str::from_utf8(value).expect("text").parse().expect("a number")
}

/// Their numbers.
pub fn numbers(records: &[Stored]) -> Vec<u64> {
    records.iter().map(number).collect()
}

/// Writes and waits.
pub fn publish(bus: &Arc<dyn Bus>, records: Vec<NewRecord>) -> Written {
    bus.publish(records, Durability::Process).wait().expect("the records are written")
}

/// From this offset of a partition on.
pub fn at(topic: &Topic, partition: u32, offset: u64) -> Position {
    Position { topic: topic.clone(), partition, offset }
}

/// A reader of one partition.
pub fn reader(bus: &Arc<dyn Bus>, topic: &Topic, partition: u32, offset: u64) -> Box<dyn Reader> {
    bus.reader(&[at(topic, partition, offset)]).expect("a reader")
}

/// Exactly the next `count` records.
pub fn take(reader: &mut dyn Reader, count: usize, patience: Duration) -> Vec<Stored> {
    let end = Instant::now() + patience;
    let mut records = Vec::new();
    while records.len() < count {
        let left = end.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{} of {count} records within {patience:?}", records.len());
        records.extend(reader.poll(count - records.len(), left).expect("records are read"));
    }
    assert_eq!(records.len(), count, "a poll gave more than was asked for");
    records
}

/// Nothing more is there.
pub fn assert_no_more(reader: &mut dyn Reader) {
    let more = reader.poll(10, Duration::from_millis(50)).expect("the end is no error");
    assert!(more.is_empty(), "unexpected {more:?}");
}

/// All that one partition holds now.
pub fn all(bus: &Arc<dyn Bus>, topic: &Topic, partition: u32, patience: Duration) -> Vec<Stored> {
    let bounds = bus.bounds(topic, partition).expect("bounds");
    let mut reader = reader(bus, topic, partition, bounds.start);
    // The last offsets may be gaps (Kafka's marks of a commit): then it is at its end when nothing more comes for long.
    let (start, mut news) = (Instant::now(), Instant::now());
    let mut records: Vec<Stored> = Vec::new();
    loop {
        let more = reader.poll(1_000, Duration::from_millis(100)).expect("records are read");
        let at_end = records.last().is_some_and(|last| last.offset + 1 >= bounds.end);
        if more.is_empty() {
            let long = if records.is_empty() { patience } else { patience.min(Duration::from_secs(2)) };
            if at_end || bounds.is_empty() || news.elapsed() > long || start.elapsed() > patience {
                return records;
            }
        } else {
            news = Instant::now();
        }
        records.extend(more);
    }
}

/// Waits until a condition holds.
pub fn until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {patience:?}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The seed of a random test: `TRADEFLOW_SEED`, or another one each time. Printed when the test fails.
pub fn seed() -> u64 {
    match std::env::var("TRADEFLOW_SEED") {
        Ok(seed) => seed.parse().expect("TRADEFLOW_SEED is a number"),
        Err(_) => now().as_nanos() as u64,
    }
}

/// The error of a write that must fail.
pub fn refused(bus: &Arc<dyn Bus>, records: Vec<NewRecord>) -> BusError {
    bus.publish(records, Durability::Process).wait().expect_err("must be refused")
}
