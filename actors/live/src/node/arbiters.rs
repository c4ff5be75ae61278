//! The threads that cells run on.

use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use actix::{Arbiter, ArbiterHandle, System};

use crate::LiveError;

/// Arbiters, under an actix system of their own on a thread of its own: whoever starts a node need not run actix.
pub(crate) struct Arbiters {
    system: System,
    handles: Vec<ArbiterHandle>,
    thread: Option<JoinHandle<()>>,
}

impl Arbiters {
    /// Starts so many threads.
    pub(crate) fn start(count: usize) -> Result<Self, LiveError> {
        let (sender, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new().name("cells".into()).spawn(move || {
            let runner = System::new();
            let arbiters: Vec<Arbiter> = (0..count.max(1)).map(|_| Arbiter::new()).collect();
            let handles = arbiters.iter().map(Arbiter::handle).collect();
            if sender.send((System::current(), handles)).is_ok() {
                let _ = runner.run();
            }
            for arbiter in arbiters {
                arbiter.stop();
                let _ = arbiter.join();
            }
        });
        let thread = thread.map_err(|error| LiveError::Other(format!("the cells' thread: {error}")))?;
        let (system, handles) =
            receiver.recv().map_err(|_| LiveError::Other("the cells' threads did not start".into()))?;
        Ok(Self { system, handles, thread: Some(thread) })
    }

    /// The arbiter of a cell.
    pub(crate) fn of(&self, cell: usize) -> &ArbiterHandle {
        &self.handles[cell % self.handles.len()]
    }
}

impl Drop for Arbiters {
    fn drop(&mut self) {
        self.system.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
