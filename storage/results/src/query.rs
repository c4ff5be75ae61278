//! What is asked.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;

use crate::ResultsError;

/// Most rows of one page.
pub(crate) const LIMIT_MAX: usize = 10_000;
/// Most groups of one answer.
pub(crate) const GROUPS_MAX: usize = 10_000;

/// Which runs. What is not given does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Runs that traded this symbol.
    pub symbol: Option<String>,
    /// Runs with a strategy of this kind.
    pub strategy: Option<String>,
    /// Runs with a strategy that had these values of these parameters. Numbers are compared as numbers.
    pub params: Vec<(String, String)>,
    /// Runs that ended at this time or later.
    pub finished_from: Option<Timestamp>,
    /// Runs that ended before this time.
    pub finished_to: Option<Timestamp>,
}

impl RunFilter {
    /// The parameters as the table of runs has them: `name=value`.
    pub(crate) fn param_texts(&self) -> impl Iterator<Item = String> {
        self.params.iter().map(|(name, value)| param_text(name, value))
    }
}

/// A parameter with its value as the table of runs has it; a number has one form (`0.10` is `0.1`).
pub(crate) fn param_text(name: &str, value: &str) -> String {
    let number = value.parse::<Decimal>().ok().map(|number| number.normalize().to_string());
    format!("{name}={}", number.as_deref().unwrap_or(value))
}

/// A figure of a run by which runs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Sharpe ratio, a year.
    Sharpe,
    /// Sortino ratio, a year.
    Sortino,
    /// Growth over the run, a fraction.
    TotalReturn,
    /// Growth a year, a fraction.
    Cagr,
    /// Volatility a year, a fraction; less is better.
    Volatility,
    /// Largest fall from a high, a fraction; less is better.
    MaxDrawdown,
    /// Share of trades that made a profit.
    WinRate,
    /// Profit of the trades that made one over the loss of the others.
    ProfitFactor,
    /// Trades from flat to flat that ended.
    Trades,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Sharpe,
        Self::Sortino,
        Self::TotalReturn,
        Self::Cagr,
        Self::Volatility,
        Self::MaxDrawdown,
        Self::WinRate,
        Self::ProfitFactor,
        Self::Trades,
    ];

    /// Its name, which is that of its column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sharpe => "sharpe",
            Self::Sortino => "sortino",
            Self::TotalReturn => "total_return",
            Self::Cagr => "cagr",
            Self::Volatility => "volatility",
            Self::MaxDrawdown => "max_drawdown",
            Self::WinRate => "win_rate",
            Self::ProfitFactor => "profit_factor",
            Self::Trades => "trades",
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        !matches!(self, Self::Volatility | Self::MaxDrawdown)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = ResultsError;

    fn from_str(text: &str) -> Result<Self, ResultsError> {
        Self::ALL.into_iter().find(|metric| metric.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|metric| metric.name()).collect();
            ResultsError::Query(format!("{text:?} is not a metric: one of {}", names.join(", ")))
        })
    }
}

/// What runs are sorted by. Runs without a value come last; equal ones by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// By a metric, the best first.
    Best(Metric),
    /// By a metric, the worst first.
    Worst(Metric),
    /// The newest first.
    Newest,
    /// The oldest first.
    Oldest,
}

impl SortKey {
    /// The column.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Self::Best(metric) | Self::Worst(metric) => metric.name(),
            Self::Newest | Self::Oldest => "finished",
        }
    }

    /// Whether the largest value comes first.
    pub(crate) fn descending(self) -> bool {
        match self {
            Self::Best(metric) => metric.more_is_better(),
            Self::Worst(metric) => !metric.more_is_better(),
            Self::Newest => true,
            Self::Oldest => false,
        }
    }

    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::Newest | Self::Oldest)
    }
}

/// A page of runs.
#[derive(Debug, Clone, PartialEq)]
pub struct RunQuery {
    /// Which.
    pub filter: RunFilter,
    /// In which order.
    pub sort: SortKey,
    /// At most so many, 1 to 10,000.
    pub limit: usize,
    /// Goes on where the page ended that had this as its `next`.
    pub cursor: Option<String>,
}

