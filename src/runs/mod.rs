//! `tradeflow runs`: questions over many runs, and their way to ClickHouse.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | subcommands, and which store answers |
//! | `list.rs` | `list`: which runs, the best first; statistics of groups |
//! | `show.rs` | `show`: one run, its tables |
//! | `compare.rs` | `compare`: a few runs side by side |
//! | `sync.rs` | `sync`: uploads what is not in ClickHouse |

mod compare;
mod list;
mod show;
mod sync;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use tradeflow_backtest::config::RunConfig;
use tradeflow_results::{ClickHouseRuns, ClickHouseUrl, ParquetRuns, RunStore};

use crate::serve::config::CLICKHOUSE;

pub use sync::{after_backtest, queue_of};

const EXAMPLES: &str = "\
Examples:
  tradeflow runs list --sort sharpe --limit 10              the best ten
  tradeflow runs list --symbol BTCUSD --param fast=10       those of a symbol and a parameter
  tradeflow runs list --by fast --sort sharpe               how good the runs were for each value of a parameter
  tradeflow runs show RUN --table trades
  tradeflow runs compare RUN RUN
  tradeflow runs sync --clickhouse http://user@host:8123    uploads what is not there yet";

/// Asks over many runs: which was best, how two differ.
///
/// The runs are those under --out, or those in ClickHouse where it is named by --clickhouse or TRADEFLOW_CLICKHOUSE.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Compare(compare::Args),
    Sync(sync::Args),
}

/// Runs the command.
///
/// # Errors
/// When the question can't be asked, or there is no answer.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            Command::List(args) => list::run(args).await,
            Command::Show(args) => show::run(args).await,
            Command::Compare(args) => compare::run(args).await,
            Command::Sync(args) => sync::run(args).await,
        }
    })
}

/// Where the runs are.
#[derive(Debug, clap::Args)]
struct Place {
    /// Folder of the results [default: data/results]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    clickhouse: Flag,
}

/// The flag that names ClickHouse.
#[derive(Debug, Clone, clap::Args)]
pub struct Flag {
    /// ClickHouse, as http://user:password@host:8123/database; the environment variable TRADEFLOW_CLICKHOUSE does the
    /// same without showing the password in the list of processes [default database: tradeflow]
    #[arg(long = "clickhouse", value_name = "URL", help_heading = "Results")]
    url: Option<String>,
}

impl Flag {
    /// The address, of the flag or of the environment; `none` and nothing mean none.
    ///
    /// # Errors
    /// When it is none.
    pub fn url(&self) -> anyhow::Result<Option<ClickHouseUrl>> {
        let given = match &self.url {
            Some(url) => Some(("--clickhouse", url.clone())),
            None => std::env::var_os(CLICKHOUSE).map(|url| (CLICKHOUSE, url.to_string_lossy().into_owned())),
        };
        match given {
            Some((place, url)) if !url.is_empty() && url != "none" => {
                url.parse().map(Some).map_err(|error| anyhow::anyhow!("{place}: {error}"))
            }
            _ => Ok(None),
        }
    }
}

impl Place {
    fn root(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| RunConfig::OUT.into())
    }

    /// What answers. A folder that is named wins over a ClickHouse of the environment.
    async fn store(&self) -> anyhow::Result<Box<dyn RunStore>> {
        let url =
            if self.out.is_some() && self.clickhouse.url.is_none() { None } else { self.clickhouse.url()? };
        if let Some(url) = url {
            return Ok(Box::new(ClickHouseRuns::open(&url).await?));
        }
        let runs = ParquetRuns::new(self.root());
        anyhow::ensure!(
            runs.root().is_dir(),
            "there is no folder {}: `tradeflow backtest` makes it, --out names another",
            runs.root().display()
        );
        for (run, reason) in runs.damaged().await? {
            eprintln!("warning: {run} is left out: {reason}");
        }
        Ok(Box::new(runs))
    }
}

/// A number that may be missing.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
}

/// A fraction in percent that may be missing.
fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{:.2} %", value * 100.0))
}
