//! The catalog's promises: merging in any order, nothing half-written, damage never passes for data.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use tradeflow_model::market::{Aggressor, Columns, PriceType, SeriesKind, TradeColumns};
use tradeflow_model::*;
use tradeflow_storage::catalog::{Catalog, CatalogError, ConflictPolicy, SeriesKey};

const MINUTE: i64 = time::NANOS_PER_MIN;

fn instrument(price_scale: u8) -> Instrument {
    let currency = |code| Currency::new(code).unwrap();
    let symbol = Symbol::new("BTC=X").unwrap();
    Instrument::new(symbol, AssetClass::CryptoSpot, currency("BTC"), currency("USD"), price_scale, 4).unwrap()
}

fn minutes() -> SeriesKey {
    SeriesKey::bars(instrument(2).symbol, Interval::MINUTE, PriceType::Last)
}

fn trades() -> SeriesKey {
    SeriesKey::new(instrument(2).symbol, SeriesKind::Trades)
}

/// A catalog in memory, and the store under it.
fn memory() -> (Catalog, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    let catalog = Catalog::on_store("memory", store.clone()).unwrap();
    catalog.put_instrument(&instrument(2)).unwrap();
    (catalog, store)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Every file with its bytes.
fn contents(store: &InMemory) -> BTreeMap<String, Vec<u8>> {
    use futures::TryStreamExt;
    wait(async {
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        let mut files = BTreeMap::new();
        for meta in listed {
            let bytes = store.get(&meta.location).await.unwrap().bytes().await.unwrap();
            files.insert(meta.location.to_string(), bytes.to_vec());
        }
        files
    })
}

/// Four hours before the end of January 2017, so that an hour or a day of rows lies in two months.
fn start() -> i64 {
    "2017-01-31T20:00".parse::<Timestamp>().unwrap().as_nanos()
}

/// The bar of a minute; `version` makes another bar of the same minute.
fn push_bar(bars: &mut BarColumns, minute: i64, version: i64) {
    let open = start() + minute * MINUTE;
    let price = 100_000 + (minute * 7919 + version * 13) % 997;
    bars.push(&Bar {
        series: SeriesId(0),
        instrument: InstrumentId(0),
        ts_open: Timestamp::from_nanos(open),
        ts_event: Timestamp::from_nanos(open + MINUTE),
        ts_init: Timestamp::from_nanos(open + MINUTE),
        open: Price::from_raw(price),
        high: Price::from_raw(price + 5),
        low: Price::from_raw(price - 5),
        close: Price::from_raw(price + 1),
        volume: Qty::from_raw(1 + minute),
    });
}

fn bars(minutes: &BTreeMap<i64, i64>) -> Columns {
    let mut bars = BarColumns::default();
    minutes.iter().for_each(|(minute, version)| push_bar(&mut bars, *minute, *version));
    Columns::Bars(bars)
}

fn same_version(minutes: impl IntoIterator<Item = i64>) -> BTreeMap<i64, i64> {
    minutes.into_iter().map(|minute| (minute, 0)).collect()
}

fn all(catalog: &Catalog, key: &SeriesKey) -> Columns {
    catalog.read(key, Timestamp::MIN, Timestamp::MAX).unwrap()
}

fn some_minutes() -> impl Strategy<Value = BTreeMap<i64, i64>> {
    proptest::collection::btree_map(0..600_i64, 0..3_i64, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pieces_in_any_order_give_the_same_bytes(
        pieces in proptest::collection::vec(proptest::collection::btree_set(0..600_i64, 1..100), 1..6),
        order in any::<proptest::sample::Index>(),
    ) {
        let (one, one_store) = memory();
        let whole = same_version(pieces.iter().flatten().copied());
        one.merge(&minutes(), "test", &bars(&whole), ConflictPolicy::Reject).unwrap();
        let (many, many_store) = memory();
        let mut order_of: Vec<_> = (0..pieces.len()).collect();
        order_of.rotate_left(order.index(pieces.len()));
        let mut added = 0;
        for piece in order_of {
            let piece = bars(&same_version(pieces[piece].iter().copied()));
            added += many.merge(&minutes(), "test", &piece, ConflictPolicy::Reject).unwrap().added;
        }
        prop_assert_eq!(added, whole.len() as u64);
        prop_assert_eq!(contents(&one_store), contents(&many_store));
        let again = many.merge(&minutes(), "another file", &bars(&whole), ConflictPolicy::Reject).unwrap();
        prop_assert_eq!((again.added, again.files_written), (0, 0));
        prop_assert_eq!(contents(&one_store), contents(&many_store));
        prop_assert_eq!(all(&many, &minutes()), bars(&whole));
    }

    #[test]
    fn conflicts_follow_the_policy(old in some_minutes(), new in some_minutes()) {
        let differ = |minute: &i64| new.get(minute).is_some_and(|version| version != &old[minute]);
        let clashes = old.keys().filter(|minute| differ(minute)).count() as u64;
        for policy in [ConflictPolicy::Reject, ConflictPolicy::Keep, ConflictPolicy::Replace] {
            let (catalog, store) = memory();
            catalog.merge(&minutes(), "old", &bars(&old), ConflictPolicy::Reject).unwrap();
            let before = contents(&store);
            let merged = catalog.merge(&minutes(), "new", &bars(&new), policy);
            let (mut kept, mut replaced) = (new.clone(), old.clone());
            kept.extend(old.clone());
            replaced.extend(new.clone());
            match (policy, merged) {
                (ConflictPolicy::Reject, Err(error)) => {
                    let first = old.keys().find(|minute| differ(minute)).unwrap();
                    let time = Timestamp::from_nanos(start() + first * MINUTE);
                    prop_assert!(clashes > 0);
                    prop_assert!(matches!(&error, CatalogError::Conflict { time: t, .. } if *t == time), "{}", error);
                    prop_assert_eq!(before, contents(&store));
                }
                (ConflictPolicy::Reject, Ok(_)) => prop_assert_eq!(clashes, 0),
                (ConflictPolicy::Keep, merged) => {
                    prop_assert_eq!(merged.unwrap().conflicts, clashes);
                    prop_assert_eq!(all(&catalog, &minutes()), bars(&kept));
                }
                (ConflictPolicy::Replace, merged) => {
                    prop_assert_eq!(merged.unwrap().replaced, clashes);
                    prop_assert_eq!(all(&catalog, &minutes()), bars(&replaced));
                }
            }
        }
    }

    #[test]
    fn trades_merge_as_multisets(
        old in proptest::collection::vec((0..40_i64, 0..3_i64), 0..60),
        new in proptest::collection::vec((0..40_i64, 0..3_i64), 0..60),
    ) {
        let columns = |rows: &[(i64, i64)]| {
            let mut rows = rows.to_vec();
            rows.sort_by_key(|row| row.0);
            let mut columns = TradeColumns::default();
            for (hour, kind) in rows {
                let time = start() + hour * time::NANOS_PER_HOUR;
                columns.ts_event.push(time);
                columns.ts_init.push(time + kind);
                columns.price.push(10_000 + kind);
                columns.qty.push(1);
                columns.aggressor.push([Aggressor::Unknown, Aggressor::Buyer, Aggressor::Seller][kind as usize]);
            }
            Columns::Trades(columns)
        };
        let count = |rows: &[(i64, i64)]| {
            let mut counts = BTreeMap::<(i64, i64), usize>::new();
            rows.iter().for_each(|row| *counts.entry(*row).or_default() += 1);
            counts
        };
        let (catalog, store) = memory();
        catalog.merge(&trades(), "old", &columns(&old), ConflictPolicy::Reject).unwrap();
        catalog.merge(&trades(), "new", &columns(&new), ConflictPolicy::Reject).unwrap();
        let mut expected = count(&old);
        for (row, n) in count(&new) {
            let there = expected.entry(row).or_default();
            *there = (*there).max(n);
        }
        let Columns::Trades(merged) = all(&catalog, &trades()) else { panic!("trades are trades") };
        let rows: Vec<_> = (0..merged.ts_event.len())
            .map(|row| ((merged.ts_event[row] - start()) / time::NANOS_PER_HOUR, merged.price[row] - 10_000))
            .collect();
        prop_assert_eq!(count(&rows), expected);
        prop_assert!(merged.ts_event.is_sorted());
        let before = contents(&store);
        for again in [&old, &new] {
            catalog.merge(&trades(), "again", &columns(again), ConflictPolicy::Reject).unwrap();
        }
        prop_assert_eq!(before, contents(&store));
    }

    #[test]
    fn damage_is_an_error_or_nothing(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 1..=255_u8), 0..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        is_trades in any::<bool>(),
    ) {
        let (catalog, store) = memory();
        let key = if is_trades { trades() } else { minutes() };
        let whole = if is_trades { day_of_trades() } else { bars(&same_version(0..200)) };
        catalog.merge(&key, "test", &whole, ConflictPolicy::Reject).unwrap();
        let path = catalog.files(&key, Timestamp::MIN, Timestamp::MAX).unwrap()[0].file.path.clone();
        let path = Path::parse(&path).unwrap();
        let mut bytes = contents(&store)[path.as_ref()].clone();
        for (place, mask) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= mask;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        wait(store.put(&path, bytes.into())).unwrap();
        let _ = catalog.series();
        match catalog.read(&key, Timestamp::MIN, Timestamp::MAX) {
            Ok(rows) => prop_assert_eq!(rows, whole),
            Err(error) => {
                prop_assert!(error.to_string().contains(path.as_ref()), "{}", error);
                let report = catalog.verify(None, |_, _| std::ops::ControlFlow::Continue(())).unwrap();
                prop_assert_eq!(&report.faults[0].path, path.as_ref());
                let more = catalog.merge(&key, "more", &whole, ConflictPolicy::Reject);
                prop_assert!(more.is_err());
            }
        }
    }
}

fn day_of_trades() -> Columns {
    let mut columns = TradeColumns::default();
    for row in 0..300 {
        columns.ts_event.push(start() + row * 1_000_000);
        columns.ts_init.push(start() + row * 1_000_000);
        columns.price.push(100_000 + row * row % 17);
        columns.qty.push(1 + row % 5);
        columns.aggressor.push([Aggressor::Unknown, Aggressor::Buyer, Aggressor::Seller][(row % 3) as usize]);
    }
    Columns::Trades(columns)
}

#[test]
fn a_failed_write_leaves_whole_files_and_can_be_repeated() {
    let hours = same_version((0..4).flat_map(|month| (0..50).map(move |minute| month * 43_200 + minute)));
    let new = bars(&hours);
    for failing in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
        catalog.put_instrument(&instrument(2)).unwrap();
        let old: BTreeMap<_, _> = hours.iter().filter(|(m, _)| *m % 2 == 0).map(|(m, v)| (*m, *v)).collect();
        let paths = {
            let (scratch, _) = memory();
            scratch.merge(&minutes(), "test", &new, ConflictPolicy::Reject).unwrap();
            let files = scratch.files(&minutes(), Timestamp::MIN, Timestamp::MAX).unwrap();
            files.into_iter().map(|info| info.file.path).collect::<Vec<_>>()
        };
        assert_eq!(paths.len(), 4);
        catalog.merge(&minutes(), "test", &bars(&old), ConflictPolicy::Reject).unwrap();
        let mut writer = catalog.writer().unwrap();
        writer.merge(&minutes(), "test", &new, ConflictPolicy::Reject).unwrap();
        // A folder in the way makes the write of this file fail; a stray upload is what a killed process leaves.
        let obstacle = folder.path().join(&paths[failing]);
        let aside = obstacle.with_extension("aside");
        std::fs::rename(&obstacle, &aside).unwrap();
        std::fs::create_dir(&obstacle).unwrap();
        std::fs::write(obstacle.with_extension("parquet#1"), b"PAR1 half").unwrap();
        let error = writer.commit().unwrap_err();
        assert!(error.to_string().contains(&paths[failing]), "{error}");
        std::fs::remove_dir(&obstacle).unwrap();
        std::fs::rename(&aside, &obstacle).unwrap();

        let rows: Vec<u64> = catalog
            .files(&minutes(), Timestamp::MIN, Timestamp::MAX)
            .unwrap()
            .iter()
            .map(|info| info.rows)
            .collect();
        let expected: Vec<u64> = (0..4).map(|month| if month < failing { 50 } else { 25 }).collect();
        assert_eq!(rows, expected);
        let sound = catalog.verify(None, |_, _| std::ops::ControlFlow::Continue(())).unwrap();
        assert!(sound.is_sound(), "{sound:?}");
        catalog.merge(&minutes(), "test", &new, ConflictPolicy::Reject).unwrap();
        assert_eq!(all(&catalog, &minutes()), new);
    }
}

