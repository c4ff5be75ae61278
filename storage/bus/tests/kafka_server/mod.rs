//! A real Kafka broker for tests: a child of the test, on free ports, in a folder that goes with it. Needs nothing of the
//! crate that it is in, so that other crates' tests can take this file too.
//!
//! `TRADEFLOW_KAFKA=host:port` uses a broker of yours instead; `TRADEFLOW_KAFKA=none` skips the tests that need one.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A broker that this test may kill.
pub struct Server {
    script: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    dir: PathBuf,
    port: u16,
    sasl_port: u16,
}

/// How long a broker may take to start, or to recover its log, on a machine that has other things to do.
const START_MAX: Duration = Duration::from_secs(180);
/// How often a broker is started that ends at once: another program may have taken a port that was free just now.
const STARTS_MAX: usize = 5;

impl Server {
    /// Starts one, or says why none can be started.
    pub fn start() -> Result<Self, String> {
        Self::start_as("test")
    }

    /// One whose Java is set for tests (`test`), or for short answers (`latency`).
    pub fn start_as(kind: &str) -> Result<Self, String> {
        let mut started = Self::start_once(kind);
        for _ in 1..STARTS_MAX {
            let Err(why) = &started else { break };
            eprintln!("another try, on other ports: {why}");
            started = Self::start_once(kind);
        }
        started
    }

    fn start_once(kind: &str) -> Result<Self, String> {
        let [port, controller, sasl_port] = free_ports();
        let dir = std::env::temp_dir().join(format!("tradeflow-kafka-{}-{port}", std::process::id()));
        let here = std::env::current_dir().map_err(|error| error.to_string())?;
        let scripts = here.ancestors().map(|root| root.join("scripts/kafka.sh"));
        let script = scripts.into_iter().find(|script| script.exists()).ok_or("no scripts/kafka.sh")?;
        let mut child = Command::new(script)
            .arg(&dir)
            .args([port, controller, sasl_port].map(|port| port.to_string()))
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("scripts/kafka.sh: {error}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("no output")?);
        let mut server = Self { script: child, input, output: BufReader::new(output), dir, port, sasl_port };
        server.restart()?;
        Ok(server)
    }

    /// The broker's address.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its address for SASL: user `tester`, password `tester-secret`, mechanism PLAIN.
    pub fn sasl_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.sasl_port)
    }

    /// kill -9. Returns when it is gone.
    pub fn kill(&mut self) {
        let answer = self.ask("kill");
        assert_eq!(answer.as_deref(), Ok("killed"), "kill");
    }

    /// Starts it again on the same data, and waits until it answers.
    pub fn restart(&mut self) -> Result<(), String> {
        let answer = self.ask("start")?;
        if !answer.starts_with("started") {
            return Err(answer);
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let deadline = Instant::now() + START_MAX;
        loop {
            let listens = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
            // One whose port was taken by another program ends.
            let lives = self.ask("alive")? == "alive";
            if lives && listens {
                return Ok(());
            }
            if !lives || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.dir.join("kafka.log")).unwrap_or_default();
                let how = if lives { "has not started after so long" } else { "ended" };
                return Err(format!("the broker {how}:\n{log}"));
            }
            // Polled: a child of a child can't be waited for until it listens.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ask(&mut self, command: &str) -> Result<String, String> {
        let input = self.input.as_mut().ok_or("stopped")?;
        // When it has failed at once, its answer says why.
        let _ = writeln!(input, "{command}");
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| format!("scripts/kafka.sh: {error}"))?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends the script, and with it the broker.
        self.input = None;
        let _ = self.script.wait();
    }
}

/// The broker that the tests of a program share: the user's own, or one that ends with the program. `None` when there is
/// to be none, which is said.
pub fn shared() -> Option<String> {
    match std::env::var("TRADEFLOW_KAFKA").as_deref() {
        Ok("none") => {
            eprintln!("skipped: TRADEFLOW_KAFKA=none");
            None
        }
        Ok(own) => Some(own.to_owned()),
        Err(_) => Some(started().0.clone()),
    }
}

/// The shared broker's address for SASL, see [`Server::sasl_brokers`].
pub fn shared_sasl() -> Option<String> {
    if let Ok(own) = std::env::var("TRADEFLOW_KAFKA") {
        eprintln!("skipped: it needs the user of our own broker, and TRADEFLOW_KAFKA={own}");
        return None;
    }
    Some(started().1.clone())
}

fn started() -> &'static (String, String) {
    static STARTED: OnceLock<(String, String)> = OnceLock::new();
    STARTED.get_or_init(|| {
        let server = Server::start().expect("Kafka for the tests");
        let addresses = (server.brokers(), server.sasl_brokers());
        // It lives as long as the program: the script sees the end of its input then.
        std::mem::forget(server);
        addresses
    })
}

/// A broker of this test alone, to be killed. `None` where there is to be none of ours, which is said.
pub fn own() -> Option<Server> {
    if let Ok(own) = std::env::var("TRADEFLOW_KAFKA") {
        eprintln!("skipped: it kills the broker, and TRADEFLOW_KAFKA={own}");
        return None;
    }
    Some(Server::start().expect("Kafka for the tests"))
}

/// Ports that are free now and not given to outgoing connections, so that a broker finds its own again after a restart.
fn free_ports() -> [u16; 3] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = std::iter::repeat_with(|| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        20_000 + ((std::process::id().wrapping_mul(37) + step) % 12_000) as u16
    })
    .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    std::array::from_fn(|_| ports.next().expect("ports without end"))
}
