//! `logs`: what was done, and what came over webhooks.

use actix_web::{HttpResponse, get};
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_state::{AuditEntry, AuditFilter, Role, WebhookEntry};
use utoipa::{IntoParams, ToSchema};

use super::{Page, Paging, limit, time};
use crate::auth::{Administrator, As, Trader};
use crate::body::Query;
use crate::context::Context;
use crate::problem::Problem;

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Those of a user, by his id.
    user_id: Option<String>,
    /// Those whose action begins so: `auth.`, `orders.place`.
    action: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many at most: 1 to 500, 100 when it is not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Something that was done, or tried.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditView {
    /// Its id.
    id: String,
    /// When.
    time: String,
    /// Who, by his id; none when no one was known.
    user_id: Option<String>,
    /// Who, by his email, or what was given as one.
    actor: String,
    /// What.
    action: String,
    /// With what.
    object: String,
    /// What came of it.
    outcome: String,
    /// From where.
    address: String,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, ts, user, actor, action, object, outcome, address } = entry;
        Self { id, time: time(ts), user_id: user, actor, action, object, outcome, address }
    }
}

/// Who did what, the newest first
#[utoipa::path(tag = "logs", params(Which), security(("bearer" = ["administrator"])),
    responses((status = 200, body = Page<AuditView>)))]
#[get("/logs/audit")]
pub(crate) async fn audit(
    shared: Context,
    _: As<Administrator>,
    which: Query<Which>,
) -> Result<HttpResponse, Problem> {
    let Which { user_id, action, cursor, limit: count } = which.0;
    let most = limit(count)?;
    let filter =
        AuditFilter { user: user_id.as_deref(), action: action.as_deref(), before: cursor.as_deref() };
    let entries = shared.state.audit(filter, most + 1).await?;
    let entries = entries.into_iter().map(AuditView::from).collect();
    Ok(HttpResponse::Ok().json(Page::of(entries, most, |entry: &AuditView| entry.id.clone())))
}

/// Something that came over a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookView {
    /// Its id.
    id: String,
    /// When.
    time: String,
    /// The route.
    route: String,
    /// The webhook key; none when no one's secret came with it.
    key_id: Option<String>,
    /// From where.
    address: String,
    /// The status that it was answered with.
    status: i64,
    /// What came of it, in words.
    outcome: String,
    /// The signal that it became.
    signal_id: Option<String>,
    /// What was sent, without secrets.
    body: String,
}

impl From<WebhookEntry> for WebhookView {
    fn from(entry: WebhookEntry) -> Self {
        Self {
            id: entry.id,
            time: time(Timestamp::from_nanos(entry.ts)),
            route: entry.route,
            key_id: entry.key_id,
            address: entry.address,
            status: entry.status,
            outcome: entry.outcome,
            signal_id: entry.signal_id,
            body: entry.body,
        }
    }
}

/// What came over webhooks, the newest first
///
/// With one's own keys; administrators see all, what came without a key included. Kept for 30 days.
#[utoipa::path(tag = "logs", params(Paging), security(("bearer" = ["trader"])),
    responses((status = 200, body = Page<WebhookView>)))]
#[get("/logs/webhooks")]
pub(crate) async fn webhooks(
    shared: Context,
    caller: As<Trader>,
    paging: Query<Paging>,
) -> Result<HttpResponse, Problem> {
    let most = limit(paging.0.limit)?;
    let mine = (caller.identity.user.role < Role::Administrator).then(|| caller.id());
    let entries = shared.state.webhook_entries(mine, paging.0.cursor.as_deref(), most + 1).await?;
    Ok(HttpResponse::Ok().json(Page::of(entries, most, |entry| entry.id.clone()).map(WebhookView::from)))
}
