//! The one source of chance: everything in a simulation follows from its seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Chance from a seed. Each part of the simulation has a stream of its own.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// A stream of a seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        Self(random)
    }

    /// From 0 to `end`, exclusive.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }

    /// From `low` to `high`, inclusive.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as u64) as i64
    }

    /// True so often in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// One of several by their weights.
    pub fn weighted<T: Copy>(&mut self, of: &[(u64, T)]) -> T {
        let mut left = self.below(of.iter().map(|(weight, _)| weight).sum());
        for (weight, it) in of {
            if left < *weight {
                return *it;
            }
            left -= weight;
        }
        of[of.len() - 1].1
    }
}

/// How often what goes wrong in a seed, in a thousand. Each kind of fault is absent from many seeds and frequent in some:
/// what hides behind one fault comes to light where it is alone.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Of appends: answered late, written late, refused, written but answered with an error.
    pub slow_answer: u64,
    pub slow_write: u64,
    pub refused: u64,
    pub lost_answer: u64,
    /// Of entries: answered before what came of them is written.
    pub early: u64,
    /// Of readings: the bus can't be reached; of others: only a part comes.
    pub unread: u64,
    pub part_read: u64,
    /// Of steps.
    pub crash: u64,
    pub power: u64,
    pub moved: u64,
    pub seized: u64,
    pub cut: u64,
    pub clock: u64,
    pub trim: u64,
    pub end: u64,
    /// Of market records.
    pub drop: u64,
    pub double: u64,
    pub reorder: u64,
    pub late: u64,
    pub silence: u64,
    pub garbage: u64,
    pub burst: u64,
    /// Of the trader's decisions.
    pub panic: u64,
    /// Whether appends leave gaps between offsets, as transactions on Kafka do.
    pub gaps: bool,
}

impl Weather {
    /// The weather of a seed.
    pub fn new(dice: &mut Dice) -> Self {
        let mut rate = |often: u64| dice.weighted(&[(4, 0), (3, often / 4), (2, often), (1, often * 3)]);
        Self {
            slow_answer: rate(150),
            slow_write: rate(150),
            refused: rate(6),
            lost_answer: rate(6),
            unread: rate(40),
            part_read: rate(200),
            crash: rate(15),
            power: rate(8),
            moved: rate(15),
            seized: rate(10),
            cut: rate(6),
            clock: rate(15),
            trim: rate(15),
            end: rate(25),
            drop: rate(50),
            double: rate(50),
            reorder: rate(80),
            late: rate(60),
            silence: rate(20),
            garbage: rate(30),
            burst: rate(15),
            panic: rate(20),
            gaps: dice.chance(500),
            early: dice.weighted(&[(2, 0), (1, 100), (1, 500), (1, 1000)]),
        }
    }
}
