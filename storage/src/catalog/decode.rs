//! The bytes of a Parquet file to rows, in pieces, and what its footer alone tells.
//!
//! A file's seal and schema are checked before its first row is decoded: a damaged file is an error with its path,
//! never a panic and never other rows.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type,
};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::statistics::Statistics;
use tradeflow_model::market::{ActionKind, Aggressor, Columns, SeriesKind};
use tradeflow_model::market::{QuoteColumns, TradeColumns};
use tradeflow_model::{BarColumns, CorporateAction, Digest, InstrumentId, Money, SeriesId, Timestamp};

use super::SeriesKey;
use super::encode::{Provenance, VERSION, aggressor_word};
use super::schema::{self, Scales};
use super::seal;

/// What the footer of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) rows: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) sources: Vec<String>,
    pub(crate) content: Digest,
    pub(crate) init_is_event: bool,
    /// See [`super::encode::Provenance`].
    pub(crate) recorded: BTreeMap<String, u64>,
}

/// Bytes at the end of a file that nearly always hold the whole footer.
pub(crate) const FOOTER_GUESS_BYTES: u64 = 32 * 1024;

/// The footer of a file of `size` bytes, of which `tail` is the end; `Err(Ok(n))` when the last `n` bytes are needed.
pub(crate) fn footer_of_tail(
    key: &SeriesKey,
    tail: &Bytes,
    size: u64,
) -> Result<Footer, Result<u64, String>> {
    guarded(|| {
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(tail, size) {
            Ok(()) => {}
            Err(parquet::errors::ParquetError::NeedMoreData(bytes)) if bytes as u64 <= size => {
                return Ok(Err(bytes as u64));
            }
            Err(e) => return Err(e.to_string()),
        }
        let metadata = reader.finish().map_err(|e| e.to_string())?;
        Footer::of(key, &metadata).map(Ok)
    })
    .map_err(Err)?
    .map_err(Ok)
}

impl Footer {
    fn of(key: &SeriesKey, metadata: &ParquetMetaData) -> Result<Self, String> {
        let file = metadata.file_metadata();
        let value = |name: &str| {
            let pairs = file.key_value_metadata()?;
            pairs.iter().find(|pair| pair.key == name)?.value.as_deref()
        };
        let version = value("tradeflow.version").ok_or("was not written by TradeFlow (import it instead)")?;
        if version != VERSION {
            return Err(format!("has version {version} of the layout; this program reads {VERSION}"));
        }
        for (name, expected) in
            [("tradeflow.symbol", key.symbol.as_str()), ("tradeflow.kind", key.kind_name())]
        {
            let found = value(name).unwrap_or_default();
            if found != expected {
                return Err(format!("says {name} = {found:?}, but lies in the folder of {expected:?}"));
            }
        }
        let content = value("tradeflow.content").unwrap_or_default().to_owned();
        let content = Digest::try_from(content).map_err(|e| format!("its content digest: {e}"))?;
        let sources = value("tradeflow.source").unwrap_or_default();
        let (first, last) = key_times(key, metadata)?;
        Ok(Self {
            rows: u64::try_from(file.num_rows()).map_err(|_| "has a negative number of rows")?,
            first,
            last,
            sources: sources.split("; ").filter(|s| !s.is_empty()).map(str::to_owned).collect(),
            content,
            init_is_event: value("tradeflow.ts_init") == Some("ts_event"),
            recorded: recorded(value("tradeflow.recorded").unwrap_or_default())?,
        })
    }
}

/// Places on a bus and their offsets, as [`super::encode`] writes them.
fn recorded(text: &str) -> Result<BTreeMap<String, u64>, String> {
    let entries = text.split("; ").filter(|entry| !entry.is_empty());
    let parse = |entry: &str| {
        let (place, through) = entry.rsplit_once(':')?;
        Some((place.to_owned(), through.parse().ok()?))
    };
    entries.map(|entry| parse(entry).ok_or(format!("says tradeflow.recorded = {text:?}"))).collect()
}

/// Least and greatest key time, from the statistics of the row groups.
fn key_times(key: &SeriesKey, metadata: &ParquetMetaData) -> Result<(Timestamp, Timestamp), String> {
    let name = key.key_time_name();
    let missing = || format!("has no statistics of {name}");
    let column = schema::fields(key.kind).iter().position(|(field, _)| *field == name).ok_or_else(missing)?;
    let mut bounds: Option<(i64, i64)> = None;
    for group in metadata.row_groups() {
        let statistics = group.columns().get(column).and_then(|c| c.statistics()).ok_or_else(missing)?;
        let Statistics::Int64(values) = statistics else { return Err(missing()) };
        let (Some(min), Some(max)) = (values.min_opt(), values.max_opt()) else { return Err(missing()) };
        let (low, high) = bounds.unwrap_or((*min, *max));
        bounds = Some((low.min(*min), high.max(*max)));
    }
    let (first, last) = bounds.ok_or("holds no rows")?;
    Ok((Timestamp::from_nanos(first), Timestamp::from_nanos(last)))
}

