//! How the processes of a cluster find each other: one port a process, checked and bounded in time.
//!
//! Process `p` listens on `hosts[p]` (the last one need not: nobody connects to it). A connection is opened by the
//! process with the higher index and starts with eight magic bytes and a [`Hello`]; the answer is a [`Reply`]. Every
//! process opens a control connection to process 0, which tells all of them the ports once everyone is there (a port 0
//! in `hosts` stands for any free one); then each opens a data connection to every process below it. Strangers and
//! port scanners are turned away; a process of another plan, version or shape is an error on both sides.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::control::{self, Message, Peer, read_frame, write_frame};
use super::local::Children;
use super::shared::Shared;
use super::{Cluster, DataflowError};

/// Names the protocol; changes with it.
const MAGIC: &[u8; 8] = b"TRDFLOW1";
/// How often a waiting process looks again.
const RETRY: Duration = Duration::from_millis(10);
/// How long an incoming connection may take to say who it is.
const HELLO_MAX: Duration = Duration::from_secs(2);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Role {
    Control,
    Data,
}

/// Who opens a connection, and what must be equal in all processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Hello {
    role: Role,
    process: usize,
    /// The port on which it listens, or 0.
    port: u16,
    shape: Shape,
}

/// What must be equal in all processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    version: String,
    processes: usize,
    workers: usize,
    window_batches: u64,
    shards: usize,
    plan_digest: [u8; 32],
    plan_parts: Vec<(String, String)>,
}

impl Shape {
    /// The first difference, told by the process that has `self` about the one that has `other`.
    fn difference(&self, other: &Self) -> Option<String> {
        let hex =
            |digest: &[u8; 32]| digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let tell = |what: &str, theirs: String, ours: String| {
            Some(format!("it has {what} {theirs}, we have {ours}"))
        };
        if self.version != other.version {
            return tell("version", other.version.clone(), self.version.clone());
        }
        if self.processes != other.processes {
            return tell("a number of processes of", other.processes.to_string(), self.processes.to_string());
        }
        if self.workers != other.workers {
            return tell("workers a process", other.workers.to_string(), self.workers.to_string());
        }
        if self.plan_digest != other.plan_digest {
            let (theirs, ours) = (hex(&other.plan_digest), hex(&self.plan_digest));
            let advice = "start all with one run file and equal data";
            if let Some((theirs, ours)) = self.different_part(other) {
                return Some(format!("it has another plan: {theirs}, ours {ours} ({advice})"));
            }
            return tell("a plan with digest", format!("{theirs}…"), format!("{ours}… ({advice})"));
        }
        if self.window_batches != other.window_batches {
            return tell("a window of", other.window_batches.to_string(), self.window_batches.to_string());
        }
        if self.shards != other.shards {
            return tell("a number of shards of", other.shards.to_string(), self.shards.to_string());
        }
        None
    }

    /// The first part of the plan that differs: theirs with its name, and ours.
    fn different_part(&self, other: &Self) -> Option<(String, String)> {
        let of = |parts: &[(String, String)], name: &str| {
            parts.iter().find(|(known, _)| known == name).map_or("none", |(_, value)| value).to_owned()
        };
        let names = self.plan_parts.iter().chain(&other.plan_parts).map(|(name, _)| name);
        names.map(|name| (name, of(&other.plan_parts, name), of(&self.plan_parts, name))).find_map(
            |(name, theirs, ours)| (theirs != ours).then(|| (format!("its {name} is {theirs}"), ours)),
        )
    }
}

/// The answer to a [`Hello`].
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Welcome(Shape),
    Refused(String),
}

/// Connects this process to the others, and returns the data connections by process: none for this one. Children that were started with the cluster are watched meanwhile.
pub(super) fn connect(
    cluster: &mut Cluster,
    shards: usize,
    shared: &Arc<Shared>,
    stop: &AtomicBool,
) -> Result<Vec<Option<TcpStream>>, DataflowError> {
    let listener = cluster.listener.take();
    let mut local = cluster.local.take();
    let (process, host) = (cluster.process, cluster.hosts[cluster.process].clone());
    let result = Joining::new(cluster, shards, shared).join(listener, &mut || {
        if stop.load(Ordering::Relaxed) {
            let (host, reason) = (host.clone(), "it was stopped before all had joined".to_owned());
            return Err(DataflowError::Connect { process, host, reason });
        }
        local.as_mut().map_or(Ok(()), Children::check)
    });
    cluster.local = local;
    result
}

struct Joining<'a> {
    cluster: &'a Cluster,
    shared: &'a Arc<Shared>,
    shape: Shape,
    deadline: Instant,
    /// Data connections, by process.
    data: Vec<Option<TcpStream>>,
    /// Where the processes listen, once known.
    ports: Vec<u16>,
}

