//! A folder that appears whole or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use tradeflow_model::plan::RunPlan;

/// How the names of working folders end.
const PARTIAL: &str = ".partial";
/// The lock file of a working folder.
const LOCK: &str = ".lock";

/// Where a run's results go: written beside their place under a working name, and put there when they are complete.
///
/// While it is written its lock file is locked. A process that was killed leaves a working folder that nobody locks; the
/// next run under the same folder removes it.
#[derive(Debug)]
pub struct ResultFolder {
    working: PathBuf,
    /// Held until the folder is in its place.
    _lock: File,
    place: PathBuf,
    kept: bool,
}

/// The name of a run's folder: strategies, symbols, dates, and the beginning of the plan's digest. The same run has the
/// same name and replaces its own results.
pub fn folder_name(plan: &RunPlan) -> String {
    let mut strategies: Vec<&str> = Vec::new();
    for strategy in plan.cells.iter().flat_map(|cell| &cell.strategies) {
        if !strategies.contains(&strategy.kind.as_str()) {
            strategies.push(&strategy.kind);
        }
    }
    let symbols: Vec<&str> = plan.instruments.iter().take(3).map(|i| i.symbol.as_str()).collect();
    let more = if plan.instruments.len() > 3 { "+more" } else { "" };
    let date = |t: tradeflow_model::Timestamp| t.to_string()[..10].replace('-', "");
    let digest = plan.config_digest().to_string();
    strategies.truncate(3);
    format!(
        "{}_{}{more}_{}-{}_{}",
        strategies.join("+"),
        symbols.join("+"),
        date(plan.from),
        date(plan.to),
        &digest[..8]
    )
}

impl ResultFolder {
    /// Makes the working folder under `out`.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(out: &Path, name: &str) -> Result<Self, String> {
        let working = out.join(format!(".{name}.{}{PARTIAL}", std::process::id()));
        let failed = |error: std::io::Error| format!("{}: {error}", working.display());
        std::fs::create_dir_all(&working).map_err(failed)?;
        let lock = File::create(working.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        remove_abandoned(out);
        Ok(Self { working, _lock: lock, place: out.join(name), kept: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.working
    }

    /// Puts the folder in its place and returns that. Results of an earlier run of the same plan give way.
    ///
    /// # Errors
    /// When it can't be moved.
    pub fn keep(mut self) -> Result<PathBuf, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.place.display());
        let old = self.working.with_extension("old");
        let had_old = self.place.exists();
        std::fs::remove_file(self.working.join(LOCK)).map_err(failed)?;
        if had_old {
            std::fs::rename(&self.place, &old).map_err(failed)?;
        }
        std::fs::rename(&self.working, &self.place).map_err(failed)?;
        self.kept = true;
        if had_old {
            std::fs::remove_dir_all(&old).map_err(failed)?;
        }
        Ok(self.place.clone())
    }
}

/// Removes the working folders of processes that were killed. That one can't be removed is no error of this run.
fn remove_abandoned(out: &Path) {
    for entry in std::fs::read_dir(out).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with('.') && name.ends_with(PARTIAL)) {
            continue;
        }
        // Without a lock file it may be about to get one, or about to be put in its place.
        let abandoned = File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if abandoned {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for ResultFolder {
    fn drop(&mut self) {
        if !self.kept {
            // What is left of a run that failed is of no use; that it could not be removed is not worth an error.
            let _ = std::fs::remove_dir_all(&self.working);
        }
    }
}
