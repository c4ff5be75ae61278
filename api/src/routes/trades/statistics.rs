//! Sums of trades by what they have in common.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use actix_web::{HttpResponse, get};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_state::trading::Trade;
use utoipa::ToSchema;

use super::super::limit;
use super::super::listing::filter;
use crate::auth::{As, Viewer};
use crate::body::Query;
use crate::context::Context;
use crate::problem::Problem;

/// What trades are put together by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    All,
    Account,
    Symbol,
    Strategy,
    Side,
    Tag,
    Hour,
    Weekday,
}

/// The order of the groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    #[default]
    Key,
    PnlNet,
    ProfitFactor,
    WinRate,
    Trades,
}

filter! {
    /// Which trades, and how they are put together.
    Summed {
        /// With this tag.
        tag: Option<String>,
        /// `all` (the default), `account`, `symbol`, `strategy`, `side`, `tag`, `hour` (0 to 23) or `weekday` (1, Monday, to 7);
        /// hours and weekdays are those of the entry in UTC. A trade with several tags counts for each of them.
        #[param(value_type = Option<String>)]
        by: Option<By>,
        /// `key` (the default), or the best first: by `pnl_net`, `profit_factor`, `win_rate` or `trades`.
        #[param(value_type = Option<String>)]
        sort: Option<Sort>,
        /// How many groups at most: 1 to 500; all when it is not given.
        #[param(minimum = 1, maximum = 500)]
        limit: Option<u32>,
    }
}

/// Trades that have something in common.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TradeStatistics {
    /// What they have in common; empty for what has none (no tag, no strategy) and for `all`.
    key: String,
    /// How many.
    trades: u64,
    /// With a net profit above zero.
    wins: u64,
    /// With a net profit below zero.
    losses: u64,
    /// Wins over trades.
    win_rate: f64,
    /// Sum of net profits.
    pnl_net: String,
    /// Sum of fees.
    fees: String,
    /// Sum of the net profits above zero.
    gross_profit: String,
    /// Sum of those below zero, as a positive amount.
    gross_loss: String,
    /// `gross_profit` over `gross_loss`; none without a loss.
    profit_factor: Option<f64>,
    /// Mean net profit of a trade.
    average: String,
    /// Largest net profit.
    best: String,
    /// Smallest net profit.
    worst: String,
    /// Mean time from entry to exit, in seconds.
    average_holding_secs: f64,
}

/// Statistics of trades
#[utoipa::path(tag = "trades", params(Summed), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Vec<TradeStatistics>)))]
#[get("/trades/statistics")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    which: Query<Summed>,
) -> Result<HttpResponse, Problem> {
    let scope = which.0.scope();
    let accounts = scope.accounts(&shared, &caller).await?;
    let trades = super::all(&shared, scope, &accounts, which.0.tag.as_deref()).await?;
    let by = which.0.by.unwrap_or_default();
    let mut groups: BTreeMap<String, Sums> = BTreeMap::new();
    for trade in &trades {
        for key in keys(trade, by) {
            groups.entry(key).or_default().add(trade);
        }
    }
    let most = which.0.limit.map(|wanted| limit(Some(wanted))).transpose()?;
    let mut groups: Vec<_> = groups.into_iter().collect();
    let descending = |of: fn(&Sums) -> Decimal| move |(_, sums): &(String, Sums)| Reverse(of(sums));
    match which.0.sort.unwrap_or_default() {
        Sort::Key => {}
        Sort::PnlNet => groups.sort_by_key(descending(|sums| sums.profit - sums.loss)),
        // Without a loss there is none, which is better than any.
        Sort::ProfitFactor => {
            groups.sort_by_key(descending(|sums| sums.profit.checked_div(sums.loss).unwrap_or(Decimal::MAX)));
        }
        Sort::WinRate => groups.sort_by_key(descending(|sums| {
            Decimal::from(sums.wins).checked_div(sums.trades.into()).unwrap_or_default()
        })),
        Sort::Trades => groups.sort_by_key(descending(|sums| sums.trades.into())),
    }
    groups.truncate(most.map_or(usize::MAX, |most| most as usize));
    let groups: Vec<_> = groups.into_iter().map(|(key, sums)| sums.statistics(key)).collect();
    Ok(HttpResponse::Ok().json(groups))
}

fn keys(trade: &Trade, by: By) -> Vec<String> {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let row = &trade.row;
    let hours = row.entry_time.div_euclid(HOUR_NS);
    vec![match by {
        By::All => String::new(),
        By::Account => row.account.clone(),
        By::Symbol => row.symbol.clone(),
        By::Strategy => row.strategy.clone().unwrap_or_default(),
        By::Side => row.side.clone(),
        By::Tag if !trade.tags.is_empty() => return trade.tags.clone(),
        By::Tag => String::new(),
        // Two digits: as texts they are in the order of the day.
        By::Hour => format!("{:02}", hours.rem_euclid(24)),
        // 1970-01-01 was a Thursday.
        By::Weekday => ((Timestamp::from_nanos(row.entry_time).utc_day() + 3).rem_euclid(7) + 1).to_string(),
    }]
}

#[derive(Debug, Default)]
struct Sums {
    trades: u64,
    wins: u64,
    losses: u64,
    profit: Decimal,
    loss: Decimal,
    fees: Decimal,
    best: Option<Decimal>,
    worst: Option<Decimal>,
    held_secs: f64,
}

impl Sums {
    fn add(&mut self, Trade { row, .. }: &Trade) {
        let amount = |text: &str| text.parse::<Decimal>().unwrap_or_default();
        let net = amount(&row.pnl_net);
        self.trades += 1;
        self.wins += u64::from(net > Decimal::ZERO);
        self.losses += u64::from(net < Decimal::ZERO);
        if net > Decimal::ZERO {
            self.profit += net;
        } else {
            self.loss -= net;
        }
        self.fees += amount(&row.fees);
        self.best = Some(self.best.map_or(net, |best| best.max(net)));
        self.worst = Some(self.worst.map_or(net, |worst| worst.min(net)));
        self.held_secs += (row.exit_time - row.entry_time) as f64 / 1e9;
    }

    fn statistics(self, key: String) -> TradeStatistics {
        let text = |amount: Decimal| amount.normalize().to_string();
        let ratio = |a: Decimal, b: Decimal| {
            let ratio = a.checked_div(b)?;
            f64::try_from(ratio).ok()
        };
        let count = self.trades.max(1);
        let net = self.profit - self.loss;
        TradeStatistics {
            key,
            trades: self.trades,
            wins: self.wins,
            losses: self.losses,
            win_rate: self.wins as f64 / count as f64,
            pnl_net: text(net),
            fees: text(self.fees),
            gross_profit: text(self.profit),
            gross_loss: text(self.loss),
            profit_factor: ratio(self.profit, self.loss),
            average: text(net / Decimal::from(count)),
            best: text(self.best.unwrap_or_default()),
            worst: text(self.worst.unwrap_or_default()),
            average_holding_secs: self.held_secs / count as f64,
        }
    }
}
