//! Starts the threads of a process, and on the caller's thread feeds the sink, agrees on a stop, and tells success
//! from failure.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use timely::communication::allocator::zero_copy::initialize::{
    CommsGuard, initialize_networking_from_sockets,
};
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Allocator, Config, Hooks, initialize_from};
use tradeflow_model::market::MarketBatch;

use super::connect::connect;
use super::control::{Message, Peer};
use super::error::guarded;
use super::shared::{Admission, Shared};
use super::wire::Wire;
use super::worker::{Delivery, Feed, WorkerArgs, work};
use super::{Cluster, DataflowError, Job, Outcome, Place, Shard};
use crate::reference::check_number;

/// The caller's thread looks around at least this often.
const TICK: Duration = Duration::from_millis(20);
/// Stretches of batches that may wait for the sink.
const DELIVERIES_MAX: usize = 1;
/// How long what was said to the peers may take to be sent.
const HANG_UP: Duration = Duration::from_secs(1);

/// Runs the job on the cluster: returns in every process when the run is complete, stopped or failed. See the module
/// for what is promised.
///
/// # Errors
/// The first failure, naming process and place; equal in all processes unless one is lost.
pub fn run<S, I, Source, Make, Sink, Progress>(
    mut cluster: Cluster,
    job: Job<Source, Make, Sink, Progress>,
) -> Result<Outcome, DataflowError>
where
    S: Shard,
    Source: FnOnce() -> Result<I, String> + Send + 'static,
    I: Iterator<Item = Result<Arc<MarketBatch>, String>>,
    Make: Fn(usize) -> Result<S, String> + Send + Sync + 'static,
    Sink: FnMut(usize, Vec<S::Output>) -> Result<(), String>,
    Progress: FnMut(u64, u64),
{
    cluster.check()?;
    let Job { shard_keys, window_batches, source, make_shard, mut sink, mut progress, stop } = job;
    if window_batches == 0 {
        return Err(DataflowError::Invalid("the window is 0 batches, at least 1 is needed".to_owned()));
    }
    if u32::try_from(shard_keys.len()).is_err() {
        return Err(DataflowError::Invalid(format!("{} shards are too many", shard_keys.len())));
    }
    let shared = Arc::new(Shared::new(cluster.process, window_batches));

    let sockets = match cluster.processes() {
        1 => Vec::new(),
        _ => match connect(&mut cluster, shard_keys.len(), &shared, &stop) {
            Ok(sockets) => sockets,
            Err(error) => return Err(give_up(&shared, error)),
        },
    };
    let (builders, comms) = match allocators(&cluster, sockets, &shared) {
        Ok(built) => built,
        Err(error) => return Err(give_up(&shared, DataflowError::Invalid(format!("threads: {error}")))),
    };

    let (sender, deliveries) = sync_channel(DELIVERIES_MAX);
    let mut sender = Some(sender).filter(|_| cluster.process == 0);
    let mut feeds = Vec::new();
    let mut posts = Vec::new();
    for _ in 0..cluster.workers {
        // Room for a window and the end: the dispatcher never waits here.
        let (batches, feed) = sync_channel(window_batches + 1);
        let thread = Arc::new(OnceLock::new());
        feeds.push(FeedTo { batches, thread: Arc::clone(&thread) });
        posts.push(Mutex::new(Some(Post { feed, thread, deliveries: sender.take() })));
        shared.driver_started();
    }
    let body = worker_body(&shared, posts, shard_keys, make_shard);
    let guards = initialize_from(builders, Box::new(()), body);
    match &guards {
        Ok(_) => start_dispatcher(&shared, source, feeds),
        Err(error) => {
            shared.fail_at(Place::Worker { worker: 0 }, format!("its thread did not start: {error}"))
        }
    }

    let mut caller =
        Caller { shared: &shared, cluster: &mut cluster, stop: &stop, stopping: Stopping::No, told: false };
    let result = caller.drive(&deliveries, &mut sink, &mut progress);
    // A worker that waits for the sink must not wait any longer.
    drop(deliveries);
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            // timely's guards would wait for threads without end, and panic about those that were cut off. They end by
            // themselves.
            std::mem::forget((guards, comms));
            shared.fail(error.clone());
            shared.wait_for_drivers(Some(cluster.timeouts.unwind));
            return Err(give_up(&shared, error));
        }
    };
    leave((guards, comms), cluster.timeouts.unwind);
    shared.hang_up(HANG_UP);
    progress(outcome.batches, outcome.rows);
    Ok(outcome)
}

/// Tells the peers and returns the first failure.
fn give_up(shared: &Shared, error: DataflowError) -> DataflowError {
    shared.fail(error.clone());
    let first = shared.check().err().unwrap_or(error);
    shared.hang_up(HANG_UP);
    first
}

