//! The file that repeats a run: a plan written back as the TOML that [`crate::config::from_toml`] reads.

use std::fmt::Write;

use rust_decimal::Decimal;
use tradeflow_model::market::{PriceType, SeriesKind};
use tradeflow_model::plan::{CellPlan, LimitFill, RiskLimits, RunPlan, Slippage, StrategyPlan, VenueSpec};
use tradeflow_model::time::{NANOS_PER_DAY, NANOS_PER_HOUR, NANOS_PER_MIN, NANOS_PER_SEC};
use tradeflow_model::{AccountKind, Interval};

use crate::config::RunConfig;

/// The data that the user asked for, as far as the plan tells: what all instruments have; of several such kinds the one
/// that points of the curves follow, or the finest.
pub(super) fn main_kind(plan: &RunPlan) -> Option<SeriesKind> {
    let market =
        |kind: &SeriesKind| matches!(kind, SeriesKind::Bars { .. } | SeriesKind::Trades | SeriesKind::Quotes);
    let everywhere = |kind: &SeriesKind| {
        (0..plan.instruments.len())
            .all(|i| plan.series.iter().any(|s| s.instrument.index() == i && s.kind == *kind))
    };
    let mut kinds: Vec<SeriesKind> =
        plan.series.iter().map(|s| s.kind).filter(market).filter(everywhere).collect();
    kinds.sort_by_key(|kind| kind.rank());
    let points = plan.cells.first().map(|cell| cell.equity_interval_ns);
    let of_points = kinds.iter().find(|kind| points == Some(points_of(**kind)));
    of_points.or(kinds.first()).copied()
}

/// Nanoseconds between points of the curve where nobody says, as planning has it.
fn points_of(kind: SeriesKind) -> i64 {
    match kind {
        SeriesKind::Bars { interval, .. } => interval.nanos().unwrap_or(NANOS_PER_MIN),
        _ => NANOS_PER_MIN,
    }
}

/// The interval of so many nanoseconds.
fn interval_of(ns: i64) -> Option<String> {
    let units = [(NANOS_PER_DAY, "d"), (NANOS_PER_HOUR, "h"), (NANOS_PER_MIN, "m"), (NANOS_PER_SEC, "s")];
    if ns == 7 * NANOS_PER_DAY {
        return Some("1w".into());
    }
    let (unit, letter) = units.into_iter().find(|(unit, _)| ns % unit == 0)?;
    let text = format!("{}{letter}", ns / unit);
    text.parse::<Interval>().ok().map(|_| text)
}

/// The TOML.
pub(super) fn toml(plan: &RunPlan) -> String {
    let mut out = String::new();
    setting(&mut out, "from", plan.from.to_string());
    setting(&mut out, "to", plan.to.to_string());
    if plan.seed != 0 {
        setting(&mut out, "seed", plan.seed as i64);
    }
    if plan.batch_rows != RunConfig::BATCH_ROWS {
        setting(&mut out, "batch_rows", i64::from(plan.batch_rows));
    }
    if plan.window_batches != RunConfig::WINDOW_BATCHES {
        setting(&mut out, "window_batches", i64::from(plan.window_batches));
    }
    let kind = main_kind(plan);
    let points = plan.cells.first().map(|cell| cell.equity_interval_ns);
    if let Some(ns) = points.filter(|ns| kind.map(points_of) != Some(*ns))
        && let Some(interval) = interval_of(ns)
    {
        setting(&mut out, "equity_interval", interval);
    }
    out.push_str("\n[data]\n");
    let symbols: Vec<toml::Value> = plan.instruments.iter().map(|i| i.symbol.to_string().into()).collect();
    setting(&mut out, "symbols", symbols);
    let interval = match kind {
        Some(SeriesKind::Trades) => "trades".into(),
        Some(SeriesKind::Quotes) => "quotes".into(),
        Some(SeriesKind::Bars { interval, .. }) => interval.to_string(),
        _ => Interval::MINUTE.to_string(),
    };
    setting(&mut out, "interval", interval);
    let price_type = plan.series.iter().find_map(|series| match series.kind {
        SeriesKind::Bars { price_type, .. } => Some(price_type),
        _ => None,
    });
    if let Some(price_type) = price_type.filter(|price_type| *price_type != PriceType::default()) {
        setting(&mut out, "price_type", price_type.name());
    }
    plan.cells.iter().for_each(|cell| account(&mut out, plan, cell));
    out
}

