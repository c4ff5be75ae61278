//! The vendor's side: a process of its own that takes one client and sends it ticks at a fixed rate.
//!
//! Open loop: each tick has a time at which it is to be sent, whatever happened to those before it. One that is late is
//! sent at once and keeps its time, so a slow client does not make the load lighter (no "coordinated omission").

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept};
use tradeflow_bus::{Clock, SystemClock};
use tradeflow_live::node::Percentiles;

use crate::market;

/// Ticks in one write, at most.
const WRITE_MAX: u64 = 256;
/// The time from the last subscription to the first tick.
const SETTLE: Duration = Duration::from_millis(500);

/// What is to be sent.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Load {
    /// Ticks a second.
    #[arg(long)]
    pub rate: u64,
    /// Symbols, which take turns.
    #[arg(long)]
    pub symbols: usize,
    /// For so many seconds.
    #[arg(long)]
    pub seconds: f64,
}

impl Load {
    /// All ticks.
    pub fn ticks(&self) -> u64 {
        (self.rate as f64 * self.seconds) as u64
    }

    /// When a tick is to be sent, in nanoseconds after the first.
    pub fn due(&self, tick: u64) -> u64 {
        (u128::from(tick) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// The tick of a symbol that was due in this millisecond, where there is only one.
    pub fn tick_at(&self, start: i64, symbol: usize, millis: i64) -> Option<u64> {
        let symbols = self.symbols as u64;
        let since = u64::try_from(millis * 1_000_000 + 999_999 - start).ok()?;
        let last = (u128::from(since) * u128::from(self.rate) / 1_000_000_000) as u64;
        let back = (last + symbols - symbol as u64 % symbols) % symbols;
        let tick = last.checked_sub(back)?;
        let is_it = (start + self.due(tick) as i64).div_euclid(1_000_000) == millis;
        is_it.then_some(tick)
    }
}

/// What the sender tells when it is done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sent {
    /// When the first tick was due, in nanoseconds since 1970.
    pub start: i64,
    /// Ticks.
    pub ticks: u64,
    /// How late they were handed to the socket, in microseconds.
    pub late: Percentiles,
}

/// The process itself: tells its port, serves one client, tells what it sent, and stays until its input ends.
pub fn run(load: Load) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&listener.local_addr()?.port().to_string())?;
    let mut socket = accept(listener.accept()?.0).context("the client's handshake")?;
    subscribed(&mut socket, load.symbols)?;
    say("subscribed")?;
    let mut stream = socket.get_ref().try_clone()?;
    stream.set_nodelay(true)?;
    std::thread::sleep(SETTLE);
    let sent = send(load, &mut stream)?;
    say(&serde_json::to_string(&sent)?)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Answers requests until all symbols are subscribed.
fn subscribed(socket: &mut WebSocket<TcpStream>, symbols: usize) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Request {
        id: u64,
        params: Vec<String>,
    }
    let mut there = 0;
    while there < symbols {
        let Message::Text(text) = socket.read().context("a request")? else { continue };
        let request: Request = serde_json::from_str(&text).context("a request")?;
        there += request.params.len();
        socket.send(Message::text(format!(r#"{{"result":null,"id":{}}}"#, request.id)))?;
    }
    Ok(())
}

fn send(load: Load, stream: &mut TcpStream) -> anyhow::Result<Sent> {
    let start = SystemClock.now().as_nanos();
    let symbols = load.symbols as u64;
    let mut late = Histogram::<u64>::new_with_bounds(1, 600_000_000_000, 3)?;
    let mut bytes = Vec::with_capacity(256 * WRITE_MAX as usize);
    let (mut next, ticks) = (0, load.ticks());
    while next < ticks {
        let since = (SystemClock.now().as_nanos() - start).max(0) as u64;
        if load.due(next) > since {
            std::thread::sleep(Duration::from_nanos(load.due(next) - since));
            continue;
        }
        bytes.clear();
        let first = next;
        while next < ticks && next - first < WRITE_MAX && load.due(next) <= since {
            let millis = (start + load.due(next) as i64).div_euclid(1_000_000);
            market::frame((next % symbols) as usize, next / symbols, millis, &mut bytes);
            next += 1;
        }
        stream.write_all(&bytes).context("the client went away")?;
        let now = (SystemClock.now().as_nanos() - start).max(0) as u64;
        for tick in first..next {
            late.saturating_record(now.saturating_sub(load.due(tick)).max(1));
        }
    }
    Ok(Sent { start, ticks, late: Percentiles::of(&late) })
}

/// A running sender, seen from the benchmark.
pub struct Sender {
    child: Child,
    input: Option<ChildStdin>,
    output: std::io::BufReader<ChildStdout>,
    /// Where it listens.
    pub port: u16,
}

impl Sender {
    /// Starts one.
    pub fn start(load: Load) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("send")
            .args(["--rate", &load.rate.to_string()])
            .args(["--symbols", &load.symbols.to_string()])
            .args(["--seconds", &load.seconds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the sender")?;
        let input = child.stdin.take();
        let output = std::io::BufReader::new(child.stdout.take().context("the sender's output")?);
        let mut sender = Self { child, input, output, port: 0 };
        sender.port = sender.line()?.parse().context("the sender's port")?;
        Ok(sender)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if std::io::BufRead::read_line(&mut self.output, &mut line)? == 0 {
            bail!("the sender has ended: {:?}", self.child.wait()?);
        }
        Ok(line.trim().to_owned())
    }

    /// Waits until the client has subscribed to everything.
    pub fn subscribed(&mut self) -> anyhow::Result<()> {
        self.line().map(drop)
    }

    /// Waits until everything is sent.
    pub fn sent(&mut self) -> anyhow::Result<Sent> {
        Ok(serde_json::from_str(&self.line()?)?)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends with its input; where it hangs in a write it is ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_by_symbol_and_millisecond() {
        let load = Load { rate: 20_000, symbols: 100, seconds: 10.0 };
        let start = 1_700_000_000_123_456_789;
        for tick in [0, 1, 99, 100, 4_711, 199_999] {
            let millis = (start + load.due(tick) as i64).div_euclid(1_000_000);
            assert_eq!(load.tick_at(start, (tick % 100) as usize, millis), Some(tick));
        }
        assert_eq!(load.tick_at(start, 5, start / 1_000_000 + 3), None);
    }
}
