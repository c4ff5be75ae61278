//! `tradeflow backtest`: runs a strategy on history.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | flags, and what happens in which order |
//! | `flags.rs` | from flags to a run's configuration |
//! | `show.rs` | the summary on the terminal |
//! | `verify.rs` | `--verify`: the same digest from every driver |

mod flags;
mod show;
mod verify;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use tradeflow_backtest::config::{RunConfig, from_toml};
use tradeflow_backtest::dataflow::{Cluster, spawn_local};
use tradeflow_backtest::planning::{self, Planned};
use tradeflow_backtest::results::folder_name;
use tradeflow_backtest::run::{self, Driver, RunError};
use tradeflow_model::plan::RunPlan;
use tradeflow_storage::catalog::Catalog;

use crate::job;

const EXAMPLES: &str = "\
Examples:
  tradeflow sample                                          data to try it on, from a seed
  tradeflow backtest --symbol SAMPLE-BTC --interval 1m --strategy sma_cross
  tradeflow backtest --symbol BTCUSD --interval 1m --from 2017-01-01 --to 2019-01-01 --strategy sma_cross \\
      --set fast=10 --set slow=50 --set direction=long --cash 1000000 --size 100% --fee-bps 10 --json
  tradeflow backtest examples/sma_cross.toml                the same in a file; it also holds several accounts
  tradeflow backtest examples/sma_cross.toml --verify       the same digest from every driver
  tradeflow strategies                                      the strategies and their parameters";

/// Runs a strategy on history and writes what came of it.
///
/// A run is described by flags or by a TOML file; with a file, only the flags under "Run" and "Cluster" may be added.
/// Results go to a folder of Parquet files and summary.json under --out. The defaults are the honest ones: market orders
/// fill at the next bar's open, capped by a tenth of its volume; the summary says everything that was assumed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A TOML file that describes the run
    file: Option<PathBuf>,

    #[command(flatten)]
    what: flags::What,

    /// Folder or URL of the catalog [default: data/catalog]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    catalog: Option<String>,
    /// Folder under which the results go [default: data/results]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    out: Option<String>,
    /// Start of trading, such as 2017-01-01 or 2017-01-01T12:00Z [default: start of the data]
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    from: Option<String>,
    /// End, exclusive [default: end of the data]
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    to: Option<String>,
    #[command(flatten)]
    clickhouse: crate::runs::Flag,
    /// Seed of everything random
    #[arg(long, value_name = "N", help_heading = "Run")]
    seed: Option<u64>,
    /// Print the summary as JSON on standard output
    #[arg(long, help_heading = "Run")]
    json: bool,
    /// Run every driver (plain loop; 1, 2 and 3 workers; two processes; a fresh process) and compare their digests
    #[arg(long, help_heading = "Run")]
    verify: bool,
    /// Print only the digest, and write no results
    #[arg(long, help_heading = "Run", conflicts_with_all = ["json", "verify"])]
    digest_only: bool,
    /// Run as a server's job: at the lowest priority, with lines of JSON about its progress on standard error, and until
    /// standard input ends
    #[arg(long, help_heading = "Run", conflicts_with_all = ["verify", "digest_only", "processes", "hosts"])]
    as_job: bool,
    /// Memory that it may take, in MiB; beyond it ends
    #[arg(long, value_name = "MIB", help_heading = "Run")]
    memory_max: Option<u64>,
    /// Print the run plan as JSON, and run nothing
    #[arg(long, help_heading = "Run", conflicts_with_all = ["json", "verify", "digest_only"])]
    plan: bool,

    /// Worker threads of each process; cells are shared out among them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Cluster")]
    workers: u16,
    /// Processes on this machine, connected over TCP
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Cluster")]
    processes: u16,
    /// Addresses of all processes of a cluster, this one's among them: host:port,host:port,…
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        conflicts_with = "processes",
        help_heading = "Cluster"
    )]
    hosts: Vec<String>,
    /// Index of this process in --hosts, from 0; the first one writes the results
    #[arg(long, value_name = "N", default_value_t = 0, requires = "hosts", help_heading = "Cluster")]
    process: usize,
}

