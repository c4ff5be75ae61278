//! From `summary.json` to a row of the table of runs.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use tradeflow_model::Timestamp;

use crate::query::param_text;
use crate::rows::{Run, RunStrategy, Utc};

/// What is read of `summary.json`. Numbers stay text until they are what they shall be: a decimal, or the nearest `f64`.
#[derive(Deserialize)]
struct Summary<'a> {
    version: String,
    digest: String,
    config_digest: String,
    data_digest: String,
    seed: u64,
    completed: bool,
    symbols: Vec<String>,
    from: String,
    to: String,
    currency: Option<String>,
    bars: u64,
    ticks: u64,
    orders: u64,
    fills: u64,
    trades: u64,
    #[serde(borrow)]
    initial_equity: &'a RawValue,
    #[serde(borrow)]
    final_equity: &'a RawValue,
    #[serde(borrow)]
    fees: &'a RawValue,
    #[serde(borrow)]
    total_return: &'a RawValue,
    #[serde(borrow)]
    max_drawdown: &'a RawValue,
    #[serde(borrow)]
    statistics: Curve<'a>,
    #[serde(borrow)]
    trade_statistics: Trades<'a>,
    accounts: Vec<Account>,
    finished: String,
    #[serde(borrow)]
    seconds: &'a RawValue,
}

#[derive(Deserialize)]
struct Curve<'a> {
    #[serde(borrow)]
    cagr: &'a RawValue,
    #[serde(borrow)]
    volatility: &'a RawValue,
    #[serde(borrow)]
    sharpe: &'a RawValue,
    #[serde(borrow)]
    sortino: &'a RawValue,
}

#[derive(Deserialize)]
struct Trades<'a> {
    count: u64,
    wins: u64,
    #[serde(borrow)]
    gross_profit: &'a RawValue,
    #[serde(borrow)]
    gross_loss: &'a RawValue,
}

#[derive(Deserialize)]
struct Account {
    account: String,
    strategies: Vec<Strategy>,
}

#[derive(Deserialize)]
struct Strategy {
    id: String,
    kind: String,
    params: serde_json::Value,
}

/// The row of a run with this name and this `summary.json`.
///
/// # Errors
/// Says what is missing or wrong.
pub(crate) fn read(run: &str, text: &str) -> Result<Run, String> {
    let summary: Summary<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let (wins, losses) = (
        number("gross_profit", summary.trade_statistics.gross_profit)?,
        number("gross_loss", summary.trade_statistics.gross_loss)?,
    );
    let count = summary.trade_statistics.count;
    let accounts = summary.accounts.iter().map(|account| account.account.clone()).collect();
    let strategies = summary.accounts.into_iter().flat_map(|account| {
        let name = account.account;
        account.strategies.into_iter().map(move |s| RunStrategy {
            account: name.clone(),
            id: s.id,
            kind: s.kind,
            params: s.params,
        })
    });
    Ok(Run {
        run: run.to_owned(),
        finished: time("finished", &summary.finished)?,
        version: summary.version,
        digest: summary.digest,
        config_digest: summary.config_digest,
        data_digest: summary.data_digest,
        seed: summary.seed,
        completed: summary.completed,
        from: time("from", &summary.from)?,
        to: time("to", &summary.to)?,
        symbols: summary.symbols,
        accounts,
        strategies: strategies.collect(),
        currency: summary.currency,
        bars: summary.bars,
        ticks: summary.ticks,
        orders: summary.orders,
        fills: summary.fills,
        trades: summary.trades,
        initial_equity: amount("initial_equity", summary.initial_equity)?,
        final_equity: amount("final_equity", summary.final_equity)?,
        fees: amount("fees", summary.fees)?,
        total_return: number("total_return", summary.total_return)?,
        cagr: number("cagr", summary.statistics.cagr)?,
        volatility: number("volatility", summary.statistics.volatility)?,
        sharpe: number("sharpe", summary.statistics.sharpe)?,
        sortino: number("sortino", summary.statistics.sortino)?,
        max_drawdown: number("max_drawdown", summary.max_drawdown)?,
        win_rate: (count > 0).then(|| summary.trade_statistics.wins as f64 / count as f64),
        profit_factor: wins
            .zip(losses)
            .filter(|(_, losses)| *losses > 0.0)
            .map(|(wins, losses)| wins / losses),
        seconds: number("seconds", summary.seconds)?.unwrap_or(0.0),
    })
}

fn time(name: &str, text: &str) -> Result<Utc, String> {
    text.parse::<Timestamp>().map(Utc).map_err(|error| format!("{name}: {error}"))
}

/// A number, or `null` for one that is none. Zero has no sign.
fn number(name: &str, text: &RawValue) -> Result<Option<f64>, String> {
    let text = text.get();
    match text.parse::<f64>() {
        _ if text == "null" => Ok(None),
        Ok(number) if number.is_finite() => Ok(Some(number + 0.0)),
        _ => Err(format!("{name}: {text} is not a number")),
    }
}

/// An amount with all its digits, to 18 decimals.
fn amount(name: &str, text: &RawValue) -> Result<Decimal, String> {
    let text = text.get();
    let exact = text.parse().or_else(|_| Decimal::from_scientific(text));
    let refuse = || format!("{name}: {text} is not an amount");
    exact.map(|amount: Decimal| amount.round_dp(18).normalize()).map_err(|_| refuse())
}

/// The kinds of a run's strategies, each once.
pub(crate) fn kinds(run: &Run) -> Vec<String> {
    let kinds: BTreeSet<_> = run.strategies.iter().map(|strategy| strategy.kind.clone()).collect();
    kinds.into_iter().collect()
}

/// All parameters of a run's strategies as `name=value`, each once.
pub(crate) fn params(run: &Run) -> Vec<String> {
    let all = run.strategies.iter().filter_map(|strategy| strategy.params.as_object()).flatten();
    let texts: BTreeSet<_> = all.map(|(name, value)| param_text(name, &value_text(value))).collect();
    texts.into_iter().collect()
}

/// A parameter's value as text: a text as it stands, everything else as JSON.
pub(crate) fn value_text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
