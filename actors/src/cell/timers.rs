//! Timers of a cell's strategies, soonest first.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use tradeflow_model::{StrategyIndex, Timestamp};

use crate::actor::Fault;

/// Timers that have not come yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Timers {
    due: BTreeSet<(Timestamp, StrategyIndex, u32)>,
    /// The soonest, kept by the side: it is asked for with every event.
    next: Timestamp,
}

impl Default for Timers {
    fn default() -> Self {
        Self { due: BTreeSet::new(), next: Timestamp::MAX }
    }
}

impl Timers {
    /// The most timers a cell may have set at once.
    const MAX: usize = 65_536;

    /// When the soonest is due; the end of time when there is none.
    #[inline]
    pub(super) fn next(&self) -> Timestamp {
        self.next
    }

    /// Sets a timer.
    pub(super) fn set(&mut self, at: Timestamp, strategy: StrategyIndex, timer: u32) -> Result<(), Fault> {
        if self.due.len() >= Self::MAX {
            return Err(Fault::new(format!("the strategies of a cell set more than {} timers", Self::MAX)));
        }
        self.due.insert((at, strategy, timer));
        self.next = self.next.min(at);
        Ok(())
    }

    /// Drops the timers of a strategy.
    pub(super) fn forget(&mut self, strategy: StrategyIndex) {
        self.due.retain(|(_, of, _)| *of != strategy);
        self.next = self.due.first().map_or(Timestamp::MAX, |(at, _, _)| *at);
    }

    /// Takes the timers that are due at `now`, soonest first.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<(StrategyIndex, u32)> {
        let mut due = Vec::new();
        while let Some((at, strategy, timer)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, strategy, timer));
                break;
            }
            due.push((strategy, timer));
        }
        self.next = self.due.first().map_or(Timestamp::MAX, |(at, _, _)| *at);
        due
    }
}
