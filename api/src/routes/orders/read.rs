//! Orders as they stand, and what happened to them.

use actix_web::{HttpResponse, get, web};
use schemars::JsonSchema;
use serde::Serialize;
use tradeflow_model::Timestamp;
use tradeflow_state::Cursor;
use tradeflow_state::trading::{OrderEventRow, OrderRow};
use utoipa::ToSchema;

use super::order_number;
use crate::auth::{As, Viewer};
use crate::body::Query;
use crate::context::Context;
use crate::problem::Problem;
use crate::routes::fills::FillView;
use crate::routes::listing::listing;
use crate::routes::{Page, account_of, time};

/// An order.
#[derive(Debug, Serialize, ToSchema, JsonSchema)]
pub(crate) struct OrderView {
    /// Its account.
    account: String,
    /// Its id, unique within the account.
    order_id: String,
    /// The session that it was sent in.
    session: String,
    /// The instrument.
    symbol: String,
    /// The strategy's id; none for an order by hand.
    strategy: Option<String>,
    /// `buy` or `sell`.
    side: String,
    /// `market`, `limit`, `stop`, `stop-limit` or `trailing-stop`.
    #[serde(rename = "type")]
    kind: String,
    /// The quantity.
    qty: String,
    /// The limit price.
    price: Option<String>,
    /// The price that sets a stop off.
    trigger: Option<String>,
    /// How much of it has traded.
    filled: String,
    /// The average price of its fills.
    average_price: Option<String>,
    /// `gtc`, `day`, `gtd`, `ioc` or `fok`.
    time_in_force: String,
    /// With `gtd`: until when.
    expires: Option<String>,
    /// `continuous`, `on-open` or `on-close`.
    execution: String,
    /// Whether it may only reduce a position.
    reduce_only: bool,
    /// Whether it may not take liquidity.
    post_only: bool,
    /// The order whose fill brings it to life.
    parent_id: Option<String>,
    /// `submitted`, `denied`, `accepted`, `rejected`, `triggered`, `partially-filled`, `filled`, `cancelled` or `expired`.
    status: String,
    /// Why it was denied, rejected or cancelled.
    reason: Option<String>,
    /// When it was sent.
    created: String,
    /// When it changed last.
    updated: String,
}

impl From<OrderRow> for OrderView {
    fn from(row: OrderRow) -> Self {
        let at = |nanos| time(Timestamp::from_nanos(nanos));
        Self {
            account: row.account,
            order_id: row.order_id.to_string(),
            session: row.session,
            symbol: row.symbol,
            strategy: row.strategy,
            side: row.side,
            kind: row.kind,
            qty: row.qty,
            price: row.price,
            trigger: row.stop_trigger,
            filled: row.filled,
            average_price: row.average_price,
            time_in_force: row.time_in_force,
            expires: row.expires.map(at),
            execution: row.execution,
            reduce_only: row.reduce_only != 0,
            post_only: row.post_only != 0,
            parent_id: row.parent.map(|parent| parent.to_string()),
            status: row.status,
            reason: row.reason,
            created: at(row.created),
            updated: at(row.updated),
        }
    }
}

/// Something that happened to an order.
#[derive(Debug, Serialize, ToSchema, JsonSchema)]
pub(crate) struct OrderEventView {
    /// Its number among the account's records.
    seq: u64,
    /// What happened: `submitted`, `accepted`, `filled`, …
    event: String,
    /// The order's status after it.
    status: String,
    /// Why.
    reason: Option<String>,
    /// How much had traded after it.
    filled: String,
    /// When.
    time: String,
}

impl From<OrderEventRow> for OrderEventView {
    fn from(OrderEventRow { seq, event, status, reason, filled, ts, .. }: OrderEventRow) -> Self {
        let time = time(Timestamp::from_nanos(ts));
        Self { seq: seq as u64, event, status, reason, filled, time }
    }
}

/// An order with its history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderDetail {
    /// The order.
    order: OrderView,
    /// What happened to it, the oldest first.
    events: Vec<OrderEventView>,
    /// Its fills, the newest first; the last 500.
    fills: Vec<FillView>,
}

listing! {
    /// Which orders.
    WhichOrders {
        /// Of this status.
        status: Option<String>,
        /// Those that stand, or those that do not.
        open: Option<bool>,
    }
}

/// Orders, the newest first
///
/// They are read from the bus, a moment behind the cells.
#[utoipa::path(tag = "orders", params(WhichOrders), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Page<OrderView>)))]
#[get("/orders")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Viewer>,
    which: Query<WhichOrders>,
) -> Result<HttpResponse, Problem> {
    let (scope, page) = (which.0.scope(), which.0.page()?);
    let accounts = scope.accounts(&shared, &caller).await?;
    let (open, status) = (which.0.open, which.0.status.as_deref());
    let wanted = scope.which(&accounts)?;
    let rows = shared.state.orders(wanted, open, status, page.cursor.as_ref(), page.limit + 1).await?;
    let place = |row: &OrderRow| {
        Cursor { time: row.created, number: row.order_id, account: row.account.clone() }.to_string()
    };
    Ok(HttpResponse::Ok().json(Page::of(rows, page.limit, place).map(OrderView::from)))
}

/// An order with what happened to it
#[utoipa::path(tag = "orders",
    params(("account" = String, Path, description = "The account's name"), ("order_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = OrderDetail)))]
#[get("/accounts/{account}/orders/{order_id}")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (account, order_id) = path.into_inner();
    account_of(&shared, &caller, &account).await?;
    let number = i64::try_from(order_number(&order_id)?).map_err(|_| Problem::missing("order"))?;
    let order = shared.state.order(&account, number).await?;
    let events = shared.state.order_events(&account, number).await?;
    let accounts = [account];
    let which = tradeflow_state::trading::Which { accounts: Some(&accounts), ..Default::default() };
    let fills = shared.state.fills(which, Some(number), None, 500).await?;
    Ok(HttpResponse::Ok().json(OrderDetail {
        order: order.into(),
        events: events.into_iter().map(OrderEventView::from).collect(),
        fills: fills.into_iter().map(FillView::from).collect(),
    }))
}