impl<'a> Joining<'a> {
    fn new(cluster: &'a Cluster, shards: usize, shared: &'a Arc<Shared>) -> Self {
        Self {
            cluster,
            shared,
            shape: Shape {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                processes: cluster.hosts.len(),
                workers: cluster.workers,
                window_batches: shared.window_batches,
                shards,
                plan_digest: cluster.plan_digest,
                plan_parts: cluster.plan_parts.clone(),
            },
            deadline: Instant::now() + cluster.timeouts.connect,
            data: cluster.hosts.iter().map(|_| None).collect(),
            ports: vec![0; cluster.hosts.len()],
        }
    }

    fn join(
        mut self,
        listener: Option<TcpListener>,
        watch: &mut dyn FnMut() -> Result<(), DataflowError>,
    ) -> Result<Vec<Option<TcpStream>>, DataflowError> {
        let (own, last) = (self.cluster.process, self.cluster.hosts.len() - 1);
        let listener = match listener {
            None if own < last => Some(self.bind()?),
            listener => listener,
        };
        if own > 0 {
            let port = match &listener {
                Some(listener) => listener.local_addr().map_err(|e| self.trouble(own, e))?.port(),
                None => 0,
            };
            self.ports[0] = port_of(&self.cluster.hosts[0]);
            let control = self.open(0, Role::Control, port, watch)?;
            self.start_control(0, control)?;
            self.learn_ports(watch)?;
            for process in 0..own {
                let data = self.open(process, Role::Data, 0, watch)?;
                self.data[process] = Some(data);
            }
        }
        if let Some(listener) = listener {
            self.accept_all(&listener, watch)?;
        }
        Ok(self.data)
    }

    fn host(&self, process: usize) -> String {
        self.cluster.hosts[process].clone()
    }

    fn trouble(&self, process: usize, reason: impl ToString) -> DataflowError {
        DataflowError::Connect { process, host: self.host(process), reason: reason.to_string() }
    }

    /// One turn of waiting for `process`: fails when it is too late, or when something else has failed.
    fn wait_turn(
        &self,
        process: usize,
        last: &str,
        watch: &mut dyn FnMut() -> Result<(), DataflowError>,
    ) -> Result<(), DataflowError> {
        self.shared.check()?;
        watch()?;
        if Instant::now() >= self.deadline {
            let limit = self.cluster.timeouts.connect;
            return Err(self.trouble(process, format!("it did not come within {limit:?}{last}")));
        }
        self.shared.wait_a_little(RETRY);
        Ok(())
    }

    fn bind(&self) -> Result<TcpListener, DataflowError> {
        let own = self.cluster.process;
        TcpListener::bind(self.cluster.hosts[own].as_str())
            .map_err(|error| self.trouble(own, format!("cannot listen on its address: {error}")))
    }

    fn start_control(&mut self, process: usize, stream: TcpStream) -> Result<(), DataflowError> {
        let peer = Peer { process, host: self.host(process) };
        control::start(self.shared, stream, peer, self.cluster.timeouts.silence)
            .map_err(|error| self.trouble(process, error))
    }

    fn learn_ports(
        &mut self,
        watch: &mut dyn FnMut() -> Result<(), DataflowError>,
    ) -> Result<(), DataflowError> {
        loop {
            if let Some(ports) = self.shared.lock().ports.take() {
                // Process 0 is reached at the port configured here, whatever it believes it to be.
                let own = self.ports[0];
                self.ports = ports;
                self.ports[0] = own;
                self.deadline = Instant::now() + self.cluster.timeouts.connect;
                return Ok(());
            }
            // Process 0 has a deadline of its own, and its heartbeat is watched.
            self.shared.check()?;
            watch()?;
            self.shared.wait_a_little(RETRY);
        }
    }

    /// Opens a connection, trying again until the deadline.
    fn open(
        &self,
        process: usize,
        role: Role,
        port: u16,
        watch: &mut dyn FnMut() -> Result<(), DataflowError>,
    ) -> Result<TcpStream, DataflowError> {
        loop {
            let error = match self.try_open(process) {
                Ok(stream) => return self.greet(stream, process, role, port),
                Err(error) => error,
            };
            self.wait_turn(process, &format!(": {error}"), watch)?;
        }
    }

