//! What the tests of imports share.
#![allow(dead_code, unreachable_pub)] // each test program uses a part of it

use std::path::{Path, PathBuf};

use rust_decimal::Decimal;
use tradeflow_model::market::{Columns, PriceType, SeriesKind};
use tradeflow_model::{Interval, Symbol, Timestamp};
use tradeflow_storage::catalog::{Catalog, ConflictPolicy, SeriesKey};
use tradeflow_storage::import::{
    ImportError, InstrumentOptions, Layout, Policy, Quiet, Report, Request, import, presets,
};

/// The folder of the real data; `None`, with a line that says so, where it is absent.
pub fn real_data(test: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("TRADEFLOW_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from("../../shared/data"),
    };
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("{test}: skipped, because the real data is not at {} (set TRADEFLOW_DATA)", folder.display());
    None
}

/// The files of a folder whose names contain `part`, sorted.
pub fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().contains(part))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {part} in {}", folder.display());
    files
}

pub fn layout(preset: &str) -> Layout {
    (presets::find(preset).unwrap().layout)()
}

pub fn request(layout: Layout, symbol: &str, interval: Option<&str>, files: Vec<PathBuf>) -> Request {
    let mut layout = layout;
    if let Some(interval) = interval {
        layout.interval = Some(interval.parse().unwrap());
    }
    Request {
        files,
        layout,
        symbol: (!symbol.is_empty()).then(|| Symbol::new(symbol).unwrap()),
        instrument: InstrumentOptions::default(),
        member: None,
        policy: Policy::default(),
        conflict: ConflictPolicy::Reject,
        dry_run: false,
    }
}

/// A catalog in a folder of its own.
pub struct Room {
    pub folder: tempfile::TempDir,
    pub catalog: Catalog,
}

impl Room {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path().join("catalog").to_str().unwrap()).unwrap();
        Self { folder, catalog }
    }

    pub fn import(&self, request: &Request) -> Result<Report, ImportError> {
        import(&self.catalog, request, &Quiet)
    }

    /// Writes a file beside the catalog.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Imports a text with a preset.
    pub fn text(
        &self,
        preset: &str,
        symbol: &str,
        interval: Option<&str>,
        text: &str,
    ) -> Result<Report, ImportError> {
        let file = self.file("input.csv", text);
        self.import(&request(layout(preset), symbol, interval, vec![file]))
    }

    pub fn columns(&self, symbol: &str, kind: SeriesKind) -> Columns {
        let key = SeriesKey::new(Symbol::new(symbol).unwrap(), kind);
        self.catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap()
    }

    pub fn bars(&self, symbol: &str, interval: &str, price_type: PriceType) -> tradeflow_model::BarColumns {
        match self.columns(symbol, bars(interval, price_type)) {
            Columns::Bars(columns) => columns,
            other => panic!("not bars: {} rows", other.len()),
        }
    }

    /// Decimals of prices and sizes.
    pub fn scales(&self, symbol: &str) -> (u8, u8) {
        let instrument = self.catalog.instrument(&Symbol::new(symbol).unwrap()).unwrap().unwrap();
        (instrument.price_scale, instrument.size_scale)
    }

    /// Every file of the catalog with its bytes.
    pub fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            let Ok(entries) = std::fs::read_dir(folder) else { return };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else if path.extension().is_some_and(|e| e == "parquet" || e == "json") {
                    let bytes = std::fs::read(&path).unwrap();
                    found.push((path, bytes));
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.folder.path().join("catalog"), &mut found);
        found.sort();
        found
    }
}

pub fn bars(interval: &str, price_type: PriceType) -> SeriesKind {
    let interval: Interval = interval.parse().unwrap();
    SeriesKind::Bars { interval, price_type }
}

/// The sum of raw values as a decimal.
pub fn sum(values: &[i64], scale: u8) -> Decimal {
    let total: i128 = values.iter().map(|value| i128::from(*value)).sum();
    Decimal::from_i128_with_scale(total, u32::from(scale)).normalize()
}

pub fn decimal(text: &str) -> Decimal {
    text.parse::<Decimal>().unwrap().normalize()
}

pub fn time(nanos: i64) -> String {
    Timestamp::from_nanos(nanos).to_string()
}
