//! Replay over timely dataflow: one run on one thread, many threads, or many processes and machines, always with the
//! outputs of [`crate::reference::run`].
//!
//! - **Who does what.** Each process calls the source once, on a thread of its own, and hands each batch to its local
//!   workers. A shard lives on worker `key % workers`. What shards make goes to the caller of process 0.
//! - **Bounds.** At most [`Job::window_batches`] batches are alive between any source and its shards. All queues hold at
//!   most a window, timely's own included, as nothing else is ever in them. Outputs of at most three windows exist: in
//!   the sink's hand, waiting for it, and in the dataflow. A slow shard or sink so holds back every source.
//! - **Fail-stop.** An error or panic anywhere, a process that dies, freezes or cannot be reached ends the run in every
//!   process with an error that names it; there is no partial success: a process returns `Ok` only when process 0 has
//!   taken all outputs. What the sink was given before is a prefix of the run and must be thrown away.
//! - **Stop.** On [`Job::stop`] the processes pause their sources, agree on the largest number of batches that any has
//!   handed out, and finish there: every shard has seen the same batches, and has been finished. Before all processes
//!   have joined there is nothing to finish: then it is an error.
//! - **Ports.** One a process: see [`Cluster::hosts`]. Connections are neither encrypted nor authenticated: use a
//!   trusted network.
//! - **Abandoned threads.** A shard or source that does not return cannot be interrupted. When the run fails, [`run`]
//!   waits [`Timeouts::unwind`] for such threads and returns the error without them; a command should then exit.

mod connect;
mod control;
pub(crate) mod error;
mod job;
mod local;
mod run;
mod shared;
mod wire;
mod worker;

use std::net::TcpListener;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::{DataflowError, Place};
pub use job::{Job, Outcome, Shard};
pub use local::spawn_local;
pub use run::run;

/// How long to wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// For all processes to join, from the start of [`run`].
    pub connect: Duration,
    /// Without a sign of life from a process before it counts as lost.
    pub silence: Duration,
    /// For threads of this process to leave after a failure.
    pub unwind: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            silence: Duration::from_secs(10),
            unwind: Duration::from_secs(2),
        }
    }
}

/// The processes and threads of a run, and this process's place among them.
pub struct Cluster {
    /// Worker threads in each process, at least 1, equal in all.
    pub workers: usize,
    /// Index of this process, from 0.
    pub process: usize,
    /// `host:port` of every process; with none or one there is no network. A process listens on its own entry and is
    /// reached by the others at it: one TCP port a process, for data and control alike. Port 0 means any free port,
    /// except for process 0, which all others must know.
    pub hosts: Vec<String>,
    /// What must be equal in all processes for their outputs to fit together.
    pub plan_digest: [u8; 32],
    /// The same in words, name and value of each part, so that a difference can be named; may be empty.
    pub plan_parts: Vec<(String, String)>,
    /// How long to wait for others.
    pub timeouts: Timeouts,
    listener: Option<TcpListener>,
    local: Option<local::Children>,
}

impl Cluster {
    /// This process alone.
    pub fn single(workers: usize) -> Self {
        Self::member(0, Vec::new(), workers, [0; 32])
    }

    /// This process as one of `hosts`.
    pub fn member(process: usize, hosts: Vec<String>, workers: usize, plan_digest: [u8; 32]) -> Self {
        let timeouts = Timeouts::default();
        let plan_parts = Vec::new();
        Self { workers, process, hosts, plan_digest, plan_parts, timeouts, listener: None, local: None }
    }

    /// Index and process id of the children that [`spawn_local`] started.
    pub fn children(&self) -> Vec<(usize, u32)> {
        self.local.as_ref().map(local::Children::ids).unwrap_or_default()
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.hosts.len().max(1)
    }

    /// Whether this can be started at all.
    ///
    /// # Errors
    /// What is wrong, all of it.
    pub fn check(&self) -> Result<(), DataflowError> {
        let mut wrong = Vec::new();
        if self.workers == 0 {
            wrong.push("workers is 0, at least 1 is needed".to_owned());
        }
        if self.process >= self.processes() {
            wrong.push(format!(
                "process is {} of {} processes, counted from 0",
                self.process,
                self.processes()
            ));
        }
        if self.hosts.len() > 1 {
            for (process, host) in self.hosts.iter().enumerate() {
                let port = host.rsplit_once(':').filter(|(name, _)| !name.is_empty());
                match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
                    None => wrong.push(format!("host {process} is {host:?}, not host:port")),
                    Some(0) if process == 0 => wrong.push("the port of host 0 is 0".to_owned()),
                    Some(0) => {}
                    Some(_) if self.hosts[..process].contains(host) => {
                        wrong.push(format!("host {process} is {host:?}, which is there twice"));
                    }
                    Some(_) => {}
                }
            }
            if self.timeouts.connect.is_zero() || self.timeouts.silence.is_zero() {
                wrong.push("a timeout is 0".to_owned());
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(DataflowError::Invalid(wrong.join("; "))) }
    }
}
