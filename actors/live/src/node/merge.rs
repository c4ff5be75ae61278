//! Puts the records of many partitions into the order in which they were published.
//!
//! Partitions are read each for itself. As long as a reader keeps up, that is the order in which things happened; after
//! a pause (a restart, another node's failure) one partition may be read hours ahead of another, and bars before the
//! trades that they are made of. Cells would be right by their rules, and wrong for every user: so what waits is merged
//! by the time of each record. Within a partition the order is never changed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use tradeflow_bus::{Stored, Topic};
use tradeflow_model::Timestamp;

/// Records that were read and not handed on.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    partitions: BTreeMap<(Topic, u32), VecDeque<Stored>>,
    held: usize,
}

impl Merge {
    /// Takes what was read.
    pub(crate) fn take(&mut self, records: Vec<Stored>) {
        self.held += records.len();
        for stored in records {
            self.partitions.entry((stored.topic.clone(), stored.partition)).or_default().push_back(stored);
        }
    }

    /// How many are held.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Forgets a partition: it is read anew from another place.
    pub(crate) fn forget(&mut self, topic: &Topic, partition: u32) {
        if let Some(gone) = self.partitions.remove(&(topic.clone(), partition)) {
            self.held -= gone.len();
        }
    }

    /// The records in order. With `all`, everything that is held: there is nothing more to be read now. Otherwise up to
    /// the time to which every partition that has records was read; at least one partition is so emptied.
    pub(crate) fn release(&mut self, all: bool) -> Vec<Stored> {
        let horizon = if all {
            Timestamp::MAX
        } else {
            let newest = self.partitions.values().filter_map(newest);
            newest.min().unwrap_or(Timestamp::MAX)
        };
        let mut heads: BinaryHeap<_> = self
            .partitions
            .iter()
            .filter_map(|(place, records)| Some(Reverse((records.front()?.ts, place.clone()))))
            .collect();
        let mut released = Vec::with_capacity(self.held);
        while let Some(Reverse((ts, place))) = heads.pop() {
            let Some(records) = self.partitions.get_mut(&place).filter(|_| ts <= horizon) else { continue };
            // As long as no other partition comes before.
            let bound = heads.peek().map_or(Timestamp::MAX, |Reverse((ts, _))| *ts).min(horizon);
            while records.front().is_some_and(|stored| stored.ts <= bound.max(ts)) {
                released.extend(records.pop_front());
            }
            if let Some(next) = records.front() {
                heads.push(Reverse((next.ts, place)));
            }
        }
        self.held -= released.len();
        self.partitions.retain(|_, records| !records.is_empty());
        released
    }
}

/// The newest time in a partition: its own times may run backwards a little.
fn newest(records: &VecDeque<Stored>) -> Option<Timestamp> {
    records.iter().map(|stored| stored.ts).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(topic: &str, offset: u64, ts: i64) -> Stored {
        Stored {
            topic: Topic::new(topic),
            partition: 0,
            offset,
            key: Default::default(),
            value: None,
            ts: Timestamp::from_nanos(ts),
        }
    }

    proptest! {
        /// Whatever way the records are read, each partition keeps its order, all come out, and where times only grow the
        /// whole is in the order of time.
        #[test]
        fn all_come_out_in_order(
            logs in proptest::collection::vec(proptest::collection::vec(0_i64..100, 0..40), 1..5),
            cuts in proptest::collection::vec((0_usize..5, 1_usize..10), 1..40),
        ) {
            let names = ["a", "b", "c", "d", "e"];
            let mut merge = Merge::default();
            let mut read = vec![0; logs.len()];
            let sorted: Vec<Vec<i64>> = logs.iter().map(|log| { let mut log = log.clone(); log.sort_unstable(); log }).collect();
            let mut out = Vec::new();
            let mut rounds = cuts.into_iter();
            loop {
                let all = read.iter().zip(&sorted).all(|(at, log)| *at == log.len());
                // Every partition with more to read gets its share, as readers give it.
                let share = rounds.next().map_or(50, |(_, share)| share);
                for (index, log) in sorted.iter().enumerate() {
                    let end = log.len().min(read[index] + share);
                    merge.take((read[index]..end).map(|o| stored(names[index], o as u64, log[o])).collect());
                    read[index] = end;
                }
                out.extend(merge.release(all));
                if all { break }
            }
            prop_assert_eq!(merge.held(), 0);
            prop_assert_eq!(out.len(), sorted.iter().map(Vec::len).sum::<usize>());
            for name in &names[..sorted.len()] {
                let offsets: Vec<u64> = out.iter().filter(|s| s.topic.as_str() == *name).map(|s| s.offset).collect();
                prop_assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]));
            }
            prop_assert!(out.windows(2).all(|pair| pair[0].ts <= pair[1].ts));
        }
    }
}
