//! The thread that reads the bus: decodes each record once and hands it to the cells that follow its instrument.
//!
//! A cell whose mailbox is full makes this thread wait, so that the bus, which is on disk, holds what is not read yet. A
//! cell that joins later than the others sets the reader back to its own place; the others pass over what they know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Addr;
use actix::prelude::SendError;
use tradeflow_bus::{BusError, Position, Reader, SetAside, Stored, Topic};
use tradeflow_model::InstrumentId;

use super::CellStatus;
use super::merge::Merge;
use crate::LiveError;
use crate::chunk::{Chunk, Decoder};
use crate::commands::CommandMessage;
use crate::host::Places;
use crate::journal::Source;
use crate::session::SessionPlan;
use crate::shell::{CellShell, Deliver, Instruct, Shared, Tick};

/// What the reader is told.
pub(crate) enum Feed {
    /// A cell joins, from these places on.
    Add { cell: usize, address: Addr<CellShell>, status: Arc<CellStatus>, places: Places },
    /// The session has other accounts.
    Plan(Arc<SessionPlan>),
    /// A cell leaves: when the channel answers, nothing more is sent to it.
    Remove { cell: usize, gone: std::sync::mpsc::SyncSender<()> },
    /// The end.
    Stop,
}

/// Counters of the reader.
#[derive(Debug, Default)]
pub(crate) struct ReaderStatus {
    /// How old the record was that was handed on last, in nanoseconds; 0 when there was nothing more to read.
    pub(crate) behind: AtomicI64,
    /// Records read.
    pub(crate) records: AtomicU64,
    /// Times that a full mailbox made it wait.
    pub(crate) waits: AtomicU64,
    /// Where reading goes on, as of the last tick.
    pub(crate) places: Mutex<BTreeMap<(Topic, u32), u64>>,
}

/// A cell, as the reader knows it.
pub(super) struct Reached {
    pub(super) address: Addr<CellShell>,
    pub(super) status: Arc<CellStatus>,
}

pub(crate) struct BusReader {
    plan: Arc<SessionPlan>,
    shared: Arc<Shared>,
    decoder: Decoder,
    reader: Box<dyn Reader>,
    merge: Merge,
    poison: SetAside,
    cells: BTreeMap<usize, Reached>,
    /// Cells by the instruments that they follow.
    followers: BTreeMap<InstrumentId, Vec<usize>>,
    /// The partitions that each cell needs.
    needs: BTreeMap<usize, Vec<(Topic, u32)>>,
    /// Where reading goes on, by topic and partition.
    places: BTreeMap<(Topic, u32), u64>,
    status: Arc<ReaderStatus>,
    interval: Duration,
}

impl BusReader {
    /// Records taken at a time.
    const POLL_MAX: usize = 1024;
    /// How long a read waits for more: it is answered for each record otherwise, and a busy market has thousands a second.
    const GATHER: Duration = Duration::from_millis(5);
    /// Records held until they are handed on in order.
    const HELD_MAX: usize = 4096;

    pub(crate) fn new(
        plan: Arc<SessionPlan>,
        shared: Arc<Shared>,
        status: Arc<ReaderStatus>,
        interval: Duration,
    ) -> Result<Self, LiveError> {
        let sources = &shared.sources;
        Ok(Self {
            decoder: Decoder::new(&plan, &sources.topics),
            reader: sources.bus.gathering_reader(&[], Self::GATHER)?,
            poison: SetAside::new(sources.bus.clone(), sources.topics.dead_letters.clone()),
            merge: Merge::default(),
            plan,
            shared,
            cells: BTreeMap::new(),
            followers: BTreeMap::new(),
            needs: BTreeMap::new(),
            places: BTreeMap::new(),
            status,
            interval,
        })
    }

