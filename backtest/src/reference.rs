//! The plain synchronous driver: one loop, one thread. What [`crate::dataflow`] does is defined by this.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tradeflow_model::market::MarketBatch;

use crate::dataflow::error::guarded;
use crate::dataflow::{DataflowError, Job, Outcome, Place, Shard};

/// Runs the job: every batch through every shard, in the order of their indices.
///
/// # Errors
/// An error or panic of the source, a shard or the sink, with its place.
pub fn run<S, I, Source, Make, Sink, Progress>(
    job: Job<Source, Make, Sink, Progress>,
) -> Result<Outcome, DataflowError>
where
    S: Shard,
    Source: FnOnce() -> Result<I, String>,
    I: Iterator<Item = Result<Arc<MarketBatch>, String>>,
    Make: Fn(usize) -> Result<S, String>,
    Sink: FnMut(usize, Vec<S::Output>) -> Result<(), String>,
    Progress: FnMut(u64, u64),
{
    let Job { shard_keys, source, make_shard, mut sink, mut progress, stop, .. } = job;
    let failed = |place, reason| DataflowError::Failed { process: 0, place, reason };

    let mut shards = Vec::with_capacity(shard_keys.len());
    for shard in 0..shard_keys.len() {
        let made = guarded(|| make_shard(shard));
        shards.push(made.map_err(|reason| failed(Place::Shard { shard, batch: None }, reason))?);
    }
    let mut batches = guarded(source).map_err(|reason| failed(Place::Source, reason))?;
    let mut deliver = |shard: usize, made: Vec<S::Output>| match made.is_empty() {
        true => Ok(()),
        false => guarded(|| sink(shard, made)).map_err(|reason| failed(Place::Sink { shard }, reason)),
    };

    let mut outcome = Outcome { batches: 0, rows: 0, stopped: false };
    while let Some(batch) =
        guarded(|| batches.next().transpose()).map_err(|reason| failed(Place::Source, reason))?
    {
        if stop.load(Ordering::Relaxed) {
            outcome.stopped = true;
            break;
        }
        check_number(&batch, outcome.batches).map_err(|reason| failed(Place::Source, reason))?;
        for (shard, state) in shards.iter_mut().enumerate() {
            let mut made = Vec::new();
            let place = Place::Shard { shard, batch: Some(batch.number) };
            guarded(|| state.on_batch(&batch, &mut made)).map_err(|reason| failed(place, reason))?;
            deliver(shard, made)?;
        }
        outcome.batches += 1;
        outcome.rows += batch.rows();
        progress(outcome.batches, outcome.rows);
    }
    for (shard, state) in shards.iter_mut().enumerate() {
        let mut made = Vec::new();
        let place = Place::Shard { shard, batch: None };
        guarded(|| state.finish(&mut made)).map_err(|reason| failed(place, reason))?;
        deliver(shard, made)?;
    }
    Ok(outcome)
}

/// Whether the source gave the batch that comes next.
pub(crate) fn check_number(batch: &MarketBatch, expected: u64) -> Result<(), String> {
    match batch.number == expected {
        true => Ok(()),
        false => Err(format!("it gave batch number {} where {expected} comes next", batch.number)),
    }
}
