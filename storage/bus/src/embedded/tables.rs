//! The tables of the store: fjall, which is given sorted entries, and keeps them in order in the background.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::config::FilterPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Slice};

use super::Options;
use super::layout::Joined;
use super::recent::Changes;
use super::store::{Space, io_error};
use crate::error::BusError;

const STORE: &str = "store";
const META: &str = "_meta";
/// Chunks of a log are joined up to this many bytes: it is read in rows, and has fewer entries to look after then.
const CHUNK_BYTES: usize = 32 << 10;
/// Tables of a log that are merged at once.
const TABLES_MERGED: u8 = 16;
/// Bytes that are taken in without a rest.
const PIECE_BYTES: usize = 32 << 10;

/// Open tables.
pub struct Tables {
    path: PathBuf,
    db: Database,
    meta: Keyspace,
    logs: Vec<Keyspace>,
}

impl Tables {
    /// Opens the tables of a folder, or makes them.
    pub fn open(folder: &Path, options: &Options) -> Result<Self, BusError> {
        let path = folder.join(STORE);
        let failed = |error: std::io::Error| io_error(&path, &error);
        if !path.try_exists().map_err(failed)? {
            // Tables that were left half-made can't be opened; so they are made beside, and then put in their place.
            let unfinished = folder.join("store.new");
            if unfinished.try_exists().map_err(failed)? {
                std::fs::remove_dir_all(&unfinished).map_err(failed)?;
            }
            drop(Self::at(&unfinished, options)?);
            std::fs::rename(&unfinished, &path).map_err(failed)?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Self::at(&path, options)
    }

    fn at(path: &Path, options: &Options) -> Result<Self, BusError> {
        let failed = |error: fjall::Error| store_error(path, &error);
        let open = || Database::builder(path).worker_threads(1).cache_size(options.cache_bytes).open();
        // Its threads have the priority of the one that starts them.
        let db = std::thread::scope(|scope| {
            let opened = scope.spawn(|| {
                background();
                open()
            });
            opened.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let db = db.map_err(failed)?;
        let meta = db.keyspace(META, KeyspaceCreateOptions::default).map_err(failed)?;
        Ok(Self { path: path.to_owned(), db, meta, logs: Vec::new() })
    }

    /// Opens the log of this number, the next one, and makes it when it is new. What was opened under this number or a
    /// higher one belongs to a creation that failed.
    pub fn open_log(&mut self, number: u32, name: &str) -> Result<(), BusError> {
        let log = self.db.keyspace(name, log_options);
        let log = log.map_err(|error| self.error(&error))?;
        self.logs.truncate(number as usize);
        if self.logs.len() != number as usize {
            let why = "the list of topics is damaged: restore the folder from a copy";
            return Err(BusError::other(self.path.display().to_string(), why));
        }
        self.logs.push(log);
        Ok(())
    }

    fn space(&self, space: Space) -> &Keyspace {
        match space {
            Space::Meta => &self.meta,
            Space::Log(number) => &self.logs[number as usize],
        }
    }

    /// Takes changes in, and has them on the disk. Those of `_meta` come last, and among them the row that says so.
    /// `rest` is called after each [`PIECE_BYTES`].
    pub fn take(&self, changes: &Changes, rest: impl Fn()) -> Result<(), BusError> {
        let mut changes = changes.iter().peekable();
        let mut meta = Vec::new();
        while let Some((space, ..)) = changes.peek() {
            let space = *space;
            let of_space = std::iter::from_fn(|| changes.next_if(|(of, ..)| *of == space));
            match space {
                Space::Meta => meta = of_space.collect(),
                Space::Log(_) => self.ingest(space, of_space, &rest)?,
            }
        }
        self.ingest(Space::Meta, meta.into_iter(), &rest)
    }

    fn ingest<'a>(
        &self,
        space: Space,
        changes: impl Iterator<Item = (Space, &'a Slice, &'a Option<Slice>)>,
        rest: &impl Fn(),
    ) -> Result<(), BusError> {
        let ingested = || {
            let mut ingestion = self.space(space).start_ingestion()?;
            let (mut piece, mut joined): (_, Option<Joined>) = (0, None);
            for (_, key, value) in changes {
                piece += key.len() + value.as_ref().map_or(0, |value| value.len());
                if piece >= PIECE_BYTES {
                    piece = 0;
                    rest();
                }
                let chunk = value.as_deref().filter(|_| space != Space::Meta);
                if let (Some(joined), Some(chunk)) = (&mut joined, chunk)
                    && joined.add(key, chunk, CHUNK_BYTES)
                {
                    continue;
                }
                if let Some(Joined { key, chunk, .. }) = joined.take() {
                    ingestion.write(key, chunk)?;
                }
                joined = chunk.and_then(|chunk| Joined::new(key, chunk));
                match value {
                    Some(_) if joined.is_some() => {}
                    Some(value) => ingestion.write(key.clone(), value.clone())?,
                    None => ingestion.write_tombstone(key.clone())?,
                }
            }
            if let Some(Joined { key, chunk, .. }) = joined {
                ingestion.write(key, chunk)?;
            }
            ingestion.finish()
        };
        ingested().map_err(|error| self.error(&error))
    }

    /// An entry.
    pub fn get(&self, space: Space, key: &[u8]) -> Result<Option<Slice>, BusError> {
        self.space(space).get(key).map_err(|error| self.error(&error))
    }

    /// Entries from `from` on and before `to`, about `limit` bytes of them; and, when there are more, the last key.
    pub fn page(
        &self,
        space: Space,
        from: &Slice,
        to: &Slice,
        limit: usize,
    ) -> Result<(BTreeMap<Slice, Slice>, Option<Slice>), BusError> {
        let (mut page, mut bytes) = (BTreeMap::new(), 0);
        for entry in self.space(space).range(from.clone()..to.max(from).clone()) {
            let (key, value) = entry.into_inner().map_err(|error| self.error(&error))?;
            bytes += key.len() + value.len();
            page.insert(key.clone(), value);
            if bytes >= limit {
                return Ok((page, Some(key)));
            }
        }
        Ok((page, None))
    }

    /// The last key from `from` on and before `to`.
    pub fn last(&self, space: Space, from: &Slice, to: &Slice) -> Result<Option<Slice>, BusError> {
        let last = self.space(space).range(from.clone()..to.max(from).clone()).next_back();
        last.map(|entry| entry.key().map_err(|error| self.error(&error))).transpose()
    }

    fn error(&self, error: &fjall::Error) -> BusError {
        store_error(&self.path, error)
    }
}

/// What is looked for in a log is there. It is read in rows, from many tables as quickly as from few: they are merged
/// seldom.
fn log_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .filter_policy(FilterPolicy::disabled())
        .compaction_strategy(Arc::new(Leveled::default().with_l0_threshold(TABLES_MERGED)))
}

/// Lets this thread, and those that it will start, not interrupt others when they wake. The idle class would be gentler, but
/// on a busy machine writers would wait for a thread that never runs.
pub fn background() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
            thread_native_id,
        };
        let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, batch) {
            tracing::debug!("a thread in the background has the priority of others: {error:?}");
        }
    }
}

fn store_error(path: &Path, error: &fjall::Error) -> BusError {
    match error {
        fjall::Error::Locked => BusError::Locked { place: path.display().to_string() },
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => io_error(path, error),
        error => BusError::other(path.display().to_string(), error),
    }
}
