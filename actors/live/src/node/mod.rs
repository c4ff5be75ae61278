//! A node: cells on arbiters, fed from the bus, owned by group.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Node`]: starts, shows, commands, stops |
//! | `arbiters.rs` | the threads that cells run on |
//! | `reader.rs` | the thread that reads the bus and hands chunks and commands to cells |
//! | `merge.rs` | puts the records of many partitions into the order of their time |
//! | `owner.rs` | the thread that owns accounts: takes them over, lets them go |
//! | `parallel.rs` | work that mostly waits for the bus, on several threads |
//! | `stepped.rs` | [`SteppedNode`]: the same on the caller's thread, for the simulation |
//! | `bring_up.rs` | a cell from snapshot and journal, or at the start of its session |
//! | `accounts.rs` | accounts that are opened and closed while a session runs |
//! | `open.rs` | finds the session that is open, or opens one |
//! | `status.rs` | what can be seen of cells and node |

mod accounts;
mod arbiters;
mod bring_up;
mod merge;
mod open;
mod owner;
mod parallel;
mod reader;
mod status;
mod stepped;

pub use accounts::AccountError;
pub use open::{Opened, open_session, session, sessions};
pub use status::{BusView, CellStatus, CellView, NodeView, Percentiles, PositionView, StrategyView};
pub use stepped::{Closing, SteppedNode};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tradeflow_bus::{Clock, Durability, NewRecord, partition_of};
use tradeflow_model::InstrumentId;
use tradeflow_model::plan::CellPlan;

use crate::LiveError;
use crate::commands::{CommandMessage, WireCommand};
use crate::host::Sources;
use crate::session::SessionPlan;
use crate::shell::{Shared, SnapshotPolicy};
use owner::Owner;
use reader::ReaderStatus;

/// Settings of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Threads that cells run on.
    pub arbiters: usize,
    /// Messages that wait for a cell.
    pub mailbox: usize,
    /// A snapshot after so many market events, which bounds the time of a recovery.
    pub snapshot_events: u64,
    /// A snapshot after so much time.
    pub snapshot_interval: Duration,
    /// How often cells look at the time.
    pub tick: Duration,
    /// How long a timer or session boundary waits for data that is older.
    pub grace: Duration,
    /// The consumer group that shares the accounts.
    pub group: String,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            arbiters: 1,
            mailbox: 256,
            snapshot_events: 250_000,
            snapshot_interval: Duration::from_secs(60),
            tick: Duration::from_millis(50),
            grace: Duration::from_millis(500),
            group: "tradeflow-cells".to_owned(),
        }
    }
}

impl NodeConfig {
    /// What the shells of a node with these settings share.
    fn shared(&self, sources: &Sources, clock: &Arc<dyn Clock>) -> Shared {
        Shared {
            sources: sources.clone(),
            clock: clock.clone(),
            snapshots: SnapshotPolicy {
                events: self.snapshot_events,
                interval_ns: nanos(self.snapshot_interval),
            },
            grace_ns: nanos(self.grace),
            failure: Mutex::default(),
        }
    }
}

/// What the owner is told.
enum Control {
    /// Stop: close all cells; end the session where no other node goes on with it.
    Stop,
    /// The session's record was changed: look at it.
    Changed,
}

/// The plan of the session, with the accounts that it has now.
type CurrentPlan = Arc<RwLock<Arc<SessionPlan>>>;

/// A running node.
pub struct Node {
    plan: CurrentPlan,
    sources: Sources,
    clock: Arc<dyn Clock>,
    cells: Arc<Mutex<Vec<Arc<CellStatus>>>>,
    control: Sender<Control>,
    owner: Mutex<Option<JoinHandle<Result<(), LiveError>>>>,
    ready: Arc<AtomicBool>,
    lag: Lag,
}

/// How far the cells of a node are behind the bus.
#[derive(Debug, Clone, Default)]
pub struct Lag(Arc<ReaderStatus>);

impl Lag {
    /// The age of the record that was handed to cells last; zero when there is nothing more to read.
    pub fn behind(&self) -> Duration {
        Duration::from_nanos(self.0.behind.load(Ordering::Relaxed).max(0).unsigned_abs())
    }

    /// Records read.
    pub fn records(&self) -> u64 {
        self.0.records.load(Ordering::Relaxed)
    }

    /// Times that a full mailbox made the reader wait.
    pub fn waits(&self) -> u64 {
        self.0.waits.load(Ordering::Relaxed)
    }
}

