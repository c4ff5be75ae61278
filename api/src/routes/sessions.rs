//! `sessions`: a user's log-ins.

use actix_web::{HttpResponse, delete, get, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{audit, time};
use crate::auth::{As, Viewer};
use crate::context::Context;
use crate::problem::Problem;

/// A log-in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionView {
    /// Its id.
    id: String,
    /// Whether it is the one that asks.
    current: bool,
    /// When it began.
    created: String,
    /// When its tokens were last exchanged.
    used: String,
    /// When it ends unless it is used.
    expires: String,
    /// Where it was last used from.
    address: String,
    /// What the client says it is.
    agent: String,
}

/// My log-ins
#[utoipa::path(tag = "sessions", security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<SessionView>)))]
#[get("/sessions")]
pub(crate) async fn list(shared: Context, caller: As<Viewer>) -> Result<HttpResponse, Problem> {
    let sessions = shared.state.sessions(shared.now(), caller.id()).await?;
    let view = |session: tradeflow_state::Session| SessionView {
        current: caller.identity.session.as_ref() == Some(&session.id),
        id: session.id,
        created: time(session.created),
        used: time(session.used),
        expires: time(session.expires),
        address: session.address,
        agent: session.agent,
    };
    Ok(HttpResponse::Ok().json(sessions.into_iter().map(view).collect::<Vec<_>>()))
}

/// End one of my log-ins
#[utoipa::path(tag = "sessions", params(("session_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 204)))]
#[delete("/sessions/{session_id}")]
pub(crate) async fn end(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    shared.state.end_session(caller.id(), &id).await?;
    shared.known.invalidate_all();
    audit(&shared, &caller, "sessions.end", &id, "done").await;
    Ok(HttpResponse::NoContent().finish())
}
