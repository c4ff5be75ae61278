//! `quotes`: the best live source's, with its name and age.

use actix_web::{HttpResponse, get, web};
use tradeflow_model::Symbol;

use crate::auth::{As, Viewer};
use crate::context::Context;
use crate::problem::Problem;
use crate::status::QuoteLine;

/// Quotes
#[utoipa::path(tag = "quotes", security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<QuoteLine>)))]
#[get("/quotes")]
pub(crate) async fn list(shared: Context, _: As<Viewer>) -> HttpResponse {
    let quotes = shared.node.shown_quotes();
    HttpResponse::Ok().json(quotes.into_iter().map(QuoteLine::from).collect::<Vec<_>>())
}

/// A quote
///
/// A stale one says so. 404 with code `no-quote` where none has come yet.
#[utoipa::path(tag = "quotes", params(("symbol" = String, Path, description = "The instrument's symbol")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = QuoteLine)))]
#[get("/quotes/{symbol}")]
pub(crate) async fn get(
    shared: Context,
    _: As<Viewer>,
    symbol: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let known = Symbol::new(symbol.as_str()).ok();
    let quote = known.and_then(|symbol| shared.node.shown_quote(&symbol));
    match quote {
        Some(quote) => Ok(HttpResponse::Ok().json(QuoteLine::from(quote))),
        None if shared.plan().instrument(&symbol).is_none() => Err(Problem::missing("instrument")),
        None => Err(Problem::no_quote(&symbol)),
    }
}
