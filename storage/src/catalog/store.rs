//! The object store, made blocking: a folder or a bucket behind one small set of calls.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use tokio::runtime::Runtime;

use super::decode::{FOOTER_GUESS_BYTES, Footer, footer_of_tail};
use super::{CatalogError, SeriesKey};

/// A folder or bucket.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    url: String,
    place: Arc<Place>,
    runtime: Arc<OwnRuntime>,
    /// Writes that are still done; after them every write fails, as when the process has ended.
    #[cfg(test)]
    pub(crate) fuse: Arc<std::sync::atomic::AtomicI64>,
}

#[derive(Debug)]
enum Place {
    /// A local folder, opened once it exists.
    Folder { root: PathBuf, store: OnceLock<LocalFileSystem> },
    /// Anything else, with the path of the catalog within it.
    Remote { store: Arc<dyn ObjectStore>, prefix: Path },
}

/// What was there when a file was read: a write may insist that it still is.
#[derive(Debug, Clone)]
pub(crate) enum Version {
    /// There was no such file.
    Absent,
    /// This one.
    Seen(UpdateVersion),
}

/// The lock of a local catalog, let go when dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code)] Option<File>); // held for its drop

/// A runtime that may be dropped anywhere, in async code too.
#[derive(Debug)]
struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl OwnRuntime {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.as_ref().expect("the runtime lives until the drop").block_on(future)
    }
}

impl Store {
    /// Opens a folder or URL.
    pub(crate) fn open(url: &str) -> Result<Self, CatalogError> {
        let address = |why: String| CatalogError::Address { url: url.into(), why };
        if url.is_empty() {
            return Err(address("the address is empty; give a folder or a URL".into()));
        }
        // A single letter before the colon is a drive, not a scheme.
        let parsed = url::Url::parse(url).ok().filter(|parsed| parsed.scheme().len() > 1);
        let place = match parsed {
            None => folder(PathBuf::from(url)).map_err(address)?,
            Some(parsed) if parsed.scheme() == "file" => {
                let path =
                    parsed.to_file_path().map_err(|()| address("is not the URL of a folder".into()))?;
                folder(path).map_err(address)?
            }
            Some(parsed) => remote(&parsed).map_err(address)?,
        };
        Self::new(url, place)
    }

    /// A store that somebody else made.
    pub(crate) fn of(url: &str, store: Arc<dyn ObjectStore>) -> Result<Self, CatalogError> {
        Self::new(url, Place::Remote { store, prefix: Path::default() })
    }

