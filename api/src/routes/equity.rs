//! `equity`: what an account was worth.

use actix_web::{HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_state::trading::EquityRow;
use utoipa::{IntoParams, ToSchema};

use super::listing::instant;
use super::{account_of, time};
use crate::auth::{As, Viewer};
use crate::body::Query;
use crate::context::Context;
use crate::curve;
use crate::problem::Problem;

/// A point of an equity curve.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EquityPoint {
    /// When.
    time: String,
    /// Cash then.
    cash: String,
    /// Cash and positions at their marks.
    equity: String,
}

impl From<&EquityRow> for EquityPoint {
    fn from(row: &EquityRow) -> Self {
        Self { time: time(Timestamp::from_nanos(row.ts)), cash: row.cash.clone(), equity: row.equity.clone() }
    }
}

/// Which part of the curve.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// From this time on, as UTC in RFC 3339.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// How many points at most: 4 to 10,000, 1,000 when it is not given. First, last, highest and lowest points stay.
    #[param(minimum = 4, maximum = 10000)]
    points: Option<usize>,
}

/// Equity of an account over time
///
/// A point for each minute in which something changed.
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "The account's name"), Part),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<EquityPoint>)))]
#[get("/accounts/{account}/equity")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    account: web::Path<String>,
    part: Query<Part>,
) -> Result<HttpResponse, Problem> {
    account_of(&shared, &caller, &account).await?;
    let Part { from, to, points } = part.0;
    let points = points.unwrap_or(1000);
    if !(4..=10_000).contains(&points) {
        return Err(Problem::field("points", "takes 4 to 10000"));
    }
    let (from, to) = (instant("from", from.as_deref())?, instant("to", to.as_deref())?);
    let rows = shared.state.equity(&account, from, to).await?;
    let heights: Vec<f64> = rows.iter().map(|row| row.equity.parse().unwrap_or(0.0)).collect();
    let kept: Vec<_> =
        curve::thin(&heights, points).into_iter().map(|at| EquityPoint::from(&rows[at])).collect();
    Ok(HttpResponse::Ok().json(kept))
}
