//! `tradeflow state rebuild`: the read models, made anew.

use std::process::ExitCode;

use tradeflow_api::projector;
use tradeflow_state::State;

use crate::live::StoredPlace;
use crate::live::place::origin;

/// Empties the tables of orders, fills, positions, trades and equity, and reads them anew from the bus. Users, watchlists, tags
/// and notes stay.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: StoredPlace,
}

/// Runs the command.
///
/// # Errors
/// When bus or database can't be opened, read or written; it can be run again.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let opened = args.place.open()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let state = runtime.block_on(State::open(&opened.config.state.url(&opened.config.data_folder())))?;
    let mut poison = 0_u64;
    let sources = &opened.sources;
    let read = projector::rebuild(
        sources.bus.clone(),
        &sources.topics,
        origin(sources.bus.as_ref(), &sources.topics)?.unwrap_or_default(),
        state,
        runtime.handle().clone(),
        |record, why| {
            poison += 1;
            eprintln!("{}/{} offset {}: {why}; passed over", record.topic, record.partition, record.offset);
        },
    )?;
    println!(
        "read {read} records of orders, fills and equity{}",
        match poison {
            0 => String::new(),
            poison => format!("; {poison} could not be read"),
        }
    );
    Ok(ExitCode::SUCCESS)
}