/// Reads one file, given whole.
pub(crate) struct FileReader {
    file: SerializedFileReader<Bytes>,
    kind: SeriesKind,
    footer: Footer,
    rows_left: u64,
    integers: Vec<ColumnStream<Int64Type>>,
    words: Option<ColumnStream<ByteArrayType>>,
    amounts: Option<ColumnStream<FixedLenByteArrayType>>,
    ids: (SeriesId, InstrumentId),
}

impl FileReader {
    /// Reads the footer and checks the schema.
    pub(crate) fn open(key: &SeriesKey, scales: Scales, bytes: Bytes) -> Result<Self, String> {
        guarded(|| {
            seal::check(&bytes)?;
            let file = SerializedFileReader::new(bytes).map_err(|e| e.to_string())?;
            let footer = Footer::of(key, file.metadata())?;
            schema::check(file.metadata().file_metadata().schema_descr(), key.kind, scales)?;
            let mut integers = Vec::new();
            let (mut words, mut amounts) = (None, None);
            for (index, (name, field)) in schema::fields(key.kind).iter().enumerate() {
                match field {
                    schema::Field::Word => words = Some(ColumnStream::new(index, name)),
                    schema::Field::Money => amounts = Some(ColumnStream::new(index, name)),
                    _ if footer.init_is_event && *name == "ts_init" => {}
                    _ => integers.push(ColumnStream::new(index, name)),
                }
            }
            let (rows_left, kind) = (footer.rows, key.kind);
            let ids = (SeriesId(0), InstrumentId(0));
            Ok(Self { file, kind, footer, rows_left, integers, words, amounts, ids })
        })
    }

    /// The ids to put into corporate actions.
    pub(crate) fn set_ids(&mut self, series: SeriesId, instrument: InstrumentId) {
        self.ids = (series, instrument);
    }

    /// Where its rows came from.
    pub(crate) fn provenance(&self) -> Provenance {
        let Footer { sources, recorded, .. } = &self.footer;
        Provenance { sources: sources.iter().cloned().collect(), recorded: recorded.clone() }
    }

    /// What the footer says.
    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Up to `rows_max` more rows; `None` at the end.
    pub(crate) fn next(&mut self, rows_max: usize) -> Result<Option<Columns>, String> {
        if self.rows_left == 0 {
            return Ok(None);
        }
        guarded(|| self.decode(rows_max.max(1))).map(Some)
    }

    fn decode(&mut self, rows_max: usize) -> Result<Columns, String> {
        let rows = usize::try_from(self.rows_left).unwrap_or(usize::MAX).min(rows_max);
        let mut integers = Vec::with_capacity(8);
        for stream in &mut self.integers {
            integers.push(stream.read(&self.file, rows)?);
        }
        if self.footer.init_is_event {
            let event = usize::from(matches!(self.kind, SeriesKind::Bars { .. }));
            let init = integers[event].clone();
            integers.insert(event + 1, init);
        }
        let mut integers = integers.into_iter();
        let mut column = || integers.next().unwrap_or_default();
        let columns = match self.kind {
            SeriesKind::Bars { .. } => Columns::Bars(BarColumns {
                ts_open: column(),
                ts_event: column(),
                ts_init: column(),
                open: column(),
                high: column(),
                low: column(),
                close: column(),
                volume: column(),
            }),
            SeriesKind::Trades => Columns::Trades(TradeColumns {
                ts_event: column(),
                ts_init: column(),
                price: column(),
                qty: column(),
                aggressor: self.aggressors(rows)?,
            }),
            SeriesKind::Quotes => Columns::Quotes(QuoteColumns {
                ts_event: column(),
                ts_init: column(),
                bid: column(),
                ask: column(),
                bid_size: column(),
                ask_size: column(),
            }),
            SeriesKind::Actions => {
                let integers: [Vec<i64>; 4] = [column(), column(), column(), column()];
                Columns::Actions(self.actions(rows, &integers)?)
            }
            SeriesKind::SessionOpens | SeriesKind::SessionCloses => Columns::Sessions(Vec::new()),
        };
        self.rows_left -= rows as u64;
        Ok(columns)
    }

    fn aggressors(&mut self, rows: usize) -> Result<Vec<Aggressor>, String> {
        let Some(stream) = &mut self.words else { return Err("has no column aggressor".into()) };
        let words = stream.read(&self.file, rows)?;
        words.iter().map(|word| aggressor(word.data())).collect()
    }

