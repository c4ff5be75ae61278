//! `logs`: what was done, and what came over webhooks.

use std::sync::Arc;

use actix_web::{HttpResponse, get};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradeflow_model::Timestamp;
use tradeflow_state::{AuditEntry, AuditFilter, Role, WebhookEntry};
use utoipa::{IntoParams, ToSchema};

use super::listing::instant;
use super::log_export::{ExportFormat, Line, stream};
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
    /// Those with this object, such as an account.
    object: Option<String>,
    /// From this time on, as UTC in RFC 3339.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many at most: 1 to 500, 100 when it is not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Which entries, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportedEntries {
    /// Those of a user, by his id.
    user_id: Option<String>,
    /// Those whose action begins so: `auth.`, `orders.place`.
    action: Option<String>,
    /// Those with this object, such as an account.
    object: Option<String>,
    /// From this time on, as UTC in RFC 3339.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// `csv` (the default) or `json`.
    #[param(value_type = Option<String>)]
    format: Option<ExportFormat>,
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
    /// Of a command to a cell: its `command_id`, the `command` as it was sent, and the `order_ids` that it made.
    #[schema(value_type = Option<Object>)]
    detail: Option<Map<String, Value>>,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, ts, user, actor, action, object, outcome, address, detail } = entry;
        let time = time(Timestamp::from_nanos(ts));
        let detail = detail.and_then(|text| serde_json::from_str(&text).ok());
        Self { id, time, user_id: user, actor, action, object, outcome, address, detail }
    }
}

impl Line for AuditView {
    const COLUMNS: &'static [&'static str] =
        &["id", "time", "user_id", "actor", "action", "object", "outcome", "address", "detail"];

    fn id(&self) -> &str {
        &self.id
    }

    fn cells(&self) -> Vec<String> {
        let user = self.user_id.clone().unwrap_or_default();
        let detail = self.detail.clone().map(|detail| Value::from(detail).to_string());
        let rest = [&self.actor, &self.action, &self.object, &self.outcome, &self.address];
        let cells = [self.id.clone(), self.time.clone(), user].into_iter().chain(rest.into_iter().cloned());
        cells.chain([detail.unwrap_or_default()]).collect()
    }
}

/// Who did what, the newest first
///
/// The entries of commands to cells (`action=orders.`, `positions.`, `strategies.`, `accounts.`) are the log of executions:
/// they say what was sent, and what came of it.
#[utoipa::path(tag = "logs", params(Which), security(("bearer" = ["administrator"])),
    responses((status = 200, body = Page<AuditView>)))]
#[get("/logs/audit")]
pub(crate) async fn audit(
    shared: Context,
    _: As<Administrator>,
    which: Query<Which>,
) -> Result<HttpResponse, Problem> {
    let which = which.0;
    let most = limit(which.limit)?;
    let filter = AuditFilter {
        user: which.user_id.as_deref(),
        action: which.action.as_deref(),
        object: which.object.as_deref(),
        from: instant("from", which.from.as_deref())?,
        to: instant("to", which.to.as_deref())?,
        before: which.cursor.as_deref(),
    };
    let entries = shared.state.audit(filter, most + 1).await?;
    Ok(HttpResponse::Ok().json(Page::of(entries, most, |entry| entry.id.clone()).map(AuditView::from)))
}

/// Who did what, as a file
///
/// All that fit the filter, the newest first.
#[utoipa::path(tag = "logs", params(ExportedEntries), security(("bearer" = ["administrator"])),
    responses((status = 200, description = "The file",
        content((String = "text/csv"), (Vec<AuditView> = "application/json")))))]
#[get("/logs/audit/export")]
pub(crate) async fn export_audit(
    shared: Context,
    _: As<Administrator>,
    which: Query<ExportedEntries>,
) -> Result<HttpResponse, Problem> {
    let ExportedEntries { user_id, action, object, from, to, format } = which.0;
    let (from, to) = (instant("from", from.as_deref())?, instant("to", to.as_deref())?);
    let of = Arc::new([user_id, action, object]);
    stream("audit", format.unwrap_or_default(), move |before: Option<String>, count| {
        let (shared, of) = (shared.clone(), of.clone());
        async move {
            let [user, action, object] = of.each_ref().map(Option::as_deref);
            let filter = AuditFilter { user, action, object, from, to, before: before.as_deref() };
            let entries = shared.state.audit(filter, count).await?;
            Ok(entries.into_iter().map(AuditView::from).collect())
        }
    })
    .await
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
