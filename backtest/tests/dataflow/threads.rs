//! One process: equal outputs, failures in every position, stop, bounds.

use std::sync::mpsc;
use std::time::Duration;

use tradeflow_backtest::dataflow::{Cluster, DataflowError, Outcome, Place};

use crate::synthetic::{Call, Driver, Fault, Seen, Spec, execute, expected, mix, seed};

/// Runs in a thread, so that a hang is a failure of the test and not of the test run.
fn on_threads(workers: usize, spec: &Spec) -> (Result<Outcome, DataflowError>, Seen) {
    let (sender, receiver) = mpsc::channel();
    let spec = spec.clone();
    std::thread::spawn(move || {
        let cluster = Box::new(Cluster::single(workers));
        sender.send(execute(Driver::On(cluster), &spec, |_| {}, |_| {})).unwrap();
    });
    receiver.recv_timeout(Duration::from_secs(120)).expect("the run ends")
}

#[test]
fn outputs_are_those_of_the_reference() {
    let seed = seed();
    for round in 0..6 {
        for (shards, batches, window) in
            [(7, 60, 4), (1, 10, 1), (20, 33, 2), (3, 0, 4), (0, 5, 3), (2, 200, 64)]
        {
            let spec = Spec { shards, window, batches: Some(batches), ..Spec::new(seed + round) };
            let (outcome, calls) = expected(&spec);
            assert_eq!((outcome.batches, outcome.stopped), (batches, false));
            for workers in 1..=4 {
                let (result, seen) = on_threads(workers, &spec);
                assert_eq!(result.as_ref(), Ok(&outcome), "{workers} workers, {spec:?}");
                assert!(seen.calls == calls, "{workers} workers, {spec:?}");
                assert!(seen.alive_max <= window, "{} batches alive, window {window}", seen.alive_max);
            }
        }
    }
}

#[test]
fn failures_in_every_position_end_the_run() {
    let seed = seed();
    let shard = |shard, batch| Place::Shard { shard, batch };
    let cases = [
        (Fault::SourceStart, Place::Source, "no such folder"),
        (Fault::Source(0), Place::Source, "torn file"),
        (Fault::Source(17), Place::Source, "torn file"),
        (Fault::Source(60), Place::Source, "torn file"),
        (Fault::Make(0), shard(0, None), "bad parameter"),
        (Fault::Make(6), shard(6, None), "bad parameter"),
        (Fault::Shard(3, 0), shard(3, Some(0)), "bad cell"),
        (Fault::Shard(0, 30), shard(0, Some(30)), "bad cell"),
        (Fault::Shard(6, 59), shard(6, Some(59)), "bad cell"),
        (Fault::Finish(5), shard(5, None), "cannot finish"),
    ];
    for panics in [false, true] {
        for (fault, place, text) in &cases {
            let spec = Spec::new(seed).with(*fault, panics);
            let text = if panics { format!("it panicked: {text}") } else { (*text).to_owned() };
            let error = DataflowError::Failed { process: 0, place: place.clone(), reason: text };
            let all = expected(&Spec { fault: None, ..spec.clone() }).1;
            assert_eq!(execute(Driver::Reference, &spec, |_| {}, |_| {}).0, Err(error.clone()));
            for workers in 1..=3 {
                let (result, seen) = on_threads(workers, &spec);
                assert_eq!(result, Err(error.clone()), "{workers} workers, {fault:?}");
                assert!(
                    all.starts_with(&seen.calls),
                    "the sink was given a prefix: {workers} workers, {fault:?}"
                );
                if let (Fault::Shard(_, at), Some((_, last))) = (fault, seen.calls.last()) {
                    assert!(last[0].batch < Some(*at), "nothing of the batch that failed: {workers} workers");
                }
            }
        }
    }
}

