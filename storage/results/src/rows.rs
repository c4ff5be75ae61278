//! What is answered. Amounts are exact decimals, times are UTC; in JSON both are text.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};
use tradeflow_model::Timestamp;

/// An instant, which JSON shows as `2024-01-03T00:00:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utc(pub Timestamp);

impl fmt::Debug for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A page of something.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The cursor of the page behind this one; `None` at the end.
    pub next: Option<String>,
}

/// A run with its figures. Fractions are of 1 (0.1 is 10 %).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its name: that of its folder.
    pub run: String,
    /// When it ended.
    pub finished: Utc,
    /// Version of the program.
    pub version: String,
    /// Digest of all outputs.
    pub digest: String,
    /// Digest of the plan.
    pub config_digest: String,
    /// Digest of the data.
    pub data_digest: String,
    /// The seed.
    pub seed: u64,
    /// Whether it came to its end; otherwise it was stopped.
    pub completed: bool,
    /// Start of trading.
    pub from: Utc,
    /// End, exclusive.
    pub to: Utc,
    /// The symbols.
    pub symbols: Vec<String>,
    /// The accounts.
    pub accounts: Vec<String>,
    /// The strategies of all accounts.
    pub strategies: Vec<RunStrategy>,
    /// Currency of the amounts; `None` where accounts have several, and sums mean nothing.
    pub currency: Option<String>,
    /// Bars.
    pub bars: u64,
    /// Trades and quotes.
    pub ticks: u64,
    /// Orders.
    pub orders: u64,
    /// Fills.
    pub fills: u64,
    /// Trades from flat to flat that ended.
    pub trades: u64,
    /// Balance at the start.
    pub initial_equity: Decimal,
    /// Cash and positions at the end.
    pub final_equity: Decimal,
    /// Fees.
    pub fees: Decimal,
    /// Growth over the run.
    pub total_return: Option<f64>,
    /// Growth a year.
    pub cagr: Option<f64>,
    /// Volatility a year.
    pub volatility: Option<f64>,
    /// Sharpe ratio.
    pub sharpe: Option<f64>,
    /// Sortino ratio.
    pub sortino: Option<f64>,
    /// Largest fall from a high.
    pub max_drawdown: Option<f64>,
    /// Share of trades that made a profit.
    pub win_rate: Option<f64>,
    /// Profit of the trades that made one over the loss of the others.
    pub profit_factor: Option<f64>,
    /// Time that the run took, in seconds.
    pub seconds: f64,
}

impl Run {
    /// The value of a metric.
    pub fn metric(&self, metric: crate::Metric) -> Option<f64> {
        use crate::Metric;
        match metric {
            Metric::Sharpe => self.sharpe,
            Metric::Sortino => self.sortino,
            Metric::TotalReturn => self.total_return,
            Metric::Cagr => self.cagr,
            Metric::Volatility => self.volatility,
            Metric::MaxDrawdown => self.max_drawdown,
            Metric::WinRate => self.win_rate,
            Metric::ProfitFactor => self.profit_factor,
            Metric::Trades => Some(self.trades as f64),
        }
    }
}

/// A strategy of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStrategy {
    /// The account that it traded for.
    pub account: String,
    /// Its id, unique within the account.
    pub id: String,
    /// The kind.
    pub kind: String,
    /// Its parameters.
    pub params: serde_json::Value,
}

/// A point of an account's equity curve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EquityPoint {
    /// When.
    pub ts: Utc,
    /// Cash.
    pub cash: Decimal,
    /// Cash and positions at their marks.
    pub equity: Decimal,
}

/// An order as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// The account.
    pub account: String,
    /// Its id.
    pub order_id: i64,
    /// The strategy that sent it; `None` for one from outside.
    pub strategy: Option<String>,
    /// The symbol.
    pub symbol: String,
    /// `buy` or `sell`.
    pub side: String,
    /// `market`, `limit`, `stop` …
    #[serde(rename = "type")]
    pub kind: String,
    /// How long it was good for.
    pub time_in_force: String,
    /// Quantity.
    pub quantity: Decimal,
    /// Limit price.
    pub limit_price: Option<Decimal>,
    /// Price that triggers it.
    pub trigger: Option<Decimal>,
    /// Whether it could only make a position smaller.
    pub reduce_only: bool,
    /// The order that it belongs to.
    pub parent_id: Option<i64>,
    /// How it ended.
    pub status: String,
    /// Quantity that was filled.
    pub filled: Decimal,
    /// Average price of its fills.
    pub average_price: Option<Decimal>,
    /// When it was sent.
    pub ts_submitted: Utc,
    /// When it ended.
    pub ts_closed: Utc,
    /// Why it was refused or cancelled.
    pub reason: Option<String>,
}

/// A fill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fill {
    /// The account.
    pub account: String,
    /// The order.
    pub order_id: i64,
    /// The strategy that sent the order.
    pub strategy: Option<String>,
    /// The symbol.
    pub symbol: String,
    /// When it traded.
    pub ts: Utc,
    /// When the account learnt of it.
    pub ts_init: Utc,
    /// `buy` or `sell`.
    pub side: String,
    /// Price.
    pub price: Decimal,
    /// Quantity.
    pub quantity: Decimal,
    /// Fee.
    pub fee: Decimal,
    /// `maker` or `taker`.
    pub liquidity: String,
}

/// A round trip from flat to flat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trade {
    /// The account.
    pub account: String,
    /// Its number within the account, from 1.
    pub trade_id: i64,
    /// The strategy.
    pub strategy: Option<String>,
    /// The symbol.
    pub symbol: String,
    /// `long` or `short`.
    pub side: String,
    /// Quantity.
    pub quantity: Decimal,
    /// When it began.
    pub entry_time: Utc,
    /// When it ended; `None` while it is open.
    pub exit_time: Option<Utc>,
    /// Average price of its entry.
    pub entry_price: Decimal,
    /// Average price of its exit.
    pub exit_price: Option<Decimal>,
    /// Profit before fees.
    pub pnl: Option<Decimal>,
    /// Fees.
    pub fees: Decimal,
    /// Dividends.
    pub dividends: Decimal,
    /// Profit after fees and with dividends.
    pub pnl_net: Option<Decimal>,
    /// Whether it was not over when the run ended.
    pub open: bool,
}

/// What the runs of a group have in common, and how good they were.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupStatistics {
    /// The symbol, the kind of strategy, or the value of the parameter.
    pub value: String,
    /// Runs.
    pub runs: u64,
    /// The best value of the metric; `None` where no run has one.
    pub best: Option<f64>,
    /// The middle value, the lower one of two.
    pub median: Option<f64>,
    /// The worst value.
    pub worst: Option<f64>,
    /// The run with the best value, the first by name of several.
    pub best_run: Option<String>,
}
