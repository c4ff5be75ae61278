//! `positions`: what an account holds; closing it.

use actix_web::{HttpRequest, HttpResponse, delete, get, web};
use schemars::JsonSchema;
use serde::Serialize;
use tradeflow_live::commands::WireCommand;
use tradeflow_live::node::PositionView;
use utoipa::ToSchema;

use super::account_of;
use super::command::{Done, Idempotency, command};
use crate::auth::{As, Trader, Viewer};
use crate::context::Context;
use crate::problem::Problem;

/// A position.
#[derive(Debug, Serialize, ToSchema, JsonSchema)]
pub(crate) struct PositionLine {
    /// The instrument.
    symbol: String,
    /// How much; below zero when it is short.
    qty: String,
    /// The price that it is valued at.
    mark: String,
    /// Its profit.
    unrealized: String,
}

impl From<PositionView> for PositionLine {
    fn from(PositionView { symbol, qty, mark, unrealized }: PositionView) -> Self {
        Self { symbol, qty, mark, unrealized }
    }
}

/// Positions of an account
#[utoipa::path(tag = "positions", params(("account" = String, Path, description = "Its name")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<PositionLine>)))]
#[get("/accounts/{account}/positions")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Viewer>,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    account_of(&shared, &caller, &account).await?;
    let positions = held(&shared, &account)?.into_iter().map(PositionLine::from);
    Ok(HttpResponse::Ok().json(positions.collect::<Vec<_>>()))
}

/// A position
///
/// 404 where the account holds nothing of the instrument.
#[utoipa::path(tag = "positions",
    params(("account" = String, Path, description = "Its name"), ("symbol" = String, Path, description = "The instrument")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = PositionLine)))]
#[get("/accounts/{account}/positions/{symbol}")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (account, symbol) = path.into_inner();
    account_of(&shared, &caller, &account).await?;
    let held = held(&shared, &account)?.into_iter().find(|position| position.symbol == symbol);
    Ok(HttpResponse::Ok().json(PositionLine::from(held.ok_or_else(|| Problem::missing("position"))?)))
}

fn held(shared: &Context, account: &str) -> Result<Vec<PositionView>, Problem> {
    match shared.node.shown_cell(account) {
        Some(shown) => Ok(shown.view.positions),
        // It was closed with none.
        None if shared.plan().open_cell_of(account).is_none() => Ok(Vec::new()),
        None => Err(Problem::unavailable("the account's cell is not up yet")),
    }
}

/// Close a position
///
/// Its orders are cancelled, and a market order closes it.
#[utoipa::path(tag = "positions",
    params(("account" = String, Path, description = "Its name"), ("symbol" = String, Path, description = "The instrument"),
        Idempotency),
    security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[delete("/accounts/{account}/positions/{symbol}")]
pub(crate) async fn close(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (account, symbol) = path.into_inner();
    command(&shared, &caller, &request, &account, "positions.close", WireCommand::Close { symbol }).await
}

/// Cancel all orders and close all positions
#[utoipa::path(tag = "positions", params(("account" = String, Path, description = "Its name"), Idempotency),
    security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[delete("/accounts/{account}/positions")]
pub(crate) async fn flatten(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    command(&shared, &caller, &request, &account, "positions.flatten", WireCommand::Flatten).await
}
