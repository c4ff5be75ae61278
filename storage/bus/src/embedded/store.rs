//! The store under the log: opening, writing with a way back, syncing, and what its errors mean.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};

use super::Options;
use crate::error::BusError;

const STORE: &str = "store";
const LOCK: &str = "lock";
const META: &str = "_meta";
/// Journals of the store that may lie on the disk; what is in them is read when it is opened.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;
const PROBE_BYTES: usize = 1 << 20;

/// The folder of a log, locked for this process as long as this lives.
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates it where it is missing, and locks it.
    pub fn lock(path: &Path) -> Result<Self, BusError> {
        let failed = |error: std::io::Error| io_error(path, &error);
        std::fs::create_dir_all(path).map_err(failed)?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(BusError::Locked { place: path.display().to_string() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Where it is, for errors.
    pub fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Free bytes of its disk.
    pub fn free(&self) -> Result<u64, BusError> {
        let disk = rustix::fs::statvfs(&self.path).map_err(|error| BusError::other(self.place(), error))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Whether something can be written.
    pub fn probe(&self) -> Result<(), BusError> {
        let path = self.path.join("probe");
        let written = File::create(&path).and_then(|mut file| file.write_all(&vec![0; PROBE_BYTES]));
        let removed = std::fs::remove_file(&path);
        written.and(removed).map_err(|error| io_error(&self.path, &error))
    }
}

/// Where an entry of the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// In `_meta`.
    Meta,
    /// In the log of the topic with this number.
    Log(u32),
}

/// One change of the store; without value it removes.
#[derive(Debug, Clone)]
pub struct Op {
    pub space: Space,
    pub key: Slice,
    pub value: Option<Slice>,
}

impl Op {
    /// Sets an entry.
    pub fn set(space: Space, key: impl Into<Slice>, value: impl Into<Slice>) -> Self {
        Self { space, key: key.into(), value: Some(value.into()) }
    }

    /// Removes an entry.
    pub fn remove(space: Space, key: impl Into<Slice>) -> Self {
        Self { space, key: key.into(), value: None }
    }
}

/// An open store.
pub struct Store {
    path: PathBuf,
    options: Options,
    db: Database,
    /// The keyspace `_meta`.
    pub meta: Keyspace,
    logs: Vec<Keyspace>,
}

impl Store {
    /// Opens the store of a folder, or makes it. Logs are to be opened with [`Self::open_log`].
    pub fn open(folder: &Folder, options: &Options) -> Result<Self, BusError> {
        let path = folder.path.join(STORE);
        let failed = |error: std::io::Error| io_error(&path, &error);
        if !path.try_exists().map_err(failed)? {
            // A store that was left half-made can't be opened; so it is made beside, and then put in its place.
            let unfinished = folder.path.join("store.new");
            if unfinished.try_exists().map_err(failed)? {
                std::fs::remove_dir_all(&unfinished).map_err(failed)?;
            }
            drop(Self::at(&unfinished, options)?);
            std::fs::rename(&unfinished, &path).map_err(failed)?;
            File::open(&folder.path).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Self::at(&path, options)
    }

    fn at(path: &Path, options: &Options) -> Result<Self, BusError> {
        let failed = |error: fjall::Error| store_error(path, &error);
        let db = Database::builder(path)
            .worker_threads(2)
            .cache_size(options.cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()
            .map_err(failed)?;
        let meta = db.keyspace(META, || keyspace_options(options)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), options: *options, db, meta, logs: Vec::new() })
    }

    /// Opens the log of this number, the next one, and makes it when it is new. What was opened under this number or a
    /// higher one belongs to a creation that failed.
    pub fn open_log(&mut self, id: u32, name: &str) -> Result<(), BusError> {
        let log =
            self.db.keyspace(name, || keyspace_options(&self.options)).map_err(|error| self.error(&error))?;
        self.logs.truncate(id as usize);
        if self.logs.len() != id as usize {
            return Err(self.damaged("the list of topics"));
        }
        self.logs.push(log);
        Ok(())
    }

    /// The entries of a space.
    pub fn space(&self, space: Space) -> &Keyspace {
        match space {
            Space::Meta => &self.meta,
            Space::Log(number) => &self.logs[number as usize],
        }
    }

    /// All spaces as they were at one instant.
    pub fn snapshot(&self) -> fjall::Snapshot {
        self.db.snapshot()
    }

    /// An entry.
    pub fn get(&self, space: Space, key: &[u8]) -> Result<Option<Slice>, BusError> {
        self.space(space).get(key).map_err(|error| self.error(&error))
    }

    /// Writes all or none, to the operating system.
    pub fn commit(&self, ops: &[Op]) -> Result<(), BusError> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.db.clone(), ops.len())
            .durability(Some(PersistMode::Buffer));
        for op in ops {
            let space = self.space(op.space);
            match &op.value {
                Some(value) => batch.insert(space, op.key.clone(), value.clone()),
                None => batch.remove(space, op.key.clone()),
            }
        }
        batch.commit().map_err(|error| self.error(&error))
    }

    /// What would undo these changes.
    pub fn undo_of(&self, ops: &[Op]) -> Result<Vec<Op>, BusError> {
        ops.iter().map(|op| Ok(Op { value: self.get(op.space, &op.key)?, ..op.clone() })).collect()
    }

    /// Puts on the disk what was committed before the call.
    ///
    /// The store's own call holds the lock of its writers for as long as the disk takes. Syncing its journal through a
    /// handle of our own does not. That is enough: a commit has handed everything to the operating system, and a journal
    /// that is not the newest was synced by the store before the next one was made.
    pub fn sync(&self) -> Result<(), BusError> {
        match newest_journal(&self.path) {
            Some(path) => match File::open(&path).and_then(|file| file.sync_data()) {
                Ok(()) => return Ok(()),
                // Rotated and removed in between: synced by the store.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(io_error(&self.path, &error)),
            },
            None => tracing::debug!("no journal found in {}: the store syncs", self.path.display()),
        }
        self.db.persist(PersistMode::SyncData).map_err(|error| self.error(&error))
    }

    /// An error of the store in our words.
    pub fn error(&self, error: &fjall::Error) -> BusError {
        store_error(&self.path, error)
    }

    /// Bytes that are not as we wrote them.
    pub fn damaged(&self, what: &str) -> BusError {
        BusError::other(
            self.path.display().to_string(),
            format!("{what} is damaged: restore the folder from a copy"),
        )
    }
}

fn keyspace_options(options: &Options) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes)
}

fn newest_journal(path: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let numbered = files.filter_map(|path| {
        let number: u64 = path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok()?;
        Some((number, path))
    });
    numbered.max_by_key(|(number, _)| *number).map(|(_, path)| path)
}

fn store_error(path: &Path, error: &fjall::Error) -> BusError {
    match error {
        fjall::Error::Locked => BusError::Locked { place: path.display().to_string() },
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => io_error(path, error),
        error => BusError::other(path.display().to_string(), error),
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> BusError {
    let place = path.display().to_string();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BusError::DiskFull { place },
        _ => BusError::other(place, error),
    }
}
