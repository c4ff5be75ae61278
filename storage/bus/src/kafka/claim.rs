//! The one writer of a partition: transactional producers, which Kafka fences off when another claims the partition.
//!
//! A claim has two **lanes**, each a producer and a thread that turns what was appended into transactions. Appends that
//! wait while a transaction is being written go together into the next. Lanes take turns: the records of a transaction
//! are handed over when those of the one before are delivered, and it is committed when that one is. So while one lane
//! commits, and waits until the brokers have marked the commit, the other one writes.
//!
//! After a failure the claim is at its end: what is appended later fails as well, so that what was written is always the
//! first part of what was appended; the partition is to be claimed anew, and read.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;

use super::config::KafkaConfig;
use super::context::Context;
use super::delivery::{Producing, Waiting};
use super::message;
use super::topics::Catalog;
use crate::bus::{Exclusive, NewRecord};
use crate::error::BusError;
use crate::receipt::{Receipt, Written};
use crate::topic::Topic;

/// Lanes of a claim.
const LANES: usize = 2;
/// Appends that wait for their transaction; then [`Exclusive::append`] itself waits.
const APPENDS_MAX: usize = 1024;
/// A transaction that is this large is closed: what waits goes into the next.
const TRANSACTION_RECORDS_MAX: usize = 10_000;

/// The brokers mark a commit in its partitions after they have acknowledged it. A transaction that the same producer
/// begins before is sent away, and the client waits 20 ms until it tries again: to look whether the marks are there takes
/// less than one.
const COMMIT_MARKED_MAX: Duration = Duration::from_millis(15);

struct Append {
    records: Vec<NewRecord>,
    sender: oneshot::Sender<Result<Written, BusError>>,
}