#[test]
fn a_reader_is_told_when_a_file_changed_since_it_was_listed() {
    let (catalog, _) = memory();
    catalog.merge(&minutes(), "test", &bars(&same_version(0..10)), ConflictPolicy::Reject).unwrap();
    let files = catalog.files(&minutes(), Timestamp::MIN, Timestamp::MAX).unwrap();
    let files: Vec<_> = files.into_iter().map(|info| info.file).collect();
    let read =
        |files| catalog.reader(&instrument(2), minutes().kind, files, 4).collect::<Result<Vec<_>, _>>();
    let pieces = read(files.clone()).unwrap();
    assert_eq!(pieces.iter().map(Columns::len).collect::<Vec<_>>(), [4, 4, 2]);
    catalog.merge(&minutes(), "test", &bars(&same_version(5..15)), ConflictPolicy::Reject).unwrap();
    assert!(matches!(read(files), Err(CatalogError::Changed { .. })));
}

#[test]
fn only_rows_of_the_time_asked_for_are_read() {
    let (catalog, _) = memory();
    catalog.merge(&minutes(), "test", &bars(&same_version(0..600)), ConflictPolicy::Reject).unwrap();
    let at = |minute: i64| Timestamp::from_nanos(start() + minute * MINUTE);
    assert_eq!(catalog.read(&minutes(), at(230), at(250)).unwrap(), bars(&same_version(230..250)));
    assert_eq!(catalog.files(&minutes(), at(0), at(240)).unwrap().len(), 1);
    assert_eq!(catalog.files(&minutes(), at(0), at(241)).unwrap().len(), 2);
    let info = &catalog.series().unwrap()[0];
    assert_eq!((info.rows, info.files, info.first, info.last), (600, 2, at(0), at(599)));
}

