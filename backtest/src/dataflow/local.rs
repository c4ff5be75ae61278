//! Several processes on one machine: this process starts the others and watches them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Cluster, DataflowError};

/// How long a child that is no longer needed may take to leave by itself.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// The children of a local cluster. They are killed when this is dropped, if they do not leave by themselves; should
/// this process be killed, they notice it at their control connection and leave.
pub(super) struct Children {
    children: Vec<(usize, Child)>,
    /// A child that has gone, and when that becomes an error: its own account of it may still be on the way.
    gone: Option<(DataflowError, Instant)>,
    hosts: Vec<String>,
}

/// Starts processes 1 to `processes - 1` of a cluster on this machine and returns the cluster with this process as
/// process 0, for [`super::run`]. `command(process, hosts)` gives the command line of a child, which must build
/// [`Cluster::member`] of the same index, hosts and plan. Process 0 listens on a free port of the loopback address;
/// the others choose theirs themselves and tell it, so that no port can be lost to another program.
///
/// # Errors
/// When no port can be had or a child does not start.
pub fn spawn_local(
    processes: usize,
    workers: usize,
    plan_digest: [u8; 32],
    mut command: impl FnMut(usize, &[String]) -> Command,
) -> Result<Cluster, DataflowError> {
    if processes <= 1 {
        return Ok(Cluster { plan_digest, ..Cluster::single(workers) });
    }
    let invalid =
        |error: std::io::Error| DataflowError::Invalid(format!("no free port on 127.0.0.1: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(invalid)?;
    let first = listener.local_addr().map_err(invalid)?;
    let mut hosts = vec![first.to_string()];
    hosts.resize(processes, "127.0.0.1:0".to_owned());

    let mut started = Children { children: Vec::new(), gone: None, hosts: hosts.clone() };
    for process in 1..processes {
        let child = command(process, &hosts).stdin(Stdio::null()).spawn().map_err(|error| {
            let (host, reason) = (hosts[process].clone(), format!("its command did not start: {error}"));
            DataflowError::Connect { process, host, reason }
        })?;
        started.children.push((process, child));
    }
    let mut cluster = Cluster::member(0, hosts, workers, plan_digest);
    cluster.listener = Some(listener);
    cluster.local = Some(started);
    Ok(cluster)
}

impl Children {
    /// Ids of the children, by process.
    pub(super) fn ids(&self) -> Vec<(usize, u32)> {
        self.children.iter().map(|(process, child)| (*process, child.id())).collect()
    }

    /// An error if a child has ended although the run goes on.
    pub(super) fn check(&mut self) -> Result<(), DataflowError> {
        if let Some((error, due)) = &self.gone {
            return if Instant::now() >= *due { Err(error.clone()) } else { Ok(()) };
        }
        for (process, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                let error = DataflowError::Lost {
                    process: *process,
                    host: self.hosts[*process].clone(),
                    reason: format!("it ended in mid-run ({status})"),
                };
                self.gone = Some((error, Instant::now() + Duration::from_millis(500)));
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        let due = Instant::now() + LEAVE_MAX;
        for (_, child) in &mut self.children {
            while Instant::now() < due && matches!(child.try_wait(), Ok(None)) {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            // Errors here mean that it has already gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
