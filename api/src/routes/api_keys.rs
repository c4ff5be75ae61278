//! `api-keys`: keys of programs.

use actix_web::{HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_state::{ApiKey, NewApiKey, Scope};
use utoipa::ToSchema;

use super::{Checks, audit, time};
use crate::auth::{As, Viewer};
use crate::body::Body;
use crate::context::Context;
use crate::problem::Problem;

/// Keys of a user at most.
const KEYS_MAX: usize = 100;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What to call it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it may do, as far as its user may: `read`, `trade`, `manage`, `admin`. One does not include another.
    #[serde(default = "read_alone")]
    #[schema(value_type = Vec<String>, min_items = 1, example = json!(["read", "trade"]))]
    scopes: Vec<Scope>,
    /// After so many days it is good no more; without it, never.
    #[schema(minimum = 1, maximum = 3650)]
    expires_in_days: Option<u32>,
}

fn read_alone() -> Vec<Scope> {
    vec![Scope::Read]
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// Its id.
    id: String,
    /// What its user calls it.
    name: String,
    /// Its first characters.
    hint: String,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// When it was made.
    created: String,
    /// Until when it is good; none for ever.
    expires: Option<String>,
    /// When it was last used, to the minute.
    last_used: Option<String>,
}

/// A key that was made, with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeKey {
    /// The key.
    #[serde(flatten)]
    key: KeyView,
    /// The secret: `authorization: Bearer …`. It is shown now and never again.
    secret: String,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            hint: key.hint,
            scopes: key.scopes.iter().map(|scope| scope.name()).collect(),
            created: time(key.created),
            expires: key.expires.map(time),
            last_used: key.used.map(time),
        }
    }
}

/// My API keys
#[utoipa::path(tag = "api-keys", security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<KeyView>)))]
#[get("/api-keys")]
pub(crate) async fn list(shared: Context, caller: As<Viewer>) -> Result<HttpResponse, Problem> {
    let keys = shared.state.api_keys(caller.id()).await?;
    Ok(HttpResponse::Ok().json(keys.into_iter().map(KeyView::from).collect::<Vec<_>>()))
}

/// Make an API key
///
/// A key can't make a key.
#[utoipa::path(tag = "api-keys", request_body = NewKey, security(("bearer" = ["viewer"])),
    responses((status = 201, body = MadeKey)))]
#[post("/api-keys")]
pub(crate) async fn create(
    shared: Context,
    caller: As<Viewer>,
    body: Body<NewKey>,
) -> Result<HttpResponse, Problem> {
    if caller.identity.session.is_none() {
        return Err(Problem::forbidden("a key can't make a key: log in"));
    }
    let NewKey { name, scopes, expires_in_days } = body.0;
    Checks::new()
        .text("name", &name, 1, 100)
        .that(!scopes.is_empty(), "scopes", "takes at least one of read, trade, manage, admin")
        .that(
            expires_in_days.is_none_or(|days| (1..=3650).contains(&days)),
            "expires_in_days",
            "takes 1 to 3650",
        )
        .done()?;
    if shared.state.api_keys(caller.id()).await?.len() >= KEYS_MAX {
        return Err(Problem::conflict("too-many", format!("there are {KEYS_MAX} keys already: delete one")));
    }
    let now = shared.now();
    let expires: Option<Timestamp> =
        expires_in_days.map(|days| now.saturating_add(i64::from(days) * 86_400 * 1_000_000_000));
    let (key, token) = shared
        .state
        .add_api_key(now, caller.id(), NewApiKey { name: &name, scopes: &scopes, expires })
        .await?;
    audit(&shared, &caller, "api-keys.create", &key.hint, "done").await;
    Ok(HttpResponse::Created().json(MadeKey { key: key.into(), secret: token.reveal().to_owned() }))
}

/// Delete an API key
#[utoipa::path(tag = "api-keys", params(("key_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 204)))]
#[delete("/api-keys/{key_id}")]
pub(crate) async fn remove(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    shared.state.remove_api_key(caller.id(), &id).await?;
    shared.known.invalidate_all();
    audit(&shared, &caller, "api-keys.delete", &id, "done").await;
    Ok(HttpResponse::NoContent().finish())
}
