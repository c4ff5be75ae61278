//! The strategies of an account: which there are, and how each was started over time.

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use serde_json::{Value, json};
use tradeflow_model::market::SeriesKind;
use tradeflow_model::plan::StrategyPlan;
use tradeflow_state::StrategyVersion;
use utoipa::ToSchema;

use super::super::{account_of, time};
use crate::auth::{As, Viewer};
use crate::context::Context;
use crate::problem::Problem;

/// A strategy of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountStrategy {
    /// Its id.
    id: String,
    /// Its kind.
    kind: String,
    /// Whether it runs.
    running: bool,
    /// Stopped for good after its failures, until someone starts it again.
    quarantined: bool,
    /// How often it failed.
    failures: u32,
    /// How it was started last; none where that was before versions were kept.
    version: Option<StrategyVersionView>,
}

/// How a strategy was started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StrategyVersionView {
    /// Its number, from 1.
    version: u32,
    /// When it was started so first.
    created: String,
    /// By whom, by his id; none for the node's configuration.
    user_id: Option<String>,
    /// Kind, version of the kind, parameters, symbols, data and size.
    #[schema(value_type = Object)]
    strategy: Value,
}

impl From<StrategyVersion> for StrategyVersionView {
    fn from(row: StrategyVersion) -> Self {
        Self {
            version: row.version,
            created: time(row.created),
            user_id: row.user,
            strategy: serde_json::from_str(&row.request).unwrap_or_default(),
        }
    }
}

/// Strategies of an account
///
/// Those that run or ran in this session. What each made: `/trades/statistics?by=strategy`.
#[utoipa::path(tag = "strategies", params(("account" = String, Path, description = "The account's name")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<AccountStrategy>)))]
#[get("/accounts/{account}/strategies")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Viewer>,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    account_of(&shared, &caller, &account).await?;
    let mut known = shared.state.strategy_versions(&account, None).await?;
    let running = shared.node.shown_cell(&account).map(|cell| cell.view.strategies).unwrap_or_default();
    let strategies: Vec<_> = running
        .into_iter()
        .map(|strategy| {
            // The first is the newest.
            let last = known.iter().position(|version| version.strategy == strategy.id);
            AccountStrategy {
                version: last.map(|last| known.remove(last).into()),
                id: strategy.id,
                kind: strategy.kind,
                running: strategy.running,
                quarantined: strategy.quarantined,
                failures: strategy.failures,
            }
        })
        .collect();
    Ok(HttpResponse::Ok().json(strategies))
}

/// Versions of a strategy of an account, the newest first
///
/// Each time that it was started otherwise than before is one. To go back, start it with what stands in an older one.
#[utoipa::path(tag = "strategies",
    params(("account" = String, Path, description = "The account's name"),
        ("strategy_id" = String, Path, description = "Its id within the account")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<StrategyVersionView>)))]
#[get("/accounts/{account}/strategies/{strategy_id}/versions")]
pub(crate) async fn versions(
    shared: Context,
    caller: As<Viewer>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (account, strategy) = path.into_inner();
    account_of(&shared, &caller, &account).await?;
    let found = shared.state.strategy_versions(&account, Some(&strategy)).await?;
    if found.is_empty() {
        return Err(Problem::missing("strategy"));
    }
    Ok(HttpResponse::Ok().json(found.into_iter().map(StrategyVersionView::from).collect::<Vec<_>>()))
}

/// Keeps how a strategy was started. That it was, stands in the journal, whether it can be kept here or not.
pub(crate) async fn note(shared: &Context, account: &str, strategy: &StrategyPlan, user: Option<&str>) {
    let plan = shared.plan();
    let of = |index: usize| &plan.run.series[strategy.series[index].index()];
    let mut symbols: Vec<String> = Vec::new();
    for index in 0..strategy.series.len() {
        let symbol = plan.symbol(of(index).instrument).to_string();
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    let data = match strategy.series.first().map(|_| of(0).kind) {
        Some(SeriesKind::Bars { interval, .. }) => interval.to_string(),
        Some(SeriesKind::Quotes) => "quotes".to_owned(),
        _ => "trades".to_owned(),
    };
    let request = json!({
        "kind": strategy.kind, "kind_version": strategy.version, "params": strategy.params,
        "symbols": symbols, "data": data, "size": strategy.size.to_string(),
    });
    let (now, request) = (shared.now(), request.to_string());
    let kept = shared.state.add_strategy_version(now, account, &strategy.id, &request, user).await;
    if let Err(error) = kept {
        tracing::warn!(%error, account, strategy = strategy.id, "the version of a strategy was not kept");
    }
}

/// Keeps how the strategies of the configuration were started.
pub(crate) async fn note_configured(shared: &Context) {
    let plan = shared.plan();
    for cell in plan.open_cells() {
        for strategy in &plan.accounts[cell].strategies {
            note(shared, plan.run.cells[cell].account.id.as_str(), strategy, None).await;
        }
    }
}
