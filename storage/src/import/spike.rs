//! The robust spike test: prices far from those before *and* after them.
//!
//! The level at a row is the median of the closes within [`REACH`] rows before and after it. Because the window looks
//! both ways, a price that moves and stays is not far from its level; one that jumps and comes back is. A price is a
//! spike when its logarithm differs from that of the level by more than [`DEVIATIONS`] median absolute deviations of
//! the window *and* by more than a floor that depends on what is traded: real crashes of minutes go that far.
//!
//! Prices in another unit (pence for pounds) may come in long stretches, for which no window is wide enough. So a
//! step of about 100 times between two neighbouring rows is reported as well, on the row after it (unless the row
//! before it was reported), whether or not the price comes back: no market moves so, only a unit or a split. Which of
//! the two units is the right one, the prices alone do not tell.

use tradeflow_model::AssetClass;
use tradeflow_model::fixed::to_decimal;

/// Rows on each side of a row that make its level.
const REACH: usize = 20;
/// Median absolute deviations beyond which a price is far from its level.
const DEVIATIONS: f64 = 12.0;
/// Steps between neighbours, as factors, that are taken for a change of unit.
const UNIT_STEP: std::ops::Range<f64> = 75.0..133.0;

/// The distance (as a factor) that real prices of a class have been seen to go and come back from within the window.
fn floor_of(class: AssetClass) -> f64 {
    match class {
        AssetClass::FxPair => 1.05,
        AssetClass::Equity | AssetClass::Future => 1.5,
        AssetClass::CryptoSpot | AssetClass::Perpetual => 2.0,
    }
}

/// A price that failed the test.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spike {
    pub(super) origin: i64,
    pub(super) key: i64,
    /// What is wrong.
    pub(super) detail: String,
}

struct Row {
    origin: i64,
    key: i64,
    close: f64,
    /// The lowest and highest price of the row.
    low: f64,
    high: f64,
}

/// Tests rows in time order.
pub(super) struct SpikeTest {
    floor: f64,
    /// The rows of the window, oldest first, and the next to be judged.
    rows: std::collections::VecDeque<Row>,
    judge: usize,
    /// The closes of the window, sorted.
    sorted: Vec<f64>,
    previous_is_spike: bool,
    /// Decimals of raw prices.
    scale: u8,
}

impl SpikeTest {
    /// A test for prices at `price_scale`.
    pub(super) fn new(class: AssetClass, price_scale: u8) -> Self {
        let size = 2 * REACH + 1;
        Self {
            floor: floor_of(class).ln(),
            rows: std::collections::VecDeque::with_capacity(size + 1),
            judge: 0,
            sorted: Vec::with_capacity(size + 1),
            previous_is_spike: false,
            scale: price_scale,
        }
    }

    /// Takes the next row (raw prices) and judges the row [`REACH`] before it.
    pub(super) fn push(&mut self, key: i64, low: i64, high: i64, close: i64, origin: i64) -> Option<Spike> {
        if low <= 0 || close <= 0 {
            return None; // reported by another check, and it has no logarithm
        }
        let row = Row { origin, key, close: close as f64, low: low as f64, high: high as f64 };
        let at = self.sorted.partition_point(|value| *value < row.close);
        self.sorted.insert(at, row.close);
        self.rows.push_back(row);
        if self.rows.len() > 2 * REACH + 1 {
            self.forget();
        }
        if self.rows.len() - self.judge <= REACH {
            return None;
        }
        self.judge += 1;
        self.verdict(self.judge - 1)
    }

    /// Judges the next of the last rows, when no more come; `None` when all are judged.
    pub(super) fn finish(&mut self) -> Option<Option<Spike>> {
        if self.judge >= self.rows.len() {
            return None;
        }
        if self.judge > REACH {
            self.forget();
        }
        self.judge += 1;
        Some(self.verdict(self.judge - 1))
    }

    fn forget(&mut self) {
        let Some(old) = self.rows.pop_front() else { return };
        let at = self.sorted.partition_point(|value| *value < old.close);
        self.sorted.remove(at);
        self.judge = self.judge.saturating_sub(1);
    }

    fn text(&self, raw: f64) -> String {
        to_decimal(raw as i64, self.scale).normalize().to_string()
    }

    fn verdict(&mut self, index: usize) -> Option<Spike> {
        let spike = self.judge_row(index, self.previous_is_spike);
        self.previous_is_spike = spike.is_some();
        spike
    }

    fn judge_row(&self, index: usize, after_spike: bool) -> Option<Spike> {
        let row = &self.rows[index];
        if index > 0 {
            let before = self.rows[index - 1].close;
            let step = (row.close / before).max(before / row.close);
            if UNIT_STEP.contains(&step) && !after_spike {
                let detail = format!(
                    "price {} after {}: a step of {step:.0} times, as between two units",
                    self.text(row.close),
                    self.text(before)
                );
                return Some(Spike { origin: row.origin, key: row.key, detail });
            }
        }
        // Three rows are the least of which one can be the odd one out.
        if self.rows.len() < 3 {
            return None;
        }
        let level = self.sorted[self.sorted.len() / 2];
        let away = |price: f64| (price / level).ln().abs();
        let worst = if away(row.low) > away(row.high) { row.low } else { row.high };
        let distance = away(worst);
        if distance <= self.floor {
            return None;
        }
        let mut distances: Vec<f64> = self.sorted.iter().map(|close| away(*close)).collect();
        distances.sort_by(f64::total_cmp);
        let deviation = distances[distances.len() / 2];
        if distance <= DEVIATIONS * deviation {
            return None;
        }
        let detail = format!("price {} far from the {} around it", self.text(worst), self.text(level));
        Some(Spike { origin: row.origin, key: row.key, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spikes(closes: &[i64]) -> Vec<i64> {
        let mut test = SpikeTest::new(AssetClass::Equity, 2);
        let mut found = Vec::new();
        for (at, close) in closes.iter().enumerate() {
            found.extend(test.push(at as i64, *close, *close, *close, at as i64));
        }
        while let Some(spike) = test.finish() {
            found.extend(spike);
        }
        found.iter().map(|spike| spike.origin).collect()
    }

    #[test]
    fn what_comes_back_is_a_spike_and_what_stays_is_not() {
        let mut closes: Vec<i64> = (0..200).map(|n| 10_000 + n % 7).collect();
        assert_eq!(spikes(&closes), [] as [i64; 0]);
        for at in [0, 1, 50, 120, 199] {
            let mut one = closes.clone();
            one[at] *= 3;
            assert_eq!(spikes(&one), [at as i64]);
        }
        for close in &mut closes[100..] {
            *close *= 3;
        }
        assert_eq!(spikes(&closes), [] as [i64; 0], "a level that stays");
        for close in &mut closes[100..] {
            *close *= 33;
        }
        assert_eq!(spikes(&closes), [100], "a step of a unit");
        assert_eq!(spikes(&[1, 2]), [] as [i64; 0]);
    }
}
