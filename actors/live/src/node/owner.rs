//! The thread that owns accounts: as the group assigns partitions of the journal, their cells are rebuilt here or let go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, Addr};
use tradeflow_bus::{Durability, GroupEvent, Membership, NewRecord};

use super::arbiters::Arbiters;
use super::open::{session_record, sessions};
use super::reader::{BusReader, Feed, ReaderStatus};
use super::{CellStatus, Control, NodeConfig, Opened};
use crate::LiveError;
use crate::host::{CellHost, Pending, Places, Snapshot, recover};
use crate::session::{SessionRecord, SessionState};
use crate::shell::{CellShell, Close, Shared, Writer, opening};
use crate::warm_up::WarmUps;

pub(crate) struct Owner {
    opened: Opened,
    shared: Arc<Shared>,
    config: NodeConfig,
    cells: Arc<Mutex<Vec<Arc<CellStatus>>>>,
    ready: Arc<AtomicBool>,
    arbiters: Arbiters,
    feeds: Sender<Feed>,
    reader: JoinHandle<Result<(), LiveError>>,
    writers: BTreeMap<u32, Writer>,
    shells: BTreeMap<usize, Addr<CellShell>>,
    halted: bool,
}

impl Owner {
    /// How long a cell may take to write its last checkpoint.
    const CLOSE_PATIENCE: Duration = Duration::from_secs(30);

