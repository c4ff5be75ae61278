//! Reading series: files one after another, in pieces.

use tradeflow_model::market::{Columns, SeriesKind};
use tradeflow_model::plan::DataFile;
use tradeflow_model::{Instrument, InstrumentId, SeriesId, Timestamp};

use super::append;
use super::decode::FileReader;
use super::schema::Scales;
use super::store::Store;
use super::{CatalogError, SeriesKey, rows};

/// Reads files one after another in pieces; see [`super::Catalog::reader`]. Ends after the first error.
///
/// Only the file being read is in memory, compressed, beside the piece handed out. The digest of a file's bytes is
/// checked before its first piece is handed out.
pub struct ChunkReader {
    store: Store,
    key: SeriesKey,
    scales: Scales,
    files: std::vec::IntoIter<DataFile>,
    batch_rows: usize,
    from: Timestamp,
    to: Timestamp,
    ids: (SeriesId, InstrumentId),
    current: Option<(String, FileReader)>,
}

impl ChunkReader {
    pub(crate) fn new(
        store: Store,
        instrument: &Instrument,
        kind: SeriesKind,
        files: Vec<DataFile>,
        batch_rows: usize,
    ) -> Self {
        Self {
            store,
            key: SeriesKey::new(instrument.symbol.clone(), kind),
            scales: Scales::of(instrument),
            files: files.into_iter(),
            batch_rows: batch_rows.max(1),
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            ids: (SeriesId(0), InstrumentId(0)),
            current: None,
        }
    }

    /// Only rows with `from ≤ key time < to`; without this call, all rows of the files.
    #[must_use]
    pub fn between(mut self, from: Timestamp, to: Timestamp) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    /// The ids that corporate actions carry in themselves (other kinds get theirs from the batch); 0 otherwise.
    #[must_use]
    pub fn with_ids(mut self, series: SeriesId, instrument: InstrumentId) -> Self {
        self.ids = (series, instrument);
        self
    }

    fn step(&mut self) -> Result<Option<Columns>, CatalogError> {
        loop {
            let Some((path, reader)) = &mut self.current else {
                let Some(file) = self.files.next() else { return Ok(None) };
                let reader = self.open(&file)?;
                self.current = Some((file.path, reader));
                continue;
            };
            let rows = reader.next(self.batch_rows);
            match rows.map_err(|why| CatalogError::Corrupt { path: path.clone(), why })? {
                None => self.current = None,
                Some(rows) => {
                    let rows = self.trim(rows);
                    if !rows.is_empty() {
                        return Ok(Some(rows));
                    }
                }
            }
        }
    }

    fn open(&self, file: &DataFile) -> Result<FileReader, CatalogError> {
        let corrupt = |why: String| CatalogError::Corrupt { path: file.path.clone(), why };
        let of_key = SeriesKey::of_path(&file.path).is_some_and(|(key, _)| key == self.key);
        if !of_key {
            return Err(corrupt(format!("is not a file of {}", self.key)));
        }
        let mut reader = match self.store.get(&file.path)? {
            Some((bytes, _)) => Some(FileReader::open(&self.key, self.scales, bytes).map_err(corrupt)?),
            None => None,
        };
        if reader.as_ref().is_none_or(|reader| reader.footer().content != file.digest)
            && let Some(bytes) = append::superseded(&self.store, file.digest)?
        {
            // A recorder has written the file anew since it was listed; what it held is kept for a while.
            reader = Some(FileReader::open(&self.key, self.scales, bytes).map_err(corrupt)?);
        }
        let mut reader = reader.ok_or_else(|| corrupt("is gone; list the files again".into()))?;
        reader.set_ids(self.ids.0, self.ids.1);
        let found = reader.footer().content;
        if found != file.digest {
            return Err(CatalogError::Changed {
                path: file.path.clone(),
                found: found.to_string(),
                expected: file.digest.to_string(),
            });
        }
        Ok(reader)
    }

    fn trim(&self, rows: Columns) -> Columns {
        if rows.is_empty() {
            return rows;
        }
        let inside = |row| {
            let time = Timestamp::from_nanos(rows::key_time(&rows, row));
            self.from <= time && (time < self.to || self.to == Timestamp::MAX)
        };
        if inside(0) && inside(rows.len() - 1) {
            return rows;
        }
        let start = rows::first_at(&rows, self.from.as_nanos());
        let end = rows::first_at(&rows, self.to.as_nanos());
        rows::slice(&rows, start..end.max(start))
    }
}

impl Iterator for ChunkReader {
    type Item = Result<Columns, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.current = None;
            self.files = Vec::new().into_iter();
        }
        step.transpose()
    }
}
