//! The conformance suite on Apache Kafka, and what only several clients of a broker can show.

mod conformance;
mod kafka_claims;
mod kafka_server;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use conformance::{
    Abilities, Fixture, assert_no_more, at, log, number, numbered, numbers, publish, reader, take, until,
};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tradeflow_bus::{Bus, BusError, Durability, GroupEvent, KafkaBus, KafkaConfig, Topic};

const PATIENCE: Duration = Duration::from_secs(180);

struct KafkaFixture {
    config: KafkaConfig,
    bus: Option<Arc<dyn Bus>>,
    prefix: String,
}

impl KafkaFixture {
    /// On the broker that all tests here share; `None` where there is to be none.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut config = KafkaConfig::new(kafka_server::shared()?);
        let settings = [
            // The suite counts in bytes of values.
            ("compression.codec", "none"),
            // Little is read ahead, so that retention can overtake a reader.
            ("queued.max.messages.kbytes", "512"),
            ("heartbeat.interval.ms", "200"),
        ];
        config.settings.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("t{}-{count}.", conformance::now().as_nanos());
        let mut fixture = Self { config, bus: None, prefix };
        fixture.reopen();
        Some(fixture)
    }

    /// Another client, as of another process.
    fn another(&self) -> Arc<dyn Bus> {
        Arc::new(KafkaBus::connect(self.config.clone()).expect("the broker is there"))
    }
}

impl Fixture for KafkaFixture {
    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone().expect("connected")
    }

    fn reopen(&mut self) {
        self.bus = None;
        self.bus = Some(self.another());
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            contiguous: false,
            atomic_publish: false,
            several_members: true,
            too_large: 17 << 20,
            // Segments of 1 MiB are deleted whole.
            retention_slack: 2 << 20,
            retention_unit: 1 << 20,
            read_ahead_bytes: 2 << 20,
            cases: 4,
            patience: PATIENCE,
        }
    }

    fn prefix(&self) -> String {
        self.prefix.clone()
    }
}

macro_rules! fixture {
    () => {
        match KafkaFixture::new() {
            Some(fixture) => fixture,
            None => return,
        }
    };
}

conformance!(fixture!());

/// A producer that takes the name of the first one of a claim of partition 0.
fn first_producer(fixture: &KafkaFixture, topic: &Topic) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &fixture.config.brokers)
        .set("transactional.id", format!("tradeflow-{topic}-0-0"))
        .create()
        .expect("a producer");
    producer.init_transactions(PATIENCE).expect("the name is its own");
    producer
}

/// What is not committed is never read: neither what was taken back, nor what is under way, which the next claim ends.
#[test]
fn what_is_not_committed_is_never_read() {
    let fixture = fixture!();
    let (journal, bus) = (log(&fixture, "uncommitted", 1), fixture.bus());
    let producer = first_producer(&fixture, &journal);
    let send = |n: &str| {
        let record = BaseRecord::to(journal.as_str()).key("k").payload(n).partition(0);
        producer.send(record).expect("sent");
        producer.flush(PATIENCE).expect("written");
    };
    publish(&bus, vec![numbered(&journal, 0, 1)]);
    producer.begin_transaction().expect("begun");
    send("666");
    producer.abort_transaction(PATIENCE).expect("taken back");
    producer.begin_transaction().expect("begun");
    send("667");
    let end = bus.bounds(&journal, 0).expect("bounds").end;
    let mut reader = reader(&bus, &journal, 0, 0);
    assert_eq!(numbers(&take(reader.as_mut(), 1, PATIENCE)), [1]);
    assert_no_more(reader.as_mut());
    let mut claim = bus.claim(&journal, 0, Durability::Process).expect("claimed");
    claim.append(vec![numbered(&journal, 0, 2)]).wait().expect("written");
    assert_eq!(numbers(&take(reader.as_mut(), 1, PATIENCE)), [2]);
    assert!(bus.bounds(&journal, 0).expect("bounds").end > end + 1, "both are in the log, and passed over");
    assert!(producer.commit_transaction(PATIENCE).is_err(), "the one under way was ended by the claim");
    assert_no_more(reader.as_mut());
}