#[test]
fn another_scale_is_refused_by_name() {
    let (catalog, store) = memory();
    catalog.put_instrument(&instrument(3)).expect("there is no data yet");
    catalog.put_instrument(&instrument(2)).unwrap();
    catalog.merge(&minutes(), "test", &bars(&same_version(0..10)), ConflictPolicy::Reject).unwrap();
    let error = catalog.put_instrument(&instrument(3)).unwrap_err();
    assert!(
        matches!(error, CatalogError::ScaleChange { field: "price_scale", old: 2, new: 3, .. }),
        "{error}"
    );
    let mut fees = instrument(2);
    fees.fees.taker_bps = rust_decimal::Decimal::ONE;
    catalog.put_instrument(&fees).expect("fees may change");
    // Somebody edits the definition by hand.
    let text = serde_json::to_vec(&instrument(3)).unwrap();
    wait(store.put(&Path::parse("instruments/BTC%3DX.json").unwrap(), text.into())).unwrap();
    let error = catalog.read(&minutes(), Timestamp::MIN, Timestamp::MAX).unwrap_err().to_string();
    assert!(error.contains("month=2017-01/data.parquet: column open has 2 decimals"), "{error}");
}

#[test]
fn rows_that_break_the_rules_are_refused() {
    let (catalog, store) = memory();
    let before = contents(&store);
    let refuse = |change: fn(&mut BarColumns)| {
        let Columns::Bars(mut bars) = bars(&same_version(0..300)) else { panic!("bars are bars") };
        change(&mut bars);
        let rows = Columns::Bars(bars);
        catalog.merge(&minutes(), "test", &rows, ConflictPolicy::Reject).unwrap_err().to_string()
    };
    assert!(refuse(|b| b.ts_open.swap(3, 4)).contains("row 4"));
    assert!(refuse(|b| b.ts_event[7] = b.ts_open[7]).contains("row 7"));
    assert!(refuse(|b| b.ts_event[290] += 1).contains("begins before"));
    let none = Columns::Quotes(market::QuoteColumns::default());
    let wrong = catalog.merge(&minutes(), "test", &none, ConflictPolicy::Reject).unwrap_err();
    assert!(matches!(wrong, CatalogError::WrongKind { .. }));
    let nobody = SeriesKey::bars(Symbol::new("NOBODY").unwrap(), Interval::MINUTE, PriceType::Last);
    let error =
        catalog.merge(&nobody, "test", &bars(&same_version(0..3)), ConflictPolicy::Reject).unwrap_err();
    assert!(matches!(error, CatalogError::NoInstrument { .. }));
    assert_eq!(before, contents(&store));
}

