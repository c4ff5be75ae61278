//! An account's cell asked anew, and the tables held against it.

use std::time::Duration;

use actix_web::{HttpResponse, post, web};
use serde::Serialize;
use tradeflow_live::commands::WireCommand;
use tradeflow_live::outputs::{HeldRecord, ReportRecord, StandingRecord, Told};
use tradeflow_state::trading::Which;
use utoipa::ToSchema;

use super::super::{audit, name, open_account_of, time};
use crate::auth::{As, Trader};
use crate::context::Context;
use crate::problem::Problem;

/// An account as its venue has it, and whether the tables say the same.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SyncView {
    /// When the venue was asked.
    as_of: String,
    /// `open`, `paused` or `killed`.
    mode: String,
    /// Cash and positions.
    equity: String,
    /// Cash.
    cash: String,
    /// Its positions.
    positions: Vec<Held>,
    /// Its orders that stand.
    orders: Vec<Standing>,
    /// Where lists of the API say something else; empty where all is equal. `tradeflow state rebuild` makes them anew.
    differences: Vec<Difference>,
}

/// A position.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Held {
    /// The instrument.
    symbol: String,
    /// How much; below zero when it is short.
    qty: String,
}

/// An order that stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Standing {
    /// Its id.
    order_id: String,
    /// The instrument.
    symbol: String,
    /// Its status.
    status: String,
    /// How much of it is filled.
    filled: String,
}

/// What the venue and the lists have differently.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Difference {
    /// `position` or `order`.
    kind: &'static str,
    /// The symbol, or the order's id.
    id: String,
    /// At the venue; none where it has nothing of the kind.
    venue: Option<String>,
    /// In the lists.
    listed: Option<String>,
}

/// For so long the tables may take to catch up.
const CATCHES_UP_MAX: Duration = Duration::from_secs(10);
const LOOKS_EVERY: Duration = Duration::from_millis(50);
/// How often an account that trades on is asked again.
const TRIES: usize = 5;
/// Orders that stand are listed up to here.
const ORDERS_MAX: u32 = 100_000;

/// Ask an account's venue anew
///
/// Positions, money and standing orders as the venue has them, over the account's cell; wherever it runs. Answers when lists of
/// the API hold all of it, and tells what they have differently.
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "Its name")),
    security(("bearer" = ["trader"])), responses((status = 200, body = SyncView)))]
#[post("/accounts/{account}/sync")]
pub(crate) async fn sync(
    shared: Context,
    caller: As<Trader>,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    open_account_of(&shared, &caller, &account).await?;
    let mut tries = 0;
    let (mut at, mut report) = (shared.now(), ask(&shared, &account).await?);
    let differences = loop {
        caught_up(&shared, &account, report.seq).await?;
        let differences = differences(&report, &listed(&shared, &account).await?);
        tries += 1;
        if differences.is_empty() || tries == TRIES {
            break differences;
        }
        // It may have traded on meanwhile: then the lists are ahead of the report, and the newer one is held against them.
        let (asked, newer) = (shared.now(), ask(&shared, &account).await?);
        if newer.seq == report.seq {
            break differences;
        }
        (at, report) = (asked, newer);
    };
    let outcome = if differences.is_empty() { "equal" } else { "different" };
    audit(&shared, &caller, "accounts.sync", &account, outcome).await;
    let order = |StandingRecord { order_id, symbol, status, filled }| Standing {
        order_id: order_id.to_string(),
        symbol,
        status,
        filled,
    };
    Ok(HttpResponse::Ok().json(SyncView {
        as_of: time(at),
        mode: name(&report.mode),
        equity: report.equity,
        cash: report.cash,
        positions: report
            .positions
            .into_iter()
            .map(|HeldRecord { symbol, qty }| Held { symbol, qty })
            .collect(),
        orders: report.orders.into_iter().map(order).collect(),
        differences,
    }))
}

/// What the cell of an account answers, wherever it runs.
pub(super) async fn ask(shared: &Context, account: &str) -> Result<ReportRecord, Problem> {
    match shared.commander.question(shared.now(), account, WireCommand::Report).await? {
        Told::Report(report) => Ok(report),
        _ => Err(Problem::internal()),
    }
}

