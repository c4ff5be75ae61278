//! History from vendors into the catalog.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`History`]: what a vendor's client of history is, and what it gives |
//! | `error.rs` | [`HistoryError`]: what goes wrong, by what to do about it |
//! | `http.rs` | [`Http`]: requests with a key that never shows |
//! | `pieces.rs` | what is missing, cut as the vendor pages |
//! | `slots.rs` | the time of a bar: its key in the catalog, and its end |
//! | `store.rs` | rows into the catalog, and the note of what was asked |
//! | `fill.rs` | [`Fill`]: the whole of a fetch, resumable |

mod error;
mod fill;
mod http;
mod pieces;
mod slots;
mod store;

use std::future::Future;
use std::pin::Pin;

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use tradeflow_model::market::ActionKind;
use tradeflow_model::{AssetClass, Interval, Timestamp};

pub use crate::calls::{Rate, Retry};
pub use error::HistoryError;
pub use fill::{Fill, FillError, FillProgress, FillReport, Wanted};
pub use http::{Http, Reply};
pub(crate) use http::{sample, with_causes};
pub(crate) use slots::ex_time;

/// What a client is asked for: bars of one symbol that open in `from <= t < to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What the vendor calls it.
    pub symbol: String,
    /// Length of the bars.
    pub interval: Interval,
    /// First instant.
    pub from: Timestamp,
    /// First instant after it.
    pub to: Timestamp,
}

/// A bar as a vendor gives it: raw (as traded, not adjusted), exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // as in `model::market::Bar`
pub struct RawBar {
    /// Its start; of a daily bar any instant that belongs to its date, or midnight UTC of it.
    pub ts_open: Timestamp,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    /// Traded quantity in units of the base; zero where the vendor gives none.
    pub volume: Decimal,
}

/// What a client gives for an [`Ask`]. More than was asked for may be in it: who asked picks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// The bars, oldest first.
    pub bars: Vec<RawBar>,
    /// Splits and dividends in the same time, at the open of the session of their ex-date, oldest first.
    pub actions: Vec<(Timestamp, ActionKind)>,
    /// The kind of instrument, where the vendor tells or its symbols do.
    pub class: Option<AssetClass>,
    /// What prices are in, where the vendor tells.
    pub currency: Option<String>,
    /// There is nothing before this instant, which may lie after the time asked for.
    pub nothing_before: Option<Timestamp>,
    /// Things that the user should know.
    pub notes: Vec<String>,
}

/// How a vendor cuts history into answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// One answer, whatever is asked for.
    Whole,
    /// An answer a calendar month of this zone.
    Months(TimeZone),
    /// Answers of so many nanoseconds at most.
    Span(i64),
}

/// How far a vendor's history reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The earliest instant that it gives; `None` without such a limit.
    pub earliest: Option<Timestamp>,
    /// How it is cut.
    pub cut: Cut,
    /// For so long (nanoseconds) after its close a bar may still be missing from an answer.
    pub settles_in: i64,
}

/// What a client's calls give.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, HistoryError>> + Send + 'a>>;

/// A vendor's client of history. Rates, retries and keys are its own business.
pub trait History: Send + Sync {
    /// The vendor's name in one word.
    fn name(&self) -> &'static str;

    /// How far the history of these bars reaches at `now`, and how it is cut. Asks nobody.
    ///
    /// # Errors
    /// [`HistoryError::Unsupported`] for bars that the vendor does not have.
    fn reach(&self, symbol: &str, interval: Interval, now: Timestamp) -> Result<Reach, HistoryError>;

    /// Asks for one piece, at most as large as [`Self::reach`] says.
    fn fetch<'a>(&'a self, ask: &'a Ask) -> Answer<'a, Piece>;
}
