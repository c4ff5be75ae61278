//! The one writer of a partition: a transactional producer, which Kafka fences off when another claims the partition.
//!
//! A thread for each claim turns what is appended into transactions. Appends that wait while one is under way go together
//! into the next. After a failure the claim is at its end: what is appended later fails as well, so that what was
//! written is always the first part of what was appended; the partition is to be claimed anew, and read.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
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

/// Appends that wait for their transaction; then [`Exclusive::append`] itself waits.
const APPENDS_MAX: usize = 1024;
/// A transaction that is this large is closed: what waits goes into the next.
const TRANSACTION_RECORDS_MAX: usize = 10_000;

/// The brokers mark a commit in its partitions after they have acknowledged it. A transaction that begins before is sent
/// away, and the client waits 20 ms until it tries again: to look whether the marks are there takes less than one.
const COMMIT_MARKED_MAX: Duration = Duration::from_millis(15);

struct Append {
    records: Vec<NewRecord>,
    sender: oneshot::Sender<Result<Written, BusError>>,
}

/// A claimed partition.
pub(super) struct Claim {
    catalog: Arc<Catalog>,
    appends: Option<SyncSender<Append>>,
    /// Why the claim is at its end.
    failed: Arc<Mutex<Option<BusError>>>,
    thread: Option<JoinHandle<()>>,
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
        let id = format!("tradeflow-{topic}-{partition}");
        let producing = Producing::start(&config.transactional(&id), context, None)?;
        let writer = Writer {
            producing,
            context: context.clone(),
            catalog: Arc::clone(catalog),
            topic: topic.clone(),
            partition,
            timeout: config.timeout,
        };
        // Ends what the one before has under way, whole or not at all, and fences it off.
        writer.again("claim", |left| writer.producing.producer.init_transactions(left))?;
        let failed = Arc::new(Mutex::new(None));
        let (appends, waiting) = sync_channel(APPENDS_MAX);
        let end = Arc::clone(&failed);
        let thread = std::thread::Builder::new()
            .name(format!("claim-{partition}"))
            .spawn(move || writer.run(&waiting, &end))
            .map_err(|error| BusError::other("Kafka", format!("can't start a thread: {error}")))?;
        Ok(Self { catalog: Arc::clone(catalog), appends: Some(appends), failed, thread: Some(thread) })
    }
}

impl Exclusive for Claim {
    fn append(&mut self, records: Vec<NewRecord>) -> Receipt {
        if let Some(error) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Receipt::ready(Err(error));
        }
        if records.is_empty() {
            return Receipt::ready(Ok(Written::default()));
        }
        if let Some(error) = records.iter().find_map(|record| message::check(record, &self.catalog).err()) {
            return Receipt::ready(Err(error));
        }
        let (sender, receipt) = Receipt::later();
        if let Some(appends) = &self.appends {
            // When the thread is gone, the sender in the append is dropped, and the receipt says so.
            let _ = appends.send(Append { records, sender });
        }
        receipt
    }
}

impl Drop for Claim {
    /// What was appended is still written.
    fn drop(&mut self) {
        self.appends = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// What the thread of a claim holds.
struct Writer {
    producing: Producing,
    context: Context,
    catalog: Arc<Catalog>,
    topic: Topic,
    partition: u32,
    timeout: Duration,
}

impl Writer {
    fn run(&self, waiting: &Receiver<Append>, failed: &Mutex<Option<BusError>>) {
        let mut last_commit: Option<Instant> = None;
        while let Ok(first) = waiting.recv() {
            if last_commit.is_some_and(|at| at.elapsed() < COMMIT_MARKED_MAX) {
                self.catalog.await_commit(&self.topic, self.partition, COMMIT_MARKED_MAX);
            }
            let mut records = first.records;
            let mut askers = vec![(records.len(), first.sender)];
            while records.len() < TRANSACTION_RECORDS_MAX {
                let Ok(mut next) = waiting.try_recv() else { break };
                askers.push((next.records.len(), next.sender));
                records.append(&mut next.records);
            }
            match self.transact(&records) {
                Ok(written) => {
                    last_commit = Some(Instant::now());
                    for (record, (partition, offset)) in records.iter().zip(&written.places) {
                        self.catalog.note_commit(&record.topic, *partition, *offset);
                    }
                    let mut places = written.places.into_iter();
                    for (count, sender) in askers {
                        // A receipt may have been dropped: the write stands.
                        let _ = sender.send(Ok(Written { places: places.by_ref().take(count).collect() }));
                    }
                }
                Err(error) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                    for (_, sender) in askers {
                        let _ = sender.send(Err(error.clone()));
                    }
                    while let Ok(append) = waiting.recv() {
                        let _ = append.sender.send(Err(error.clone()));
                    }
                    return;
                }
            }
        }
    }

    /// Writes all of the records, or none.
    fn transact(&self, records: &[NewRecord]) -> Result<Written, BusError> {
        let producer = &self.producing.producer;
        producer.begin_transaction().map_err(|error| self.explain("begin", &error))?;
        let (sender, receipt) = Receipt::later();
        let waiting = Arc::new(Waiting::new(records, sender));
        for (index, record) in records.iter().enumerate() {
            if let Err(code) = self.producing.send(record, &waiting, index) {
                waiting.done(index, Err(self.context.code("write", code)));
            }
        }
        let written = match receipt.wait() {
            Ok(written) => written,
            Err(error) => return Err(self.give_up(error)),
        };
        // The client frees a record a moment after it reports it delivered, and to commit with one that is not yet free
        // would wait for its next poll.
        let deadline = Instant::now() + Duration::from_millis(20);
        while producer.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        self.again("commit", |left| producer.commit_transaction(left))
            .map_err(|error| self.give_up(error))?;
        Ok(written)
    }

    /// Takes back a transaction that has failed, and gives the reason: that the claim was lost explains all others, and
    /// may come to light only now. When this fails too, the next claim of the partition does it, or the brokers do when
    /// the transaction's time is over.
    fn give_up(&self, error: BusError) -> BusError {
        let producer = &self.producing.producer;
        if producer.client().fatal_error().is_none()
            && let Err(error) = producer.abort_transaction(self.timeout.min(Duration::from_secs(5)))
        {
            tracing::debug!(target: "kafka", "abort of {}/{}: {error}", self.topic, self.partition);
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
        let deadline = Instant::now() + self.timeout;
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
        self.context.error(&format!("{doing} {}/{}", self.topic, self.partition), error)
    }

    fn fenced(&self) -> BusError {
        BusError::Fenced { topic: self.topic.clone(), partition: self.partition }
    }
}

fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}
