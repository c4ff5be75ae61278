//! `tradeflow runs sync`: uploads what is not in ClickHouse; and what `tradeflow backtest` does of it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use tradeflow_results::{Outcome, UploadQueue, Uploaded};

use super::{Flag, Place};
use crate::job;

/// Uploads to ClickHouse all runs that are not there.
///
/// May be stopped and repeated at any time: a run is there whole and once, or not at all.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Try those again that were set aside as damaged
    #[arg(long)]
    retry: bool,
    /// Print JSON on standard output
    #[arg(long)]
    json: bool,
    /// Run as a server's job: at the lowest priority, and until standard input ends
    #[arg(long)]
    as_job: bool,
    /// Memory that it may take, in MiB; beyond it ends
    #[arg(long, value_name = "MIB")]
    memory_max: Option<u64>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    job::limit(args.as_job, args.memory_max)?;
    if args.as_job {
        job::end_with_input();
    }
    let url = args.place.clickhouse.url()?;
    let url = url.context("name ClickHouse by --clickhouse or by TRADEFLOW_CLICKHOUSE")?;
    let root = args.place.root();
    anyhow::ensure!(root.is_dir(), "there is no folder {}: --out names another", root.display());
    let queue = UploadQueue::new(root, url);
    if args.retry {
        queue.retry_set_aside()?;
    }
    let synced = queue.sync(told).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&synced)?);
    } else {
        println!(
            "{} uploaded, {} set aside, {} refused",
            synced.uploaded,
            synced.set_aside.len(),
            synced.waiting.len()
        );
    }
    for skipped in &synced.set_aside {
        eprintln!("set aside: {}: {} (--retry tries again)", skipped.run, skipped.reason);
    }
    for skipped in &synced.waiting {
        eprintln!("refused, to be tried again: {}: {}", skipped.run, skipped.reason);
    }
    Ok(if synced.set_aside.is_empty() && synced.waiting.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn told(run: &str, outcome: &Outcome) {
    if let Outcome::Uploaded(Uploaded::Done { rows }) = outcome {
        eprintln!("{run}: {rows} rows");
    }
}

/// The queue towards the ClickHouse that a flag or the environment names.
///
/// # Errors
/// When its address can't be read.
pub fn queue_of(root: &Path, flag: &Flag) -> anyhow::Result<Option<UploadQueue>> {
    Ok(flag.url()?.map(|url| UploadQueue::new(root, url)))
}

/// Uploads what waits, the run that has just ended among it. That it does not succeed is a warning: the run waits on
/// disk.
pub fn after_backtest(queue: &UploadQueue) {
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| Ok(runtime.block_on(queue.sync_waiting(|_, _| {}))?));
    let again = format!("`tradeflow runs sync --out {}` catches up", queue.root().display());
    match done {
        Ok(synced) => {
            for skipped in &synced.waiting {
                eprintln!("warning: {} is not in ClickHouse: {}; {again}", skipped.run, skipped.reason);
            }
            for skipped in &synced.set_aside {
                eprintln!("warning: {} is not in ClickHouse: {}", skipped.run, skipped.reason);
            }
        }
        Err(error) => eprintln!("warning: the run is not in ClickHouse yet: {error}; {again}"),
    }
}