/// Runs the command.
///
/// # Errors
/// When the run is described wrongly, data is missing, or the replay fails.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    job::limit(args.as_job, args.memory_max)?;
    let config = configuration(&args)?;
    let catalog = Catalog::open(&config.catalog)?;
    let Planned { plan, rows } = planning::plan(&config, &catalog)?;
    if args.plan {
        println!("{}", serde_json::to_string_pretty(&plan)?);
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Arc::new(plan);
    if args.verify {
        return verify::run(&plan, &catalog, args.json);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(130); // asked twice: leave at once; nothing unfinished is in its place
        }
    })?;
    let cluster = cluster(&args, &plan)?;
    let first = cluster.process == 0;
    let driver = Driver::Dataflow(Box::new(cluster));
    if args.digest_only {
        let digest = ended(run::digest(&plan, &catalog, driver, &stop));
        if stop.load(Ordering::SeqCst) {
            eprintln!("stopped; a part of a run has no digest to compare");
            return Ok(ExitCode::from(130));
        }
        if let Some(digest) = digest {
            println!("{digest}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.as_job {
        job::end_with_input();
    }
    // Noted before it is there: whatever happens from here on, the run finds its way.
    let queue = if first { crate::runs::queue_of(config.out.as_ref(), &args.clickhouse)? } else { None };
    if let Some(queue) = &queue {
        queue.add(&folder_name(&plan))?;
    }
    let bar = progress_bar(rows, first);
    let mut said = job::Progress::new(rows);
    let progress = Box::new(|rows| {
        bar.set_position(rows);
        if args.as_job {
            said.say(rows);
        }
    });
    let summary = ended(run::run(&plan, &catalog, driver, config.out.as_ref(), progress, &stop));
    bar.finish_and_clear();
    let Some(summary) = summary else { return Ok(ExitCode::SUCCESS) };
    if let Some(queue) = &queue {
        crate::runs::after_backtest(queue);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        show::summary(&summary);
    }
    if summary.completed {
        return Ok(ExitCode::SUCCESS);
    }
    let at = summary.stopped_at.as_deref().unwrap_or_default();
    eprintln!("stopped at {at}; the results up to there are complete, in {}", summary.results);
    Ok(ExitCode::from(130))
}

fn configuration(args: &Args) -> anyhow::Result<RunConfig> {
    let Some(file) = &args.file else { return Ok(flags::configuration(args)?) };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    args.what.refuse_beside_a_file(&name)?;
    let mut config = from_toml(&name, &text)?;
    flags::overlay(args, &mut config)?;
    Ok(config)
}

/// The processes and threads that the flags ask for. Processes on this machine are started here.
fn cluster(args: &Args, plan: &RunPlan) -> anyhow::Result<Cluster> {
    let workers = usize::from(args.workers);
    let plan_digest = *plan.config_digest().as_bytes();
    let mut cluster = if args.hosts.is_empty() {
        spawn_local(usize::from(args.processes), workers, plan_digest, member_command)?
    } else {
        Cluster::member(args.process, args.hosts.clone(), workers, plan_digest)
    };
    cluster.plan_parts = run::plan_parts(plan);
    Ok(cluster)
}

/// The command line of a further process on this machine: this one's, with its place in the cluster.
fn member_command(process: usize, hosts: &[String]) -> std::process::Command {
    let mut command = this_program(&["--processes"], &["--json"]);
    command.args(["--hosts", &hosts.join(","), "--process", &process.to_string()]);
    command.stdout(std::process::Stdio::null());
    command
}

/// This program with its own arguments, but without some: flags that are followed by a value, and flags that are not.
fn this_program(with_value: &[&str], alone: &[&str]) -> std::process::Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "tradeflow".into());
    let mut command = std::process::Command::new(program);
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        let text = argument.to_string_lossy();
        let name = text.split_once('=').map_or(text.as_ref(), |(name, _)| name);
        if with_value.contains(&text.as_ref()) {
            given.next();
        } else if !with_value.contains(&name) && !alone.contains(&text.as_ref()) {
            command.arg(argument);
        }
    }
    command
}

/// The value of a replay that ended well. After a failure threads that can't be interrupted may still run, so the
/// process ends here.
fn ended<T>(result: Result<T, RunError>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        std::process::exit(1);
    })
}

fn progress_bar(rows: u64, first: bool) -> ProgressBar {
    if !first || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{bar:40} {percent}% {human_pos} of {human_len} rows, {per_sec}, {eta} left";
    ProgressBar::new(rows)
        .with_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()))
}
