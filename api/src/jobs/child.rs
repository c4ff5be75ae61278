//! A backtest: the process that does it.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tradeflow_results::ClickHouseUrl;
use tradeflow_state::JobRow;

use super::{CLICKHOUSE, JobsConfig, Outcome, lease, told};
use crate::context::Context;

/// How often the node says that it does the job.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// Texts of an error that are kept.
const ERROR_MAX: usize = 4 << 10;
/// Largest summary, in bytes.
const RESULT_MAX: u64 = 8 << 20;

/// Runs a backtest, to whatever end.
pub(super) async fn run(shared: &Context, node: &str, job: &JobRow) -> Outcome {
    match start(shared, job).await {
        Ok(child) => attend(shared, node, job, child).await,
        Err(why) => Outcome::Failed(format!("the job can't be started: {why}")),
    }
}

async fn start(shared: &Context, job: &JobRow) -> std::io::Result<Child> {
    let config = &shared.jobs;
    tokio::fs::create_dir_all(&config.folder).await?;
    let file = config.folder.join(format!("{}.toml", job.id));
    tokio::fs::write(&file, &job.request).await?;
    let clickhouse = config.clickhouse.as_ref().map_or_else(|| "none".to_owned(), ClickHouseUrl::expose);
    let mut process = command(config, &["backtest"]);
    process.arg(&file).args(["--catalog", &config.catalog]).env(CLICKHOUSE, clickhouse).spawn()
}

/// The program itself with this subcommand, as a job: of the lowest priority, with a bound on its memory. It ends when
/// whoever started it does.
pub(crate) fn command(config: &JobsConfig, subcommand: &[&str]) -> Command {
    let mut command = Command::new(&config.program);
    command
        .args(subcommand)
        .args(["--json", "--as-job", "--out"])
        .arg(&config.results)
        .args(["--memory-max", &config.memory_mib.to_string()])
        // Its end is the job's: it reads nothing.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What a job says of itself, a line each time.
#[derive(serde::Deserialize)]
struct Said {
    rows: i64,
    of: i64,
}

async fn attend(shared: &Context, node: &str, job: &JobRow, mut child: Child) -> Outcome {
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Outcome::Failed("the job has no output".to_owned());
    };
    let reading = tokio::spawn(async move {
        let mut text = String::new();
        let _ = out.take(RESULT_MAX).read_to_string(&mut text).await; // what is there is there
        text
    });
    let mut lines = BufReader::new(err).lines();
    let (mut progress, mut errors) = ((0, job.total), String::new());
    let mut say = tokio::time::interval(SAY_EVERY);
    loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => match serde_json::from_str::<Said>(&line) {
                    Ok(said) => progress = (said.rows, said.of),
                    Err(_) if errors.len() < ERROR_MAX => errors += &format!("{line}\n"),
                    Err(_) => {}
                },
                Ok(None) | Err(_) => break,
            },
            _ = say.tick() => {
                // While the database is away the job goes on; its lease may end, and then it is another's.
                if let Ok(false) = shared.state.keep_job(&job.id, node, lease(shared), progress).await {
                    let _ = child.kill().await; // it may have ended by itself
                    return Outcome::NotOurs;
                }
                told(shared, &job.id).await;
            }
        }
    }
    let status = child.wait().await;
    let text = reading.await.unwrap_or_default();
    let _ = shared.state.keep_job(&job.id, node, lease(shared), (progress.1, progress.1)).await; // its end says the rest
    match status {
        Ok(status) if status.success() && serde_json::from_str::<serde_json::Value>(&text).is_ok() => {
            Outcome::Done(text)
        }
        Ok(status) => {
            let said = errors.trim().trim_start_matches("error: ");
            Outcome::Failed(match said.is_empty() {
                true => format!("it ended with {status}: more memory than it may have, probably"),
                false => said.to_owned(),
            })
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
