//! Logs of the node, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::config::node::LogSection;

/// Parts whose everyday news nobody needs; a level that the configuration gives one of them goes before.
const QUIET: &str = "kafka=warn,actix_server=warn,actix_web=warn";

/// Starts logging; the first call counts.
pub fn start(section: &LogSection) {
    let filter = EnvFilter::new(format!("{QUIET},{}", section.level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if section.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    };
    // A second call within one process is a test's.
    drop(started);
}
