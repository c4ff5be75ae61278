//! What can be asked of a session that was recorded: that it is proven, and what would have been with another strategy.
//! The command line and the jobs of the server do both with what is here.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradeflow_actors::strategy::kind_of;
use tradeflow_backtest::dataflow::Outcome;
use tradeflow_backtest::results::Summary;
use tradeflow_backtest::run::{RunError, with_results};
use tradeflow_backtest::shard::{CellFinal, ShardOutput};
use tradeflow_live::fork::{Fork, replay};
use tradeflow_live::host::Sources;
use tradeflow_live::{LiveError, SessionPlan};
use tradeflow_model::Timestamp;
use tradeflow_model::plan::{CellPlan, RunPlan, StrategyPlan};

/// What is to be different in a fork, and from when on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkRequest {
    /// From when on.
    pub at: Timestamp,
    /// The account; need not be given where there is one alone.
    pub account: Option<String>,
    /// The strategy's id; need not be given where there is one alone.
    pub strategy: Option<String>,
    /// Another kind of strategy in its place; its parameters begin with their defaults.
    pub kind: Option<String>,
    /// Parameters that are to be different.
    pub set: Map<String, Value>,
}

/// What does not fit in a fork's request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct ForkProblem {
    /// `account`, `strategy`, `kind` or `set`.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// A fork's request, checked against the plan of its session.
#[derive(Debug, Clone)]
pub struct Forking {
    /// The index of the account's cell.
    pub cell: usize,
    /// The strategy as it was.
    pub before: StrategyPlan,
    /// From when on it is another, and which.
    pub fork: Fork,
}

/// What came of a fork.
#[derive(Debug, Clone, Serialize)]
pub struct ForkReport {
    /// The session.
    pub session: String,
    /// The account.
    pub account: String,
    /// The strategy's id.
    pub strategy: String,
    /// From when on.
    pub at: String,
    /// The strategy as it was.
    pub before: StrategyOf,
    /// The strategy as it would have been.
    pub after: StrategyOf,
    /// What happened.
    pub happened: Happened,
    /// What would have: the summary of the results that were written.
    pub forked: Summary,
}

/// A kind of strategy with its parameters.
#[derive(Debug, Clone, Serialize)]
pub struct StrategyOf {
    /// The kind.
    pub kind: String,
    /// The parameters.
    pub params: Map<String, Value>,
}

/// What happened in a session.
#[derive(Debug, Clone, Serialize)]
pub struct Happened {
    /// Equity at the end, exact.
    pub equity: String,
    /// Orders.
    pub orders: u64,
    /// Fills.
    pub fills: u64,
    /// Round trips.
    pub trades: u64,
    /// Fees, exact.
    pub fees: String,
}

impl ForkRequest {
    /// Checks it against the plan of a session.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, plan: &SessionPlan) -> Result<Forking, ForkProblem> {
        let cell = self.cell(plan)?;
        let before = self.before(plan, cell)?;
        let strategy = self.after(before)?;
        Ok(Forking { cell, before: before.clone(), fork: Fork { at: self.at, strategy } })
    }

    fn cell(&self, plan: &SessionPlan) -> Result<usize, ForkProblem> {
        let problem = |why| ForkProblem { field: "account", why };
        let names: Vec<&str> = plan.run.cells.iter().map(|cell| cell.account.id.as_str()).collect();
        let all = names.join(", ");
        match (&self.account, names.as_slice()) {
            (Some(wanted), _) => plan
                .cell_of(wanted)
                .ok_or_else(|| problem(format!("the session has no account {wanted}; it has {all}"))),
            (None, [_]) => Ok(0),
            (None, _) => Err(problem(format!("the session has the accounts {all}: name one"))),
        }
    }

    fn before<'a>(&self, plan: &'a SessionPlan, cell: usize) -> Result<&'a StrategyPlan, ForkProblem> {
        let problem = |why| ForkProblem { field: "strategy", why };
        let strategies = &plan.accounts[cell].strategies;
        let all = strategies.iter().map(|strategy| strategy.id.as_str()).collect::<Vec<_>>().join(", ");
        match (&self.strategy, strategies.as_slice()) {
            (Some(wanted), _) => strategies
                .iter()
                .find(|strategy| strategy.id == *wanted)
                .ok_or_else(|| problem(format!("the account has no strategy {wanted}; it has {all}"))),
            (None, [only]) => Ok(only),
            (None, _) => Err(problem(format!("the account has the strategies {all}: name one"))),
        }
    }

    /// The strategy with other parameters, all checked.
    fn after(&self, before: &StrategyPlan) -> Result<StrategyPlan, ForkProblem> {
        let of_kind = |why| ForkProblem { field: "kind", why };
        let of_set = |why| ForkProblem { field: "set", why };
        let name = self.kind.as_deref().unwrap_or(&before.kind);
        let kind = kind_of(name).map_err(of_kind)?;
        let same = name == before.kind;
        if same && self.set.is_empty() {
            return Err(of_set(
                "nothing would be different: name a parameter, or another kind of strategy".to_owned(),
            ));
        }
        let mut params = before.params.as_object().filter(|_| same).cloned().unwrap_or_default();
        params.extend(self.set.clone());
        let params = kind.resolve(&params).map_err(|errors| {
            let texts: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.param, e.why)).collect();
            of_set(texts.join("; "))
        })?;
        let needs = kind.needs(&params).map_err(of_set)?;
        if needs.series.len() != before.series.len() {
            let why = format!(
                "{name} needs {} series, {} had {}",
                needs.series.len(),
                before.id,
                before.series.len()
            );
            return Err(of_kind(why));
        }
        Ok(StrategyPlan {
            kind: kind.name.to_owned(),
            version: kind.version.to_owned(),
            params,
            warm_up_bars: needs.warm_up,
            ..before.clone()
        })
    }
}

