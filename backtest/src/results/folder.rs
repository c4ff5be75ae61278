//! A folder that appears whole or not at all.

use std::path::{Path, PathBuf};

use tradeflow_model::plan::RunPlan;

/// Where a run's results go: written beside their place under a working name, and put there when they are complete.
#[derive(Debug)]
pub struct ResultFolder {
    working: PathBuf,
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
        let working = out.join(format!(".{name}.{}.partial", std::process::id()));
        std::fs::create_dir_all(&working).map_err(|error| format!("{}: {error}", working.display()))?;
        Ok(Self { working, place: out.join(name), kept: false })
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

impl Drop for ResultFolder {
    fn drop(&mut self) {
        if !self.kept {
            // What is left of a run that failed is of no use; that it could not be removed is not worth an error.
            let _ = std::fs::remove_dir_all(&self.working);
        }
    }
}
