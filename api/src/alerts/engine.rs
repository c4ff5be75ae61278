//! The alerts that are watched, and what they see.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde_json::{Value, json};
use tradeflow_ingest::FeedState;
use tradeflow_ingest::quotes::{BoardQuote, Freshness};
use tradeflow_model::Symbol;
use tradeflow_state::AlertRow;
use tradeflow_state::trading::FillRow;

use super::rule::{Progress, Rule, is_over};
use crate::source::NodeSource;
use crate::status::state_name;

/// An alert that goes off, to be written.
#[derive(Debug)]
pub(super) struct Fire {
    /// As it was before.
    pub(super) row: AlertRow,
    pub(super) kind: &'static str,
    pub(super) at: i64,
    pub(super) fill: Option<i64>,
    pub(super) progress: String,
    pub(super) message: String,
    pub(super) data: Value,
}

/// An alert that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    row: AlertRow,
    rule: Rule,
    progress: Progress,
    /// As it is kept.
    kept: (Progress, i64),
}

impl Watched {
    /// None where the condition can't be read: it is of another version.
    pub(super) fn new(row: AlertRow) -> Option<Self> {
        let rule = serde_json::from_str(&row.rule).ok()?;
        let progress = serde_json::from_str(&row.progress).unwrap_or_default();
        let kept = (progress, row.seen);
        Some(Self { row, rule, progress, kept })
    }

    pub(super) fn rule(&self) -> &Rule {
        &self.rule
    }

    pub(super) fn row(&self) -> &AlertRow {
        &self.row
    }

    /// A peak that stands in the tables.
    pub(super) fn remember_peak(&mut self, peak: Decimal, now: i64) {
        if let Rule::Drawdown { since, .. } = self.rule {
            self.progress.remember_peak(since, peak, now);
        }
    }

    fn is_ready(&self, now: i64) -> bool {
        is_over(self.row.fired, self.row.pause, now)
    }

    /// It goes off: what is to be written, and it is as if it were.
    fn fire(&mut self, at: i64, fill: Option<i64>, message: String, data: Value) -> Fire {
        let progress = serde_json::to_string(&self.progress).unwrap_or_default();
        let fire = Fire { row: self.row.clone(), kind: self.rule.kind(), at, fill, progress, message, data };
        self.row.fired = Some(at);
        self.row.fires += 1;
        self.row.enabled = self.row.repeats;
        self.kept = (self.progress, self.row.seen);
        fire
    }

    fn price(&mut self, quote: &BoardQuote, now: i64) -> Option<Fire> {
        let Rule::Price { condition, level, .. } = self.rule else { return None };
        let middle = || Some((quote.bid? + quote.ask?) / Decimal::TWO);
        let price = quote.last.or_else(middle).filter(|_| quote.freshness != Freshness::Stale)?;
        let ready = self.is_ready(now);
        if !self.progress.price(condition, level, price, ready) {
            return None;
        }
        let symbol = quote.symbol.as_str();
        let place = if price > level { "above" } else { "below" };
        let message = format!("{symbol} is at {price}, {place} {level}");
        let data = json!({ "symbol": symbol, "price": price.to_string(), "level": level.to_string(), "source": quote.source,
            "ts_event": quote.ts_event.to_string() });
        Some(self.fire(now, None, message, data))
    }

    /// A fill; one that it has seen is passed over.
    pub(super) fn fill(&mut self, fill: &FillRow) -> Option<Fire> {
        let Rule::Fill { account, symbol, strategy } = &self.rule else { return None };
        if self.row.enabled == 0 || *account != fill.account || fill.seq <= self.row.seen {
            return None;
        }
        let fits = symbol.as_ref().is_none_or(|symbol| *symbol == fill.symbol)
            && strategy.as_ref().is_none_or(|strategy| fill.strategy.as_ref() == Some(strategy));
        if !fits || !self.is_ready(fill.ts) {
            self.row.seen = fill.seq;
            return None;
        }
        let FillRow { account, symbol, side, qty, price, .. } = fill;
        let did = if side == "buy" { "bought" } else { "sold" };
        let message = format!("{account} {did} {qty} {symbol} at {price}");
        let data = json!({ "account": account, "symbol": symbol, "strategy": fill.strategy, "side": side, "qty": qty,
            "price": price, "order_id": fill.order_id.to_string(), "fill": fill.seq });
        let fire = self.fire(fill.ts, Some(fill.seq), message, data);
        self.row.seen = fill.seq;
        self.kept.1 = fill.seq;
        Some(fire)
    }

    fn worth(&mut self, worth: &BTreeMap<String, Decimal>, now: i64) -> Option<Fire> {
        let Rule::Drawdown { account, percent, since } = &self.rule else { return None };
        let equity = *worth.get(account)?;
        let ready = self.is_ready(now);
        let (peak, fall) = self.progress.worth(*since, *percent, equity, now, ready)?;
        let fall = fall.round_dp(2);
        let message = format!("{account} is worth {equity}, {fall} % below its peak of {peak}");
        let data = json!({ "account": account, "equity": equity.to_string(), "peak": peak.to_string(),
            "percent": fall.to_string() });
        Some(self.fire(now, None, message, data))
    }

