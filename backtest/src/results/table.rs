//! A Parquet table, written column by column.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nanoseconds UTC.
    Time,
    /// A decimal of 18 digits at a scale.
    Decimal(u8),
    /// A whole number.
    Integer,
    /// Text of few different values.
    Word,
    /// True or false.
    Bool,
}

/// A column of rows that wait to be written.
#[derive(Debug)]
enum Values {
    Integers(Vec<i64>),
    Words(Words),
    Bools(Vec<bool>),
}

/// Words of a column, of which there are few different ones: each is allocated once.
#[derive(Debug, Default)]
struct Words {
    known: Vec<ByteArray>,
    rows: Vec<ByteArray>,
}

impl Words {
    /// More than this many are not looked for.
    const KNOWN_MAX: usize = 16;

    fn push(&mut self, text: &str) {
        let known = self.known.iter().find(|word| word.data() == text.as_bytes());
        let word = known.cloned().unwrap_or_else(|| {
            let word = ByteArray::from(text);
            if self.known.len() < Self::KNOWN_MAX {
                self.known.push(word.clone());
            }
            word
        });
        self.rows.push(word);
    }
}

#[derive(Debug)]
struct Column {
    values: Values,
    /// 1 for a value, 0 for none; only of a column that may be empty.
    levels: Option<Vec<i16>>,
}

/// A table that is being written.
pub struct Table {
    path: PathBuf,
    writer: SerializedFileWriter<BufWriter<File>>,
    columns: Vec<Column>,
    rows: usize,
}

/// Rows of a row group: few enough that tables are encoded while the run goes on, and little is left for its end.
const GROUP_ROWS: usize = 1 << 15;

impl Table {
    /// Begins a table. A name that ends in `?` is of a column that may be empty.
    pub fn create(folder: &Path, name: &str, columns: &[(&str, Kind)]) -> Result<Self, String> {
        let path = folder.join(format!("{name}.parquet"));
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let mut schema = format!("message {name} {{\n");
        let level = ZstdLevel::try_new(1).map_err(|e| failed(&e))?;
        let mut properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_created_by(concat!("tradeflow version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true);
        for (name, kind) in columns {
            let (name, repetition) = match name.strip_suffix('?') {
                Some(name) => (name, "optional"),
                None => (*name, "required"),
            };
            let column = match kind {
                Kind::Time => format!("int64 {name} (TIMESTAMP(NANOS,true))"),
                Kind::Decimal(scale) => format!("int64 {name} (DECIMAL(18,{scale}))"),
                Kind::Integer => format!("int64 {name}"),
                Kind::Word => format!("byte_array {name} (STRING)"),
                Kind::Bool => format!("boolean {name}"),
            };
            schema.push_str(&format!("  {repetition} {column};\n"));
            let path = ColumnPath::from(name);
            properties = match kind {
                Kind::Word => properties.set_column_dictionary_enabled(path, true),
                Kind::Time | Kind::Decimal(_) | Kind::Integer => properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
                Kind::Bool => properties.set_column_dictionary_enabled(path, false),
            };
        }
        schema.push('}');
        let schema = Arc::new(parse_message_type(&schema).map_err(|e| failed(&e))?);
        let file = BufWriter::new(File::create(&path).map_err(|e| failed(&e))?);
        let writer =
            SerializedFileWriter::new(file, schema, Arc::new(properties.build())).map_err(|e| failed(&e))?;
        let columns = columns
            .iter()
            .map(|(name, kind)| Column {
                values: match kind {
                    Kind::Time | Kind::Decimal(_) | Kind::Integer => Values::Integers(Vec::new()),
                    Kind::Word => Values::Words(Words::default()),
                    Kind::Bool => Values::Bools(Vec::new()),
                },
                levels: name.ends_with('?').then(Vec::new),
            })
            .collect();
        Ok(Self { path, writer, columns, rows: 0 })
    }

    /// Appends a row of values, in the order of the columns.
    pub fn row(&mut self, row: &[Cell<'_>]) -> Result<(), String> {
        debug_assert_eq!(row.len(), self.columns.len());
        for (column, &cell) in self.columns.iter_mut().zip(row) {
            if let Some(levels) = &mut column.levels {
                levels.push(i16::from(!matches!(cell, Cell::None)));
            }
            match (&mut column.values, cell) {
                (Values::Integers(values), Cell::Integer(value)) => values.push(value),
                (Values::Words(words), Cell::Text(text)) => words.push(text),
                (Values::Bools(values), Cell::Bool(value)) => values.push(value),
                (_, Cell::None) if column.levels.is_some() => {}
                (_, cell) => {
                    return Err(format!("{}: {cell:?} is not of its column's kind", self.path.display()));
                }
            }
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    /// Appends many rows of a table whose columns are integers and then, perhaps, a word.
    pub fn columns<const N: usize>(&mut self, mut integers: [Vec<i64>; N], word: &str) -> Result<(), String> {
        let rows = integers.first().map_or(0, Vec::len);
        for (index, column) in self.columns.iter_mut().enumerate() {
            match &mut column.values {
                Values::Integers(values) => values.append(&mut integers[index]),
                Values::Words(words) => words.rows.resize(words.rows.len() + rows, ByteArray::from(word)),
                Values::Bools(_) => {}
            }
        }
        self.rows += rows;
        if self.rows >= GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), String> {
        if self.rows == 0 {
            return Ok(());
        }
        let path = &self.path;
        let failed = |error: parquet::errors::ParquetError| format!("{}: {error}", path.display());
        let mut group = self.writer.next_row_group().map_err(failed)?;
        for column in &mut self.columns {
            let levels = column.levels.as_deref();
            match &mut column.values {
                Values::Integers(values) => write::<Int64Type>(&mut group, values, levels),
                Values::Words(words) => write::<ByteArrayType>(&mut group, &mut words.rows, levels),
                Values::Bools(values) => write::<BoolType>(&mut group, values, levels),
            }
            .map_err(failed)?;
            if let Some(levels) = &mut column.levels {
                levels.clear();
            }
        }
        group.close().map_err(failed)?;
        self.rows = 0;
        Ok(())
    }

    /// Writes what waits, and the footer.
    pub fn finish(mut self) -> Result<(), String> {
        self.flush()?;
        let path = self.path;
        self.writer.close().map(|_| ()).map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
    values: &mut Vec<T::T>,
    levels: Option<&[i16]>,
) -> Result<(), parquet::errors::ParquetError> {
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    column.typed::<T>().write_batch(values, levels, None)?;
    values.clear();
    column.close()
}

/// A value of a row.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'a> {
    /// A time, decimal or whole number.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// True or false.
    Bool(bool),
    /// Nothing.
    None,
}
