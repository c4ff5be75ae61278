//! What came of backtests: the tables of one, and questions over all of them.

use std::path::Path;

use actix_web::{HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use tradeflow_results::{GroupBy, GroupQuery, Metric, ResultsError, RowQuery, RunFilter, RunQuery, SortKey};
use utoipa::{IntoParams, ToSchema};

use super::backtests::job_of;
use super::limit;
use crate::auth::{As, Caller, Manager, Viewer};
use crate::body::Query;
use crate::context::Context;
use crate::problem::Problem;

impl From<ResultsError> for Problem {
    fn from(error: ResultsError) -> Self {
        match error {
            ResultsError::Missing(_) => Self::missing("run"),
            ResultsError::Query(why) => Self::field("query", why),
            ResultsError::Unavailable { ref reason, .. } => {
                tracing::warn!(%error, "results");
                Self::unavailable(format!("the results are in ClickHouse, which does not answer: {reason}"))
            }
            ResultsError::Server { .. } => {
                tracing::error!(%error, "results");
                Self::unavailable(
                    "the results are in ClickHouse, which refused the question; the log tells why",
                )
            }
            error => {
                tracing::error!(%error, "results");
                Self::internal()
            }
        }
    }
}

/// A page of rows, of which the fields are those of the result's table.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rows {
    /// The rows. Amounts are decimals as text, times UTC in RFC 3339.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<serde_json::Value>,
    /// Give it as `cursor` for the next page; none on the last.
    next: Option<String>,
}

fn rows<T: Serialize>(rows: Vec<T>, next: Option<String>) -> Result<HttpResponse, Problem> {
    let rows = rows.into_iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    let rows = rows.map_err(|_| Problem::internal())?;
    Ok(HttpResponse::Ok().json(Rows { rows, next }))
}

/// Which part of a curve.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichCurve {
    /// Of this account; needed where the run has several.
    account: Option<String>,
    /// How many points at most: 4 to 10,000, 1,000 when it is not given. No extreme is lost.
    #[param(minimum = 4, maximum = 10000)]
    points: Option<usize>,
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichRows {
    /// Of this account.
    account: Option<String>,
    /// Of this symbol.
    symbol: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many at most: 1 to 500, 100 when it is not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

impl WhichRows {
    fn query(self) -> Result<RowQuery, Problem> {
        let limit = limit(self.limit)? as usize;
        Ok(RowQuery { account: self.account, symbol: self.symbol, limit, cursor: self.cursor })
    }
}

/// The name of a job's run.
pub(crate) async fn run_of(shared: &Context, caller: &Caller, id: &str) -> Result<String, Problem> {
    let row = job_of(shared, caller, id).await?;
    let status = row.status;
    let result = row.result.ok_or_else(|| Problem::conflict("not-done", format!("it is {status}")))?;
    let summary: serde_json::Value = serde_json::from_str(&result).map_err(|_| Problem::internal())?;
    let place = summary["results"].as_str().or(summary["forked"]["results"].as_str());
    let name = place.and_then(|place| Path::new(place).file_name()?.to_str().map(str::to_owned));
    name.ok_or_else(|| Problem::conflict("no-tables", "a session's proof has no tables"))
}

/// What is wrong with a question about the run of a job that is done.
fn of_job(shared: &Context, error: ResultsError) -> Problem {
    match error {
        ResultsError::Missing(_) if shared.jobs.clickhouse.is_some() => Problem::unavailable(
            "the run is not in ClickHouse: it waits to be uploaded, or is set aside; /health tells",
        ),
        error => error.into(),
    }
}

/// The equity curve of a backtest
#[utoipa::path(tag = "backtests", params(("job_id" = String, Path, description = "Its id"), WhichCurve),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Rows)))]
#[get("/backtests/{job_id}/equity")]
pub(crate) async fn equity(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
    which: Query<WhichCurve>,
) -> Result<HttpResponse, Problem> {
    let WhichCurve { account, points } = which.0;
    let points = points.unwrap_or(1000);
    if !(4..=10_000).contains(&points) {
        return Err(Problem::field("points", "takes 4 to 10000"));
    }
    let run = run_of(&shared, &caller, &id).await?;
    let curve = shared.runs.equity(&run, account.as_deref(), Some(points)).await;
    rows(curve.map_err(|error| of_job(&shared, error))?, None)
}

/// The orders of a backtest
#[utoipa::path(tag = "backtests", params(("job_id" = String, Path, description = "Its id"), WhichRows),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Rows)))]
#[get("/backtests/{job_id}/orders")]
pub(crate) async fn orders(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
    which: Query<WhichRows>,
) -> Result<HttpResponse, Problem> {
    let wanted = which.0.query()?;
    let run = run_of(&shared, &caller, &id).await?;
    let page = shared.runs.orders(&run, &wanted).await.map_err(|error| of_job(&shared, error))?;
    rows(page.rows, page.next)
}

/// The fills of a backtest
#[utoipa::path(tag = "backtests", params(("job_id" = String, Path, description = "Its id"), WhichRows),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Rows)))]
#[get("/backtests/{job_id}/fills")]
pub(crate) async fn fills(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
    which: Query<WhichRows>,
) -> Result<HttpResponse, Problem> {
    let wanted = which.0.query()?;
    let run = run_of(&shared, &caller, &id).await?;
    let page = shared.runs.fills(&run, &wanted).await.map_err(|error| of_job(&shared, error))?;
    rows(page.rows, page.next)
}

/// The trades of a backtest
#[utoipa::path(tag = "backtests", params(("job_id" = String, Path, description = "Its id"), WhichRows),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Rows)))]
#[get("/backtests/{job_id}/trades")]
pub(crate) async fn trades(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
    which: Query<WhichRows>,
) -> Result<HttpResponse, Problem> {
    let wanted = which.0.query()?;
    let run = run_of(&shared, &caller, &id).await?;
    let page = shared.runs.trades(&run, &wanted).await.map_err(|error| of_job(&shared, error))?;
    rows(page.rows, page.next)
}

/// Which runs, and in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichRuns {
    /// That traded this symbol.
    symbol: Option<String>,
    /// With a strategy of this kind.
    strategy: Option<String>,
    /// With these values of parameters, with commas between: `fast=10,slow=50`.
    params: Option<String>,
    /// The best first by `sharpe`, `sortino`, `total_return`, `cagr`, `volatility`, `max_drawdown`, `win_rate`, `profit_factor`
    /// or `trades`; the newest first when it is not given.
    sort: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many at most: 1 to 500, 100 when it is not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Which groups.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichGroups {
    /// `symbol`, `strategy`, or the name of a parameter.
    by: String,
    /// What is compared, as in `sort` of `/runs`; `sharpe` when it is not given.
    metric: Option<String>,
    /// Of runs that traded this symbol.
    symbol: Option<String>,
    /// Of runs with a strategy of this kind.
    strategy: Option<String>,
    /// Of runs with these values of parameters, with commas between.
    params: Option<String>,
}

fn filter(
    symbol: Option<String>,
    strategy: Option<String>,
    params: Option<&str>,
) -> Result<RunFilter, Problem> {
    let pairs = params.unwrap_or_default().split(',').filter(|pair| !pair.is_empty());
    let read = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    });
    let params = read.collect::<Option<Vec<_>>>();
    let params = params.ok_or_else(|| Problem::field("params", "takes fast=10,slow=50"))?;
    Ok(RunFilter { symbol, strategy, params, ..RunFilter::default() })
}

