//! Commands to cells: put on the bus, and their answers taken from it. Which node has the cell does not matter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use tradeflow_actors::cell::Answer;
use tradeflow_bus::record::decode;
use tradeflow_bus::{Bus, BusError, Durability, NewRecord, Position, Topics, partition_of};
use tradeflow_live::commands::{CommandMessage, WireCommand};
use tradeflow_live::outputs::{Reply, Told};
use tradeflow_model::Timestamp;
use uuid::Uuid;

use crate::problem::Problem;
use crate::worker::{Worker, no_thread};

/// Sends commands. Dropping it ends its thread.
pub struct Commander {
    bus: Arc<dyn Bus>,
    topics: Topics,
    waiting: Waiting,
    _worker: Worker,
}

/// Who waits for the answer to a command, by its id: more than one where a write was sent twice at once.
type Waiting = Arc<Mutex<HashMap<String, Vec<oneshot::Sender<Reply>>>>>;

/// A bus that has not taken a command by then is away.
const TAKES_MAX: Duration = Duration::from_secs(5);
/// A cell that has not answered by then may still do what it was told.
const PATIENCE: Duration = Duration::from_secs(10);

impl Commander {
    /// Listens to answers from now on.
    ///
    /// # Errors
    /// When the bus can't be read.
    pub fn start(bus: Arc<dyn Bus>, topics: Topics) -> Result<Self, BusError> {
        let places = (0..bus.partitions(&topics.replies)?).map(|partition| {
            let offset = bus.bounds(&topics.replies, partition)?.end;
            Ok(Position { topic: topics.replies.clone(), partition, offset })
        });
        let mut reader = bus.reader(&places.collect::<Result<Vec<_>, BusError>>()?)?;
        let waiting = Waiting::default();
        let asked = waiting.clone();
        let worker = Worker::repeat("replies", move || {
            let records = match reader.poll(1000, Duration::from_millis(100)) {
                Ok(records) => records,
                Err(BusError::Trimmed { topic, partition, first, .. }) => {
                    // Whoever waited for these has given up long ago.
                    let _ = reader.set(&Position { topic, partition, offset: first });
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "answers of cells");
                    std::thread::sleep(Duration::from_millis(200));
                    return;
                }
            };
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            for record in records {
                let reply = record.value.as_deref().and_then(|value| decode::<Reply>("replies", value).ok());
                let Some(reply) = reply else { continue };
                for asker in asked.remove(&reply.id).into_iter().flatten() {
                    let _ = asker.send(reply.clone()); // he may have gone
                }
            }
        });
        let worker = worker.map_err(no_thread("replies"))?;
        Ok(Self { bus, topics, waiting, _worker: worker })
    }

    /// Sends a command, and waits for the answer; gives the orders that it made. `id` is unique: the same command is done
    /// once.
    ///
    /// # Errors
    /// When the bus can't be written, or the cell does not answer in time; the refusal of the cell.
    pub async fn send(
        &self,
        now: Timestamp,
        account: &str,
        id: &str,
        command: WireCommand,
    ) -> Result<Vec<tradeflow_model::OrderId>, Problem> {
        match self.ask(now, account, id, command).await?.answer {
            Answer::Done { orders } => Ok(orders),
            Answer::Refused { code, why } => Err(Problem::refused(code, why)),
        }
    }

    /// Asks a question, and waits for what is told: for an account by its own cell, wherever that runs.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn question(&self, now: Timestamp, account: &str, what: WireCommand) -> Result<Told, Problem> {
        let reply = self.ask(now, account, &Uuid::now_v7().to_string(), what).await?;
        reply.told.map(|told| *told).ok_or_else(Problem::internal)
    }

    /// Sends a command or a question, and waits for the answer.
    async fn ask(
        &self,
        now: Timestamp,
        account: &str,
        id: &str,
        command: WireCommand,
    ) -> Result<Reply, Problem> {
        let message = CommandMessage {
            v: CommandMessage::VERSION,
            id: id.to_owned(),
            account: account.to_owned(),
            ts: now,
            command,
        };
        let record = NewRecord {
            topic: self.topics.commands.clone(),
            partition: {
                let partitions = self.bus.partitions(&self.topics.commands).map_err(|error| away(&error))?;
                partition_of(account.as_bytes(), partitions)
            },
            key: account.to_owned().into(),
            value: Some(message.encode().into()),
            ts: now,
        };
        let asker = Asker { waiting: self.waiting.clone(), id: id.to_owned() };
        // Made after him, so that it is gone before him on every way out: he removes what no one listens to.
        let (sender, answer) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id.to_owned())
            .or_default()
            .push(sender);
        // Kafka's client waits for its brokers patiently; whoever asked does not.
        let published = self.bus.publish(vec![record], Durability::Process);
        let taken = tokio::time::timeout(TAKES_MAX, published).await.map_err(|_| {
            Problem::unavailable(format!(
                "the bus has not taken the command within {} s; it may still be done: send it again with the same \
                 idempotency-key, and it is done once",
                TAKES_MAX.as_secs()
            ))
        })?;
        taken.map_err(|error| away(&error))?;
        let answered = tokio::time::timeout(PATIENCE, answer).await;
        drop(asker);
        match answered {
            Ok(Ok(Reply { answer: Answer::Refused { code, why }, .. })) => Err(Problem::refused(code, why)),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(Problem::unavailable("the server is stopping")),
            Err(_) => Err(Problem::unanswered(format!(
                "account {account} has not answered within {} s; the command may still be done: send it again with the same \
                 idempotency-key, and it is done once",
                PATIENCE.as_secs()
            ))),
        }
    }
}

fn away(error: &BusError) -> Problem {
    tracing::warn!(%error, "a command");
    Problem::unavailable("the bus is not available")
}

/// Someone who waits; when he goes, he waits no more.
struct Asker {
    waiting: Waiting,
    id: String,
}

impl Drop for Asker {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(askers) = waiting.get_mut(&self.id) else { return };
        askers.retain(|asker| !asker.is_canceled());
        if askers.is_empty() {
            waiting.remove(&self.id);
        }
    }
}
