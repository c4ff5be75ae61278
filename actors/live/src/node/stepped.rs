//! A node on the caller's thread, one step at a time: whoever drives it decides what happens when. The simulation and
//! its faults are in `tests/simulation`.
//!
//! Cells, shells, the reader of the bus and the way in which a cell is brought up are those of a [`super::Node`]; only
//! the threads are not, and the group: the driver says which partitions this node owns.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Addr};
use tradeflow_bus::{BusError, Clock, Exclusive, Topic};

use super::bring_up::bring_up;
use super::open::{begin_close, close_session, still_open};
use super::reader::{BusReader, Reached, ReaderStatus};
use super::{CellStatus, NodeConfig, Opened};
use crate::LiveError;
use crate::host::Sources;
use crate::session::SessionPlan;
use crate::shell::{CellShell, Close, Shared, Writer};

/// A node that does nothing by itself. Its cells run on the caller's actix system, whenever the caller lets that run;
/// between two calls of [`Self::read`] it must, and the mailboxes must hold what one reading brings.
pub struct SteppedNode {
    opened: Opened,
    shared: Arc<Shared>,
    mailbox: usize,
    reader: BusReader,
    writers: BTreeMap<u32, Writer>,
    shells: BTreeMap<usize, Addr<CellShell>>,
    cells: BTreeMap<usize, Arc<CellStatus>>,
    ending: Option<Box<dyn Exclusive>>,
}

/// A cell on its way out.
pub struct Closing(Receiver<Result<(), LiveError>>);

impl Closing {
    /// What came of it; none as long as it goes on.
    pub fn done(&self) -> Option<Result<(), LiveError>> {
        match self.0.try_recv() {
            Ok(done) => Some(done),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(LiveError::Other("its shell is gone".into()))),
        }
    }
}

impl SteppedNode {
    /// A node without partitions.
    ///
    /// # Errors
    /// When the bus can't be read.
    pub fn new(
        sources: &Sources,
        clock: &Arc<dyn Clock>,
        opened: Opened,
        config: &NodeConfig,
    ) -> Result<Self, LiveError> {
        let shared = Arc::new(config.shared(sources, clock));
        let status = Arc::new(ReaderStatus::default());
        let reader = BusReader::new(opened.plan.clone(), shared.clone(), status, config.tick)?;
        Ok(Self {
            opened,
            shared,
            mailbox: config.mailbox,
            reader,
            writers: BTreeMap::new(),
            shells: BTreeMap::new(),
            cells: BTreeMap::new(),
            ending: None,
        })
    }

    /// The session.
    pub fn plan(&self) -> &Arc<SessionPlan> {
        &self.opened.plan
    }

    /// The cells it has or had, by index.
    pub fn cells(&self) -> &BTreeMap<usize, Arc<CellStatus>> {
        &self.cells
    }

    /// The failure of the bus after which a node ends.
    pub fn failure(&self) -> Option<BusError> {
        self.shared.failure.lock().ok().and_then(|failure| failure.clone())
    }

    /// Whether it owns a partition, as far as it knows.
    pub fn owns(&self, partition: u32) -> bool {
        self.writers.contains_key(&partition)
    }

    /// What its reader reads next, by topic and partition.
    pub fn reads(&self) -> &BTreeMap<(Topic, u32), u64> {
        self.reader.places()
    }

    /// Claims a partition and brings its cells up. What is wrong with one cell halts that cell.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn take_over(&mut self, partition: u32) -> Result<(), LiveError> {
        let cells = self.opened.plan.cells_in(partition, self.shared.sources.partitions);
        if cells.is_empty() || self.owns(partition) {
            return Ok(());
        }
        let sources = &self.shared.sources;
        let durability = self.opened.plan.durability;
        let writer = sources.bus.claim(&sources.topics.journal, partition, durability)?;
        let writer: Writer = Arc::new(Mutex::new(writer));
        self.writers.insert(partition, writer.clone());
        still_open(sources, &self.opened.record)?;
        for cell in cells {
            let status = Arc::new(CellStatus::new(self.opened.plan.run.cells[cell].account.id.as_str()));
            self.cells.insert(cell, status.clone());
            match bring_up(&self.shared, &self.opened, cell, &writer) {
                Ok(host) => {
                    let places = host.offered().clone();
                    let (writer, shared, mailbox) = (writer.clone(), self.shared.clone(), self.mailbox);
                    let shown = status.clone();
                    let address = CellShell::create(move |ctx| {
                        ctx.set_mailbox_capacity(mailbox);
                        CellShell::new(host, writer, shared, shown)
                    });
                    self.shells.insert(cell, address.clone());
                    self.reader.add(cell, Reached { address, status }, &places)?;
                }
                Err(error) => status.halt(&error.to_string()),
            }
        }
        Ok(())
    }

    /// Closes the cells of a partition: what they were sent is handled, and a snapshot written; with `end` the session
    /// ends for them.
    pub fn let_go(&mut self, partition: u32, end: bool) -> Vec<Closing> {
        self.writers.remove(&partition);
        let mut closing = Vec::new();
        for cell in self.opened.plan.cells_in(partition, self.shared.sources.partitions) {
            self.cells.remove(&cell);
            let Some(address) = self.shells.remove(&cell) else { continue };
            self.reader.remove(cell);
            let (done, closed) = sync_channel(1);
            address.do_send(Close { end, done });
            closing.push(Closing(closed));
        }
        closing
    }

    /// Begins to end the session: before its cells, which are all here, are let go of with `end`.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn begin_close(&mut self) -> Result<(), LiveError> {
        self.ending = Some(begin_close(&self.shared.sources)?);
        Ok(())
    }

    /// Writes that the session is closed: when all of its cells were.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn close_session(&mut self) -> Result<(), LiveError> {
        let Some(writer) = self.ending.take() else { return Ok(()) };
        close_session(&self.shared.sources, writer, &self.opened.record, self.shared.clock.now())
    }

    /// Reads what there is on the bus, without waiting, and hands it to the cells.
    ///
    /// # Errors
    /// Those after which the reader of a node ends, and with it the node.
    pub fn read(&mut self) -> Result<(), LiveError> {
        self.reader.turn(Duration::ZERO)
    }

    /// Lets the cells look at the time.
    pub fn tick(&self) {
        self.reader.tick();
    }
}