#[test]
fn actions_keep_amounts_exactly() {
    let (catalog, _) = memory();
    let key = SeriesKey::new(instrument(2).symbol, SeriesKind::Actions);
    let action = |hour: i64, kind| CorporateAction {
        series: SeriesId(0),
        instrument: InstrumentId(0),
        ts_event: Timestamp::from_nanos(start() + hour * time::NANOS_PER_HOUR),
        ts_init: Timestamp::from_nanos(start()),
        kind,
    };
    let rows = Columns::Actions(vec![
        action(0, market::ActionKind::Split { new: 20, old: 1 }),
        action(9_000, market::ActionKind::Dividend { amount: Money::from_raw(123_456_789_012_345_678_901) }),
    ]);
    catalog.merge(&key, "test", &rows, ConflictPolicy::Reject).unwrap();
    assert_eq!(all(&catalog, &key), rows);
    assert_eq!(catalog.merge(&key, "test", &rows, ConflictPolicy::Reject).unwrap().files_written, 0);
}

#[test]
fn an_address_that_is_none_is_refused() {
    for bad in ["", "ftp://somewhere/else"] {
        assert!(Catalog::open(bad).is_err(), "{bad:?}");
    }
    let missing = tempfile::tempdir().unwrap().path().join("not/there");
    let catalog = Catalog::open(missing.to_str().unwrap()).unwrap();
    assert_eq!(catalog.series().unwrap(), Vec::new());
    assert!(!missing.exists(), "reading creates nothing");
}

