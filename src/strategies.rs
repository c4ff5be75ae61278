//! `tradeflow strategies`: the strategies and their parameters.

use std::process::ExitCode;

use serde_json::{Value, json};
use tradeflow_actors::strategy::{StrategyKind, kind_of, registry};

/// Lists the strategies and their parameters.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tradeflow strategies\n  tradeflow strategies sma_cross --json")]
pub struct Args {
    /// Only this strategy.
    name: Option<String>,
    /// As JSON, with the JSON schema of the parameters.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no such strategy.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let kinds: Vec<&StrategyKind> = match &args.name {
        Some(name) => vec![kind_of(name).map_err(anyhow::Error::msg)?],
        None => registry().iter().collect(),
    };
    if args.json {
        let kinds: Vec<Value> = kinds
            .iter()
            .map(|kind| {
                let schema = (kind.schema)();
                json!({ "name": kind.name, "version": kind.version, "summary": kind.summary, "params": schema })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&kinds)?);
        return Ok(ExitCode::SUCCESS);
    }
    for kind in kinds {
        println!("{} (version {}): {}", kind.name, kind.version, kind.summary);
        let schema = (kind.schema)();
        let defaults = kind.resolve(&serde_json::Map::new()).unwrap_or_default();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let text =
                property.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
            let bound = |key| property.get(key).map(Value::to_string);
            let range = match (bound("minimum"), bound("maximum")) {
                (Some(low), Some(high)) => format!(", {low} to {high}"),
                _ => String::new(),
            };
            println!("  {name:<16} {text} [default {}{range}]", defaults[name]);
        }
    }
    Ok(ExitCode::SUCCESS)
}
