//! Foreign Parquet files: their rows as lines of text, read by the same layouts as CSV.

use std::fmt::Write as _;
use std::fs::File;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::Importer;
use super::error::{ImportError, Place};
use super::lines::Fields;
use super::table::{Table, UNIT_SEPARATOR};

const BATCH_ROWS: usize = 8192;

impl Importer<'_> {
    /// Reads a table of Parquet. Columns of times keep their meaning whatever the layout's time format.
    pub(super) fn read_parquet(&mut self, place: &Place, file: File) -> Result<(), ImportError> {
        let damaged = |row: u64, error: &dyn std::fmt::Display| {
            ImportError::input(
                &place.at(row),
                format!("is not a whole Parquet file that can be read here ({error})"),
            )
        };
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string()))
            .map_err(|error| damaged(0, &error))?;
        let schema = builder.schema().clone();
        let mut header = String::new();
        for (at, field) in schema.fields().iter().enumerate() {
            if at > 0 {
                header.push(char::from(UNIT_SEPARATOR));
            }
            // The name pandas gives to an index without one.
            let name = if field.name().starts_with("__index_level_") { "" } else { field.name() };
            header.push_str(&name.replace([char::from(UNIT_SEPARATOR), '"'], " "));
        }
        let mut reader = guarded(|| builder.with_batch_size(BATCH_ROWS).build().map_err(|e| e.to_string()))
            .map_err(|error| damaged(0, &error))?;
        let mut fields = Fields::default();
        fields.split(header.as_bytes(), UNIT_SEPARATOR);
        let (mut table, is_header) = self.open_table(place, header.as_bytes(), &fields, UNIT_SEPARATOR)?;
        if !is_header {
            return Err(ImportError::input(place, "the names of its columns are numbers; rename them"));
        }
        set_time_format(&mut table, &schema);
        let mut row = 0;
        let mut line = String::new();
        while let Some(batch) = guarded(|| reader.next().transpose().map_err(|e| e.to_string()))
            .map_err(|error| damaged(row + 1, &error))?
        {
            if self.progress.stopped() {
                return Err(ImportError::Stopped);
            }
            for at in 0..batch.num_rows() {
                row += 1;
                line.clear();
                write_row(&mut line, &batch, at).map_err(|what| ImportError::input(&place.at(row), what))?;
                fields.split(line.as_bytes(), UNIT_SEPARATOR);
                self.row(&mut table, line.as_bytes(), &fields, row)?;
            }
        }
        self.close_table(table)
    }
}

/// Runs a step of the Parquet reader, which panics on some damaged files (negative offsets in its metadata).
fn guarded<T>(step: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Nothing that the step touched is used after a panic: the whole import ends.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(step))
        .unwrap_or_else(|_| Err("its metadata makes no sense".to_owned()))
}

fn set_time_format(table: &mut Table, schema: &arrow_schema::Schema) {
    let is_time =
        |at: usize| matches!(schema.field(at).data_type(), DataType::Timestamp(..) | DataType::Date32);
    if table.time_column().is_some_and(is_time) {
        table.set_times_are_iso();
    }
}

fn write_row(line: &mut String, batch: &RecordBatch, row: usize) -> Result<(), String> {
    for (at, column) in batch.columns().iter().enumerate() {
        if at > 0 {
            line.push(char::from(UNIT_SEPARATOR));
        }
        if !column.is_null(row) {
            write_value(line, column.as_ref(), row).ok_or_else(|| {
                format!("column {:?} holds a value that can't be read", batch.schema().field(at).name())
            })?;
        }
    }
    Ok(())
}

/// Writes a value as CSV would have it; nothing for a type that no layout reads.
fn write_value(line: &mut String, column: &dyn Array, row: usize) -> Option<()> {
    macro_rules! plain {
        ($type:ty) => {
            write!(line, "{}", column.as_primitive::<$type>().value(row)).ok()
        };
    }
    match column.data_type() {
        DataType::Int8 => plain!(Int8Type),
        DataType::Int16 => plain!(Int16Type),
        DataType::Int32 => plain!(Int32Type),
        DataType::Int64 => plain!(Int64Type),
        DataType::UInt8 => plain!(UInt8Type),
        DataType::UInt16 => plain!(UInt16Type),
        DataType::UInt32 => plain!(UInt32Type),
        DataType::UInt64 => plain!(UInt64Type),
        // The shortest text that reads back as the same float: 1.1 is written 1.1.
        DataType::Float32 => plain!(Float32Type),
        DataType::Float64 => plain!(Float64Type),
        DataType::Decimal128(_, scale) => {
            let raw = column.as_primitive::<Decimal128Type>().value(row);
            let scale = u32::try_from(*scale).ok()?;
            let value = rust_decimal::Decimal::try_from_i128_with_scale(raw, scale).ok()?;
            write!(line, "{value}").ok()
        }
        DataType::Decimal64(_, scale) => {
            let raw = column.as_primitive::<arrow_array::types::Decimal64Type>().value(row);
            let value = rust_decimal::Decimal::try_new(raw, u32::try_from(*scale).ok()?).ok()?;
            write!(line, "{value}").ok()
        }
        DataType::Utf8 => push_text(line, column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => push_text(line, column.as_string::<i64>().value(row)),
        DataType::Utf8View => push_text(line, column.as_string_view().value(row)),
        DataType::Date32 => {
            let days = i64::from(column.as_primitive::<Date32Type>().value(row));
            write!(line, "{}", super::civil::date_of(days)?).ok()
        }
        DataType::Timestamp(unit, zone) => {
            let nanos = match unit {
                TimeUnit::Second => {
                    column.as_primitive::<TimestampSecondType>().value(row).checked_mul(1_000_000_000)?
                }
                TimeUnit::Millisecond => {
                    column.as_primitive::<TimestampMillisecondType>().value(row).checked_mul(1_000_000)?
                }
                TimeUnit::Microsecond => {
                    column.as_primitive::<TimestampMicrosecondType>().value(row).checked_mul(1000)?
                }
                TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().value(row),
            };
            let instant = jiff::Timestamp::from_nanosecond(i128::from(nanos)).ok()?;
            // With a zone it is an instant; without, a local time of the layout's zone.
            match zone {
                Some(_) => write!(line, "{instant}").ok(),
                None => write!(line, "{}", jiff::tz::TimeZone::UTC.to_datetime(instant)).ok(),
            }
        }
        _ => Some(()),
    }
}

fn push_text(line: &mut String, text: &str) -> Option<()> {
    line.extend(text.chars().filter(|c| *c != char::from(UNIT_SEPARATOR) && *c != '"'));
    Some(())
}