fn metric(field: &str, text: &str) -> Result<Metric, Problem> {
    text.parse().map_err(|error: ResultsError| Problem::field(field, error.to_string()))
}

/// Runs of all users, the best first
#[utoipa::path(tag = "runs", params(WhichRuns), security(("bearer" = ["manager"])),
    responses((status = 200, body = Rows)))]
#[get("/runs")]
pub(crate) async fn runs(
    shared: Context,
    _: As<Manager>,
    which: Query<WhichRuns>,
) -> Result<HttpResponse, Problem> {
    let WhichRuns { symbol, strategy, params, sort, cursor, limit: count } = which.0;
    let sort = match sort.as_deref() {
        Some(sort) => SortKey::Best(metric("sort", sort)?),
        None => SortKey::Newest,
    };
    let filter = filter(symbol, strategy, params.as_deref())?;
    let wanted = RunQuery { filter, sort, limit: limit(count)? as usize, cursor };
    let page = shared.runs.runs(&wanted).await?;
    rows(page.rows, page.next)
}

/// How good runs were by symbol, strategy or a parameter
#[utoipa::path(tag = "runs", params(WhichGroups), security(("bearer" = ["manager"])),
    responses((status = 200, body = Rows)))]
#[get("/runs/groups")]
pub(crate) async fn groups(
    shared: Context,
    _: As<Manager>,
    which: Query<WhichGroups>,
) -> Result<HttpResponse, Problem> {
    let WhichGroups { by, metric: compared, symbol, strategy, params } = which.0;
    let by = match by.as_str() {
        "symbol" => GroupBy::Symbol,
        "strategy" => GroupBy::Strategy,
        _ => GroupBy::Param(by),
    };
    let metric = metric("metric", compared.as_deref().unwrap_or("sharpe"))?;
    let wanted = GroupQuery { filter: filter(symbol, strategy, params.as_deref())?, by, metric };
    rows(shared.runs.groups(&wanted).await?, None)
}
