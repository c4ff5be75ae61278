//! Jobs: work that takes long.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`JobsConfig`], and the loop that takes jobs |
//! | `child.rs` | a backtest: the process that does it |
//! | `replay.rs` | a session verified or forked: the thread that does it |
//!
//! A job is a row of the state, so that it outlives the server; the node that does it says so every second. Its process or
//! thread has the lowest priority, a process a bound on its memory too, and ends when the server does: the job then waits for
//! the next.

pub(crate) mod child;
pub(crate) mod replay;

use std::path::PathBuf;
use std::time::Duration;

use tradeflow_model::Timestamp;
use tradeflow_results::ClickHouseUrl;
use tradeflow_state::{Ended, JobRow};

use crate::context::Context;
use crate::routes::backtests::JobView;
use crate::socket::messages::{Channel, Data};

/// How jobs are done.
#[derive(Debug, Clone)]
pub struct JobsConfig {
    /// The program.
    pub program: PathBuf,
    /// The catalog that backtests read.
    pub catalog: String,
    /// The folder that results go to.
    pub results: PathBuf,
    /// A folder for what jobs are told.
    pub folder: PathBuf,
    /// ClickHouse, which results go to as well, and are asked of.
    pub clickhouse: Option<ClickHouseUrl>,
    /// Jobs at once; 0 for a node that does none.
    pub at_once: usize,
    /// Memory of a job at most, in MiB.
    pub memory_mib: u64,
    /// The node's name.
    pub node: String,
}

/// The variable that names ClickHouse to a process, or `none`.
pub(crate) const CLICKHOUSE: &str = "TRADEFLOW_CLICKHOUSE";
/// How often it looks for jobs.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A node that has not said for so long that it does a job is gone, in nanoseconds.
const LEASE_NS: i64 = 15 * 1_000_000_000;

fn lease(shared: &Context) -> Timestamp {
    Timestamp::from_nanos(shared.now().as_nanos() + LEASE_NS)
}

/// Takes jobs for as long as the server runs.
pub(crate) async fn run(shared: Context) {
    // Two servers of one name are two nodes.
    let node = format!("{}-{}", shared.jobs.node, uuid::Uuid::now_v7());
    let mut running: Vec<tokio::task::JoinHandle<()>> = Vec::new();
    loop {
        running.retain(|job| !job.is_finished());
        if running.len() < shared.jobs.at_once {
            match shared.state.take_job(shared.now(), &node, lease(&shared)).await {
                Ok(Some(job)) => {
                    let (shared, node) = (shared.clone(), node.clone());
                    running.push(tokio::spawn(async move { one(&shared, &node, job).await }));
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "jobs"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How a job ended.
enum Outcome {
    /// With this, as JSON.
    Done(String),
    Failed(String),
    /// It was cancelled, or another node has it.
    NotOurs,
}

/// Does a job, to whatever end.
async fn one(shared: &Context, node: &str, job: JobRow) {
    told(shared, &job.id).await;
    let outcome = match job.kind.as_str() {
        "backtest" => child::run(shared, node, &job).await,
        _ => replay::run(shared, node, &job).await,
    };
    let ended = match &outcome {
        Outcome::Done(result) => shared.state.end_job(shared.now(), &job.id, node, Ended::Done(result)).await,
        Outcome::Failed(why) => shared.state.end_job(shared.now(), &job.id, node, Ended::Failed(why)).await,
        Outcome::NotOurs => Ok(false),
    };
    if let Err(error) = ended {
        tracing::warn!(%error, job = job.id, "the end of a job could not be kept: it is done again");
    }
    told(shared, &job.id).await;
}

/// Tells those who follow the job.
pub(crate) async fn told(shared: &Context, id: &str) {
    if let Ok(row) = shared.state.job(id).await {
        shared.hub.tell(Channel::Jobs, id, shared.now(), Data::Job(Box::new(JobView::from(row))));
    }
}
