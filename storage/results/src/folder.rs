//! A run's folder, opened as it is at one moment. A backtest that runs again puts another folder in its place; files that
//! were opened stay what they were.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use polars_core::prelude::*;
use polars_io::SerReader;
use polars_io::prelude::ParquetReader;
use serde::{Deserialize, Serialize};

use crate::frame::{EQUITY, TABLES, Table};
use crate::{ResultsError, Run, summary};

/// The file that makes a folder a run's.
pub(crate) const SUMMARY: &str = "summary.json";

/// By what a `summary.json` is known to be the same as before: another one has another inode, or was changed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) changed_ns: i64,
    pub(crate) size: u64,
    pub(crate) inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let changed_ns = metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec());
        Self { changed_ns, size: metadata.len(), inode: metadata.ino() }
    }

    /// That of a folder; `None` where it holds no run.
    pub(crate) fn of_folder(folder: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(folder.join(SUMMARY)).ok()?;
        metadata.is_file().then(|| Self::of(&metadata))
    }
}

/// The names and stamps of all runs under a folder, by name. A folder that is not there has none.
pub(crate) fn runs_in(root: &Path) -> Result<std::collections::BTreeMap<String, Stamp>, ResultsError> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(ResultsError::io(root, &error)),
    };
    let mut runs = std::collections::BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|error| ResultsError::io(root, &error))?;
        // What begins with a dot is being written, or belongs to us.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with('.')
            && let Some(stamp) = Stamp::of_folder(&entry.path())
        {
            runs.insert(name, stamp);
        }
    }
    Ok(runs)
}

/// Where a run is, by a name that someone gave.
pub(crate) fn place(root: &Path, run: &str) -> Result<PathBuf, ResultsError> {
    let plain = !run.is_empty() && !run.starts_with('.') && !run.contains(['/', '\\', '\0']);
    let place = root.join(run);
    if plain && Stamp::of_folder(&place).is_some() {
        Ok(place)
    } else {
        Err(ResultsError::Missing(run.to_owned()))
    }
}

/// Reads a run's `summary.json`: its text, and its row.
pub(crate) fn summary(folder: &Path, run: &str) -> Result<(String, Run), ResultsError> {
    let path = folder.join(SUMMARY);
    let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => ResultsError::damaged(&path, "is not UTF-8 text"),
        _ => ResultsError::io(&path, &error),
    })?;
    let row = summary::read(run, &text).map_err(|what| ResultsError::damaged(&path, what))?;
    Ok((text, row))
}

/// All that a run left, open.
pub(crate) struct OpenRun {
    pub(crate) stamp: Stamp,
    pub(crate) summary: String,
    pub(crate) row: Run,
    tables: Vec<(Table, PathBuf, File)>,
}

impl OpenRun {
    /// Opens a run's folder.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub(crate) fn open(folder: &Path, run: &str) -> Result<Self, ResultsError> {
        loop {
            let before = Stamp::of_folder(folder).ok_or_else(|| ResultsError::Missing(run.to_owned()))?;
            let opened = Self::try_open(folder, run, before);
            // Whatever came of it: when the folder was replaced meanwhile, it is of no one moment.
            if Stamp::of_folder(folder).is_none_or(|after| after == before) {
                return opened;
            }
        }
    }

    fn try_open(folder: &Path, run: &str, stamp: Stamp) -> Result<Self, ResultsError> {
        let (summary, row) = summary(folder, run)?;
        let tables = TABLES.iter().map(|table| {
            let path = folder.join(format!("{}.parquet", table.name));
            let file = File::open(&path).map_err(|error| match error.kind() {
                ErrorKind::NotFound => ResultsError::damaged(&path, "is missing"),
                _ => ResultsError::io(&path, &error),
            })?;
            Ok((*table, path, file))
        });
        Ok(Self { stamp, summary, row, tables: tables.collect::<Result<_, ResultsError>>()? })
    }

    /// The digest of the bytes of all tables.
    ///
    /// # Errors
    /// When a file can't be read.
    pub(crate) fn content(&self) -> Result<String, ResultsError> {
        let mut hasher = blake3::Hasher::new();
        for (table, path, file) in &self.tables {
            let mut file = file;
            let mut bytes = Vec::new();
            file.rewind()
                .and_then(|()| file.read_to_end(&mut bytes))
                .map_err(|error| ResultsError::io(path, &error))?;
            hasher.update(table.name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// A table's rows, checked to have its columns.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn table(&self, table: Table) -> Result<DataFrame, ResultsError> {
        let open = self.tables.iter().find(|(of, _, _)| of.name == table.name);
        let (_, path, file) =
            open.ok_or_else(|| ResultsError::Internal(format!("{} is not open", table.name)))?;
        let file = file.try_clone().map_err(|error| ResultsError::io(path, &error))?;
        let mut frame = read_parquet(file).map_err(|error| ResultsError::damaged(path, error))?;
        if table.name == EQUITY.name && frame.column("account").is_err() {
            let account = self.row.accounts.first().map(String::as_str).unwrap_or_default();
            let column =
                Column::new_scalar("account".into(), account.to_owned().into_value(), frame.height());
            frame.with_column(column).map_err(|error| ResultsError::damaged(path, error))?;
        }
        table.check(frame.schema()).map_err(|what| ResultsError::damaged(path, what))?;
        frame.select(table.names()).map_err(|error| ResultsError::damaged(path, error))
    }
}

/// A text as a value of polars.
trait IntoValue {
    fn into_value(self) -> Scalar;
}

impl IntoValue for String {
    fn into_value(self) -> Scalar {
        Scalar::new(DataType::String, AnyValue::StringOwned(self.into()))
    }
}

/// Reads a Parquet file. A file that is damaged is an error, also where the library panics over it.
pub(crate) fn read_parquet(mut file: File) -> Result<DataFrame, String> {
    file.rewind().map_err(|error| error.to_string())?;
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ParquetReader::new(file).finish()));
    match read {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("is damaged: its reader gave up".into()),
    }
}
