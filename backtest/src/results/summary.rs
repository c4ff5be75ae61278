//! `summary.json`: what came out, what it was made from, and what was assumed.

use std::path::Path;

use serde::Serialize;
use tradeflow_actors::output::Counters;
use tradeflow_model::plan::{CellPlan, LimitFill, RunPlan, Slippage};
use tradeflow_model::{AccountKind, Digest, Money, Timestamp};

use super::Collected;
use crate::dataflow::Outcome;
use crate::shard::{CellFinal, run_digest};
use crate::statistics::{CurveStatistics, TradeStatistics};

/// One thing that the simulation took for granted.
pub type Assumption = String;

/// The summary of a run. Amounts are in the accounts' currency; returns and drawdowns are fractions (0.1 is 10 %).
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Version of the program.
    pub version: &'static str,
    /// Digest of everything that all cells put out: equal runs have equal digests.
    pub digest: Digest,
    /// Digest of the plan.
    pub config_digest: Digest,
    /// Digest of the data.
    pub data_digest: Digest,
    /// The seed.
    pub seed: u64,
    /// Whether the run came to its end; otherwise it was stopped at `stopped_at`.
    pub completed: bool,
    /// Time of the last event of a run that was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<String>,
    /// Symbols.
    pub symbols: Vec<String>,
    /// Strategies, as `kind` or `kind as id`.
    pub strategies: Vec<String>,
    /// Start of trading.
    pub from: String,
    /// End, exclusive.
    pub to: String,
    /// Currency of the amounts; `null` when the accounts have several, and sums would mean nothing.
    pub currency: Option<String>,
    /// Bars from the start on.
    pub bars: u64,
    /// Trades and quotes from the start on.
    pub ticks: u64,
    /// Bars, trades and quotes before the start, for warm-up.
    pub warm_up: u64,
    /// Orders.
    pub orders: u64,
    /// Orders that the risk gate refused.
    pub denied: u64,
    /// Orders that the venue refused.
    pub rejected: u64,
    /// Fills.
    pub fills: u64,
    /// Trades from flat to flat that ended.
    pub trades: u64,
    /// Balance at the start.
    pub initial_equity: f64,
    /// Cash and positions at the end.
    pub final_equity: f64,
    /// Growth over the run.
    pub total_return: f64,
    /// Largest fall from a high.
    pub max_drawdown: f64,
    /// Fees.
    pub fees: f64,
    /// Statistics of the curve of all accounts together.
    pub statistics: CurveStatistics,
    /// Statistics of all trades.
    pub trade_statistics: TradeStatistics,
    /// The accounts.
    pub accounts: Vec<AccountSummary>,
    /// What was taken for granted.
    pub assumptions: Vec<Assumption>,
    /// When the run ended, UTC.
    pub finished: String,
    /// Time that the run took, in seconds.
    pub seconds: f64,
    /// The folder of the results.
    pub results: String,
}

/// An account at the end of a run.
#[derive(Debug, Clone, Serialize)]
pub struct AccountSummary {
    /// Its name.
    pub account: String,
    /// Its currency.
    pub currency: String,
    /// Digest of what its cell put out.
    pub digest: Digest,
    /// Its strategies, with the parameters that they ran with.
    pub strategies: Vec<StrategySummary>,
    /// Balance at the start.
    pub initial_equity: f64,
    /// Cash and positions at the end.
    pub final_equity: f64,
    /// Cash at the end.
    pub cash: f64,
    /// Growth.
    pub total_return: f64,
    /// Profit of closed parts, before fees.
    pub realized: f64,
    /// Profit of open parts at their marks.
    pub unrealized: f64,
    /// Fees.
    pub fees: f64,
    /// Dividends.
    pub dividends: f64,
    /// What it did.
    pub counters: Counters,
    /// Statistics of its curve.
    pub statistics: CurveStatistics,
    /// Statistics of its trades.
    pub trade_statistics: TradeStatistics,
}

/// A strategy of an account.
#[derive(Debug, Clone, Serialize)]
pub struct StrategySummary {
    /// Unique within the account.
    pub id: String,
    /// The kind, as `tradeflow strategies` lists it.
    pub kind: String,
    /// All its parameters, those that were left to their defaults too.
    pub params: serde_json::Value,
}

/// The number nearest to an amount rounded as in the tables.
fn number(amount: Money, scale: u8) -> f64 {
    amount
        .rounded(scale)
        .and_then(|raw| tradeflow_model::fixed::to_decimal(raw, scale).to_string().parse().ok())
        .unwrap_or_else(|| amount.to_f64())
}

