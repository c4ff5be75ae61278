//! Read models of trading: orders, fills, positions, round trips and equity, as tables. The bus is the truth; what is here
//! was read from it, and can be read again.
//!
//! | file | holds |
//! |---|---|
//! | `project.rs` | how far the bus was read, and writing what was read |
//! | `rows.rs` | the rows |
//! | `orders.rs`, `fills.rs`, `positions.rs`, `equity.rs` | reading them |
//! | `trades.rs` | round trips, with the tags and notes that people keep |

mod equity;
mod fills;
mod orders;
mod positions;
mod project;
mod rows;
mod trades;

pub use project::{Batch, Projected};
pub use rows::{EquityRow, FillRow, OrderEventRow, OrderRow, PositionRow, TradeRow};
pub use trades::Trade;

/// Which orders, fills or trades.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'a> {
    /// Of these accounts; all of them when not given.
    pub accounts: Option<&'a [String]>,
    /// Of an instrument.
    pub symbol: Option<&'a str>,
    /// Of a strategy.
    pub strategy: Option<&'a str>,
    /// Of this side: `buy` or `sell`, of trades `long` or `short`.
    pub side: Option<&'a str>,
    /// From this time on, in nanoseconds.
    pub from: Option<i64>,
    /// Before this time.
    pub to: Option<i64>,
}

impl Which<'_> {
    /// Its conditions, with the column of the time.
    fn on(&self, select: crate::select::Select, time: &str) -> crate::select::Select {
        select
            .among("account", self.accounts)
            .and_if("symbol = ?", self.symbol)
            .and_if("strategy = ?", self.strategy)
            .and_if("side = ?", self.side)
            .and_if(&format!("{time} >= ?"), self.from)
            .and_if(&format!("{time} < ?"), self.to)
    }
}
