//! What an order would cost, and whether it would pass.

use actix_web::{HttpResponse, post, web};
use serde::Serialize;
use tradeflow_live::commands::WireCommand;
use tradeflow_live::outputs::{PreviewRecord, Told};
use utoipa::ToSchema;

use super::super::open_account_of;
use super::PlaceOrder;
use crate::auth::{As, Trader};
use crate::body::Body;
use crate::context::Context;
use crate::problem::Problem;

/// What would come of an order if it were placed. Money is of the account's currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PreviewView {
    /// Whether the risk gate would let it pass and the account could pay for all of it.
    ok: bool,
    /// Why the risk gate would deny it, or one of its exits.
    denied: Option<String>,
    /// `maker` or `taker`: as what it is expected to trade.
    liquidity: String,
    /// What it is reckoned at: its limit, else its trigger, else the last price; with slippage where it takes liquidity.
    /// None, as the costs that follow, before its instrument had any price.
    price: Option<String>,
    /// Its value at that price.
    value: Option<String>,
    /// The fee.
    fee: Option<String>,
    /// How much of its quantity the account can pay for.
    payable_qty: Option<String>,
    /// What the account is worth.
    equity: String,
    /// Value of positions over equity that an opening order may reach.
    leverage: String,
    /// Value of the account's positions.
    exposure: String,
    /// Value of its positions with all of the order filled.
    exposure_after: Option<String>,
    /// Equity that its positions then take up: their value over the leverage.
    margin_after: Option<String>,
}

/// Preview an order
///
/// What it would cost and whether it would pass, as the account's cell stands. Nothing is placed and nothing kept.
#[utoipa::path(tag = "orders", params(("account" = String, Path, description = "The account's name")),
    request_body = PlaceOrder, security(("bearer" = ["trader"])), responses((status = 200, body = PreviewView)))]
#[post("/accounts/{account}/orders/preview")]
pub(crate) async fn preview(
    shared: Context,
    caller: As<Trader>,
    account: web::Path<String>,
    body: Body<PlaceOrder>,
) -> Result<HttpResponse, Problem> {
    let order = body.0.wire()?;
    open_account_of(&shared, &caller, &account).await?;
    let qty = order.qty;
    let told = shared.commander.question(shared.now(), &account, WireCommand::Preview(order)).await?;
    let Told::Preview(record) = told else { return Err(Problem::internal()) };
    let PreviewRecord {
        denied,
        liquidity,
        price,
        value,
        fee,
        payable_qty,
        equity,
        leverage,
        exposure,
        exposure_after,
        margin_after,
    } = record;
    let payable = payable_qty.as_deref().and_then(|payable| payable.parse().ok());
    Ok(HttpResponse::Ok().json(PreviewView {
        ok: denied.is_none() && payable.is_none_or(|payable: rust_decimal::Decimal| payable >= qty),
        denied,
        liquidity,
        price,
        value,
        fee,
        payable_qty,
        equity,
        leverage,
        exposure,
        exposure_after,
        margin_after,
    }))
}
