//! What the threads of one process share: the first failure, the window, the agreement to stop, what peers have said.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::control::Message;
use super::{DataflowError, Outcome, Place};

/// How long a lost data connection waits for the peer's own account of what happened.
const EXPLANATION: Duration = Duration::from_secs(1);

/// What the dispatcher may do with the batch in its hand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Hand it to the workers.
    Go,
    /// The run was stopped before it.
    Stopped,
    /// The run has failed.
    Aborted,
}

pub(super) struct Shared {
    pub(super) process: usize,
    pub(super) window_batches: u64,
    /// Set once, with the first failure; read without the lock in hot loops.
    aborted: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    failure: Option<DataflowError>,
    /// A lost data connection, and when it becomes the failure unless something better is known by then.
    suspicion: Option<(DataflowError, Instant)>,
    /// The run has its result; peers may leave.
    concluded: bool,

    /// Threads to wake and sockets to close when the run fails.
    threads: Vec<Thread>,
    sockets: Vec<TcpStream>,
    links: Vec<SyncSender<Message>>,
    writers: Vec<JoinHandle<()>>,
    /// Driver threads (workers and dispatcher) that still run.
    running: usize,

    /// Batches given to the local workers, with the rows up to each that is not yet done.
    dispatched: u64,
    rows: u64,
    marks: VecDeque<(u64, u64)>,
    /// Batches and rows done everywhere, as far as the local workers know.
    done: (u64, u64),
    paused: bool,
    limit: Option<u64>,
    /// How the local source ended.
    pub(super) ended: Option<Outcome>,

    /// What peers said: their ports, at which batch they paused, how their source ended, that they want to stop.
    pub(super) ports: Option<Vec<u16>>,
    pub(super) pauses: BTreeMap<usize, u64>,
    pub(super) ends: BTreeMap<usize, Outcome>,
    pub(super) stop_wanted: bool,
}

