//! The `tradeflow` command: one file a subcommand.

mod backtest;
mod catalog;
mod fetch;
mod import;
mod job;
mod live;
mod runs;
mod sample;
mod serve;
mod state;
mod status;
mod strategies;
mod vendor;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Ticks are small allocations that one thread makes and another frees: this one is quick at it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Streaming trading engine: one code path for backtest, paper and live trading.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a strategy on history and writes what came of it.
    Backtest(Box<backtest::Args>),
    /// Asks over many runs: which was best, how two differ.
    Runs(Box<runs::Args>),
    /// Reads price files into the catalog.
    Import(Box<import::Args>),
    /// Fetches history from a vendor into the catalog.
    Fetch(Box<fetch::Args>),
    /// Shows, checks and aggregates the data of the catalog.
    Catalog(catalog::Args),
    /// Makes realistic sample data from a seed.
    Sample(sample::Args),
    /// Serves a vendor's protocol on this machine.
    Vendor(Box<vendor::Args>),
    /// Lists the strategies and their parameters.
    Strategies(strategies::Args),
    /// Runs a node: live data, paper accounts, strategies.
    Serve(Box<serve::Args>),
    /// Lists the sessions of a node.
    Sessions(live::sessions::Args),
    /// Replays a session and compares every order, fill and balance.
    Verify(live::verify::Args),
    /// Replays a session with other parameters from some instant on.
    Fork(live::fork::Args),
    /// Looks after the database of a node.
    State(state::Args),
    /// Shows what a node does: feeds, quotes, accounts, positions.
    Status(status::Args),
}

fn main() -> ExitCode {
    end_quietly_on_a_closed_pipe();
    let done = match Cli::parse().command {
        Command::Backtest(args) => backtest::run(*args),
        Command::Runs(args) => runs::run(*args),
        Command::Import(args) => import::run(*args),
        Command::Fetch(args) => fetch::run(*args),
        Command::Catalog(args) => catalog::run(args),
        Command::Sample(args) => sample::run(args),
        Command::Vendor(args) => vendor::run(*args),
        Command::Strategies(args) => strategies::run(args),
        Command::Serve(args) => serve::run(&args),
        Command::Sessions(args) => live::sessions::run(args),
        Command::Verify(args) => live::verify::run(args),
        Command::Fork(args) => live::fork::run(args),
        Command::State(args) => state::run(args),
        Command::Status(args) => status::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {}", told(&error));
        ExitCode::FAILURE
    })
}

/// An error with its causes, without those that its own text already tells.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Standard output may be closed early, as by `| head`. Rust reports that as a panic in `println!`; to a user it is no
/// error.
fn end_quietly_on_a_closed_pipe() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map_or("", String::as_str);
        if text.starts_with("failed printing to stdout: Broken pipe") {
            std::process::exit(141); // as a program that ends by SIGPIPE
        }
        usual(info);
    }));
}
