//! `webhooks`: where alerts come in.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::Deserialize;
use serde_json::{Map, Value};
use tradeflow_state::WebhookKey;
use utoipa::ToSchema;

use super::account_of;
use super::signals::SignalView;
use crate::auth::{As, Trader};
use crate::body::{Body, Raw};
use crate::context::Context;
use crate::problem::Problem;
use crate::webhooks::receive::{Received, Sender, receive, understood};

/// TradingView's alerts
///
/// The body is the alert's message: a JSON object, under whatever content type, with the webhook key's `secret`. What
/// fields are understood: see the documentation. 202 once it is kept, before it is executed; 200 for a duplicate.
#[utoipa::path(tag = "webhooks", request_body(content = Value, content_type = "application/json"), security(()),
    responses((status = 200, body = Received), (status = 202, body = Received)))]
#[post("/webhooks/tradingview")]
pub(crate) async fn tradingview(shared: Context, request: HttpRequest, body: Raw) -> HttpResponse {
    receive(&shared, &request, Sender::TradingView, None, &body.0).await
}

/// TrailHacker's alerts
#[utoipa::path(tag = "webhooks", request_body(content = Value, content_type = "application/json"), security(()),
    responses((status = 200, body = Received), (status = 202, body = Received)))]
#[post("/webhooks/trailhacker")]
pub(crate) async fn trailhacker(shared: Context, request: HttpRequest, body: Raw) -> HttpResponse {
    receive(&shared, &request, Sender::TrailHacker, None, &body.0).await
}

/// TradingView's alerts for a user
///
/// As `webhooks/tradingview`; the secret must be of a key of his.
#[utoipa::path(tag = "webhooks", params(("user_id" = String, Path, description = "His id")),
    request_body(content = Value, content_type = "application/json"), security(()),
    responses((status = 200, body = Received), (status = 202, body = Received)))]
#[post("/webhooks/{user_id}")]
pub(crate) async fn of_user(
    shared: Context,
    request: HttpRequest,
    user: web::Path<String>,
    body: Raw,
) -> HttpResponse {
    receive(&shared, &request, Sender::TradingView, Some(&user), &body.0).await
}

/// An alert to be tried.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TryAlert {
    /// `tradingview` or `trailhacker`.
    #[schema(value_type = String, example = "tradingview")]
    sender: Sender,
    /// The account that it would be for.
    #[schema(min_length = 1, max_length = 100)]
    account: String,
    /// What would be sent; it needs no secret.
    body: Map<String, Value>,
}

/// Try an alert
///
/// Tells what it would be understood as. Nothing is kept or done.
#[utoipa::path(tag = "webhooks", request_body = TryAlert, security(("bearer" = ["trader"])),
    responses((status = 200, body = SignalView)))]
#[post("/webhooks/test")]
pub(crate) async fn test(
    shared: Context,
    caller: As<Trader>,
    body: Body<TryAlert>,
) -> Result<HttpResponse, Problem> {
    let TryAlert { sender, account, body } = body.0;
    account_of(&shared, &caller, &account).await?;
    let key = WebhookKey {
        id: String::new(),
        user_id: caller.id().to_owned(),
        name: String::new(),
        hint: String::new(),
        account,
        auto_execute: 0,
        default_size: None,
        max_age: i64::MAX,
        created: 0,
        used: None,
    };
    let row = understood(&shared, sender, &key, Value::Object(body).to_string().as_bytes())?;
    Ok(HttpResponse::Ok().json(SignalView::from(row)))
}
