//! The actix actor around a cell: a bounded mailbox in, the journal and outputs to the bus.
//!
//! A turn takes all that waits, so that under load turns grow longer instead of more numerous. It is handled, and if
//! anything came of it, an entry is written with it, in one append; until that is on the bus nobody learns of it, and if it
//! can't be written the cell is thrown away and made again from the journal. What nothing came of is owed to the journal for
//! a while. While one append is under way the next may be handed over, so that it goes with the bus's next group. Meanwhile
//! the mailbox goes on filling; when too much waits, it is not emptied any more, and the reader of the bus waits in turn.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tradeflow_bus::{BusError, Clock, Exclusive, NewRecord, Receipt, Topics, Written};
use tradeflow_model::Timestamp;

use crate::LiveError;
use crate::chunk::Chunk;
use crate::commands::{CommandMessage, WireCommand};
use crate::host::{CellHost, Handled, Pending, Snapshot, Sources, Turn};
use crate::journal::Source;
use crate::node::{CellStatus, CellView};
use crate::warm_up::WarmUps;

/// Market data for a cell.
pub(crate) struct Deliver(pub(crate) Vec<Arc<Chunk>>);

/// A command from the bus.
pub(crate) struct Instruct {
    pub(crate) source: Source,
    pub(crate) message: CommandMessage,
}

/// Time passes.
pub(crate) struct Tick;

/// The mailbox is empty: what it brought is taken together.
struct Gathered;

/// Handles what waits, writes a checkpoint and a snapshot, and ends.
pub(crate) struct Close {
    /// Whether the session ends.
    pub(crate) end: bool,
    /// Told when it is done.
    pub(crate) done: std::sync::mpsc::SyncSender<Result<(), LiveError>>,
}

macro_rules! messages {
    ($($name:ty),*) => {$(
        impl Message for $name {
            type Result = ();
        }
    )*};
}
messages!(Deliver, Instruct, Tick, Gathered, Close);

/// The one writer of a journal partition, shared by the cells whose accounts lie there.
pub(crate) type Writer = Arc<Mutex<Box<dyn Exclusive>>>;

/// Appends of a cell that are under way, at most.
const FLIGHTS_MAX: usize = 2;
/// How long the inputs of quiet turns are owed to the journal, about: then they stand in an entry of their own.
const OWED_FOR_NS: i64 = 250_000_000;
/// How often what people see of a cell is made anew, at most: when prices move, and when its orders change.
const SHOW_EVERY: Duration = Duration::from_millis(200);
const SHOW_TRADES_EVERY: Duration = Duration::from_millis(10);

/// When snapshots are taken.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotPolicy {
    /// After so many market events, which bounds the time of a recovery.
    pub events: u64,
    /// After so much time with any event, in nanoseconds.
    pub interval_ns: i64,
}

/// What all shells of a node share.
pub(crate) struct Shared {
    pub(crate) sources: Sources,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) snapshots: SnapshotPolicy,
    /// How long after its due time a timer or session boundary waits for data that is older.
    pub(crate) grace_ns: i64,
    /// The first failure of the bus: it is no cell's fault, and ends the node.
    pub(crate) failure: Mutex<Option<BusError>>,
}

impl Shared {
    fn fail(&self, error: BusError) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
    }

    fn topics(&self) -> &Topics {
        &self.sources.topics
    }
}

/// A cell in its shell.
pub(crate) struct CellShell {
    /// None when it is halted.
    host: Option<CellHost>,
    writer: Writer,
    shared: Arc<Shared>,
    status: Arc<CellStatus>,
    warm_ups: Option<WarmUps>,
    /// Answers to commands that never reached the cell, for the next append.
    answers: Vec<NewRecord>,
    /// The appends under way, in their order, and how many there were.
    flights: VecDeque<Flight>,
    flown: u64,
    /// Since when the cell has owed something to its journal.
    owed_since: Option<Timestamp>,
    /// A checkpoint or a snapshot is being written.
    snapshots: bool,
    /// Told itself to take what it was sent.
    gathering: bool,
    /// When the last snapshot was taken.
    snapshot_at: Timestamp,
    /// When it was last shown, and the inputs and records that it had then.
    shown: Option<(Instant, u64, u64)>,
    closing: Option<Close>,
}

/// An append under way.
struct Flight {
    number: u64,
    receipt: Receipt,
    writing: Writing,
}

/// What an append is of.
struct Writing {
    turn: Option<Done>,
    /// Whether it begins with an entry of the journal.
    entry: bool,
    started: Instant,
}

/// A turn that was handled, to be told when it is written.
struct Done {
    handled: Handled,
    /// When the oldest of its market data was received.
    received: Option<Timestamp>,
    /// What people are shown then.
    view: Option<CellView>,
}

