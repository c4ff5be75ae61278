//! Trades that have come before.
//!
//! # With a number
//! A window of the last [`WINDOW`] numbers of the instrument says which were seen. A number below the window counts as
//! late: nobody knows any more whether it was seen. A venue that counts anew (a restart, a new day) is recognised by a
//! number that was passed already on a trade newer than all before: a repetition is never newer than the original.
//!
//! # Without a number
//! Real trades repeat: one order that meets several of 100 shares gives several equal trades in one millisecond, and
//! vendors cut an instant in two messages (Finnhub does after ten trades). So a trade is a duplicate only when an equal
//! one came in an *earlier* burst and the market has moved on since, to a later instant: what a vendor sends again after
//! a reconnection. Of the last instant before it, repetitions are taken as trades. The last [`REMEMBERED`] are compared.

use std::collections::VecDeque;

/// Numbers that are remembered, for each instrument.
pub(super) const WINDOW: u64 = 4_096;
const WORDS: usize = (WINDOW / 64) as usize;
/// Trades without number that are remembered, for each instrument.
const REMEMBERED: usize = 256;

/// What is known about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    New,
    Before,
    /// Below the window.
    Unknown,
}

/// The numbers up to the greatest, as bits: bit `n % WINDOW` stands for number `n`.
#[derive(Debug)]
pub(super) struct Numbers {
    greatest: Option<u64>,
    bits: Box<[u64; WORDS]>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { greatest: None, bits: Box::new([0; WORDS]) }
    }
}

impl Numbers {
    /// Notes a number; `newest` says that its trade is newer than all before.
    #[inline]
    pub fn note(&mut self, number: u64, newest: bool) -> Seen {
        let Some(greatest) = self.greatest else {
            return self.begin(number);
        };
        if number > greatest {
            if number - greatest >= WINDOW {
                return self.begin(number);
            }
            self.forget(greatest + 1, number);
            self.greatest = Some(number);
            self.set(number);
            return Seen::New;
        }
        let below = greatest - number >= WINDOW;
        if below || self.get(number) {
            return match (newest, below) {
                (true, _) => self.begin(number),
                (false, true) => Seen::Unknown,
                (false, false) => Seen::Before,
            };
        }
        self.set(number);
        Seen::New
    }

    fn begin(&mut self, number: u64) -> Seen {
        self.bits.fill(0);
        self.greatest = Some(number);
        self.set(number);
        Seen::New
    }

    /// The numbers `from..to` have not been seen: what their bits said was of older ones.
    fn forget(&mut self, mut from: u64, to: u64) {
        while from < to {
            let count = (64 - from % 64).min(to - from);
            let mask = (u64::MAX >> (64 - count)) << (from % 64);
            self.bits[word(from)] &= !mask;
            from += count;
        }
    }

    fn get(&self, number: u64) -> bool {
        self.bits[word(number)] >> (number % 64) & 1 == 1
    }

    fn set(&mut self, number: u64) {
        self.bits[word(number)] |= 1 << (number % 64);
    }
}

fn word(number: u64) -> usize {
    (number / 64) as usize % WORDS
}

/// A trade as it is compared: time, price, quantity, aggressor.
pub(super) type Unnumbered = (i64, i64, i64, u8);

/// The last trades without number.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    newest: i64,
    last: VecDeque<(Unnumbered, u64)>,
}

impl Repeats {
    /// Notes a trade of the burst with this number; whether it came before.
    #[inline]
    pub fn note(&mut self, trade: Unnumbered, burst: u64) -> bool {
        let old = trade.0 < self.newest;
        if old && self.last.iter().any(|(seen, of)| *seen == trade && *of != burst) {
            return true;
        }
        self.newest = self.newest.max(trade.0);
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back((trade, burst));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_venue_that_counts_anew_is_followed() {
        let mut numbers = Numbers::default();
        for number in 1..=300 {
            assert_eq!(numbers.note(number, true), Seen::New);
        }
        assert_eq!(numbers.note(300, false), Seen::Before);
        assert_eq!(numbers.note(1, true), Seen::New, "after a restart");
        assert_eq!(numbers.note(2, false), Seen::New, "in the same instant");
        assert_eq!(numbers.note(2, false), Seen::Before);
        assert_eq!(numbers.note(1_000_000, true), Seen::New);
        assert_eq!(numbers.note(3, false), Seen::Unknown);
        assert_eq!(numbers.note(u64::MAX, true), Seen::New);
        assert_eq!(numbers.note(u64::MAX, false), Seen::Before);
    }

    #[test]
    fn trades_without_number_repeat_in_an_instant_but_not_later() {
        let mut repeats = Repeats::default();
        let trade = (1_000, 16_406, 100, 0);
        assert!(!repeats.note(trade, 1));
        assert!(!repeats.note(trade, 1), "twice in one message");
        assert!(!repeats.note(trade, 2), "an instant cut in two messages");
        assert!(!repeats.note((1_001, 16_406, 100, 0), 2));
        assert!(repeats.note(trade, 3), "sent again");
        let late = (1_000, 16_406, 101, 0);
        assert!(!repeats.note(late, 3), "late, but not seen before");
        assert!(!repeats.note(late, 3), "twice in one message");
        assert!(repeats.note(late, 4), "sent again");
    }

    proptest! {
        #[test]
        fn numbers_are_known_within_the_window(
            numbers in proptest::collection::vec(prop_oneof![0..50_u64, 4_000..4_400_u64, 0..12_000_u64], 1..600),
        ) {
            let mut window = Numbers::default();
            let (mut seen, mut greatest) = (BTreeSet::new(), 0);
            for number in numbers {
                let expected = if seen.is_empty() || number > greatest {
                    Seen::New
                } else if greatest - number >= WINDOW {
                    Seen::Unknown
                } else if seen.contains(&number) {
                    Seen::Before
                } else {
                    Seen::New
                };
                prop_assert_eq!(window.note(number, false), expected, "{}", number);
                if expected == Seen::New {
                    seen.insert(number);
                    greatest = greatest.max(number);
                }
            }
        }
    }
}