impl Shared {
    pub(super) fn new(process: usize, window_batches: usize) -> Self {
        Self {
            process,
            window_batches: window_batches as u64,
            aborted: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until something changes, at most for `limit`.
    pub(super) fn wait_a_little(&self, limit: Duration) {
        drop(self.changed.wait_timeout(self.lock(), limit));
    }

    /// Changes the state and tells all who wait.
    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    // Failure ------------------------------------------------------------------------------------------------

    /// Ends the run with an error, unless it has failed or concluded before: tells the peers, closes the data
    /// connections, wakes everyone.
    pub(super) fn fail(&self, error: DataflowError) {
        let mut state = self.lock();
        if state.failure.is_some() || state.concluded {
            return;
        }
        for link in &state.links {
            // A full queue means a peer that does not read; its silence will be noticed.
            let _ = link.try_send(Message::Failed(error.clone()));
        }
        state.failure = Some(error);
        self.aborted.store(true, Ordering::Release);
        state.sockets.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
        state.threads.iter().for_each(Thread::unpark);
        drop(state);
        self.changed.notify_all();
    }

    /// Ends the run with an error or panic of `place` in this process.
    pub(super) fn fail_at(&self, place: Place, reason: String) {
        self.fail(DataflowError::Failed { process: self.process, place, reason });
    }

    /// Reports a broken data connection: a failure, unless the peer's own account of it comes within a second.
    pub(super) fn suspect(&self, error: DataflowError) {
        self.update(|state| {
            state.suspicion.get_or_insert((error, Instant::now() + EXPLANATION));
        });
    }

    /// The failure, if the run has failed.
    pub(super) fn check(&self) -> Result<(), DataflowError> {
        let due = match &*self.lock() {
            State { failure: Some(error), .. } => return Err(error.clone()),
            State { suspicion: Some((error, due)), concluded: false, .. } if *due <= Instant::now() => {
                error.clone()
            }
            _ => return Ok(()),
        };
        self.fail(due.clone());
        Err(due)
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Marks the run as a success: from here on peers may leave. False if it has failed.
    pub(super) fn conclude(&self) -> bool {
        let mut state = self.lock();
        state.concluded = state.failure.is_none();
        let concluded = state.concluded;
        drop(state);
        self.changed.notify_all();
        concluded
    }

    /// Whether the run is a success.
    pub(super) fn is_concluded(&self) -> bool {
        self.lock().concluded
    }

    // Threads and connections --------------------------------------------------------------------------------

    /// A thread to wake when the run fails.
    pub(super) fn add_thread(&self, thread: Thread) {
        let mut state = self.lock();
        if state.failure.is_some() {
            thread.unpark();
        }
        state.threads.push(thread);
    }

    /// A data connection to close when the run fails.
    pub(super) fn add_socket(&self, socket: TcpStream) {
        let mut state = self.lock();
        if state.failure.is_some() {
            drop(socket.shutdown(Shutdown::Both));
        }
        state.sockets.push(socket);
    }

    /// A control connection.
    pub(super) fn add_link(&self, link: SyncSender<Message>, writer: JoinHandle<()>) {
        let mut state = self.lock();
        if let Some(error) = &state.failure {
            let _ = link.try_send(Message::Failed(error.clone()));
        }
        state.links.push(link);
        state.writers.push(writer);
    }

    /// Closes the control connections, after what was said is sent or `limit` has passed.
    pub(super) fn hang_up(&self, limit: Duration) {
        let due = Instant::now() + limit;
        let mut state = self.lock();
        state.links.clear();
        let writers = std::mem::take(&mut state.writers);
        drop(state);
        while Instant::now() < due && writers.iter().any(|writer| !writer.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Says something to all peers with which this process has a control connection.
    pub(super) fn broadcast(&self, message: &Message) {
        for link in &self.lock().links {
            let _ = link.try_send(message.clone());
        }
    }

    pub(super) fn driver_started(&self) {
        self.lock().running += 1;
    }

    pub(super) fn driver_gone(&self) {
        self.update(|state| state.running -= 1);
    }

    pub(super) fn drivers_running(&self) -> usize {
        self.lock().running
    }

    /// Waits until the driver threads are gone; false if some still run after `limit`.
    pub(super) fn wait_for_drivers(&self, limit: Option<Duration>) -> bool {
        let due = limit.map(|limit| Instant::now() + limit);
        let mut state = self.lock();
        while state.running > 0 {
            let Some(due) = due else {
                state = self.wait(state);
                continue;
            };
            let now = Instant::now();
            if now >= due {
                return false;
            }
            state = match self.changed.wait_timeout(state, due - now) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    // Window and stop ----------------------------------------------------------------------------------------

    /// Waits until batch `number` fits the window. False if the run has failed.
    pub(super) fn wait_for_room(&self, number: u64) -> bool {
        let mut state = self.lock();
        while state.failure.is_none() && number - state.done.0.min(number) >= self.window_batches {
            state = self.wait(state);
        }
        state.failure.is_none()
    }

    /// Asks to hand out batch `number`; waits while the processes agree where to stop.
    pub(super) fn admit(&self, number: u64, rows: u64) -> Admission {
        let mut state = self.lock();
        while state.failure.is_none() && state.paused {
            state = self.wait(state);
        }
        if state.failure.is_some() {
            return Admission::Aborted;
        }
        if state.limit.is_some_and(|limit| number >= limit) {
            return Admission::Stopped;
        }
        state.dispatched = number + 1;
        state.rows += rows;
        let mark = (state.dispatched, state.rows);
        state.marks.push_back(mark);
        Admission::Go
    }

    /// Batches and rows handed out so far.
    pub(super) fn dispatched(&self) -> (u64, u64) {
        let state = self.lock();
        (state.dispatched, state.rows)
    }

    /// All batches before `number` are done in all processes.
    pub(super) fn set_done(&self, number: u64) {
        self.update(|state| {
            while let Some(&mark) = state.marks.front().filter(|mark| mark.0 <= number) {
                state.done = mark;
                state.marks.pop_front();
            }
        });
    }

    /// Batches and rows done in all processes, as far as known here.
    pub(super) fn done(&self) -> (u64, u64) {
        self.lock().done
    }

    /// Holds the dispatcher back, and says how many batches it has handed out.
    pub(super) fn pause(&self) -> u64 {
        let mut state = self.lock();
        state.paused = true;
        state.dispatched
    }

    /// Lets the dispatcher go on up to, not including, batch `limit`.
    pub(super) fn stop_at(&self, limit: u64) {
        self.update(|state| {
            state.limit = Some(limit);
            state.paused = false;
        });
    }
}
