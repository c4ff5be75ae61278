//! Group sync: one sync for all writes that wait; and one now and then for those that do not wait.
//!
//! When the store puts its memory into a sorted file, it syncs its journal first and lets no one write meanwhile. What
//! was synced before, without anyone waiting, it need not sync then: the longest wait of a publisher becomes shorter.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use futures_channel::oneshot::Sender;

use super::log::Log;
use crate::error::BusError;
use crate::receipt::{Receipt, Written};

/// Writes that may wait at once; a publisher waits when there are more.
const WAITING_MAX: usize = 65_536;
/// Records that no one waits for reach the disk after this time.
const SYNC_EVERY: Duration = Duration::from_millis(250);

type Waiting = (Sender<Result<Written, BusError>>, Written);

/// Collects writes that wait for the disk.
#[derive(Default)]
pub struct Syncer {
    state: Mutex<State>,
    /// There is something to do, or there is room again.
    changed: Condvar,
    /// Something was written since the last sync.
    dirty: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    stopped: bool,
}

impl Syncer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding it")
    }

    /// Something was written, and no one waits for the disk.
    pub fn later(&self) {
        self.dirty.store(true, Ordering::Relaxed);
    }

    /// A receipt that resolves when what is written now is on the disk; the
    /// places come back when no thread syncs any more.
    pub fn after_sync(&self, written: Written) -> Result<Receipt, Written> {
        let mut state = self.state();
        while state.waiting.len() >= WAITING_MAX && !state.stopped {
            state = self.changed.wait(state).expect("no one panics while holding it");
        }
        if state.stopped {
            return Err(written);
        }
        let (sender, receipt) = Receipt::later();
        state.waiting.push((sender, written));
        let first = state.waiting.len() == 1;
        drop(state);
        if first {
            self.changed.notify_all();
        }
        Ok(receipt)
    }

    /// Ends [`Self::run`] after those who wait now.
    pub fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    /// Syncs until it is stopped: a thread of its own.
    pub fn run(&self, log: &Log) {
        loop {
            let idle = |state: &mut State| state.waiting.is_empty() && !state.stopped;
            let waited = self.changed.wait_timeout_while(self.state(), SYNC_EVERY, idle);
            let (mut state, _) = waited.expect("no one panics while holding it");
            let group = std::mem::take(&mut state.waiting);
            let ends = state.stopped && group.is_empty();
            drop(state);
            self.changed.notify_all();
            let dirty = self.dirty.swap(false, Ordering::Relaxed);
            if !group.is_empty() || dirty {
                self.sync(log, group);
            }
            if ends {
                return;
            }
        }
    }

    fn sync(&self, log: &Log, group: Vec<Waiting>) {
        let synced = log.with_store(super::store::Store::sync);
        if let Err(error) = &synced {
            tracing::error!("records are written, and can't be synced: {error}");
        }
        for (sender, written) in group {
            // Who dropped the receipt does not want to know.
            let _ = sender.send(synced.clone().map(|()| written));
        }
    }
}
