//! Logs of the node, on standard error and in the state.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tradeflow_api::{SystemLogQueue, system_log};

use super::config::node::LogSection;

/// Parts whose everyday news nobody needs; a level that the configuration gives one of them goes before.
const QUIET: &str = "kafka=warn,actix_server=warn,actix_web=warn";

/// Starts logging, on standard error and into the queue of the system log; the first call counts.
pub fn start(section: &LogSection) -> SystemLogQueue {
    let filter = EnvFilter::new(format!("{QUIET},{}", section.level));
    let (system_log, queue) = system_log();
    let on_stderr = || tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter).with(system_log);
    let started = if section.json {
        registry.with(on_stderr().json().flatten_event(true)).try_init()
    } else {
        registry.with(on_stderr().with_ansi(std::io::stderr().is_terminal()).with_target(false)).try_init()
    };
    // A second call within one process is a test's.
    drop(started);
    queue
}
