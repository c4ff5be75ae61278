//! Accounts: what they may do and how they are charged.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::ids::AccountId;
use crate::money::Currency;

/// Whether an account trades on its own cash or on margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum AccountKind {
    /// Pays in full, can't be short, can't owe.
    Cash,
    /// May hold positions worth up to `leverage` times its equity, long or short.
    Margin {
        /// Position value over equity that an opening order may reach, 1 or above.
        leverage: Decimal,
    },
}

/// An account at the start of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSpec {
    /// Its name, unique within the run.
    pub id: AccountId,
    /// Cash or margin.
    pub kind: AccountKind,
    /// The currency of its balance. Instruments must settle in it.
    pub currency: Currency,
    /// Starting balance.
    pub balance: Decimal,
}