    pub(crate) fn new(
        opened: Opened,
        shared: Arc<Shared>,
        config: NodeConfig,
        cells: Arc<Mutex<Vec<Arc<CellStatus>>>>,
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
            cells,
            ready,
            arbiters,
            feeds,
            reader,
            writers: BTreeMap::new(),
            shells: BTreeMap::new(),
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
        loop {
            match control.try_recv() {
                Ok(Control::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            if self.reader.is_finished() {
                return Ok(()); // its error is told at the end
            }
            for event in membership.poll(Duration::from_millis(20))? {
                match event {
                    GroupEvent::Assigned(partitions) => {
                        self.keep_open()?;
                        for partition in partitions {
                            self.take_over(partition)?;
                        }
                        self.ready.store(true, Ordering::Release);
                    }
                    GroupEvent::Revoked(partitions) => self.let_go(&partitions, true)?,
                    GroupEvent::Lost(partitions) => self.let_go(&partitions, false)?,
                }
            }
        }
    }

    /// Another node may have ended the session while this one joined: it goes on here.
    fn keep_open(&self) -> Result<(), LiveError> {
        let (sources, ours) = (&self.shared.sources, &self.opened.record);
        let known = sessions(sources.bus.as_ref(), &sources.topics)?;
        if known.iter().any(|known| known.id == ours.id && known.state == SessionState::Closed) {
            tracing::info!(session = ours.id, "the session was ended by another node just now, and goes on");
            let record = session_record(&sources.topics, ours, self.shared.clock.now());
            sources.bus.publish(vec![record], Durability::Power).wait()?;
        }
        Ok(())
    }

    /// The cells whose accounts lie in a partition of the journal.
    fn cells_in(&self, partition: u32) -> Vec<usize> {
        let (plan, partitions) = (&self.opened.plan, self.shared.sources.partitions);
        let cells = 0..plan.run.cells.len();
        cells.filter(|cell| plan.journal_partition(*cell, partitions) == partition).collect()
    }

    fn take_over(&mut self, partition: u32) -> Result<(), LiveError> {
        let cells = self.cells_in(partition);
        if cells.is_empty() || self.writers.contains_key(&partition) {
            return Ok(());
        }
        let journal = &self.shared.sources.topics.journal;
        // Fences whoever had it: nothing can be written behind what is read now.
        let writer = self.shared.sources.bus.claim(journal, partition, self.opened.plan.durability)?;
        let writer: Writer = Arc::new(Mutex::new(writer));
        self.writers.insert(partition, writer.clone());
        for cell in cells {
            let account = self.opened.plan.run.cells[cell].account.id.to_string();
            let status = Arc::new(CellStatus::new(&account));
            let started = std::time::Instant::now();
            match self.bring_up(cell, &writer) {
                Ok((host, missing)) => {
                    status.note_recovery(started.elapsed());
                    let places = host.offered().clone();
                    let (shared, shown) = (self.shared.clone(), status.clone());
                    let (writer, mailbox) = (writer.clone(), self.config.mailbox);
                    let address = CellShell::start_in_arbiter(self.arbiters.of(cell), move |ctx| {
                        ctx.set_mailbox_capacity(mailbox);
                        CellShell::new(host, missing, writer, shared, shown)
                    });
                    self.shells.insert(cell, address.clone());
                    let _ = self.feeds.send(Feed::Add { cell, address, status: status.clone(), places });
                }
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

    /// A cell as it stood, or at the start of the session.
    fn bring_up(&self, cell: usize, writer: &Writer) -> Result<(CellHost, Vec<NewRecord>), LiveError> {
        let (sources, plan) = (&self.shared.sources, &self.opened.plan);
        let (topics, partitions) = (&sources.topics, sources.partitions);
        let account = plan.run.cells[cell].account.id.as_str();
        let last = Snapshot::latest(sources.bus.as_ref(), topics, partitions, account)?;
        if last.as_ref().is_some_and(|snapshot| snapshot.session == plan.id) {
            let (mut host, missing) = recover(sources, plan, cell)?;
            let key = Snapshot::opening_key(account, &plan.id);
            let opened = Snapshot::latest(sources.bus.as_ref(), topics, partitions, &key)?;
            if opened.is_some_and(|opened| opened.seq == host.seq()) {
                // Its node died before the session's first entry: that is the one which starts the strategies.
                self.start_strategies(&mut host)?;
            }
            return Ok((host, missing));
        }
        let partition = plan.journal_partition(cell, partitions);
        let mut places = Places {
            commands: sources.bus.bounds(&topics.commands, partition)?.end,
            signals: sources.bus.bounds(&topics.signals, partition)?.end,
            ..Places::default()
        };
        let market = sources.bus.partitions(&topics.trades)?;
        for (topic, partition) in plan.feeds_of(cell, market) {
            let end = sources.bus.bounds(topic.topic(topics), partition)?.end;
            places.market.insert((topic, partition), end);
        }
        let mut host = match &last {
            Some(snapshot) => {
                let mut host =
                    CellHost::at_snapshot(plan.clone(), cell, topics.clone(), partitions, snapshot)?;
                host.begin_at(places);
                host
            }
            None => {
                let next = sources.bus.bounds(&topics.journal, partition)?.end;
                CellHost::new(plan.clone(), cell, topics.clone(), partitions, places, next)?
            }
        };
        let now = self.shared.clock.now();
        let snapshot = host.snapshot()?;
        let records = vec![
            opening(&self.shared, &snapshot, now),
            snapshot.record(topics, partitions, account.to_owned(), now),
        ];
        let receipt =
            writer.lock().map_err(|_| LiveError::Other("a writer panicked".into()))?.append(records);
        receipt.wait()?;
        self.start_strategies(&mut host)?;
        Ok((host, Vec::new()))
    }

    /// Offers the starts of a cell's strategies: the first entry of a session holds them all.
    fn start_strategies(&self, host: &mut CellHost) -> Result<(), LiveError> {
        let plan = &self.opened.plan;
        let now = self.shared.clock.now();
        let mut warm_ups = WarmUps::new(&self.shared.sources, plan);
        for strategy in &plan.accounts[host.index()].strategies {
            let history = warm_ups.past(host, strategy)?;
            host.offer(Pending::Command {
                now,
                source: None,
                id: format!("{}:start:{}", plan.id, strategy.id),
                command: Box::new(tradeflow_actors::cell::Command::Start(Box::new(strategy.clone()))),
                history,
            });
        }
        Ok(())
    }

    fn let_go(&mut self, partitions: &[u32], orderly: bool) -> Result<(), LiveError> {
        for partition in partitions {
            for cell in self.cells_in(*partition) {
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
        let Some(address) = self.shells.remove(&cell) else { return Ok(()) };
        let (gone, heard) = sync_channel(1);
        let _ = self.feeds.send(Feed::Remove { cell, gone });
        let _ = heard.recv_timeout(Self::CLOSE_PATIENCE);
        let (done, closed) = sync_channel(1);
        address.do_send(Close { end, done });
        let account = self.opened.plan.run.cells[cell].account.id.to_string();
        if let Ok(mut cells) = self.cells.lock() {
            cells.retain(|known| known.account() != account || known.halted().is_some());
        }
        closed.recv_timeout(Self::CLOSE_PATIENCE).unwrap_or_else(|_| {
            let why = "it did not end in time; its journal is complete all the same".to_owned();
            Err(LiveError::Cell { account, why })
        })
    }

    fn close_all(&mut self) -> Result<(), LiveError> {
        let all = self.shells.len() == self.opened.plan.run.cells.len() && !self.halted;
        let mut first = Ok(());
        for cell in self.shells.keys().copied().collect::<Vec<_>>() {
            let closed = self.close(cell, all);
            first = first.and(closed);
        }
        self.writers.clear();
        first?;
        if all {
            let now = self.shared.clock.now();
            let record =
                SessionRecord { state: SessionState::Closed, ended: Some(now), ..self.opened.record.clone() };
            let sources = &self.shared.sources;
            let record = session_record(&sources.topics, &record, now);
            sources.bus.publish(vec![record], Durability::Power).wait()?;
        }
        Ok(())
    }
}
