//! A strategy run once, over its latest past: what it says now.

use actix_web::{HttpResponse, post, web};
use serde::Serialize;
use tradeflow_live::commands::WireCommand;
use tradeflow_live::outputs::{DecisionRecord, DryRunRecord, Told};
use tradeflow_model::Timestamp;
use utoipa::ToSchema;

use super::super::{open_account_of, time};
use super::StartStrategy;
use crate::auth::{As, Trader};
use crate::body::Body;
use crate::context::Context;
use crate::problem::Problem;

/// What a strategy decided over its past, as one that was flat all the time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DryRunView {
    /// Events that it saw: what makes it warm, and 500 more where there are as many.
    events: u64,
    /// The time of the first.
    from: Option<String>,
    /// The time of the last.
    to: Option<String>,
    /// Its decisions, the latest twenty, the latest last. The last one is what it wants now.
    decisions: Vec<DecisionView>,
}

/// What a strategy wanted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionView {
    /// When.
    time: String,
    /// Of a position: `buy`, `sell` or `close`. Of an order of its own: `buy-order` or `sell-order`. Of one that it had
    /// ordered: `modify` or `cancel`.
    wants: String,
    /// The instrument.
    symbol: Option<String>,
    /// Of an order: its type and quantity.
    order: Option<String>,
    /// A protective stop.
    stop_loss: Option<String>,
    /// A profit target.
    take_profit: Option<String>,
}

impl From<DecisionRecord> for DecisionView {
    fn from(record: DecisionRecord) -> Self {
        let DecisionRecord { ts, wants, symbol, order, stop_loss, take_profit } = record;
        let time = time(Timestamp::from_nanos(ts));
        Self { time, wants, symbol, order, stop_loss, take_profit }
    }
}

/// Run a strategy once
///
/// Over its latest past, as one that is flat: what it would have decided up to now. It is not started, nothing is ordered,
/// nothing kept. To act on what it says, place an order, or start it.
#[utoipa::path(tag = "strategies", params(("account" = String, Path, description = "The account's name")),
    request_body = StartStrategy, security(("bearer" = ["trader"])), responses((status = 200, body = DryRunView)))]
#[post("/accounts/{account}/strategies/run-once")]
pub(crate) async fn run_once(
    shared: Context,
    caller: As<Trader>,
    account: web::Path<String>,
    body: Body<StartStrategy>,
) -> Result<HttpResponse, Problem> {
    let strategy = body.0.wire()?;
    open_account_of(&shared, &caller, &account).await?;
    let told = shared.commander.question(shared.now(), &account, WireCommand::DryRun(strategy)).await?;
    let Told::DryRun(record) = told else { return Err(Problem::internal()) };
    let DryRunRecord { events, from, to, decisions } = record;
    let text = |ts: Option<i64>| ts.map(|ts| time(Timestamp::from_nanos(ts)));
    let decisions = decisions.into_iter().map(DecisionView::from).collect();
    Ok(HttpResponse::Ok().json(DryRunView { events, from: text(from), to: text(to), decisions }))
}
