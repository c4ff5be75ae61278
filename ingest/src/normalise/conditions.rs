//! Trades that do not set a price.
//!
//! A tape also reports trades at prices that are not the market's: averages over a day, prices agreed before, reports
//! that come late or out of sequence. By the tapes' rules they change neither last nor open, high and low; matched
//! against, they would fill orders at prices that nobody could get. So they are left out and counted, with their volume.
//!
//! Which codes these are is the vendor's matter, so its feed brings the list. Finnhub publishes none for its codes; in
//! what was recorded of it (`1`, `8`, `12`) all trades are at the market's price.

use std::collections::BTreeSet;

use crate::feed::Sink;

/// The condition codes of a vendor that exclude a trade.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Conditions {
    excluded: BTreeSet<String>,
}

impl Conditions {
    /// These codes exclude a trade.
    pub fn new<'a>(excluded: impl IntoIterator<Item = &'a str>) -> Self {
        Self { excluded: excluded.into_iter().map(str::to_owned).collect() }
    }

    /// Whether a trade with these codes sets a price. One that does not is counted at the sink.
    pub fn admit<'a>(&self, codes: impl IntoIterator<Item = &'a str>, sink: &mut dyn Sink) -> bool {
        let excluded =
            !self.excluded.is_empty() && codes.into_iter().any(|code| self.excluded.contains(code));
        if excluded {
            sink.excluded();
        }
        !excluded
    }
}
