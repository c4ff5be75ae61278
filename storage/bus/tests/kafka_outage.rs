//! The broker is killed and comes back: nothing that was acknowledged is lost, nothing is there twice, and clients go on
//! by themselves.

mod conformance;
mod kafka_server;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conformance::{all, at, number, numbered, numbers, take, until};
use tradeflow_bus::{
    Bus, BusError, Durability, GroupEvent, KafkaBus, KafkaConfig, Receipt, Retention, Topic, TopicKind,
    TopicSpec,
};

const PATIENCE: Duration = Duration::from_secs(180);

fn connect(brokers: String, timeout: Duration) -> Arc<dyn Bus> {
    let mut config = KafkaConfig::new(brokers);
    config.timeout = timeout;
    Arc::new(KafkaBus::connect(config).expect("the broker is there"))
}

fn log(bus: &Arc<dyn Bus>, name: &str, partitions: u32) -> Topic {
    let topic = Topic::new(name);
    let kind = TopicKind::Log(Retention::default());
    bus.create(&[TopicSpec { name: topic.clone(), partitions, kind }]).expect("created");
    topic
}

/// One broker for all of it, as each takes its seconds to start and to recover.
#[test]
fn a_broker_that_dies_and_comes_back() {
    let Some(mut server) = kafka_server::own() else { return };
    for part in [in_mid_publish, in_mid_claim, for_longer_than_a_request_waits] {
        let start = Instant::now();
        part(&mut server);
        println!("{:?}", start.elapsed());
    }
}

/// A publisher, a reader and a member go on over a kill -9.
fn in_mid_publish(server: &mut kafka_server::Server) {
    let bus = connect(server.brokers(), Duration::from_secs(60));
    let topic = log(&bus, "published", 2);
    let mut member = bus.join("members", &topic).expect("joined");
    let mut owned = 0;
    until("the member owns all", PATIENCE, || {
        for event in member.poll(Duration::from_millis(20)).expect("the group is reached") {
            if let GroupEvent::Assigned(partitions) = event {
                owned += partitions.len();
            }
        }
        owned == 2
    });
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (bus, topic, stop, sent) = (&bus, &topic, &stop, &sent);
        let writer = scope.spawn(move || {
            let mut receipts: VecDeque<Receipt> = VecDeque::new();
            let mut acknowledged = 0_u64;
            // A window, so that many are under way when the broker dies.
            loop {
                if receipts.len() == 200 || stop.load(Ordering::Acquire) {
                    let Some(receipt) = receipts.pop_front() else { break };
                    receipt.wait().expect("written, before or after");
                    acknowledged += 1;
                    if stop.load(Ordering::Acquire) {
                        continue;
                    }
                }
                let number = sent.fetch_add(1, Ordering::AcqRel);
                let records = vec![numbered(topic, 0, number), numbered(topic, 1, number)];
                receipts.push_back(bus.publish(records, Durability::Process));
            }
            acknowledged
        });
        let reading = scope.spawn(move || {
            let mut reader = bus.reader(&[at(topic, 0, 0)]).expect("a reader");
            let mut next = 0;
            let deadline = Instant::now() + PATIENCE;
            while !(stop.load(Ordering::Acquire) && next == sent.load(Ordering::Acquire)) {
                assert!(Instant::now() < deadline, "{next} of {} are read", sent.load(Ordering::Acquire));
                for record in reader.poll(1_000, Duration::from_millis(50)).expect("it goes on") {
                    assert_eq!(number(&record), next, "lost, doubled or out of order");
                    next += 1;
                }
            }
            next
        });
        let _end = OnDrop(stop);
        until("it is under way", PATIENCE, || sent.load(Ordering::Acquire) > 2_000);
        server.kill();
        server.restart().expect("it comes back");
        let after = sent.load(Ordering::Acquire);
        until("it goes on", PATIENCE, || sent.load(Ordering::Acquire) > after + 2_000);
        stop.store(true, Ordering::Release);
        let acknowledged = writer.join().expect("the writer");
        assert_eq!(acknowledged, sent.load(Ordering::Acquire), "all are acknowledged in the end");
        assert_eq!(reading.join().expect("the reader"), acknowledged);
        let other = numbers(&all(bus, topic, 1, PATIENCE));
        assert!(other.iter().copied().eq(0..acknowledged), "partition 1");
    });
    // The member is told of nothing, or of a loss and its end; it owns all in the end.
    until("the member owns all again", PATIENCE, || {
        for event in member.poll(Duration::from_millis(20)).expect("the group is reached") {
            match event {
                GroupEvent::Assigned(partitions) => owned += partitions.len(),
                GroupEvent::Revoked(partitions) | GroupEvent::Lost(partitions) => owned -= partitions.len(),
            }
        }
        owned == 2
    });
}