/// A claimed partition.
pub(super) struct Claim {
    appends: Option<SyncSender<Append>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the lanes of a claim share.
struct Shared {
    context: Context,
    catalog: Arc<Catalog>,
    topic: Topic,
    partition: u32,
    timeout: Duration,
    /// Held by the lane whose turn it is to write.
    intake: Mutex<Intake>,
    order: Mutex<Order>,
    /// `order` has changed.
    turned: Condvar,
}

struct Intake {
    appends: Receiver<Append>,
    /// Number of the next transaction.
    next: u64,
}

#[derive(Default)]
struct Order {
    /// Number of the transaction that is to be committed next.
    next: u64,
    /// Why the claim is at its end.
    failed: Option<BusError>,
    /// A lane has ended.
    ended: bool,
}

impl Claim {
    pub(super) fn new(
        config: &KafkaConfig,
        context: &Context,
        catalog: &Arc<Catalog>,
        topic: &Topic,
        partition: u32,
    ) -> Result<Self, BusError> {
        catalog.check(topic, partition)?;
        let (appends, waiting) = sync_channel(APPENDS_MAX);
        let shared = Arc::new(Shared {
            context: context.clone(),
            catalog: Arc::clone(catalog),
            topic: topic.clone(),
            partition,
            timeout: config.timeout,
            intake: Mutex::new(Intake { appends: waiting, next: 0 }),
            order: Mutex::default(),
            turned: Condvar::new(),
        });
        let lane = |number| Lane::new(config, &shared, number);
        let lanes = (0..LANES).map(lane).collect::<Result<Vec<_>, _>>()?;
        let mut claim = Self { appends: Some(appends), shared, threads: Vec::new() };
        for lane in lanes {
            let thread = std::thread::Builder::new().name(format!("claim-{partition}"));
            let thread = thread
                .spawn(move || lane.run())
                .map_err(|error| BusError::other("Kafka", format!("can't start a thread: {error}")))?;
            claim.threads.push(thread);
        }
        Ok(claim)
    }
}

impl Exclusive for Claim {
    fn append(&mut self, records: Vec<NewRecord>) -> Receipt {
        if let Some(error) = self.shared.order().failed.clone() {
            return Receipt::ready(Err(error));
        }
        if records.is_empty() {
            return Receipt::ready(Ok(Written::default()));
        }
        let wrong = |record| message::check(record, &self.shared.catalog).err();
        if let Some(error) = records.iter().find_map(wrong) {
            return Receipt::ready(Err(error));
        }
        let (sender, receipt) = Receipt::later();
        if let Some(appends) = &self.appends {
            // When the lanes are gone, the sender in the append is dropped, and the receipt says so.
            let _ = appends.send(Append { records, sender });
        }
        receipt
    }
}

impl Drop for Claim {
    /// What was appended is still written.
    fn drop(&mut self) {
        self.appends = None;
        for thread in self.threads.drain(..) {
            // A panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is this transaction's turn to be committed; says why it must not be.
    fn await_turn(&self, number: u64) -> Option<BusError> {
        let wait = |order: &mut Order| order.next != number && order.failed.is_none();
        let order = self.turned.wait_while(self.order(), wait);
        order.unwrap_or_else(PoisonError::into_inner).failed.clone()
    }

    fn turn_over(&self, number: u64, failed: Option<&BusError>) {
        let mut order = self.order();
        order.next = order.next.max(number + 1);
        if let Some(error) = failed {
            order.failed.get_or_insert_with(|| error.clone());
        }
        drop(order);
        self.turned.notify_all();
    }
}

/// A producer of a claim, and what its thread does.
struct Lane {
    number: usize,
    producing: Producing,
    shared: Arc<Shared>,
}

/// Appends that go together.
struct Group {
    number: u64,
    records: Vec<NewRecord>,
    askers: Vec<(usize, oneshot::Sender<Result<Written, BusError>>)>,
}

impl Intake {
    /// Waits for appends; `None` when there will be no more.
    fn take(&mut self) -> Option<Group> {
        let first = self.appends.recv().ok()?;
        let mut records = first.records;
        let mut askers = vec![(records.len(), first.sender)];
        while records.len() < TRANSACTION_RECORDS_MAX {
            let Ok(mut next) = self.appends.try_recv() else { break };
            askers.push((next.records.len(), next.sender));
            records.append(&mut next.records);
        }
        self.next += 1;
        Some(Group { number: self.next - 1, records, askers })
    }
}

impl Group {
    fn answer(self, outcome: Result<Written, BusError>) {
        match outcome {
            Ok(written) => {
                let mut places = written.places.into_iter();
                for (count, sender) in self.askers {
                    // A receipt may have been dropped: the write stands.
                    let _ = sender.send(Ok(Written { places: places.by_ref().take(count).collect() }));
                }
            }
            Err(error) => {
                for (_, sender) in self.askers {
                    let _ = sender.send(Err(error.clone()));
                }
            }
        }
    }
}

impl Lane {
    fn new(config: &KafkaConfig, shared: &Arc<Shared>, number: usize) -> Result<Self, BusError> {
        let id = format!("tradeflow-{}-{}-{number}", shared.topic, shared.partition);
        let producing = Producing::start(&config.transactional(&id), &shared.context, None)?;
        let lane = Self { number, producing, shared: Arc::clone(shared) };
        // Ends what the one before has under way, whole or not at all, and fences it off.
        lane.again("claim", |left| lane.producing.producer.init_transactions(left))?;
        Ok(lane)
    }

    fn run(&self) {
        let _ended = Ended(&self.shared);
        // Where two claim at once, each may come to have a lane of its own. The first transaction is the first lane's, so
        // whoever has lost that one writes nothing.
        let waits = |order: &mut Order| order.next == 0 && order.failed.is_none() && !order.ended;
        if self.number > 0 {
            drop(self.shared.turned.wait_while(self.shared.order(), waits));
        }
        loop {
            let mut intake = self.shared.intake.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(group) = intake.take() else { return };
            let failed = self.shared.order().failed.clone();
            let produced = failed.map_or_else(|| self.produce(&group.records), Err);
            drop(intake);
            let outcome = match (self.shared.await_turn(group.number), produced) {
                (None, Ok(written)) => self.commit().map(|()| written),
                (Some(error), Ok(_)) => Err(self.give_up(error)),
                (Some(error), Err(_)) | (None, Err(error)) => Err(error),
            };
            let mut last = None;
            if let Ok(written) = &outcome {
                for (record, (partition, offset)) in group.records.iter().zip(&written.places) {
                    self.shared.catalog.note_commit(&record.topic, *partition, *offset);
                }
                let place = group.records.last().zip(written.places.last());
                last = place.map(|(record, place)| (record.topic.clone(), place.0, place.1));
            }
            self.shared.turn_over(group.number, outcome.as_ref().err());
            group.answer(outcome);
            if let Some((topic, partition, offset)) = last {
                self.shared.catalog.await_mark(&topic, partition, offset, COMMIT_MARKED_MAX);
            }
        }
    }

    /// Writes the records in a transaction, and waits until all are delivered.
    fn produce(&self, records: &[NewRecord]) -> Result<Written, BusError> {
        let producer = &self.producing.producer;
        producer.begin_transaction().map_err(|error| self.explain("begin", &error))?;
        let (sender, receipt) = Receipt::later();
        let waiting = Arc::new(Waiting::new(records, sender));
        for (index, record) in records.iter().enumerate() {
            if let Err(code) = self.producing.send(record, &waiting, index) {
                waiting.done(index, Err(self.shared.context.code("write", code)));
            }
        }
        receipt.wait().map_err(|error| self.give_up(error))
    }

    fn commit(&self) -> Result<(), BusError> {
        let producer = &self.producing.producer;
        // The client frees a record a moment after it reports it delivered, and to commit with one that is not yet free
        // would wait for its next poll.
        let deadline = Instant::now() + Duration::from_millis(20);
        while producer.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        self.again("commit", |left| producer.commit_transaction(left)).map_err(|error| self.give_up(error))
    }

    /// Takes back a transaction that has failed, and gives the reason: that the claim was lost explains all others, and
    /// may come to light only now. When this fails too, the next claim of the partition does it, or the brokers do when
    /// the transaction's time is over.
    fn give_up(&self, error: BusError) -> BusError {
        let producer = &self.producing.producer;
        let Shared { topic, partition, timeout, .. } = &*self.shared;
        if producer.client().fatal_error().is_none()
            && let Err(error) = producer.abort_transaction((*timeout).min(Duration::from_secs(5)))
        {
            tracing::debug!(target: "kafka", "abort of {topic}/{partition}: {error}");
        }
        match producer.client().fatal_error() {
            Some((code, _)) if is_fenced(code) => self.fenced(),
            _ => error,
        }
    }

    /// Tries as long as it may help, at most for the time-out.
    fn again(
        &self,
        doing: &str,
        mut act: impl FnMut(Duration) -> Result<(), KafkaError>,
    ) -> Result<(), BusError> {
        let deadline = Instant::now() + self.shared.timeout;
        loop {
            // In pieces, so that an end of the time is seen.
            let left = deadline.saturating_duration_since(Instant::now());
            match act(left.clamp(Duration::from_millis(100), Duration::from_secs(5))) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let retriable = match &error {
                        KafkaError::Transaction(error) => error.is_retriable(),
                        KafkaError::Flush(Code::OperationTimedOut) => true,
                        _ => false,
                    };
                    if !retriable || Instant::now() >= deadline {
                        return Err(self.explain(doing, &error));
                    }
                }
            }
        }
    }

    fn explain(&self, doing: &str, error: &KafkaError) -> BusError {
        let fatal = self.producing.producer.client().fatal_error().map(|(code, _)| code);
        if fatal.or(error.rdkafka_error_code()).is_some_and(is_fenced) {
            return self.fenced();
        }
        let Shared { context, topic, partition, .. } = &*self.shared;
        context.error(&format!("{doing} {topic}/{partition}"), error)
    }

    fn fenced(&self) -> BusError {
        BusError::Fenced { topic: self.shared.topic.clone(), partition: self.shared.partition }
    }
}

/// The end of a lane, which the other one may wait for. When it is a panic, the claim is at its end too.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut order = self.0.order();
        order.ended = true;
        if std::thread::panicking() {
            let error = BusError::other("Kafka", "the thread of a claim panicked");
            order.failed.get_or_insert(error);
        }
        drop(order);
        self.0.turned.notify_all();
    }
}

fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}