/// Puts a summary together.
pub fn summarise(
    plan: &RunPlan,
    collected: Collected,
    outcome: &Outcome,
    stopped_at: Option<Timestamp>,
    seconds: f64,
    results: &Path,
) -> Summary {
    let digest = run_digest(plan, &collected.cells);
    let mut accounts = Vec::new();
    let mut trades = TradeStatistics::default();
    for ((cell, last), statistics) in plan.cells.iter().zip(&collected.cells).zip(collected.statistics) {
        let (curve, own) = statistics.finish();
        trades.merge(&own);
        accounts.push(account(cell, last, curve, own));
    }
    let sum = |of: fn(&AccountSummary) -> f64| accounts.iter().map(of).sum::<f64>();
    let count = |of: fn(&Counters) -> u64| collected.cells.iter().map(|cell| of(&cell.counters)).sum::<u64>();
    let seen = collected.cells.first().map(|cell| cell.counters).unwrap_or_default();
    let currencies: Vec<&String> = accounts.iter().map(|account| &account.currency).collect();
    let currency =
        currencies.first().filter(|first| currencies.iter().all(|c| c == *first)).map(|c| (*c).clone());
    let (initial_equity, final_equity) = (sum(|a| a.initial_equity), sum(|a| a.final_equity));
    let fees = sum(|a| a.fees);
    let assumptions = assumptions(plan, &collected.cells);
    Summary {
        version: env!("CARGO_PKG_VERSION"),
        digest,
        config_digest: plan.config_digest(),
        data_digest: plan.data_digest(),
        seed: plan.seed,
        completed: !outcome.stopped,
        stopped_at: stopped_at.map(|ts| ts.to_string()),
        symbols: plan.instruments.iter().map(|i| i.symbol.to_string()).collect(),
        strategies: plan.cells.iter().flat_map(|cell| &cell.strategies).map(|s| s.id.clone()).collect(),
        from: plan.from.to_string(),
        to: plan.to.to_string(),
        currency,
        bars: seen.bars,
        ticks: seen.ticks,
        warm_up: seen.warm_up,
        orders: count(|c| c.orders),
        denied: count(|c| c.denied),
        rejected: count(|c| c.rejected),
        fills: count(|c| c.fills),
        trades: count(|c| c.trades),
        initial_equity,
        final_equity,
        total_return: final_equity / initial_equity - 1.0,
        max_drawdown: collected.curve.max_drawdown,
        fees,
        statistics: collected.curve,
        trade_statistics: trades,
        accounts,
        assumptions,
        finished: jiff::Timestamp::now().to_string(),
        seconds,
        results: results.display().to_string(),
    }
}

fn account(
    plan: &CellPlan,
    last: &CellFinal,
    statistics: CurveStatistics,
    trade_statistics: TradeStatistics,
) -> AccountSummary {
    let scale = plan.account.currency.report_scale();
    let start = Money::from_decimal(plan.account.balance).unwrap_or_default();
    let (initial_equity, final_equity) = (number(start, scale), number(last.equity, scale));
    AccountSummary {
        account: plan.account.id.to_string(),
        currency: plan.account.currency.to_string(),
        digest: last.digest,
        strategies: plan
            .strategies
            .iter()
            .map(|s| StrategySummary { id: s.id.clone(), kind: s.kind.clone(), params: s.params.clone() })
            .collect(),
        initial_equity,
        final_equity,
        cash: number(last.cash, scale),
        total_return: final_equity / initial_equity - 1.0,
        realized: number(last.realized, scale),
        unrealized: number(last.unrealized, scale),
        fees: number(last.fees, scale),
        dividends: number(last.dividends, scale),
        counters: last.counters,
        statistics,
        trade_statistics,
    }
}

/// What the venue's model took for granted, account by account; said once where all are alike.
fn assumptions(plan: &RunPlan, cells: &[CellFinal]) -> Vec<Assumption> {
    let mut all: Vec<Assumption> = Vec::new();
    for (cell, last) in plan.cells.iter().zip(cells) {
        let venue = &cell.venue;
        let mut say = |what: String| {
            if !all.contains(&what) {
                all.push(what);
            }
        };
        let over = match (last.counters.fills_over_volume, last.counters.fills) {
            (0, _) => String::new(),
            (over, fills) => {
                format!("; {over} of {fills} fills were above a tenth of the volume they traded in")
            }
        };
        say(match venue.volume_share_max {
            Some(share) => format!(
                "market orders fill from the next bar's open on, up to {} % of each bar's volume{over}",
                (share * rust_decimal::Decimal::ONE_HUNDRED).normalize()
            ),
            None => format!("market orders fill whole at the next bar's open, whatever the volume{over}"),
        });
        say("in a bar that reaches both stop and target the stop fills; a stop in a gap fills at the open"
            .into());
        say(match venue.limit_fill {
            LimitFill::Through => "limit orders fill when the price trades through them".into(),
            LimitFill::Touch => "limit orders fill when the price touches them (first in every queue)".into(),
        });
        say(match venue.slippage {
            Slippage::None => "no slippage beyond the prices in the data".into(),
            Slippage::Bps(bps) => format!("slippage {bps} bps of the price on orders that take"),
            Slippage::Spread(spread) => format!("slippage of half a spread of {spread} on orders that take"),
        });
        for instrument in &plan.instruments {
            let fees = venue.fees.unwrap_or(instrument.fees);
            let mut parts = vec![format!("{} bps taking, {} bps making", fees.taker_bps, fees.maker_bps)];
            if !fees.per_unit.is_zero() {
                parts.push(format!("{} a unit", fees.per_unit));
            }
            if !fees.minimum.is_zero() {
                parts.push(format!("at least {} a fill", fees.minimum));
            }
            let of = if venue.fees.is_some() { String::new() } else { format!(" ({})", instrument.symbol) };
            say(format!("fees{of}: {}", parts.join(", ")));
        }
        say(match cell.account.kind {
            AccountKind::Cash => "cash account: no short sales, no borrowing".into(),
            AccountKind::Margin { leverage } => {
                format!("margin account up to {leverage}:1, without interest, borrowing fees or margin calls")
            }
        });
    }
    all
}