    fn new(url: &str, place: Place) -> Result<Self, CatalogError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| CatalogError::Address {
            url: url.into(),
            why: format!("no runtime for its input and output: {e}"),
        })?;
        Ok(Self {
            url: url.into(),
            place: Arc::new(place),
            runtime: Arc::new(OwnRuntime(Some(runtime))),
            #[cfg(test)]
            fuse: Arc::new(i64::MAX.into()),
        })
    }

    /// The address as it was given.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The store and the path within it; `None` for a folder that is not there yet.
    fn reach(&self, path: &str) -> Result<Option<(&dyn ObjectStore, Path)>, CatalogError> {
        let parse = |text: &str| {
            Path::parse(text).map_err(|e| CatalogError::Store { path: path.into(), source: e.into() })
        };
        match &*self.place {
            Place::Remote { store, prefix } => {
                let full = prefix.parts().chain(parse(path)?.parts()).collect();
                Ok(Some((store.as_ref(), full)))
            }
            Place::Folder { root, store } => {
                if store.get().is_none() {
                    if !root.is_dir() {
                        return Ok(None);
                    }
                    let opened = LocalFileSystem::new_with_prefix(root)
                        .map_err(|source| CatalogError::Store { path: path.into(), source })?;
                    // Another thread may have been first; both are the same.
                    let _ = store.set(opened.with_fsync(true));
                }
                match store.get() {
                    Some(store) => Ok(Some((store as &dyn ObjectStore, parse(path)?))),
                    None => Ok(None),
                }
            }
        }
    }

    /// The whole file and its version; `None` when there is none.
    pub(crate) fn get(&self, path: &str) -> Result<Option<(Bytes, UpdateVersion)>, CatalogError> {
        let Some((store, at)) = self.reach(path)? else { return Ok(None) };
        let read = self.runtime.block_on(async {
            let result = store.get(&at).await?;
            let version =
                UpdateVersion { e_tag: result.meta.e_tag.clone(), version: result.meta.version.clone() };
            Ok((result.bytes().await?, version))
        });
        match read {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(CatalogError::Store { path: path.into(), source }),
        }
    }

    /// The last `bytes` of a file, or all of a shorter one.
    pub(crate) fn tail(&self, path: &str, bytes: u64) -> Result<Bytes, CatalogError> {
        let fail = |source| CatalogError::Store { path: path.into(), source };
        let Some((store, at)) = self.reach(path)? else {
            let source = "the catalog's folder is gone".into();
            return Err(fail(object_store::Error::NotFound { path: path.into(), source }));
        };
        let options = GetOptions { range: Some(GetRange::Suffix(bytes)), ..GetOptions::default() };
        self.runtime.block_on(async { store.get_opts(&at, options).await?.bytes().await }).map_err(fail)
    }

    /// What the footer of a data file says, from the end of the file alone.
    pub(crate) fn footer(&self, key: &SeriesKey, path: &str, bytes: u64) -> Result<Footer, CatalogError> {
        let corrupt = |why| CatalogError::Corrupt { path: path.into(), why };
        let mut wanted = FOOTER_GUESS_BYTES.min(bytes);
        loop {
            let tail = self.tail(path, wanted)?;
            match footer_of_tail(key, &tail, bytes) {
                Ok(footer) => return Ok(footer),
                Err(Ok(more)) if more > wanted => wanted = more,
                Err(Ok(_)) => return Err(corrupt("has a footer that contradicts its own length".into())),
                Err(Err(why)) => return Err(corrupt(why)),
            }
        }
    }

    /// Paths (relative to the catalog) and sizes of all files below a folder, sorted.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, CatalogError> {
        let Some((store, at)) = self.reach(folder)? else { return Ok(Vec::new()) };
        let prefix = match &*self.place {
            Place::Remote { prefix, .. } => prefix.clone(),
            Place::Folder { .. } => Path::default(),
        };
        let found: Result<Vec<_>, _> =
            self.runtime.block_on(async { store.list(Some(&at)).try_collect().await });
        let listed = || if folder.is_empty() { "listing the catalog".into() } else { folder.into() };
        let found = found.map_err(|source| CatalogError::Store { path: listed(), source })?;
        let relative = |location: &Path| {
            let parts: Option<Path> = location.prefix_match(&prefix).map(|parts| parts.collect());
            parts.map(String::from)
        };
        let mut files: Vec<_> =
            found.iter().filter_map(|meta| Some((relative(&meta.location)?, meta.size))).collect();
        files.sort();
        Ok(files)
    }

    /// Replaces a file atomically, if it is still as `expected` (a folder relies on its lock instead).
    pub(crate) fn put(&self, path: &str, bytes: Bytes, expected: &Version) -> Result<(), CatalogError> {
        let fail = |source| CatalogError::Store { path: path.into(), source };
        if let Place::Folder { root, .. } = &*self.place {
            self.create(root)?;
        }
        let Some((store, at)) = self.reach(path)? else {
            let source = "the catalog's folder is gone".into();
            return Err(fail(object_store::Error::NotFound { path: path.into(), source }));
        };
        let mode = match (&*self.place, expected) {
            (Place::Folder { .. }, _) => PutMode::Overwrite,
            (_, Version::Absent) => PutMode::Create,
            (_, Version::Seen(version)) => PutMode::Update(version.clone()),
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.runtime.block_on(store.put_opts(&at, bytes.into(), options)) {
            Ok(_) => Ok(()),
            Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {
                Err(CatalogError::Raced { path: path.into() })
            }
            Err(source) => Err(fail(source)),
        }
    }

    /// Replaces a file atomically, whatever is there.
    pub(crate) fn replace(&self, path: &str, bytes: Bytes) -> Result<(), CatalogError> {
        if let Place::Folder { root, .. } = &*self.place {
            self.create(root)?;
        }
        self.on(path, async |store, at| store.put(at, bytes.into()).await.map(|_| ()))
    }

    /// Copies a file within the store; on a folder the copy is another name of the same bytes.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Result<(), CatalogError> {
        let Some((_, to)) = self.reach(to)? else { return self.gone(to) };
        self.on(from, async |store, from| store.copy(from, &to).await)
    }

    /// Deletes a file; one that is not there is deleted already.
    pub(crate) fn delete(&self, path: &str) -> Result<(), CatalogError> {
        let deleted = self.on(path, async |store, at| store.delete(at).await);
        match deleted {
            Err(CatalogError::Store { source: object_store::Error::NotFound { .. }, .. }) => Ok(()),
            other => other,
        }
    }

    fn on(
        &self,
        path: &str,
        call: impl AsyncFnOnce(&dyn ObjectStore, &Path) -> Result<(), object_store::Error>,
    ) -> Result<(), CatalogError> {
        let Some((store, at)) = self.reach(path)? else { return self.gone(path) };
        #[cfg(test)]
        if self.fuse.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) <= 0 {
            return self.gone(path);
        }
        let fail = |source| CatalogError::Store { path: path.into(), source };
        self.runtime.block_on(call(store, &at)).map_err(fail)
    }

    fn gone(&self, path: &str) -> Result<(), CatalogError> {
        let source = "the catalog's folder is gone".into();
        let source = object_store::Error::NotFound { path: path.into(), source };
        Err(CatalogError::Store { path: path.into(), source })
    }

    fn create(&self, root: &std::path::Path) -> Result<(), CatalogError> {
        std::fs::create_dir_all(root).map_err(|e| CatalogError::Address {
            url: self.url.clone(),
            why: format!("the folder can't be created: {e}"),
        })
    }

    /// Waits until no other process writes. Buckets have no lock: there, [`Self::put`] notices a race.
    pub(crate) fn lock(&self) -> Result<Lock, CatalogError> {
        let Place::Folder { root, .. } = &*self.place else { return Ok(Lock(None)) };
        self.create(root)?;
        let path = root.join(".lock");
        let fail = |source| CatalogError::Lock { path: path.display().to_string(), source };
        let file = File::create(&path).map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(Lock(Some(file)))
    }
}

