//! The relative strength index of J. Welles Wilder (*New Concepts in Technical Trading Systems*, 1978).

use serde::{Deserialize, Serialize};

/// `100 − 100 / (1 + average gain / average loss)`, with Wilder's smoothing: the first averages are simple means of `n`
/// changes, then `average = (average × (n − 1) + change) / n`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rsi {
    length: u32,
    changes: u32,
    last: Option<f64>,
    gain: f64,
    loss: f64,
}

impl Rsi {
    /// Over `length` changes.
    ///
    /// # Panics
    /// When `length` is zero; parameters are checked against their schema before.
    pub fn new(length: u32) -> Self {
        assert!(length > 0, "an RSI needs at least one change");
        Self { length, changes: 0, last: None, gain: 0.0, loss: 0.0 }
    }

    /// Takes the next value.
    #[inline]
    pub fn push(&mut self, value: f64) {
        let Some(last) = self.last.replace(value) else { return };
        let change = value - last;
        let (gain, loss) = (change.max(0.0), (-change).max(0.0));
        let n = f64::from(self.length);
        if self.changes < self.length {
            self.gain += gain / n;
            self.loss += loss / n;
            self.changes += 1;
            return;
        }
        self.gain = (self.gain * (n - 1.0) + gain) / n;
        self.loss = (self.loss * (n - 1.0) + loss) / n;
    }

    /// The index from 0 to 100; 50 when nothing has moved; `None` before `length` changes have come.
    #[inline]
    pub fn value(&self) -> Option<f64> {
        if self.changes < self.length {
            return None;
        }
        let total = self.gain + self.loss;
        Some(if total == 0.0 { 50.0 } else { 100.0 * self.gain / total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fourteen-day RSI from ChartSchool's worked example ("Relative Strength Index", cs-rsi.xls), to two decimals.
    #[test]
    fn it_agrees_with_a_published_table() {
        let closes = [
            44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826,
            45.8931, 46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439,
            46.2122, 46.2521, 45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672,
            43.4205, 42.6628, 43.1314,
        ];
        let published = [
            70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99, 41.46,
            41.87, 45.46, 37.30, 33.08, 37.77,
        ];
        let mut rsi = Rsi::new(14);
        let values: Vec<f64> = closes
            .iter()
            .filter_map(|close| {
                rsi.push(*close);
                rsi.value()
            })
            .collect();
        assert_eq!(values.len(), published.len());
        for (ours, theirs) in values.iter().zip(published) {
            assert!((ours - theirs).abs() < 0.0051, "{ours} {theirs}");
        }
    }
}
