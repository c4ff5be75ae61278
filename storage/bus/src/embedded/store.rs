//! The store under the log: what is committed goes to the write-ahead log and to memory, and from there, by a thread of
//! its own, to the tables of fjall.
//!
//! fjall has a journal and memory tables itself. Whoever writes there waits now and then for as long as a journal is
//! synced or a memory table is freed: tens of milliseconds, whatever is set. Here a commit waits for nothing but its own
//! write. fjall is given sorted entries to put into tables at once, and looks after these.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use fjall::Slice;

use super::Options;
use super::recent::{Recent, settled_key};
use super::tables::Tables;
use super::wal::{Done, Wal};
use crate::error::BusError;

const WAL: &str = "wal";
const LOCK: &str = "lock";
/// Files of the write-ahead log that wait for the tables, at most; then who writes has to wait.
const WAITING_MAX: usize = 4;
/// After a failure the tables are tried again after this time.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long the taking to the tables rests after each piece.
const REST: Duration = Duration::from_millis(1);
/// Bytes that are read at a time.
const PAGE_BYTES: usize = 256 << 10;

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
}

/// Where an entry of the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    wal: Mutex<Wal>,
    recent: Mutex<Recent>,
    /// Something of `recent` has changed.
    changed: Condvar,
    /// None while they could not be opened again after a failure.
    tables: RwLock<Option<Tables>>,
    /// Names of the logs, by number.
    names: Mutex<Vec<String>>,
}

impl Store {
    /// Opens the store of a folder, or makes it. Logs are to be opened with [`Self::open_log`].
    pub fn open(folder: &Folder, options: &Options) -> Result<Self, BusError> {
        let tables = Tables::open(&folder.path, options)?;
        let settled = tables.get(Space::Meta, &settled_key())?;
        let settled = settled.and_then(|row| super::layout::u64_at(&row, 0)).unwrap_or(0);
        let path = folder.path.join(WAL);
        let (wal, done) = Wal::open(&path, settled).map_err(|error| io_error(&path, &error))?;
        let recent = Recent { done: done.into_iter().map(Arc::new).collect(), ..Recent::default() };
        Ok(Self {
            path: folder.path.clone(),
            options: *options,
            wal: Mutex::new(wal),
            recent: Mutex::new(recent),
            changed: Condvar::new(),
            tables: RwLock::new(Some(tables)),
            names: Mutex::default(),
        })
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().expect("no one panics while holding it")
    }