impl CellShell {
    pub(crate) fn new(host: CellHost, writer: Writer, shared: Arc<Shared>, status: Arc<CellStatus>) -> Self {
        let snapshot_at = shared.clock.now();
        Self {
            host: Some(host),
            writer,
            shared,
            status,
            warm_ups: None,
            answers: Vec::new(),
            flights: VecDeque::new(),
            flown: 0,
            owed_since: None,
            snapshots: false,
            gathering: false,
            snapshot_at,
            shown: None,
            closing: None,
        }
    }

    /// Goes on as far as it can without waiting for an append.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while !self.snapshots && self.flights.len() < FLIGHTS_MAX {
            let Some(host) = &mut self.host else { return };
            // A snapshot is not put off for ever by a market that never rests.
            let due = snapshot_due(host, &self.shared, self.snapshot_at);
            let turn = if due { None } else { host.take() };
            let mut outputs = std::mem::take(&mut self.answers);
            let mut answers = !outputs.is_empty();
            let mut done = None;
            if let Some(turn) = turn {
                match self.handle(&turn) {
                    Ok(mut turn) => {
                        answers |= !turn.handled.answers.is_empty();
                        outputs.append(&mut turn.handled.records);
                        done = Some(turn);
                    }
                    Err(why) => {
                        // What broke the cell stays in the journal, without its outcome.
                        outputs.extend(self.host.as_mut().and_then(CellHost::entry));
                        drop(self.append(outputs));
                        return self.halt(&why);
                    }
                }
            }
            let quiet = outputs.is_empty() && !self.must_write(due);
            // What is under way may not be shown yet.
            if let Some(done) = done.as_mut().filter(|_| !quiet || self.flights.is_empty()) {
                done.view = self.view();
            }
            if quiet {
                let Some(done) = done else { return self.rest(ctx) };
                self.tell(done);
                continue;
            }
            let Some(host) = &mut self.host else { return };
            let mut entries = Vec::from_iter(host.entry());
            self.owed_since = None;
            let writing = Writing { turn: done, entry: !entries.is_empty(), started: Instant::now() };
            let receipt = self.with_writer(|writer| {
                // Someone waits for answers.
                if answers {
                    entries.append(&mut outputs);
                    return writer.append(entries);
                }
                writer.journal(entries, outputs)
            });
            self.fly(receipt, writing, ctx);
        }
    }

    /// Whether what is owed to the journal must be written although nothing came of it.
    fn must_write(&mut self, snapshot_due: bool) -> bool {
        let Some(host) = &self.host else { return false };
        if !host.owes() {
            return false;
        }
        let now = self.shared.clock.now();
        let since = *self.owed_since.get_or_insert(now);
        let closes = self.closing.is_some() && host.is_idle();
        closes || snapshot_due || host.owes_much() || now.as_nanos() - since.as_nanos() >= OWED_FOR_NS
    }

    /// Handles a turn, or says what broke the cell.
    fn handle(&mut self, turn: &Turn) -> Result<Done, String> {
        let Some(host) = &mut self.host else { return Err("it is halted".to_owned()) };
        match catch_unwind(AssertUnwindSafe(|| host.handle(turn))) {
            Ok(Ok(handled)) => Ok(Done { handled, received: turn.received(), view: None }),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it panicked outside of its strategies; the panic's text is in the log".to_owned()),
        }
    }

    /// The cell as people see it, if it is time to show it anew.
    fn view(&mut self) -> Option<CellView> {
        let host = self.host.as_ref()?;
        let (handled, records) = (host.cell().paper().counters().inputs, host.records());
        let due = self.shown.is_none_or(|(at, before, told)| {
            let every = if told == records { SHOW_EVERY } else { SHOW_TRADES_EVERY };
            before != handled && at.elapsed() >= every
        });
        due.then(|| {
            self.shown = Some((Instant::now(), handled, records));
            self.status.view_of(host)
        })
    }

    fn append(&self, records: Vec<NewRecord>) -> Receipt {
        self.with_writer(|writer| writer.append(records))
    }

    fn with_writer(&self, write: impl FnOnce(&mut dyn Exclusive) -> Receipt) -> Receipt {
        match self.writer.lock() {
            Ok(mut writer) => write(writer.as_mut()),
            Err(_) => Receipt::ready(Err(BusError::other("journal", "its writer panicked"))),
        }
    }

    /// Goes on when an append was made.
    fn fly(&mut self, mut receipt: Receipt, writing: Writing, ctx: &mut Context<Self>) {
        if let Some(answer) = receipt.try_now() {
            // A refusal counts at once: nothing may be appended behind a gap.
            if answer.is_err() || self.flights.is_empty() {
                return self.written(answer, writing);
            }
            receipt = Receipt::ready(answer);
        }
        self.flown += 1;
        self.flights.push_back(Flight { number: self.flown, receipt, writing });
        ctx.spawn(Landing(self.flown));
        self.hold(ctx);
    }

    /// While too much waits for an append the mailbox is not read: whoever sends has to wait.
    fn hold(&self, ctx: &mut Context<Self>) {
        let much = self.host.as_ref().is_some_and(|host| host.pending_rows() > CellHost::PENDING_ROWS_MAX);
        if let Some(first) = self.flights.front()
            && much
        {
            ctx.wait(Landing(first.number));
        }
    }

    /// The records are on the bus, and what came of the turn may be told.
    fn written(&mut self, answer: Result<Written, BusError>, writing: Writing) {
        let written = match answer {
            Ok(written) => written,
            Err(error) => return self.not_written("the journal", error),
        };
        let Some(host) = &mut self.host else { return };
        if let Some((_, offset)) = written.places.first().filter(|_| writing.entry) {
            host.written(*offset);
        }
        self.status.note_journal(writing.started.elapsed());
        if let Some(done) = writing.turn {
            self.tell(done);
        }
    }

    fn tell(&self, Done { handled, received, view }: Done) {
        for notice in &handled.output.notices {
            tracing::error!(account = self.status.account(), ?notice, "a strategy failed");
        }
        for (id, answer) in &handled.answers {
            tracing::info!(account = self.status.account(), id, ?answer, "command");
        }
        if let Some(received) = received {
            let took = self.shared.clock.now().as_nanos() - received.as_nanos();
            self.status.note_decision(took, handled.events);
            if handled.fills > 0 {
                self.status.note_fills(took, handled.fills);
            }
        }
        self.status.note_handled(&handled);
        if let Some(view) = view {
            self.status.show(view);
        }
    }

    /// What could not be written may be on the bus or not: the cell is rebuilt from what is there, here after the next
    /// start, or on the node that has taken the account over.
    fn not_written(&mut self, what: &str, error: BusError) {
        if matches!(error, BusError::Fenced { .. }) {
            tracing::info!(account = self.status.account(), "another node has taken the account over");
            self.status.leave();
            return self.end(&error.to_string());
        }
        let why = format!("{what} can't be written: {error}");
        self.shared.fail(error);
        self.halt(&why);
    }

    /// The cell can't go on: what it broke is said, and its account trades no more until a person looks.
    fn halt(&mut self, why: &str) {
        tracing::error!(account = self.status.account(), why, "the cell is halted");
        self.status.halt(why);
        self.end(why);
    }

    fn end(&mut self, why: &str) {
        self.host = None;
        self.answers.clear();
        self.flights.clear();
        if let Some(close) = self.closing.take() {
            let error = LiveError::Cell { account: self.status.account().to_owned(), why: why.to_owned() };
            let _ = close.done.send(Err(error));
        }
    }

    /// There is nothing to be written: time for a snapshot, or, when nothing waits, for the end. Once what is under way
    /// has been written, that is.
    fn rest(&mut self, ctx: &mut Context<Self>) {
        let Some(host) = &mut self.host else { return };
        if !self.flights.is_empty() {
            return;
        }
        let due = snapshot_due(host, &self.shared, self.snapshot_at);
        let closes = self.closing.is_some() && host.is_idle();
        if !due && !closes {
            return;
        }
        let end = closes && self.closing.as_ref().is_some_and(|close| close.end);
        let record = host.checkpoint_entry(end);
        self.snapshots = true;
        self.snapshot_at = self.shared.clock.now();
        let receipt = self.append(vec![record]);
        ctx.wait(receipt.into_actor(self).map(|answer, shell, ctx| shell.snapshot(answer, ctx)));
    }

    /// The checkpoint is written: the snapshot behind it follows.
    fn snapshot(&mut self, answer: Result<Written, BusError>, ctx: &mut Context<Self>) {
        let offset = match answer {
            Ok(written) => written.places.first().map_or(0, |(_, offset)| *offset),
            Err(error) => return self.not_written("a checkpoint", error),
        };
        let Some(host) = &mut self.host else { return };
        host.written(offset);
        let snapshot = match host.snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => return self.halt(&format!("no snapshot can be taken: {error}")),
        };
        let (topics, partitions) = (self.shared.topics(), self.shared.sources.partitions);
        let ts = self.shared.clock.now();
        let record = snapshot.record(topics, partitions, snapshot.account.clone(), ts);
        let started = Instant::now();
        let receipt = self.append(vec![record]);
        ctx.wait(receipt.into_actor(self).map(move |answer, shell, ctx| {
            shell.snapshots = false;
            shell.status.note_snapshot(started.elapsed());
            if let Err(error) = answer {
                return shell.not_written("a snapshot", error);
            }
            let Some(host) = &mut shell.host else { return };
            host.snapshot_written();
            match shell.closing.take_if(|_| host.is_idle()) {
                Some(close) => {
                    let _ = close.done.send(Ok(()));
                    shell.host = None;
                    ctx.stop();
                }
                None => shell.pump(ctx),
            }
        }));
    }
}

