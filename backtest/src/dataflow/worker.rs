//! One worker: its part of the dataflow and the loop that drives it. The only file that knows timely's operators.
//!
//! ```text
//! batches → input → shards (local) → sink (worker 0 of process 0) → probe
//! ```
//!
//! The timestamp is the batch number; what [`Shard::finish`] makes has the number after the last. The input moves on
//! with every batch, so that nobody waits for it. Within one timestamp timely promises no order, so what a shard made
//! travels as one piece with the shard's index, and the sink hands on a timestamp when its frontier has passed it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::communication::Allocator;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Input;
use timely::dataflow::operators::{Capability, Probe};
use timely::worker::Worker;
use tradeflow_model::market::MarketBatch;

use super::error::guarded;
use super::shared::Shared;
use super::{Place, Shard};

/// A worker with nothing to do looks around this often, though it is always woken when there is something.
const PARK_MAX: Duration = Duration::from_secs(1);

/// What the dispatcher hands to a worker.
#[derive(Clone)]
pub(super) enum Feed {
    /// The next batch.
    Batch(Arc<MarketBatch>),
    /// There are no more.
    End,
}

/// What a shard made at one timestamp.
#[derive(Clone, Serialize, Deserialize)]
struct Piece<Output> {
    shard: u32,
    outputs: Vec<Output>,
}

/// What the sink hands to the caller: all that was made in a stretch of batches, in the order (batch, shard).
pub(super) type Delivery<Output> = Vec<(usize, Vec<Output>)>;

/// What a worker thread is given.
pub(super) struct WorkerArgs<S: Shard, Make> {
    pub(super) shared: Arc<Shared>,
    pub(super) allocator: Allocator,
    pub(super) feed: Receiver<Feed>,
    pub(super) shard_keys: Arc<Vec<u64>>,
    pub(super) make_shard: Arc<Make>,
    pub(super) deliveries: Option<SyncSender<Delivery<S::Output>>>,
}

/// Runs a worker until the dataflow is complete or the run has failed.
pub(super) fn work<S, Make>(args: WorkerArgs<S, Make>) -> Result<(), String>
where
    S: Shard,
    Make: Fn(usize) -> Result<S, String>,
{
    let WorkerArgs { shared, allocator, feed, shard_keys, make_shard, deliveries } = args;
    let mut worker = Worker::new(timely::WorkerConfig::default(), allocator, None);

    let mut shards = Vec::new();
    for (shard, key) in shard_keys.iter().enumerate() {
        if key % worker.peers() as u64 != worker.index() as u64 {
            continue;
        }
        match guarded(|| make_shard(shard)) {
            Ok(made) => shards.push((shard, made)),
            Err(reason) => {
                shared.fail_at(Place::Shard { shard, batch: None }, reason);
                return Ok(());
            }
        }
    }

    let ended = Rc::new(Cell::new(false));
    let (input, probe) = worker.dataflow::<u64, _, _>(|scope| {
        let (input, batches) = scope.new_input::<Feed>();
        let pieces = run_shards(batches, shards, Arc::clone(&shared));
        let (probe, _) = collect(pieces, Rc::clone(&ended), deliveries, Arc::clone(&shared)).probe();
        (input, probe)
    });

    let mut input = Some(input);
    let mut done = 0;
    while !shared.is_aborted() {
        if let Some(handle) = input.as_mut() {
            match feed.try_recv() {
                Ok(Feed::Batch(batch)) => {
                    let next = batch.number + 1;
                    handle.send(Feed::Batch(batch));
                    handle.advance_to(next);
                }
                Ok(Feed::End) => {
                    ended.set(true);
                    handle.send(Feed::End);
                    input = None;
                }
                // Empty, or the dispatcher has failed: it wakes this thread in either case.
                Err(_) => {}
            }
        }
        if !worker.step_or_park(Some(PARK_MAX)) {
            shared.set_done(u64::MAX);
            return Ok(());
        }
        let reached = probe.with_frontier(|frontier| frontier.first().copied()).unwrap_or(u64::MAX);
        if reached > done {
            done = reached;
            shared.set_done(reached);
        }
    }
    Ok(())
}

/// Takes every batch through the shards of this worker.
fn run_shards<'scope, S: Shard>(
    batches: StreamVec<'scope, u64, Feed>,
    mut shards: Vec<(usize, S)>,
    shared: Arc<Shared>,
) -> StreamVec<'scope, u64, Piece<S::Output>> {
    // Once a shard has failed its capability is kept, so that no sink ever takes its batch for complete.
    let mut failed: Option<Capability<u64>> = None;
    batches.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "shards", |_, _| {
        move |input, output| {
            input.for_each(|time, feeds| {
                for feed in feeds.drain(..) {
                    if failed.is_some() || shared.is_aborted() {
                        failed.get_or_insert_with(|| time.retain(0));
                        continue;
                    }
                    for (shard, state) in &mut shards {
                        let mut outputs = Vec::new();
                        let (place, result) = match &feed {
                            Feed::Batch(batch) => (
                                Place::Shard { shard: *shard, batch: Some(batch.number) },
                                guarded(|| state.on_batch(batch, &mut outputs)),
                            ),
                            Feed::End => (
                                Place::Shard { shard: *shard, batch: None },
                                guarded(|| state.finish(&mut outputs)),
                            ),
                        };
                        if let Err(reason) = result {
                            shared.fail_at(place, reason);
                            failed = Some(time.retain(0));
                            break;
                        }
                        if !outputs.is_empty() {
                            output.session(&time).give(Piece { shard: *shard as u32, outputs });
                        }
                    }
                }
            });
        }
    })
}

/// Gathers the pieces of all workers and hands them on in order. A timestamp is held until its pieces are handed on, so
/// that a slow sink holds back the window.
fn collect<'scope, Output>(
    pieces: StreamVec<'scope, u64, Piece<Output>>,
    ended: Rc<Cell<bool>>,
    deliveries: Option<SyncSender<Delivery<Output>>>,
    shared: Arc<Shared>,
) -> StreamVec<'scope, u64, ()>
where
    Output: Serialize + serde::de::DeserializeOwned + Clone + Send + 'static,
{
    let mut waiting: BTreeMap<u64, (Capability<u64>, Vec<Piece<Output>>)> = BTreeMap::new();
    let mut handed_on = 0;
    let to_first = Exchange::new(|_: &Piece<Output>| 0);
    pieces.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(to_first, "sink", |_, _| {
        move |(input, frontier), _output| {
            input.for_each(|time, arrived| {
                let slot = waiting.entry(*time.time()).or_insert_with(|| (time.retain(0), Vec::new()));
                slot.1.append(arrived);
            });
            let Some(deliveries) = &deliveries else { return };
            let frontier = frontier.frontier().first().copied();
            // Empty when all inputs have ended, this worker's too.
            let reached = frontier.or(ended.get().then_some(u64::MAX)).unwrap_or(0);
            if reached <= handed_on || shared.is_aborted() {
                return;
            }
            let later = waiting.split_off(&reached);
            let ready = std::mem::replace(&mut waiting, later);
            let mut capabilities = Vec::with_capacity(ready.len());
            let mut pieces = Vec::new();
            for (capability, mut made) in ready.into_values() {
                made.sort_by_key(|piece| piece.shard);
                pieces.extend(made.into_iter().map(|piece| (piece.shard as usize, piece.outputs)));
                capabilities.push(capability);
            }
            handed_on = reached;
            if !pieces.is_empty() {
                // Fails only when the caller has given up, and then the run has failed.
                let _ = deliveries.send(pieces);
            }
            drop(capabilities);
        }
    })
}
