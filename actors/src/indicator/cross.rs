//! When one series passes another.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The direction of a crossing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// The first passed the second from below.
    Up,
    /// The first passed the second from above.
    Down,
}

/// Watches how a first series stands to a second. While they are equal the last side counts, so touching and
/// turning back is no crossing, and touching on the way through is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cross {
    /// +1 above, −1 below, 0 unknown yet.
    side: i8,
}

impl Cross {
    /// Takes how the first stands to the second now.
    #[inline]
    pub fn update(&mut self, first_to_second: Ordering) -> Option<Crossing> {
        let side = match first_to_second {
            Ordering::Less => -1,
            Ordering::Equal => return None,
            Ordering::Greater => 1,
        };
        let before = std::mem::replace(&mut self.side, side);
        match (before, side) {
            (-1, 1) => Some(Crossing::Up),
            (1, -1) => Some(Crossing::Down),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ordering::{Equal, Greater, Less};

    #[test]
    fn touching_is_not_crossing() {
        let run = |steps: &[Ordering]| {
            let mut cross = Cross::default();
            steps.iter().map(|s| cross.update(*s)).collect::<Vec<_>>()
        };
        assert_eq!(run(&[Less, Equal, Less]), [None, None, None]);
        assert_eq!(run(&[Less, Equal, Greater]), [None, None, Some(Crossing::Up)]);
        assert_eq!(run(&[Greater, Less, Greater]), [None, Some(Crossing::Down), Some(Crossing::Up)]);
        assert_eq!(run(&[Equal, Greater]), [None, None]);
    }
}
