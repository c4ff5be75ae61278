//! The write-ahead log: what was committed and is not in the store's tables yet.
//!
//! A file is a row of frames, each one commit: all of it counts or nothing. A frame that was cut off, by a killed
//! process or a lost disk cache, ends its file. Commits are numbered without a gap over all files; what comes after a gap
//! was written, but what it builds on is lost, so it does not count.
//!
//! | bytes of a frame | |
//! |---|---|
//! | 4 | length of what follows the hash |
//! | 8 | XXH3 of it |
//! | 8 | number of the commit |
//! | then for each change | space (4; all ones: meta), length of key (4), of value (4; all ones: removed), key, value |
//!
//! All numbers are little-endian.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::Slice;
use xxhash_rust::xxh3::xxh3_64;

use super::recent::Changes;
use super::store::{Op, Space};

const HEAD_BYTES: usize = 12;
const META: u32 = u32::MAX;
const REMOVED: u32 = u32::MAX;
const EXTENSION: &str = "wal";
const SET_ASIDE: &str = "lost";

/// The log that grows, for the one who writes.
pub struct Wal {
    folder: PathBuf,
    /// None when the next commit begins a new file.
    file: Option<Arc<File>>,
    /// Number of the newest file.
    number: u64,
    /// Bytes of the newest file that count.
    bytes: u64,
    /// Number of the next commit.
    next: u64,
    buffer: Vec<u8>,
    /// Files whose end was not synced yet, but for the newest, and whether the folder knows of all files.
    unsynced: Vec<(u64, Arc<File>)>,
    folder_synced: bool,
}

/// A file that grows no more.
#[derive(Debug)]
pub struct Done {
    /// What is in it.
    pub changes: Changes,
    /// Where it is; it goes when the tables have what is in it.
    pub path: PathBuf,
}

impl Wal {
    /// Opens the log of a folder. What it holds beyond the commit `settled`, which the tables have, comes back by files.
    pub fn open(folder: &Path, settled: u64) -> Result<(Self, Vec<Done>)> {
        std::fs::create_dir_all(folder)?;
        let files = files(folder)?;
        let number = files.last_key_value().map_or(0, |(number, _)| *number);
        let (mut next, mut done, mut lost) = (settled + 1, Vec::new(), false);
        let counts = |path: &PathBuf| path.extension().is_some_and(|it| it == EXTENSION);
        for path in files.into_values().filter(counts) {
            let bytes = std::fs::read(&path)?;
            lost |= frame(&bytes).is_some_and(|first| first.number > next);
            if lost {
                tracing::error!("{}: what came before it is lost, so it is set aside", path.display());
                std::fs::rename(&path, path.with_extension(SET_ASIDE))?;
                continue;
            }
            let mut changes = Changes::default();
            let cut_off = replay(&bytes, &mut next, &mut changes);
            if cut_off > 0 {
                tracing::warn!("{}: its last {cut_off} bytes were cut off, and do not count", path.display());
            }
            changes.settling();
            done.push(Done { changes, path });
        }
        let wal = Self {
            folder: folder.to_owned(),
            file: None,
            number,
            bytes: 0,
            next,
            buffer: Vec::new(),
            unsynced: Vec::new(),
            folder_synced: false,
        };
        Ok((wal, done))
    }

