//! A real PostgreSQL for tests: a child of the test that ends with it. Needs nothing of the crate that it is in, so that
//! other crates' tests can take this file too.
//!
//! `TRADEFLOW_POSTGRES=postgres://…` uses a server of yours instead, in which the tests make databases;
//! `TRADEFLOW_POSTGRES=none` skips the tests that need one.

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
    /// Starts one.
    pub fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("tradeflow-pg-{}-{}", std::process::id(), number()));
        let here = std::env::current_dir().expect("a folder");
        let scripts = here.ancestors().map(|root| root.join("scripts/postgres.sh"));
        let script = scripts.into_iter().find(|script| script.exists()).expect("scripts/postgres.sh");
        let mut child = Command::new(script)
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/postgres.sh runs");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("its output"));
        let mut server = Self { script: child, input, output: BufReader::new(output), url: String::new() };
        server.await_ready();
        server
    }

    /// Where it is, as `postgres://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it at once; connections break.
    pub fn stop(&mut self) {
        assert_eq!(self.ask("stop"), "stopped");
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        writeln!(self.input.as_mut().expect("it runs"), "start").expect("it runs");
        self.await_ready();
    }

    fn await_ready(&mut self) {
        let line = self.line();
        let url =
            line.strip_prefix("ready ").unwrap_or_else(|| panic!("PostgreSQL does not start: {line:?}"));
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

/// A number that no one else in this process has.
pub fn number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
