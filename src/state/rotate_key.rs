//! `tradeflow state rotate-key`: secrets, sealed anew.

use std::process::ExitCode;

use anyhow::bail;
use tradeflow_state::{KeyRing, State};

use crate::live::StoredPlace;

/// Seals all secrets (credentials of brokers, secrets of authenticators) anew with the first key, in one transaction.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: StoredPlace,
    /// Make a new key first, and put it before those in the file. A node that runs knows it after its next start
    #[arg(long)]
    new: bool,
}

/// Runs the command.
///
/// # Errors
/// When keys or database can't be opened, or a secret does not open: then all are as they were.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.place.config()?;
    let data = config.data_folder();
    let path = config.state.keys_path(&data);
    let keys = match (args.new, &config.state.key) {
        (true, Some(_)) => {
            bail!("the keys are given by state.key, and not by a file: put a new one before them there")
        }
        (true, None) => KeyRing::add_to(&path)?,
        (false, Some(_)) => config.state.keys(&data)?,
        (false, None) => KeyRing::read(&path)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let state = runtime.block_on(State::open(&config.state.url(&data)))?;
    let changed = runtime.block_on(state.reseal(&keys))?;
    let ids: Vec<_> = keys.ids().collect();
    println!("sealed {changed} secrets anew with the key {}", ids[0]);
    if ids.len() > 1 {
        println!("no longer needed here, but for older copies of the database: {}", ids[1..].join(", "));
    }
    Ok(ExitCode::SUCCESS)
}
