//! Claims of several clients of a broker.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tradeflow_bus::{BusError, Durability, Exclusive, Topic};

use super::conformance::{Fixture, all, log, numbered, numbers, until};
use super::{KafkaFixture, PATIENCE, first_producer};

fn is_fenced(claim: &mut Box<dyn Exclusive>, topic: &Topic, partition: u32) -> bool {
    match claim.append(vec![numbered(topic, partition, 666)]).wait() {
        Ok(_) => false,
        Err(BusError::Fenced { topic: of, partition: number }) => {
            assert_eq!((&of, number), (topic, partition));
            true
        }
        Err(error) => panic!("{error}"),
    }
}

/// Of two that claim a partition at the same instant each may come to have one of its two producers: whoever has lost the
/// first writes nothing.
#[test]
fn who_lost_the_first_producer_writes_nothing() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let (journal, bus) = (log(&fixture, "halved", 1), fixture.bus());
    for n in 0..10 {
        let mut claim = bus.claim(&journal, 0, Durability::Process).expect("claimed");
        let _other = first_producer(&fixture, &journal);
        assert!(is_fenced(&mut claim, &journal, 0), "claim {n}");
    }
    assert!(all(&bus, &journal, 0, PATIENCE).is_empty());
}

/// Several clients claim a partition over and over, at the same time: each finds all that was written before its claim,
/// and then is the only writer until it is fenced off.
#[test]
fn of_many_that_claim_at_once_one_writes() {
    const CLIENTS: u64 = 3;
    const CLAIMS: u64 = 3;
    let Some(fixture) = KafkaFixture::new() else { return };
    let journal = log(&fixture, "contested", 1);
    let claims = AtomicU64::new(0);
    // Of each claim: its number, what it found, and how many of its appends were acknowledged.
    let made: Mutex<Vec<(u64, Vec<u64>, u64)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (bus, journal, claims, made) = (fixture.another(), &journal, &claims, &made);
            scope.spawn(move || {
                for _ in 0..CLAIMS {
                    let mut writer = loop {
                        match bus.claim(journal, 0, Durability::Process) {
                            Ok(writer) => break writer,
                            Err(BusError::Fenced { .. }) => {} // another was quicker
                            Err(error) => panic!("{error}"),
                        }
                    };
                    let number = claims.fetch_add(1, Ordering::Relaxed);
                    let found = numbers(&all(&bus, journal, 0, PATIENCE));
                    let mut written = 0;
                    for n in 0..20 {
                        let first = number * 1000 + 2 * n;
                        let records = vec![numbered(journal, 0, first), numbered(journal, 0, first + 1)];
                        match writer.append(records).wait() {
                            Ok(_) => written += 1,
                            Err(BusError::Fenced { .. }) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    made.lock().expect("no panic").push((number, found, written));
                }
            });
        }
    });
    let found = numbers(&all(&fixture.bus(), &journal, 0, PATIENCE));
    let made = made.into_inner().expect("no panic");
    println!("{:?}", made.iter().map(|(number, _, written)| (number, written)).collect::<Vec<_>>());
    assert!(made.iter().any(|(_, _, written)| *written > 0));
    for (number, before, written) in made {
        let own: Vec<usize> = (0..found.len()).filter(|at| found[*at] / 1000 == number).collect();
        assert!(own.len() as u64 >= 2 * written, "claim {number}: acknowledged, and not there");
        let Some(first) = own.first() else { continue };
        assert_eq!(
            found[..*first],
            before,
            "claim {number}: something came between what it read and what it wrote"
        );
        let expected: Vec<u64> = (0..own.len() as u64).map(|n| number * 1000 + n).collect();
        assert!(own.len().is_multiple_of(2), "claim {number}: half an append");
        assert_eq!(found[*first..first + own.len()], expected, "claim {number}: others wrote in between");
    }
}

/// Appends that are under way when another client claims the partition are written before its claim, or not at all.
#[test]
fn a_claim_of_another_client_fences_off_what_is_under_way() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let (journal, ours, theirs) = (log(&fixture, "journal", 2), fixture.bus(), fixture.another());
    let mut old = ours.claim(&journal, 1, Durability::Process).expect("claimed");
    old.append(vec![numbered(&journal, 1, 0)]).wait().expect("it is the writer");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (stop, journal) = (&stop, &journal);
        let writer = scope.spawn(move || {
            let mut receipts = Vec::new();
            for n in 1.. {
                receipts.push((
                    n,
                    old.append(vec![numbered(journal, 1, 2 * n), numbered(journal, 1, 2 * n + 1)]),
                ));
                if stop.load(Ordering::Acquire) {
                    break;
                }
            }
            receipts.into_iter().map(|(n, receipt)| (n, receipt.wait())).collect::<Vec<_>>()
        });
        until("some is written", PATIENCE, || ours.bounds(journal, 1).expect("bounds").end > 20);
        let mut new = theirs.claim(journal, 1, Durability::Process).expect("claimed");
        new.append(vec![numbered(journal, 1, 1_000_000)]).wait().expect("it is the writer now");
        stop.store(true, Ordering::Release);
        let answers = writer.join().expect("the old writer");
        let found = numbers(&all(&theirs, journal, 1, PATIENCE));
        assert_eq!(found.last(), Some(&1_000_000), "nothing after the new writer");
        let (written, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, answer)| answer.is_ok());
        assert!(!refused.is_empty());
        for (n, answer) in refused {
            let error = answer.as_ref().expect_err("refused");
            assert!(matches!(error, BusError::Fenced { partition: 1, .. }), "{error}");
            // The very last commit before the fencing may have reached the brokers, and its answer not the writer.
            assert!(*n > written.last().map_or(0, |(n, _)| *n), "refused, and a later one written");
        }
        let whole: Vec<u64> = found[..found.len() - 1].to_vec();
        assert_eq!(whole[0], 0);
        assert_eq!(
            whole[1..],
            (2..2 + whole.len() as u64 - 1).collect::<Vec<_>>(),
            "whole appends, in order"
        );
        for (n, _) in written {
            assert!(whole.contains(&(2 * n + 1)), "append {n} was acknowledged, and is not there");
        }
    });
}
