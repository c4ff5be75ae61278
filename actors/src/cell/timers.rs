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

    /// Takes the soonest timer that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<(StrategyIndex, u32)> {
        if self.next > now {
            return None;
        }
        let (_, strategy, timer) = self.due.pop_first()?;
        self.next = self.due.first().map_or(Timestamp::MAX, |(at, _, _)| *at);
        Some((strategy, timer))
    }
}
