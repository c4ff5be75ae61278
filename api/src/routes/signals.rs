//! `signals`: from people and webhooks. A signal says what position is wanted; the account's cell makes orders of it.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_live::commands::{WireCommand, WireSignal};
use tradeflow_model::signal::Size;
use tradeflow_model::{SignalSide, SignalSource, Timestamp};
use tradeflow_state::{Outcome, SignalRow};
use utoipa::ToSchema;
use uuid::Uuid;

use super::command::{Idempotency, idempotency_key};
use super::listing::{filter, instant};
use super::{Checks, Page, account_of, audit, name, open_account_of, time};
use crate::auth::{As, Trader, Viewer};
use crate::body::{Body, Query};
use crate::context::Context;
use crate::decimal::Amount;
use crate::problem::Problem;
use crate::socket::messages::{Channel, Data};

/// A signal.
#[derive(Debug, Serialize, ToSchema, JsonSchema)]
pub(crate) struct SignalView {
    /// Its id.
    signal_id: String,
    /// The account that it is for.
    account: String,
    /// `manual`, `tradingview` or `webhook`.
    source: String,
    /// The strategy's id, as its sender calls it; empty for none.
    strategy_id: String,
    /// Its version.
    strategy_version: String,
    /// Its name.
    strategy_name: String,
    /// The instrument.
    symbol: String,
    /// `buy` (be long), `sell` (be short) or `close` (be flat).
    side: String,
    /// How large the position is to be: `0.5` (units), `$5000` (value), `25%` (of equity).
    size: Option<String>,
    /// The price at which its sender saw it.
    price: Option<String>,
    /// A limit for the entry.
    limit_price: Option<String>,
    /// A protective stop.
    stop_loss: Option<String>,
    /// A profit target.
    take_profit: Option<String>,
    /// When the decision was made.
    time: String,
    /// After this it is not acted on.
    expires: Option<String>,
    /// When it came.
    created: String,
    /// `new` (it waits for someone), `queued` (it is being executed), `executed`, `refused`, `expired` or `cancelled`.
    status: String,
    /// Why it was refused.
    reason: Option<String>,
    /// The orders that it made. Where older orders had to go first, its own come later, and are not listed here.
    order_ids: Vec<String>,
    /// When it was executed, refused or cancelled.
    decided: Option<String>,
}

impl From<SignalRow> for SignalView {
    fn from(row: SignalRow) -> Self {
        let at = |nanos| time(Timestamp::from_nanos(nanos));
        Self {
            signal_id: row.id,
            account: row.account,
            source: row.source,
            strategy_id: row.strategy_id,
            strategy_version: row.strategy_version,
            strategy_name: row.strategy_name,
            symbol: row.symbol,
            side: row.side,
            size: row.size,
            price: row.price,
            limit_price: row.limit_price,
            stop_loss: row.stop_loss,
            take_profit: row.take_profit,
            time: at(row.ts_event),
            expires: row.expires.map(at),
            created: at(row.created),
            status: row.status,
            reason: row.reason,
            order_ids: row.order_ids.split_whitespace().map(str::to_owned).collect(),
            decided: row.decided.map(at),
        }
    }
}

/// A signal to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSignal {
    /// The instrument.
    #[schema(min_length = 1, max_length = 100, example = "BTCUSD")]
    symbol: String,
    /// `buy` (be long), `sell` (be short) or `close` (be flat).
    #[schema(value_type = String, example = "buy")]
    side: SignalSide,
    /// How large the position is to be: `0.5` (units), `$5000` (value), `25%` (of equity). Where a strategy with its id runs,
    /// that one's when not given.
    #[schema(example = "0.5")]
    size: Option<String>,
    /// The id of a strategy; empty for none.
    #[serde(default)]
    #[schema(max_length = 64)]
    strategy_id: String,
    /// A limit for the entry.
    #[schema(value_type = Option<String>)]
    limit_price: Option<Amount>,
    /// A protective stop.
    #[schema(value_type = Option<String>)]
    stop_loss: Option<Amount>,
    /// A profit target.
    #[schema(value_type = Option<String>)]
    take_profit: Option<Amount>,
    /// After this it is not acted on, as UTC in RFC 3339.
    expires: Option<String>,
    /// Whether it is executed at once; otherwise it waits for someone.
    #[serde(default)]
    execute: bool,
}

filter! {
    /// Which signals.
    WhichSignals {
        /// Of this status.
        status: Option<String>,
        /// Those that wait or are being executed, or those that do not.
        active: Option<bool>,
        /// `next` of the page before.
        cursor: Option<String>,
        /// How many at most: 1 to 500, 100 when it is not given.
        #[param(minimum = 1, maximum = 500)]
        limit: Option<u32>,
    }
}