/// Replays a session as it was and as it would have been, and writes results under `out` as a backtest does. `watch` is told
/// how much of a thousand is done, and may stop it.
///
/// # Errors
/// When the session can't be read, the strategy can't be started, results can't be written, or `watch` stops it.
pub fn fork(
    sources: &Sources,
    plan: &Arc<SessionPlan>,
    forking: &Forking,
    out: &Path,
    mut watch: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<ForkReport, RunError> {
    let Forking { cell, before, fork } = forking;
    let cell = *cell;
    let failed = |error: LiveError| RunError::Results(error.to_string());
    let happened = replay(sources, plan, cell, None, |done| watch(done / 2), |_| Ok(())).map_err(failed)?;
    let end = happened.cell().paper().now();
    let results = Arc::new(results_plan(plan, cell, &fork.strategy, end));
    let summary = with_results(&results, &format!("session {}", plan.id), out, |sink| {
        let take = |output| sink(0, vec![ShardOutput::Batch(Box::new(output))]);
        let host =
            replay(sources, plan, cell, Some(fork), |done| watch(500 + done / 2), take).map_err(failed)?;
        let last = CellFinal::of(host.cell().paper());
        sink(0, vec![ShardOutput::Final(Box::new(last))]).map_err(RunError::Results)?;
        Ok((Outcome { batches: 0, rows: host.cell().events(), stopped: false }, None))
    })?;
    let happened = CellFinal::of(happened.cell().paper());
    let strategy = |of: &StrategyPlan| StrategyOf {
        kind: of.kind.clone(),
        params: of.params.as_object().cloned().unwrap_or_default(),
    };
    Ok(ForkReport {
        session: plan.id.clone(),
        account: plan.run.cells[cell].account.id.to_string(),
        strategy: fork.strategy.id.clone(),
        at: fork.at.to_string(),
        before: strategy(before),
        after: strategy(&fork.strategy),
        happened: Happened {
            equity: happened.equity.to_string(),
            orders: happened.counters.orders,
            fills: happened.counters.fills,
            trades: happened.counters.trades,
            fees: happened.fees.to_string(),
        },
        forked: summary,
    })
}

/// The plan that the results are of: one account, with the strategy as it would have been.
fn results_plan(plan: &SessionPlan, cell: usize, strategy: &StrategyPlan, end: Timestamp) -> RunPlan {
    let mut strategies = plan.accounts[cell].strategies.clone();
    match strategies.iter_mut().find(|known| known.id == strategy.id) {
        Some(known) => *known = strategy.clone(),
        None => strategies.push(strategy.clone()),
    }
    let account = CellPlan { strategies, ..plan.run.cells[cell].clone() };
    RunPlan { cells: vec![account], to: end.saturating_add(1), ..plan.run.clone() }
}