fn account(out: &mut String, plan: &RunPlan, cell: &CellPlan) {
    out.push_str("\n[[account]]\n");
    setting(out, "id", cell.account.id.as_str());
    match cell.account.kind {
        AccountKind::Cash => setting(out, "kind", "cash"),
        AccountKind::Margin { leverage } => {
            setting(out, "kind", "margin");
            exact(out, "leverage", leverage);
        }
    }
    setting(out, "currency", cell.account.currency.code());
    exact(out, "balance", cell.account.balance);
    out.push_str("[account.execution]\n");
    execution(out, &cell.venue);
    if cell.risk != RiskLimits::default() {
        out.push_str("[account.risk]\n");
        risk(out, &cell.risk);
    }
    cell.strategies.iter().for_each(|strategy| one_strategy(out, plan, strategy));
}

fn execution(out: &mut String, venue: &VenueSpec) {
    match venue.volume_share_max {
        None => setting(out, "fill", "next-open"),
        Some(share) => {
            setting(out, "fill", "next-open-capped");
            exact(out, "volume_cap", share);
        }
    }
    setting(
        out,
        "limit_fill",
        match venue.limit_fill {
            LimitFill::Through => "through",
            LimitFill::Touch => "touch",
        },
    );
    setting(
        out,
        "slippage",
        match venue.slippage {
            Slippage::None => "none".into(),
            Slippage::Bps(bps) => format!("{bps}bps"),
            Slippage::Spread(spread) => format!("spread:{spread}"),
        },
    );
    if let Some(fees) = &venue.fees {
        exact(out, "fee_bps", fees.taker_bps);
        exact(out, "maker_fee_bps", fees.maker_bps);
        exact(out, "fee_per_unit", fees.per_unit);
        exact(out, "fee_minimum", fees.minimum);
    }
    if let Some(share) = venue.refused_share {
        exact(out, "refused_share", share);
    }
}

fn risk(out: &mut String, limits: &RiskLimits) {
    let decimals = [
        ("order_notional_max", limits.order_notional_max),
        ("position_notional_max", limits.position_notional_max),
        ("daily_loss_max_pct", limits.daily_loss_max_pct),
        ("drawdown_max_pct", limits.drawdown_max_pct),
    ];
    let wholes = [("open_orders_max", limits.open_orders_max), ("price_collar_bps", limits.price_collar_bps)];
    decimals
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .for_each(|(key, v)| exact(out, key, v));
    for (key, value) in wholes.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        setting(out, key, i64::from(value));
    }
}

fn one_strategy(out: &mut String, plan: &RunPlan, strategy: &StrategyPlan) {
    out.push_str("[[account.strategy]]\n");
    setting(out, "id", strategy.id.as_str());
    setting(out, "kind", strategy.kind.as_str());
    let mut symbols: Vec<toml::Value> = Vec::new();
    for series in &strategy.series {
        let symbol = plan.series[series.index()].instrument;
        let symbol = toml::Value::from(plan.instrument(symbol).symbol.as_str());
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    if !symbols.is_empty() {
        setting(out, "symbols", symbols);
    }
    setting(out, "size", strategy.size.to_string());
    if let Ok(params) = toml::Value::try_from(&strategy.params)
        && params.as_table().is_some_and(|table| !table.is_empty())
    {
        setting(out, "params", params);
    }
}

/// A decimal keeps its digits as text; a TOML number would be a float.
fn exact(out: &mut String, key: &str, value: Decimal) {
    setting(out, key, value.to_string());
}

fn setting(out: &mut String, key: &str, value: impl Into<toml::Value>) {
    let _ = writeln!(out, "{key} = {}", value.into()); // writing to a String can't fail
}