impl Actor for CellShell {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.pump(ctx);
    }
}

impl Handler<Deliver> for CellShell {
    type Result = ();

    fn handle(&mut self, Deliver(chunks): Deliver, ctx: &mut Self::Context) {
        self.status.note_taken();
        let Some(host) = &mut self.host else { return };
        for chunk in chunks {
            host.offer(Pending::Market(chunk));
        }
        if host.pending_rows() >= CellHost::ENTRY_ROWS_MAX {
            self.pump(ctx);
            self.hold(ctx);
        } else if !self.gathering {
            self.gathering = true;
            ctx.notify(Gathered);
        }
    }
}

impl Handler<Gathered> for CellShell {
    type Result = ();

    fn handle(&mut self, _: Gathered, ctx: &mut Self::Context) {
        self.gathering = false;
        self.pump(ctx);
    }
}

impl Handler<Instruct> for CellShell {
    type Result = ();

    fn handle(&mut self, instruct: Instruct, ctx: &mut Self::Context) {
        self.status.note_taken();
        let Some(host) = &mut self.host else { return };
        let now = self.shared.clock.now();
        let warm_ups = self.warm_ups.get_or_insert_with(|| WarmUps::new(&self.shared.sources, host.plan()));
        let Instruct { source, message } = instruct;
        let told = match &message.command {
            WireCommand::Preview(order) => Some(host.preview(source, &message.id, order, now)),
            WireCommand::DryRun(strategy) => {
                Some(Ok(host.dry_run(source, &message.id, strategy, warm_ups, now)))
            }
            WireCommand::Report => Some(Ok(host.report(source, &message.id, now))),
            _ => None,
        };
        match told {
            Some(Ok(reply)) => {
                self.answers.push(reply);
                return self.pump(ctx);
            }
            Some(Err(error)) => return self.halt(&error.to_string()),
            None => {}
        }
        match warm_ups.command(host, &message) {
            Ok((command, history)) => {
                let command = Box::new(command);
                host.offer(Pending::Command { now, source: Some(source), id: message.id, command, history });
            }
            Err(answer) => {
                let reply = host.refuse(source, &message.id, &answer, now);
                self.status.note_refused();
                self.answers.push(reply);
            }
        }
        self.pump(ctx);
    }
}

