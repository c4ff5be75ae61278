//! The exponential moving average.

use serde::{Deserialize, Serialize};

/// An exponential moving average with weight `α = 2 / (n + 1)`, begun with the simple mean of its first `n` values
/// (as in TA-Lib's `EMA`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ema {
    length: u32,
    seen: u32,
    value: f64,
}

impl Ema {
    /// Over `length` values.
    ///
    /// # Panics
    /// When `length` is zero; parameters are checked against their schema before.
    pub fn new(length: u32) -> Self {
        assert!(length > 0, "a moving average needs at least one value");
        Self { length, seen: 0, value: 0.0 }
    }

    /// Takes the next value.
    #[inline]
    pub fn push(&mut self, value: f64) {
        if self.seen < self.length {
            self.value += value;
            self.seen += 1;
            if self.seen == self.length {
                self.value /= f64::from(self.length);
            }
            return;
        }
        let weight = 2.0 / (f64::from(self.length) + 1.0);
        self.value += weight * (value - self.value);
    }

    /// The average; `None` before `length` values have come.
    #[inline]
    pub fn value(&self) -> Option<f64> {
        (self.seen == self.length).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten-day EMA of closes from ChartSchool's worked example ("Moving Averages", cs-movavg.xls), to two decimals.
    #[test]
    fn it_agrees_with_a_published_table() {
        let closes = [
            22.2734, 22.1940, 22.0847, 22.1741, 22.1840, 22.1344, 22.2337, 22.4323, 22.2436, 22.2933,
            22.1542, 22.3926, 22.3816, 22.6109, 23.3558, 24.0519, 23.7530, 23.8324, 23.9516, 23.6338,
            23.8225, 23.8722, 23.6537, 23.1870, 23.0976, 23.3260, 22.6805, 23.0976, 22.4025, 22.1725,
        ];
        let published = [
            22.22, 22.21, 22.24, 22.27, 22.33, 22.52, 22.80, 22.97, 23.13, 23.28, 23.34, 23.43, 23.51, 23.54,
            23.47, 23.40, 23.39, 23.26, 23.23, 23.08, 22.92,
        ];
        let mut ema = Ema::new(10);
        let values: Vec<f64> = closes
            .iter()
            .filter_map(|close| {
                ema.push(*close);
                ema.value()
            })
            .collect();
        assert_eq!(values.len(), published.len());
        for (ours, theirs) in values.iter().zip(published) {
            assert!((ours - theirs).abs() < 0.0051, "{ours} {theirs}");
        }
    }
}
