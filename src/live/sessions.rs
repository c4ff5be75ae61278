//! `tradeflow sessions`: what ran on paper or live, and when.

use std::process::ExitCode;

use comfy_table::{Table, presets::NOTHING};
use serde_json::json;
use tradeflow_live::{SessionState, node};

use super::StoredPlace;

/// Lists the sessions of a node.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: StoredPlace,
    /// Print JSON on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no node's state, or it is in use.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let opened = args.place.open()?;
    let known = node::sessions(opened.sources.bus.as_ref(), &opened.sources.topics)?;
    if args.json {
        let sessions: Vec<_> = known
            .iter()
            .map(|session| {
                let accounts: Vec<&String> = session.journal_from.keys().collect();
                json!({
                    "session": session.id,
                    "state": session.state,
                    "started": session.started.to_string(),
                    "ended": session.ended.map(|ended| ended.to_string()),
                    "engine": session.engine,
                    "accounts": accounts,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&sessions)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["session", "state", "started", "ended", "engine", "accounts"]);
    for session in &known {
        let state = match session.state {
            SessionState::Open => "open",
            SessionState::Closed => "closed",
        };
        table.add_row([
            session.id.clone(),
            state.to_owned(),
            session.started.to_string(),
            session.ended.map_or_else(|| "-".to_owned(), |ended| ended.to_string()),
            session.engine.clone(),
            session.journal_from.keys().cloned().collect::<Vec<_>>().join(", "),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}
