//! `tradeflow fork`: a session from some instant on with other parameters, against what really happened.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use tradeflow_actors::strategy::kind_of;
use tradeflow_backtest::dataflow::Outcome;
use tradeflow_backtest::run::{RunError, with_results};
use tradeflow_backtest::shard::{CellFinal, ShardOutput};
use tradeflow_live::SessionPlan;
use tradeflow_live::fork::{Fork, replay};
use tradeflow_live::host::Sources;
use tradeflow_model::Timestamp;
use tradeflow_model::plan::{CellPlan, RunPlan, StrategyPlan};

use super::StoredPlace;

const EXAMPLES: &str = "\
Examples:
  tradeflow fork last --at 2026-11-21T12:00 --set fast=5 --set slow=20
  tradeflow fork last --at 2026-11-21T12:00 --account paper --strategy sma --kind ema_cross --json";

/// Replays a session with other parameters, or another strategy, from some instant on, and compares with what happened.
///
/// The results go to a folder as those of a backtest do.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The session: its id, the beginning of it, or `last`
    session: String,
    /// From when on, such as 2026-11-21T12:00 (UTC)
    #[arg(long, value_name = "TIME")]
    at: Timestamp,
    /// A parameter of the strategy: name=value; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Another kind of strategy in its place; its parameters begin with their defaults
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// The strategy's id [default: the only one]
    #[arg(long, value_name = "ID")]
    strategy: Option<String>,
    /// The account [default: the only one]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    #[command(flatten)]
    place: StoredPlace,
    /// Folder under which the results go [default: results in the node's folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no such session, account, strategy or parameter, or the session can't be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let opened = args.place.open()?;
    let session = super::find_session(&opened.sources, &args.session)?;
    let plan = Arc::new(session.plan().map_err(anyhow::Error::msg)?);
    let cell = account(&plan, args.account.as_deref())?;
    let before = strategy(&plan, cell, args.strategy.as_deref())?;
    let after = changed(before, args.kind.as_deref(), &args.set)?;
    let fork = Fork { at: args.at, strategy: after.clone() };

    let happened = replay(&opened.sources, &plan, cell, None, |_| Ok(()))?;
    let out = args.out.clone().unwrap_or_else(|| opened.config.data_folder().join("results"));
    let end = happened.cell().paper().now();
    let results = Arc::new(results_plan(&plan, cell, &after, end));
    let summary = with_results(&results, &format!("session {}", plan.id), &out, |sink| {
        let events = drive(&opened.sources, &plan, cell, &fork, sink)?;
        Ok((Outcome { batches: 0, rows: events, stopped: false }, None))
    })?;

    let happened = CellFinal::of(happened.cell().paper());
    let text = serde_json::to_value(&summary)?;
    if args.json {
        let report = json!({
            "session": plan.id,
            "account": plan.run.cells[cell].account.id,
            "strategy": after.id,
            "at": args.at.to_string(),
            "before": {"kind": before.kind, "params": before.params},
            "after": {"kind": after.kind, "params": after.params},
            "happened": {
                "equity": happened.equity.to_string(),
                "orders": happened.counters.orders,
                "fills": happened.counters.fills,
                "trades": happened.counters.trades,
                "fees": happened.fees.to_string(),
            },
            "forked": text,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("session {}, account {}", plan.id, plan.run.cells[cell].account.id);
    println!("from {} on {} with {} instead of {}", args.at, after.id, after.params, before.params);
    println!(
        "what happened: equity {}, {} orders, {} fills, fees {}",
        happened.equity, happened.counters.orders, happened.counters.fills, happened.fees
    );
    let figure = |name: &str| text.get(name).map_or_else(String::new, ToString::to_string);
    println!(
        "what would have: equity {}, {} orders, {} fills",
        figure("final_equity"),
        figure("orders"),
        figure("fills")
    );
    println!("results: {}", figure("results").trim_matches('"'));
    Ok(ExitCode::SUCCESS)
}

fn drive(
    sources: &Sources,
    plan: &Arc<SessionPlan>,
    cell: usize,
    fork: &Fork,
    sink: tradeflow_backtest::run::Sink<'_>,
) -> Result<u64, RunError> {
    let host =
        replay(sources, plan, cell, Some(fork), |output| sink(0, vec![ShardOutput::Batch(Box::new(output))]));
    let host = host.map_err(|error| RunError::Results(error.to_string()))?;
    let last = CellFinal::of(host.cell().paper());
    sink(0, vec![ShardOutput::Final(Box::new(last))]).map_err(RunError::Results)?;
    Ok(host.cell().events())
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

fn account(plan: &SessionPlan, wanted: Option<&str>) -> anyhow::Result<usize> {
    let names: Vec<&str> = plan.run.cells.iter().map(|cell| cell.account.id.as_str()).collect();
    match (wanted, names.as_slice()) {
        (Some(wanted), _) => plan
            .cell_of(wanted)
            .with_context(|| format!("the session has no account {wanted}; it has {}", names.join(", "))),
        (None, [_]) => Ok(0),
        (None, _) => bail!("the session has the accounts {}: name one with --account", names.join(", ")),
    }
}

fn strategy<'a>(
    plan: &'a SessionPlan,
    cell: usize,
    wanted: Option<&str>,
) -> anyhow::Result<&'a StrategyPlan> {
    let strategies = &plan.accounts[cell].strategies;
    let ids: Vec<&str> = strategies.iter().map(|strategy| strategy.id.as_str()).collect();
    match (wanted, strategies.as_slice()) {
        (Some(wanted), _) => strategies
            .iter()
            .find(|strategy| strategy.id == wanted)
            .with_context(|| format!("the account has no strategy {wanted}; it has {}", ids.join(", "))),
        (None, [only]) => Ok(only),
        (None, _) => bail!("the account has the strategies {}: name one with --strategy", ids.join(", ")),
    }
}

/// The strategy with other parameters, all checked.
fn changed(before: &StrategyPlan, kind: Option<&str>, set: &[String]) -> anyhow::Result<StrategyPlan> {
    let name = kind.unwrap_or(&before.kind);
    let kind = kind_of(name).map_err(anyhow::Error::msg)?;
    let mut params = Map::new();
    if name == before.kind
        && let Some(known) = before.params.as_object()
    {
        params = known.clone();
    }
    for pair in set {
        let (name, value) =
            pair.split_once('=').with_context(|| format!("--set {pair}: must be name=value"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        params.insert(name.trim().to_owned(), value);
    }
    if name == before.kind && set.is_empty() {
        bail!("nothing would be different: name a parameter with --set, or another strategy with --kind");
    }
    let params = kind.resolve(&params).map_err(|errors| {
        let texts: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.param, e.why)).collect();
        anyhow::anyhow!("{}", texts.join("; "))
    })?;
    let needs = kind.needs(&params).map_err(anyhow::Error::msg)?;
    if needs.series.len() != before.series.len() {
        bail!("{name} needs {} series, {} had {}", needs.series.len(), before.id, before.series.len());
    }
    Ok(StrategyPlan {
        kind: kind.name.to_owned(),
        version: kind.version.to_owned(),
        params,
        warm_up_bars: needs.warm_up,
        ..before.clone()
    })
}
