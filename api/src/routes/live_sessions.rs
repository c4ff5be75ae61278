//! `sessions/live`: what was traded and when, the proof of it, and what would have been.

use std::sync::Arc;

use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradeflow_live::node;
use tradeflow_live::{SessionRecord, SessionState};
use tradeflow_model::Timestamp;
use tradeflow_state::Role;
use utoipa::ToSchema;

use super::backtests::{JobView, queue};
use super::listing::accounts_shown;
use super::{Checks, account_of, audit, time};
use crate::auth::{As, Manager, Trader, Viewer};
use crate::body::Body;
use crate::context::Context;
use crate::jobs::replay::{Request, WHOLE};
use crate::problem::Problem;
use crate::replays::ForkRequest;

/// A session of trading, on paper or live.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LiveSession {
    /// Its id.
    session: String,
    /// `open` or `closed`.
    state: String,
    /// When it began.
    started: String,
    /// When it ended.
    ended: Option<String>,
    /// The version of the engine that ran it.
    engine: String,
    /// Its accounts; of those that the caller may see.
    accounts: Vec<String>,
}

/// What is to be different.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewFork {
    /// From when on.
    #[schema(example = "2026-02-03T15:30:00Z")]
    at: String,
    /// The account; need not be given where there is one alone.
    #[serde(default)]
    account: Option<String>,
    /// The strategy's id; need not be given where there is one alone.
    #[serde(default)]
    strategy: Option<String>,
    /// Another kind of strategy in its place; its parameters begin with their defaults.
    #[serde(default)]
    kind: Option<String>,
    /// Parameters that are to be different.
    #[serde(default)]
    #[schema(example = json!({ "fast": 5 }))]
    set: Map<String, Value>,
    /// A name for people.
    #[serde(default)]
    #[schema(max_length = 100)]
    name: String,
}

/// All sessions, the oldest first.
async fn all(shared: &Context) -> Result<Vec<SessionRecord>, Problem> {
    let sources = shared.market.sources.clone();
    let found = web::block(move || node::sessions(sources.bus.as_ref(), &sources.topics)).await;
    let found = found.map_err(|_| Problem::unavailable("the server is stopping"))?;
    found.map_err(|error| {
        tracing::warn!(%error, "sessions");
        Problem::unavailable("the sessions on the bus can't be read")
    })
}

/// The session with this id, or the last one.
async fn one(shared: &Context, wanted: &str) -> Result<SessionRecord, Problem> {
    let mut known = all(shared).await?;
    let place = match wanted {
        "last" => known.len().checked_sub(1),
        id => known.iter().position(|session| session.id == id),
    };
    place.map(|place| known.swap_remove(place)).ok_or_else(|| Problem::missing("session"))
}

/// Sessions of trading, the newest first
///
/// Those with an account that the caller may see; managers and administrators see all.
#[utoipa::path(tag = "sessions", security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<LiveSession>)))]
#[get("/sessions/live")]
pub(crate) async fn list(shared: Context, caller: As<Viewer>) -> Result<HttpResponse, Problem> {
    let mine = accounts_shown(&shared, &caller).await?;
    let shown = |account: &String| mine.as_ref().is_none_or(|mine| mine.contains(account));
    let view = |session: SessionRecord| LiveSession {
        accounts: session.journal_from.keys().filter(|account| shown(account)).cloned().collect(),
        session: session.id,
        state: match session.state {
            SessionState::Open => "open",
            SessionState::Closed => "closed",
        }
        .to_owned(),
        started: time(session.started),
        ended: session.ended.map(time),
        engine: session.engine,
    };
    let views = all(&shared).await?.into_iter().rev().map(view);
    let views = views.filter(|view| mine.is_none() || !view.accounts.is_empty());
    Ok(HttpResponse::Ok().json(views.collect::<Vec<_>>()))
}

/// Prove a session
///
/// A job replays its journal and compares every order, fill and balance with what was put out. `/backtests/{job_id}` tells how
/// far it is, `/backtests/{job_id}/summary` the verdict, as `tradeflow verify --json` prints it.
#[utoipa::path(tag = "sessions", params(("session_id" = String, Path, description = "Its id, or `last`")),
    security(("bearer" = ["manager"])), responses((status = 202, body = JobView)))]
#[post("/sessions/live/{session_id}/verify")]
pub(crate) async fn verify(
    shared: Context,
    caller: As<Manager>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let session = one(&shared, &id).await?.id;
    let wanted = Request { session: session.clone(), fork: None };
    let job = queue(&shared, &caller, "verify", session, &wanted, WHOLE).await?;
    audit(&shared, &caller, "sessions.verify", &wanted.session, "done").await;
    Ok(HttpResponse::Accepted().json(job))
}

/// Replay a session with another strategy
///
/// A job replays it up to an instant, and goes on with other parameters. `/backtests/{job_id}/summary` compares it with what
/// happened, as `tradeflow fork --json` prints it; its tables are read like those of a backtest.
#[utoipa::path(tag = "sessions", params(("session_id" = String, Path, description = "Its id, or `last`")),
    request_body = NewFork, security(("bearer" = ["trader"])), responses((status = 202, body = JobView)))]
#[post("/sessions/live/{session_id}/fork")]
pub(crate) async fn fork(
    shared: Context,
    caller: As<Trader>,
    id: web::Path<String>,
    body: Body<NewFork>,
) -> Result<HttpResponse, Problem> {
    let NewFork { at, account, strategy, kind, set, name } = body.0;
    let session = one(&shared, &id).await?;
    let instant = at.parse::<Timestamp>();
    Checks::new()
        .text("name", &name, 0, 100)
        .that(instant.is_ok(), "at", "takes a time such as 2026-02-03T15:30:00Z")
        .done()?;
    let Ok(at) = instant else { return Err(Problem::field("at", "takes a time")) };
    let plan = Arc::new(session.plan().map_err(|error| {
        tracing::warn!(error, "a session");
        Problem::conflict("other-engine", "the session is of another engine, whose plan can't be read")
    })?);
    let wanted = ForkRequest { at, account, strategy, kind, set };
    let forking = wanted.check(&plan).map_err(|problem| Problem::field(problem.field, problem.why));
    // Whose account it is comes first: what is another's is not there.
    let of = match &forking {
        Ok(forking) => Some(plan.run.cells[forking.cell].account.id.to_string()),
        Err(_) => wanted.account.clone(),
    };
    match &of {
        Some(account) => account_of(&shared, &caller, account).await?,
        None if caller.identity.user.role >= Role::Manager => {}
        None => return Err(Problem::field("account", "name the account")),
    }
    forking?;
    if session.ended.is_some_and(|ended| at > ended) {
        return Err(Problem::field("at", "is after the end of the session"));
    }
    let request = Request { session: session.id.clone(), fork: Some(wanted) };
    let job = queue(&shared, &caller, "fork", name, &request, WHOLE).await?;
    audit(&shared, &caller, "sessions.fork", &session.id, "done").await;
    Ok(HttpResponse::Accepted().json(job))
}
