//! `logs`: the audit log.

use actix_web::{HttpResponse, get};
use serde::{Deserialize, Serialize};
use tradeflow_state::{AuditEntry, AuditFilter};
use utoipa::{IntoParams, ToSchema};

use super::{Page, limit, time};
use crate::auth::{Administrator, As};
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