    fn try_open(&self, process: usize) -> std::io::Result<TcpStream> {
        let host = host_of(&self.cluster.hosts[process]);
        let mut last = std::io::Error::other("its name has no address");
        for address in (host, self.ports[process]).to_socket_addrs()? {
            let left = self.deadline.saturating_duration_since(Instant::now()).max(RETRY);
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Says who we are and hears whether we are welcome.
    fn greet(
        &self,
        mut stream: TcpStream,
        process: usize,
        role: Role,
        port: u16,
    ) -> Result<TcpStream, DataflowError> {
        let hello = Hello { role, process: self.cluster.process, port, shape: self.shape.clone() };
        let left = self.deadline.saturating_duration_since(Instant::now()).max(RETRY);
        let mut talk = || -> std::io::Result<Reply> {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(left))?;
            stream.write_all(MAGIC)?;
            write_frame(&mut stream, &hello)?;
            let reply = read_frame(&mut stream)?;
            stream.set_read_timeout(None)?;
            Ok(reply)
        };
        let reason = match talk() {
            Ok(Reply::Welcome(shape)) => match self.shape.difference(&shape) {
                None => return Ok(stream),
                Some(difference) => difference,
            },
            Ok(Reply::Refused(reason)) => reason,
            Err(error) if control::is_timeout(&error) => {
                let limit = self.cluster.timeouts.connect;
                return Err(self.trouble(process, format!("it did not answer within {limit:?}")));
            }
            Err(error) => {
                // A failure elsewhere explains better why it hung up.
                self.shared.check()?;
                return Err(self.trouble(process, format!("it hung up: {error}")));
            }
        };
        Err(DataflowError::Mismatch { process, host: self.host(process), reason })
    }

    /// Accepts what the processes above open: data connections, and to process 0 the control connections.
    fn accept_all(
        &mut self,
        listener: &TcpListener,
        watch: &mut dyn FnMut() -> Result<(), DataflowError>,
    ) -> Result<(), DataflowError> {
        let own = self.cluster.process;
        let processes = self.cluster.hosts.len();
        listener.set_nonblocking(true).map_err(|error| self.trouble(own, error))?;
        let mut controlled = vec![own != 0; processes];
        controlled[own] = true;
        loop {
            // A process that is there may itself be waiting for one that is not: that one is named.
            let mut above = own + 1..processes;
            let missing = above.clone().find(|process| !controlled[*process]);
            let missing = missing.or_else(|| above.find(|process| self.data[*process].is_none()));
            let Some(missing) = missing else { return Ok(()) };
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(_) => {
                    self.wait_turn(missing, "", watch)?;
                    continue;
                }
            };
            let Some((stream, hello)) = self.hear(stream) else { continue };
            self.check_hello(&stream, &hello, &controlled)?;
            let Some(stream) = self.welcome(stream) else { continue };
            match hello.role {
                Role::Data => self.data[hello.process] = Some(stream),
                Role::Control => {
                    self.ports[hello.process] = hello.port;
                    controlled[hello.process] = true;
                    self.start_control(hello.process, stream)?;
                    if controlled.iter().all(|known| *known) {
                        self.shared.broadcast(&Message::Ports(self.ports.clone()));
                    }
                }
            }
        }
    }

    /// Reads who is there; none for a stranger.
    fn hear(&self, mut stream: TcpStream) -> Option<(TcpStream, Hello)> {
        stream.set_nonblocking(false).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(HELLO_MAX)).ok()?;
        stream.set_write_timeout(Some(HELLO_MAX)).ok()?;
        let mut magic = [0; 8];
        stream.read_exact(&mut magic).ok()?;
        if &magic != MAGIC {
            return None;
        }
        let hello = read_frame(&mut stream).ok()?;
        Some((stream, hello))
    }

    fn welcome(&self, mut stream: TcpStream) -> Option<TcpStream> {
        write_frame(&mut stream, &Reply::Welcome(self.shape.clone())).ok()?;
        stream.set_read_timeout(None).ok()?;
        stream.set_write_timeout(None).ok()?;
        Some(stream)
    }

    /// Refuses a process that does not fit, on both sides.
    fn check_hello(
        &self,
        stream: &TcpStream,
        hello: &Hello,
        controlled: &[bool],
    ) -> Result<(), DataflowError> {
        let own = self.cluster.process;
        let (ours, theirs) = match hello.shape.difference(&self.shape) {
            Some(ours) => (self.shape.difference(&hello.shape).unwrap_or_default(), ours),
            None => {
                let place = hello.process;
                let known = place > own && place < self.cluster.hosts.len();
                let taken = known
                    && match hello.role {
                        Role::Control => controlled[place],
                        Role::Data => self.data[place].is_some(),
                    };
                if known && !taken {
                    return Ok(());
                }
                let reason = match taken {
                    true => format!("a second process says that it is process {place}"),
                    false => format!("it says that it is process {place}"),
                };
                (reason.clone(), reason)
            }
        };
        if let Ok(mut stream) = stream.try_clone() {
            let _ = write_frame(&mut stream, &Reply::Refused(theirs));
        }
        let host = self.cluster.hosts.get(hello.process).cloned();
        let host = host.or_else(|| stream.peer_addr().ok().map(|address| address.to_string()));
        Err(DataflowError::Mismatch { process: hello.process, host: host.unwrap_or_default(), reason: ours })
    }
}

/// The host of `host:port`.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The port of `host:port`, checked by [`Cluster::check`].
pub(super) fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
}
