//! Groups: there is one member, which gets all partitions. One that joins later takes over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::partition::Signal;
use crate::bus::{GroupEvent, Membership};
use crate::error::BusError;
use crate::topic::Topic;

/// The members of now.
#[derive(Default)]
pub struct Groups(Mutex<BTreeMap<(String, Topic), Arc<Signal>>>);

impl Groups {
    /// Joins; who was the member before loses all.
    pub fn join(&self, group: &str, topic: &Topic, partitions: u32) -> Member {
        let taken = Arc::new(Signal::default());
        let mut members = self.0.lock().expect("no one panics while holding it");
        if let Some(before) = members.insert((group.to_owned(), topic.clone()), taken.clone()) {
            before.raise();
        }
        Member { partitions: (0..partitions).collect(), taken, stage: Stage::Joined }
    }
}

/// The member of a group.
pub struct Member {
    partitions: Vec<u32>,
    /// Raised when another one has joined.
    taken: Arc<Signal>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Joined,
    Owns,
    Out,
}

impl Membership for Member {
    fn poll(&mut self, timeout: Duration) -> Result<Vec<GroupEvent>, BusError> {
        let until = Instant::now().checked_add(timeout);
        if self.stage == Stage::Joined {
            self.stage = Stage::Owns;
            return Ok(vec![GroupEvent::Assigned(self.partitions.clone())]);
        }
        if self.stage == Stage::Owns && self.taken.wait(until) {
            self.stage = Stage::Out;
            return Ok(vec![GroupEvent::Lost(self.partitions.clone())]);
        }
        // Out for good: there is nothing to come, and the time is waited all the same.
        if self.stage == Stage::Out {
            Signal::default().wait(until);
        }
        Ok(Vec::new())
    }
}