/// Waits until the tables have the account's records up to this one.
async fn caught_up(shared: &Context, account: &str, seq: u64) -> Result<(), Problem> {
    let has = async {
        loop {
            let (fill, order) =
                (shared.state.last_fill(account).await?, shared.state.last_order_event(account).await?);
            if fill.max(order) >= seq {
                return Ok(());
            }
            tokio::time::sleep(LOOKS_EVERY).await;
        }
    };
    tokio::time::timeout(CATCHES_UP_MAX, has).await.unwrap_or_else(|_| {
        let waited = CATCHES_UP_MAX.as_secs();
        Err(Problem::unavailable(format!(
            "after {waited} s the lists are still behind the venue; /health says why, try again later"
        )))
    })
}

/// What the tables have of an account.
async fn listed(shared: &Context, account: &str) -> Result<ReportRecord, Problem> {
    let accounts = [account.to_owned()];
    let which = Which { accounts: Some(&accounts), ..Which::default() };
    let orders = shared.state.orders(which, Some(true), None, None, ORDERS_MAX).await?;
    let held = shared.state.positions(account).await?.into_iter();
    Ok(ReportRecord {
        positions: held.map(|row| HeldRecord { symbol: row.symbol, qty: row.qty }).collect(),
        orders: orders
            .into_iter()
            .map(|row| StandingRecord {
                order_id: row.order_id as u64,
                symbol: row.symbol,
                status: row.status,
                filled: row.filled,
            })
            .collect(),
        ..ReportRecord::default()
    })
}

/// What differs. Quantities are compared as numbers: `1.50` is `1.5`; none is 0.
fn differences(venue: &ReportRecord, listed: &ReportRecord) -> Vec<Difference> {
    use std::collections::BTreeMap;
    let number = |text: &str| {
        text.parse::<rust_decimal::Decimal>().map_or_else(|_| text.to_owned(), |n| n.normalize().to_string())
    };
    let of = |report: &ReportRecord| {
        let held = report.positions.iter().map(|held| (("position", held.symbol.clone()), number(&held.qty)));
        let standing = report.orders.iter().map(|order| {
            let is = format!("{} {}, filled {}", order.symbol, order.status, number(&order.filled));
            (("order", order.order_id.to_string()), is)
        });
        held.filter(|(_, qty)| qty != "0").chain(standing).collect::<BTreeMap<_, _>>()
    };
    let (venue, mut listed) = (of(venue), of(listed));
    let mut found = Vec::new();
    for ((kind, id), is) in venue {
        let other = listed.remove(&(kind, id.clone()));
        if other.as_ref() != Some(&is) {
            found.push(Difference { kind, id, venue: Some(is), listed: other });
        }
    }
    found.extend(listed.into_iter().map(|((kind, id), is)| Difference {
        kind,
        id,
        venue: None,
        listed: Some(is),
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(positions: &[(&str, &str)], orders: &[(u64, &str, &str)]) -> ReportRecord {
        let held = |(symbol, qty): &(&str, &str)| HeldRecord { symbol: (*symbol).into(), qty: (*qty).into() };
        let standing = |(order_id, status, filled): &(u64, &str, &str)| StandingRecord {
            order_id: *order_id,
            symbol: "BTCUSD".into(),
            status: (*status).into(),
            filled: (*filled).into(),
        };
        ReportRecord {
            positions: positions.iter().map(held).collect(),
            orders: orders.iter().map(standing).collect(),
            ..ReportRecord::default()
        }
    }

    #[test]
    fn numbers_are_compared_and_not_their_text() {
        let venue = report(&[("BTCUSD", "1.50")], &[(4096, "accepted", "0")]);
        let listed = report(&[("ETHUSD", "0.00"), ("BTCUSD", "1.5")], &[(4096, "accepted", "0.000")]);
        assert_eq!(differences(&venue, &listed), []);
    }

    #[test]
    fn each_side_alone_and_both_otherwise() {
        let venue = report(&[("BTCUSD", "1"), ("ETHUSD", "-2")], &[(1, "accepted", "0")]);
        let listed =
            report(&[("BTCUSD", "2"), ("SPY", "3")], &[(1, "accepted", "0.5"), (2, "accepted", "0")]);
        let found: Vec<_> = differences(&venue, &listed)
            .into_iter()
            .map(|one| (one.id, one.venue.is_some(), one.listed.is_some()))
            .collect();
        let expected = [
            ("1", true, true),
            ("BTCUSD", true, true),
            ("ETHUSD", true, false),
            ("2", false, true),
            ("SPY", false, true),
        ];
        assert_eq!(found, expected.map(|(id, venue, listed)| (id.to_owned(), venue, listed)));
    }
}