/// Members come and go while records are written: each partition is owned by one member at a time, who goes on where the
/// last one has committed, so that each record is read once.
#[test]
fn members_come_and_go_while_records_are_read() {
    const PARTITIONS: u32 = 6;
    let fixture = fixture!();
    let topic = log(&fixture, "rebalance", PARTITIONS);
    let group = format!("{}rebalance", fixture.prefix());
    let shared = Shared { owners: Mutex::new([None; PARTITIONS as usize]), seen: Mutex::default() };
    let written = AtomicU64::new(0);
    let all_stop = AtomicBool::new(false);
    let stops: [AtomicBool; 3] = Default::default();
    std::thread::scope(|scope| {
        let (fixture, shared, topic, group) = (&fixture, &shared, &topic, &group);
        let (stops, written, all_stop) = (&stops, &written, &all_stop);
        // Whatever fails, the threads end.
        let _end = OnDrop(|| {
            all_stop.store(true, Ordering::Release);
            stops.iter().for_each(|stop| stop.store(true, Ordering::Release));
        });
        scope.spawn(move || {
            let bus = fixture.bus();
            while !all_stop.load(Ordering::Acquire) {
                let n = written.load(Ordering::Relaxed);
                publish(&bus, (0..PARTITIONS).map(|partition| numbered(topic, partition, n)).collect());
                written.store(n + 1, Ordering::Release);
            }
        });
        let start = |id: usize| {
            scope.spawn(move || consume(id, fixture.another().as_ref(), group, topic, shared, &stops[id]));
        };
        start(0);
        until("the first owns all", PATIENCE, || shared.counts() == [6, 0, 0]);
        start(1);
        until("two share", PATIENCE, || shared.counts() == [3, 3, 0]);
        start(2);
        until("three share", PATIENCE, || shared.counts() == [2, 2, 2]);
        stops[0].store(true, Ordering::Release);
        until("two are left", PATIENCE, || shared.counts() == [0, 3, 3]);
        all_stop.store(true, Ordering::Release);
        let last = written.load(Ordering::Acquire);
        until("all is read", PATIENCE, || {
            shared.seen.lock().expect("no panic").iter().all(|seen| seen.len() as u64 >= last)
        });
    });
    let (written, seen) = (written.into_inner(), shared.seen.into_inner().expect("no panic"));
    for (partition, seen) in seen.iter().enumerate() {
        assert!(seen.iter().copied().eq(0..seen.len() as u64), "partition {partition}: {seen:?}");
        assert!(seen.len() as u64 >= written - 1);
    }
}

struct Shared {
    owners: Mutex<[Option<usize>; 6]>,
    /// What was read of each partition, by whomever, in order.
    seen: Mutex<[Vec<u64>; 6]>,
}

impl Shared {
    fn counts(&self) -> [usize; 3] {
        let owners = self.owners.lock().expect("no panic");
        [0, 1, 2].map(|id| owners.iter().filter(|owner| **owner == Some(id)).count())
    }
}

/// A member that reads what it owns until it is stopped.
fn consume(id: usize, bus: &dyn Bus, group: &str, topic: &Topic, shared: &Shared, stop: &AtomicBool) {
    let mut member = bus.join(group, topic).expect("joined");
    let mut reader = bus.reader(&[]).expect("a reader");
    let mut next = [0_u64; 6];
    let mut owned = BTreeSet::new();
    let give_up = |partitions: &[u32], next: &[u64; 6]| {
        let positions: Vec<_> =
            partitions.iter().map(|partition| at(topic, *partition, next[*partition as usize])).collect();
        bus.commit(group, &positions).expect("committed");
        let mut owners = shared.owners.lock().expect("no panic");
        for partition in partitions {
            assert_eq!(owners[*partition as usize].take(), Some(id), "it is given up by its owner");
        }
    };
    while !stop.load(Ordering::Acquire) {
        for event in member.poll(Duration::from_millis(10)).expect("the group is reached") {
            match event {
                GroupEvent::Assigned(partitions) => {
                    for partition in partitions {
                        let before = shared.owners.lock().expect("no panic")[partition as usize].replace(id);
                        assert_eq!(before, None, "partition {partition} has two owners");
                        let from = bus.committed(group, topic, partition).expect("read").unwrap_or(0);
                        next[partition as usize] = from;
                        reader.set(&at(topic, partition, from)).expect("set");
                        owned.insert(partition);
                    }
                }
                GroupEvent::Revoked(partitions) => {
                    for partition in &partitions {
                        reader.remove(topic, *partition);
                        owned.remove(partition);
                    }
                    give_up(&partitions, &next);
                }
                GroupEvent::Lost(partitions) => panic!("no one was away, and {partitions:?} are lost"),
            }
        }
        for record in reader.poll(500, Duration::from_millis(10)).expect("read") {
            next[record.partition as usize] = record.offset + 1;
            shared.seen.lock().expect("no panic")[record.partition as usize].push(number(&record));
        }
    }
    give_up(&owned.into_iter().collect::<Vec<_>>(), &next);
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A member whose process dies is replaced when its session ends.
#[test]
fn a_member_that_dies_is_replaced() {
    let fixture = fixture!();
    let (topic, group) = (log(&fixture, "dying", 4), format!("{}dying", fixture.prefix()));
    let bus = fixture.bus();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["a_member_in_a_process_of_its_own", "--exact", "--nocapture"])
        .env("TRADEFLOW_TEST_MEMBER", format!("{} {group} {topic}", fixture.config.brokers))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a member");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    assert!(lines.any(|line| line.expect("text") == "owns 4"), "it gets all partitions");
    let mut member = bus.join(&group, &topic).expect("joined");
    let mut owned = BTreeSet::new();
    let mut follow = |timeout| {
        for event in member.poll(timeout).expect("the group is reached") {
            match event {
                GroupEvent::Assigned(partitions) => owned.extend(partitions),
                GroupEvent::Revoked(partitions) | GroupEvent::Lost(partitions) => {
                    owned.retain(|partition| !partitions.contains(partition));
                }
            }
        }
        owned.len()
    };
    until("they share", PATIENCE, || follow(Duration::from_millis(20)) == 2);
    child.kill().expect("kill -9");
    child.wait().expect("dead");
    let died = Instant::now();
    until("this one owns all", PATIENCE, || follow(Duration::from_millis(20)) == 4);
    // Its session is 3 s; the issue allows ten after that.
    assert!(died.elapsed() < Duration::from_secs(13), "{:?}", died.elapsed());
}

