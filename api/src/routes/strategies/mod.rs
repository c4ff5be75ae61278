//! `strategies`: the kinds there are, and starting and stopping them in an account.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | kinds; start and stop |
//! | `dry_run.rs` | a strategy run once, over its latest past |
//! | `account.rs` | which strategies an account has, and their versions |

pub(crate) mod account;
pub(crate) mod dry_run;

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradeflow_actors::strategy::{StrategyKind, registry};
use tradeflow_live::commands::{WireCommand, WireStrategy};
use tradeflow_model::signal::Size;
use utoipa::{IntoParams, ToSchema};

use super::Checks;
use super::command::{Done, Idempotency, command};
use crate::auth::{As, Trader, Viewer};
use crate::body::{Body, Query};
use crate::context::Context;
use crate::problem::Problem;

/// A kind of strategy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KindView {
    /// Its name.
    kind: &'static str,
    /// Its version.
    version: &'static str,
    /// One line for people.
    summary: &'static str,
    /// JSON schema of its parameters.
    #[schema(value_type = Object)]
    params: Value,
}

impl From<&StrategyKind> for KindView {
    fn from(kind: &StrategyKind) -> Self {
        let params = serde_json::to_value((kind.schema)()).unwrap_or_default();
        Self { kind: kind.name, version: kind.version, summary: kind.summary, params }
    }
}

/// A strategy to be started.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartStrategy {
    /// Its id within the account. One with the same id is started anew with these parameters.
    #[schema(min_length = 1, max_length = 64)]
    id: String,
    /// Its kind.
    #[schema(example = "sma_cross")]
    kind: String,
    /// Its parameters; what is not given has its default.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    /// Its instruments, in the order in which the kind takes them.
    #[schema(min_items = 1, max_items = 16)]
    symbols: Vec<String>,
    /// An interval of bars such as `1m`, `trades` or `quotes`.
    #[schema(example = "1m")]
    data: String,
    /// The size of its positions: `25%` (of equity), `100` (units), `5000 USD` (value).
    #[schema(example = "25%")]
    size: String,
}

impl StartStrategy {
    fn wire(self) -> Result<WireStrategy, Problem> {
        let Self { id, kind, params, symbols, data, size } = self;
        Checks::new()
            .text("id", &id, 1, 64)
            .that((1..=16).contains(&symbols.len()), "symbols", "takes 1 to 16")
            .done()?;
        let size: Size = size
            .parse()
            .map_err(|error: tradeflow_model::ValueError| Problem::field("size", error.to_string()))?;
        Ok(WireStrategy { id, kind, params, symbols, data, size })
    }
}

/// How a strategy is stopped.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Stop {
    /// Whether its positions are closed.
    #[serde(default)]
    close: bool,
}

/// Kinds of strategies
#[utoipa::path(tag = "strategies", security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<KindView>)))]
#[get("/strategies")]
pub(crate) async fn list(_: As<Viewer>) -> HttpResponse {
    HttpResponse::Ok().json(registry().iter().map(KindView::from).collect::<Vec<_>>())
}

/// A kind of strategy
#[utoipa::path(tag = "strategies", params(("kind" = String, Path, description = "Its name")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = KindView)))]
#[get("/strategies/{kind}")]
pub(crate) async fn get(_: As<Viewer>, kind: web::Path<String>) -> Result<HttpResponse, Problem> {
    let found = registry().iter().find(|known| known.name == *kind);
    Ok(HttpResponse::Ok().json(KindView::from(found.ok_or_else(|| Problem::missing("strategy"))?)))
}

/// Start a strategy in an account
#[utoipa::path(tag = "strategies", params(("account" = String, Path, description = "The account's name"), Idempotency),
    request_body = StartStrategy, security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[post("/accounts/{account}/strategies")]
pub(crate) async fn start(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    account: web::Path<String>,
    body: Body<StartStrategy>,
) -> Result<HttpResponse, Problem> {
    let strategy = body.0.wire()?;
    let plan = shared.plan();
    let ids: Option<Vec<_>> = strategy.symbols.iter().map(|symbol| plan.instrument(symbol)).collect();
    let planned = ids.and_then(|ids| strategy.plan(&plan, &ids).ok());
    let wanted = WireCommand::Start(strategy);
    let answer = command(&shared, &caller, &request, &account, "strategies.start", wanted).await?;
    if let Some(planned) = planned.filter(|_| answer.status().is_success()) {
        account::note(&shared, &account, &planned, Some(caller.id())).await;
    }
    Ok(answer)
}

/// Stop a strategy of an account
///
/// Its orders are cancelled; its positions stay, or are closed where `close` says so.
#[utoipa::path(tag = "strategies",
    params(("account" = String, Path, description = "The account's name"),
        ("strategy_id" = String, Path, description = "Its id within the account"), Stop, Idempotency),
    security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[delete("/accounts/{account}/strategies/{strategy_id}")]
pub(crate) async fn stop(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    how: Query<Stop>,
) -> Result<HttpResponse, Problem> {
    let (account, id) = path.into_inner();
    let wanted = WireCommand::Stop { id, close: how.0.close };
    command(&shared, &caller, &request, &account, "strategies.stop", wanted).await
}
