//! Reading a journal back, with the market data that it refers to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tradeflow_bus::{Bus, BusError, Position, Reader, Scan, Stored, Topic, Topics};

use super::Entry;
use crate::LiveError;
use crate::chunk::{Chunk, Decoder, MarketTopic};

/// How long to wait for records that are known to be there.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the first offset of a partition is taken for the first: retention deletes by the minute.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// Records asked for at a time.
const POLL_MAX: usize = 1024;

/// Reads stretches of one partition, whose ends are offsets of records.
struct Cursor {
    reader: Box<dyn Reader>,
    place: Position,
    read: VecDeque<Stored>,
}

impl Cursor {
    fn new(bus: &Arc<dyn Bus>, place: Position) -> Result<Self, BusError> {
        Ok(Self { reader: bus.reader(std::slice::from_ref(&place))?, place, read: VecDeque::new() })
    }

    /// The next record with `offset < end`.
    fn next_before(&mut self, end: u64) -> Result<Option<Stored>, BusError> {
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(100);
        while self.read.is_empty() {
            if self.place.offset >= end {
                return Ok(None);
            }
            self.read.extend(self.reader.poll(POLL_MAX, step)?);
            if self.read.is_empty() {
                waited += step;
                if waited >= PATIENCE {
                    let place = format!("{}/{}", self.place.topic, self.place.partition);
                    return Err(BusError::other(
                        place,
                        format!("offset {} should be there, but does not come", self.place.offset),
                    ));
                }
            }
        }
        if self.read.front().is_none_or(|stored| stored.offset >= end) {
            return Ok(None);
        }
        let stored = self.read.pop_front();
        if let Some(stored) = &stored {
            self.place.offset = stored.offset + 1;
        }
        Ok(stored)
    }

    /// Goes to an offset, forwards without a seek where it can.
    fn go_to(&mut self, offset: u64) -> Result<(), BusError> {
        if offset < self.place.offset {
            self.read.clear();
            self.place.offset = offset;
            return self.reader.set(&self.place);
        }
        while self.read.front().is_some_and(|stored| stored.offset < offset) {
            self.read.pop_front();
        }
        if self.read.is_empty() && offset > self.place.offset {
            self.place.offset = offset;
            return self.reader.set(&self.place);
        }
        self.place.offset = self.place.offset.max(offset);
        Ok(())
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
    pub fn new(bus: &Arc<dyn Bus>, from: Position, key: &str) -> Result<Self, BusError> {
        Ok(Self { scan: bus.scan(&from)?, read: VecDeque::new(), key: key.to_owned() })
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
    /// From an offset of the account's partition up to its end as it is now.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn new(
        bus: &Arc<dyn Bus>,
        journal: &Topic,
        partition: u32,
        from: u64,
        account: &str,
    ) -> Result<Self, BusError> {
        let place = Position { topic: journal.clone(), partition, offset: from };
        KeyReader::new(bus, place, account).map(Self)
    }

    /// As [`Self::new`], with the entries that readers may not see: see [`Bus::journaled`].
    ///
    /// # Errors
    /// Those of the bus.
    pub fn with_journaled(
        bus: &Arc<dyn Bus>,
        journal: &Topic,
        partition: u32,
        from: u64,
        account: &str,
    ) -> Result<Self, BusError> {
        let place = Position { topic: journal.clone(), partition, offset: from };
        let scan = bus.journaled(&place)?;
        Ok(Self(KeyReader { scan, read: VecDeque::new(), key: account.to_owned() }))
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
        let mut decoded = passing_over_the_unreadable(decoder, &mut take);
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
        cursor.go_to(first)?;
        while let Some(stored) = cursor.next_before(last + 1)? {
            decoded(&stored)?;
        }
        Ok(())
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
