//! The records in the order of the bus, kept in `recorded/` of the catalog: written by the recorder, read back by
//! offset.
//!
//! ```text
//! recorded/<origin>/<topic>/partition=<n>/<first offset, 20 digits>.parquet
//! ```
//!
//! A segment covers the offsets from the one in its name to the one in its footer. Segments of like size are joined, so
//! that a record is rewritten a few times at most; a segment that another holds already is passed over by its offsets.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tradeflow_bus::Topic;
use tradeflow_bus::record::MarketRecord;
use tradeflow_storage::catalog::{Catalog, CatalogAppender, CatalogError};

use super::block::{Block, Kind};
use super::segment;

/// Segments up to so many rows are joined with any that follow.
const ROWS_SMALL: usize = 1 << 13;
/// Segments do not grow beyond this by joining.
const ROWS_MAX: usize = 1 << 18;
/// Segments that are kept decoded.
const CACHE_SEGMENTS: usize = 16;
/// How many segments an interrupted join can have left behind: sizes double, so far fewer.
const LEFT_MAX: usize = 16;
/// How often the segments are listed anew for a reader, because one of them was joined after it was listed.
const LISTS_MAX: usize = 20;

/// Why records can't be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordedError {
    /// The recorder did not have them: it was not running, or retention was faster.
    #[error(
        "{topic}/{partition}: offsets {from} to {to} were not recorded: the recorder was not running, or away for \
         longer than the topic's retention"
    )]
    Missing {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: u32,
        /// First offset that is missing.
        from: u64,
        /// The offset after the last.
        to: u64,
    },
    /// A file that was listed is not there: the recorder joined it with others in the meantime, or it was deleted.
    #[error("{path} is gone; restore it from a copy, unless you deleted it yourself")]
    Gone {
        /// Path within the catalog.
        path: String,
    },
    /// A file is not what it should be.
    #[error("{path}: {why}; restore it from a copy, or delete it to go on without its records")]
    Damaged {
        /// Path within the catalog.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Reads recorded market data back by its place on the bus, for as long as the catalog keeps it.
#[derive(Debug, Clone)]
pub struct Recorded {
    catalog: Catalog,
    origin: String,
    /// The segments used last, the last one at the end: readers go through a partition in small steps.
    cache: Arc<Mutex<Vec<Arc<Segment>>>>,
}

#[derive(Debug)]
struct Segment {
    path: String,
    block: Block,
    covered: Range<u64>,
}

impl Recorded {
    /// What was recorded of a bus; `origin` as in [`super::RecorderConfig`].
    pub fn new(catalog: Catalog, origin: &str) -> Self {
        Self { catalog, origin: origin.to_owned(), cache: Arc::default() }
    }

    /// The records at these offsets, as they were on the bus, in its order. Offsets that held none, or a record that
    /// was set aside, are not among them.
    ///
    /// # Errors
    /// When some of the offsets were not recorded, a file is damaged, or the catalog can't be read. Also for a topic
    /// that is none of market data.
    pub fn records(
        &self,
        topic: &Topic,
        partition: u32,
        offsets: Range<u64>,
    ) -> Result<Vec<(u64, MarketRecord)>, RecordedError> {
        listing_anew(|| self.records_of_list(topic, partition, &offsets))
    }

    fn records_of_list(
        &self,
        topic: &Topic,
        partition: u32,
        offsets: &Range<u64>,
    ) -> Result<Vec<(u64, MarketRecord)>, RecordedError> {
        let missing = |from, to| RecordedError::Missing { topic: topic.clone(), partition, from, to };
        let kind = kind_of(topic).ok_or_else(|| missing(offsets.start, offsets.end))?;
        let folder = folder(&self.origin, topic, partition);
        let segments = list(&self.catalog, &folder)?;
        let mut next = offsets.start;
        let mut found = Vec::new();
        while next < offsets.end {
            let Some(segment) = self.segment_of(kind, &segments, next)? else {
                let later = segments.iter().map(|(from, _)| *from).find(|from| *from > next);
                return Err(missing(next, later.unwrap_or(offsets.end).min(offsets.end)));
            };
            let damaged = |why| RecordedError::Damaged { path: segment.path.clone(), why };
            found.extend(segment.block.records(&(next..offsets.end)).map_err(damaged)?);
            next = segment.covered.end;
        }
        Ok(found)
    }

    /// A segment that covers an offset. It is the last that begins before it, unless that was left behind by a join:
    /// then one of those before.
    fn segment_of(
        &self,
        kind: Kind,
        segments: &[(u64, String)],
        offset: u64,
    ) -> Result<Option<Arc<Segment>>, RecordedError> {
        let at = segments.partition_point(|(from, _)| *from <= offset);
        for (_, path) in segments[at.saturating_sub(LEFT_MAX)..at].iter().rev() {
            let segment = self.segment(kind, path, offset)?;
            if segment.covered.contains(&offset) {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }

    /// A segment from the cache, or, where that one is from before it grew, from its file.
    fn segment(&self, kind: Kind, path: &str, offset: u64) -> Result<Arc<Segment>, RecordedError> {
        let mut cache = self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(at) = cache.iter().position(|segment| segment.path == path) {
            let segment = cache.remove(at);
            if segment.covered.contains(&offset) {
                cache.push(Arc::clone(&segment));
                return Ok(segment);
            }
        }
        let (block, covered) = read(&self.catalog, kind, path)?;
        let segment = Arc::new(Segment { path: path.to_owned(), block, covered });
        if cache.len() == CACHE_SEGMENTS {
            cache.remove(0);
        }
        cache.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// The offset up to which a partition was recorded; `None` when nothing of it was.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub fn through(&self, topic: &Topic, partition: u32) -> Result<Option<u64>, RecordedError> {
        let Some(kind) = kind_of(topic) else { return Ok(None) };
        Ok(tail(&self.catalog, kind, &folder(&self.origin, topic, partition))?.map(|tail| tail.through))
    }
}

/// The kind of a topic of market data, under whatever prefix.
fn kind_of(topic: &Topic) -> Option<Kind> {
    let name = topic.as_str();
    let kinds = [("md.trades.v1", Kind::Trades), ("md.quotes.v1", Kind::Quotes), ("md.bars.v1", Kind::Bars)];
    kinds.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, kind)| kind)
}

pub(super) fn folder(origin: &str, topic: &Topic, partition: u32) -> String {
    format!("recorded/{origin}/{topic}/partition={partition}")
}

fn list(catalog: &Catalog, folder: &str) -> Result<Vec<(u64, String)>, CatalogError> {
    let files = catalog.recorded_files(folder)?.into_iter();
    let first = |path: &str| path.rsplit('/').next()?.strip_suffix(".parquet")?.parse().ok();
    Ok(files.filter_map(|(path, _)| Some((first(&path)?, path))).collect())
}

fn read(catalog: &Catalog, kind: Kind, path: &str) -> Result<(Block, Range<u64>), RecordedError> {
    let damaged = |why| RecordedError::Damaged { path: path.to_owned(), why };
    let gone = || RecordedError::Gone { path: path.to_owned() };
    let bytes = catalog.recorded_file(path)?.ok_or_else(gone)?;
    segment::decode(kind, bytes).map_err(damaged)
}

/// The end of a partition's segments.
pub(super) struct Tail {
    /// The offset after the last that is covered.
    pub(super) through: u64,
    /// The last record.
    pub(super) last: Option<(u64, MarketRecord)>,
    /// Rows of the last segments, by their first offset.
    sizes: BTreeMap<u64, usize>,
}

/// Tries again while a segment was joined between the listing and the reading of it.
fn listing_anew<T>(mut read: impl FnMut() -> Result<T, RecordedError>) -> Result<T, RecordedError> {
    for _ in 1..LISTS_MAX {
        match read() {
            Err(RecordedError::Gone { .. }) => {}
            other => return other,
        }
    }
    read()
}

/// Reads the last segments; `None` when there are none.
pub(super) fn tail(catalog: &Catalog, kind: Kind, folder: &str) -> Result<Option<Tail>, RecordedError> {
    listing_anew(|| tail_of_list(catalog, kind, folder))
}

fn tail_of_list(catalog: &Catalog, kind: Kind, folder: &str) -> Result<Option<Tail>, RecordedError> {
    let segments = list(catalog, folder)?;
    let mut tail: Option<Tail> = None;
    let mut rows = 0;
    for (from, path) in segments.iter().rev().take(LEFT_MAX) {
        let (block, covered) = read(catalog, kind, path)?;
        let known = tail.get_or_insert_with(|| Tail { through: 0, last: None, sizes: BTreeMap::new() });
        known.sizes.insert(*from, block.rows());
        known.through = known.through.max(covered.end);
        if let Some(offset) = block.rows().checked_sub(1).map(|row| block.offset(row))
            && known.last.as_ref().is_none_or(|(last, _)| *last < offset)
        {
            let damaged = |why| RecordedError::Damaged { path: path.clone(), why };
            known.last = block.records(&(offset..offset + 1)).map_err(damaged)?.pop();
        }
        rows += block.rows();
        if rows > ROWS_MAX {
            break; // No join can have held all these.
        }
    }
    Ok(tail)
}

/// Appends to the segments of one partition.
pub(super) struct Archive {
    folder: String,
    kind: Kind,
    /// Rows of the last segments, by their first offset; what another writer did since is noticed by it.
    sizes: BTreeMap<u64, usize>,
    through: Option<u64>,
}

impl Archive {
    pub(super) fn new(folder: String, kind: Kind, tail: Option<&Tail>) -> Self {
        let sizes = tail.map(|tail| tail.sizes.clone()).unwrap_or_default();
        Self { folder, kind, sizes, through: tail.map(|tail| tail.through) }
    }

    /// Appends a block that covers these offsets; what is there already is passed over.
    pub(super) fn append(
        &mut self,
        catalog: &Catalog,
        appender: &mut CatalogAppender,
        block: &Block,
        offsets: Range<u64>,
    ) -> Result<(), RecordedError> {
        let segments = list(catalog, &self.folder)?;
        let last_known = self.sizes.last_key_value().map(|(from, _)| *from);
        if segments.last().map(|(from, _)| *from) != last_known {
            // Another recorder had the partition for a while.
            *self =
                Self::new(self.folder.clone(), self.kind, tail(catalog, self.kind, &self.folder)?.as_ref());
        }
        let from = offsets.start.max(self.through.unwrap_or(0));
        if from >= offsets.end {
            return Ok(());
        }
        let mut joined = Block::new(self.kind);
        joined.append(block, block.row_at(from));
        let mut start = from;
        let mut absorbed = Vec::new();
        while let Some((before, rows)) = self.sizes.last_key_value().map(|(from, rows)| (*from, *rows)) {
            if rows > (2 * joined.rows()).max(ROWS_SMALL) || rows + joined.rows() > ROWS_MAX {
                break;
            }
            let (mut larger, covered) = read(catalog, self.kind, &self.path(before))?;
            if covered.end < start {
                break; // A gap stays one.
            }
            larger.append(&joined, joined.row_at(covered.end));
            (joined, start) = (larger, before);
            absorbed.push(before);
            self.sizes.remove(&before);
        }
        let mut written = self.write(appender, &joined, start..offsets.end);
        for from in absorbed.into_iter().filter(|from| *from != start) {
            written = written.and_then(|()| Ok(appender.delete_recorded(&self.path(from))?));
        }
        if let Err(error) = written {
            self.sizes.clear(); // The next call looks what is there.
            return Err(error);
        }
        self.sizes.insert(start, joined.rows());
        while self.sizes.len() > LEFT_MAX {
            self.sizes.pop_first();
        }
        self.through = Some(offsets.end);
        Ok(())
    }

    fn write(
        &self,
        appender: &mut CatalogAppender,
        block: &Block,
        offsets: Range<u64>,
    ) -> Result<(), RecordedError> {
        let path = self.path(offsets.start);
        let encoded = segment::encode(block, &offsets);
        let bytes = encoded.map_err(|why| RecordedError::Damaged { path: path.clone(), why })?;
        Ok(appender.put_recorded(&path, bytes)?)
    }

    fn path(&self, from: u64) -> String {
        format!("{}/{from:020}.parquet", self.folder)
    }
}
