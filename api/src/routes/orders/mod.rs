//! `orders`: place, change, cancel. A handler makes a command of the request; the account's cell decides.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | what changes orders |
//! | `preview.rs` | what an order would cost |
//! | `read.rs` | what shows them |

pub(crate) mod preview;
pub(crate) mod read;

use actix_web::{HttpRequest, HttpResponse, delete, patch, post, web};
use serde::Deserialize;
use tradeflow_live::commands::{WireCommand, WireOrder};
use tradeflow_model::order::Execution;
use tradeflow_model::{Side, TimeInForce, Timestamp};
use utoipa::ToSchema;

use super::Checks;
use super::command::{Done, Idempotency, command};
use crate::auth::{As, Trader};
use crate::body::Body;
use crate::context::Context;
use crate::decimal::Amount;
use crate::problem::Problem;

/// An order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceOrder {
    /// The instrument.
    #[schema(min_length = 1, max_length = 100, example = "BTCUSD")]
    symbol: String,
    /// `buy` or `sell`.
    #[schema(value_type = String, example = "buy")]
    side: Side,
    /// `market`, `limit`, `stop`, `stop-limit` or `trailing-stop`.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "limit")]
    kind: Kind,
    /// The quantity, a multiple of the lot.
    #[schema(value_type = String, example = "0.01")]
    qty: Amount,
    /// The limit price.
    #[schema(value_type = Option<String>)]
    price: Option<Amount>,
    /// The price that sets a stop off.
    #[schema(value_type = Option<String>)]
    trigger: Option<Amount>,
    /// A trailing stop's distance, in price.
    #[schema(value_type = Option<String>)]
    trail_price: Option<Amount>,
    /// A trailing stop's distance, in basis points.
    #[schema(minimum = 1, maximum = 10000)]
    trail_bps: Option<u32>,
    /// `gtc` (until cancelled, the default), `day`, `ioc`, `fok`, or `gtd` with `expires`.
    #[schema(value_type = Option<String>)]
    time_in_force: Option<Force>,
    /// With `gtd`: until when, as UTC in RFC 3339.
    expires: Option<String>,
    /// `continuous` (the default), `on-open` or `on-close`.
    #[schema(value_type = Option<String>)]
    execution: Option<Execution>,
    /// It may only reduce a position.
    #[serde(default)]
    reduce_only: bool,
    /// It may not take liquidity.
    #[serde(default)]
    post_only: bool,
    /// A protective stop for what it opens.
    #[schema(value_type = Option<String>)]
    stop_loss: Option<Amount>,
    /// A profit target for what it opens.
    #[schema(value_type = Option<String>)]
    take_profit: Option<Amount>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Market,
    Limit,
    Stop,
    StopLimit,
    TrailingStop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Force {
    Gtc,
    Day,
    Gtd,
    Ioc,
    Fok,
}