    pub(crate) fn run(mut self, feeds: &Receiver<Feed>) -> Result<(), LiveError> {
        let mut ticked = std::time::Instant::now();
        loop {
            loop {
                match feeds.try_recv() {
                    Ok(Feed::Add { cell, address, status, places }) => {
                        self.add(cell, Reached { address, status }, &places)?;
                    }
                    Ok(Feed::Plan(plan)) => self.plan = plan,
                    Ok(Feed::Remove { cell, gone }) => {
                        self.remove(cell);
                        let _ = gone.send(());
                    }
                    Ok(Feed::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let since = ticked.elapsed();
            if since >= self.interval {
                ticked = std::time::Instant::now();
                self.tick();
            }
            self.turn(self.interval.saturating_sub(ticked.elapsed()))?;
        }
    }

    /// Lets the cells look at the time.
    pub(super) fn tick(&self) {
        for cell in self.cells.values() {
            let _ = cell.address.try_send(Tick); // a cell that is busy needs no tick
        }
        if let Ok(mut places) = self.status.places.lock() {
            places.clone_from(&self.places);
        }
    }

    /// Reads what there is, waiting so long for the first record, and hands it on.
    pub(super) fn turn(&mut self, wait: Duration) -> Result<(), LiveError> {
        match self.read(wait) {
            Ok(caught_up) => {
                let records = self.merge.release(caught_up);
                self.note_behind(caught_up, &records);
                self.deliver(&records)
            }
            Err(error @ BusError::Unavailable { .. }) => {
                tracing::warn!(%error, "reading the bus; trying again");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a cell nothing more. What no other cell here needs is read no more: retention goes by those who need it, and
    /// would overtake a reader that only looks on.
    pub(super) fn remove(&mut self, cell: usize) {
        self.cells.remove(&cell);
        self.followers.values_mut().for_each(|cells| cells.retain(|known| *known != cell));
        for (topic, partition) in self.needs.remove(&cell).unwrap_or_default() {
            if self.needs.values().flatten().any(|need| *need == (topic.clone(), partition)) {
                continue;
            }
            self.reader.remove(&topic, partition);
            self.merge.forget(&topic, partition);
            self.places.remove(&(topic, partition));
        }
    }

    fn note_behind(&self, caught_up: bool, records: &[Stored]) {
        let age = |last: &Stored| self.shared.clock.now().as_nanos().saturating_sub(last.ts.as_nanos());
        match records.last() {
            Some(last) => self.status.behind.store(age(last), Ordering::Relaxed),
            None if caught_up => self.status.behind.store(0, Ordering::Relaxed),
            None => {}
        }
    }

    /// Reads what is there, up to a limit; says whether that was all.
    fn read(&mut self, wait: Duration) -> Result<bool, BusError> {
        let mut wait = wait;
        loop {
            let records = self.reader.poll(Self::POLL_MAX, wait)?;
            if records.is_empty() {
                return Ok(true);
            }
            self.merge.take(records);
            if self.merge.held() >= Self::HELD_MAX {
                return Ok(false);
            }
            wait = Duration::ZERO;
        }
    }

    pub(super) fn places(&self) -> &BTreeMap<(Topic, u32), u64> {
        &self.places
    }

    pub(super) fn add(&mut self, cell: usize, reached: Reached, places: &Places) -> Result<(), LiveError> {
        let topics = &self.shared.sources.topics;
        let partition = self.plan.journal_partition(cell, self.shared.sources.partitions);
        let market = places.market.iter().map(|((topic, partition), offset)| Position {
            topic: topic.topic(topics).clone(),
            partition: *partition,
            offset: *offset,
        });
        let own = Position { topic: topics.commands.clone(), partition, offset: places.commands };
        let from: Vec<_> = market.chain([own]).collect();
        self.needs.insert(cell, from.iter().map(|place| (place.topic.clone(), place.partition)).collect());
        for place in from {
            let key = (place.topic.clone(), place.partition);
            if self.places.get(&key).is_none_or(|known| place.offset < *known) {
                self.merge.forget(&place.topic, place.partition);
                self.reader.set(&place)?;
                self.places.insert(key, place.offset);
            }
        }
        self.cells.insert(cell, reached);
        for instrument in &self.plan.accounts[cell].instruments {
            let cells = self.followers.entry(*instrument).or_default();
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        Ok(())
    }

    fn deliver(&mut self, records: &[Stored]) -> Result<(), LiveError> {
        self.status.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        let mut batches: BTreeMap<usize, Vec<Arc<Chunk>>> = BTreeMap::new();
        for stored in records {
            if let Some(place) = self.places.get_mut(&(stored.topic.clone(), stored.partition)) {
                *place = stored.offset + 1;
            }
            if stored.topic == self.shared.sources.topics.commands {
                self.instruct(stored)?;
                continue;
            }
            match self.decoder.chunk(stored) {
                Ok(Some(chunk)) => {
                    let chunk = Arc::new(chunk);
                    for cell in self.followers.get(&chunk.instrument).into_iter().flatten() {
                        batches.entry(*cell).or_default().push(chunk.clone());
                    }
                }
                Ok(None) => {}
                Err(why) => self.set_aside(stored, &why)?,
            }
        }
        for (cell, chunks) in batches {
            if let Some(cell) = self.cells.get(&cell) {
                self.send(cell, Deliver(chunks));
            }
        }
        Ok(())
    }

    fn set_aside(&self, stored: &Stored, why: &str) -> Result<(), LiveError> {
        tracing::warn!(
            topic = %stored.topic, partition = stored.partition, offset = stored.offset, why,
            "a record can't be read and is set aside"
        );
        Ok(self.poison.record(stored, why, self.shared.clock.now())?)
    }

    fn instruct(&mut self, stored: &Stored) -> Result<(), LiveError> {
        let message = match CommandMessage::decode(stored.value.as_deref().unwrap_or_default()) {
            Ok(message) => message,
            Err(error) => return self.set_aside(stored, &error.to_string()),
        };
        let cell = self.plan.cell_of(&message.account);
        let Some(cell) = cell.and_then(|cell| self.cells.get(&cell)) else {
            return Ok(()); // of another node, or of no account: the API answers those
        };
        let source = Source { partition: stored.partition, offset: stored.offset };
        self.send(cell, Instruct { source, message });
        Ok(())
    }

    /// Sends, and waits while the mailbox is full.
    fn send<M>(&self, cell: &Reached, message: M)
    where
        M: actix::Message<Result = ()> + Send + 'static,
        CellShell: actix::Handler<M>,
    {
        cell.status.note_sent();
        let sent = match cell.address.try_send(message) {
            Ok(()) => true,
            Err(SendError::Closed(_)) => false,
            Err(SendError::Full(message)) => {
                self.status.waits.fetch_add(1, Ordering::Relaxed);
                futures_executor::block_on(cell.address.send(message)).is_ok()
            }
        };
        if !sent {
            cell.status.note_taken();
        }
    }
}
