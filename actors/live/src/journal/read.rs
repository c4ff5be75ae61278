//! Reading a journal back, with the market data that it refers to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tradeflow_bus::{Bus, BusError, Position, Scan, Stored, Topic, Topics};

use super::Entry;
use crate::LiveError;
use crate::chunk::{Chunk, Decoder, MarketTopic};

/// How long to wait for records that are known to be there, and how often to look.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long the first offset of a partition is taken for the first: retention deletes by the minute.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// So many offsets are passed over by reading: to begin anew at another place takes longer.
const SKIPPED_MAX: u64 = 4096;
/// Records asked for at a time.
const POLL_MAX: usize = 1024;

/// Reads stretches of one partition, of which most lie one behind the other.
struct Cursor {
    bus: Arc<dyn Bus>,
    scan: Box<dyn Scan>,
    /// Behind what the scan has given.
    place: Position,
    read: VecDeque<Stored>,
    /// Behind what was taken of it.
    taken: u64,
}

impl Cursor {
    fn new(bus: &Arc<dyn Bus>, place: Position) -> Result<Self, BusError> {
        let (scan, taken) = (scan(bus, &place)?, place.offset);
        Ok(Self { bus: bus.clone(), scan, place, read: VecDeque::new(), taken })
    }

    /// Hands over the records with `first <= offset <= last`; the last is known to be there.
    fn range<E: From<BusError>>(
        &mut self,
        (first, last): (u64, u64),
        mut take: impl FnMut(&Stored) -> Result<(), E>,
    ) -> Result<(), E> {
        let far = first.saturating_sub(self.place.offset) > SKIPPED_MAX;
        if first < self.taken || far {
            let place = Position { offset: first, ..self.place.clone() };
            *self = Self::new(&self.bus, place)?;
        }
        while self.taken <= last {
            let Some(stored) = self.read.pop_front_if(|stored| stored.offset <= last) else {
                if !self.read.is_empty() {
                    break; // the rest is for the next
                }
                self.read_more(first, last)?;
                continue;
            };
            self.taken = stored.offset + 1;
            if stored.offset >= first {
                take(&stored)?;
            }
        }
        Ok(())
    }

    /// Reads more: beyond the end as it was when the scan began, if need be.
    fn read_more(&mut self, first: u64, last: u64) -> Result<(), BusError> {
        let begun = Instant::now();
        let mut wait = Duration::ZERO;
        loop {
            self.read.extend(self.scan.next(POLL_MAX)?);
            if let Some(stored) = self.read.back() {
                self.place.offset = stored.offset + 1;
                return Ok(());
            }
            if begun.elapsed() >= PATIENCE {
                let Position { topic, partition, offset } = &self.place;
                let reason = format!("offset {last} should be there, but does not come; read up to {offset}");
                return Err(BusError::other(format!("{topic}/{partition}"), reason));
            }
            std::thread::sleep(wait);
            wait = LOOK_AGAIN;
            // What lies before may not be there any more.
            self.place.offset = self.place.offset.max(first);
            self.scan = scan(&self.bus, &self.place)?;
        }
    }
}

/// From a place that must still be there.
fn scan(bus: &Arc<dyn Bus>, place: &Position) -> Result<Box<dyn Scan>, BusError> {
    let scan = bus.scan(place)?;
    let Position { topic, partition, offset } = place.clone();
    match bus.bounds(&topic, partition)?.start {
        first if first > offset => Err(BusError::Trimmed { topic, partition, wanted: offset, first }),
        _ => Ok(scan),
    }
}

/// Hands over the records of a partition from a place to its end as it is now.
///
/// # Errors
/// Those of the bus and of `take`.
pub fn records<E: From<BusError>>(
    bus: &Arc<dyn Bus>,
    from: Position,
    mut take: impl FnMut(&Stored) -> Result<(), E>,
) -> Result<(), E> {
    let mut scan = bus.scan(&from)?;
    loop {
        let records = scan.next(POLL_MAX)?;
        if records.is_empty() {
            return Ok(());
        }
        records.iter().try_for_each(&mut take)?;
    }
}

/// The records of one key, in order, up to the end of the partition as it was when reading began.
pub struct KeyReader {
    scan: Box<dyn Scan>,
    read: VecDeque<Stored>,
    key: String,
}

impl KeyReader {
    /// From a place on.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn new(bus: &Arc<dyn Bus>, from: &Position, key: &str) -> Result<Self, BusError> {
        bus.scan(from).map(|scan| Self::of(scan, key))
    }

    fn of(scan: Box<dyn Scan>, key: &str) -> Self {
        Self { scan, read: VecDeque::new(), key: key.to_owned() }
    }

    /// The next record of the key.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn read(&mut self) -> Result<Option<Stored>, BusError> {
        loop {
            while let Some(stored) = self.read.pop_front() {
                if stored.key == self.key.as_bytes() {
                    return Ok(Some(stored));
                }
            }
            self.read.extend(self.scan.next(POLL_MAX)?);
            if self.read.is_empty() {
                return Ok(None);
            }
        }
    }
}

/// The entries of one account, in order.
pub struct JournalReader(KeyReader);

