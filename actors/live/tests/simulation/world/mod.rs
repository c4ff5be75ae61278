//! The world of a seed: true time, two machines on which a node may run, what happens to them.

mod trouble;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tradeflow_bus::{BusError, Clock, Topics};
use tradeflow_live::host::Sources;
use tradeflow_live::journal::Archive;
use tradeflow_live::node::{Closing, NodeConfig, SteppedNode, open_session};
use tradeflow_live::{LiveError, NoHistory, SessionPlan};
use tradeflow_model::Timestamp;

use crate::check;
use crate::dice::{Dice, Weather};
use crate::disk::{Disk, PARTITIONS};
use crate::feed::Feed;
use crate::line::Line;
use crate::people::People;
use crate::setting;
use trouble::explained;

/// Steps of a seed.
const STEPS: std::ops::Range<u64> = 80..240;
/// A finding: what was broken, and when.
#[derive(Debug)]
pub struct Finding(pub String);

impl From<LiveError> for Finding {
    fn from(error: LiveError) -> Self {
        Self(error.to_string())
    }
}

impl From<BusError> for Finding {
    fn from(error: BusError) -> Self {
        Self(error.to_string())
    }
}

/// What a seed came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub steps: u64,
    pub rows: u64,
    pub orders: u64,
    pub fills: u64,
    pub commands: u64,
    pub starts: u64,
    pub sessions: u64,
    /// Of everything on the bus.
    pub digest: [u8; 32],
}

/// The clock of a machine: true time and an error that grows and jumps.
#[derive(Default)]
struct MachineClock(AtomicI64);

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A machine, and the node that runs on it.
#[derive(Default)]
struct Machine {
    clock: Arc<MachineClock>,
    /// How far the clock is off, and how much more in a million it gets.
    error_ns: i64,
    drift: i64,
    node: Option<Running>,
    /// Steps until someone starts the node again.
    down: u64,
}

struct Running {
    process: u64,
    node: SteppedNode,
    /// Partitions that it lets go of in good order.
    leaving: BTreeMap<u32, Vec<Closing>>,
    /// Partitions that were taken from it, and after how many steps it is told.
    lost: BTreeMap<u32, u64>,
    /// It ends the session.
    ending: bool,
    /// Partitions were taken from it, or it was cut off: it may find itself too far behind.
    stale: bool,
    /// Steps until its halted cells are looked after.
    halted: Option<u64>,
}

