//! Group sync: one sync for all writes that wait.

use std::sync::{Condvar, Mutex, MutexGuard};

use futures_channel::oneshot::Sender;

use super::log::Log;
use crate::error::BusError;
use crate::receipt::{Receipt, Written};

/// Writes that may wait at once; a publisher waits when there are more.
const WAITING_MAX: usize = 65_536;

/// Collects writes that wait for the disk.
#[derive(Default)]
pub struct Syncer {
    state: Mutex<State>,
    /// There is something to do, or there is room again.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<(Sender<Result<Written, BusError>>, Written)>,
    stopped: bool,
}

impl Syncer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding it")
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
            let mut state = self.state();
            while state.waiting.is_empty() {
                if state.stopped {
                    return;
                }
                state = self.changed.wait(state).expect("no one panics while holding it");
            }
            let group = std::mem::take(&mut state.waiting);
            drop(state);
            self.changed.notify_all();
            let synced = log.store.sync();
            if let Err(error) = &synced {
                tracing::error!("records are written, and can't be synced: {error}");
            }
            for (sender, written) in group {
                // Who dropped the receipt does not want to know.
                let _ = sender.send(synced.clone().map(|()| written));
            }
        }
    }
}
