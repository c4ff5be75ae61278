//! [`UploadQueue`]: what has yet to go to ClickHouse. The folders of the runs are the queue; beside them,
//! `.clickhouse/<database>/<run>.json` says how far each is. A run without such a file, or whose folder has changed since,
//! waits: so nothing that is on disk can be forgotten, and what is uploaded twice is there once.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::folder::{self, OpenRun, Stamp};
use crate::{ClickHouseRuns, ClickHouseUrl, ResultsError, Uploaded};

/// Errors of the server in a row after which the rest waits: then it is not the runs that are at fault.
const ERRORS_MAX: u32 = 3;

/// How far a run is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Record {
    /// It is to be uploaded. `reason` says why that failed when it was tried.
    Waiting { reason: Option<String> },
    /// The folder with this stamp is there.
    Uploaded { stamp: Stamp },
    /// The folder with this stamp can't be uploaded.
    SetAside { stamp: Option<Stamp>, reason: String },
}

/// A run that is not uploaded, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The run.
    pub run: String,
    /// What is wrong.
    pub reason: String,
}

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is uploaded.
    Uploaded(Uploaded),
    /// It waits, as the server refused it.
    Waiting(String),
    /// It is set aside, as its folder is damaged.
    SetAside(String),
}

/// What came of a whole queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// Runs that were uploaded, or found to be there.
    pub uploaded: u64,
    /// Runs that are set aside.
    pub set_aside: Vec<Skipped>,
    /// Runs that the server refused; they are tried again next time.
    pub waiting: Vec<Skipped>,
}

/// What a queue holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// Runs that are on disk and not there.
    pub runs: Vec<String>,
    /// Runs that are set aside.
    pub set_aside: Vec<Skipped>,
}

/// The queue of a folder of runs towards one database.
#[derive(Debug, Clone)]
pub struct UploadQueue {
    root: PathBuf,
    ledger: PathBuf,
    url: ClickHouseUrl,
}

impl UploadQueue {
    /// That of the runs under a folder.
    pub fn new(root: impl Into<PathBuf>, url: ClickHouseUrl) -> Self {
        let root = root.into();
        Self { ledger: root.join(".clickhouse").join(url.key()), root, url }
    }

    /// Notes that a run is to be uploaded, before or after its folder is there, so that [`Self::sync_waiting`] finds it after whatever happens.
    ///
    /// # Errors
    /// When the note can't be written.
    pub fn add(&self, run: &str) -> Result<(), ResultsError> {
        self.note(run, &Record::Waiting { reason: None })
    }

    /// Uploads all runs that are not there.
    ///
    /// # Errors
    /// [`ResultsError::Unavailable`] when the server does not answer: what is left stays in the queue.
    pub async fn sync(&self, progress: impl FnMut(&str, &Outcome)) -> Result<Synced, ResultsError> {
        let runs: Vec<String> = folder::runs_in(&self.root)?.into_keys().collect();
        self.upload_all(runs, progress).await
    }

