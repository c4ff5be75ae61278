//! `tradeflow state`: looks after the database of a node.
//!
//! | file | holds |
//! |---|---|
//! | `rebuild.rs` | `tradeflow state rebuild` |
//! | `rotate_key.rs` | `tradeflow state rotate-key` |

mod rebuild;
mod rotate_key;

use std::process::ExitCode;

/// Looks after the database of a node.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Empties the tables of orders, fills, positions, trades and equity, and reads them anew from the bus.
    Rebuild(rebuild::Args),
    /// Seals credentials of brokers and secrets of authenticators anew, after a new key.
    RotateKey(rotate_key::Args),
}

/// Runs the command.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Rebuild(args) => rebuild::run(args),
        Command::RotateKey(args) => rotate_key::run(args),
    }
}
