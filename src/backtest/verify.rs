//! `--verify`: the digest of all outputs is the same from every driver.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use tradeflow_backtest::dataflow::{Cluster, spawn_local};
use tradeflow_backtest::run::{self, Driver};
use tradeflow_model::Digest;
use tradeflow_model::plan::RunPlan;
use tradeflow_storage::catalog::Catalog;

/// Runs the plan with every driver and compares.
///
/// # Errors
/// When a driver fails.
pub fn run(plan: &Arc<RunPlan>, catalog: &Catalog, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    let digest = |driver| {
        run::digest(plan, catalog, driver, &stop)?.context("this process is the first and must have a digest")
    };
    let mut results: Vec<(String, Digest)> = vec![("plain loop".into(), digest(Driver::Reference)?)];
    for workers in 1..=3 {
        let driver = Driver::Dataflow(Box::new(Cluster::single(workers)));
        results.push((format!("{workers} worker{}", if workers == 1 { "" } else { "s" }), digest(driver)?));
    }
    let plan_digest = *plan.config_digest().as_bytes();
    let two = spawn_local(2, 2, plan_digest, |process, hosts| {
        let mut command = own_plan();
        command.args(["--hosts", &hosts.join(","), "--process", &process.to_string(), "--workers", "2"]);
        command.stdout(Stdio::null());
        command
    })?;
    results.push(("2 processes of 2 workers".into(), digest(Driver::Dataflow(Box::new(two)))?));
    results.push(("a fresh process".into(), fresh()?));
    let expected = results[0].1;
    let equal = results.iter().all(|(_, digest)| *digest == expected);
    if json {
        let rows: Vec<_> = results
            .iter()
            .map(|(name, digest)| serde_json::json!({ "driver": name, "digest": digest }))
            .collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({ "equal": equal, "drivers": rows }))?
        );
    } else {
        for (name, digest) in &results {
            println!("{} {name:<25} {digest}", if *digest == expected { "equal" } else { "OTHER" });
        }
    }
    if !equal {
        bail!(
            "the digests differ: this is a defect of TradeFlow, please report it with the run's configuration"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// This program's own plan in another process, for its digest alone.
fn own_plan() -> Command {
    let mut command =
        super::this_program(&["--workers", "--processes", "--hosts", "--process"], &["--verify", "--json"]);
    command.arg("--digest-only");
    command
}

/// The digest from a process that has nothing in common with this one but the command line.
fn fresh() -> anyhow::Result<Digest> {
    let done = own_plan().output().context("a fresh process")?;
    if !done.status.success() {
        bail!("a fresh process failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    Digest::try_from(text).map_err(anyhow::Error::msg)
}