impl PlaceOrder {
    fn wire(self) -> Result<WireOrder, Problem> {
        let mut checks = Checks::new();
        let kind = self.kind;
        let needs_price = matches!(kind, Kind::Limit | Kind::StopLimit);
        let needs_trigger = matches!(kind, Kind::Stop | Kind::StopLimit);
        let trails = usize::from(self.trail_price.is_some()) + usize::from(self.trail_bps.is_some());
        let wanted = |needed: bool| if needed { "is needed by this type" } else { "is not for this type" };
        checks
            .that(self.price.is_some() == needs_price, "price", wanted(needs_price))
            .that(self.trigger.is_some() == needs_trigger, "trigger", wanted(needs_trigger))
            .that(
                trails == usize::from(kind == Kind::TrailingStop),
                "trail_price",
                "a trailing-stop takes one of trail_price and trail_bps, other types none",
            );
        let expires = self.expires.as_deref().map(str::parse::<Timestamp>);
        let is_dated = self.time_in_force == Some(Force::Gtd);
        checks
            .that(expires.is_some() == is_dated, "expires", "goes with time_in_force gtd, and gtd with it")
            .that(
                expires.as_ref().is_none_or(Result::is_ok),
                "expires",
                "takes a time such as 2026-02-03T15:30:00Z",
            )
            .done()?;
        let expires = expires.and_then(Result::ok);
        let decimal = |amount: Option<Amount>| amount.map(|amount| amount.0);
        Ok(WireOrder {
            symbol: self.symbol,
            side: self.side,
            qty: self.qty.0,
            price: decimal(self.price),
            trigger: decimal(self.trigger),
            trail_price: decimal(self.trail_price),
            trail_bps: self.trail_bps,
            time_in_force: self.time_in_force.map(|force| match (force, expires) {
                (Force::Gtd, Some(until)) => TimeInForce::Gtd(until),
                (Force::Day, _) => TimeInForce::Day,
                (Force::Ioc, _) => TimeInForce::Ioc,
                (Force::Fok, _) => TimeInForce::Fok,
                (Force::Gtc | Force::Gtd, _) => TimeInForce::Gtc,
            }),
            execution: self.execution,
            reduce_only: self.reduce_only,
            post_only: self.post_only,
            stop_loss: decimal(self.stop_loss),
            take_profit: decimal(self.take_profit),
        })
    }
}

/// A change of an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeOrder {
    /// Its instrument.
    symbol: String,
    /// The new quantity, what has traded included.
    #[schema(value_type = String)]
    qty: Amount,
    /// The new limit price; without it, the old one.
    #[schema(value_type = Option<String>)]
    price: Option<Amount>,
    /// The new trigger; without it, the old one.
    #[schema(value_type = Option<String>)]
    trigger: Option<Amount>,
}

/// Place an order
#[utoipa::path(tag = "orders", params(("account" = String, Path, description = "The account's name"), Idempotency),
    request_body = PlaceOrder, security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[post("/accounts/{account}/orders")]
pub(crate) async fn place(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    account: web::Path<String>,
    body: Body<PlaceOrder>,
) -> Result<HttpResponse, Problem> {
    let order = body.0.wire()?;
    command(&shared, &caller, &request, &account, "orders.place", WireCommand::Submit(order)).await
}

/// Change an order
#[utoipa::path(tag = "orders",
    params(("account" = String, Path, description = "The account's name"), ("order_id" = String, Path, description = "Its id"),
        Idempotency),
    request_body = ChangeOrder, security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[patch("/accounts/{account}/orders/{order_id}")]
pub(crate) async fn change(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    body: Body<ChangeOrder>,
) -> Result<HttpResponse, Problem> {
    let (account, order_id) = path.into_inner();
    let ChangeOrder { symbol, qty, price, trigger } = body.0;
    let wanted = WireCommand::Modify {
        order_id: order_number(&order_id)?,
        symbol,
        qty: qty.0,
        price: price.map(|price| price.0),
        trigger: trigger.map(|trigger| trigger.0),
    };
    command(&shared, &caller, &request, &account, "orders.change", wanted).await
}

/// Cancel an order
#[utoipa::path(tag = "orders",
    params(("account" = String, Path, description = "The account's name"), ("order_id" = String, Path, description = "Its id"),
        Idempotency),
    security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[delete("/accounts/{account}/orders/{order_id}")]
pub(crate) async fn cancel(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (account, order_id) = path.into_inner();
    let wanted = WireCommand::Cancel { order_id: order_number(&order_id)? };
    command(&shared, &caller, &request, &account, "orders.cancel", wanted).await
}

/// Cancel all orders of an account
#[utoipa::path(tag = "orders", params(("account" = String, Path, description = "The account's name"), Idempotency),
    security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[delete("/accounts/{account}/orders")]
pub(crate) async fn cancel_all(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    command(&shared, &caller, &request, &account, "orders.cancel-all", WireCommand::CancelAll).await
}

fn order_number(id: &str) -> Result<u64, Problem> {
    id.parse().map_err(|_| Problem::missing("order"))
}
