//! The thread that owns accounts: as the group assigns partitions of the journal, their cells are rebuilt here or let go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use tradeflow_bus::{BusError, GroupEvent, Membership};

use super::accounts::Watched;
use super::arbiters::Arbiters;
use super::bring_up::bring_up;
use super::open::{begin_close, close_session, still_open};
use super::reader::{BusReader, Feed, ReaderStatus};
use super::{CellStatus, Control, CurrentPlan, NodeConfig, Opened};
use crate::LiveError;
use crate::shell::{CellShell, Close, Shared, Writer};

pub(crate) struct Owner {
    opened: Opened,
    shared: Arc<Shared>,
    config: NodeConfig,
    plan: CurrentPlan,
    cells: Arc<Mutex<Vec<Arc<CellStatus>>>>,
    ready: Arc<AtomicBool>,
    arbiters: Arbiters,
    feeds: Sender<Feed>,
    reader: JoinHandle<Result<(), LiveError>>,
    writers: BTreeMap<u32, Writer>,
    shells: BTreeMap<usize, Addr<CellShell>>,
    /// The partitions that are this node's.
    owned: BTreeSet<u32>,
    /// Cells of theirs that are up, or could not be brought up.
    tried: BTreeSet<usize>,
    /// Those of them that others have fenced off, and since when.
    fenced: BTreeMap<u32, Instant>,
    watched: Watched,
    halted: bool,
}

impl Owner {
    /// How long a cell may take to write its last checkpoint.
    const CLOSE_PATIENCE: Duration = Duration::from_secs(30);
    /// How often it looks for accounts that another node opened or closed.
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    /// After so long a node that was cut off has heard that its partitions are others'.
    const HEARD_OF_LOSS: Duration = Duration::from_secs(10);

    pub(crate) fn new(
        opened: Opened,
        shared: Arc<Shared>,
        config: NodeConfig,
        (plan, cells): (CurrentPlan, Arc<Mutex<Vec<Arc<CellStatus>>>>),
        ready: Arc<AtomicBool>,
        status: Arc<ReaderStatus>,
    ) -> Result<Self, LiveError> {
        let arbiters = Arbiters::start(config.arbiters)?;
        let (feeds, orders) = channel();
        let reader = BusReader::new(opened.plan.clone(), shared.clone(), status, config.tick)?;
        let reader = std::thread::Builder::new().name("reader".into()).spawn(move || reader.run(&orders));
        let reader = reader.map_err(|error| LiveError::Other(format!("the reader's thread: {error}")))?;
        Ok(Self {
            opened,
            shared,
            config,
            plan,
            cells,
            ready,
            arbiters,
            feeds,
            reader,
            writers: BTreeMap::new(),
            shells: BTreeMap::new(),
            owned: BTreeSet::new(),
            tried: BTreeSet::new(),
            fenced: BTreeMap::new(),
            watched: Watched::new(),
            halted: false,
        })
    }

    pub(crate) fn run(mut self, control: &Receiver<Control>) -> Result<(), LiveError> {
        let journal = &self.shared.sources.topics.journal;
        let joined = self.shared.sources.bus.join(&self.config.group, journal).map_err(LiveError::from);
        let (done, membership) = match joined {
            Ok(mut membership) => (self.follow(membership.as_mut(), control), Some(membership)),
            Err(error) => (Err(error), None),
        };
        let closed = self.close_all();
        // Left only now: whoever takes over finds cells that are closed, and fences none that still is closing.
        drop(membership);
        let _ = self.feeds.send(Feed::Stop);
        let read = self.reader.join().map_err(|_| LiveError::Other("the reader panicked".into()));
        done.and(closed).and(read?)
    }