impl Node {
    /// Starts the cells of a session that was opened with [`open_session`].
    ///
    /// # Errors
    /// When the bus can't be read. (What is wrong with one cell halts that cell.)
    pub fn start(
        sources: Sources,
        clock: Arc<dyn Clock>,
        opened: Opened,
        config: NodeConfig,
    ) -> Result<Self, LiveError> {
        let plan = CurrentPlan::new(RwLock::new(opened.plan.clone()));
        let cells = Arc::new(Mutex::new(Vec::new()));
        let ready = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(config.shared(&sources, &clock));
        let lag = Lag::default();
        let (control, commands): (Sender<Control>, Receiver<Control>) = channel();
        let owner =
            Owner::new(opened, shared, config, (plan.clone(), cells.clone()), ready.clone(), lag.0.clone())?;
        let thread = std::thread::Builder::new().name("owner".into()).spawn(move || owner.run(&commands));
        let thread = thread.map_err(|error| LiveError::Other(format!("the owner's thread: {error}")))?;
        Ok(Self { plan, sources, clock, cells, control, owner: Mutex::new(Some(thread)), ready, lag })
    }

    /// The session, with the accounts that it has now.
    pub fn plan(&self) -> Arc<SessionPlan> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens an account while the session runs; its cell comes up on the node that its name falls to. Commands to it may
    /// be sent at once.
    ///
    /// # Errors
    /// When there is or was an account of this name, or the session's record can't be written.
    pub fn open_account(&self, cell: &CellPlan, instruments: &[InstrumentId]) -> Result<(), AccountError> {
        accounts::open_account(&self.sources, &self.plan().id, cell, instruments, self.clock.now())?;
        self.look_at_accounts();
        Ok(())
    }

    /// Closes an account that was opened while a session ran; one of the configuration is not. Its orders and positions
    /// should be none by then: they are left as they are.
    ///
    /// # Errors
    /// When there is no such account, or the session's record can't be written.
    pub fn close_account(&self, account: &str) -> Result<(), AccountError> {
        accounts::close_account(&self.sources, &self.plan().id, account, self.clock.now())?;
        self.look_at_accounts();
        Ok(())
    }

    /// Has the owner look at the session's record; the plan is shown at once.
    fn look_at_accounts(&self) {
        let read = accounts::read(&self.sources, &self.plan().id)
            .and_then(|(_, record)| record.plan().map_err(LiveError::Other));
        if let Ok(plan) = read {
            *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
        }
        let _ = self.control.send(Control::Changed); // an owner that has ended brings nothing up
    }

    /// How far its cells are behind the bus.
    pub fn lag(&self) -> Lag {
        self.lag.clone()
    }

    /// Whether the cells that fell to this node first are up.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether it goes on; false after a failure that [`Self::stop`] then tells.
    pub fn is_running(&self) -> bool {
        self.owner.lock().is_ok_and(|owner| owner.as_ref().is_some_and(|owner| !owner.is_finished()))
    }

    /// What can be seen now.
    pub fn view(&self) -> NodeView {
        NodeView {
            session: self.plan().id.clone(),
            ready: self.is_ready(),
            cells: self.cells().iter().map(|cell| cell.view()).collect(),
        }
    }

    /// The statuses of the cells that run here.
    pub fn cells(&self) -> Vec<Arc<CellStatus>> {
        let mut cells = self.cells.lock().map(|cells| cells.clone()).unwrap_or_default();
        cells.retain(|cell| !cell.is_gone());
        cells
    }

    /// How far the node has read the bus. Asks the bus, which may take a moment on Kafka; a topic that it can't be asked
    /// about right now is left out.
    pub fn bus(&self) -> BusView {
        let places = self.lag.0.places.lock().map(|places| places.clone()).unwrap_or_default();
        let mut lag: BTreeMap<String, u64> = BTreeMap::new();
        for ((topic, partition), next) in places {
            if let Ok(bounds) = self.sources.bus.bounds(&topic, partition) {
                *lag.entry(topic.to_string()).or_default() += bounds.end.saturating_sub(next);
            }
        }
        let behind_ms = i64::try_from(self.lag.behind().as_millis()).unwrap_or(i64::MAX);
        BusView { records: self.lag.records(), waits: self.lag.waits(), behind_ms, lag }
    }

    /// Puts a command on the bus; its answer comes on `replies.v1`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn command(&self, account: &str, id: &str, command: WireCommand) -> Result<(), LiveError> {
        let ts = self.clock.now();
        let message = CommandMessage {
            v: CommandMessage::VERSION,
            id: id.to_owned(),
            account: account.to_owned(),
            ts,
            command,
        };
        let topic = self.sources.topics.commands.clone();
        let record = NewRecord {
            topic,
            partition: partition_of(account.as_bytes(), self.sources.partitions),
            key: account.to_owned().into(),
            value: Some(message.encode().into()),
            ts,
        };
        self.sources.bus.publish(vec![record], Durability::Process).wait()?;
        Ok(())
    }

    /// Closes all cells, and the session where this node had all of it.
    ///
    /// # Errors
    /// What could not be closed, and failures on the way.
    pub fn stop(&self) -> Result<(), LiveError> {
        let _ = self.control.send(Control::Stop);
        let owner = self.owner.lock().ok().and_then(|mut owner| owner.take());
        let Some(owner) = owner else { return Ok(()) };
        owner.join().map_err(|_| LiveError::Other("the owner's thread panicked".into()))?
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
