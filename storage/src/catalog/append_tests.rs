//! Appending through crashes: the rows of a series are those of the bus, each once, in order.

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use tradeflow_model::market::{Aggressor, Columns, PriceType, SeriesKind, TradeColumns};
use tradeflow_model::time::NANOS_PER_DAY;
use tradeflow_model::{AssetClass, BarColumns, Currency, Instrument, Symbol, Timestamp};

use super::*;

fn catalog() -> Catalog {
    let store = std::sync::Arc::new(object_store::memory::InMemory::new());
    let catalog = Catalog::on_store("memory", store).unwrap();
    let currency = |code| Currency::new(code).unwrap();
    let symbol = Symbol::new("T").unwrap();
    let instrument = Instrument::new(symbol, AssetClass::CryptoSpot, currency("T"), currency("USD"), 2, 0);
    catalog.put_instrument(&instrument.unwrap()).unwrap();
    catalog
}

fn key(kind: SeriesKind) -> SeriesKey {
    SeriesKey::new(Symbol::new("T").unwrap(), kind)
}

/// Rows of trades `(offset, time)`, sorted as the catalog wants them, with their offsets. The price tells them apart,
/// but for some that repeat.
fn trades(rows: &[(u64, i64)], base: usize) -> (Columns, Vec<u64>) {
    let mut numbered: Vec<_> = rows.iter().enumerate().map(|(row, at)| (base + row, *at)).collect();
    numbered.sort_by_key(|(_, (_, time))| *time);
    let mut columns = TradeColumns::default();
    let mut offsets = Vec::new();
    for (row, (offset, time)) in numbered {
        columns.ts_event.push(time);
        columns.ts_init.push(time + 1);
        columns.price.push(row as i64 / 3);
        columns.qty.push(1);
        columns.aggressor.push(Aggressor::Unknown);
        offsets.push(offset);
    }
    (Columns::Trades(columns), offsets)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_cut_off_the_rows_are_those_of_the_bus(
        // Rows of each record, the step of time before each row in tenths of a day, and how far it is late.
        records in proptest::collection::vec(
            proptest::collection::vec((0_i64..30, 0_i64..60), 1..12), 1..60),
        // Of each flush: how many records, and after how many writes the process ends.
        flushes in proptest::collection::vec((1_u64..8, 0_i64..12), 0..60),
    ) {
        let catalog = catalog();
        let key = key(SeriesKind::Trades);
        let mut now = NANOS_PER_DAY * 20_000;
        let mut rows: Vec<(u64, i64)> = Vec::new();
        for (offset, record) in records.iter().enumerate() {
            for (step, late) in record {
                now += step * NANOS_PER_DAY / 2_000;
                rows.push((offset as u64, now - late / 10 * NANOS_PER_DAY / 400));
            }
        }
        let end = records.len() as u64;
        let mut written = 0;
        let mut flushes = flushes.into_iter();
        while written < end {
            let (count, writes) = flushes.next().unwrap_or((u64::MAX, i64::MAX));
            let through = written.saturating_add(count).min(end);
            let base = rows.partition_point(|(offset, _)| *offset < written);
            let stop = rows.partition_point(|(offset, _)| *offset < through);
            let (columns, offsets) = trades(&rows[base..stop], base);
            catalog.store.fuse.store(writes, Ordering::SeqCst);
            let mut appender = catalog.appender().unwrap();
            let new = NewRows { key: &key, source: "a; b", rows: &columns, offsets: &offsets, place: "bus/t/0", through };
            if appender.append(&new).is_ok() {
                written = through;
                // Folding now and then, which may be cut off too.
                if count == 7 {
                    for partition in catalog.unfolded(&key).unwrap() {
                        let _ = appender.fold(&key, partition, "bus/t/0", written);
                    }
                }
            }
            // A reader at any time sees whole rows in order, none twice.
            let seen = catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap();
            prop_assert!((1..seen.len()).all(|row| seen.ts_event(row - 1) <= seen.ts_event(row)));
            prop_assert!(seen.len() <= rows.len());
        }
        catalog.store.fuse.store(i64::MAX, Ordering::SeqCst);
        let (expected, _) = trades(&rows, 0);
        prop_assert_eq!(&catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap(), &expected);
        let report = catalog.verify(None, |_, _| std::ops::ControlFlow::Continue(())).unwrap();
        prop_assert_eq!(report.faults, vec![]);
        let mut appender = catalog.appender().unwrap();
        for partition in catalog.unfolded(&key).unwrap() {
            appender.fold(&key, partition, "bus/t/0", end).unwrap();
        }
        prop_assert!(catalog.unfolded(&key).unwrap().is_empty());
        prop_assert_eq!(&catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap(), &expected);
        let rows_in_all = catalog.series().unwrap()[0].rows;
        prop_assert_eq!(rows_in_all as usize, expected.len());
    }
}

