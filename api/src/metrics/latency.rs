//! Histograms: from what cells measured to cumulative buckets.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use tradeflow_live::node::CellStatus;

/// Upper bounds of the buckets in nanoseconds, with those of the latencies that are promised among them.
const BOUNDS: [u64; 18] = [
    10_000,
    25_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// All that was measured since the server was started.
#[derive(Debug, Default)]
pub(super) struct Latencies(Mutex<Kept>);

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// From receipt of a tick to the decision.
    pub decision: Buckets,
    /// From receipt of a tick to the fill on the bus.
    pub fill: Buckets,
    /// Of a write to the journal.
    pub journal: Buckets,
}

impl Latencies {
    /// With what the cells measured since the last look.
    pub(super) fn gather<'a>(&self, cells: impl IntoIterator<Item = &'a CellStatus>) -> MutexGuard<'_, Kept> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for cell in cells {
            let (decision, fill) = cell.take_latencies();
            kept.decision.add(&decision);
            kept.fill.add(&fill);
            kept.journal.add(&cell.take_journal_times());
        }
        kept
    }
}

/// Counts by bucket; the last is of what is longer than all bounds.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    counts: [u64; BOUNDS.len() + 1],
    sum_ns: u128,
}

impl Buckets {
    fn add(&mut self, measured: &Histogram<u64>) {
        for step in measured.iter_recorded() {
            let (nanos, count) = (step.value_iterated_to(), step.count_at_value());
            self.counts[BOUNDS.partition_point(|bound| *bound < nanos)] += count;
            self.sum_ns += u128::from(nanos) * u128::from(count);
        }
    }

    /// The sum in seconds.
    pub(super) fn sum(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper bounds in seconds, the last without end, and what lies in each.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e9).chain([f64::MAX]);
        bounds.zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_cells_measured_is_counted_once_and_in_its_bucket() {
        let latencies = Latencies::default();
        let (one, two) = (CellStatus::new("one"), CellStatus::new("two"));
        one.note_decision(9_000, 1);
        one.note_decision(150_000, 1);
        two.note_decision(199_000, 1);
        two.note_decision(i64::MAX, 1); // longer than what is measured: counts as the longest
        two.note_fills(1_500_000, 1);
        one.note_journal(Duration::from_micros(30));
        for _ in 0..2 {
            let kept = latencies.gather([&one, &two]);
            let buckets: Vec<_> =
                kept.decision.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!(buckets, [(1e-5, 1), (2e-4, 2), (f64::MAX, 1)]);
            assert_eq!((kept.decision.count(), kept.fill.count(), kept.journal.count()), (4, 1, 1));
            // Two digits are kept.
            assert!((kept.fill.sum() - 0.0015).abs() < 15e-6, "{}", kept.fill.sum());
            assert_eq!(kept.journal.buckets().iter().position(|(_, count)| *count > 0), Some(2));
        }
        one.note_decision(9_000, 1);
        assert_eq!(latencies.gather([&one]).decision.buckets()[0], (1e-5, 2));
    }
}