impl Handler<Tick> for CellShell {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        self.pump(ctx);
        let Some(host) = &mut self.host else { return };
        host.offer_time(self.shared.clock.now().saturating_add(-self.shared.grace_ns));
        self.pump(ctx);
        if self.flights.is_empty()
            && let Some(view) = self.view()
        {
            self.status.show(view);
        }
    }
}

impl Handler<Close> for CellShell {
    type Result = ();

    fn handle(&mut self, close: Close, ctx: &mut Self::Context) {
        if self.host.is_none() {
            let why = self.status.halted().unwrap_or_else(|| "it is halted".to_owned());
            let error = LiveError::Cell { account: self.status.account().to_owned(), why };
            let _ = close.done.send(Err(error));
            return;
        }
        self.closing = Some(close);
        self.pump(ctx);
    }
}

/// A panic outside of its cell ends a shell, and no one rebuilds it: that is to be seen.
impl Drop for CellShell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.status.halt("its shell panicked; start the node again, nothing is lost");
        }
    }
}

/// The end of the append with this number. Several may wait for it: beside other things, and with the mailbox held.
struct Landing(u64);

impl ActorFuture<CellShell> for Landing {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        shell: &mut CellShell,
        ctx: &mut Context<CellShell>,
        task: &mut std::task::Context<'_>,
    ) -> Poll<()> {
        while let Some(first) = shell.flights.front_mut().filter(|flight| flight.number <= self.0) {
            let Poll::Ready(answer) = Pin::new(&mut first.receipt).poll(task) else { return Poll::Pending };
            if let Some(flight) = shell.flights.pop_front() {
                shell.written(answer, flight.writing);
                shell.pump(ctx);
            }
        }
        Poll::Ready(())
    }
}

/// Whether it is time for a snapshot.
fn snapshot_due(host: &CellHost, shared: &Shared, last: Timestamp) -> bool {
    let (events, policy) = (host.events_since_snapshot(), shared.snapshots);
    events >= policy.events
        || (events > 0 && shared.clock.now().as_nanos() - last.as_nanos() >= policy.interval_ns)
}

/// The opening snapshot of a session under its own key.
pub(crate) fn opening(shared: &Shared, snapshot: &Snapshot, now: Timestamp) -> NewRecord {
    let key = Snapshot::opening_key(&snapshot.account, &snapshot.session);
    snapshot.record(shared.topics(), shared.sources.partitions, key, now)
}
