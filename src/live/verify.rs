//! `tradeflow verify`: replays a recorded session from its journal and compares every order, fill and balance.

use std::process::ExitCode;

use tradeflow_live::verify::{AccountVerdict, Verified, verify};

use super::StoredPlace;

/// Proves that a session did what its journal leads to: replays it and compares every order, fill and balance.
///
/// Exits with 0 when all is equal, with 1 when something differs; the first difference is shown with its cause.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session: its id, the beginning of it, or `last`
    session: String,
    #[command(flatten)]
    place: StoredPlace,
    /// Print JSON on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no such session, or its data can't be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let opened = args.place.open()?;
    let session = super::find_session(&opened.sources, &args.session)?;
    let verified = verify(&opened.sources, &session)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&verified)?);
    } else {
        show(&verified);
    }
    Ok(if verified.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(verified: &Verified) {
    let state = if verified.closed { "" } else { ", which was not ended: compared as far as it got" };
    println!("session {}{state}", verified.session);
    println!("{} inputs, {} orders, {} fills", verified.inputs, verified.orders, verified.fills);
    for account in &verified.accounts {
        show_account(account);
    }
    match (verified.equal, &verified.digest_replay) {
        (true, Some(digest)) => println!("equal: live and replay both have digest {digest}"),
        (true, None) => println!("equal; there was no checkpoint yet, so there is no digest"),
        (false, _) => println!("NOT EQUAL"),
    }
}

fn show_account(account: &AccountVerdict) {
    println!(
        "  {}: {} orders, {} fills, cash {}, equity {}; {} records and {} checkpoints compared",
        account.account,
        account.orders,
        account.fills,
        account.cash,
        account.equity,
        account.compared,
        account.checkpoints
    );
    if let Some(difference) = &account.difference {
        let text = |value: &Option<serde_json::Value>| {
            value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string)
        };
        println!("    first difference, in {}:", difference.place);
        println!("      live:   {}", text(&difference.live));
        println!("      replay: {}", text(&difference.replay));
        println!("      cause:  {}", difference.cause);
    }
}
