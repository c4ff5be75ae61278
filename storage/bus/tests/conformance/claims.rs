//! The one writer of a partition: fencing, all or none.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use tradeflow_bus::{BusError, Durability, Position};

use super::{Fixture, all, assert_no_more, log, number, numbered, numbers, publish, reader, record, take};

/// After a second claim the first writer's appends fail, and leave nothing behind.
pub fn an_older_claim_is_fenced_off(fixture: impl Fixture) {
    let (journal, orders) = (log(&fixture, "fenced-journal", 2), log(&fixture, "fenced-orders", 1));
    let (bus, patience) = (fixture.bus(), fixture.abilities().patience);
    for durability in [Durability::Process, Durability::Power] {
        let mut old = bus.claim(&journal, 1, durability).expect("claimed");
        old.append(vec![numbered(&journal, 1, 1)]).wait().expect("it is the writer");
        let mut new = bus.claim(&journal, 1, durability).expect("claimed");
        let error = old.append(vec![numbered(&journal, 1, 666), numbered(&orders, 0, 666)]).wait();
        let Err(BusError::Fenced { topic, partition }) = error else { panic!("{error:?}") };
        assert_eq!((topic, partition), (journal.clone(), 1));
        new.append(vec![numbered(&journal, 1, 2), numbered(&orders, 0, 2)])
            .wait()
            .expect("it is the writer now");
        let error = old.append(vec![numbered(&journal, 1, 667)]).wait().expect_err("for good");
        assert!(matches!(error, BusError::Fenced { .. }), "{error}");
    }
    assert_eq!(numbers(&all(&bus, &journal, 1, patience)), [1, 2, 1, 2]);
    assert_eq!(numbers(&all(&bus, &orders, 0, patience)), [2, 2]);
}

/// What was journaled is there after the claim has ended, at the place that was answered: readers see it with what came of
/// it, or the next claim is shown it alone. What was appended behind it comes behind it.
pub fn what_was_journaled_stays(fixture: impl Fixture) {
    let (journal, orders) = (log(&fixture, "journaled-journal", 2), log(&fixture, "journaled-orders", 1));
    let (bus, patience) = (fixture.bus(), fixture.abilities().patience);
    let claim = || bus.claim(&journal, 1, Durability::Process).expect("claimed");
    let entry = |n| vec![numbered(&journal, 1, n)];
    let output = |n| vec![numbered(&orders, 0, n)];

    let mut first = claim();
    let one = first.journal(entry(1), output(1)).wait().expect("written").places[0];
    let two = first.append([entry(2), output(2)].concat()).wait().expect("written").places;
    assert_eq!((one.0, two.len()), (1, 2));
    assert!(one.1 < two[0].1);
    // The append has brought all that was journaled before.
    assert_eq!(numbers(&all(&bus, &journal, 1, patience)), [1, 2]);
    assert_eq!(numbers(&all(&bus, &orders, 0, patience)), [1, 2]);

    // Cut short.
    let three = first.journal(entry(3), output(3)).wait().expect("written").places[0];
    let four = first.journal(entry(4), output(4)).wait().expect("written").places[0];
    let mut second = claim();
    let error = first.journal(entry(666), output(666)).wait().expect_err("fenced off");
    assert!(matches!(error, BusError::Fenced { .. }), "{error}");
    let seen = numbers(&all(&bus, &journal, 1, patience));
    assert_eq!(numbers(&all(&bus, &orders, 0, patience)), seen, "entries are seen with what came of them");
    let from = Position { topic: journal.clone(), partition: 1, offset: two[0].1 + 1 };
    let mut shown = Vec::new();
    for mut scan in [bus.scan(&from).expect("a scan"), bus.journaled(&from).expect("a scan")] {
        loop {
            let records = scan.next(1).expect("records");
            if records.is_empty() {
                break;
            }
            shown.extend(records.iter().map(|stored| (number(stored), stored.offset)));
        }
    }
    shown.sort_unstable();
    shown.dedup();
    assert_eq!(shown, [(3, three.1), (4, four.1)]);

    // Written once more, with what follows without a wait.
    if seen == [1, 2] {
        let again = [entry(3), output(3), entry(4), output(4)].concat();
        second.append(again).wait().expect("written");
    }
    let five: Vec<_> = (5..25).map(|n| second.journal(entry(n), output(n))).collect();
    drop(second); // what was journaled is still written
    let mut before = four.1;
    for receipt in five {
        let place = receipt.wait().expect("written").places[0];
        assert!(place.1 > before);
        before = place.1;
    }
    let whole: Vec<u64> = (1..25).collect();
    assert_eq!(numbers(&all(&bus, &journal, 1, patience)), whole);
    assert_eq!(numbers(&all(&bus, &orders, 0, patience)), whole);
}

