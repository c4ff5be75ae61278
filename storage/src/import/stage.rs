//! Where rows wait between reading and writing: by series and partition, in memory and beyond that in a temporary file.
//!
//! Files come in any order and may lie across each other, the decimals of an instrument are known only when all of
//! it has been read, and nothing may be written before everything has been checked. So rows are first set aside, and
//! then come back a partition at a time. Memory holds some [`MEMORY_VALUES`] and the partition at hand.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use tradeflow_model::fixed::pow10;
use tradeflow_model::market::SeriesKind;

use super::error::ImportError;
use super::number::RAW_MAX;

/// Values (of 8 bytes) that stay in memory: 48 MiB.
const MEMORY_VALUES: usize = 6 << 20;
/// Values that wait unsorted before they become chunks.
const OPEN_VALUES: usize = 1 << 20;

/// What a value of a staged row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Price,
    Size,
    Other,
}

/// Values of a row: the first is its key time, the last where it came from.
pub(super) const BAR: usize = 8;
pub(super) const TRADE: usize = 5;
pub(super) const QUOTE: usize = 6;

fn cells(kind: SeriesKind) -> &'static [Cell] {
    use Cell::{Other, Price, Size};
    match kind {
        // ts_open, ts_event, open, high, low, close, volume, origin
        SeriesKind::Bars { .. } => &[Other, Other, Price, Price, Price, Price, Size, Other],
        // ts_event, price, qty, aggressor, origin
        SeriesKind::Trades => &[Other, Price, Size, Other, Other],
        // ts_event, bid, ask, bid_size, ask_size, origin
        _ => &[Other, Price, Price, Size, Size, Other],
    }
}

/// Decimals of staged prices and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Scales {
    pub(super) price: u8,
    pub(super) size: u8,
}

struct Chunk {
    scales: Scales,
    values: Values,
}

enum Values {
    Memory(Vec<i64>),
    File { offset: u64, count: usize },
}

#[derive(Default)]
struct Part {
    open: Vec<i64>,
    chunks: Vec<Chunk>,
}

/// A series and its rows.
pub(super) struct StagedSeries {
    /// Index of the instrument.
    pub(super) subject: usize,
    pub(super) kind: SeriesKind,
    /// By first instant of the partition.
    parts: BTreeMap<i64, Part>,
    pub(super) rows: u64,
}

impl StagedSeries {
    pub(super) fn new(subject: usize, kind: SeriesKind) -> Self {
        Self { subject, kind, parts: BTreeMap::new(), rows: 0 }
    }

    pub(super) fn partitions(&self) -> Vec<i64> {
        self.parts.keys().copied().collect()
    }

    /// Values of a row.
    pub(super) fn width(&self) -> usize {
        cells(self.kind).len()
    }
}

/// All rows of an import.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) series: Vec<StagedSeries>,
    file: Option<File>,
    file_end: u64,
    memory: usize,
    open: usize,
}

impl Stage {
    /// Sets a row aside. `scales` are those of its values.
    pub(super) fn push(
        &mut self,
        series: usize,
        partition: i64,
        row: &[i64],
        scales: Scales,
    ) -> Result<(), ImportError> {
        let staged = &mut self.series[series];
        staged.rows += 1;
        staged.parts.entry(partition).or_default().open.extend_from_slice(row);
        self.open += row.len();
        if self.open < OPEN_VALUES {
            return Ok(());
        }
        for at in 0..self.series.len() {
            // Series of one import may differ in instrument, but only the one being read has open rows at other
            // scales, and it is sealed when they change.
            self.seal(at, None, scales)?;
        }
        Ok(())
    }

    /// Closes the open rows of a series (of one partition, or of all), which are at `scales`.
    pub(super) fn seal(
        &mut self,
        series: usize,
        partition: Option<i64>,
        scales: Scales,
    ) -> Result<(), ImportError> {
        let mut parts = std::mem::take(&mut self.series[series].parts);
        let chosen = parts.iter_mut().filter(|(key, _)| partition.is_none_or(|only| only == **key));
        let result = chosen.map(|(_, part)| part).filter(|part| !part.open.is_empty()).try_for_each(|part| {
            let values = std::mem::take(&mut part.open);
            self.open -= values.len();
            let values = self.keep(values)?;
            part.chunks.push(Chunk { scales, values });
            Ok(())
        });
        self.series[series].parts = parts;
        result
    }

