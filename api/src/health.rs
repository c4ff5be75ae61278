//! `GET /health`: whether the node works, works in part, or not at all.
//!
//! | state | HTTP | when |
//! |---|---|---|
//! | `ok` | 200 | everything runs |
//! | `degraded` | 200 | the bus does not answer, a feed brings nothing, a cell is halted, a strategy is quarantined, the bus does not take what a feed publishes, the recorder can't write or lags by more than five minutes, bars can't be made, the read models can't follow the bus, results can't go to ClickHouse |
//! | `down` | 503 | the node has failed, or no cell runs |
//!
//! Each state but `ok` comes with its reasons.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tradeflow_ingest::FeedState;
use tradeflow_ingest::bars::BarStatus;
use tradeflow_ingest::record::RecorderStatus;
use tradeflow_live::node::NodeView;

use crate::server::Source;
use crate::source::{FeedSource, NodeSource};
use crate::uploads::UploadStatus;

/// How far a node works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// Everything runs.
    #[default]
    Ok,
    /// It works in part.
    Degraded,
    /// It does not work.
    Down,
}

impl HealthState {
    /// Its name, as it stands in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// Whether a node works, and what does not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// How far.
    pub status: HealthState,
    /// What is wrong; empty where nothing is.
    pub reasons: Vec<String>,
}

/// A recorder that is so far behind can't keep up, or can't write, in nanoseconds.
const RECORDER_LAG_MAX_NS: i64 = 300 * 1_000_000_000;

impl Health {
    /// Of a node as it is now, of which this is the view.
    pub fn of(node: &dyn NodeSource, view: &NodeView) -> Self {
        let mut down = Vec::new();
        down.extend(node.failure().map(|why| format!("the node has failed: {why}")));
        let bus = node.bus_trouble();
        if view.cells.iter().all(|cell| cell.halted.is_some()) {
            down.push(match (view.cells.is_empty(), view.ready) {
                (true, true) if bus.is_some() => "no cell runs here without the bus".to_owned(),
                (true, true) => "no cell runs here: other nodes have the accounts".to_owned(),
                (true, false) => "no cell runs yet".to_owned(),
                (false, _) => "no cell runs: all are halted".to_owned(),
            });
        }
        let mut degraded: Vec<String> = bus.into_iter().chain(node.feeds().iter().flat_map(feed)).collect();
        for cell in &view.cells {
            let account = &cell.account;
            degraded.extend(cell.halted.iter().map(|why| format!("cell {account} is halted: {why}")));
            let quarantined = cell.strategies.iter().filter(|strategy| strategy.quarantined);
            degraded.extend(quarantined.map(|strategy| {
                let (id, failures) = (&strategy.id, strategy.failures);
                format!("strategy {id} of {account} is quarantined after {failures} failures")
            }));
        }
        degraded.extend(node.recorder().and_then(|status| recorder(&status)));
        degraded.extend(node.bars().and_then(|status| bars(&status)));
        degraded.extend(node.read_models().and_then(|status| {
            let failing = status.failing.load(Ordering::Relaxed);
            failing.then(|| format!("lists of orders and fills are behind{}", because(&status.last_error)))
        }));
        degraded.extend(node.uploads().and_then(|status| uploads(&status)));
        let status = match (down.is_empty(), degraded.is_empty()) {
            (true, true) => HealthState::Ok,
            (true, false) => HealthState::Degraded,
            (false, _) => HealthState::Down,
        };
        down.extend(degraded);
        Self { status, reasons: down }
    }
}

fn feed(feed: &FeedSource) -> Vec<String> {
    let FeedSource { name, status, counters } = feed;
    let error = because(&status.last_error);
    let state = match status.state() {
        FeedState::Silent => Some(format!("feed {name} is silent")),
        FeedState::Refused => Some(format!("feed {name} is refused{error}")),
        FeedState::Connecting if status.connects.load(Ordering::Relaxed) > 0 => {
            Some(format!("feed {name} is reconnecting{error}"))
        }
        FeedState::Connecting => Some(format!("feed {name} is connecting{error}")),
        FeedState::Live | FeedState::Off => None, // off: nothing is wanted of it
    };
    let bus =
        counters.is_degraded().then(|| format!("the bus does not take what feed {name} publishes{error}"));
    state.into_iter().chain(bus).collect()
}

fn recorder(status: &RecorderStatus) -> Option<String> {
    if status.failing.load(Ordering::Relaxed) {
        return Some(format!("the recorder can't write{}", because(&status.last_error)));
    }
    let lag = status.lag_ns.load(Ordering::Relaxed);
    (lag > RECORDER_LAG_MAX_NS).then(|| format!("the recorder is {} s behind", lag / 1_000_000_000))
}

fn bars(status: &BarStatus) -> Option<String> {
    let failing = status.failing.load(Ordering::Relaxed);
    failing.then(|| format!("bars can't be made{}", because(&status.last_error)))
}

fn uploads(status: &UploadStatus) -> Option<String> {
    let failing = status.failing.load(Ordering::Relaxed);
    let waiting = status.waiting.load(Ordering::Relaxed);
    let error = because(&status.last_error);
    failing.then(|| format!("results are not in ClickHouse, {waiting} runs wait{error}"))
}

/// The last error, behind a colon.
fn because(error: &Mutex<Option<String>>) -> String {
    let error = error.lock().ok().and_then(|error| error.clone());
    error.map(|error| format!(": {error}")).unwrap_or_default()
}

pub(crate) async fn get(source: Source) -> HttpResponse {
    let node: &dyn NodeSource = source.as_ref().as_ref();
    let health = Health::of(node, &node.view());
    match health.status {
        HealthState::Down => HttpResponse::ServiceUnavailable().json(health),
        HealthState::Ok | HealthState::Degraded => HttpResponse::Ok().json(health),
    }
}