/// An append is read as a whole, over several topics, and one that can't be written leaves nothing.
pub fn a_claim_writes_all_or_none(fixture: impl Fixture) {
    let (journal, orders) = (log(&fixture, "whole-journal", 1), log(&fixture, "whole-orders", 2));
    let (bus, abilities) = (fixture.bus(), fixture.abilities());
    let mut writer = bus.claim(&journal, 0, Durability::Process).expect("claimed");
    let batch = |n: u64| {
        vec![
            numbered(&journal, 0, n),
            numbered(&orders, 1, n),
            numbered(&journal, 0, n + 1),
            numbered(&orders, 0, n),
        ]
    };
    let places = writer.append(batch(1)).wait().expect("written").places;
    assert_eq!(places.iter().map(|place| place.0).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert!(places[0].1 < places[2].1);

    let mut unknown = batch(10);
    unknown.push(numbered(&super::topic(&fixture, "unknown"), 0, 1));
    let error = writer.append(unknown).wait().expect_err("no such topic");
    assert!(matches!(error, BusError::NoTopic(_)), "{error}");
    let mut large = batch(20);
    large.push(record(&orders, 0, "large", vec![0; abilities.too_large]));
    let error = writer.append(large).wait().expect_err("too large");
    assert!(matches!(error, BusError::TooLarge { .. }), "{error}");

    // It goes on after that.
    writer.append(batch(3)).wait().expect("written");
    writer.append(Vec::new()).wait().expect("nothing to write");
    for (topic, partition, expected) in
        [(&journal, 0, vec![1, 2, 3, 4]), (&orders, 0, vec![1, 3]), (&orders, 1, vec![1, 3])]
    {
        let mut reader = reader(&bus, topic, partition, 0);
        assert_eq!(numbers(&take(reader.as_mut(), expected.len(), abilities.patience)), expected);
        assert_no_more(reader.as_mut());
    }
}

/// Appends of one writer at a time: when claims change under load, the log is a sequence of whole appends, and after the
/// first record of a newer writer there is none of an older one. Writers do not wait for one append before the next:
/// of each the first ones are there, without a hole.
pub fn fencing_under_load_lets_through_whole_appends_of_one_writer_at_a_time(fixture: impl Fixture) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 3;
    let (journal, bus, patience) = (log(&fixture, "load", 1), fixture.bus(), fixture.abilities().patience);
    let mut acknowledged: Vec<u64> = Vec::new();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for writer in 0..WRITERS {
            let mut claim = bus.claim(&journal, 0, Durability::Process).expect("claimed");
            let started = std::sync::Arc::new(AtomicBool::new(false));
            let (journal, flag) = (journal.clone(), started.clone());
            // It writes until it is fenced off; the last one until it is told.
            let thread = scope.spawn(move || {
                let (mut written, mut waiting, mut fenced) = (Vec::new(), VecDeque::new(), false);
                for call in 0.. {
                    if fenced || (writer == WRITERS - 1 && call == 20) {
                        break;
                    }
                    let first = writer * 1_000_000 + call * EACH;
                    let batch = (first..first + EACH).map(|n| numbered(&journal, 0, n)).collect();
                    waiting.push_back((first, claim.append(batch)));
                    while waiting.len() > if fenced { 0 } else { 2 } {
                        let Some((first, receipt)) = waiting.pop_front() else { break };
                        match receipt.wait() {
                            Ok(_) if fenced => panic!("append {first} was written behind one that was not"),
                            Ok(_) => written.push(first),
                            Err(BusError::Fenced { .. }) => fenced = true,
                            Err(error) => panic!("{error}"),
                        }
                        flag.store(true, Ordering::Release);
                    }
                }
                for (first, receipt) in waiting {
                    receipt.wait().expect("it is the last writer");
                    written.push(first);
                }
                written
            });
            super::until("it has written", patience, || started.load(Ordering::Acquire));
            threads.push(thread);
        }
        for thread in threads {
            acknowledged.extend(thread.join().expect("a writer"));
        }
    });
    let found = numbers(&all(&bus, &journal, 0, patience));
    let starts: Vec<u64> = found.chunks(EACH as usize).map(|batch| batch[0]).collect();
    for batch in found.chunks(EACH as usize) {
        assert_eq!(batch, (batch[0]..batch[0] + EACH).collect::<Vec<_>>(), "a whole append");
    }
    let follows =
        |pair: &[u64]| pair[1] == pair[0] + EACH || pair[1] == (pair[0] / 1_000_000 + 1) * 1_000_000;
    assert!(starts.windows(2).all(follows), "an older writer after a newer one, or a hole: {starts:?}");
    assert!(acknowledged.iter().all(|first| starts.contains(first)), "acknowledged, and not there");
}

