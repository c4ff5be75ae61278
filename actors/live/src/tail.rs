//! What the bus has of a series behind the end of the catalog: the same join as a warm-up's, for whoever wants to see the
//! newest rows.

use std::time::Duration;

use tradeflow_bus::{BusError, Position, Topic, partition_of};
use tradeflow_model::{SeriesId, Timestamp};

use crate::LiveError;
use crate::chunk::{Chunk, Decoder, MarketTopic};
use crate::host::Sources;
use crate::journal::MarketReader;
use crate::session::SessionPlan;

/// Records lie in the order in which they came; their times may be out of it by so much, in nanoseconds.
const DISORDER: i64 = 60 * 1_000_000_000;
/// A place is found to so many records.
const NEAR: u64 = 1024;
/// How long to wait for a record that is known to be there.
const PATIENCE: Duration = Duration::from_secs(1);

/// Hands over the rows of a series that begin at `after` or later, in the order of the bus, as far as it keeps them and up
/// to its end as it is now. `after` is right behind the last row of the catalog: there is no gap and no overlap.
///
/// # Errors
/// Those of the bus.
pub fn tail(
    sources: &Sources,
    plan: &SessionPlan,
    series: SeriesId,
    after: Timestamp,
    mut take: impl FnMut(Chunk),
) -> Result<(), LiveError> {
    let of = &plan.run.series[series.index()];
    let Some(market) = MarketTopic::of(of.kind) else { return Ok(()) };
    let topic = market.topic(&sources.topics);
    let key = plan.symbol(of.instrument).as_str().as_bytes();
    let partition = partition_of(key, sources.bus.partitions(topic)?);
    let kept = sources.bus.bounds(topic, partition)?;
    let first = near(sources, topic, partition, kept.clone(), after.saturating_add(-DISORDER))?;
    let mut reader = MarketReader::new(sources.bus.clone(), sources.topics.clone(), None);
    let decoder = Decoder::new(plan, &sources.topics);
    reader.until(&decoder, market, partition, (first, kept.end), |chunk| {
        if chunk.series == series
            && let Some(chunk) = chunk.since(after)
        {
            take(chunk);
        }
        Ok(())
    })
}

/// A place before the first record of this time, and not far from it.
fn near(
    sources: &Sources,
    topic: &Topic,
    partition: u32,
    kept: std::ops::Range<u64>,
    time: Timestamp,
) -> Result<u64, LiveError> {
    let (mut low, mut high) = (kept.start, kept.end);
    if high.saturating_sub(low) <= NEAR {
        return Ok(low);
    }
    let at = |offset| Position { topic: topic.clone(), partition, offset };
    let mut reader = sources.bus.reader(&[at(low)])?;
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        reader.set(&at(middle))?;
        match reader.poll(1, PATIENCE) {
            Ok(records) if records.first().is_some_and(|record| record.ts < time) => low = middle,
            Ok(_) => high = middle,
            // Retention was faster.
            Err(BusError::Trimmed { first, .. }) => low = first.min(high),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(low)
}
