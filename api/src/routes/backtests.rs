//! `backtests`: jobs that run strategies on history, and the other jobs, which are followed in the same way.

use actix_web::{HttpResponse, delete, get, post, web};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradeflow_backtest::config::{Place, RunConfig, from_toml};
use tradeflow_backtest::planning;
use tradeflow_model::Timestamp;
use tradeflow_state::{JobRow, Role};
use tradeflow_storage::catalog::Catalog;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Checks, Page, audit, limit, time};
use crate::auth::{As, Caller, Trader, Viewer};
use crate::body::{Body, Query};
use crate::context::Context;
use crate::jobs;
use crate::problem::{FieldProblem, Problem};

/// Jobs of a user that wait or run, at most.
const WAITING_MAX: i64 = 50;

/// A run to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBacktest {
    /// A name for people.
    #[serde(default)]
    #[schema(max_length = 100)]
    name: String,
    /// The run, with the same keys as a file for `tradeflow backtest` (`examples/sma_cross.toml` shows them all), but for
    /// `catalog` and `out`, which are the server's.
    #[schema(example = json!({
        "data": { "symbols": ["BTCUSD"], "interval": "1m" },
        "account": [{ "strategy": [{ "kind": "sma_cross", "params": { "fast": 10, "slow": 50 } }] }],
    }))]
    config: Map<String, Value>,
}

/// A job.
#[derive(Debug, Serialize, ToSchema, JsonSchema)]
pub(crate) struct JobView {
    /// Its id.
    job_id: String,
    /// Whose it is.
    user_id: String,
    /// `backtest`, `verify` or `fork`.
    kind: String,
    /// Its name.
    name: String,
    /// `queued`, `running`, `done`, `failed` or `cancelled`.
    status: String,
    /// How much of it is done, from 0 to 1.
    progress: f64,
    /// When it was asked for.
    created: String,
    /// When it began.
    started: Option<String>,
    /// When it ended.
    ended: Option<String>,
    /// Why it failed.
    error: Option<String>,
}

impl From<JobRow> for JobView {
    fn from(row: JobRow) -> Self {
        let at = |nanos| time(Timestamp::from_nanos(nanos));
        let share = row.progress as f64 / row.total.max(1) as f64;
        Self {
            job_id: row.id,
            user_id: row.user_id,
            kind: row.kind,
            name: row.name,
            progress: if row.status == "done" { 1.0 } else { share.clamp(0.0, 1.0) },
            status: row.status,
            created: at(row.created),
            started: row.started.map(at),
            ended: row.ended.map(at),
            error: row.error,
        }
    }
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichJobs {
    /// Of this status.
    status: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many at most: 1 to 500, 100 when it is not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Runs to be compared.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Compared {
    /// Their ids, with commas between; 1 to 20.
    #[param(example = "a,b")]
    ids: String,
}

/// A run beside others.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Comparison {
    /// Its job.
    job: JobView,
    /// Its summary; none before it is done.
    #[schema(value_type = Option<Object>)]
    summary: Option<Value>,
}

/// Run a strategy on history
///
/// What is wrong with it, or with its data, is told at once; then it waits for its turn.
#[utoipa::path(tag = "backtests", request_body = NewBacktest, security(("bearer" = ["trader"])),
    responses((status = 202, body = JobView)))]
#[post("/backtests")]
pub(crate) async fn submit(
    shared: Context,
    caller: As<Trader>,
    body: Body<NewBacktest>,
) -> Result<HttpResponse, Problem> {
    let NewBacktest { name, config } = body.0;
    Checks::new()
        .text("name", &name, 0, 100)
        .that(!config.contains_key("catalog"), "config.catalog", "is the server's")
        .that(!config.contains_key("out"), "config.out", "is the server's")
        .done()?;
    let text = toml::to_string(&config)
        .map_err(|error| Problem::field("config", format!("can't be written as TOML: {error}")))?;
    let run = read(&text)?;
    let catalog = shared.jobs.catalog.clone();
    // Files are looked at.
    let planned = web::block(move || {
        let catalog = Catalog::open(&catalog).map_err(|error| error.to_string())?;
        planning::plan(&run, &catalog).map(|planned| planned.rows).map_err(|error| error.to_string())
    });
    let rows = planned.await.map_err(|_| Problem::unavailable("the server is stopping"))?;
    let rows = rows.map_err(|why| Problem::field("config", why))?;
    let job = add(&shared, &caller, "backtest", name, text, rows as i64).await?;
    audit(&shared, &caller, "backtests.submit", &job.job_id, "done").await;
    Ok(HttpResponse::Accepted().json(job))
}

/// Queues a job whose request is JSON.
pub(crate) async fn queue(
    shared: &Context,
    caller: &Caller,
    kind: &str,
    name: String,
    request: &impl Serialize,
    total: i64,
) -> Result<JobView, Problem> {
    let request = serde_json::to_string(request).map_err(|_| Problem::internal())?;
    add(shared, caller, kind, name, request, total).await
}

