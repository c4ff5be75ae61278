//! ClickHouse's engine for tests: a child of the test that ends with it. Needs nothing of the crate that it is in, so that
//! other crates' tests can take this file too.
//!
//! `TRADEFLOW_CLICKHOUSE=http://…` uses a server of yours instead, in which the tests make databases (those that stop a
//! server start their own all the same); `TRADEFLOW_CLICKHOUSE=none` skips the tests that need one.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A server that this test may stop.
pub struct Server {
    script: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    url: String,
}

impl Server {
    /// Starts one that takes whoever comes.
    pub fn start() -> Self {
        Self::start_for("", "")
    }

    /// Starts one that takes this user alone, if one is given.
    pub fn start_for(user: &str, password: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("tradeflow-ch-{}-{}", std::process::id(), number()));
        let here = std::env::current_dir().expect("a folder");
        let scripts = here.ancestors().map(|root| root.join("scripts/clickhouse.sh"));
        let script = scripts.into_iter().find(|script| script.exists()).expect("scripts/clickhouse.sh");
        let mut child = Command::new(script)
            .arg(&dir)
            .env("CLICKHOUSE_USER", user)
            .env("CLICKHOUSE_PASSWORD", password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/clickhouse.sh runs");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("its output"));
        let mut server = Self { script: child, input, output: BufReader::new(output), url: String::new() };
        server.await_ready();
        server
    }

    /// Where it is, as `http://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it; what was answered is kept.
    pub fn stop(&mut self) {
        assert_eq!(self.ask("stop"), "stopped");
    }

    /// Starts it again, at the same address.
    pub fn restart(&mut self) {
        writeln!(self.input.as_mut().expect("it runs"), "start").expect("it runs");
        self.await_ready();
    }

    fn await_ready(&mut self) {
        let line = self.line();
        let url =
            line.strip_prefix("ready ").unwrap_or_else(|| panic!("ClickHouse does not start: {line:?}"));
        self.url = url.to_owned();
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.input.as_mut().expect("it runs"), "{what}").expect("it runs");
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("its output");
        line.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.script.wait();
    }
}

/// Whether tests shall do without.
pub fn is_off() -> bool {
    std::env::var("TRADEFLOW_CLICKHOUSE").is_ok_and(|given| given == "none")
}

/// The address of a database that no other test has: on the server of `TRADEFLOW_CLICKHOUSE`, or on one that the tests of
/// this process share. `None` where there shall be none.
pub fn database() -> Option<String> {
    use std::sync::Mutex;
    static SERVER: Mutex<Option<Server>> = Mutex::new(None);
    let base = match std::env::var("TRADEFLOW_CLICKHOUSE") {
        Ok(given) if given == "none" => return None,
        Ok(given) => given.trim_end_matches('/').to_owned(),
        Err(_) => {
            let mut server = SERVER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            server.get_or_insert_with(Server::start).url().to_owned()
        }
    };
    Some(format!("{base}/tradeflow_test_{}_{}", std::process::id(), number()))
}

/// A number that no one else in this process has.
pub fn number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
