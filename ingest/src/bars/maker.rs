//! The thread: reads ticks, closes bars, publishes them, remembers its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tradeflow_bus::record::{BarsRecord, QuotesRecord, RecordError, TradesRecord};
use tradeflow_bus::{
    Bus, BusError, Durability, Exclusive, GroupEvent, Membership, NewRecord, Position, Reader, Stored, Topic,
    Topics, partition_of,
};
use tradeflow_model::Timestamp;
use tradeflow_model::market::Columns;

use super::series::{Counts, Series};
use super::{BarError, BarMakerConfig, BarStatus, add};
use crate::clock::Clock;

/// Records of one poll.
const POLL_RECORDS: usize = 1_024;
/// How long a poll waits for ticks: bars are closed by the clock this much after their grace at most.
const POLL_WAIT: Duration = Duration::from_millis(20);
/// How long a read gathers what comes; a bar is so much later.
const GATHER: Duration = Duration::from_millis(5);
/// How often places are committed. Older ones only mean that more is read again after a restart.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Wait before the next try after an error of the bus.
const RETRY_WAIT: Duration = Duration::from_millis(200);
/// A partition without a record for so long has been read to its end, whatever its bounds say: offsets may leave gaps.
const QUIET: Duration = Duration::from_secs(1);

pub(super) struct Maker {
    config: BarMakerConfig,
    bus: Arc<dyn Bus>,
    topics: Topics,
    clock: Arc<dyn Clock>,
    status: Arc<BarStatus>,
    stop: CancellationToken,
    partitions: u32,
}

/// What is owned of one partition of the three topics.
struct Owned {
    series: Vec<Series>,
    bars: Box<dyn Exclusive>,
    /// Where each series' last record lies on the topic of bars; from the oldest of them on it is read after a restart.
    last_at: Vec<Option<u64>>,
    bars_start: u64,
    trades: Place,
    quotes: Place,
    /// Bars that wait to be written.
    pending: Vec<BarsRecord>,
}

/// How far a topic's partition has been read.
struct Place {
    next: u64,
    since: Instant,
}

impl Maker {
    pub(super) fn new(
        config: BarMakerConfig,
        bus: Arc<dyn Bus>,
        topics: Topics,
        clock: Arc<dyn Clock>,
        status: Arc<BarStatus>,
        stop: CancellationToken,
    ) -> Result<Self, BarError> {
        for spec in &config.series {
            Series::new(spec.clone())
                .map_err(|source| BarError::Series { symbol: spec.instrument.symbol.clone(), source })?;
        }
        let partitions = bus.partitions(&topics.trades)?;
        for topic in [&topics.quotes, &topics.bars] {
            let there = bus.partitions(topic)?;
            if there != partitions {
                return Err(BusError::Partitions { topic: topic.clone(), there, wanted: partitions }.into());
            }
        }
        Ok(Self { config, bus, topics, clock, status, stop, partitions })
    }

    /// Until it is stopped; after an error from what the bus holds.
    pub(super) fn run(self) {
        while !self.stop.is_cancelled() {
            if let Err(error) = self.session() {
                self.status.failing.store(true, Ordering::Relaxed);
                self.status.error(&error);
                self.pause();
            }
        }
    }