#[test]
fn a_failing_sink_ends_the_run() {
    let seed = seed();
    for (calls, panics) in [(0, false), (40, false), (40, true)] {
        let spec = Spec::new(seed).with(Fault::Sink(calls), panics);
        for workers in 1..=3 {
            let (result, seen) = on_threads(workers, &spec);
            match result {
                Err(DataflowError::Failed { process: 0, place: Place::Sink { .. }, reason }) => {
                    assert!(reason.ends_with("disk full"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(seen.calls.len(), calls);
        }
    }
}

#[test]
fn batches_that_are_not_in_order_are_an_error() {
    let spec = Spec::new(1).with(Fault::SourceSkips(9), false);
    for workers in 1..=2 {
        let error = on_threads(workers, &spec).0.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the source of process 0 failed: it gave batch number 10 where 9 comes next"
        );
    }
}

#[test]
fn a_shard_that_never_returns_cannot_hold_an_error_back() {
    let spec = Spec { fault: Some(Fault::ShardHangs(0, 20)), ..Spec::endless(seed()) };
    for workers in 1..=3 {
        let (sender, receiver) = mpsc::channel();
        let spec = spec.clone();
        std::thread::spawn(move || {
            let sink = |call: &Call| assert!(call.batch < Some(10), "enough");
            let cluster = Box::new(Cluster::single(workers));
            sender.send(execute(Driver::On(cluster), &spec, |_| {}, sink).0).unwrap();
        });
        let result = receiver.recv_timeout(Duration::from_secs(120)).expect("the run ends");
        let error = result.unwrap_err().to_string();
        assert!(error.contains("the sink of shard") && error.contains("enough"), "{error}");
    }
}

#[test]
fn a_stop_ends_all_shards_at_one_batch() {
    let seed = seed();
    for (workers, at) in [(1, 1), (1, 20), (2, 1), (3, 20), (3, 100)] {
        let spec = Spec { stop_at: Some(at), ..Spec::endless(seed) };
        let (result, seen) = on_threads(workers, &spec);
        let outcome = result.unwrap();
        assert!(outcome.stopped && outcome.batches >= at, "{outcome:?}");
        let (mut whole, calls) = expected(&Spec { batches: Some(outcome.batches), ..Spec::new(seed) });
        whole.stopped = true;
        assert_eq!(outcome, whole);
        assert!(seen.calls == calls, "{workers} workers");
    }
}

#[test]
fn a_slow_sink_holds_the_source_back() {
    // A seed with which some shard tells every batch: batches without outputs do not wait for the sink.
    let seed = (seed()..).find(|seed| (0..4).any(|shard| mix(*seed, shard).is_multiple_of(3))).unwrap();
    for (workers, window) in [(1, 1), (1, 5), (3, 5)] {
        let spec = Spec { window, shards: 4, stop_at: Some(100), ..Spec::endless(seed) };
        let mut ahead_max = 0;
        let sink = |call: &Call| {
            std::hint::black_box(blake3::hash(&vec![7; 200_000]));
            ahead_max = ahead_max.max(call.given - call.batch.unwrap_or(call.given));
        };
        let (result, seen) = execute(Driver::On(Box::new(Cluster::single(workers))), &spec, |_| {}, sink);
        assert!(result.unwrap().stopped);
        assert!(seen.alive_max <= window, "{} batches alive", seen.alive_max);
        // A stretch in the sink's hand, one that waits, and the window: each at most a window of batches.
        assert!(ahead_max <= 3 * window as u64, "the source was {ahead_max} batches ahead, window {window}");
        assert!(ahead_max >= window as u64, "the sink was slow: {ahead_max}");
    }
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let zero = Spec { window: 0, ..Spec::new(1) };
    assert!(matches!(on_threads(1, &zero).0, Err(DataflowError::Invalid(_))));
    assert!(matches!(on_threads(0, &Spec::new(1)).0, Err(DataflowError::Invalid(_))));
    let hosts =
        vec!["a:1".to_owned(), "b".to_owned(), "a:1".to_owned(), ":7".to_owned(), "c:70000".to_owned()];
    let error = Cluster::member(5, hosts, 0, [0; 32]).check().unwrap_err().to_string();
    for part in
        ["workers is 0", "process is 5", "host 1 is \"b\"", "host 2", "there twice", "host 3", "host 4"]
    {
        assert!(error.contains(part), "{part} in {error}");
    }
}
