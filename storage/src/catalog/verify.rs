//! Checks every file of a catalog: its bytes, its rows, its place.

use std::ops::ControlFlow;

use bytes::Bytes;
use tradeflow_model::market::Columns;
use tradeflow_model::{BarColumns, Instrument, Symbol, Timestamp};

use super::content::ContentDigest;
use super::decode::FileReader;
use super::schema::Scales;
use super::writer::{is_timed, read_whole};
use super::{Catalog, CatalogError, Partition, SeriesKey, instruments, rows};

/// What is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path within the catalog.
    pub path: String,
    /// What is wrong, each with the first row where it is.
    pub problems: Vec<String>,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Files checked, definitions of instruments among them.
    pub files: u64,
    /// Rows checked.
    pub rows: u64,
    /// Files with something wrong.
    pub faults: Vec<Fault>,
    /// Files that are not part of the layout; nobody reads them.
    pub strays: Vec<String>,
}

impl VerifyReport {
    /// Whether every file is as it should be.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Checks all files, or those of one symbol; `progress` is called after each with its number and how many there are.
pub(crate) fn verify(
    catalog: &Catalog,
    symbol: Option<&Symbol>,
    mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<VerifyReport, CatalogError> {
    let mut report = VerifyReport::default();
    let listed = catalog.store.list("")?;
    let count = listed.len() as u64;
    let mut previous: Option<(SeriesKey, Timestamp)> = None;
    for (index, (path, _)) in listed.into_iter().enumerate() {
        let problems = if let Some((key, partition)) = SeriesKey::of_path(&path) {
            if symbol.is_some_and(|symbol| *symbol != key.symbol) {
                continue;
            }
            let checked = check_file(catalog, &key, partition, &path)?;
            if SeriesKey::is_part(&path)
                && let (Some((before, end)), Some((first, _))) = (&previous, checked.span)
                && *before == key
                && *end >= first
            {
                // Folded into the file before it, by a writer that was stopped before it could delete it.
                report.strays.push(path);
                continue;
            }
            report.rows += checked.rows;
            let mut problems = checked.problems;
            if let (Some((before, end)), Some((first, _))) = (&previous, checked.span)
                && *before == key
                && *end > first
            {
                problems.push(format!("begins at {first}, before the file before it ends ({end})"));
            }
            previous = checked.span.map(|(_, last)| (key, last));
            problems
        } else if let Some(name) = path.strip_prefix("instruments/") {
            match instruments::symbol_of(name) {
                None => {
                    report.strays.push(path);
                    continue;
                }
                Some(found) if symbol.is_some_and(|symbol| *symbol != found) => continue,
                Some(found) => match instruments::read(&catalog.store, &found) {
                    Ok(_) => Vec::new(),
                    Err(CatalogError::Corrupt { why, .. }) => vec![why],
                    Err(other) => return Err(other),
                },
            }
        } else {
            let is_known = path.starts_with(super::coverage::FOLDER) || super::append::is_beside(&path);
            if path != ".lock" && !is_known {
                report.strays.push(path);
            }
            continue;
        };
        report.files += 1;
        if !problems.is_empty() {
            report.faults.push(Fault { path, problems });
        }
        if progress(index as u64 + 1, count).is_break() {
            break;
        }
    }
    Ok(report)
}

#[derive(Default)]
struct Checked {
    rows: u64,
    /// Key time of the first row, and end of the last.
    span: Option<(Timestamp, Timestamp)>,
    problems: Vec<String>,
}

impl Checked {
    fn only(problem: String) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }
}

fn check_file(
    catalog: &Catalog,
    key: &SeriesKey,
    partition: Partition,
    path: &str,
) -> Result<Checked, CatalogError> {
    let instrument = match instruments::read(&catalog.store, &key.symbol) {
        Ok(Some(instrument)) => instrument,
        Ok(None) => return Ok(Checked::only("its instrument has no definition in the catalog".into())),
        Err(CatalogError::Corrupt { why, .. }) => {
            return Ok(Checked::only(format!("the definition of its instrument {why}")));
        }
        Err(other) => return Err(other),
    };
    let Some((bytes, _)) = catalog.store.get(path)? else {
        return Ok(Checked::only("is gone".into()));
    };
    Ok(check_bytes(key, &instrument, partition, bytes).unwrap_or_else(Checked::only))
}

fn check_bytes(
    key: &SeriesKey,
    instrument: &Instrument,
    partition: Partition,
    bytes: Bytes,
) -> Result<Checked, String> {
    let scales = Scales::of(instrument);
    let footer = FileReader::open(key, scales, bytes.clone())?.footer().clone();
    let (_, rows) = read_whole(key, scales, bytes)?;
    let mut problems = Vec::new();
    let mut content = ContentDigest::new(key.kind, scales, false);
    content.add(&rows);
    if content.finish() != footer.content {
        problems.push("its rows do not have the digest that the footer records".to_owned());
    }
    if rows.is_empty() {
        return Err("holds no rows".into());
    }
    let time = |row| Timestamp::from_nanos(rows::key_time(&rows, row));
    let (first, last) = (time(0), time(rows.len() - 1));
    if (rows.len() as u64, first, last) != (footer.rows, footer.first, footer.last) {
        problems.push(format!(
            "the footer says {} rows from {} to {}, but there are {} from {first} to {last}",
            footer.rows,
            footer.first,
            footer.last,
            rows.len()
        ));
    }
    let (start, end) = partition.bounds();
    let mut first_where = |what: &str, wrong: &dyn Fn(usize) -> bool| {
        let found: Vec<usize> = (0..rows.len()).filter(|row| wrong(*row)).collect();
        if let Some(row) = found.first() {
            problems.push(format!("{} rows {what}, first row {row} at {}", found.len(), time(*row)));
        }
    };
    first_where("belong to another file", &|row| time(row) < start || time(row) >= end);
    first_where("are not in order of time", &|row| row > 0 && time(row) < time(row - 1));
    let mut last_end = last;
    match &rows {
        Columns::Bars(bars) => {
            last_end = Timestamp::from_nanos(bars.ts_event[rows.len() - 1]);
            check_bars(key, bars, &mut first_where);
        }
        Columns::Trades(c) => first_where("have no quantity above zero", &|row| c.qty[row] <= 0),
        Columns::Quotes(c) => {
            first_where("have a negative size", &|row| c.bid_size[row] < 0 || c.ask_size[row] < 0);
        }
        Columns::Actions(_) | Columns::Sessions(_) => {}
    }
    Ok(Checked { rows: footer.rows, span: Some((first, last_end)), problems })
}

fn check_bars(
    key: &SeriesKey,
    bars: &BarColumns,
    first_where: &mut impl FnMut(&str, &dyn Fn(usize) -> bool),
) {
    let timed = is_timed(key.kind);
    if timed {
        first_where("have the time of the row above", &|row| {
            row > 0 && bars.ts_open[row] == bars.ts_open[row - 1]
        });
        first_where("begin before the row above ends", &|row| {
            row > 0 && bars.ts_open[row] < bars.ts_event[row - 1]
        });
    }
    first_where("close before they open", &|row| bars.ts_event[row] < bars.ts_open[row] + i64::from(timed));
    first_where("contradict themselves (open or close outside low to high)", &|row| {
        let (low, high) = (bars.low[row], bars.high[row]);
        [bars.open[row], bars.close[row], low].iter().any(|p| *p < low || *p > high)
    });
    first_where("have a negative volume", &|row| bars.volume[row] < 0);
}

#[cfg(test)]
mod tests {
    use tradeflow_model::market::PriceType;
    use tradeflow_model::{AssetClass, Currency, Interval};