/// Signals, the newest first
#[utoipa::path(tag = "signals", params(WhichSignals), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Page<SignalView>)))]
#[get("/signals")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Viewer>,
    which: Query<WhichSignals>,
) -> Result<HttpResponse, Problem> {
    let (scope, limit) = (which.0.scope(), super::limit(which.0.limit)?);
    let accounts = scope.accounts(&shared, &caller).await?;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let statuses = match (which.0.status.as_deref(), which.0.active) {
        (Some(_), Some(_)) => return Err(Problem::field("active", "goes without status")),
        (Some(status), None) => Some(names(&[status])),
        (None, Some(true)) => Some(names(&["new", "queued"])),
        (None, Some(false)) => Some(names(&["executed", "refused", "expired", "cancelled"])),
        (None, None) => None,
    };
    let (wanted, cursor) = (scope.which(&accounts)?, which.0.cursor.as_deref());
    let rows = shared.state.signals(wanted, statuses.as_deref(), cursor, limit + 1).await?;
    Ok(HttpResponse::Ok().json(Page::of(rows, limit, |row| row.id.clone()).map(SignalView::from)))
}

/// Make a signal
#[utoipa::path(tag = "signals", params(("account" = String, Path, description = "The account's name"), Idempotency),
    request_body = NewSignal, security(("bearer" = ["trader"])), responses((status = 200, body = SignalView)))]
#[post("/accounts/{account}/signals")]
pub(crate) async fn create(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    account: web::Path<String>,
    body: Body<NewSignal>,
) -> Result<HttpResponse, Problem> {
    open_account_of(&shared, &caller, &account).await?;
    let key = idempotency_key(&request)?;
    let new = body.0;
    let size = new.size.as_deref().map(str::parse::<Size>).transpose();
    let expires = instant("expires", new.expires.as_deref())?;
    let id = shared.plan().instrument(&new.symbol);
    let mut checks = Checks::new();
    checks
        .that(id.is_some(), "symbol", "is none that this node follows: see /instruments")
        .text("strategy_id", &new.strategy_id, 0, 64)
        .that(size.is_ok(), "size", "takes 0.5 (units), $5000 (value) or 25% (of equity)")
        .done()?;
    let now = shared.now().as_nanos();
    let decimal = |amount: Option<Amount>| amount.map(|amount| amount.0.to_string());
    let row = SignalRow {
        id: Uuid::now_v7().to_string(),
        account: account.clone(),
        user_id: caller.id().to_owned(),
        source: name(&SignalSource::Manual),
        strategy_id: new.strategy_id,
        strategy_version: String::new(),
        strategy_name: String::new(),
        symbol: new.symbol,
        side: name(&new.side),
        size: size.ok().flatten().map(|size| size.to_string()),
        price: None,
        limit_price: decimal(new.limit_price),
        stop_loss: decimal(new.stop_loss),
        take_profit: decimal(new.take_profit),
        ts_event: now,
        expires,
        created: now,
        status: if new.execute { "queued" } else { "new" }.to_owned(),
        reason: None,
        order_ids: String::new(),
        decided: None,
    };
    const DAY: i64 = 86_400 * 1_000_000_000;
    let seen = key.map(|key| blake3::hash(format!("{}\n{key}", caller.id()).as_bytes()).to_hex());
    let since = Timestamp::from_nanos(now - DAY);
    if let Some(before) =
        shared.state.add_signal(&row, seen.as_ref().map(|hash| (hash.as_str(), since))).await?
    {
        return Ok(HttpResponse::Ok().json(SignalView::from(shared.state.signal(&before).await?)));
    }
    told(&shared, row.clone());
    audit(&shared, &caller, "signals.create", &row.id, "done").await;
    let row = if new.execute { run(&shared, row).await? } else { row };
    Ok(HttpResponse::Ok().json(SignalView::from(row)))
}

/// A signal
#[utoipa::path(tag = "signals", params(("signal_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = SignalView)))]
#[get("/signals/{signal_id}")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(SignalView::from(seen_by(&shared, &caller, &id).await?)))
}

/// Execute a signal that waits
///
/// Done twice it is executed once: the second answer is 409.
#[utoipa::path(tag = "signals", params(("signal_id" = String, Path, description = "Its id")),
    security(("bearer" = ["trader"])), responses((status = 200, body = SignalView)))]
#[post("/signals/{signal_id}/execute")]
pub(crate) async fn execute(
    shared: Context,
    caller: As<Trader>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let row = seen_by(&shared, &caller, &id).await?;
    let queued = Outcome { status: "queued", reason: None, order_ids: "" };
    if !shared.state.decide_signal(shared.now(), &row.id, "new", queued).await? {
        return Err(Problem::conflict("not-new", format!("the signal is {}", row.status)));
    }
    audit(&shared, &caller, "signals.execute", &row.id, "done").await;
    let row = run(&shared, SignalRow { status: "queued".to_owned(), ..row }).await?;
    Ok(HttpResponse::Ok().json(SignalView::from(row)))
}

