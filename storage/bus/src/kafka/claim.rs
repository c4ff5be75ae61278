//! The one writer of a partition: transactional producers, which Kafka fences off when another claims the partition.
//!
//! A claim has two **lanes**, each a producer and a thread that turns what was appended into transactions. What waits is
//! written to the claimed partition together, and [`Exclusive::journal`] is answered when it is delivered: a broker takes
//! it of no producer that was fenced off, and keeps it whether the transaction is committed or not. The transaction stays
//! open for more, for [`COMMIT_EVERY`]; then what goes to other topics is written, and all is committed. A commit is by
//! far the dearest, and so one serves many appends. What [`Exclusive::append`] brought is committed at once.
//!
//! Lanes take turns: while one commits, and waits until the brokers have marked the commit, the other one writes. It
//! begins when what the one before wrote to the claimed partition is delivered, and commits when that one has.
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
/// How long a transaction is kept open for more, where nobody waits for its commit.
const COMMIT_EVERY: Duration = Duration::from_millis(100);

/// The brokers mark a commit in its partitions after they have acknowledged it. A transaction that the same producer
/// begins before is sent away, and the client waits 20 ms until it tries again: to look whether the marks are there takes
/// less than one.
const COMMIT_MARKED_MAX: Duration = Duration::from_millis(15);

type Sender = oneshot::Sender<Result<Written, BusError>>;

struct Append {
    records: Vec<NewRecord>,
    /// Whether its sender waits for the commit, or only until what is in the claimed partition is delivered.
    commit: bool,
    sender: Sender,
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

impl Claim {
    fn push(&self, records: Vec<NewRecord>, commit: bool) -> Receipt {
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
            let _ = appends.send(Append { records, commit, sender });
        }
        receipt
    }
}

impl Exclusive for Claim {
    fn append(&mut self, records: Vec<NewRecord>) -> Receipt {
        self.push(records, true)
    }

