//! `tradeflow serve`: runs a node.
//!
//! | file | holds |
//! |---|---|
//! | `config/` | the configuration of a node |

#[allow(dead_code)] // taken by the wiring of the node
pub mod config;

use std::path::PathBuf;
use std::process::ExitCode;

use tradeflow_model::Timestamp;
use tradeflow_storage::catalog::Catalog;

use config::ServeConfig;

/// Runs a node: live data, paper accounts, strategies.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A TOML file with the configuration; every setting has a default, and the environment goes before the file
    /// (TRADEFLOW__NODE__LISTEN=…)
    config: Option<PathBuf>,
    /// Check the configuration, print it with all defaults and without secrets, and run nothing
    #[arg(long)]
    print_config: bool,
}

/// Runs the command.
///
/// # Errors
/// All that is wrong with the configuration.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = ServeConfig::load(args.config.as_deref())?;
    if args.print_config {
        if !config.instruments.is_empty() {
            config.session_plan(&Catalog::open(&config.catalog())?, Timestamp::from_nanos(0))?;
        }
        print!("{}", config.to_toml());
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::bail!("only --print-config is there yet")
}