    /// Writes a commit to the operating system, and gives its number. After an error nothing of it counts.
    pub fn append(&mut self, ops: &[Op]) -> Result<u64> {
        self.encode(ops)?;
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.begin()?,
        };
        if let Err(error) = (&*file).write_all(&self.buffer) {
            // A part of it may be there. Where that can't be cut off, it ends this file.
            let mended = file.set_len(self.bytes).is_ok();
            if !mended {
                self.seal();
            }
            return Err(error);
        }
        self.bytes += self.buffer.len() as u64;
        self.next += 1;
        Ok(self.next - 1)
    }

    fn begin(&mut self) -> Result<Arc<File>> {
        let path = self.path(self.number + 1);
        let file = Arc::new(File::options().create_new(true).append(true).open(path)?);
        self.number += 1;
        self.bytes = 0;
        self.folder_synced = false;
        self.file = Some(file.clone());
        Ok(file)
    }

    /// Ends the newest file; the next commit begins another.
    pub fn seal(&mut self) -> PathBuf {
        if let Some(file) = self.file.take() {
            self.unsynced.push((self.number, file));
        }
        self.path(self.number)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}.{EXTENSION}"))
    }

    /// What must be synced for all that was written so far to be on the disk.
    pub fn unsynced(&self) -> Unsynced {
        let sealed = self.unsynced.iter().map(|(_, file)| file);
        Unsynced {
            folder: (!self.folder_synced).then(|| self.folder.clone()),
            files: sealed.chain(&self.file).cloned().collect(),
            newest: self.number,
            grows: self.file.is_some(),
        }
    }

    /// That is on the disk.
    pub fn synced(&mut self, what: &Unsynced) {
        // One that still grew has been sealed with more in it, perhaps.
        self.unsynced.retain(|(number, _)| *number > what.newest || (*number == what.newest && what.grows));
        self.folder_synced |= what.folder.is_some() && self.number == what.newest;
    }

    fn encode(&mut self, ops: &[Op]) -> Result<()> {
        let buffer = &mut self.buffer;
        buffer.clear();
        buffer.resize(HEAD_BYTES, 0);
        buffer.extend_from_slice(&self.next.to_le_bytes());
        for op in ops {
            let space = match op.space {
                Space::Meta => META,
                Space::Log(number) => number,
            };
            let value_len = op.value.as_ref().map_or(REMOVED, |value| value.len() as u32);
            for number in [space, op.key.len() as u32, value_len] {
                buffer.extend_from_slice(&number.to_le_bytes());
            }
            buffer.extend_from_slice(&op.key);
            buffer.extend_from_slice(op.value.as_deref().unwrap_or_default());
        }
        let length = u32::try_from(buffer.len() - HEAD_BYTES);
        let length = length.map_err(|_| Error::new(ErrorKind::InvalidInput, "a commit of over 4 GiB"))?;
        let hash = xxh3_64(&buffer[HEAD_BYTES..]);
        buffer[..4].copy_from_slice(&length.to_le_bytes());
        buffer[4..HEAD_BYTES].copy_from_slice(&hash.to_le_bytes());
        Ok(())
    }
}

/// Files to be synced, outside of any lock.
pub struct Unsynced {
    folder: Option<PathBuf>,
    files: Vec<Arc<File>>,
    newest: u64,
    /// The newest one was not sealed.
    grows: bool,
}

impl Unsynced {
    /// Waits for the disk.
    pub fn sync(&self) -> Result<()> {
        self.files.iter().try_for_each(|file| file.sync_data())?;
        self.folder.as_ref().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// The files of a log by number, with those that were set aside: no number is given twice.
fn files(folder: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number {
            files.insert(number, path);
        }
    }
    Ok(files)
}

/// Adds what a file holds from the commit `next` on, and gives the bytes at its end that are no whole commit.
fn replay(bytes: &[u8], next: &mut u64, changes: &mut Changes) -> usize {
    let mut rest = bytes;
    while let Some(frame) = frame(rest) {
        if frame.number > *next {
            break;
        }
        if frame.number == *next {
            let Some(ops) = frame.ops() else { break };
            changes.take(frame.number, &ops);
            *next += 1;
        }
        rest = frame.rest;
    }
    rest.len()
}

struct Frame<'a> {
    number: u64,
    changes: &'a [u8],
    rest: &'a [u8],
}

/// The first frame; `None` when there is none that is whole.
fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let length = u32_at(bytes, 0)? as usize;
    let payload = bytes.get(HEAD_BYTES..)?.get(..length)?;
    if xxh3_64(payload) != u64::from_le_bytes(bytes[4..HEAD_BYTES].try_into().ok()?) {
        return None;
    }
    let number = u64::from_le_bytes(payload.get(..8)?.try_into().ok()?);
    Some(Frame { number, changes: &payload[8..], rest: &bytes[HEAD_BYTES + length..] })
}