/// A claim fences no one off in other partitions, and hinders no publisher.
pub fn a_claim_covers_its_partition_alone(fixture: impl Fixture) {
    let (topic, bus, patience) =
        (log(&fixture, "other-claims", 3), fixture.bus(), fixture.abilities().patience);
    let mut claims: Vec<_> =
        (0..3).map(|partition| bus.claim(&topic, partition, Durability::Process).expect("claimed")).collect();
    let again = bus.claim(&topic, 0, Durability::Process).expect("claimed");
    for (partition, claim) in claims.iter_mut().enumerate().skip(1) {
        claim.append(vec![numbered(&topic, partition as u32, 1)]).wait().expect("not fenced off");
    }
    drop(again);
    publish(&bus, vec![numbered(&topic, 1, 2)]);
    let records = all(&bus, &topic, 1, patience);
    assert_eq!(records.iter().map(number).collect::<Vec<_>>(), [1, 2]);
}

/// What a claim's writer wrote is there after a restart, and a new claim works.
pub fn a_claim_is_made_again_after_a_restart(mut fixture: impl Fixture) {
    let (journal, patience) = (log(&fixture, "claim-restart", 1), fixture.abilities().patience);
    for n in 0..3 {
        let bus = fixture.bus();
        let mut claim = bus.claim(&journal, 0, Durability::Power).expect("claimed");
        claim.append(vec![numbered(&journal, 0, n)]).wait().expect("it is the writer");
        drop((claim, bus));
        fixture.reopen();
    }
    assert_eq!(numbers(&all(&fixture.bus(), &journal, 0, patience)), [0, 1, 2]);
}

/// A scan gives everything up to the end and then nothing, at once: also where the last thing that was written is the end
/// of an append, which takes an offset of its own on Kafka.
pub fn a_scan_ends_where_the_last_append_ends(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "scanned", 1), fixture.bus());
    let scan = |from| {
        let mut scan = bus.scan(&super::at(&topic, 0, from)).expect("a scan");
        let mut found = Vec::new();
        loop {
            let records = scan.next(3).expect("records");
            assert!(records.len() <= 3);
            if records.is_empty() {
                assert!(scan.next(3).expect("no error").is_empty(), "the end stays the end");
                return found;
            }
            found.extend(records);
        }
    };
    assert!(scan(0).is_empty());
    let mut writer = bus.claim(&topic, 0, Durability::Process).expect("claimed");
    let mut places = Vec::new();
    for call in 0..5 {
        let records = vec![numbered(&topic, 0, 2 * call), numbered(&topic, 0, 2 * call + 1)];
        places.extend(writer.append(records).wait().expect("written").places);
        let found = scan(0);
        assert_eq!(numbers(&found), (0..2 * call + 2).collect::<Vec<_>>());
    }
    assert_eq!(numbers(&scan(places[7].1)), [7, 8, 9]);
    assert!(scan(places[9].1 + 1).is_empty());
    let started = std::time::Instant::now();
    assert!(scan(places[9].1 + 1_000).is_empty(), "past the end is the end");
    assert!(started.elapsed() < fixture.abilities().patience);
}