/// timely's part of each local worker, and its threads for the data connections.
fn allocators(
    cluster: &Cluster,
    sockets: Vec<Option<TcpStream>>,
    shared: &Arc<Shared>,
) -> Result<(Vec<AllocatorBuilder>, Option<CommsGuard>), String> {
    if sockets.is_empty() {
        let config = if cluster.workers == 1 { Config::Thread } else { Config::Process(cluster.workers) };
        return config.try_build().map(|(builders, _)| (builders, None));
    }
    let mut wires = Vec::with_capacity(sockets.len());
    for (process, socket) in sockets.into_iter().enumerate() {
        let Some(socket) = socket else {
            wires.push(None);
            continue;
        };
        shared.add_socket(socket.try_clone().map_err(|error| error.to_string())?);
        let peer = Peer { process, host: cluster.hosts[process].clone() };
        wires.push(Some(Wire::new(socket, peer, Arc::clone(shared))));
    }
    let hooks = Hooks::default();
    let local = ProcessBuilder::new_typed_vector(cluster.workers, hooks.refill.clone(), None);
    let built = initialize_networking_from_sockets(local, wires, cluster.process, cluster.workers, hooks);
    let (builders, guard) = built.map_err(|error| error.to_string())?;
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Some(guard)))
}

/// Waits for timely's threads to say goodbye to their peers.
fn leave(guards: impl Send + 'static, limit: Duration) {
    let (done, wait) = sync_channel::<()>(1);
    let spawned = std::thread::Builder::new().name("replay:leave".to_owned()).spawn(move || {
        drop(guards);
        drop(done);
    });
    if spawned.is_ok() {
        // Ends when `done` is dropped.
        let _ = wait.recv_timeout(limit);
    }
}

/// The dispatcher's way to a worker.
struct FeedTo {
    batches: SyncSender<Feed>,
    thread: Arc<OnceLock<Thread>>,
}

/// What a worker finds when its thread starts.
struct Post<Output> {
    feed: Receiver<Feed>,
    thread: Arc<OnceLock<Thread>>,
    deliveries: Option<SyncSender<Delivery<Output>>>,
}

/// What each of timely's worker threads runs.
fn worker_body<S, Make>(
    shared: &Arc<Shared>,
    posts: Vec<Mutex<Option<Post<S::Output>>>>,
    shard_keys: Vec<u64>,
    make_shard: Make,
) -> impl Fn(Allocator) + Send + Sync + 'static
where
    S: Shard,
    Make: Fn(usize) -> Result<S, String> + Send + Sync + 'static,
{
    let shared = Arc::clone(shared);
    let shard_keys = Arc::new(shard_keys);
    let make_shard = Arc::new(make_shard);
    move |allocator| {
        let worker = allocator.index() % posts.len();
        as_driver(&shared, Place::Worker { worker }, || {
            let post = posts[worker].lock().ok().and_then(|mut post| post.take());
            let Post { feed, thread, deliveries } = post.ok_or("its thread was started twice")?;
            let _ = thread.set(std::thread::current());
            shared.add_thread(std::thread::current());
            let (shard_keys, make_shard) = (Arc::clone(&shard_keys), Arc::clone(&make_shard));
            work(WorkerArgs {
                shared: Arc::clone(&shared),
                allocator,
                feed,
                shard_keys,
                make_shard,
                deliveries,
            })
        });
    }
}

/// Runs the body of a thread that was counted by [`Shared::driver_started`]; its error or panic ends the run.
fn as_driver(shared: &Shared, place: Place, body: impl FnOnce() -> Result<(), String>) {
    if let Err(reason) = guarded(body) {
        shared.fail_at(place, reason);
    }
    shared.driver_gone();
}

fn start_dispatcher<I, Source>(shared: &Arc<Shared>, source: Source, feeds: Vec<FeedTo>)
where
    Source: FnOnce() -> Result<I, String> + Send + 'static,
    I: Iterator<Item = Result<Arc<MarketBatch>, String>>,
{
    shared.driver_started();
    let own = Arc::clone(shared);
    let body = move || as_driver(&own, Place::Source, || dispatch(&own, source, &feeds));
    if let Err(error) = std::thread::Builder::new().name("replay:source".to_owned()).spawn(body) {
        shared.fail_at(Place::Source, format!("its thread did not start: {error}"));
        shared.driver_gone();
    }
}

/// The source's thread: decodes ahead as far as the window allows and hands each batch to all local workers.
fn dispatch<I>(
    shared: &Shared,
    source: impl FnOnce() -> Result<I, String>,
    feeds: &[FeedTo],
) -> Result<(), String>
where
    I: Iterator<Item = Result<Arc<MarketBatch>, String>>,
{
    let hand_out = |feed: Feed| {
        for worker in feeds {
            // Fails only when the worker has gone, and then the run has failed.
            let _ = worker.batches.send(feed.clone());
            worker.thread.get().inspect(|thread| thread.unpark());
        }
    };
    let mut batches = source()?;
    let mut number = 0;
    let stopped = loop {
        if !shared.wait_for_room(number) {
            return Ok(());
        }
        let Some(batch) = batches.next().transpose()? else { break false };
        check_number(&batch, number)?;
        match shared.admit(number, batch.rows()) {
            Admission::Go => hand_out(Feed::Batch(batch)),
            Admission::Stopped => break true,
            Admission::Aborted => return Ok(()),
        }
        number += 1;
    };
    let (batches, rows) = shared.dispatched();
    shared.update(|state| state.ended = Some(Outcome { batches, rows, stopped }));
    hand_out(Feed::End);
    Ok(())
}

