//! A block as a Parquet file: its columns as they are, and in the footer which offsets it covers and a digest of all
//! values.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::block::{Block, Kind};

const VERSION: &str = "1";

/// The file of a block that covers these offsets.
pub(super) fn encode(block: &Block, offsets: &Range<u64>) -> Result<Bytes, String> {
    let failed = |e: &dyn std::fmt::Display| e.to_string();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let level = ZstdLevel::try_new(3).map_err(|e| failed(&e))?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by(concat!("tradeflow version ", env!("CARGO_PKG_VERSION")).to_owned());
    for (name, values) in block.kind.integers().iter().zip(&block.integers) {
        fields.push(Field::new(*name, DataType::Int64, false));
        columns.push(Arc::new(Int64Array::from(values.clone())));
        let path = ColumnPath::from(*name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    for (name, words) in block.kind.words().iter().zip(&block.words) {
        fields.push(Field::new(*name, DataType::Utf8, false));
        columns.push(Arc::new(StringArray::from_iter_values(words.iter().map(|n| block.texts.get(*n)))));
    }
    let entries = [
        ("tradeflow.recorded.version", VERSION.to_owned()),
        ("tradeflow.recorded.from", offsets.start.to_string()),
        ("tradeflow.recorded.through", offsets.end.to_string()),
        ("tradeflow.recorded.digest", block.digest().to_string()),
    ];
    let entries = entries.into_iter().map(|(name, value)| KeyValue::new(name.to_owned(), value)).collect();
    let properties = properties.set_key_value_metadata(Some(entries)).build();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| failed(&e))?;
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).map_err(|e| failed(&e))?;
    writer.write(&batch).map_err(|e| failed(&e))?;
    Ok(writer.into_inner().map_err(|e| failed(&e))?.into())
}

/// The block of a file and the offsets that it covers.
pub(super) fn decode(kind: Kind, bytes: Bytes) -> Result<(Block, Range<u64>), String> {
    // The library checks most of what a damaged file can hold, and asserts the rest.
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decode_unguarded(kind, bytes)));
    decoded.unwrap_or_else(|_| Err("is damaged".into()))
}

fn decode_unguarded(kind: Kind, bytes: Bytes) -> Result<(Block, Range<u64>), String> {
    let failed = |e: &dyn std::fmt::Display| format!("is damaged: {e}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| failed(&e))?;
    let entries = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let entry = |name: &str| {
        let name = format!("tradeflow.recorded.{name}");
        let found = entries.iter().find(|entry| entry.key == name).and_then(|entry| entry.value.clone());
        found.ok_or_else(|| format!("has no entry {name} in its footer: it is not a recorder's file"))
    };
    let version = entry("version")?;
    if version != VERSION {
        return Err(format!("has version {version} of the layout; this program reads {VERSION}"));
    }
    let number = |name: &str| entry(name)?.parse::<u64>().map_err(|e| failed(&e));
    let offsets = number("from")?..number("through")?;
    let mut block = Block::new(kind);
    for batch in builder.build().map_err(|e| failed(&e))? {
        let batch = batch.map_err(|e| failed(&e))?;
        let column = |name: &str, wanted: &DataType| {
            let found = batch.column_by_name(name).filter(|column| column.data_type() == wanted);
            found.filter(|column| column.null_count() == 0).ok_or_else(|| format!("has no column {name}"))
        };
        for (name, values) in kind.integers().iter().zip(&mut block.integers) {
            values.extend_from_slice(column(name, &DataType::Int64)?.as_primitive::<Int64Type>().values());
        }
        for (name, numbers) in kind.words().iter().zip(&mut block.words) {
            let words = column(name, &DataType::Utf8)?.as_string::<i32>();
            numbers.extend(words.iter().map(|word| block.texts.number(word.unwrap_or_default())));
        }
    }
    let digest = block.digest().to_string();
    if digest != entry("digest")? {
        return Err("is damaged: its values do not have the digest that was recorded with them".into());
    }
    Ok((block, offsets))
}