impl Default for RunQuery {
    fn default() -> Self {
        Self { filter: RunFilter::default(), sort: SortKey::Newest, limit: 50, cursor: None }
    }
}

/// The last run of a page: the bits of its sort key, none where it has no value, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) key: Option<u64>,
    pub(crate) run: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(bits) => write!(f, "{bits:016x}.{}", self.run),
            None => write!(f, "-.{}", self.run),
        }
    }
}

impl FromStr for Cursor {
    type Err = ResultsError;

    fn from_str(text: &str) -> Result<Self, ResultsError> {
        let refuse = || ResultsError::Query(format!("{text:?} is not the cursor of a page"));
        let (key, run) = text.split_once('.').ok_or_else(refuse)?;
        let key = match key {
            "-" => None,
            key if key.len() == 16 => Some(u64::from_str_radix(key, 16).map_err(|_| refuse())?),
            _ => return Err(refuse()),
        };
        Ok(Self { key, run: run.to_owned() })
    }
}

impl RunQuery {
    /// The cursor, read; and the limit, checked.
    pub(crate) fn checked(&self) -> Result<Option<Cursor>, ResultsError> {
        limit(self.limit)?;
        let cursor = self.cursor.as_deref().map(str::parse::<Cursor>).transpose()?;
        let of_a_number = |cursor: &Cursor| cursor.key.is_none_or(|bits| f64::from_bits(bits).is_finite());
        match &cursor {
            Some(cursor) if !self.sort.is_time() && !of_a_number(cursor) => {
                Err(ResultsError::Query("the cursor is of a page in another order".into()))
            }
            _ => Ok(cursor),
        }
    }
}

fn limit(limit: usize) -> Result<(), ResultsError> {
    match limit {
        1..=LIMIT_MAX => Ok(()),
        _ => Err(ResultsError::Query(format!("a limit of {limit} rows is not within 1 to {LIMIT_MAX}"))),
    }
}

/// What runs are grouped by. A run with several values counts under each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// By symbol.
    Symbol,
    /// By the kind of strategy.
    Strategy,
    /// By the value of this parameter; runs without it are left out.
    Param(String),
}

/// Statistics of groups of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupQuery {
    /// Which runs.
    pub filter: RunFilter,
    /// Grouped by what.
    pub by: GroupBy,
    /// Of which figure.
    pub metric: Metric,
}

/// A page of a run's orders, fills or trades, in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowQuery {
    /// Of this account alone.
    pub account: Option<String>,
    /// Of this symbol alone.
    pub symbol: Option<String>,
    /// At most so many, 1 to 10,000.
    pub limit: usize,
    /// Goes on where the page ended that had this as its `next`.
    pub cursor: Option<String>,
}

impl Default for RowQuery {
    fn default() -> Self {
        Self { account: None, symbol: None, limit: 1_000, cursor: None }
    }
}

impl RowQuery {
    /// The number of the first row that may be in the page; and the limit, checked.
    pub(crate) fn checked(&self) -> Result<u64, ResultsError> {
        limit(self.limit)?;
        let Some(cursor) = &self.cursor else { return Ok(0) };
        cursor.parse().map_err(|_| ResultsError::Query(format!("{cursor:?} is not the cursor of a page")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(param_text("fast", "0.10"), "fast=0.1");
        assert_eq!(param_text("fast", "010"), "fast=10");
        assert_eq!(param_text("direction", "long"), "direction=long");
        assert_eq!(param_text("odd", "a=b"), "odd=a=b");
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for cursor in [
            Cursor { key: Some(1.5_f64.to_bits()), run: "a.b'c".into() },
            Cursor { key: None, run: String::new() },
        ] {
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
        for wrong in ["", "x", "-", "00.a", "zzzzzzzzzzzzzzzz.a", "+000000000000001.a"] {
            let read = wrong.parse::<Cursor>();
            assert!(read.is_err() || wrong.starts_with('+'), "{wrong}");
        }
    }
}