    fn pause(&self) {
        let until = Instant::now() + RETRY_WAIT;
        while Instant::now() < until && !self.stop.is_cancelled() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn session(&self) -> Result<(), BusError> {
        let mut membership = self.bus.join(&self.config.group, &self.topics.trades)?;
        let mut reader = self.bus.gathering_reader(&[], GATHER)?;
        let mut owned: BTreeMap<u32, Owned> = BTreeMap::new();
        let mut committed = Instant::now();
        while !self.stop.is_cancelled() {
            self.regroup(membership.as_mut(), reader.as_mut(), &mut owned)?;
            match reader.poll(POLL_RECORDS, POLL_WAIT) {
                Ok(records) => self.take(records, &mut owned),
                Err(BusError::Trimmed { topic, partition, wanted, first }) => {
                    self.skip(&topic, partition, wanted, first, &mut owned);
                    reader.set(&Position { topic, partition, offset: first })?;
                }
                Err(error) => return Err(error),
            }
            self.close_by_clock(&mut owned)?;
            self.publish(&mut owned, reader.as_mut())?;
            self.status.failing.store(false, Ordering::Relaxed);
            if committed.elapsed() >= COMMIT_EVERY {
                self.commit(&owned)?;
                committed = Instant::now();
            }
        }
        self.commit(&owned)
    }

    fn regroup(
        &self,
        membership: &mut dyn Membership,
        reader: &mut dyn Reader,
        owned: &mut BTreeMap<u32, Owned>,
    ) -> Result<(), BusError> {
        for event in membership.poll(Duration::ZERO)? {
            match event {
                GroupEvent::Assigned(partitions) => {
                    for partition in partitions {
                        // Each takes its time on Kafka, and the end of a node waits for it.
                        if self.stop.is_cancelled() {
                            return Ok(());
                        }
                        if let Some(mine) = self.recover(partition)? {
                            for (topic, place) in
                                [(&self.topics.trades, &mine.trades), (&self.topics.quotes, &mine.quotes)]
                            {
                                let topic = topic.clone();
                                reader.set(&Position { topic, partition, offset: place.next })?;
                            }
                            owned.insert(partition, mine);
                        }
                    }
                }
                GroupEvent::Revoked(partitions) => {
                    self.commit(owned)?;
                    partitions.into_iter().for_each(|partition| self.let_go(partition, reader, owned));
                }
                GroupEvent::Lost(partitions) => {
                    partitions.into_iter().for_each(|partition| self.let_go(partition, reader, owned));
                }
            }
        }
        Ok(())
    }

    fn let_go(&self, partition: u32, reader: &mut dyn Reader, owned: &mut BTreeMap<u32, Owned>) {
        reader.remove(&self.topics.trades, partition);
        reader.remove(&self.topics.quotes, partition);
        owned.remove(&partition);
    }

    /// Takes a partition over: claims its bars, and learns from the last ones where to go on. `None` when no series
    /// lies in it.
    fn recover(&self, partition: u32) -> Result<Option<Owned>, BusError> {
        let lies_here = |symbol: &str| partition_of(symbol.as_bytes(), self.partitions) == partition;
        let specs = self.config.series.iter().filter(|spec| lies_here(spec.instrument.symbol.as_str()));
        let mut series: Vec<Series> = specs.filter_map(|spec| Series::new(spec.clone()).ok()).collect();
        if series.is_empty() {
            return Ok(None);
        }
        // From here on nobody else's bars come after those that are read.
        let bars = self.bus.claim(&self.topics.bars, partition, Durability::Process)?;
        let start = |topic: &Topic| -> Result<u64, BusError> {
            let first = self.bus.bounds(topic, partition)?.start;
            Ok(self.bus.committed(&self.config.group, topic, partition)?.unwrap_or(first).max(first))
        };
        let mut last_at: Vec<Option<u64>> = vec![None; series.len()];
        let bars_start = start(&self.topics.bars)?;
        let topic = self.topics.bars.clone();
        let mut scan = self.bus.scan(&Position { topic, partition, offset: bars_start })?;
        loop {
            let records = scan.next(POLL_RECORDS)?;
            if records.is_empty() {
                break;
            }
            for stored in records {
                // Others' bars, and what can't be read, say nothing about our place.
                let Ok(record) = BarsRecord::decode(stored.value.as_deref().unwrap_or_default()) else {
                    continue;
                };
                for (series, last) in series.iter_mut().zip(&mut last_at) {
                    if series.is_of(&record) {
                        series.published(&record);
                        *last = Some(stored.offset);
                    }
                }
            }
        }
        let place = |next| Place { next, since: Instant::now() };
        Ok(Some(Owned {
            bars,
            last_at,
            bars_start,
            trades: place(start(&self.topics.trades)?),
            quotes: place(start(&self.topics.quotes)?),
            series,
            pending: Vec::new(),
        }))
    }

    fn take(&self, records: Vec<Stored>, owned: &mut BTreeMap<u32, Owned>) {
        for stored in records {
            let Some(mine) = owned.get_mut(&stored.partition) else { continue };
            let is_quotes = stored.topic == self.topics.quotes;
            let place = if is_quotes { &mut mine.quotes } else { &mut mine.trades };
            *place = Place { next: stored.offset + 1, since: Instant::now() };
            let ticks = match Ticks::of(&stored, is_quotes) {
                Ok(ticks) => ticks,
                Err(error) => {
                    add(&self.status.bad, 1);
                    self.status.error(&format!("{}/{}: {error}", stored.topic, stored.partition));
                    continue;
                }
            };
            let mut sums = Counts::default();
            let wanted = mine.series.iter_mut().filter(|series| {
                series.of_quotes() == is_quotes && series.spec.instrument.symbol == ticks.symbol
            });
            for series in wanted {
                let instrument = &series.spec.instrument;
                if ticks.scales != (instrument.price_scale, instrument.size_scale) {
                    add(&self.status.bad, 1);
                    self.status.error(&format!(
                        "{}: ticks at {} and {} decimals, but the instrument has {} and {}: they make no bars",
                        ticks.symbol,
                        ticks.scales.0,
                        ticks.scales.1,
                        instrument.price_scale,
                        instrument.size_scale
                    ));
                    continue;
                }
                let counts = series.take(stored.offset, &ticks.source, &ticks.rows, &mut mine.pending);
                sums.ticks = sums.ticks.max(counts.ticks);
                sums.late += counts.late;
                sums.outside += counts.outside;
                sums.bad += counts.bad;
            }
            add(&self.status.ticks, sums.ticks);
            add(&self.status.late, sums.late);
            add(&self.status.outside, sums.outside);
            add(&self.status.bad, sums.bad);
        }
    }

    /// Retention was faster than we: unfinished bars have lost ticks.
    fn skip(&self, topic: &Topic, partition: u32, wanted: u64, first: u64, owned: &mut BTreeMap<u32, Owned>) {
        let error = BusError::Trimmed { topic: topic.clone(), partition, wanted, first };
        self.status.error(&error);
        let Some(mine) = owned.get_mut(&partition) else { return };
        let is_quotes = *topic == self.topics.quotes;
        for series in mine.series.iter_mut().filter(|series| series.of_quotes() == is_quotes) {
            add(&self.status.gaps, u64::from(series.forget()));
        }
        let place = if is_quotes { &mut mine.quotes } else { &mut mine.trades };
        *place = Place { next: first, since: Instant::now() };
    }

    fn close_by_clock(&self, owned: &mut BTreeMap<u32, Owned>) -> Result<(), BusError> {
        // The time is taken before the ends of the topics: what comes after both is late.
        let grace = i64::try_from(self.config.grace.as_nanos()).unwrap_or(i64::MAX);
        let due = self.clock.now().saturating_add(-grace);
        for (partition, mine) in owned {
            for is_quotes in [false, true] {
                let is_due = |series: &Series| {
                    series.of_quotes() == is_quotes && series.ends().is_some_and(|end| end <= due)
                };
                if !mine.series.iter().any(is_due) {
                    continue;
                }
                let (topic, place) = match is_quotes {
                    true => (&self.topics.quotes, &mine.quotes),
                    false => (&self.topics.trades, &mine.trades),
                };
                let end = self.bus.bounds(topic, *partition)?.end;
                if place.next < end && place.since.elapsed() < QUIET {
                    continue;
                }
                for series in mine.series.iter_mut().filter(|series| is_due(series)) {
                    series.advance(due, place.next, &mut mine.pending);
                }
            }
        }
        Ok(())
    }

    /// Writes what is pending; tries again until it is written, lost to another maker, or the end.
    fn publish(&self, owned: &mut BTreeMap<u32, Owned>, reader: &mut dyn Reader) -> Result<(), BusError> {
        let with_bars: Vec<u32> = owned
            .iter()
            .filter(|(_, mine)| !mine.pending.is_empty())
            .map(|(partition, _)| *partition)
            .collect();
        for partition in with_bars {
            let Some(mine) = owned.get_mut(&partition) else { continue };
            let bars: usize = mine.pending.iter().map(|record| record.ts_event.len()).sum();
            let records = mine.pending.iter().map(|record| self.new_record(partition, record)).collect();
            match mine.bars.append(records).wait() {
                Ok(written) => {
                    add(&self.status.bars, bars as u64);
                    for (record, (_, offset)) in mine.pending.drain(..).zip(written.places) {
                        let index = mine.series.iter().position(|series| series.is_of(&record));
                        index.into_iter().for_each(|index| mine.last_at[index] = Some(offset));
                    }
                }
                Err(error @ BusError::Fenced { .. }) => {
                    self.status.error(&error);
                    self.let_go(partition, reader, owned);
                }
                // Whether it was written is known when the topic is read again: begin from what the bus holds.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn new_record(&self, partition: u32, record: &BarsRecord) -> NewRecord {
        NewRecord {
            topic: self.topics.bars.clone(),
            partition,
            key: Bytes::copy_from_slice(record.symbol.as_str().as_bytes()),
            value: Some(record.encode().into()),
            ts: Timestamp::from_nanos(record.ts_event.last().copied().unwrap_or_default()),
        }
    }

    fn commit(&self, owned: &BTreeMap<u32, Owned>) -> Result<(), BusError> {
        let mut positions = Vec::new();
        for (partition, mine) in owned {
            let mut add = |topic: &Topic, offset| {
                positions.push(Position { topic: topic.clone(), partition: *partition, offset });
            };
            for (topic, place, is_quotes) in
                [(&self.topics.trades, &mine.trades, false), (&self.topics.quotes, &mine.quotes, true)]
            {
                let series = mine.series.iter().filter(|series| series.of_quotes() == is_quotes);
                let needs = series.filter_map(Series::needs).min().unwrap_or(place.next);
                add(topic, needs.min(place.next));
            }
            add(&self.topics.bars, mine.last_at.iter().flatten().min().copied().unwrap_or(mine.bars_start));
        }
        if positions.is_empty() { Ok(()) } else { self.bus.commit(&self.config.group, &positions) }
    }
}

/// Ticks of a record.
struct Ticks {
    symbol: tradeflow_model::Symbol,
    source: String,
    scales: (u8, u8),
    rows: Columns,
}

impl Ticks {
    fn of(stored: &Stored, is_quotes: bool) -> Result<Self, RecordError> {
        let bytes = stored.value.as_deref().unwrap_or_default();
        if is_quotes {
            let record = QuotesRecord::decode(bytes)?;
            let (symbol, source) = (record.symbol.clone(), record.source.clone());
            let scales = (record.price_scale, record.size_scale);
            return Ok(Self { symbol, source, scales, rows: record.into_columns() });
        }
        let record = TradesRecord::decode(bytes)?;
        let (symbol, source) = (record.symbol.clone(), record.source.clone());
        let scales = (record.price_scale, record.size_scale);
        Ok(Self { symbol, source, scales, rows: record.into_columns() })
    }
}
