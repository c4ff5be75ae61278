//! The `tradeflow` command: one file a subcommand.

mod backtest;
mod catalog;
mod import;
mod sample;
mod strategies;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Reads price files into the catalog.
    Import(Box<import::Args>),
    /// Shows, checks and aggregates the data of the catalog.
    Catalog(catalog::Args),
    /// Makes realistic sample data from a seed.
    Sample(sample::Args),
    /// Lists the strategies and their parameters.
    Strategies(strategies::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Backtest(args) => backtest::run(*args),
        Command::Import(args) => import::run(*args),
        Command::Catalog(args) => catalog::run(args),
        Command::Sample(args) => sample::run(args),
        Command::Strategies(args) => strategies::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
