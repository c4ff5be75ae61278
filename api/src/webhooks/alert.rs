//! What a sender wants, in our terms.

use rust_decimal::Decimal;
use tradeflow_live::SessionPlan;
use tradeflow_model::signal::Size;
use tradeflow_model::{SignalSide, Symbol, Timestamp};

use super::payload::Payload;
use crate::problem::Problem;

/// An alert.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alert {
    /// The instrument, as its sender calls it.
    pub(super) ticker: String,
    /// The position that it wants.
    pub(super) side: SignalSide,
    /// How large.
    pub(super) size: Option<Size>,
    /// The price at which its sender saw it.
    pub(super) price: Option<Decimal>,
    /// A limit for the entry.
    pub(super) limit_price: Option<Decimal>,
    /// A protective stop.
    pub(super) stop_loss: Option<Decimal>,
    /// A profit target.
    pub(super) take_profit: Option<Decimal>,
    /// The strategy.
    pub(super) strategy: StrategyName,
    /// When it was sent, where it says so: by this it may be too old.
    pub(super) sent: Option<Timestamp>,
}

/// A strategy, as its author calls it; empty where he does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) struct StrategyName {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) name: String,
}

impl StrategyName {
    /// From nested fields (`strategy.id`, …) or flat ones (`strategy_id`, …).
    pub(super) fn of(payload: &Payload) -> Result<Self, Problem> {
        let text = |paths: &[&str]| -> Result<String, Problem> {
            let Some((path, text)) = payload.find(paths) else { return Ok(String::new()) };
            match text.chars().count() <= 64 && !text.chars().any(char::is_control) {
                true => Ok(text),
                false => Err(Problem::field(path, "takes 1 to 64 characters, no control characters")),
            }
        };
        let (id, version, name) = (
            text(&["strategy.id", "strategy_id", "strategyId", "execution_intent.strategy", "strategy"])?,
            text(&["strategy.version", "strategy_version", "strategyVersion", "version"])?,
            text(&[
                "strategy.name",
                "strategy_name",
                "strategyName",
                "strategy_info.alert_name",
                "alert_name",
            ])?,
        );
        Ok(Self { id: if id.is_empty() { name.clone() } else { id }, version, name })
    }
}

/// A time as senders write it: RFC 3339, or seconds or milliseconds since 1970.
pub(super) fn time(payload: &Payload, paths: &[&str]) -> Result<Option<Timestamp>, Problem> {
    let Some((path, text)) = payload.find(paths) else { return Ok(None) };
    let number = text.parse::<i64>().ok();
    let read = match number {
        Some(millis) if millis.abs() >= 100_000_000_000 => Timestamp::from_millis(millis),
        Some(secs) => Timestamp::from_secs(secs),
        None => text.parse().ok(),
    };
    read.map(Some).ok_or_else(|| Problem::field(path, "takes a time such as 2026-02-03T15:30:00Z"))
}

/// The position that a word asks for.
pub(super) fn side(word: &str) -> Option<SignalSide> {
    match word.to_ascii_lowercase().replace([' ', '-'], "_").as_str() {
        "buy" | "long" | "bullish" | "enter_long" | "bot" => Some(SignalSide::Buy),
        "sell" | "short" | "bearish" | "enter_short" | "sld" => Some(SignalSide::Sell),
        "exit" | "close" | "flat" | "exit_long" | "exit_short" | "close_long" | "close_short" => {
            Some(SignalSide::Close)
        }
        _ => None,
    }
}

/// A number that must be above zero.
pub(super) fn positive(path: &str, number: Option<Decimal>) -> Result<Option<Decimal>, Problem> {
    match number {
        Some(number) if number <= Decimal::ZERO => Err(Problem::field(path, "must be above zero")),
        number => Ok(number),
    }
}

/// The instrument that a ticker means: `BINANCE:BTCUSD`, `BTC/USD`, `BTCUSD.P` and `btcusd` are `BTCUSD`.
pub(super) fn instrument(plan: &SessionPlan, ticker: &str) -> Option<Symbol> {
    let bare = ticker.rsplit(':').next().unwrap_or(ticker);
    let upper = bare.to_ascii_uppercase();
    let joined: String = upper.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    let known = |name: &str| plan.instrument(name).map(|id| plan.symbol(id).clone());
    let spot = |name: &str| name.strip_suffix(".P").and_then(known);
    known(ticker)
        .or_else(|| known(bare))
        .or_else(|| known(&upper))
        .or_else(|| known(&joined))
        .or_else(|| spot(&upper))
        .or_else(|| spot(&joined))
}