    /// Follows the group until it is told to stop.
    fn follow(
        &mut self,
        membership: &mut dyn Membership,
        control: &Receiver<Control>,
    ) -> Result<(), LiveError> {
        let mut looked = Instant::now();
        loop {
            match control.try_recv() {
                Ok(Control::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Ok(Control::Changed) => self.look_at_accounts()?,
                Err(TryRecvError::Empty) if looked.elapsed() >= Self::LOOK_EVERY => {
                    looked = Instant::now();
                    self.look_at_accounts()?;
                    self.look_at_writers()?;
                }
                Err(TryRecvError::Empty) => {}
            }
            if self.reader.is_finished() {
                return Ok(()); // its error is told at the end
            }
            if let Some(error) = self.shared.failure.lock().ok().and_then(|failure| failure.clone()) {
                return Err(error.into());
            }
            for event in membership.poll(Duration::from_millis(20))? {
                match event {
                    GroupEvent::Assigned(partitions) => {
                        self.take_over(&partitions)?;
                        self.ready.store(true, Ordering::Release);
                    }
                    GroupEvent::Revoked(partitions) => self.let_go(&partitions, true)?,
                    GroupEvent::Lost(partitions) => self.let_go(&partitions, false)?,
                }
            }
        }
    }

    fn take_over(&mut self, partitions: &[u32]) -> Result<(), LiveError> {
        self.owned.extend(partitions);
        let (sources, plan) = (&self.shared.sources, &self.opened.plan);
        let mut cells = Vec::new();
        for partition in partitions {
            let mut of_partition = plan.cells_in(*partition, sources.partitions);
            of_partition.retain(|cell| !self.tried.contains(cell));
            if of_partition.is_empty() {
                continue;
            }
            let writer = match self.writers.get(partition) {
                Some(writer) => writer.clone(),
                // Fences whoever had it: nothing can be written behind what is read now.
                None => {
                    let journal = &sources.topics.journal;
                    let writer = match sources.bus.claim(journal, *partition, plan.durability) {
                        Ok(writer) => writer,
                        Err(BusError::Fenced { .. }) => {
                            tracing::info!(partition, "another node takes the partition over just now");
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    };
                    let writer: Writer = Arc::new(Mutex::new(writer));
                    self.writers.insert(*partition, writer.clone());
                    writer
                }
            };
            self.tried.extend(&of_partition);
            cells.extend(of_partition.into_iter().map(|cell| (cell, writer.clone())));
        }
        if !cells.is_empty() {
            still_open(sources, &self.opened.record)?;
        }
        for (cell, writer) in cells {
            let account = self.opened.plan.run.cells[cell].account.id.to_string();
            let status = Arc::new(CellStatus::new(&account));
            let started = std::time::Instant::now();
            match bring_up(&self.shared, &self.opened, cell, &writer) {
                Ok(host) => {
                    status.note_recovery(started.elapsed());
                    status.show(status.view_of(&host));
                    let places = host.offered().clone();
                    let (shared, shown) = (self.shared.clone(), status.clone());
                    let (writer, mailbox) = (writer.clone(), self.config.mailbox);
                    let address = CellShell::start_in_arbiter(self.arbiters.of(cell), move |ctx| {
                        ctx.set_mailbox_capacity(mailbox);
                        CellShell::new(host, writer, shared, shown)
                    });
                    self.shells.insert(cell, address.clone());
                    let _ = self.feeds.send(Feed::Add { cell, address, status: status.clone(), places });
                }
                Err(LiveError::Bus(BusError::Fenced { .. })) => {
                    tracing::info!(account, "another node has taken the account over meanwhile");
                    continue;
                }
                // Not the cell's fault: the next start, or another node, brings it up.
                Err(error @ LiveError::Bus(_)) => return Err(error),
                Err(error) => {
                    tracing::error!(account, %error, "the cell can't be brought up and is halted");
                    status.halt(&error.to_string());
                    self.halted = true;
                }
            }
            if let Ok(mut cells) = self.cells.lock() {
                cells.retain(|known| known.account() != account);
                cells.push(status);
            }
        }
        Ok(())
    }

    /// Brings up and closes the cells of accounts that were opened and closed since.
    fn look_at_accounts(&mut self) -> Result<(), LiveError> {
        let changed = match self.watched.changed(&self.shared.sources, &self.opened.plan.id) {
            Err(LiveError::Bus(error @ BusError::Unavailable { .. })) => {
                tracing::warn!(%error, "the session's record; trying again");
                return Ok(());
            }
            changed => changed?,
        };
        let Some((record, plan)) = changed else { return Ok(()) };
        if plan == self.opened.plan {
            return Ok(());
        }
        self.opened = Opened { plan: plan.clone(), record, resumed: self.opened.resumed };
        let _ = self.feeds.send(Feed::Plan(plan.clone()));
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = plan.clone();
        for cell in self.shells.keys().copied().collect::<Vec<_>>() {
            if plan.accounts[cell].closed.is_some() {
                self.close(cell, true)?;
                tracing::info!(account = %plan.run.cells[cell].account.id, "the account was closed");
            }
        }
        let owned: Vec<_> = self.owned.iter().copied().collect();
        self.take_over(&owned)
    }

    /// Takes over anew what others have fenced off, and the group still says is this node's: they may have had no right to,
    /// or two have claimed it at the same instant, of whom none may have it then.
    fn look_at_writers(&mut self) -> Result<(), LiveError> {
        let is_fenced = |partition: &u32| match self.writers.get(partition) {
            // To append nothing writes nothing: it tells whether one could.
            Some(writer) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                matches!(writer.append(Vec::new()).try_now(), Some(Err(BusError::Fenced { .. })))
            }
            None => !self.opened.plan.cells_in(*partition, self.shared.sources.partitions).is_empty(),
        };
        let lost: Vec<u32> = self.owned.iter().copied().filter(is_fenced).collect();
        self.fenced.retain(|partition, _| lost.contains(partition));
        for partition in lost {
            self.fenced.entry(partition).or_insert_with(Instant::now);
        }
        let late = |since: &Instant| since.elapsed() >= Self::HEARD_OF_LOSS;
        let late: Vec<u32> = self.fenced.iter().filter(|(_, since)| late(since)).map(|(it, _)| *it).collect();
        if !late.is_empty() {
            tracing::warn!(partitions = ?late, "fenced off, and still this node's: they are taken over anew");
            self.let_go(&late, false)?;
            self.fenced.retain(|partition, _| !late.contains(partition));
            self.take_over(&late)?;
        }
        Ok(())
    }

    fn let_go(&mut self, partitions: &[u32], orderly: bool) -> Result<(), LiveError> {
        for partition in partitions {
            self.owned.remove(partition);
            for cell in self.opened.plan.cells_in(*partition, self.shared.sources.partitions) {
                self.tried.remove(&cell);
                let closed = self.close(cell, false);
                if orderly {
                    closed?;
                }
            }
            self.writers.remove(partition);
        }
        Ok(())
    }

    /// Closes a cell: what it was sent is handled, and a snapshot written.
    fn close(&mut self, cell: usize, end: bool) -> Result<(), LiveError> {
        let Some(address) = self.shells.remove(&cell) else {
            self.hide(cell); // it could not be brought up
            return Ok(());
        };
        let (gone, heard) = sync_channel(1);
        let _ = self.feeds.send(Feed::Remove { cell, gone });
        let _ = heard.recv_timeout(Self::CLOSE_PATIENCE);
        let (done, closed) = sync_channel(1);
        address.do_send(Close { end, done });
        self.hide(cell);
        closed.recv_timeout(Self::CLOSE_PATIENCE).unwrap_or_else(|_| {
            let account = self.opened.plan.run.cells[cell].account.id.to_string();
            let why = "it did not end in time; its journal is complete all the same".to_owned();
            Err(LiveError::Cell { account, why })
        })
    }

    /// A cell is not this node's any more.
    fn hide(&self, cell: usize) {
        let account = &self.opened.plan.run.cells[cell].account.id;
        if let Ok(mut cells) = self.cells.lock() {
            cells.retain(|known| known.account() != account.as_str());
        }
    }

    fn close_all(&mut self) -> Result<(), LiveError> {
        let all = self.shells.len() == self.opened.plan.open_cells().count() && !self.halted;
        let sources = &self.shared.sources;
        let end = if all { Some(begin_close(sources)?) } else { None };
        let mut first = Ok(());
        for cell in self.shells.keys().copied().collect::<Vec<_>>() {
            let closed = self.close(cell, all);
            first = first.and(closed);
        }
        self.writers.clear();
        first?;
        if let Some(writer) = end {
            let now = self.shared.clock.now();
            match close_session(&self.shared.sources, writer, &self.opened.record, now) {
                Err(LiveError::Bus(BusError::Fenced { .. })) => {
                    tracing::info!(session = self.opened.plan.id, "another node goes on with the session");
                }
                closed => closed?,
            }
        }
        Ok(())
    }
}
