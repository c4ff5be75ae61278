//! `tradeflow fork`: a session from some instant on with other parameters, against what really happened.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Map, Value};
use tradeflow_api::replays::{ForkRequest, fork};
use tradeflow_model::Timestamp;

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
    let forking = args.request()?.check(&plan).map_err(|problem| anyhow::anyhow!("--{problem}"))?;
    let out = args.out.clone().unwrap_or_else(|| opened.config.data_folder().join("results"));
    let report = fork(&opened.sources, &plan, &forking, &out, |_| ControlFlow::Continue(()))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    let shown = |params: &Map<String, Value>| Value::Object(params.clone()).to_string();
    println!("session {}, account {}", report.session, report.account);
    println!(
        "from {} on {} with {} instead of {}",
        report.at,
        report.strategy,
        shown(&report.after.params),
        shown(&report.before.params)
    );
    let happened = &report.happened;
    println!(
        "what happened: equity {}, {} orders, {} fills, fees {}",
        happened.equity, happened.orders, happened.fills, happened.fees
    );
    let text = serde_json::to_value(&report.forked)?;
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

impl Args {
    fn request(&self) -> anyhow::Result<ForkRequest> {
        let mut set = Map::new();
        for pair in &self.set {
            let (name, value) =
                pair.split_once('=').with_context(|| format!("--set {pair}: must be name=value"))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
            set.insert(name.trim().to_owned(), value);
        }
        let (account, strategy, kind) = (self.account.clone(), self.strategy.clone(), self.kind.clone());
        Ok(ForkRequest { at: self.at, account, strategy, kind, set })
    }
}