    fn keep(&mut self, values: Vec<i64>) -> Result<Values, ImportError> {
        if self.memory + values.len() <= MEMORY_VALUES {
            self.memory += values.len();
            return Ok(Values::Memory(values));
        }
        let count = values.len();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let offset = self.file_end;
        let write = |file: &mut Option<File>| -> std::io::Result<()> {
            let file = match file {
                Some(file) => file,
                None => file.insert(tempfile::tempfile()?),
            };
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(&bytes)
        };
        write(&mut self.file).map_err(ImportError::Spool)?;
        self.file_end += bytes.len() as u64;
        Ok(Values::File { offset, count })
    }

    /// The rows of a partition in the order in which they were set aside, one after another, at `scales`.
    ///
    /// # Errors
    /// When the temporary file fails, or (in words, inside `Ok`) a value does not fit at these scales: the row's
    /// origin and the value's position in the row.
    pub(super) fn load(
        &mut self,
        series: usize,
        partition: i64,
        scales: Scales,
    ) -> Result<Result<Vec<i64>, Overflow>, ImportError> {
        let staged = &self.series[series];
        let cells = cells(staged.kind);
        let Some(part) = staged.parts.get(&partition) else { return Ok(Ok(Vec::new())) };
        let mut all = Vec::new();
        for chunk in &part.chunks {
            let start = all.len();
            match &chunk.values {
                Values::Memory(values) => all.extend_from_slice(values),
                Values::File { offset, count } => {
                    let mut bytes = vec![0; count * 8];
                    let mut read = || -> std::io::Result<()> {
                        let Some(file) = &mut self.file else { return Ok(()) };
                        file.seek(SeekFrom::Start(*offset))?;
                        file.read_exact(&mut bytes)
                    };
                    read().map_err(ImportError::Spool)?;
                    all.extend(bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)));
                }
            }
            if chunk.scales == scales {
                continue;
            }
            let (price, size) =
                (pow10(scales.price - chunk.scales.price), pow10(scales.size - chunk.scales.size));
            for row in all[start..].chunks_exact_mut(cells.len()) {
                for at in 0..cells.len() {
                    let factor = match cells[at] {
                        Cell::Price => price,
                        Cell::Size => size,
                        Cell::Other => continue,
                    };
                    match row[at].checked_mul(factor).filter(|raw| raw.abs() <= RAW_MAX) {
                        Some(raw) => row[at] = raw,
                        None => {
                            let origin = row[cells.len() - 1];
                            return Ok(Err(Overflow { origin, price: cells[at] == Cell::Price }));
                        }
                    }
                }
            }
        }
        Ok(Ok(all))
    }
}

/// A value that does not fit at the scale that other values need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overflow {
    pub(super) origin: i64,
    pub(super) price: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_order_at_the_common_scale_from_memory_and_from_disk() {
        let mut stage = Stage::default();
        stage.series.push(StagedSeries::new(0, SeriesKind::Trades));
        let coarse = Scales { price: 2, size: 0 };
        let fine = Scales { price: 4, size: 1 };
        let count = 3_000_000_i64; // 15 million values: more than stays in memory
        for n in 0..count {
            if n == count / 2 {
                stage.seal(0, None, coarse).unwrap();
            }
            let scales = if n < count / 2 { coarse } else { fine };
            stage.push(0, n % 2, &[n, 7, 1, 0, n], scales).unwrap();
        }
        stage.seal(0, None, fine).unwrap();
        assert!(stage.file.is_some(), "the test must reach the file");
        for partition in 0..2 {
            let rows = stage.load(0, partition, fine).unwrap().unwrap();
            assert_eq!(rows.len() as i64, count / 2 * 5);
            for (at, row) in rows.chunks_exact(5).enumerate() {
                let n = at as i64 * 2 + partition;
                let expected = if n < count / 2 { [n, 700, 10, 0, n] } else { [n, 7, 1, 0, n] };
                assert_eq!(row, expected);
            }
        }
        stage.push(0, 5, &[0, RAW_MAX, 1, 0, 42], fine).unwrap();
        stage.seal(0, None, fine).unwrap();
        let overflow = stage.load(0, 5, Scales { price: 5, size: 1 }).unwrap();
        assert_eq!(overflow, Err(Overflow { origin: 42, price: true }));
    }
}