impl JournalReader {
    /// From a place of the account's partition up to its end as it is now.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn new(bus: &Arc<dyn Bus>, from: &Position, account: &str) -> Result<Self, BusError> {
        KeyReader::new(bus, from, account).map(Self)
    }

    /// As [`Self::new`], with the entries that readers may not see: see [`Bus::journaled`].
    ///
    /// # Errors
    /// Those of the bus.
    pub(crate) fn with_journaled(
        bus: &Arc<dyn Bus>,
        from: &Position,
        account: &str,
    ) -> Result<Self, BusError> {
        bus.journaled(from).map(|scan| Self(KeyReader::of(scan, account)))
    }

    /// The next entry, with its offset.
    ///
    /// # Errors
    /// Those of the bus, and an entry that can't be read: unlike market data, a journal is never passed over.
    pub fn read(&mut self) -> Result<Option<(u64, Entry)>, LiveError> {
        let Some(stored) = self.0.read()? else { return Ok(None) };
        let entry = Entry::decode(stored.value.as_deref().unwrap_or_default());
        entry.map(|entry| Some((stored.offset, entry))).map_err(|error| LiveError::Record {
            place: format!("{}/{} offset {}", stored.topic, stored.partition, stored.offset),
            why: error.to_string(),
        })
    }
}

/// Market data that has left the bus, found again in the recorded catalog by its place.
pub trait Archive: Send + Sync {
    /// The records of a partition with `first <= offset <= last`, as they were on the bus.
    ///
    /// # Errors
    /// In words, when they are not there.
    fn records(&self, topic: &Topic, partition: u32, first: u64, last: u64) -> Result<Vec<Stored>, String>;
}

/// Reads the market data that a journal refers to.
pub struct MarketReader {
    bus: Arc<dyn Bus>,
    topics: Topics,
    archive: Option<Arc<dyn Archive>>,
    cursors: BTreeMap<(MarketTopic, u32), Cursor>,
    /// The first offsets that are kept, and when they were asked for.
    kept: BTreeMap<(MarketTopic, u32), (u64, Instant)>,
}

impl MarketReader {
    /// On a bus, and the archive for what has left it.
    pub fn new(bus: Arc<dyn Bus>, topics: Topics, archive: Option<Arc<dyn Archive>>) -> Self {
        Self { bus, topics, archive, cursors: BTreeMap::new(), kept: BTreeMap::new() }
    }

    /// Hands the chunks with `first <= offset <= last` to `take`, in order. Records that can't be read are passed over,
    /// as they were when the journal was written.
    ///
    /// # Errors
    /// Those of the bus and of `take`.
    pub fn range(
        &mut self,
        decoder: &Decoder,
        topic: MarketTopic,
        partition: u32,
        (first, last): (u64, u64),
        mut take: impl FnMut(Chunk) -> Result<(), LiveError>,
    ) -> Result<(), LiveError> {
        let decoded = passing_over_the_unreadable(decoder, &mut take);
        if let Some(records) = self.archived(topic, partition, first, last)? {
            return records.iter().try_for_each(decoded);
        }
        let name = topic.topic(&self.topics);
        let cursor = match self.cursors.entry((topic, partition)) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let place = Position { topic: name.clone(), partition, offset: first };
                free.insert(Cursor::new(&self.bus, place)?)
            }
        };
        cursor.range((first, last), decoded)
    }

    /// As [`Self::range`] for `first <= offset < end`, where the end is the end of the partition as it once was. On Kafka no
    /// record need be right before it.
    ///
    /// # Errors
    /// As [`Self::range`].
    pub fn until(
        &mut self,
        decoder: &Decoder,
        topic: MarketTopic,
        partition: u32,
        (first, end): (u64, u64),
        mut take: impl FnMut(Chunk) -> Result<(), LiveError>,
    ) -> Result<(), LiveError> {
        if first >= end {
            return Ok(());
        }
        let mut decoded = passing_over_the_unreadable(decoder, &mut take);
        if let Some(records) = self.archived(topic, partition, first, end - 1)? {
            return records.iter().try_for_each(decoded);
        }
        let name = topic.topic(&self.topics);
        let mut scan = self.bus.scan(&Position { topic: name.clone(), partition, offset: first })?;
        loop {
            let records = scan.next(POLL_MAX)?;
            let before = records.iter().take_while(|stored| stored.offset < end).count();
            records[..before].iter().try_for_each(&mut decoded)?;
            if records.is_empty() || before < records.len() {
                return Ok(());
            }
        }
    }

    /// Records that the bus does not keep any more.
    fn archived(
        &mut self,
        topic: MarketTopic,
        partition: u32,
        first: u64,
        last: u64,
    ) -> Result<Option<Vec<Stored>>, LiveError> {
        let kept = self.kept(topic, partition)?;
        if first >= kept {
            return Ok(None);
        }
        let topic = topic.topic(&self.topics);
        let gone = BusError::Trimmed { topic: topic.clone(), partition, wanted: first, first: kept };
        let archive = self.archive.as_ref().ok_or(gone)?;
        archive.records(topic, partition, first, last).map(Some).map_err(LiveError::Other)
    }

    /// The first offset that is kept. A journal refers to thousands of stretches a second: the bus is not asked each time.
    fn kept(&mut self, topic: MarketTopic, partition: u32) -> Result<u64, BusError> {
        match self.kept.get(&(topic, partition)) {
            Some((kept, asked)) if asked.elapsed() < KEPT_FOR => Ok(*kept),
            _ => {
                let kept = self.bus.bounds(topic.topic(&self.topics), partition)?.start;
                self.kept.insert((topic, partition), (kept, Instant::now()));
                Ok(kept)
            }
        }
    }
}

fn passing_over_the_unreadable<'a>(
    decoder: &'a Decoder,
    take: &'a mut impl FnMut(Chunk) -> Result<(), LiveError>,
) -> impl FnMut(&Stored) -> Result<(), LiveError> + 'a {
    move |stored| match decoder.chunk(stored) {
        Ok(Some(chunk)) => take(chunk),
        Ok(None) | Err(_) => Ok(()),
    }
}