    use super::super::encode::{Provenance, encode};
    use super::*;

    /// The problems of a file of ten minutes of 1970, of which one thing was changed. Such a file can't come about
    /// by merging, but by another program.
    fn problems(change: fn(&mut BarColumns)) -> Vec<String> {
        let currency = |code| Currency::new(code).unwrap();
        let symbol = Symbol::new("T").unwrap();
        let key = SeriesKey::bars(symbol.clone(), Interval::MINUTE, PriceType::Last);
        let instrument =
            Instrument::new(symbol, AssetClass::CryptoSpot, currency("T"), currency("USD"), 2, 0).unwrap();
        let minute = tradeflow_model::time::NANOS_PER_MIN;
        let opens: Vec<i64> = (0..10).map(|row| row * minute).collect();
        let closes: Vec<i64> = opens.iter().map(|open| open + minute).collect();
        let flat = vec![100; 10];
        let mut bars = BarColumns {
            ts_open: opens,
            ts_event: closes.clone(),
            ts_init: closes,
            open: flat.clone(),
            high: flat.clone(),
            low: flat.clone(),
            close: flat.clone(),
            volume: flat,
        };
        change(&mut bars);
        let provenance = Provenance { sources: ["test".to_owned()].into(), ..Provenance::default() };
        let bytes = encode(&key, Scales::of(&instrument), &provenance, &Columns::Bars(bars)).unwrap();
        let partition = key.partition_of(Timestamp::from_nanos(0));
        check_bytes(&key, &instrument, partition, bytes).unwrap().problems
    }

    #[test]
    fn each_kind_of_wrong_row_is_named() {
        assert_eq!(problems(|_| {}), Vec::<String>::new());
        let only = |change, text: &str| {
            let found = problems(change);
            assert!(found.iter().any(|problem| problem.contains(text)), "{text}: {found:?}");
        };
        only(|b| b.ts_open.swap(3, 4), "1 rows are not in order of time, first row 4");
        only(|b| b.ts_open[5] = b.ts_open[4], "1 rows have the time of the row above, first row 5");
        only(|b| b.ts_event[5] += 1, "1 rows begin before the row above ends, first row 6");
        only(|b| b.ts_event[5] = b.ts_open[5], "1 rows close before they open, first row 5");
        only(|b| b.open[2] = 101, "1 rows contradict themselves");
        only(|b| b.low[2] = 101, "1 rows contradict themselves");
        only(|b| b.volume[9] = -1, "1 rows have a negative volume, first row 9");
        only(|b| b.ts_open[0] = -1, "1 rows belong to another file, first row 0");
    }
}