    fn feeds(&mut self, down: &BTreeMap<String, (i64, FeedState)>, now: i64) -> Option<Fire> {
        let Rule::FeedDown { feed: wanted, seconds } = &self.rule else { return None };
        let for_long = |since: i64| now.saturating_sub(since) >= i64::from(*seconds) * 1_000_000_000;
        let found = down.iter().find(|(name, (since, _))| {
            wanted.as_ref().is_none_or(|wanted| wanted == *name) && for_long(*since)
        });
        let ready = self.is_ready(now);
        if !self.progress.holds(found.is_some(), ready) {
            return None;
        }
        let (name, (since, state)) = found?;
        let secs = now.saturating_sub(*since) / 1_000_000_000;
        let message = format!("feed {name} has been {} for {secs} s", state_name(*state));
        let data = json!({ "feed": name, "state": state_name(*state), "seconds": secs });
        Some(self.fire(now, None, message, data))
    }
}

/// All alerts that are watched here.
#[derive(Debug, Default)]
pub(super) struct Engine {
    alerts: BTreeMap<String, Watched>,
    /// Feeds that bring nothing, and since when.
    down: BTreeMap<String, (i64, FeedState)>,
    /// How far the fills were seen.
    fills: u64,
}

impl Engine {
    /// How far the fills were seen.
    pub(super) fn fills(&self) -> u64 {
        self.fills
    }

    /// Of these, those that are not watched as they are. Of those that are, what another node did is taken over; all others
    /// are watched no more.
    pub(super) fn take(&mut self, rows: Vec<AlertRow>) -> Vec<AlertRow> {
        let mut watched = std::mem::take(&mut self.alerts);
        let mut unknown = Vec::new();
        for row in rows {
            match watched.remove(&row.id) {
                // What this node has decided may not be written yet.
                Some(known) if known.row.changed == row.changed && known.row.fires >= row.fires => {
                    self.alerts.insert(row.id, known);
                }
                _ => unknown.push(row),
            }
        }
        unknown
    }

    /// Watches an alert from now on; `fills` are those of late, which the tables may not have held yet.
    pub(super) fn watch(&mut self, mut alert: Watched, fills: &[Arc<FillRow>]) -> Vec<Fire> {
        let fires = fills.iter().filter_map(|fill| alert.fill(fill)).collect();
        self.alerts.insert(alert.row.id.clone(), alert);
        fires
    }

    /// What was decided of an alert did not happen: it is to be read again.
    pub(super) fn forget(&mut self, id: &str) {
        self.alerts.remove(id);
    }

    /// What is to be kept of how far they are.
    pub(super) fn unkept(&mut self) -> Vec<AlertRow> {
        let changed =
            |alert: &&mut Watched| alert.row.enabled == 1 && alert.kept != (alert.progress, alert.row.seen);
        let alerts = self.alerts.values_mut().filter(changed);
        let kept = alerts.map(|alert| {
            alert.kept = (alert.progress, alert.row.seen);
            let progress = serde_json::to_string(&alert.progress).unwrap_or_default();
            AlertRow { progress, ..alert.row.clone() }
        });
        kept.collect()
    }

    fn enabled(&mut self) -> impl Iterator<Item = &mut Watched> {
        self.alerts.values_mut().filter(|alert| alert.row.enabled == 1)
    }

    /// Looks at the quotes.
    pub(super) fn look_at_quotes(&mut self, node: &dyn NodeSource) -> Vec<Fire> {
        if !node.feeds_run_here() {
            return Vec::new(); // the board may still hold what was before they went to another node
        }
        let now = node.now();
        let mut quotes: BTreeMap<String, Option<BoardQuote>> = BTreeMap::new();
        let board = node.board();
        let mut fires = Vec::new();
        for alert in self.enabled() {
            let Rule::Price { symbol, .. } = &alert.rule else { continue };
            let quote = quotes.entry(symbol.clone()).or_insert_with(|| {
                let symbol = Symbol::new(symbol).ok()?;
                board.get(&symbol, now)
            });
            if let Some(quote) = quote {
                fires.extend(alert.price(quote, now.as_nanos()));
            }
        }
        fires
    }

    /// Takes fills up to this number of them.
    pub(super) fn take_fills(&mut self, fills: &[Arc<FillRow>], up_to: u64) -> Vec<Fire> {
        self.fills = up_to;
        let mut fires = Vec::new();
        for fill in fills {
            fires.extend(self.enabled().filter_map(|alert| alert.fill(fill)));
        }
        fires
    }

    /// Looks at accounts and feeds.
    pub(super) fn look_at_node(&mut self, node: &dyn NodeSource) -> Vec<Fire> {
        let now = node.now().as_nanos();
        let mut down = BTreeMap::new();
        for feed in node.feeds() {
            match feed.status.state() {
                // Off: another node has it, or nothing is wanted of it.
                FeedState::Live | FeedState::Off => {}
                state => {
                    let since = self.down.get(&feed.name).map_or(now, |(since, _)| *since);
                    down.insert(feed.name, (since, state));
                }
            }
        }
        self.down = down.clone();
        // A view is a copy of all cells.
        let mut worth = BTreeMap::new();
        if self.enabled().any(|alert| matches!(alert.rule, Rule::Drawdown { .. })) {
            let cells = node.view().cells.into_iter();
            worth = cells.filter_map(|cell| Some((cell.account, cell.equity.parse().ok()?))).collect();
        }
        self.enabled()
            .filter_map(|alert| alert.worth(&worth, now).or_else(|| alert.feeds(&down, now)))
            .collect()
    }
}