/// How far a stop is agreed upon.
enum Stopping {
    No,
    /// Process 0 knows its own number of batches and waits for the others'.
    Collecting(u64),
    /// Nothing is left to say.
    Settled,
}

/// What the caller's thread does while the others work.
struct Caller<'a> {
    shared: &'a Shared,
    cluster: &'a mut Cluster,
    stop: &'a AtomicBool,
    stopping: Stopping,
    /// Whether process 0 was told how the source ended.
    told: bool,
}

impl Caller<'_> {
    fn drive<Output>(
        &mut self,
        deliveries: &Receiver<Delivery<Output>>,
        sink: &mut impl FnMut(usize, Vec<Output>) -> Result<(), String>,
        progress: &mut impl FnMut(u64, u64),
    ) -> Result<Outcome, DataflowError> {
        let mut shown = 0;
        loop {
            let drained = match deliveries.recv_timeout(TICK) {
                Ok(delivery) => {
                    self.feed_sink(delivery, sink)?;
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.shared.check()?;
            if let Some(local) = self.cluster.local.as_mut().filter(|_| !self.shared.is_concluded()) {
                local.check()?;
            }
            let (batches, rows) = self.shared.done();
            if batches > shown {
                shown = batches;
                progress(batches, rows);
            }
            self.agree_on_stop();
            if drained {
                if let Some(outcome) = self.ending()? {
                    return Ok(outcome);
                }
                self.shared.wait_a_little(TICK);
            }
        }
    }

    fn feed_sink<Output>(
        &self,
        delivery: Delivery<Output>,
        sink: &mut impl FnMut(usize, Vec<Output>) -> Result<(), String>,
    ) -> Result<(), DataflowError> {
        for (shard, outputs) in delivery {
            self.shared.check()?;
            guarded(|| sink(shard, outputs)).map_err(|reason| DataflowError::Failed {
                process: self.cluster.process,
                place: Place::Sink { shard },
                reason,
            })?;
        }
        Ok(())
    }

    /// Process 0 pauses all sources, hears how many batches each has handed out, and lets all go on to the largest
    /// number. What a process has handed out cannot be taken back, and what one has, all can have.
    fn agree_on_stop(&mut self) {
        let wanted = self.stop.load(Ordering::Relaxed);
        if self.cluster.process > 0 {
            if wanted && matches!(self.stopping, Stopping::No) {
                self.shared.broadcast(&Message::StopWanted);
                self.stopping = Stopping::Settled;
            }
            return;
        }
        if matches!(self.stopping, Stopping::No) && (wanted || self.shared.lock().stop_wanted) {
            self.stopping = Stopping::Collecting(self.shared.pause());
            self.shared.broadcast(&Message::Pause);
        }
        if let Stopping::Collecting(own) = self.stopping {
            let state = self.shared.lock();
            let all = state.pauses.len() + 1 == self.cluster.processes();
            let most = state.pauses.values().copied().fold(own, u64::max);
            drop(state);
            if all {
                self.shared.stop_at(most);
                self.shared.broadcast(&Message::StopAt(most));
                self.stopping = Stopping::Settled;
            }
        }
    }

    /// The outcome, once every process has come to the same end. Called when the sink has taken everything.
    fn ending(&mut self) -> Result<Option<Outcome>, DataflowError> {
        let Some(outcome) = self.shared.lock().ended else { return Ok(None) };
        if self.cluster.process > 0 {
            if !self.told {
                self.told = true;
                self.shared.broadcast(&Message::Ended(outcome));
            }
            if !self.shared.is_concluded() {
                return Ok(None);
            }
            // The others may be gone before the last word of timely has come; nothing depends on it any more.
            self.shared.wait_for_drivers(Some(self.cluster.timeouts.unwind));
            return Ok(Some(outcome));
        }
        if self.shared.drivers_running() > 0 {
            return Ok(None);
        }
        let state = self.shared.lock();
        if let Some((process, other)) = state.ends.iter().find(|(_, other)| **other != outcome) {
            return Err(DataflowError::Failed {
                process: *process,
                place: Place::Source,
                reason: format!(
                    "it ended after {} batches and {} rows, that of process 0 after {} and {}: the data differ",
                    other.batches, other.rows, outcome.batches, outcome.rows
                ),
            });
        }
        let all = state.ends.len() + 1 == self.cluster.processes();
        drop(state);
        if !all {
            return Ok(None);
        }
        // From here on the others may leave. A failure may have come first.
        if !self.shared.conclude() {
            self.shared.check()?;
        }
        self.shared.broadcast(&Message::Succeeded);
        Ok(Some(outcome))
    }
}
