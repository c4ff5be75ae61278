//! The best bid and ask from a file that writes one side of it a row.
//!
//! Such files (LEAN's equity quotes) write a consolidated quote as two rows of one time, the bid and the ask, each with
//! the exchange that holds it. The exchange does not matter: a row takes the place of its side. Rows of one time that
//! are of different sides are one quote; the state between them never held.

use super::number::Number;

/// A price and its size.
pub(super) type Side = [Number; 2];

/// A quote: when, the bid, the ask.
pub(super) type Best = (i64, Side, Side);

/// Makes quotes of sides.
#[derive(Debug, Default)]
pub(super) struct Sides {
    bid: Option<Side>,
    ask: Option<Side>,
    /// Time of the rows that have come in since the last quote, and which sides they were.
    open: Option<(i64, [bool; 2])>,
    last: Option<(Side, Side)>,
}

impl Sides {
    /// Takes a row. The quote that it completes or ends, when that differs from the one before.
    pub(super) fn push(&mut self, time: i64, bid: Option<Side>, ask: Option<Side>) -> Option<Best> {
        let given = [bid.is_some(), ask.is_some()];
        let continues = self
            .open
            .is_some_and(|(open, sides)| open == time && !(sides[0] && given[0]) && !(sides[1] && given[1]));
        let ended = if continues { None } else { self.close() };
        self.bid = bid.or(self.bid);
        self.ask = ask.or(self.ask);
        let before = self.open.map_or([false; 2], |(_, sides)| sides);
        self.open = Some((time, [before[0] || given[0], before[1] || given[1]]));
        ended
    }

    /// Ends the quote that has not been ended yet.
    pub(super) fn close(&mut self) -> Option<Best> {
        let (time, _) = self.open.take()?;
        let now = (self.bid?, self.ask?);
        (self.last.replace(now) != Some(now)).then_some((time, now.0, now.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sides_of_one_time_are_one_quote() {
        let side = |price: &str, size: &str| -> Option<Side> {
            Some([price, size].map(|text| Number::parse(text.as_bytes()).unwrap()))
        };
        let (bid, ask) = (side("13.80", "1000"), side("13.92", "500"));
        let mut sides = Sides::default();
        assert_eq!(sides.push(1, bid, None), None);
        assert_eq!(sides.push(1, None, ask), None);
        let first = (1, bid.unwrap(), ask.unwrap());
        assert_eq!(sides.push(2, bid, None), Some(first));
        assert_eq!(sides.push(2, None, ask), None);
        // The same time again is another quote; the second was like the first, so it is passed over.
        let raised = side("13.81", "1000");
        assert_eq!(sides.push(2, raised, None), None);
        // A side alone updates its side only.
        assert_eq!(sides.push(3, None, side("13.91", "5")), Some((2, raised.unwrap(), ask.unwrap())));
        assert_eq!(sides.close(), Some((3, raised.unwrap(), side("13.91", "5").unwrap())));
        assert_eq!(sides.close(), None);
    }
}
