//! One job over a recorded session: `verify` and `fork`. The log of a node has one process, so they run in it: on a thread of
//! their own, at the lowest priority that lets it let go of what it holds.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tradeflow_live::node::session;
use tradeflow_live::verify::verify_watched;
use tradeflow_state::JobRow;

use super::{Outcome, lease, told};
use crate::context::Context;
use crate::replays::{ForkRequest, fork};

/// What a job over a session is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The session.
    pub(crate) session: String,
    /// For a fork: what is to be different.
    pub(crate) fork: Option<ForkRequest>,
}

/// Progress is told in thousandths.
pub(crate) const WHOLE: i64 = 1000;
/// How often the node says that it does the job.
const SAY_EVERY: Duration = Duration::from_millis(500);
/// After so many entries of the journal it lets others go first.
const BREATH: u64 = 64;

/// How far it is, and whether it is to stop.
#[derive(Default)]
struct Course {
    done: AtomicU64,
    stop: AtomicBool,
    steps: AtomicU64,
}

impl Course {
    fn step(&self, done: u64) -> ControlFlow<()> {
        self.done.store(done, Ordering::Relaxed);
        if self.steps.fetch_add(1, Ordering::Relaxed).is_multiple_of(BREATH) {
            std::thread::yield_now();
        }
        match self.stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Stops the thread when no one waits for it any more, as when the server ends.
struct Stop(Arc<Course>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

pub(super) async fn run(shared: &Context, node: &str, job: &JobRow) -> Outcome {
    let request: Request = match serde_json::from_str(&job.request) {
        Ok(request) => request,
        Err(error) => return Outcome::Failed(format!("the job can't be read: {error}")),
    };
    let course = Arc::new(Course::default());
    let _stop = Stop(course.clone());
    let (sender, mut receiver) = oneshot::channel();
    let (of, ours) = (shared.clone(), course.clone());
    let thread = std::thread::Builder::new().name("replay".into()).spawn(move || {
        tradeflow_bus::embedded::background();
        let _ = sender.send(work(&of, &request, &ours)); // no one waits for it any more
    });
    if let Err(error) = thread {
        return Outcome::Failed(format!("the job can't be started: {error}"));
    }
    let mut say = tokio::time::interval(SAY_EVERY);
    loop {
        tokio::select! {
            ended = &mut receiver => return match ended {
                Ok(Ok(result)) => Outcome::Done(result),
                Ok(Err(why)) => Outcome::Failed(why),
                Err(_) => Outcome::Failed("it panicked; the log tells where".to_owned()),
            },
            _ = say.tick() => {
                let progress = (course.done.load(Ordering::Relaxed) as i64, WHOLE);
                // While the database is away the job goes on; its lease may end, and then it is another's.
                if let Ok(false) = shared.state.keep_job(&job.id, node, lease(shared), progress).await {
                    return Outcome::NotOurs;
                }
                told(shared, &job.id).await;
            }
        }
    }
}

/// Does it; the result as JSON.
fn work(shared: &Context, request: &Request, course: &Course) -> Result<String, String> {
    let sources = &shared.market.sources;
    let session = session(sources.bus.as_ref(), &sources.topics, &request.session);
    let session = session.map_err(|error| error.to_string())?;
    let session = session.ok_or_else(|| format!("there is no session {} any more", request.session))?;
    let result = match &request.fork {
        None => {
            let verified = verify_watched(sources, &session, |done| course.step(done));
            serde_json::to_string(&verified.map_err(|error| error.to_string())?)
        }
        Some(wanted) => {
            let plan = Arc::new(session.plan()?);
            let forking = wanted.check(&plan).map_err(|problem| problem.to_string())?;
            let report = fork(sources, &plan, &forking, &shared.jobs.results, |done| course.step(done));
            serde_json::to_string(&report.map_err(|error| error.to_string())?)
        }
    };
    result.map_err(|error| error.to_string())
}
