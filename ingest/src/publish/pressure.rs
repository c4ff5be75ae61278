//! How hard pressed those are who read the market data: set by consumers and by the writer, read by the feeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// What feeds do about pressure. The hardest pressed consumer decides for all: on the bus the data lies once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Level {
    /// Everything is published.
    #[default]
    Free = 0,
    /// Of the quotes of a burst only the newest of each instrument.
    Conflate = 1,
    /// Of the trades too.
    Shed = 2,
}

impl Level {
    fn of(code: u8) -> Self {
        match code {
            0 => Self::Free,
            1 => Self::Conflate,
            _ => Self::Shed,
        }
    }
}

/// The pressure of a node: three counters, whatever the number of consumers. Clones are the same pressure.
#[derive(Debug, Clone, Default)]
pub struct Pressure(Arc<[AtomicUsize; 3]>);

impl Pressure {
    /// A gauge for one consumer, at [`Level::Free`].
    pub fn gauge(&self) -> Gauge {
        self.0[0].fetch_add(1, Ordering::Relaxed);
        Gauge { all: self.0.clone(), level: AtomicU8::new(0) }
    }

    /// The highest level that any gauge shows.
    #[inline]
    pub fn level(&self) -> Level {
        let shown = |level: usize| self.0[level].load(Ordering::Relaxed) > 0;
        if shown(2) {
            Level::Shed
        } else if shown(1) {
            Level::Conflate
        } else {
            Level::Free
        }
    }
}

/// What one consumer says. Dropped, it says nothing more.
#[derive(Debug)]
pub struct Gauge {
    all: Arc<[AtomicUsize; 3]>,
    level: AtomicU8,
}

impl Gauge {
    /// Says how hard pressed it is.
    pub fn set(&self, level: Level) {
        let before = self.level.swap(level as u8, Ordering::Relaxed);
        if before != level as u8 {
            // First up, then down: a reader in between sees both, and acts on the higher.
            self.all[level as usize].fetch_add(1, Ordering::Relaxed);
            self.all[usize::from(before)].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Says how full its queue is: conflate from one half, shed from three quarters. The way down is lower than the way
    /// up (a half, a quarter), so that a queue that hovers at a limit does not flicker.
    pub fn set_fill(&self, used: usize, capacity: usize) {
        let quarters = used.saturating_mul(4) / capacity.max(1);
        let level = match (quarters, self.get()) {
            (3.., _) => Level::Shed,
            (2, Level::Shed) => Level::Shed,
            (2, _) => Level::Conflate,
            (1, Level::Conflate | Level::Shed) => Level::Conflate,
            _ => Level::Free,
        };
        self.set(level);
    }

    /// What it says.
    pub fn get(&self) -> Level {
        Level::of(self.level.load(Ordering::Relaxed))
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.all[usize::from(*self.level.get_mut())].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hardest_pressed_decides_until_it_is_gone() {
        let pressure = Pressure::default();
        let (a, b) = (pressure.gauge(), pressure.gauge());
        assert_eq!(pressure.level(), Level::Free);
        a.set(Level::Conflate);
        b.set(Level::Shed);
        assert_eq!(pressure.level(), Level::Shed);
        drop(b);
        assert_eq!(pressure.level(), Level::Conflate);
        a.set(Level::Free);
        assert_eq!(pressure.level(), Level::Free);
    }

    #[test]
    fn the_way_down_is_lower_than_the_way_up() {
        let gauge = Pressure::default().gauge();
        let levels = |fills: &[usize]| -> Vec<u8> {
            fills
                .iter()
                .map(|fill| {
                    gauge.set_fill(*fill, 100);
                    gauge.get() as u8
                })
                .collect()
        };
        assert_eq!(
            levels(&[0, 40, 50, 40, 24, 40, 74, 75, 60, 49, 30, 10]),
            [0, 0, 1, 1, 0, 0, 1, 2, 2, 1, 1, 0]
        );
        assert_eq!(levels(&[usize::MAX, 0]), [2, 0]);
        gauge.set_fill(1, 0);
        assert_eq!(gauge.get(), Level::Shed, "no room at all");
    }

    #[test]
    fn counts_come_out_even_when_many_threads_set_one_gauge() {
        let pressure = Pressure::default();
        let gauge = pressure.gauge();
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let gauge = &gauge;
                scope.spawn(move || {
                    (0..10_000_u32).for_each(|i| gauge.set(Level::of((i as u8 ^ thread) % 3)))
                });
            }
        });
        gauge.set(Level::Free);
        assert_eq!(pressure.level(), Level::Free);
        drop(gauge);
        assert!(pressure.0.iter().all(|count| count.load(Ordering::Relaxed) == 0));
    }
}
