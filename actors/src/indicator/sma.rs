//! The simple moving average: the mean of the last `n` values.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// A simple moving average, kept as an exact integer sum: no error gathers over millions of bars, and two averages
/// compare exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sma {
    window: Vec<i64>,
    length: usize,
    next: usize,
    sum: i128,
}

impl Sma {
    /// Over the last `length` values.
    ///
    /// # Panics
    /// When `length` is zero; parameters are checked against their schema before.
    pub fn new(length: usize) -> Self {
        assert!(length > 0, "a moving average needs at least one value");
        Self { window: Vec::with_capacity(length), length, next: 0, sum: 0 }
    }

    /// Takes the next value, raw.
    #[inline]
    pub fn push(&mut self, raw: i64) {
        self.sum += i128::from(raw);
        if self.window.len() < self.length {
            self.window.push(raw);
            return;
        }
        self.sum -= i128::from(std::mem::replace(&mut self.window[self.next], raw));
        self.next += 1;
        if self.next == self.length {
            self.next = 0;
        }
    }

    /// Whether `length` values have come.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.window.len() == self.length
    }

    /// The mean, raw; `None` before it is ready.
    pub fn mean(&self) -> Option<f64> {
        self.is_ready().then(|| self.sum as f64 / self.length as f64)
    }

    /// How this mean stands to another, exactly; `None` before both are ready.
    #[inline]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        (self.is_ready() && other.is_ready())
            .then(|| (self.sum * other.length as i128).cmp(&(other.sum * self.length as i128)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_mean_of_the_last_values(
            values in proptest::collection::vec(any::<i64>(), 1..100), length in 1_usize..20,
        ) {
            let mut sma = Sma::new(length);
            for (index, value) in values.iter().enumerate() {
                sma.push(*value);
                let seen = &values[..=index];
                prop_assert_eq!(sma.is_ready(), seen.len() >= length);
                if sma.is_ready() {
                    let sum: i128 = seen[seen.len() - length..].iter().map(|v| i128::from(*v)).sum();
                    prop_assert_eq!(sma.sum, sum);
                }
            }
        }
    }
}
