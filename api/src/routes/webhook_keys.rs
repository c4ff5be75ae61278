//! `webhook-keys`: with which webhooks send.

use actix_web::{HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_model::signal::Size;
use tradeflow_state::{NewWebhookKey, WebhookKey};
use utoipa::ToSchema;

use super::{Checks, account_of, audit, time};
use crate::auth::{As, Trader};
use crate::body::Body;
use crate::context::Context;
use crate::problem::Problem;

/// Keys of a user at most.
const MAX: usize = 100;
const SECOND: i64 = 1_000_000_000;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddWebhookKey {
    /// Its name.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The account that its signals are for.
    #[schema(min_length = 1, max_length = 100)]
    account: String,
    /// Whether its signals are executed as they come (the default), or wait for someone.
    auto_execute: Option<bool>,
    /// Size of positions where an alert says none: `0.5` (units), `$5000` (value), `25%` (of equity). Leave it out for
    /// strategies that run in the account and have a size of their own.
    default_size: Option<String>,
    /// Alerts that were sent longer ago are refused: 5 to 3,600 seconds, 60 when it is not given.
    #[schema(minimum = 5, maximum = 3600)]
    max_age_secs: Option<i64>,
}

/// A key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookKeyView {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// The first characters of its secret.
    hint: String,
    /// The account that its signals are for.
    account: String,
    /// Whether its signals are executed as they come.
    auto_execute: bool,
    /// Size of positions where an alert says none.
    default_size: Option<String>,
    /// Alerts that were sent longer ago are refused.
    max_age_secs: i64,
    /// When it was made.
    created: String,
    /// When it was used last.
    used: Option<String>,
}

/// A key with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeWebhookKey {
    /// The secret. It is shown this once.
    secret: String,
    /// The key.
    key: WebhookKeyView,
}

impl From<WebhookKey> for WebhookKeyView {
    fn from(key: WebhookKey) -> Self {
        let at = |nanos| time(Timestamp::from_nanos(nanos));
        Self {
            id: key.id,
            name: key.name,
            hint: key.hint,
            account: key.account,
            auto_execute: key.auto_execute != 0,
            default_size: key.default_size,
            max_age_secs: key.max_age / SECOND,
            created: at(key.created),
            used: key.used.map(at),
        }
    }
}

/// My webhook keys
#[utoipa::path(tag = "webhooks", security(("bearer" = ["trader"])), responses((status = 200, body = Vec<WebhookKeyView>)))]
#[get("/webhook-keys")]
pub(crate) async fn list(shared: Context, caller: As<Trader>) -> Result<HttpResponse, Problem> {
    let keys = shared.state.webhook_keys(caller.id()).await?;
    Ok(HttpResponse::Ok().json(keys.into_iter().map(WebhookKeyView::from).collect::<Vec<_>>()))
}

/// Make a webhook key
#[utoipa::path(tag = "webhooks", request_body = AddWebhookKey, security(("bearer" = ["trader"])),
    responses((status = 201, body = MadeWebhookKey)))]
#[post("/webhook-keys")]
pub(crate) async fn create(
    shared: Context,
    caller: As<Trader>,
    body: Body<AddWebhookKey>,
) -> Result<HttpResponse, Problem> {
    let AddWebhookKey { name, account, auto_execute, default_size, max_age_secs } = body.0;
    let size = default_size.as_deref().map(str::parse::<Size>).transpose();
    let max_age_secs = max_age_secs.unwrap_or(60);
    Checks::new()
        .text("name", &name, 1, 100)
        .that(size.is_ok(), "default_size", "takes 0.5 (units), $5000 (value) or 25% (of equity)")
        .that((5..=3600).contains(&max_age_secs), "max_age_secs", "takes 5 to 3600")
        .done()?;
    account_of(&shared, &caller, &account).await?;
    if shared.state.webhook_keys(caller.id()).await?.len() >= MAX {
        return Err(Problem::conflict("too-many", format!("there are {MAX} keys already: delete one")));
    }
    let size = size.ok().flatten().map(|size| size.to_string());
    let new = NewWebhookKey {
        name: &name,
        account: &account,
        auto_execute: auto_execute.unwrap_or(true),
        default_size: size.as_deref(),
        max_age: max_age_secs * SECOND,
    };
    let (key, secret) = shared.state.add_webhook_key(shared.now(), caller.id(), new).await?;
    audit(&shared, &caller, "webhook-keys.create", &key.id, &format!("for {account}")).await;
    let made = MadeWebhookKey { secret: secret.reveal().to_owned(), key: key.into() };
    Ok(HttpResponse::Created().json(made))
}

/// Delete a webhook key of mine
#[utoipa::path(tag = "webhooks", params(("webhook_key_id" = String, Path, description = "Its id")),
    security(("bearer" = ["trader"])), responses((status = 204)))]
#[delete("/webhook-keys/{webhook_key_id}")]
pub(crate) async fn remove(
    shared: Context,
    caller: As<Trader>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    shared.state.remove_webhook_key(caller.id(), &id).await?;
    audit(&shared, &caller, "webhook-keys.remove", &id, "done").await;
    Ok(HttpResponse::NoContent().finish())
}