#[test]
fn the_slower_of_two_writers_is_told() {
    let (catalog, _) = memory();
    let mut one = catalog.writer().unwrap();
    let mut two = catalog.writer().unwrap();
    one.merge(&minutes(), "one", &bars(&same_version(0..10)), ConflictPolicy::Reject).unwrap();
    two.merge(&minutes(), "two", &bars(&same_version(10..20)), ConflictPolicy::Reject).unwrap();
    one.commit().unwrap();
    assert!(matches!(two.commit(), Err(CatalogError::Raced { .. })));
    assert_eq!(all(&catalog, &minutes()), bars(&same_version(0..10)));
}

#[test]
fn gaps_are_found_against_the_calendar() {
    let (catalog, _) = memory();
    let there: Vec<i64> = (0..100).chain(103..200).chain(201..240).collect();
    catalog.merge(&minutes(), "test", &bars(&same_version(there)), ConflictPolicy::Reject).unwrap();
    let report = catalog.gaps(&minutes(), None, None, 0).unwrap().unwrap();
    let at = |minute: i64| Timestamp::from_nanos(start() + minute * MINUTE);
    let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.from, gap.to, gap.bars)).collect();
    assert_eq!(gaps, [(at(100), at(103), 3), (at(200), at(201), 1)]);
    assert_eq!((report.rows, report.expected, report.missing, report.unexpected), (236, 240, 4, 0));
    let report = catalog.gaps(&minutes(), Some(at(-5)), Some(at(2)), 0).unwrap().unwrap();
    assert_eq!((report.expected, report.missing), (7, 5));
    catalog.merge(&trades(), "test", &day_of_trades(), ConflictPolicy::Reject).unwrap();
    let report = catalog.gaps(&trades(), None, Some(at(60)), 30 * MINUTE).unwrap().unwrap();
    assert_eq!((report.rows, report.gaps.len(), report.gaps[0].to), (300, 1, at(60)));
}
