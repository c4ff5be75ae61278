//! A thread that works until whoever has it lets it go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tradeflow_bus::BusError;

/// A thread that runs. Dropping it tells it to stop, and waits until it has.
#[derive(Debug)]
pub(crate) struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Begins. The work looks at what it is given, now and then: it is to end when that is true. One that parks is woken then.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn start(
        name: &str,
        work: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// The same over and over.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn repeat(name: &str, mut work: impl FnMut() + Send + 'static) -> std::io::Result<Self> {
        Self::start(name, move |stop| {
            while !stop.load(Ordering::Relaxed) {
                work();
            }
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join(); // a panic in it was reported where it happened
        }
    }
}

/// What those who read the bus say when there is no thread for it.
pub(crate) fn no_thread(of: &'static str) -> impl FnOnce(std::io::Error) -> BusError {
    move |error| BusError::other(of, format!("can't start a thread: {error}"))
}
