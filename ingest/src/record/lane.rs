//! One partition of a topic: what is gathered of it, and how it is written.

use std::ops::Range;
use std::time::{Duration, Instant};

use tradeflow_bus::record::MarketRecord;
use tradeflow_bus::{Bus, Position, Topic};
use tradeflow_model::Timestamp;
use tradeflow_storage::catalog::{Catalog, CatalogAppender, CatalogError, NewRows, SeriesKey};

use super::archive::{self, Archive};
use super::block::{Block, Kind, SeriesRows};
use super::{RecorderConfig, RecorderError, RecorderStatus, add};

pub(super) struct Lane {
    pub(super) topic: Topic,
    pub(super) partition: u32,
    kind: Kind,
    /// The name of this place in footers of the catalog.
    place: String,
    archive: Archive,
    block: Block,
    /// The first offset that is not written, and the next to be read.
    pub(super) written: u64,
    pub(super) next: u64,
    /// When the oldest record was read that is not written.
    pub(super) since: Option<Timestamp>,
    /// The series that came, to be folded.
    series: Vec<SeriesKey>,
}

impl Lane {
    /// Finds out where to go on: where `recorded/` ends; without that, at the committed position; without that, at the
    /// first record that is kept.
    pub(super) fn open(
        config: &RecorderConfig,
        bus: &dyn Bus,
        catalog: &Catalog,
        kind: Kind,
        topic: &Topic,
        partition: u32,
        status: &RecorderStatus,
    ) -> Result<Self, RecorderError> {
        let folder = archive::folder(&config.origin, topic, partition);
        let tail = archive::tail(catalog, kind, &folder)?;
        let bounds = bus.bounds(topic, partition)?;
        let start = match &tail {
            Some(tail) => {
                let other = |why| RecorderError::OtherBus {
                    topic: topic.clone(),
                    partition,
                    origin: config.origin.clone(),
                    why,
                };
                check(bus, kind, topic, partition, tail, &bounds).map_err(other)?;
                tail.through
            }
            None => bus.committed(&config.group, topic, partition)?.unwrap_or(bounds.start),
        };
        if start < bounds.start && tail.is_some() {
            add(&status.lost, bounds.start - start);
            status.error(&format!(
                "{topic}/{partition}: {} records were gone before they were recorded: the recorder was away for longer \
                 than the topic's retention",
                bounds.start - start
            ));
        }
        let start = start.max(bounds.start);
        Ok(Self {
            topic: topic.clone(),
            partition,
            kind,
            place: format!("{}/{topic}/{partition}", config.origin),
            archive: Archive::new(folder, kind, tail.as_ref()),
            block: Block::new(kind),
            written: start,
            next: start,
            since: None,
            series: Vec::new(),
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.block.rows()
    }

    pub(super) fn position(&self, offset: u64) -> Position {
        Position { topic: self.topic.clone(), partition: self.partition, offset }
    }

    pub(super) fn push(&mut self, offset: u64, record: &MarketRecord, now: Timestamp) {
        self.block.push(offset, record);
        self.next = offset + 1;
        self.since.get_or_insert(now);
    }

    /// Passes over offsets that hold nothing to be recorded.
    pub(super) fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// After a gap: what was read before it has been written.
    pub(super) fn jump_to(&mut self, next: u64) {
        (self.written, self.next) = (next, next);
    }

    /// Writes what was gathered. When it fails, the same call again completes it.
    pub(super) fn flush(
        &mut self,
        catalog: &Catalog,
        appender: &mut CatalogAppender,
        status: &RecorderStatus,
    ) -> Result<(), RecorderError> {
        if self.next == self.written {
            return Ok(());
        }
        let series = self.block.series();
        for rows in series.unwrap_or_else(|why| {
            status.error(&format!("{}/{}: {why} is none of ours", self.topic, self.partition));
            Vec::new()
        }) {
            self.append(catalog, appender, status, &rows)?;
        }
        self.archive.append(catalog, appender, &self.block, self.written..self.next)?;
        self.block = Block::new(self.kind);
        (self.written, self.since) = (self.next, None);
        Ok(())
    }

    fn append(
        &mut self,
        catalog: &Catalog,
        appender: &mut CatalogAppender,
        status: &RecorderStatus,
        rows: &SeriesRows,
    ) -> Result<(), RecorderError> {
        let count = rows.offsets.len() as u64;
        let refuse = |why: &dyn std::fmt::Display| {
            add(&status.rows_refused, count);
            status.error(&format!(
                "{}: {why}; {count} rows are kept in recorded/ alone, and not in the series",
                rows.key
            ));
        };
        let instrument = match catalog.instrument(&rows.key.symbol) {
            Ok(Some(instrument)) => instrument,
            Ok(None) => {
                refuse(&CatalogError::NoInstrument { symbol: rows.key.symbol.clone() });
                return Ok(());
            }
            Err(error @ CatalogError::Corrupt { .. }) => {
                refuse(&error);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let scales = (i64::from(instrument.price_scale), i64::from(instrument.size_scale));
        if rows.scales != scales {
            refuse(&format!(
                "the records have {} and {} decimals, the instrument in the catalog {} and {}: make them the same",
                rows.scales.0, rows.scales.1, scales.0, scales.1
            ));
            return Ok(());
        }
        let new = NewRows {
            key: &rows.key,
            source: &rows.source,
            rows: &rows.columns,
            offsets: &rows.offsets,
            place: &self.place,
            through: self.next,
        };
        match appender.append(&new) {
            Ok(report) => {
                add(&status.rows, report.added);
                add(&status.rows_there, report.there);
                add(&status.conflicts, report.conflicts);
                if !self.series.contains(&rows.key) {
                    self.series.push(rows.key.clone());
                }
            }
            Err(error @ CatalogError::Corrupt { .. }) => {
                refuse(&format!("{error}: restore the file from a copy, or delete it"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Folds partitions of the catalog whose time was over before `before`, until the deadline. What was gathered must
    /// have been written. Returns how many.
    pub(super) fn fold(
        &self,
        catalog: &Catalog,
        before: Timestamp,
        deadline: Instant,
    ) -> Result<u64, CatalogError> {
        let mut folded = 0;
        for key in &self.series {
            for partition in catalog.unfolded(key)? {
                if Instant::now() >= deadline {
                    return Ok(folded);
                }
                if partition.bounds().1 <= before {
                    let mut appender = catalog.appender()?;
                    folded += u64::from(appender.fold(key, partition, &self.place, self.written)?);
                }
            }
        }
        Ok(folded)
    }
}

/// Whether the bus holds what was recorded of it.
fn check(
    bus: &dyn Bus,
    kind: Kind,
    topic: &Topic,
    partition: u32,
    tail: &archive::Tail,
    bounds: &Range<u64>,
) -> Result<(), String> {
    if tail.through > bounds.end {
        return Err(format!("it ends at {}, but was recorded up to {}", bounds.end, tail.through));
    }
    let Some((offset, recorded)) = tail.last.as_ref().filter(|(offset, _)| bounds.contains(offset)) else {
        return Ok(());
    };
    let from = Position { topic: topic.clone(), partition, offset: *offset };
    let read = bus.reader(&[from]).and_then(|mut reader| reader.poll(1, Duration::from_secs(5)));
    let read = read.map_err(|error| error.to_string())?;
    let there = read.first().filter(|stored| stored.offset == *offset);
    let there = there.and_then(|stored| kind.decode(stored.value.as_deref().unwrap_or_default()).ok());
    if there.as_ref() == Some(recorded) {
        Ok(())
    } else {
        Err(format!("its record at {offset} is another than was recorded"))
    }
}
