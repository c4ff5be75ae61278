//! How long the `parquet` crate alone takes to decode a series: the yardstick of the benchmarks.
//!
//! `decode CATALOG SYMBOL INTERVAL FROM TO [--runs N] [--as-is]` reads the files of the bars whose month or year overlaps
//! `FROM..TO` with `ParquetRecordBatchReader`, one file after another on one thread, the columns that a backtest reads,
//! prices and quantities as 64-bit decimals (the cheapest form the crate has for them), or with `--as-is` as the 128-bit
//! decimals that it gives to whoever does not ask for another form. No reader code of TradeFlow is
//! involved but the listing of the files. Prints `{"rows":…,"seconds":…}`, the best of N runs (5 by default).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use tradeflow_model::market::PriceType;
use tradeflow_model::{Symbol, Timestamp};
use tradeflow_storage::catalog::{Catalog, SeriesKey};

/// The columns that a backtest reads. `ts_init` repeats `ts_event` in history, and is not read.
const COLUMNS: [&str; 7] = ["ts_open", "ts_event", "open", "high", "low", "close", "volume"];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut runs = 5;
    if let Some(at) = arguments.iter().position(|argument| argument == "--runs") {
        runs = arguments.get(at + 1).ok_or("--runs takes a number")?.parse()?;
        arguments.drain(at..at + 2);
    }
    let as_is =
        arguments.iter().position(|argument| argument == "--as-is").map(|at| arguments.remove(at)).is_some();
    let [catalog, symbol, interval, from, to] = &arguments[..] else {
        return Err("usage: decode CATALOG SYMBOL INTERVAL FROM TO [--runs N] [--as-is]".into());
    };
    let key = SeriesKey::bars(Symbol::new(symbol.as_str())?, interval.parse()?, PriceType::Last);
    let (from, to): (Timestamp, Timestamp) = (from.parse()?, to.parse()?);
    let files = Catalog::open(catalog)?.files(&key, from, to)?;
    let mut best: Option<(usize, f64)> = None;
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        let mut rows = 0;
        for info in &files {
            rows += decode(&Path::new(catalog).join(&info.file.path), as_is)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        best = Some(best.filter(|(_, least)| *least <= seconds).unwrap_or((rows, seconds)));
    }
    let (rows, seconds) = best.unwrap_or_default();
    println!("{}", serde_json::json!({ "rows": rows, "seconds": seconds }));
    Ok(())
}

/// Decodes a file and counts its rows.
fn decode(path: &Path, as_is: bool) -> Result<usize, Failure> {
    let file = File::open(path)?;
    let found = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
    let narrow = |field: &Field| if as_is { field.clone() } else { narrow(field) };
    let fields: Vec<Field> = found.schema().fields().iter().map(|field| narrow(field)).collect();
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
    let metadata = ArrowReaderMetadata::try_new(found.metadata().clone(), options)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let mut rows = 0;
    for batch in builder.with_projection(mask).with_batch_size(1 << 16).build()? {
        rows += batch?.num_rows();
    }
    Ok(rows)
}

fn narrow(field: &Field) -> Field {
    match field.data_type() {
        DataType::Decimal128(precision, scale) => {
            Field::new(field.name(), DataType::Decimal64(*precision, *scale), field.is_nullable())
        }
        _ => field.clone(),
    }
}
