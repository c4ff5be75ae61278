//! A publish and a journal append beside the store's own append of the same bytes, in turns, so that a busy moment hits
//! all of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use serde::Serialize;
use tradeflow_bus::record::TradesRecord;
use tradeflow_bus::{Durability, NewRecord, Stored, partition_of};
use tradeflow_live::Decoder;
use tradeflow_live::host::{CellHost, Pending, Sources};
use tradeflow_model::market::{Aggressor, TradeColumns};
use tradeflow_model::{InstrumentId, Price, Qty, SeriesId, Symbol, Timestamp, Trade};

use crate::market;
use crate::rig::{PARTITIONS, sources};

/// Appends in a turn.
const TURN: usize = 2_000;
/// Records in a batch.
const BATCH: usize = 50;

/// Microseconds for a record, the median of all turns.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Bytes of a market record of one trade, key included.
    pub record_bytes: usize,
    /// Bytes of a journal entry of one trade, key included.
    pub entry_bytes: usize,
    pub turns: usize,
    /// One record a call.
    pub publish: Ratio,
    /// 50 records a call, beside a batch of the store.
    pub publish_batch: Ratio,
    /// One entry a call, made and written.
    pub journal: Ratio,
    /// The machine's load before and after.
    pub machine_load: [f64; 2],
}

/// Ours beside the store's.
#[derive(Debug, Serialize)]
pub struct Ratio {
    pub store_us: f64,
    pub ours_us: f64,
    /// The median of the turns' ratios.
    pub ratio: f64,
}

/// A market record of one trade.
pub fn trade_record(sources: &Sources, number: u64, ts: Timestamp) -> anyhow::Result<NewRecord> {
    let mut rows = TradeColumns::default();
    rows.push(&Trade {
        series: SeriesId(0),
        instrument: InstrumentId(0),
        ts_event: ts,
        ts_init: ts,
        price: Price::from_raw(market::price(0, number) as i64),
        qty: Qty::from_raw(market::QTY as i64),
        aggressor: Aggressor::Buyer,
    });
    let key = Bytes::from(market::symbol(0));
    let record = TradesRecord::new(Symbol::new(market::symbol(0))?, "binance", market::SCALES, rows);
    Ok(NewRecord {
        topic: sources.topics.trades.clone(),
        partition: partition_of(&key, PARTITIONS),
        key,
        value: Some(record.encode().into()),
        ts,
    })
}

/// The store by itself.
struct Raw {
    db: Database,
    keyspace: Keyspace,
    next: u64,
}

impl Raw {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let db = Database::builder(folder).open()?;
        let keyspace = db.keyspace("raw", KeyspaceCreateOptions::default)?;
        Ok(Self { db, keyspace, next: 0 })
    }

    fn one(&mut self, value: &[u8]) -> anyhow::Result<()> {
        self.next += 1;
        Ok(self.keyspace.insert(self.next.to_be_bytes(), value)?)
    }

    fn batch(&mut self, value: &[u8]) -> anyhow::Result<()> {
        let mut batch = self.db.batch();
        for _ in 0..BATCH {
            self.next += 1;
            batch.insert(&self.keyspace, self.next.to_be_bytes(), value);
        }
        Ok(batch.commit()?)
    }
}

/// Measures.
pub fn run(turns: usize) -> anyhow::Result<Report> {
    let load_before = crate::machine::load();
    let (ours, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let sources = sources(ours.path(), None, PARTITIONS)?;
    let mut raw = Raw::open(theirs.path())?;
    let now = tradeflow_bus::Clock::now(&tradeflow_bus::SystemClock);
    let record = trade_record(&sources, 0, now)?;
    let bytes = |record: &NewRecord| {
        let mut bytes = record.key.to_vec();
        bytes.extend_from_slice(record.value.as_deref().unwrap_or_default());
        bytes
    };
    let record_bytes = bytes(&record);

    let plan = Arc::new(market::plan(1, 1, Durability::Process, now)?);
    let mut host = CellHost::new(plan.clone(), 0, sources.topics.clone(), PARTITIONS, 0)?;
    let stored = Stored {
        topic: record.topic.clone(),
        partition: record.partition,
        offset: 0,
        key: record.key.clone(),
        value: record.value.clone(),
        ts: now,
    };
    let chunk = Decoder::new(&plan, &sources.topics).chunk(&stored).map_err(anyhow::Error::msg)?;
    let chunk = chunk.ok_or_else(|| anyhow::anyhow!("the plan follows the record"))?;
    let partition = plan.journal_partition(0, PARTITIONS);
    let mut writer = sources.bus.claim(&sources.topics.journal, partition, Durability::Process)?;
    let mut offset = 0;
    let mut entry = || {
        offset += 1;
        host.offer(Pending::Market(Arc::new(tradeflow_live::Chunk { offset, ..chunk.clone() })));
        host.take().and_then(|_| host.entry()).ok_or_else(|| anyhow::anyhow!("a chunk waits"))
    };
    let entry_bytes = bytes(&entry()?);

    let (mut one, mut batch, mut journal) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..turns {
        let store = timed(TURN, || raw.one(&record_bytes))?;
        let bus = timed(TURN, || {
            sources.bus.publish(vec![record.clone()], Durability::Process).wait()?;
            Ok(())
        })?;
        one.push((store, bus));
        let store = timed(TURN / BATCH, || raw.batch(&record_bytes))? / BATCH as f64;
        let bus = timed(TURN / BATCH, || {
            sources.bus.publish(vec![record.clone(); BATCH], Durability::Process).wait()?;
            Ok(())
        })?;
        batch.push((store, bus / BATCH as f64));
        let store = timed(TURN, || raw.one(&entry_bytes))?;
        let append = timed(TURN, || {
            writer.append(vec![entry()?]).wait()?;
            Ok(())
        })?;
        journal.push((store, append));
    }
    Ok(Report {
        record_bytes: record_bytes.len(),
        entry_bytes: entry_bytes.len(),
        turns,
        publish: ratio(&one),
        publish_batch: ratio(&batch),
        journal: ratio(&journal),
        machine_load: [load_before, crate::machine::load()],
    })
}

/// Microseconds for one of so many.
fn timed(count: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    for _ in 0..count {
        work()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / count as f64)
}

fn ratio(turns: &[(f64, f64)]) -> Ratio {
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Ratio {
        store_us: median(|turn| turn.0),
        ours_us: median(|turn| turn.1),
        ratio: median(|turn| turn.1 / turn.0),
    }
}
