//! A producer, the thread that takes its deliveries, and who waits for them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_channel::oneshot;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Message};

use super::context::Context;
use super::message;
use super::topics::Catalog;
use crate::bus::NewRecord;
use crate::error::BusError;
use crate::receipt::Written;
use crate::topic::Topic;

/// How long the deliveries of a producer are waited for at a time. The client waits for whole milliseconds and then asks again
/// and again until the rest has passed, which takes a processor: a node has a producer for each partition and more. So
/// the rest is short, and the time is long.
const POLL: Duration = Duration::from_micros(200_100);

/// A producer whose deliveries are taken by a thread of its own.
pub(super) struct Producing {
    pub(super) producer: Arc<BaseProducer<Deliveries>>,
    room: Arc<Room>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Producing {
    /// `catalog`: what its client has to say is taken by the same thread.
    pub(super) fn start(
        config: &ClientConfig,
        context: &Context,
        catalog: Option<Arc<Catalog>>,
    ) -> Result<Self, BusError> {
        let room = Arc::new(Room::default());
        let deliveries = Deliveries { context: context.clone(), room: Arc::clone(&room) };
        let producer = BaseProducer::from_config_and_context(config, deliveries);
        let producer = Arc::new(producer.map_err(|error| context.error("connect", &error))?);
        let stop = Arc::new(AtomicBool::new(false));
        let work = {
            let (producer, stop) = (Arc::clone(&producer), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    producer.poll(POLL);
                    if let Some(catalog) = &catalog {
                        catalog.drain();
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("kafka-deliveries".to_owned()).spawn(work);
        let thread =
            thread.map_err(|error| BusError::other("Kafka", format!("can't start a thread: {error}")))?;
        Ok(Self { producer, room, stop, thread: Some(thread) })
    }

    /// Hands a record over; waits while the producer's queue is full. Deliveries make room, or time out and make room,
    /// so that the wait ends.
    pub(super) fn send(&self, record: &NewRecord, waiting: &Arc<Waiting>, index: usize) -> Result<(), Code> {
        let mut delivery = Box::new(Delivery { waiting: Arc::clone(waiting), index });
        loop {
            let seen = self.room.seen();
            match self.producer.send(message::message(record, delivery)) {
                Ok(()) => return Ok(()),
                Err((error, refused)) => match error.rdkafka_error_code() {
                    Some(Code::QueueFull) => {
                        delivery = refused.delivery_opaque;
                        self.room.wait(seen);
                    }
                    code => return Err(code.unwrap_or(Code::Unknown)),
                },
            }
        }
    }

    /// Why the producer is broken for good, if it is.
    pub(super) fn fatal(&self) -> String {
        self.producer
            .client()
            .fatal_error()
            .map_or_else(String::new, |(code, text)| format!("{code}: {text}"))
    }

    /// Waits for all deliveries.
    pub(super) fn flush(&self, timeout: Duration) {
        if let Err(error) = self.producer.flush(timeout) {
            tracing::warn!(target: "kafka", "records that were published are not delivered: {error}");
        }
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Says when deliveries may have made room in the producer's queue.
#[derive(Default)]
struct Room {
    deliveries: Mutex<u64>,
    news: Condvar,
}

impl Room {
    fn seen(&self) -> u64 {
        *self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) {
        *self.deliveries.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.news.notify_all();
    }

    /// Until there was a delivery since `seen`. It frees its room a moment after it tells us, so the wait is also short.
    fn wait(&self, seen: u64) {
        let count = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.news.wait_timeout_while(count, Duration::from_millis(5), |count| *count == seen));
    }
}

/// Takes what a producer tells.
pub(super) struct Deliveries {
    context: Context,
    room: Arc<Room>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientContext::error(&self.context, error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        let Delivery { waiting, index } = *delivery;
        let answer = match result {
            Ok(message) => Ok(message::offset_of(message)),
            Err((error, message)) => Err(self.explain(error, message)),
        };
        waiting.done(index, answer);
        self.room.made();
    }
}

impl Deliveries {
    fn explain(&self, error: &KafkaError, message: &impl Message) -> BusError {
        let (topic, partition) = (message.topic(), message.partition());
        match error.rdkafka_error_code() {
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
                BusError::NoTopic(Topic::new(topic))
            }
            Some(Code::MessageSizeTooLarge) => {
                // Ours take as much as we send: this one was made by others.
                let bytes = message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
                let reason =
                    format!("a record of {bytes} bytes is larger than its max.message.bytes: raise it");
                BusError::other(topic, reason)
            }
            _ => self.context.error(&format!("write to {topic}/{partition}"), error),
        }
    }
}

/// One record on its way.
pub(super) struct Delivery {
    waiting: Arc<Waiting>,
    index: usize,
}

/// The records of one call, and who waits for them.
pub(super) struct Waiting {
    left: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    written: Written,
    error: Option<BusError>,
    sender: Option<oneshot::Sender<Result<Written, BusError>>>,
}

impl Waiting {
    pub(super) fn new(records: &[NewRecord], sender: oneshot::Sender<Result<Written, BusError>>) -> Self {
        let written = Written { places: records.iter().map(|record| (record.partition, 0)).collect() };
        let state = State { written, error: None, sender: Some(sender) };
        Self { left: AtomicUsize::new(records.len()), state: Mutex::new(state) }
    }

    /// A record is written, or not; the last one answers for all.
    pub(super) fn done(&self, index: usize, answer: Result<u64, BusError>) {
        let mut state: MutexGuard<'_, State> = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(offset) => state.written.places[index].1 = offset,
            Err(error) => {
                state.error.get_or_insert(error);
            }
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let written = std::mem::take(&mut state.written);
            let answer = state.error.take().map_or(Ok(written), Err);
            if let Some(sender) = state.sender.take() {
                // The receipt may have been dropped: the write stands.
                let _ = sender.send(answer);
            }
        }
    }
}
