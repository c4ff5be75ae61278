//! `instruments`: what this node follows.

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use tradeflow_model::Instrument;
use utoipa::ToSchema;

use super::{name, time};
use crate::auth::{As, Viewer};
use crate::context::Context;
use crate::problem::Problem;

/// An instrument.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InstrumentView {
    /// Its symbol.
    symbol: String,
    /// Its kind: `equity`, `crypto-spot`, …
    class: String,
    /// Decimals of a price.
    price_scale: u8,
    /// Decimals of a quantity.
    size_scale: u8,
    /// The tick: prices of orders are multiples of it.
    tick: String,
    /// The lot: quantities of orders are multiples of it.
    lot: String,
    /// Units of the base in one unit of quantity.
    multiplier: String,
    /// What is bought.
    base: String,
    /// What the price is in.
    quote: String,
    /// Fee of orders that take liquidity, in basis points.
    taker_fee_bps: String,
    /// Fee of orders that make it.
    maker_fee_bps: String,
    /// Its last instant of trading.
    expiry: Option<String>,
}

impl From<&Instrument> for InstrumentView {
    fn from(known: &Instrument) -> Self {
        Self {
            symbol: known.symbol.to_string(),
            class: name(&known.class),
            price_scale: known.price_scale,
            size_scale: known.size_scale,
            tick: known.price_increment.to_decimal(known.price_scale).to_string(),
            lot: known.size_increment.to_decimal(known.size_scale).to_string(),
            multiplier: known.multiplier.to_string(),
            base: known.base.code().to_owned(),
            quote: known.quote.code().to_owned(),
            taker_fee_bps: known.fees.taker_bps.to_string(),
            maker_fee_bps: known.fees.maker_bps.to_string(),
            expiry: known.expiry.map(time),
        }
    }
}

/// Instruments
#[utoipa::path(tag = "instruments", security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<InstrumentView>)))]
#[get("/instruments")]
pub(crate) async fn list(shared: Context, _: As<Viewer>) -> HttpResponse {
    let plan = shared.plan();
    HttpResponse::Ok().json(plan.run.instruments.iter().map(InstrumentView::from).collect::<Vec<_>>())
}

/// An instrument
#[utoipa::path(tag = "instruments", params(("symbol" = String, Path, description = "Its symbol")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = InstrumentView)))]
#[get("/instruments/{symbol}")]
pub(crate) async fn get(
    shared: Context,
    _: As<Viewer>,
    symbol: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let plan = shared.plan();
    let id = plan.instrument(&symbol).ok_or_else(|| Problem::missing("instrument"))?;
    Ok(HttpResponse::Ok().json(InstrumentView::from(plan.run.instrument(id))))
}
