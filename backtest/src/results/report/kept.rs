//! The few trades that a report shows out of all that there were.

use std::cmp::Ordering;
use std::collections::VecDeque;

use tradeflow_actors::account::RoundTrip;

/// A trade with its cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeptTrade {
    /// Index of the cell in the plan.
    pub cell: usize,
    /// The trade.
    pub trip: RoundTrip,
    /// Profit after fees, in the account's currency; `None` while it is open.
    pub profit: Option<f64>,
    /// Its number within the cell, which breaks ties.
    number: u64,
}

/// The last, the best and the worst trades. Which ones are kept does not depend on the order in which cells are heard.
#[derive(Debug, Clone, Default)]
pub struct KeptTrades {
    last: VecDeque<KeptTrade>,
    best: Vec<KeptTrade>,
    worst: Vec<KeptTrade>,
    numbers: Vec<u64>,
}

impl KeptTrade {
    /// By the time of the exit; open ones after all others.
    fn by_time(&self, other: &Self) -> Ordering {
        let exit = |kept: &Self| kept.trip.exit_time.map_or(i64::MAX, |time| time.as_nanos());
        exit(self).cmp(&exit(other)).then(self.cell.cmp(&other.cell)).then(self.number.cmp(&other.number))
    }

    /// The better one first; of equal ones the earlier.
    fn by_profit(&self, other: &Self) -> Ordering {
        let profit = |kept: &Self| kept.profit.unwrap_or_default();
        profit(other).total_cmp(&profit(self)).then_with(|| self.by_time(other))
    }

    /// The worse one first.
    fn by_loss(&self, other: &Self) -> Ordering {
        let profit = |kept: &Self| kept.profit.unwrap_or_default();
        profit(self).total_cmp(&profit(other)).then_with(|| self.by_time(other))
    }
}

impl KeptTrades {
    /// Trades of the list of the last ones.
    pub const LAST_MAX: usize = 20;
    /// Trades of the list of the best, and of the worst.
    pub const EXTREME_MAX: usize = 10;

    /// Takes a trade that ended, or one still open when the run did.
    pub fn take(&mut self, cell: usize, trip: &RoundTrip, profit: Option<f64>) {
        if self.numbers.len() <= cell {
            self.numbers.resize(cell + 1, 0);
        }
        self.numbers[cell] += 1;
        let kept = KeptTrade { cell, trip: *trip, profit, number: self.numbers[cell] };
        match profit {
            Some(profit) if profit > 0.0 => keep(&mut self.best, &kept, KeptTrade::by_profit),
            Some(_) => keep(&mut self.worst, &kept, KeptTrade::by_loss),
            None => {}
        }
        let place = self.last.partition_point(|other| other.by_time(&kept).is_lt());
        self.last.insert(place, kept);
        if self.last.len() > Self::LAST_MAX {
            self.last.pop_front();
        }
    }

    /// The last trades, the latest first; open ones before all others.
    pub fn last(&self) -> impl Iterator<Item = &KeptTrade> {
        self.last.iter().rev()
    }

    /// The winning trades that won most.
    pub fn best(&self) -> &[KeptTrade] {
        &self.best
    }

    /// The other trades that lost most.
    pub fn worst(&self) -> &[KeptTrade] {
        &self.worst
    }
}

fn keep(list: &mut Vec<KeptTrade>, kept: &KeptTrade, order: fn(&KeptTrade, &KeptTrade) -> Ordering) {
    let full = list.len() == KeptTrades::EXTREME_MAX;
    if full && list.last().is_some_and(|least| order(least, kept).is_lt()) {
        return;
    }
    if full {
        list.pop();
    }
    let place = list.partition_point(|other| order(other, kept).is_lt());
    list.insert(place, *kept);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tradeflow_model::{InstrumentId, Money, Qty, Side, Timestamp};

    use super::*;

    fn trip(exit: Option<i64>) -> RoundTrip {
        RoundTrip {
            strategy: None,
            instrument: InstrumentId(0),
            side: Side::Buy,
            entry_time: Timestamp::from_nanos(0),
            exit_time: exit.map(Timestamp::from_nanos),
            entry_qty: Qty::from_raw(1),
            exit_qty: Qty::from_raw(1),
            entry_value: 1,
            exit_value: 1,
            fees: Money::ZERO,
            flows: Money::ZERO,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Against sorting all of them; and cells may be heard in any order.
        #[test]
        fn the_right_ones_are_kept(profits in prop::collection::vec((-50_i64..50, 0_i64..3), 0..120)) {
            let mut ts = 0;
            let trades: Vec<_> = profits.iter().map(|(profit, step)| { ts += step; (ts, *profit as f64) }).collect();
            let mut one = KeptTrades::default();
            trades.iter().for_each(|(ts, profit)| one.take(0, &trip(Some(*ts)), Some(*profit)));
            let mut sorted: Vec<f64> = trades.iter().map(|(_, profit)| *profit).filter(|p| *p > 0.0).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            sorted.truncate(KeptTrades::EXTREME_MAX);
            prop_assert_eq!(one.best().iter().filter_map(|k| k.profit).collect::<Vec<_>>(), sorted);
            let last: Vec<f64> = one.last().filter_map(|k| k.profit).collect();
            let expected: Vec<f64> = trades.iter().rev().take(KeptTrades::LAST_MAX).map(|(_, p)| *p).collect();
            prop_assert_eq!(last, expected);

            let (mut ab, mut ba) = (KeptTrades::default(), KeptTrades::default());
            for (first, kept) in [(0, &mut ab), (1, &mut ba)] {
                for cell in [first, 1 - first] {
                    for (ts, profit) in trades.iter().skip(cell).step_by(2) {
                        kept.take(cell, &trip(Some(*ts)), Some(*profit));
                    }
                }
            }
            prop_assert_eq!(ab.last().collect::<Vec<_>>(), ba.last().collect::<Vec<_>>());
            prop_assert_eq!((ab.best(), ab.worst()), (ba.best(), ba.worst()));
        }
    }

    #[test]
    fn open_trades_come_last_in_time_and_have_no_rank() {
        let mut kept = KeptTrades::default();
        kept.take(0, &trip(None), None);
        kept.take(0, &trip(Some(5)), Some(1.0));
        assert_eq!(kept.last().map(|k| k.profit).collect::<Vec<_>>(), [None, Some(1.0)]);
        assert_eq!((kept.best().len(), kept.worst().len()), (1, 0));
    }
}
