//! `--as-job`: as a server runs it, with the lowest priority and a bound on memory.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

/// The lowest priority, for a job, and a bound on memory where one is given.
///
/// # Errors
/// When the system does not allow it.
pub fn limit(as_job: bool, memory_mib: Option<u64>) -> anyhow::Result<()> {
    if as_job {
        nice(19).context("the lowest priority")?;
        idle();
    }
    if let Some(mib) = memory_mib {
        let Rlimit { maximum, .. } = getrlimit(Resource::Data);
        let bytes = mib.saturating_mul(1 << 20);
        setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum }).context("--memory-max")?;
    }
    Ok(())
}

/// Runs when nothing else wants the processor, as do the threads that it will start. With the lowest priority alone, what
/// trades waits now and then until a job's slice of time is over.
fn idle() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
            thread_native_id,
        };
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
            eprintln!("the job runs at the lowest priority, but is not idle: {error:?}");
        }
    }
}

/// Whoever started it is gone when standard input ends: then it ends at once, and nothing unfinished is in its place.
pub fn end_with_input() {
    std::thread::spawn(|| {
        let mut input = std::io::stdin().lock();
        let mut bytes = [0; 64];
        while input.read(&mut bytes).is_ok_and(|read| read > 0) {}
        std::process::exit(130);
    });
}

/// Says how far it is, five times a second at most.
pub struct Progress {
    of: u64,
    said: Option<Instant>,
}

impl Progress {
    const EVERY: Duration = Duration::from_millis(200);

    /// Of so many rows.
    pub fn new(of: u64) -> Self {
        Self { of, said: None }
    }

    /// Says it, unless it did a moment ago.
    pub fn say(&mut self, rows: u64) {
        if self.said.is_none_or(|said| said.elapsed() >= Self::EVERY) {
            self.said = Some(Instant::now());
            eprintln!("{{\"rows\":{rows},\"of\":{}}}", self.of);
        }
    }
}
