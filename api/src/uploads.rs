//! What of the results has yet to go to ClickHouse, where it is configured.
//!
//! A job uploads its own run. What an outage left behind, and what was made by hand, is taken by `tradeflow runs sync`: a
//! process of the lowest priority with a bound on its memory, as a job is one, so that a node that trades does not feel it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tradeflow_results::{ClickHouseRuns, ClickHouseUrl, Synced, UploadQueue};

use crate::context::{Context, PATIENCE};
use crate::jobs::CLICKHOUSE;
use crate::jobs::child::command;

/// How it goes.
#[derive(Debug, Default)]
pub struct UploadStatus {
    /// Runs that are on disk here and not in ClickHouse.
    pub waiting: AtomicU64,
    /// Runs that are left out, as their folders are damaged.
    pub set_aside: AtomicU64,
    /// Whether ClickHouse was away, or took something not, when it was last tried.
    pub failing: AtomicBool,
    /// The last error.
    pub last_error: Mutex<Option<String>>,
}

/// How often it looks for runs that wait, and whether ClickHouse is there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Characters of an error that are kept.
const ERROR_MAX: usize = 1000;

/// Looks for as long as the server runs; does nothing where no ClickHouse is configured.
pub(crate) async fn run(shared: Context) {
    let (Some(url), Some(status)) = (&shared.jobs.clickhouse, shared.node.uploads()) else { return };
    let queue = UploadQueue::new(&shared.jobs.results, url.clone());
    let server = ClickHouseRuns::at(url, PATIENCE);
    loop {
        let looked = look(&shared, &queue, &server, url, &status).await;
        if let Err(why) = &looked
            && !status.failing.load(Ordering::Relaxed)
        {
            tracing::warn!(why, "results do not go to ClickHouse; they wait on disk");
        }
        status.failing.store(looked.is_err(), Ordering::Relaxed);
        if let (Ok(mut last), Err(why)) = (status.last_error.lock(), looked) {
            *last = Some(why.chars().take(ERROR_MAX).collect());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(
    shared: &Context,
    queue: &UploadQueue,
    server: &ClickHouseRuns,
    url: &ClickHouseUrl,
    status: &UploadStatus,
) -> Result<(), String> {
    if count(queue, status).await? == 0 {
        return server.ping().await.map_err(|error| error.to_string());
    }
    let synced = sync(shared, url).await;
    count(queue, status).await?;
    match synced?.waiting.first() {
        Some(skipped) => Err(format!("{}: {}", skipped.run, skipped.reason)),
        None => Ok(()),
    }
}

/// Counts what waits.
async fn count(queue: &UploadQueue, status: &UploadStatus) -> Result<usize, String> {
    let queue = queue.clone();
    let pending = tokio::task::spawn_blocking(move || queue.pending()).await;
    let pending = pending.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    status.waiting.store(pending.runs.len() as u64, Ordering::Relaxed);
    status.set_aside.store(pending.set_aside.len() as u64, Ordering::Relaxed);
    Ok(pending.runs.len())
}

async fn sync(shared: &Context, url: &ClickHouseUrl) -> Result<Synced, String> {
    let process = command(&shared.jobs, &["runs", "sync"]).env(CLICKHOUSE, url.expose()).spawn();
    let mut process = process.map_err(|error| format!("the upload can't be started: {error}"))?;
    let input = process.stdin.take();
    let done = process.wait_with_output().await.map_err(|error| error.to_string())?;
    drop(input);
    // A run that is set aside makes it fail, and is told all the same.
    serde_json::from_slice(&done.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&done.stderr);
        match said.trim().trim_start_matches("error: ") {
            "" => format!("the upload ended with {}: more memory than it may have, probably", done.status),
            said => said.to_owned(),
        }
    })
}
