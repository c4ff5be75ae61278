//! The desk: signals that wait until earlier orders of the same strategy and instrument are out of the way.
//!
//! A signal says what position is wanted. If an older order could still fill, an order for the difference would be
//! wrong, so the desk first has the older ones cancelled, and acts on the newest signal once the venue has confirmed.
//! On a broker that takes time; on the simulated venue it happens at once; the code is the same (I1).

use serde::{Deserialize, Serialize};
use tradeflow_model::{InstrumentId, Signal, StrategyIndex};

/// At most one waiting signal for each strategy and instrument: a newer one replaces an older.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Desk {
    instruments: usize,
    /// By owner (0 is no strategy), then instrument.
    waiting: Vec<Option<Signal>>,
}

impl Desk {
    /// A desk with nothing waiting.
    pub fn new(instruments: usize, strategies: usize) -> Self {
        Self { instruments, waiting: vec![None; instruments * (strategies + 1)] }
    }

    /// Makes room for so many strategies.
    pub fn grow(&mut self, strategies: usize) {
        let size = self.instruments * (strategies + 1);
        self.waiting.resize(size.max(self.waiting.len()), None);
    }

    fn slot(&self, strategy: Option<StrategyIndex>, instrument: InstrumentId) -> usize {
        strategy.map_or(0, |s| s.index() + 1) * self.instruments + instrument.index()
    }

    /// Lets a signal wait; returns the one it replaces.
    pub fn wait(&mut self, signal: Signal) -> Option<Signal> {
        let slot = self.slot(signal.strategy, signal.instrument);
        self.waiting[slot].replace(signal)
    }

    /// The signal that waits.
    pub fn waiting(&self, strategy: Option<StrategyIndex>, instrument: InstrumentId) -> Option<&Signal> {
        self.waiting[self.slot(strategy, instrument)].as_ref()
    }

    /// Takes the signal that waits.
    pub fn take(&mut self, strategy: Option<StrategyIndex>, instrument: InstrumentId) -> Option<Signal> {
        let slot = self.slot(strategy, instrument);
        self.waiting[slot].take()
    }
}
