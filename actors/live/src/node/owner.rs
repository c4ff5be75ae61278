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
use super::parallel::{drop_all, each};
use super::reader::{BusReader, Feed, ReaderStatus};
use super::{CellStatus, Control, CurrentPlan, NodeConfig, Opened};
use crate::LiveError;
use crate::host::CellHost;
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

/// A cell that was brought up, or why it could not be.
struct Brought {
    cell: usize,
    writer: Writer,
    host: Result<CellHost, LiveError>,
    took: Duration,
}

impl Owner {
    /// How long cells may take to write their last checkpoints.
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
        let (shared, opened) = (self.shared.clone(), self.opened.clone());
        let sources = &shared.sources;
        let mut wanted = BTreeMap::new();
        for partition in partitions {
            let mut cells = opened.plan.cells_in(*partition, sources.partitions);
            cells.retain(|cell| !self.tried.contains(cell));
            if !cells.is_empty() {
                wanted.insert(*partition, cells);
            }
        }
        let unclaimed = wanted.keys().copied().filter(|partition| !self.writers.contains_key(partition));
        // Fences whoever had it: nothing can be written behind what is read now.
        let claim = |partition| {
            let journal = &sources.topics.journal;
            (partition, sources.bus.claim(journal, partition, opened.plan.durability))
        };
        each(unclaimed.collect(), claim, |(partition, claimed)| match claimed {
            Ok(writer) => {
                self.writers.insert(partition, Arc::new(Mutex::new(writer)));
                Ok(())
            }
            Err(BusError::Fenced { .. }) => {
                tracing::info!(partition, "another node takes the partition over just now");
                Ok(())
            }
            Err(error) => Err(error),
        })?;
        let mut cells = Vec::new();
        for (partition, of_partition) in wanted {
            let Some(writer) = self.writers.get(&partition) else { continue };
            self.tried.extend(&of_partition);
            cells.extend(of_partition.into_iter().map(|cell| (cell, writer.clone())));
        }
        if !cells.is_empty() {
            still_open(sources, &opened.record)?;
        }
        let bring_up = |(cell, writer)| {
            let started = Instant::now();
            let host = bring_up(&shared, &opened, cell, &writer);
            Brought { cell, writer, host, took: started.elapsed() }
        };
        each(cells, bring_up, |brought| self.start(brought))
    }

    /// Starts a cell that was brought up; says why where it could not be.
    fn start(&mut self, Brought { cell, writer, host, took }: Brought) -> Result<(), LiveError> {
        let account = self.opened.plan.run.cells[cell].account.id.to_string();
        let status = Arc::new(CellStatus::new(&account));
        match host {
            Ok(host) => {
                status.note_recovery(took);
                status.show(status.view_of(&host));
                let places = host.offered().clone();
                let (shared, shown, mailbox) = (self.shared.clone(), status.clone(), self.config.mailbox);
                let address = CellShell::start_in_arbiter(self.arbiters.of(cell), move |ctx| {
                    ctx.set_mailbox_capacity(mailbox);
                    CellShell::new(host, writer, shared, shown)
                });
                self.shells.insert(cell, address.clone());
                let _ = self.feeds.send(Feed::Add { cell, address, status: status.clone(), places });
            }
            Err(LiveError::Bus(BusError::Fenced { .. })) => {
                tracing::info!(account, "another node has taken the account over meanwhile");
                return Ok(());
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
        let closed = |cell: &usize| plan.accounts[*cell].closed.is_some();
        let closed: Vec<_> = self.shells.keys().copied().filter(closed).collect();
        self.close(&closed, true)?;
        for cell in closed {
            tracing::info!(account = %plan.run.cells[cell].account.id, "the account was closed");
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
        let (plan, all) = (&self.opened.plan, self.shared.sources.partitions);
        let cells: Vec<_> = partitions.iter().flat_map(|partition| plan.cells_in(*partition, all)).collect();
        self.owned.retain(|partition| !partitions.contains(partition));
        self.tried.retain(|cell| !cells.contains(cell));
        let closed = self.close(&cells, false);
        drop_all(partitions.iter().filter_map(|partition| self.writers.remove(partition)).collect());
        if orderly { closed } else { Ok(()) }
    }

    /// Closes cells, all at once: what each was sent is handled, and a snapshot written. The first error, when all are over.
    fn close(&mut self, cells: &[usize], end: bool) -> Result<(), LiveError> {
        let shells: Vec<_> =
            cells.iter().filter_map(|cell| Some((*cell, self.shells.remove(cell)?))).collect();
        let removed = shells.iter().map(|(cell, _)| {
            let (gone, heard) = sync_channel(1);
            let _ = self.feeds.send(Feed::Remove { cell: *cell, gone });
            heard
        });
        let removed: Vec<_> = removed.collect();
        let deadline = Instant::now() + Self::CLOSE_PATIENCE;
        for heard in removed {
            let _ = heard.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let closing = shells.into_iter().map(|(cell, address)| {
            let (done, closed) = sync_channel(1);
            address.do_send(Close { end, done });
            // An actor ends when no one has its address any more, whatever it has to do: it is kept until it has answered.
            (cell, address, closed)
        });
        let closing: Vec<_> = closing.collect();
        let accounts = |cell: usize| self.opened.plan.run.cells[cell].account.id.to_string();
        let names: BTreeSet<_> = cells.iter().map(|cell| accounts(*cell)).collect();
        if let Ok(mut shown) = self.cells.lock() {
            shown.retain(|known| !names.contains(known.account()));
        }
        let deadline = Instant::now() + Self::CLOSE_PATIENCE;
        let mut first = Ok(());
        for (cell, _address, closed) in closing {
            let closed = closed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            first = first.and(closed.unwrap_or_else(|_| {
                let why = "it did not end in time; its journal is complete all the same".to_owned();
                Err(LiveError::Cell { account: accounts(cell), why })
            }));
        }
        first
    }

    fn close_all(&mut self) -> Result<(), LiveError> {
        let all = self.shells.len() == self.opened.plan.open_cells().count() && !self.halted;
        let sources = &self.shared.sources;
        let end = if all { Some(begin_close(sources)?) } else { None };
        let closed = self.close(&self.shells.keys().copied().collect::<Vec<_>>(), all);
        drop_all(std::mem::take(&mut self.writers).into_values().collect());
        closed?;
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