/// The other process of [`a_member_that_dies_is_replaced`]; as a test of its own it has nothing to do.
#[test]
fn a_member_in_a_process_of_its_own() {
    let Ok(arguments) = std::env::var("TRADEFLOW_TEST_MEMBER") else { return };
    let [brokers, group, topic] = arguments.split(' ').collect::<Vec<_>>()[..] else { panic!("{arguments}") };
    let mut config = KafkaConfig::new(brokers);
    config.settings.insert("session.timeout.ms".to_owned(), "3000".to_owned());
    let bus = KafkaBus::connect(config).expect("connected");
    let mut member = bus.join(group, &Topic::new(topic)).expect("joined");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for event in member.poll(Duration::from_millis(20)).expect("the group is reached") {
            if let GroupEvent::Assigned(partitions) = event {
                println!("owns {}", partitions.len());
            }
        }
    }
}

/// Settings of TLS and SASL are passed on, and a password appears in no error.
#[test]
fn a_password_is_passed_on_and_never_shown() {
    let Some(brokers) = kafka_server::shared_sasl() else { return };
    let mut config = KafkaConfig::new(brokers);
    let settings =
        [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN"), ("sasl.username", "tester")];
    config.settings.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    config.settings.insert("sasl.password".to_owned(), "tester-secret".to_owned());
    let bus = KafkaBus::connect(config.clone()).expect("the password is right");
    assert!(matches!(bus.partitions(&Topic::new("none")), Err(BusError::NoTopic(_))));

    config.timeout = Duration::from_secs(3);
    config.settings.insert("sasl.password".to_owned(), "wrong-secret".to_owned());
    let error = KafkaBus::connect(config.clone()).map(drop).expect_err("the password is wrong").to_string();
    assert!(error.contains("uthentication") && error.contains(&config.brokers), "{error}");
    assert!(!error.contains("wrong-secret"), "{error}");

    // A misspelt name: the value may be a secret all the same.
    config.settings.insert("sasl.pasword".to_owned(), "hush-hush".to_owned());
    let error = KafkaBus::connect(config).map(drop).expect_err("no such setting").to_string();
    assert!(error.contains("sasl.pasword") && !error.contains("hush-hush"), "{error}");
}

/// No broker at that address: an error that says so, in a bounded time.
#[test]
fn no_broker_is_an_error_that_says_where_and_why() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").port()
    };
    let brokers = format!("127.0.0.1:{port}");
    let mut config = KafkaConfig::new(&brokers);
    config.timeout = Duration::from_secs(2);
    let start = Instant::now();
    let error = KafkaBus::connect(config).map(drop).expect_err("no one listens");
    let BusError::Unavailable { brokers: at, reason } = &error else { panic!("{error}") };
    assert_eq!(*at, brokers);
    assert!(reason.contains("Connection refused"), "{reason}");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}
