//! Identifiers. Small integers inside a run, text at the edges; derived, never random (invariant I3).

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::error::{ValueError, ValueReason};

/// Index of an instrument in the run's instrument table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstrumentId(pub u32);

/// Index of a data series in the run's series table. Its order is the source rank that breaks ties in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesId(pub u16);

/// Index of a strategy among the strategies of its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StrategyIndex(pub u16);

impl InstrumentId {
    /// The position in the instrument table.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl SeriesId {
    /// The position in the series table.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl StrategyIndex {
    /// The position among the cell's strategies.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The client order id: the position of the input that caused the order in its cell's journal, and a number within
/// that input. The same inputs therefore give the same ids, and a restart can't mint one twice (invariant I4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(u64);

impl OrderId {
    /// How many orders one input may cause.
    pub const PER_INPUT_MAX: u64 = 1 << 12;

    /// The id of the `index`th order (from 0) caused by the input at `position` of the journal.
    ///
    /// `None` when an input causes more than [`Self::PER_INPUT_MAX`] orders, or the position passes 2⁵².
    pub const fn derive(position: u64, index: u64) -> Option<Self> {
        if position < 1 << 52 && index < Self::PER_INPUT_MAX {
            Some(Self(position << 12 | index))
        } else {
            None
        }
    }

    /// The journal position of the input that caused the order.
    pub fn position(self) -> u64 {
        self.0 >> 12
    }

    /// The number within that input.
    #[inline]
    pub fn index(self) -> u64 {
        self.0 & (Self::PER_INPUT_MAX - 1)
    }

    /// The id as one integer, as it stands in Parquet files.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.position(), self.index())
    }
}

/// Letters, digits and `. _ - ^ = +`, at most 64: what can stand in a file path and in a broker's symbol.
fn check_name(subject: &str, text: &str) -> Result<(), ValueError> {
    let ok = !text.is_empty()
        && text.len() <= 64
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-^=+".contains(&b));
    if ok {
        return Ok(());
    }
    let why = "takes 1 to 64 letters, digits or . _ - ^ = +";
    Err(ValueError::new(subject, "name", text, ValueReason::Other(why.into())))
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $subject:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text and wraps it.
            ///
            /// # Errors
            /// When it is empty, longer than 64 characters, or holds anything but letters, digits and `. _ - ^ = +`.
            pub fn new(text: impl Into<String>) -> Result<Self, ValueError> {
                let text = text.into();
                check_name($subject, &text)?;
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;
            fn try_from(text: String) -> Result<Self, ValueError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// An instrument's symbol, as the catalog's folders spell it.
    Symbol,
    "symbol"
);
name_type!(
    /// An account's name, unique within a run.
    AccountId,
    "account"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_ids_are_ordered_by_journal_position() {
        let a = OrderId::derive(7, 4095).unwrap();
        let b = OrderId::derive(8, 0).unwrap();
        assert!(a < b);
        assert_eq!((a.position(), a.index()), (7, 4095));
        assert_eq!(a.to_string(), "7-4095");
        assert_eq!(OrderId::derive(7, 4096), None);
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for bad in ["", "..", "a/b", "a\\b", "x y", "é"] {
            assert!(Symbol::new(bad).is_err(), "{bad:?}");
        }
        for good in ["BTCUSD", "BRK.B", "^GSPC", "EURUSD=X", "ES-202403"] {
            assert!(Symbol::new(good).is_ok(), "{good:?}");
        }
    }
}