impl Frame<'_> {
    fn ops(&self) -> Option<Vec<Op>> {
        let (mut ops, mut rest) = (Vec::new(), self.changes);
        while !rest.is_empty() {
            let space = match u32_at(rest, 0)? {
                META => Space::Meta,
                number => Space::Log(number),
            };
            let (key_len, value_len) = (u32_at(rest, 4)? as usize, u32_at(rest, 8)?);
            let (key, after) = rest[12..].split_at_checked(key_len)?;
            let (value, after) = match value_len {
                REMOVED => (None, after),
                length => {
                    let (value, after) = after.split_at_checked(length as usize)?;
                    (Some(Slice::from(value)), after)
                }
            };
            ops.push(Op { space, key: key.into(), value });
            rest = after;
        }
        Some(ops)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(number: u64) -> Vec<Op> {
        let key = number.to_be_bytes();
        let [a, b] = [Space::Meta, Space::Log(7)].map(|space| Op::set(space, key, vec![number as u8; 5]));
        vec![a, b, Op::remove(Space::Meta, (number + 1).to_be_bytes())]
    }

    /// Commits 1 to 9 in three files.
    fn written(folder: &Path) -> Vec<PathBuf> {
        let (mut wal, done) = Wal::open(folder, 0).expect("it opens");
        assert!(done.is_empty());
        (1..=9)
            .filter_map(|number| {
                assert_eq!(wal.append(&set(number)).expect("written"), number);
                (number % 3 == 0).then(|| wal.seal())
            })
            .collect()
    }

    /// The numbers of the commits that a log holds beyond `settled`, and the number of the next one.
    fn found(folder: &Path, settled: u64) -> (Vec<u64>, u64) {
        let (mut wal, done) = Wal::open(folder, settled).expect("it opens");
        let mut numbers = Vec::new();
        for file in &done {
            for (space, key, value) in file.changes.iter().filter(|(space, ..)| *space == Space::Log(7)) {
                let number = u64::from_be_bytes(key[..].try_into().expect("a number"));
                assert_eq!((space, value.as_deref()), (Space::Log(7), Some(&[number as u8; 5][..])));
                numbers.push(number);
            }
        }
        let next = wal.append(&set(0)).expect("written");
        std::fs::remove_file(wal.seal()).expect("it is there");
        (numbers, next)
    }

    #[test]
    fn everything_comes_back_that_the_tables_do_not_have() {
        let folder = tempfile::tempdir().expect("a folder");
        written(folder.path());
        for settled in 0..=9 {
            assert_eq!(found(folder.path(), settled), ((settled + 1..=9).collect(), 10));
        }
    }

    /// Wherever the last file was cut off or changed, what was before counts, and nothing else.
    #[test]
    fn a_cut_ends_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let last = written(folder.path()).pop().expect("files");
        let bytes = std::fs::read(&last).expect("read");
        let frame = bytes.len() / 3;
        for end in 0..bytes.len() {
            let whole = 6 + (end / frame) as u64;
            std::fs::write(&last, &bytes[..end]).expect("written");
            assert_eq!(found(folder.path(), 0), ((1..=whole).collect(), whole + 1), "cut at {end}");
            let mut changed = bytes.clone();
            changed[end] ^= 1;
            std::fs::write(&last, changed).expect("written");
            assert_eq!(found(folder.path(), 0).0, (1..=whole).collect::<Vec<_>>(), "changed at {end}");
        }
    }

    /// What was written after something that is lost does not count, and is not deleted.
    #[test]
    fn what_follows_a_gap_is_set_aside() {
        for cut in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let files = written(folder.path());
            if cut {
                let bytes = std::fs::read(&files[1]).expect("read");
                std::fs::write(&files[1], &bytes[..bytes.len() - 1]).expect("written");
            } else {
                std::fs::remove_file(&files[1]).expect("it is there");
            }
            let left = if cut { 5 } else { 3 };
            assert_eq!(found(folder.path(), 0), ((1..=left).collect(), left + 1));
            assert!(files[2].with_extension("lost").exists() && !files[2].exists());
            let (mut wal, _) = Wal::open(folder.path(), 0).expect("it opens");
            wal.append(&set(left + 1)).expect("written");
            assert!(wal.seal() > files[2], "its number is not given again");
        }
    }

    #[test]
    fn files_are_synced_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut wal, _) = Wal::open(folder.path(), 0).expect("it opens");
        wal.append(&set(1)).expect("written");
        let first = wal.unsynced();
        assert_eq!((first.files.len(), first.folder.is_some()), (1, true));
        wal.append(&set(2)).expect("written");
        wal.seal();
        first.sync().expect("synced");
        // The file has grown since.
        wal.synced(&first);
        let second = wal.unsynced();
        assert_eq!((second.files.len(), second.folder.is_some()), (1, false));
        wal.append(&set(3)).expect("written");
        wal.synced(&second);
        let third = wal.unsynced();
        assert_eq!((third.files.len(), third.folder.is_some()), (1, true));
        wal.synced(&third);
        assert_eq!(wal.unsynced().files.len(), 1, "the one that grows");
    }
}