/// Appends go on over a kill -9, or fail as one: what is there is the first part of what was appended.
fn in_mid_claim(server: &mut kafka_server::Server) {
    let bus = connect(server.brokers(), Duration::from_secs(60));
    let journal = log(&bus, "claimed", 1);
    let mut claim = bus.claim(&journal, 0, Durability::Process).expect("claimed");
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let answers = std::thread::scope(|scope| {
        let (journal, stop, sent) = (&journal, &stop, &sent);
        let writer = scope.spawn(move || {
            let mut receipts = Vec::new();
            while !stop.load(Ordering::Acquire) {
                let n = sent.load(Ordering::Acquire);
                receipts
                    .push(claim.append(vec![numbered(journal, 0, 2 * n), numbered(journal, 0, 2 * n + 1)]));
                sent.store(n + 1, Ordering::Release);
            }
            receipts.into_iter().map(Receipt::wait).collect::<Vec<_>>()
        });
        let _end = OnDrop(stop);
        until("it is under way", PATIENCE, || sent.load(Ordering::Acquire) > 2_000);
        server.kill();
        server.restart().expect("it comes back");
        stop.store(true, Ordering::Release);
        writer.join().expect("the writer")
    });
    let written = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert!(written > 0);
    for answer in &answers[written..] {
        let error = answer.as_ref().expect_err("none after one that failed");
        assert!(matches!(error, BusError::Unavailable { .. }), "{error}");
    }
    let mut again = bus.claim(&journal, 0, Durability::Process).expect("claimed");
    let end = 2 * answers.len() as u64;
    again.append(vec![numbered(&journal, 0, end)]).wait().expect("written");
    let found = numbers(&all(&bus, &journal, 0, PATIENCE));
    let (last, before) = found.split_last().expect("something is there");
    assert_eq!(*last, end);
    assert!(before.iter().copied().eq(0..before.len() as u64), "a part is missing, or there twice");
    assert!(before.len() % 2 == 0 && before.len() >= 2 * written, "{} of {written} appends", before.len());
}

/// A request that waits too long fails with the address; the same client works when the broker is back.
fn for_longer_than_a_request_waits(server: &mut kafka_server::Server) {
    let bus = connect(server.brokers(), Duration::from_secs(3));
    let topic = log(&bus, "away", 1);
    let mut claim = bus.claim(&topic, 0, Durability::Process).expect("claimed");
    server.kill();
    let start = Instant::now();
    // All at once: each takes its time to fail.
    let create = [TopicSpec { name: Topic::new("new"), partitions: 1, kind: TopicKind::Table }];
    type Call<'a> = Box<dyn FnOnce() -> Result<(), BusError> + Send + 'a>;
    let (bus_, topic_) = (&bus, &topic);
    let calls: Vec<Call> = vec![
        Box::new(|| bus_.publish(vec![numbered(topic_, 0, 1)], Durability::Process).wait().map(drop)),
        Box::new(|| bus_.bounds(topic_, 0).map(drop)),
        Box::new(|| bus_.table(topic_, 0).map(drop)),
        Box::new(|| bus_.commit("group", &[at(topic_, 0, 0)])),
        Box::new(|| bus_.committed("group", topic_, 0).map(drop)),
        Box::new(|| bus_.create(&create)),
        Box::new(|| bus_.claim(topic_, 0, Durability::Process).map(drop)),
        Box::new(|| {
            let first = claim.append(vec![numbered(topic_, 0, 1)]);
            let second = claim.append(vec![numbered(topic_, 0, 2)]);
            assert!(first.wait().is_err(), "no broker");
            second.wait().map(drop)
        }),
    ];
    std::thread::scope(|scope| {
        let threads: Vec<_> = calls.into_iter().map(|call| scope.spawn(call)).collect();
        for (call, thread) in threads.into_iter().enumerate() {
            let error = thread.join().expect("no panic").expect_err("no broker");
            let BusError::Unavailable { brokers, reason } = &error else { panic!("call {call}: {error}") };
            assert_eq!(*brokers, server.brokers());
            assert!(!reason.is_empty());
        }
    });
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    let mut reader =
        bus.reader(&[at(&topic, 0, 0)]).expect("a reader needs no broker for a topic that is known");
    assert!(reader.poll(1, Duration::from_millis(50)).expect("it waits").is_empty());
    server.restart().expect("it comes back");
    until("it is written again", PATIENCE, || {
        bus.publish(vec![numbered(&topic, 0, 7)], Durability::Process).wait().is_ok()
    });
    let mut claim = bus.claim(&topic, 0, Durability::Process).expect("claimed");
    claim.append(vec![numbered(&topic, 0, 8)]).wait().expect("written");
    let records = take(reader.as_mut(), 2, PATIENCE);
    assert_eq!(numbers(&records), [7, 8], "what failed was not written: the broker was not there");
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