    /// Uploads the runs that were [added](Self::add) and are not there: those that an outage or a crash left behind.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub async fn sync_waiting(&self, progress: impl FnMut(&str, &Outcome)) -> Result<Synced, ResultsError> {
        self.upload_all(self.waiting()?, progress).await
    }

    /// Lets the runs that are set aside be tried again.
    ///
    /// # Errors
    /// When a note can't be written.
    pub fn retry_set_aside(&self) -> Result<(), ResultsError> {
        for run in self.noted()? {
            if let Some(Record::SetAside { .. }) = self.record(&run) {
                self.add(&run)?;
            }
        }
        Ok(())
    }

    /// The runs that were added and are not there yet.
    ///
    /// # Errors
    /// When the notes can't be listed.
    pub fn waiting(&self) -> Result<Vec<String>, ResultsError> {
        let mut waiting = self.noted()?;
        waiting.retain(|run| matches!(self.record(run), Some(Record::Waiting { .. })));
        Ok(waiting)
    }

    /// What [`Self::sync`] would upload, and what is set aside. Looks at the disk alone.
    ///
    /// # Errors
    /// When the folder of the runs can't be listed.
    pub fn pending(&self) -> Result<Pending, ResultsError> {
        Ok(self.pending_of(folder::runs_in(&self.root)?.into_keys().collect()))
    }

    fn pending_of(&self, runs: Vec<String>) -> Pending {
        let mut pending = Pending::default();
        for run in runs {
            match (self.record(&run), Stamp::of_folder(&self.root.join(&run))) {
                (Some(Record::Uploaded { stamp }), Some(now)) if stamp == now => {}
                (Some(Record::SetAside { stamp, reason }), now) if stamp == now => {
                    pending.set_aside.push(Skipped { run, reason });
                }
                // Noted before its folder is there: it still runs, or it failed.
                (Some(Record::Waiting { .. }), None) => {}
                _ => pending.runs.push(run),
            }
        }
        pending
    }

    async fn upload_all(
        &self,
        runs: Vec<String>,
        mut progress: impl FnMut(&str, &Outcome),
    ) -> Result<Synced, ResultsError> {
        let Pending { runs: left, set_aside } = self.pending_of(runs);
        let mut synced = Synced { set_aside, ..Synced::default() };
        if left.is_empty() {
            return Ok(synced);
        }
        // Of several programs one uploads; another would only send the same again.
        let _lock = self.lock().await?;
        let server = ClickHouseRuns::open(&self.url).await?;
        let mut errors = 0;
        for run in left {
            let outcome = self.upload(&server, &run).await?;
            progress(&run, &outcome);
            match outcome {
                Outcome::Uploaded(_) => {
                    synced.uploaded += 1;
                    errors = 0;
                }
                Outcome::SetAside(reason) => synced.set_aside.push(Skipped { run, reason }),
                Outcome::Waiting(reason) => {
                    errors += 1;
                    synced.waiting.push(Skipped { run, reason: reason.clone() });
                    if errors == ERRORS_MAX {
                        return Err(ResultsError::Server { server: self.url.to_string(), reason });
                    }
                }
            }
        }
        Ok(synced)
    }

    /// Uploads a run. An error of the connection is an error; all others are outcomes.
    async fn upload(&self, server: &ClickHouseRuns, run: &str) -> Result<Outcome, ResultsError> {
        let place = self.root.join(run);
        let stamp = Stamp::of_folder(&place);
        let (stamp, result) = match OpenRun::open(&place, run) {
            Ok(open) => (Some(open.stamp), server.upload_open(&open, run).await),
            Err(error) => (stamp, Err(error)),
        };
        let set_aside = |reason: String| -> Result<Outcome, ResultsError> {
            self.note(run, &Record::SetAside { stamp, reason: reason.clone() })?;
            Ok(Outcome::SetAside(reason))
        };
        match (result, stamp) {
            (Ok(uploaded), Some(stamp)) => {
                self.note(run, &Record::Uploaded { stamp })?;
                Ok(Outcome::Uploaded(uploaded))
            }
            (Err(ResultsError::Server { reason, .. }), _) => {
                self.note(run, &Record::Waiting { reason: Some(reason.clone()) })?;
                Ok(Outcome::Waiting(reason))
            }
            (Err(error @ ResultsError::Unavailable { .. }), _) => {
                self.note(run, &Record::Waiting { reason: Some(error.to_string()) })?;
                Err(error)
            }
            (Err(error), _) => set_aside(error.to_string()),
            (Ok(_), None) => set_aside(format!("{run} is gone")),
        }
    }

    /// The runs that there are notes of.
    fn noted(&self) -> Result<Vec<String>, ResultsError> {
        let entries = match std::fs::read_dir(&self.ledger) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ResultsError::io(&self.ledger, &error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut runs: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
        runs.sort_unstable();
        Ok(runs)
    }

    fn file(&self, run: &str) -> PathBuf {
        self.ledger.join(format!("{run}.json"))
    }

    /// The note of a run. One that can't be read counts as none: then the run is uploaded, which does no harm.
    fn record(&self, run: &str) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(self.file(run)).ok()?).ok()
    }

    /// Writes a run's note whole, and to the disk.
    fn note(&self, run: &str, record: &Record) -> Result<(), ResultsError> {
        let path = self.file(run);
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&self.ledger)?;
            let mut file = tempfile::NamedTempFile::with_prefix_in(".note-", &self.ledger)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            file.as_file().sync_data()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| ResultsError::io(&path, &error))
    }

    /// The lock of those who upload; waits for the one who has it.
    async fn lock(&self) -> Result<File, ResultsError> {
        let path = self.ledger.join(".lock");
        let folder = self.ledger.clone();
        let locked = tokio::task::spawn_blocking(move || -> std::io::Result<File> {
            std::fs::create_dir_all(&folder)?;
            let file = File::create(folder.join(".lock"))?;
            file.lock()?;
            Ok(file)
        });
        let locked =
            locked.await.map_err(|error| ResultsError::Internal(format!("the lock of uploads: {error}")))?;
        locked.map_err(|error| ResultsError::io(&path, &error))
    }

    /// The folder of the runs.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