fn folder(path: PathBuf) -> Result<Place, String> {
    let root = std::path::absolute(&path).map_err(|e| e.to_string())?;
    if root.exists() && !root.is_dir() {
        return Err("is a file, not a folder".into());
    }
    Ok(Place::Folder { root, store: OnceLock::new() })
}

#[cfg(feature = "cloud")]
fn remote(url: &url::Url) -> Result<Place, String> {
    let known = ["s3", "s3a", "gs", "az", "abfs", "abfss", "azure", "adl"];
    if !known.contains(&url.scheme()) {
        return Err(format!("the scheme {:?} is not one of {}", url.scheme(), known.join(", ")));
    }
    // Credentials, region and endpoint come from the environment, under the names that the vendors' tools use.
    let settings = std::env::vars().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let ours = ["aws_", "google_", "azure_"].iter().any(|prefix| name.starts_with(prefix));
        ours.then_some((name, value))
    });
    let (store, prefix) = object_store::parse_url_opts(url, settings).map_err(|e| e.to_string())?;
    Ok(Place::Remote { store: Arc::from(store), prefix })
}

#[cfg(not(feature = "cloud"))]
fn remote(url: &url::Url) -> Result<Place, String> {
    Err(format!(
        "this program is built without object stores such as {:?}; build it with `cargo build --release --features cloud`, or \
         give a folder",
        url.scheme()
    ))
}