    fn wal(&self) -> MutexGuard<'_, Wal> {
        self.wal.lock().expect("no one panics while holding it")
    }

    fn tables<T>(&self, act: impl FnOnce(&Tables) -> Result<T, BusError>) -> Result<T, BusError> {
        match &*self.tables.read().expect("no one panics while holding it") {
            Some(tables) => act(tables),
            None => Err(self.recent().failure.clone().unwrap_or_else(|| self.damaged("its tables"))),
        }
    }

    /// Opens the log of this number, the next one, and makes it when it is new.
    pub fn open_log(&self, number: u32, name: &str) -> Result<(), BusError> {
        match &mut *self.tables.write().expect("no one panics while holding it") {
            Some(tables) => tables.open_log(number, name)?,
            None => return Err(self.damaged("its tables")),
        }
        let mut names = self.names.lock().expect("no one panics while holding it");
        names.truncate(number as usize);
        names.push(name.to_owned());
        Ok(())
    }

    /// Writes all or none, to the operating system. One at a time: the writer's lock is held.
    pub fn commit(&self, ops: &[Op]) -> Result<(), BusError> {
        self.make_room()?;
        let number = self.wal().append(ops).map_err(|error| io_error(&self.path, &error))?;
        let mut recent = self.recent();
        recent.active.take(number, ops);
        if recent.active.bytes as u64 >= self.options.memory_bytes {
            let mut changes = std::mem::take(&mut recent.active);
            changes.settling();
            let path = self.wal().seal();
            recent.done.push_back(Arc::new(Done { changes, path }));
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Waits while too much waits for the tables.
    fn make_room(&self) -> Result<(), BusError> {
        let mut recent = self.recent();
        while recent.done.len() >= WAITING_MAX {
            if let Some(failure) = &recent.failure {
                return Err(failure.clone());
            }
            if recent.stopped {
                let oldest = recent.done.front().cloned();
                drop(recent);
                oldest.map_or(Ok(()), |oldest| self.settle(&oldest))?;
                recent = self.recent();
            } else {
                recent = self.changed.wait(recent).expect("no one panics while holding it");
            }
        }
        Ok(())
    }

    /// Takes what was committed to the tables until it is stopped: a thread of its own.
    pub fn settle_all(&self) {
        super::tables::background();
        // Whoever waits for room does it himself when this ends, however it ends.
        let _ended = Ended(self);
        loop {
            let mut recent = self.recent();
            let oldest = loop {
                if recent.stopped {
                    return;
                }
                match recent.done.front() {
                    Some(oldest) => break oldest.clone(),
                    None => recent = self.changed.wait(recent).expect("no one panics while holding it"),
                }
            };
            drop(recent);
            let Err(error) = self.settle(&oldest) else { continue };
            tracing::error!("{}: what was written can't be put in order yet: {error}", self.path.display());
            let mut recent = self.recent();
            recent.failure = Some(error);
            self.changed.notify_all();
            let waited = self.changed.wait_timeout_while(recent, AGAIN_AFTER, |recent| !recent.stopped);
            drop(waited.expect("no one panics while holding it"));
            if let Err(error) = self.open_again() {
                tracing::debug!("{}: not open: {error}", self.path.display());
            }
        }
    }

    /// Ends [`Self::settle_all`].
    pub fn stop(&self) {
        self.recent().stopped = true;
        self.changed.notify_all();
    }

    /// Takes the oldest file of the write-ahead log to the tables. It may be done twice: the outcome is the same.
    fn settle(&self, oldest: &Arc<Done>) -> Result<(), BusError> {
        // A piece at a time, so that a thread that trades never waits long for this one; unless others wait already.
        let rest = || {
            if self.recent().done.len() == 1 {
                std::thread::sleep(REST);
            }
        };
        self.tables(|tables| tables.take(&oldest.changes, rest))?;
        let mut recent = self.recent();
        recent.failure = None;
        // Another may have done the same, who found that the thread for it has ended.
        if recent.done.front().is_some_and(|front| Arc::ptr_eq(front, oldest)) {
            recent.done.pop_front();
        }
        drop(recent);
        self.changed.notify_all();
        if let Err(error) = std::fs::remove_file(&oldest.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!("{}: it is not needed any more, and stays: {error}", oldest.path.display());
        }
        Ok(())
    }

    /// After a failure fjall takes nothing more until it is opened again.
    fn open_again(&self) -> Result<(), BusError> {
        let mut place = self.tables.write().expect("no one panics while holding it");
        // Closed first: it has a lock of its own.
        drop(place.take());
        let mut tables = Tables::open(&self.path, &self.options)?;
        let names = self.names.lock().expect("no one panics while holding it");
        (0..).zip(names.iter()).try_for_each(|(number, name)| tables.open_log(number, name))?;
        *place = Some(tables);
        Ok(())
    }

    /// An entry.
    pub fn get(&self, space: Space, key: &[u8]) -> Result<Option<Slice>, BusError> {
        // First what is recent: what leaves it in between is in the tables.
        let recent = self.recent().get(space, key);
        match recent {
            Some(value) => Ok(value),
            None => self.tables(|tables| tables.get(space, key)),
        }
    }

    /// Entries from `from` on and before `to`, in order.
    pub fn entries(&self, space: Space, from: &[u8], to: &[u8]) -> Entries<'_> {
        let (from, to) = (Slice::from(from), Slice::from(to));
        Entries { store: self, space, next: Some(from), to, page: BTreeMap::new() }
    }

    /// Entries of `_meta` that begin so.
    pub fn meta(&self, prefix: &[u8]) -> Entries<'_> {
        let mut end = prefix.to_vec();
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        self.entries(Space::Meta, prefix, &end)
    }

    /// The last entry from `from` on and before `to`.
    pub fn last(&self, space: Space, from: &[u8], to: &[u8]) -> Result<Option<(Slice, Slice)>, BusError> {
        let (from, mut to) = (Slice::from(from), Slice::from(to));
        loop {
            let recent = self.recent().last(space, &from, &to);
            let settled = self.tables(|tables| tables.last(space, &from, &to))?;
            let Some(key) = recent.max(settled) else { return Ok(None) };
            if let Some(value) = self.get(space, &key)? {
                return Ok(Some((key, value)));
            }
            to = key;
        }
    }

    /// Puts on the disk what was committed before the call.
    pub fn sync(&self) -> Result<(), BusError> {
        let unsynced = self.wal().unsynced();
        unsynced.sync().map_err(|error| io_error(&self.path, &error))?;
        self.wal().synced(&unsynced);
        Ok(())
    }

    /// Bytes that are not as we wrote them.
    pub fn damaged(&self, what: &str) -> BusError {
        BusError::other(
            self.path.display().to_string(),
            format!("{what} is damaged: restore the folder from a copy"),
        )
    }
}

/// The end of the thread that takes everything to the tables.
struct Ended<'a>(&'a Store);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Entries in order, read in pages.
pub struct Entries<'a> {
    store: &'a Store,
    space: Space,
    /// Where the next page begins; none after the last.
    next: Option<Slice>,
    to: Slice,
    page: BTreeMap<Slice, Slice>,
}

impl Entries<'_> {
    fn read(&mut self, from: &Slice) -> Result<(), BusError> {
        let (recent, whole) = self.store.recent().page(self.space, from, &self.to, PAGE_BYTES);
        let (settled, settled_whole) =
            self.store.tables(|tables| tables.page(self.space, from, &self.to, PAGE_BYTES))?;
        let whole = match (whole, settled_whole) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.page = settled;
        for (key, value) in recent {
            match value {
                Some(value) => self.page.insert(key, value),
                None => self.page.remove(&key),
            };
        }
        self.next = whole.map(|whole| {
            let mut next = whole.to_vec();
            next.push(0);
            let next = Slice::from(next);
            self.page.split_off(&next);
            next
        });
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<(Slice, Slice), BusError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.pop_first() {
                return Some(Ok(entry));
            }
            let from = self.next.take()?;
            if let Err(error) = self.read(&from) {
                return Some(Err(error));
            }
        }
    }
}

/// An error of the operating system in our words.
pub fn io_error(path: &Path, error: &std::io::Error) -> BusError {
    let place = path.display().to_string();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BusError::DiskFull { place },
        _ => BusError::other(place, error),
    }
}
