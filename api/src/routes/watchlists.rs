//! `watchlists`: lists of symbols that a user looks at.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use tradeflow_state::Watchlist;
use utoipa::ToSchema;

use super::{Checks, time};
use crate::auth::{As, Viewer};
use crate::body::Body;
use crate::context::Context;
use crate::problem::Problem;

/// Watchlists of a user, and symbols of a list, at most.
const MAX: [usize; 2] = [100, 500];

/// A list to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWatchlist {
    /// Its name, unique for its user.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Its symbols in their order.
    #[serde(default)]
    #[schema(max_items = 500)]
    symbols: Vec<String>,
}

/// What is to be changed; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeWatchlist {
    /// Its name.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// All of its symbols in their order.
    #[schema(max_items = 500)]
    symbols: Option<Vec<String>>,
}

/// A watchlist.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WatchlistView {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// Its symbols in their order.
    symbols: Vec<String>,
    /// When it was made.
    created: String,
}

impl From<Watchlist> for WatchlistView {
    fn from(watchlist: Watchlist) -> Self {
        let Watchlist { id, name, symbols, created } = watchlist;
        Self { id, name, symbols, created: time(created) }
    }
}

fn check(shared: &Context, name: Option<&str>, symbols: &[String]) -> Result<(), Problem> {
    let mut checks = Checks::new();
    if let Some(name) = name {
        checks.text("name", name, 1, 100);
    }
    checks.that(symbols.len() <= MAX[1], "symbols", &format!("takes at most {}", MAX[1]));
    let plan = shared.plan();
    for (place, symbol) in symbols.iter().enumerate().take(MAX[1]) {
        let field = format!("symbols[{place}]");
        checks.that(
            plan.instrument(symbol).is_some(),
            &field,
            "is none that this node follows: see /instruments",
        );
    }
    checks.done()
}

/// My watchlists
#[utoipa::path(tag = "watchlists", security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<WatchlistView>)))]
#[get("/watchlists")]
pub(crate) async fn list(shared: Context, caller: As<Viewer>) -> Result<HttpResponse, Problem> {
    let lists = shared.state.watchlists(caller.id()).await?;
    Ok(HttpResponse::Ok().json(lists.into_iter().map(WatchlistView::from).collect::<Vec<_>>()))
}

/// Make a watchlist
#[utoipa::path(tag = "watchlists", request_body = NewWatchlist, security(("bearer" = ["viewer"])),
    responses((status = 201, body = WatchlistView)))]
#[post("/watchlists")]
pub(crate) async fn create(
    shared: Context,
    caller: As<Viewer>,
    body: Body<NewWatchlist>,
) -> Result<HttpResponse, Problem> {
    let NewWatchlist { name, symbols } = body.0;
    check(&shared, Some(&name), &symbols)?;
    if shared.state.watchlists(caller.id()).await?.len() >= MAX[0] {
        return Err(Problem::conflict("too-many", format!("there are {} lists already: delete one", MAX[0])));
    }
    let made = shared.state.add_watchlist(shared.now(), caller.id(), &name, &symbols).await?;
    Ok(HttpResponse::Created().json(WatchlistView::from(made)))
}

/// A watchlist of mine
#[utoipa::path(tag = "watchlists", params(("watchlist_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = WatchlistView)))]
#[get("/watchlists/{watchlist_id}")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(WatchlistView::from(shared.state.watchlist(caller.id(), &id).await?)))
}

/// Change a watchlist of mine
#[utoipa::path(tag = "watchlists", params(("watchlist_id" = String, Path, description = "Its id")),
    request_body = ChangeWatchlist, security(("bearer" = ["viewer"])), responses((status = 200, body = WatchlistView)))]
#[patch("/watchlists/{watchlist_id}")]
pub(crate) async fn change(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
    body: Body<ChangeWatchlist>,
) -> Result<HttpResponse, Problem> {
    let ChangeWatchlist { name, symbols } = body.0;
    check(&shared, name.as_deref(), symbols.as_deref().unwrap_or_default())?;
    let made = shared.state.change_watchlist(caller.id(), &id, name.as_deref(), symbols.as_deref()).await?;
    Ok(HttpResponse::Ok().json(WatchlistView::from(made)))
}

/// Delete a watchlist of mine
#[utoipa::path(tag = "watchlists", params(("watchlist_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 204)))]
#[delete("/watchlists/{watchlist_id}")]
pub(crate) async fn remove(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    shared.state.remove_watchlist(caller.id(), &id).await?;
    Ok(HttpResponse::NoContent().finish())
}
