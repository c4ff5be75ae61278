//! Jobs: work that takes long, in processes of their own.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`JobsConfig`], and the loop that takes jobs |
//! | `child.rs` | one job: the process that does it |
//!
//! A job is a row of the state, so that it outlives the server; the node that does it says so every second. Its process has
//! the lowest priority and a bound on its memory, and ends when the server does: the job then waits for the next.

mod child;

use std::path::PathBuf;
use std::time::Duration;

use tradeflow_model::Timestamp;

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
    /// Jobs at once; 0 for a node that does none.
    pub at_once: usize,
    /// Memory of a job at most, in MiB.
    pub memory_mib: u64,
    /// The node's name.
    pub node: String,
}

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
    let mut running: Vec<actix_web::rt::task::JoinHandle<()>> = Vec::new();
    loop {
        running.retain(|job| !job.is_finished());
        if running.len() < shared.jobs.at_once {
            match shared.state.take_job(shared.now(), &node, lease(&shared)).await {
                Ok(Some(job)) => {
                    let (shared, node) = (shared.clone(), node.clone());
                    running.push(actix_web::rt::spawn(async move { child::run(&shared, &node, job).await }));
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "jobs"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Tells those who follow the job.
pub(crate) async fn told(shared: &Context, id: &str) {
    if let Ok(row) = shared.state.job(id).await {
        shared.hub.tell(Channel::Jobs, id, shared.now(), Data::Job(Box::new(JobView::from(row))));
    }
}
