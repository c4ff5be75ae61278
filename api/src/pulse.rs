//! Whether the bus answers. Its clients wait for it patiently and say nothing meanwhile, so it is asked all the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tradeflow_bus::{Bus, Topics};

use crate::worker::Worker;

/// Asks the bus. Dropping it stops it.
#[derive(Debug)]
pub struct Pulse {
    status: Arc<PulseStatus>,
    _worker: Worker,
}

/// When the bus answered last, and what has gone wrong since.
#[derive(Debug)]
pub struct PulseStatus(Mutex<(Instant, Option<String>)>);

/// How often it asks.
const EVERY: Duration = Duration::from_millis(500);
/// A bus that has been silent for longer is away.
const SILENT_MAX: Duration = Duration::from_secs(3);

impl Pulse {
    /// Asks from now on.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(bus: Arc<dyn Bus>, topics: &Topics) -> std::io::Result<Self> {
        let status = Arc::new(PulseStatus(Mutex::new((Instant::now(), None))));
        let (asked, topic) = (status.clone(), topics.replies.clone());
        let worker = Worker::repeat("pulse", move || {
            asked.note(bus.bounds(&topic, 0).err().map(|error| error.to_string()));
            std::thread::park_timeout(EVERY);
        })?;
        Ok(Self { status, _worker: worker })
    }

    /// What it found.
    pub fn status(&self) -> Arc<PulseStatus> {
        self.status.clone()
    }
}

impl PulseStatus {
    fn note(&self, error: Option<String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if error.is_none() {
            state.0 = Instant::now();
        }
        state.1 = error;
    }

    /// What is wrong with the bus; nothing while it answers.
    pub fn trouble(&self) -> Option<String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = state.0.elapsed();
        match &state.1 {
            Some(error) => Some(format!("the bus does not answer: {error}")),
            None if silence > SILENT_MAX => {
                Some(format!("the bus does not answer: nothing for {} s", silence.as_secs()))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_until_it_answers() {
        let before = Instant::now().checked_sub(SILENT_MAX + EVERY).expect("the machine is up for longer");
        let status = PulseStatus(Mutex::new((before, None)));
        assert!(status.trouble().is_some_and(|why| why.contains("nothing for 3 s")));
        status.note(Some("refused".to_owned()));
        assert_eq!(status.trouble().as_deref(), Some("the bus does not answer: refused"));
        status.note(None);
        assert_eq!(status.trouble(), None);
    }
}
