//! The one error for a value that can't be taken: it names the instrument, the field and the value.

use std::fmt;

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueReason {
    /// Not a decimal number at all.
    #[error("is not a number")]
    Malformed,
    /// `NaN` or an infinity.
    #[error("is not finite")]
    NonFinite,
    /// More decimals than the instrument's scale holds.
    #[error("has more than {0} decimals")]
    TooPrecise(u8),
    /// Not a multiple of the increment (tick or lot size), given here as text.
    #[error("is not a multiple of the increment {0}")]
    OffIncrement(String),
    /// Does not fit 64 bits at the scale, or lies outside the limits of the field.
    #[error("is out of range ({0})")]
    OutOfRange(String),
    /// Must be above zero.
    #[error("must be above zero")]
    NotPositive,
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// A value that was refused: what, where and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// The instrument's symbol, or what else the value belongs to.
    pub subject: String,
    /// The field, as the user knows it (`price`, `quantity`, `low`).
    pub field: String,
    /// The value as it was given.
    pub value: String,
    /// Why it was refused.
    pub reason: ValueReason,
}

impl ValueError {
    /// An error for `value` in `field` of `subject`.
    pub fn new(
        subject: impl Into<String>,
        field: impl Into<String>,
        value: impl fmt::Display,
        reason: ValueReason,
    ) -> Self {
        Self { subject: subject.into(), field: field.into(), value: value.to_string(), reason }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {:?} {}", self.subject, self.field, self.value, self.reason)
    }
}

impl std::error::Error for ValueError {}