    fn journal(&mut self, mut entries: Vec<NewRecord>, mut outputs: Vec<NewRecord>) -> Receipt {
        entries.append(&mut outputs);
        self.push(entries, false)
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

/// Who waits, and the places of what he waits for.
type Held = (Sender, Vec<(u32, u64)>);

/// Appends that are committed together.
struct Transaction {
    number: u64,
    begun: Option<Instant>,
    /// How many records it has.
    records: usize,
    /// The last of them in the claimed partition.
    last: Option<u64>,
    /// What goes to other topics, and for whom: the index in `committed`, and that in its append.
    outputs: Vec<NewRecord>,
    outputs_of: Vec<Option<(usize, usize)>>,
    /// Who waits for the commit.
    committed: Vec<Held>,
}

impl Intake {
    /// The appends that wait, at most about so many records. Waits for the first, until the deadline if there is one; none
    /// when nothing has come, or nothing will.
    fn take(&self, deadline: Option<Instant>, max: usize) -> Vec<Append> {
        let first = match deadline {
            Some(at) => self.appends.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
            None => self.appends.recv().ok(),
        };
        let mut records = first.as_ref().map_or(0, |append| append.records.len());
        let mut appends = Vec::from_iter(first);
        while !appends.is_empty() && records < max {
            let Ok(append) = self.appends.try_recv() else { break };
            records += append.records.len();
            appends.push(append);
        }
        appends
    }
}

impl Transaction {
    fn new(number: u64) -> Self {
        Self {
            number,
            begun: None,
            records: 0,
            last: None,
            outputs: Vec::new(),
            outputs_of: Vec::new(),
            committed: Vec::new(),
        }
    }

    /// How many records more it may take, and until when: `None` if it is to be committed.
    fn open(&self) -> Option<(usize, Instant)> {
        let until = self.begun? + COMMIT_EVERY;
        let room = TRANSACTION_RECORDS_MAX.saturating_sub(self.records);
        (self.committed.is_empty() && room > 0 && Instant::now() < until).then_some((room, until))
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
            let appends = intake.take(None, TRANSACTION_RECORDS_MAX);
            if appends.is_empty() {
                return;
            }
            let mut transaction = Transaction::new(intake.next);
            intake.next += 1;
            let mut outcome = self.journal(&mut transaction, appends);
            while outcome.is_ok()
                && let Some((room, until)) = transaction.open()
            {
                let appends = intake.take(Some(until), room);
                if appends.is_empty() {
                    break;
                }
                outcome = self.journal(&mut transaction, appends);
            }
            drop(intake);
            let number = transaction.number;
            let outcome = match (self.shared.await_turn(number), outcome) {
                (None, Ok(())) => self.finish(&mut transaction),
                (Some(error), Ok(())) => Err(self.give_up(error)),
                (_, Err(error)) => Err(error),
            };
            self.shared.turn_over(number, outcome.as_ref().err());
            for (sender, places) in transaction.committed {
                // A receipt may have been dropped: the write stands.
                let _ = sender.send(outcome.clone().map(|()| Written { places }));
            }
            if let (Ok(()), Some(last)) = (outcome, transaction.last) {
                let Shared { catalog, topic, partition, .. } = &*self.shared;
                catalog.await_mark(topic, *partition, last, COMMIT_MARKED_MAX);
            }
        }
    }

    /// Writes what is for the claimed partition, waits until it is delivered, and answers who waits for no more.
    fn journal(&self, transaction: &mut Transaction, appends: Vec<Append>) -> Result<(), BusError> {
        let Shared { topic, partition, .. } = &*self.shared;
        let mut early: Vec<Held> = Vec::new();
        let (mut ours, mut ours_of) = (Vec::new(), Vec::new());
        for Append { records, commit, sender } in appends {
            transaction.records += records.len();
            let (askers, places) = match commit {
                true => (&mut transaction.committed, vec![(0, 0); records.len()]),
                false => (&mut early, Vec::new()),
            };
            let index = askers.len();
            askers.push((sender, places));
            for (at, record) in records.into_iter().enumerate() {
                let place = commit.then_some((index, at));
                if record.topic == *topic && record.partition == *partition {
                    ours.push(record);
                    ours_of.push((index, place));
                } else {
                    transaction.outputs.push(record);
                    transaction.outputs_of.push(place);
                }
            }
        }
        let delivered = self.begin(transaction).and_then(|()| self.deliver(&ours));
        if let Ok(written) = &delivered {
            for ((index, held), place) in ours_of.into_iter().zip(&written.places) {
                match held {
                    Some((index, at)) => transaction.committed[index].1[at] = *place,
                    None => early[index].1.push(*place),
                }
                transaction.last = Some(place.1);
            }
        }
        let delivered = delivered.map(drop);
        for (sender, places) in early {
            let _ = sender.send(delivered.clone().map(|()| Written { places }));
        }
        delivered
    }

    fn begin(&self, transaction: &mut Transaction) -> Result<(), BusError> {
        if transaction.begun.is_some() {
            return Ok(());
        }
        if let Some(error) = self.shared.order().failed.clone() {
            return Err(error);
        }
        let begun = self.producing.producer.begin_transaction();
        begun.map_err(|error| self.explain("begin", &error))?;
        transaction.begun = Some(Instant::now());
        Ok(())
    }

    /// Writes what is for other topics, and commits.
    fn finish(&self, transaction: &mut Transaction) -> Result<(), BusError> {
        let Shared { catalog, topic, partition, .. } = &*self.shared;
        let written = self.deliver(&transaction.outputs)?;
        self.commit()?;
        for ((record, held), place) in
            transaction.outputs.iter().zip(&transaction.outputs_of).zip(&written.places)
        {
            catalog.note_commit(&record.topic, place.0, place.1);
            if let Some((index, at)) = held {
                transaction.committed[*index].1[*at] = *place;
            }
        }
        if let Some(last) = transaction.last {
            catalog.note_commit(topic, *partition, last);
        }
        Ok(())
    }

    /// Writes records in the transaction, and waits until all are delivered.
    fn deliver(&self, records: &[NewRecord]) -> Result<Written, BusError> {
        if records.is_empty() {
            return Ok(Written::default());
        }
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