pub struct World {
    dice: Dice,
    weather: Weather,
    pub disk: Disk,
    plan: Arc<SessionPlan>,
    now: Timestamp,
    feed: Feed,
    pub people: People,
    machines: [Machine; 2],
    /// The machine that owns each partition, and partitions that were taken without a word.
    owner: [usize; PARTITIONS as usize],
    processes: u64,
    archive: bool,
    config: NodeConfig,
    step: u64,
    trail: Vec<String>,
    tally: Tally,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0);
        let weather = Weather::new(&mut dice);
        let now = setting::start(&mut dice);
        let plan = setting::shared(&mut dice, now, weather.panic);
        let disk = Disk::new(plan.clone(), weather.clone(), Dice::new(seed, 1));
        let config = NodeConfig {
            mailbox: 1 << 16,
            snapshot_events: *dice.pick(&[20, 100, 1000]),
            snapshot_interval: Duration::from_secs(*dice.pick(&[5, 60, 3600])),
            grace: Duration::from_millis(*dice.pick(&[0, 500, 5000])),
            ..NodeConfig::default()
        };
        let archive = dice.chance(500);
        let mut owner = [0; PARTITIONS as usize];
        if dice.chance(500) {
            owner.iter_mut().for_each(|owner| *owner = dice.below(2) as usize);
        }
        Self {
            feed: Feed::new(Dice::new(seed, 2), weather.clone()),
            people: People::new(Dice::new(seed, 3), weather.panic),
            dice,
            weather,
            disk,
            plan,
            now,
            machines: Default::default(),
            owner,
            processes: 0,
            archive,
            config,
            step: 0,
            trail: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The last things that happened.
    pub fn trail(&self, count: usize) -> String {
        self.trail[self.trail.len().saturating_sub(count)..].join("\n")
    }

    /// The step it is at.
    pub fn at(&self) -> u64 {
        self.step
    }

    fn note(&mut self, what: impl Into<String>) {
        self.trail.push(format!("  step {} {}: {}", self.step, self.now, what.into()));
    }

    /// Lives through the seed, and checks what is left.
    pub async fn run(&mut self) -> Result<Tally, Finding> {
        let steps = self.dice.between(STEPS.start as i64, STEPS.end as i64) as u64;
        while self.step < steps {
            self.step += 1;
            self.turn().await?;
        }
        self.calm().await?;
        let sources = self.checker();
        check::all(self, &sources)?;
        self.tally.steps = self.step;
        self.tally.commands = self.people.sent.len() as u64;
        self.tally.starts = self.processes;
        check::tally(&self.disk, &sources, &mut self.tally)?;
        Ok(self.tally)
    }

    /// One step: time passes, something happens, cells run.
    async fn turn(&mut self) -> Result<(), Finding> {
        let dt = self.dice.weighted(&[(20, 300), (10, 2000), (2, 15_000)]);
        let dt = self.dice.between(1, dt) * 1_000_000;
        self.pass(dt);
        let records = self.feed.step(self.now);
        if !records.is_empty() {
            self.disk.publish(records);
        }
        if self.dice.chance(120) {
            let prices = [0, 1, 2].map(|market| self.feed.price(market));
            let said = self.people.send(&self.disk, prices, self.now);
            self.note(said);
        }
        self.start_what_is_down()?;
        for machine in 0..2 {
            if self.dice.chance(700) {
                self.read(machine)?;
            }
            if self.dice.chance(500)
                && let Some(running) = &self.machines[machine].node
            {
                running.node.tick();
            }
        }
        self.run_cells().await;
        self.disk.go_on();
        self.trouble()?;
        self.run_cells().await;
        self.let_go_on()?;
        self.look_after_halted()?;
        self.watch()
    }

    fn pass(&mut self, dt: i64) {
        self.now = self.now.saturating_add(dt);
        for machine in &mut self.machines {
            machine.error_ns += dt / 1_000_000 * machine.drift;
            let shown = self.now.as_nanos() + machine.error_ns;
            machine.clock.0.store(shown, Ordering::Relaxed);
        }
    }

    async fn run_cells(&self) {
        self.disk.state().cells_run = true;
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.disk.state().cells_run = false;
    }

    fn sources(&self, process: u64) -> Sources {
        let archive: Option<Arc<dyn Archive>> = self.archive.then(|| Arc::new(self.disk.clone()) as _);
        Sources {
            bus: Arc::new(Line { disk: self.disk.clone(), process }),
            topics: Topics::new(""),
            partitions: PARTITIONS,
            history: Arc::new(NoHistory),
            archive,
        }
    }

    /// For the checks: the bus as it is, and all market data that ever was.
    pub fn checker(&self) -> Sources {
        let mut sources = self.sources(0);
        sources.bus = Arc::new(self.disk.bus());
        sources.archive = Some(Arc::new(self.disk.clone()));
        sources
    }

    fn start_what_is_down(&mut self) -> Result<(), Finding> {
        for machine in 0..2 {
            if self.machines[machine].node.is_some() {
                continue;
            }
            if self.machines[machine].down > 0 {
                self.machines[machine].down -= 1;
                continue;
            }
            self.start(machine)?;
        }
        Ok(())
    }

    /// Starts the node of a machine; it stays down where a fault keeps it from starting.
    fn start(&mut self, machine: usize) -> Result<(), Finding> {
        self.processes += 1;
        let process = self.processes;
        self.disk.state().alive.insert(process);
        let sources = self.sources(process);
        let clock: Arc<dyn Clock> = self.machines[machine].clock.clone();
        let opened = open_session(&sources, &self.plan, clock.now());
        let started = opened.and_then(|opened| {
            let session = opened.plan.id.clone();
            SteppedNode::new(&sources, &clock, opened, &self.config).map(|node| (session, node))
        });
        match started {
            Ok((session, node)) => {
                self.note(format!("machine {machine} starts process {process} in session {session}"));
                let running = Running {
                    process,
                    node,
                    leaving: BTreeMap::new(),
                    lost: BTreeMap::new(),
                    ending: false,
                    stale: false,
                    halted: None,
                };
                self.machines[machine].node = Some(running);
            }
            Err(error) => {
                self.disk.kill(process);
                self.machines[machine].down = 3;
                self.note(format!("machine {machine} can't start: {error}"));
                return explained(&error, false);
            }
        }
        for partition in 0..PARTITIONS {
            if self.owner[partition as usize] == machine {
                self.take_over(machine, partition)?;
            }
        }
        Ok(())
    }

    fn take_over(&mut self, machine: usize, partition: u32) -> Result<(), Finding> {
        self.owner[partition as usize] = machine;
        let Some(running) = &mut self.machines[machine].node else { return Ok(()) };
        if running.ending || running.leaving.contains_key(&partition) {
            return Ok(());
        }
        if running.lost.remove(&partition).is_some() {
            drop(running.node.let_go(partition, false)); // it is told of a loss before it is given it again
        }
        let taken = running.node.take_over(partition);
        self.note(format!("machine {machine} takes partition {partition} over: {taken:?}"));
        match taken {
            Ok(()) => Ok(()),
            Err(error) => {
                let stale = self.machines[machine].node.as_ref().is_some_and(|running| running.stale);
                self.crash(machine);
                explained(&error, stale)
            }
        }
    }

    fn read(&mut self, machine: usize) -> Result<(), Finding> {
        let Some(running) = &mut self.machines[machine].node else { return Ok(()) };
        self.disk.state().node_reads = true;
        let read = running.node.read();
        self.disk.state().node_reads = false;
        let Err(error) = read else { return Ok(()) };
        let stale = running.stale;
        self.note(format!("the reader of machine {machine} ends: {error}"));
        self.crash(machine);
        explained(&error, stale)
    }

    /// The process is killed.
    fn crash(&mut self, machine: usize) {
        let Some(running) = self.machines[machine].node.take() else { return };
        self.note(format!("machine {machine}: process {} dies", running.process));
        self.disk.kill(running.process);
        self.machines[machine].down = self.dice.below(6);
    }

    /// The weather clears: one node takes everything, hears all that was said, and ends the session.
    async fn calm(&mut self) -> Result<(), Finding> {
        self.note("the weather clears");
        self.disk.state().calm = true;
        self.disk.state().cut.clear();
        self.crash(0);
        self.crash(1);
        self.run_cells().await;
        self.owner = [0; PARTITIONS as usize];
        self.machines[0].error_ns = 0;
        self.machines[0].drift = 0;
        self.pass(1_000_000);
        self.start(0)?;
        let mut quiet = 0;
        for _ in 0..1000 {
            let before = self.disk.writes();
            self.read(0)?;
            if let Some(running) = &self.machines[0].node {
                running.node.tick();
            }
            self.run_cells().await;
            self.disk.go_on();
            quiet = if self.disk.writes() == before { quiet + 1 } else { 0 };
            if quiet == 3 {
                break;
            }
        }
        self.look_after_halted()?;
        self.watch()?;
        if quiet < 3 {
            return Err(Finding("a node without faults does not come to rest".into()));
        }
        self.end_session();
        for _ in 0..100 {
            self.run_cells().await;
            self.disk.go_on();
            self.let_go_on()?;
            if self.machines[0].node.is_none() {
                self.watch()?;
                return self.disk.missing().map_or(Ok(()), |what| Err(Finding(what)));
            }
        }
        Err(Finding("a node without faults does not end its session".into()))
    }

    pub fn plan(&self) -> &Arc<SessionPlan> {
        &self.plan
    }
}