/// Queues a job.
async fn add(
    shared: &Context,
    caller: &Caller,
    kind: &str,
    name: String,
    request: String,
    total: i64,
) -> Result<JobView, Problem> {
    let row = JobRow {
        id: Uuid::now_v7().to_string(),
        user_id: caller.id().to_owned(),
        kind: kind.to_owned(),
        name,
        request,
        status: "queued".to_owned(),
        created: shared.now().as_nanos(),
        started: None,
        ended: None,
        progress: 0,
        total,
        node: None,
        lease: 0,
        error: None,
        result: None,
    };
    if !shared.state.add_job(&row, WAITING_MAX).await? {
        return Err(Problem::conflict("too-many", format!("{WAITING_MAX} of your jobs wait or run already")));
    }
    jobs::told(shared, &row.id).await;
    Ok(JobView::from(row))
}

fn read(text: &str) -> Result<RunConfig, Problem> {
    from_toml("config", text).map_err(|problems| {
        let errors = problems.0.into_iter().map(|problem| FieldProblem {
            field: "config".to_owned(),
            why: match problem.place {
                // Lines are of a text that its sender does not know.
                Place::Line { .. } | Place::Default => problem.what,
                place => format!("{place}{}", problem.what),
            },
        });
        Problem::fields(errors.collect())
    })
}

/// Backtests and other jobs, the newest first
///
/// One's own; managers and administrators see all.
#[utoipa::path(tag = "backtests", params(WhichJobs), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Page<JobView>)))]
#[get("/backtests")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Viewer>,
    which: Query<WhichJobs>,
) -> Result<HttpResponse, Problem> {
    let WhichJobs { status, cursor, limit: count } = which.0;
    let most = limit(count)?;
    let mine = (caller.identity.user.role < Role::Manager).then(|| caller.id());
    let rows = shared.state.jobs(mine, status.as_deref(), cursor.as_deref(), most + 1).await?;
    Ok(HttpResponse::Ok().json(Page::of(rows, most, |row| row.id.clone()).map(JobView::from)))
}

/// Backtests side by side
#[utoipa::path(tag = "backtests", params(Compared), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Vec<Comparison>)))]
#[get("/backtests/compare")]
pub(crate) async fn compare(
    shared: Context,
    caller: As<Viewer>,
    which: Query<Compared>,
) -> Result<HttpResponse, Problem> {
    let ids: Vec<_> = which.0.ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    if !(1..=20).contains(&ids.len()) {
        return Err(Problem::field("ids", "takes 1 to 20 ids, with commas between"));
    }
    let mut compared = Vec::new();
    for id in ids {
        let mut row = job_of(&shared, &caller, id).await?;
        let found = row.result.take().and_then(|text| serde_json::from_str(&text).ok());
        compared.push(Comparison { job: row.into(), summary: found });
    }
    Ok(HttpResponse::Ok().json(compared))
}

/// A backtest or another job
#[utoipa::path(tag = "backtests", params(("job_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = JobView)))]
#[get("/backtests/{job_id}")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(JobView::from(job_of(&shared, &caller, &id).await?)))
}

/// What came of a backtest or another job
///
/// Of a backtest the same as `summary.json` of its folder, of a session's proof the verdict, of a fork the comparison. 409 with code `not-done` before its end.
#[utoipa::path(tag = "backtests", params(("job_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Object)))]
#[get("/backtests/{job_id}/summary")]
pub(crate) async fn summary(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let row = job_of(&shared, &caller, &id).await?;
    let result = row.result.ok_or_else(|| Problem::conflict("not-done", format!("it is {}", row.status)))?;
    Ok(HttpResponse::Ok().content_type("application/json").body(result))
}

/// Cancel a backtest or another job
///
/// 409 with code `ended` when it has ended.
#[utoipa::path(tag = "backtests", params(("job_id" = String, Path, description = "Its id")),
    security(("bearer" = ["trader"])), responses((status = 200, body = JobView)))]
#[delete("/backtests/{job_id}")]
pub(crate) async fn cancel(
    shared: Context,
    caller: As<Trader>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let row = job_of(&shared, &caller, &id).await?;
    if !shared.state.cancel_job(shared.now(), &row.id).await? {
        return Err(Problem::conflict("ended", format!("it is {}", row.status)));
    }
    audit(&shared, &caller, "backtests.cancel", &row.id, "done").await;
    jobs::told(&shared, &row.id).await;
    Ok(HttpResponse::Ok().json(JobView::from(shared.state.job(&row.id).await?)))
}

/// A job that the caller may see; others are as if they were not there.
pub(crate) async fn job_of(shared: &Context, caller: &Caller, id: &str) -> Result<JobRow, Problem> {
    let row = shared.state.job(id).await?;
    match row.user_id == caller.id() || caller.identity.user.role >= Role::Manager {
        true => Ok(row),
        false => Err(Problem::missing("job")),
    }
}