/// Cancel a signal that waits
#[utoipa::path(tag = "signals", params(("signal_id" = String, Path, description = "Its id")),
    security(("bearer" = ["trader"])), responses((status = 200, body = SignalView)))]
#[delete("/signals/{signal_id}")]
pub(crate) async fn cancel(
    shared: Context,
    caller: As<Trader>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let row = seen_by(&shared, &caller, &id).await?;
    let cancelled = Outcome { status: "cancelled", reason: None, order_ids: "" };
    if !shared.state.decide_signal(shared.now(), &row.id, "new", cancelled).await? {
        return Err(Problem::conflict("not-new", format!("the signal is {}", row.status)));
    }
    audit(&shared, &caller, "signals.cancel", &row.id, "done").await;
    let row = shared.state.signal(&row.id).await?;
    told(&shared, row.clone());
    Ok(HttpResponse::Ok().json(SignalView::from(row)))
}

async fn seen_by(shared: &Context, caller: &crate::auth::Caller, id: &str) -> Result<SignalRow, Problem> {
    let row = shared.state.signal(id).await?;
    account_of(shared, caller, &row.account).await.map_err(|problem| match problem.status {
        404 => Problem::missing("signal"),
        _ => problem,
    })?;
    Ok(row)
}

/// Tells those who follow the account.
pub(crate) fn told(shared: &Context, row: SignalRow) {
    let account = row.account.clone();
    shared.hub.tell(Channel::Signals, &account, shared.now(), Data::Signal(Box::new(row.into())));
}

/// Executes a signal that is queued: hands it to the account's cell, and keeps what came of it. When the cell does not
/// answer, it stays queued, and is tried again; a cell does it once.
///
/// # Errors
/// When bus, cell or database are away.
pub(crate) async fn run(shared: &Context, row: SignalRow) -> Result<SignalRow, Problem> {
    let now = shared.now();
    let expired = row.expires.is_some_and(|expires| expires < now.as_nanos());
    let sent = match (expired, command(&row)) {
        (true, _) => None,
        // Nobody would answer.
        (false, Ok(_)) if shared.plan().open_cell_of(&row.account).is_none() => {
            Some(Err(Problem::conflict("closed", format!("account {} was closed", row.account))))
        }
        (false, Ok(command)) => Some(shared.commander.send(now, &row.account, &row.id, command).await),
        (false, Err(problem)) => Some(Err(problem)),
    };
    let (status, reason, order_ids) = match sent {
        None => ("expired", None, String::new()),
        Some(Ok(orders)) => {
            let ids: Vec<_> = orders.into_iter().map(|id| id.as_u64().to_string()).collect();
            ("executed", None, ids.join(" "))
        }
        // It was done when it was sent before, and the answer was lost.
        Some(Err(problem)) if problem.code == "duplicate" => {
            ("executed", Some("the cell had it before".to_owned()), String::new())
        }
        Some(Err(problem)) if problem.status >= 500 => return Err(problem),
        Some(Err(problem)) => ("refused", Some(problem.detail), String::new()),
    };
    let outcome = Outcome { status, reason: reason.as_deref(), order_ids: &order_ids };
    shared.state.decide_signal(shared.now(), &row.id, "queued", outcome).await?;
    let row = shared.state.signal(&row.id).await?;
    told(shared, row.clone());
    Ok(row)
}

fn command(row: &SignalRow) -> Result<WireCommand, Problem> {
    let decimal = |field: &str, text: &Option<String>| {
        let read = text.as_deref().map(str::parse).transpose();
        read.map_err(|_| Problem::field(field, "is no number"))
    };
    let known = |field: &str| Problem::field(field, "is not known to this version");
    let size = row.size.as_deref().map(str::parse).transpose();
    Ok(WireCommand::Signal(WireSignal {
        id: row.id.clone(),
        source: serde_json::from_value(row.source.as_str().into()).map_err(|_| known("source"))?,
        strategy_id: row.strategy_id.clone(),
        strategy_version: row.strategy_version.clone(),
        strategy_name: row.strategy_name.clone(),
        symbol: row.symbol.clone(),
        side: serde_json::from_value(row.side.as_str().into()).map_err(|_| known("side"))?,
        size: size.map_err(|_: tradeflow_model::ValueError| known("size"))?,
        price: decimal("price", &row.price)?,
        limit_price: decimal("limit_price", &row.limit_price)?,
        stop_loss: decimal("stop_loss", &row.stop_loss)?,
        take_profit: decimal("take_profit", &row.take_profit)?,
        expires: row.expires.map(Timestamp::from_nanos),
        ts_event: Timestamp::from_nanos(row.ts_event),
    }))
}