    fn actions(&mut self, rows: usize, integers: &[Vec<i64>; 4]) -> Result<Vec<CorporateAction>, String> {
        let (Some(words), Some(amounts)) = (&mut self.words, &mut self.amounts) else {
            return Err("lacks a column".into());
        };
        let words: Vec<ByteArray> = words.read(&self.file, rows)?;
        let amounts: Vec<FixedLenByteArray> = amounts.read(&self.file, rows)?;
        let [ts_event, ts_init, new, old] = integers;
        let (series, instrument) = self.ids;
        let mut actions = Vec::with_capacity(rows);
        for row in 0..rows {
            let kind = match words[row].data() {
                b"split" => ActionKind::Split { new: shares(new[row])?, old: shares(old[row])? },
                b"dividend" => {
                    let bytes = amounts[row].data().try_into().map_err(|_| "an amount is not of 16 bytes")?;
                    ActionKind::Dividend { amount: Money::from_raw(i128::from_be_bytes(bytes)) }
                }
                other => {
                    return Err(format!("row {row}: action {:?} is unknown", String::from_utf8_lossy(other)));
                }
            };
            actions.push(CorporateAction {
                series,
                instrument,
                ts_event: Timestamp::from_nanos(ts_event[row]),
                ts_init: Timestamp::from_nanos(ts_init[row]),
                kind,
            });
        }
        Ok(actions)
    }
}

fn shares(value: i64) -> Result<u32, String> {
    u32::try_from(value).map_err(|_| format!("{value} is not a number of shares"))
}

fn aggressor(word: &[u8]) -> Result<Aggressor, String> {
    [Aggressor::Unknown, Aggressor::Buyer, Aggressor::Seller]
        .into_iter()
        .find(|a| aggressor_word(*a).as_bytes() == word)
        .ok_or_else(|| format!("aggressor {:?} is unknown", String::from_utf8_lossy(word)))
}

/// One column through the row groups of a file.
struct ColumnStream<T: DataType> {
    index: usize,
    name: &'static str,
    reader: Option<ColumnReaderImpl<T>>,
    next_group: usize,
}

impl<T: DataType> ColumnStream<T> {
    fn new(index: usize, name: &'static str) -> Self {
        Self { index, name, reader: None, next_group: 0 }
    }

    /// Exactly `rows` more values, decoded straight into the vector.
    fn read(&mut self, file: &SerializedFileReader<Bytes>, rows: usize) -> Result<Vec<T::T>, String> {
        let fail = |e: parquet::errors::ParquetError| format!("column {}: {e}", self.name);
        let mut values = Vec::with_capacity(rows.min(1 << 20));
        while values.len() < rows {
            if let Some(reader) = &mut self.reader {
                let (_, read, _) =
                    reader.read_records(rows - values.len(), None, None, &mut values).map_err(fail)?;
                if read > 0 {
                    continue;
                }
            }
            if self.next_group >= file.num_row_groups() {
                return Err(format!("column {} has fewer values than the file has rows", self.name));
            }
            let group = file.get_row_group(self.next_group).map_err(fail)?;
            self.reader =
                Some(get_typed_column_reader::<T>(group.get_column_reader(self.index).map_err(fail)?));
            self.next_group += 1;
        }
        Ok(values)
    }
}

/// Runs a step of decoding. The Parquet library checks most of what a damaged file can hold, and asserts the rest:
/// such an assertion is an error of the file like any other.
fn guarded<T>(step: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(format!("is damaged: {text}"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tradeflow_model::Symbol;

    use super::super::encode::{Provenance, encode};
    use super::*;

    fn trades() -> Columns {
        let mut columns = TradeColumns::default();
        for row in 0..500 {
            columns.ts_event.push(row * 1_000);
            columns.ts_init.push(row * 1_000 + row % 3);
            columns.price.push(100_000 + row * row % 17);
            columns.qty.push(1 + row % 5);
            columns
                .aggressor
                .push([Aggressor::Unknown, Aggressor::Buyer, Aggressor::Seller][(row % 3) as usize]);
        }
        Columns::Trades(columns)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Somebody may seal a damaged file anew: the decoder alone must stand it.
        #[test]
        fn hostile_bytes_under_a_valid_seal_are_rows_or_an_error(
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
            near_the_end in any::<bool>(),
        ) {
            let key = SeriesKey::new(Symbol::new("T").unwrap(), SeriesKind::Trades);
            let scales = Scales { price: 2, size: 0 };
            let mut bytes = encode(&key, scales, &Provenance::default(), &trades()).unwrap().to_vec();
            for (place, value) in flips {
                let start = if near_the_end { bytes.len() * 2 / 3 } else { 0 };
                let place = start + place.index(bytes.len() - start);
                bytes[place] = value;
            }
            let _ = seal::put(&mut bytes);
            let bytes = Bytes::from(bytes);
            let _ = footer_of_tail(&key, &bytes, bytes.len() as u64);
            if let Ok(mut reader) = FileReader::open(&key, scales, bytes) {
                let mut rows = 0;
                while let Ok(Some(piece)) = reader.next(64) {
                    prop_assert!(piece.len() <= 64);
                    rows += piece.len();
                    prop_assert!(rows <= 1 << 20);
                }
            }
        }
    }
}
