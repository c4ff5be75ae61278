//! Trade conditions: which prints say something about the price now, and which do not.
//!
//! US stock trades carry condition codes (`"c":["1","12"]`), FX and crypto none. The numbers are those of Finnhub's
//! list, which its documentation of `c` links to (spreadsheet `1PUxiSWPHSODbaTaoL2Vef6DgU-yFtlRGZf19oBb9Hp0`); they
//! stand for the sale conditions of the consolidated tapes, whose specifications (CTS *Output Specification*, UTP
//! *Binary Output Specification*, tables of trade processing) say for each whether it updates the last price, high and
//! low, and volume. Several codes of a trade are combined: one that says "no" is enough.
//!
//! **The rule here:** a trade sets a price for us (it may fill, mark, make a bar) unless one of its codes does not
//! update the last price on the tape. Such a trade is counted (`excluded`) and not passed on, because nothing behind
//! the feed knows a trade that is volume alone; volumes of live US stock bars are therefore those of trades that
//! count, without odd lots.
//!
//! | code | name | why not |
//! |---|---|---|
//! | 3 | average price | made of several trades |
//! | 5, 17, 22 | cash sale, next day, seller | other settlement, other price |
//! | 9, 30, 40 | bunched sold, sold, opened (all out of sequence) | reported late |
//! | 10 | price variation | away from the market |
//! | 11 | cap election | elected, not traded, there |
//! | 12 | odd lot | below the round lot; never last, high or low |
//! | 16, 20, 39 | official close, official open, corrected close | repeat a price, no trade |
//! | 21 | prior reference price | an earlier price |
//! | 25 | extended hours, out of sequence | reported late |
//! | 26, 27, 37 | contingent, stock option, qualified contingent | one leg of a deal |
//! | 32 | derivatively priced | priced elsewhere |
//!
//! Two choices where the tapes say "it depends": a trade before or after hours (24, Form T) is passed on, as pre- and
//! post-market prints are real and the instrument's calendar knows the session; the opening trade of a market centre
//! (18), last only where it is the first of the day, is passed on too. Codes that are not in the list are passed on.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// A set of condition codes: bit *n* for code *n*, bit 0 for codes that are not in the list.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Conditions(u64);

/// Codes that must not set a price.
const NOT_LAST: Conditions =
    Conditions::of(&[3, 5, 9, 10, 11, 12, 16, 17, 20, 21, 22, 25, 26, 27, 30, 32, 37, 39, 40]);

/// The last code of the list.
const CODE_MAX: u8 = 41;

impl Conditions {
    /// The set of these codes.
    pub const fn of(codes: &[u8]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < codes.len() {
            bits |= 1 << (if codes[i] <= CODE_MAX { codes[i] } else { 0 });
            i += 1;
        }
        Self(bits)
    }

    /// Whether a trade with these codes says something about the price now.
    #[inline]
    pub fn sets_last(self) -> bool {
        self.0 & NOT_LAST.0 == 0
    }

    /// Whether it was traded before or after hours.
    pub fn extended_hours(self) -> bool {
        self.0 & Self::of(&[24, 25]).0 != 0
    }
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..=CODE_MAX).filter(|code| self.0 & (1 << code) != 0)).finish()
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Codes)
    }
}

struct Codes;

impl<'de> Visitor<'de> for Codes {
    type Value = Conditions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of condition codes, or null")
    }

    fn visit_unit<E: Error>(self) -> Result<Conditions, E> {
        Ok(Conditions::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut codes: A) -> Result<Conditions, A::Error> {
        let mut set = Conditions::default();
        while let Some(Code(code)) = codes.next_element()? {
            set.0 |= Conditions::of(&[code]).0;
        }
        Ok(set)
    }
}

/// One code: a number in quotes, or without; 0 for a text that is none of the list.
struct Code(u8);

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Code;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a condition code")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Code, E> {
                Ok(Code(text.parse().unwrap_or(0)))
            }

            fn visit_u64<E: Error>(self, code: u64) -> Result<Code, E> {
                Ok(Code(u8::try_from(code).unwrap_or(0)))
            }
        }
        deserializer.deserialize_any(One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Conditions {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn codes_are_read() {
        assert_eq!(read("null"), Conditions::default());
        assert_eq!(read("[]"), Conditions::default());
        assert_eq!(read(r#"["1","8","12"]"#), Conditions::of(&[1, 8, 12]));
        assert_eq!(read("[1,12]"), Conditions::of(&[1, 12]));
        assert_eq!(read(r#"["99","T","300",""]"#), Conditions::of(&[0]));
        assert_eq!(format!("{:?}", read(r#"["12","1"]"#)), "{1, 12}");
        for bad in ["1", r#""1""#, "{}", "[null]", "[[]]", "[-1]"] {
            assert!(serde_json::from_str::<Conditions>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_code_that_says_no_is_enough() {
        // Each code of the list: written down, so that a change of the set is seen.
        let not: Vec<u8> = (0..=CODE_MAX).filter(|code| !Conditions::of(&[*code]).sets_last()).collect();
        assert_eq!(not, [3, 5, 9, 10, 11, 12, 16, 17, 20, 21, 22, 25, 26, 27, 30, 32, 37, 39, 40]);
        assert!(Conditions::default().sets_last());
        assert!(Conditions::of(&[1, 8, 24, 41]).sets_last());
        assert!(!Conditions::of(&[1, 8, 12]).sets_last());
        assert!(Conditions::of(&[24]).extended_hours() && !Conditions::of(&[1]).extended_hours());
    }
}
