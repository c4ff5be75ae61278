//! The table of runs, made of the folders' `summary.json`, each read once: what is known is kept in memory and in
//! `.runs.parquet` beside the folders. Before each question the folders are listed, and those whose `summary.json` has
//! another stamp are read again, so the index is never older than the question.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use polars_core::prelude::*;
use polars_io::prelude::*;

use crate::folder::{self, Stamp};
use crate::{ResultsError, frame};

/// The file of the index. Another version of the columns takes another name.
const FILE: &str = ".runs-1.parquet";
/// The columns of a row's stamp.
const STAMP: [&str; 3] = ["stamp_changed", "stamp_size", "stamp_inode"];

/// The index of a folder of runs.
pub(super) struct Index {
    root: PathBuf,
    /// The table of runs with the stamps; none before the first question.
    table: Option<DataFrame>,
    /// What can't be read, and why.
    damaged: BTreeMap<String, (Stamp, String)>,
}

impl Index {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, table: None, damaged: BTreeMap::new() }
    }

    /// The table of runs as they are now.
    pub(super) fn table(&mut self) -> Result<DataFrame, ResultsError> {
        let current = folder::runs_in(&self.root)?;
        let known = match self.table.take() {
            Some(table) => table,
            None => self.read().unwrap_or_default(),
        };
        let failed = |error: PolarsError| ResultsError::Internal(format!("the index of runs: {error}"));
        let (kept, height) = (self.kept(&known, &current).map_err(failed)?, known.height());
        self.damaged.retain(|run, (stamp, _)| current.get(run) == Some(stamp));
        let mut fresh = Vec::new();
        let mut stamps = Vec::new();
        for (run, stamp) in current {
            if kept.contains(&run) || self.damaged.contains_key(&run) {
                continue;
            }
            match folder::summary(&self.root.join(&run), &run) {
                Ok((_, row)) => {
                    fresh.push(row);
                    stamps.push(stamp);
                }
                Err(error) => {
                    self.damaged.insert(run, (stamp, error.to_string()));
                }
            }
        }
        if height > 0 && fresh.is_empty() && kept.len() == height {
            self.table = Some(known.clone());
            return Ok(known);
        }
        let mut table = stamped(frame::of_runs(&fresh).map_err(failed)?, &stamps).map_err(failed)?;
        if !kept.is_empty() {
            let names = known.column("run").and_then(|names| names.str().cloned()).map_err(failed)?;
            let mask: BooleanChunked =
                names.iter().map(|run| run.is_some_and(|run| kept.contains(run))).collect();
            let old = known.filter(&mask).map_err(failed)?;
            table = old.vstack(&table).map_err(failed)?;
            table.rechunk_mut();
        }
        self.write(&mut table);
        self.table = Some(table.clone());
        Ok(table)
    }

    /// The folders that can't be read, and why.
    pub(super) fn damaged(&self) -> Vec<(String, String)> {
        self.damaged.iter().map(|(run, (_, reason))| (run.clone(), reason.clone())).collect()
    }

    /// The names of the rows that are as their folders are.
    fn kept(
        &self,
        known: &DataFrame,
        current: &BTreeMap<String, Stamp>,
    ) -> PolarsResult<std::collections::BTreeSet<String>> {
        if known.height() == 0 {
            return Ok(Default::default());
        }
        let names = known.column("run")?.str()?;
        let (changed, size, inode) =
            (known.column(STAMP[0])?.i64()?, known.column(STAMP[1])?.u64()?, known.column(STAMP[2])?.u64()?);
        let stamps = changed.iter().zip(size.iter()).zip(inode.iter());
        let same = names.iter().zip(stamps).filter_map(|(name, ((changed_ns, size), inode))| {
            let (name, stamp) = (name?, Stamp { changed_ns: changed_ns?, size: size?, inode: inode? });
            (current.get(name) == Some(&stamp)).then(|| name.to_owned())
        });
        Ok(same.collect())
    }

    /// What was written; `None` where there is nothing, or it is not of these columns: then all folders are read.
    fn read(&self) -> Option<DataFrame> {
        let table = folder::read_parquet(File::open(self.root.join(FILE)).ok()?).ok()?;
        let wanted = stamped(frame::of_runs(&[]).ok()?, &[]).ok()?;
        (table.schema() == wanted.schema()).then_some(table)
    }

    /// Writes the index whole. Where that is not possible, as in a folder that may only be read, it stays in memory.
    fn write(&self, table: &mut DataFrame) {
        let mut write = |path: &Path| -> Result<(), Box<dyn std::error::Error>> {
            let mut file = tempfile::NamedTempFile::with_prefix_in(".runs-", path)?;
            ParquetWriter::new(file.as_file_mut()).finish(table)?;
            file.persist(path.join(FILE))?;
            Ok(())
        };
        if let Err(error) = write(&self.root) {
            tracing::debug!(root = %self.root.display(), %error, "the index of runs is not kept");
        }
    }
}

/// A table of runs with its stamps.
fn stamped(mut table: DataFrame, stamps: &[Stamp]) -> PolarsResult<DataFrame> {
    let changed: Vec<i64> = stamps.iter().map(|stamp| stamp.changed_ns).collect();
    let size: Vec<u64> = stamps.iter().map(|stamp| stamp.size).collect();
    let inode: Vec<u64> = stamps.iter().map(|stamp| stamp.inode).collect();
    table.with_column(Column::new(STAMP[0].into(), changed))?;
    table.with_column(Column::new(STAMP[1].into(), size))?;
    table.with_column(Column::new(STAMP[2].into(), inode))?;
    Ok(table)
}