fn append(catalog: &Catalog, key: &SeriesKey, rows: &Columns, through: u64) -> Appended {
    let offsets = vec![through - 1; rows.len()];
    let new = NewRows { key, source: "live", rows, offsets: &offsets, place: "bus/t/0", through };
    catalog.appender().unwrap().append(&new).unwrap()
}

#[test]
fn an_import_joins_the_files_of_a_day_that_is_being_recorded() {
    let catalog = catalog();
    let key = key(SeriesKind::Trades);
    let day = NANOS_PER_DAY * 20_000;
    let at = |range: std::ops::Range<i64>| -> Vec<_> { range.map(|t| (0, day + t)).collect() };
    for (through, range) in [(1, 0..60), (2, 100..112), (3, 200..212)] {
        append(&catalog, &key, &trades(&at(range), 0).0, through);
    }
    let files = catalog.files(&key, Timestamp::MIN, Timestamp::MAX).unwrap();
    assert_eq!(files.iter().map(|file| file.rows).collect::<Vec<_>>(), [60, 24]);
    // Rows before, between and after those of each file.
    let (imported, _) = trades(&at(30..220), 1_000);
    let report = catalog.merge(&key, "import", &imported, ConflictPolicy::Reject).unwrap();
    assert_eq!((report.added, report.files_written), (190, 2));
    assert_eq!(catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap().len(), 84 + 190);
    // The recorder still knows what it has.
    assert_eq!(append(&catalog, &key, &trades(&at(200..212), 0).0, 3).there, 12);
    let report = catalog.verify(None, |_, _| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!(report.faults, vec![]);
}

#[test]
fn who_listed_files_before_still_reads_what_they_held() {
    let catalog = catalog();
    let key = key(SeriesKind::Trades);
    let instrument = catalog.instrument(&key.symbol).unwrap().unwrap();
    let rows = |from: i64| trades(&(from..from + 10).map(|t| (0, t)).collect::<Vec<_>>(), 0).0;
    let mut planned = Vec::new();
    for (through, from) in [(1, 0), (2, 10), (3, 20), (4, 30)] {
        append(&catalog, &key, &rows(from), through);
        let files = catalog.files(&key, Timestamp::MIN, Timestamp::MAX).unwrap();
        planned.push(files.into_iter().map(|info| info.file).collect::<Vec<_>>());
    }
    let partition = key.partition_of(Timestamp::from_nanos(0));
    catalog.appender().unwrap().fold(&key, partition, "bus/t/0", 4).unwrap();
    for (files, count) in planned.into_iter().zip([10, 20, 30, 40]) {
        let pieces = catalog.reader(&instrument, key.kind, files, 1_000);
        assert_eq!(pieces.map(|piece| piece.unwrap().len()).sum::<usize>(), count);
    }
    catalog.appender().unwrap().purge().unwrap();
    assert!(!catalog.store.list("superseded").unwrap().is_empty(), "they are kept for a while");
}

#[test]
fn a_bar_that_is_there_is_passed_over_and_one_that_contradicts_it_is_counted() {
    let catalog = catalog();
    let key = SeriesKey::bars(Symbol::new("T").unwrap(), "1m".parse().unwrap(), PriceType::Last);
    let minute = 60_000_000_000;
    let bars = |minutes: std::ops::Range<i64>, price: i64, shift: i64| {
        let open: Vec<i64> = minutes.map(|m| m * minute + shift).collect();
        let close: Vec<i64> = open.iter().map(|t| t + minute).collect();
        let flat = vec![price; open.len()];
        Columns::Bars(BarColumns {
            ts_open: open,
            ts_event: close.clone(),
            ts_init: close,
            open: flat.clone(),
            high: flat.clone(),
            low: flat.clone(),
            close: flat.clone(),
            volume: flat,
        })
    };
    let done = |added, there, conflicts| Appended { added, there, conflicts };
    assert_eq!(append(&catalog, &key, &bars(0..40, 5, 0), 1), done(40, 0, 0));
    // The same bars from another place on the bus, and two more.
    assert_eq!(append(&catalog, &key, &bars(38..42, 5, 0), 2), done(2, 2, 0));
    assert_eq!(append(&catalog, &key, &bars(39..41, 6, 0), 3), done(0, 0, 2));
    assert_eq!(append(&catalog, &key, &bars(10..12, 5, minute / 2), 4), done(0, 0, 2));
    assert_eq!(append(&catalog, &key, &bars(45..50, 5, 0), 5), done(5, 0, 0));
    assert_eq!(append(&catalog, &key, &bars(42..45, 5, 0), 6), done(3, 0, 0));
    let Columns::Bars(all) = catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap() else { panic!() };
    assert_eq!(all.ts_open, (0..50).map(|m| m * minute).collect::<Vec<_>>());
    let report = catalog.verify(None, |_, _| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!(report.faults, vec![]);
}
