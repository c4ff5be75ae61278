//! Imports of small files: presets, mapping, checks and policies, and what is refused.

mod import_support;

use import_support::{Room, bars, layout, request, time};
use tradeflow_model::market::{Columns, PriceType, SeriesKind};
use tradeflow_storage::catalog::ConflictPolicy;
use tradeflow_storage::import::{
    Action, Check, Column, Field, ImportError, Layout, RowKind, StampAt, TimeFormat, Zone, presets,
};

const GOOD: &str = "ts_ms,open,high,low,close,volume\n\
                    1483228800000,966.61,966.70,966.60,966.65,1.65\n\
                    1483228860000,966.62,966.63,966.62,966.63,6.908e-05\n";

#[test]
fn every_preset_reads_its_own_sample() {
    // What each sample must become: symbol, interval where the preset does not say, first key time, rows of all series.
    let expected = [
        ("binance-klines", Some("1m"), "2017-01-01T00:00:00Z", 1),
        ("bitfinex", Some("1m"), "2017-01-01T00:00:00Z", 1),
        ("csv", Some("1m"), "2012-02-01T00:00:00Z", 1),
        ("dukascopy", Some("1m"), "2017-01-02T02:00:00Z", 1),
        ("dukascopy-ticks", None, "2017-01-02T02:00:00.123Z", 1),
        ("histdata", None, "2017-01-02T07:00:00Z", 1),
        ("lean-daily", None, "1998-01-02T14:30:00Z", 1),
        ("lean-factors", None, "2014-06-09T13:30:00Z", 1),
        ("lean-minute-future", None, "2014-05-01T22:00:00Z", 1),
        ("lean-minute-quote", None, "2014-05-01T05:00:00Z", 2),
        ("lean-minute-trade", None, "2014-05-01T13:30:00Z", 1),
        ("lean-tick-quote", None, "2014-05-01T05:00:01.787Z", 1),
        ("lean-tick-quote-equity", None, "2014-05-01T08:00:00.142Z", 1),
        ("lean-tick-trade", None, "2014-05-01T08:00:00.464Z", 1),
        ("mt4", Some("1m"), "2017-01-02T02:00:00Z", 1),
        ("mt5", Some("1m"), "2017-01-02T02:00:00Z", 1),
        ("mt5-ticks", None, "2017-01-02T02:00:00.123Z", 1),
        ("ohlcv-ms", Some("1m"), "2017-01-01T00:00:00Z", 1),
        ("tradingview", Some("1m"), "2017-01-01T00:00:00Z", 1),
        ("yahoo", None, "2004-08-19T13:30:00Z", 1),
    ];
    assert_eq!(
        presets::ALL.map(|preset| preset.name),
        expected.map(|(name, ..)| name),
        "sorted, and all here"
    );
    for (name, interval, first, rows) in expected {
        let room = Room::new();
        let sample = presets::find(name).unwrap().sample;
        let file = room.file("20140501_es_minute_trade_201406.csv", sample);
        let report = room.import(&request(layout(name), "SYM", interval, vec![file])).unwrap();
        assert_eq!(report.series[0].first, first, "{name}");
        assert_eq!(report.series.iter().map(|series| series.added).sum::<u64>(), rows, "{name}");
        let contract = if name == "lean-minute-future" { "ES-201406" } else { "SYM" };
        assert_eq!(report.series[0].symbol, contract, "{name}");
    }
}

#[test]
fn columns_of_presets_are_the_right_ones() {
    let room = Room::new();
    // Bitfinex has the close before the high.
    room.text("bitfinex", "A", Some("1m"), "1483228800000,10,11,12,9,5\n").unwrap();
    let c = room.bars("A", "1m", PriceType::Last);
    let scale = 10_i64.pow(room.scales("A").0.into());
    assert_eq!([c.open[0], c.high[0], c.low[0], c.close[0]], [10, 12, 9, 11].map(|price| price * scale));
    // MetaTrader 5: TICKVOL, not VOL; and a tick export with sides left empty.
    let mt5 = presets::find("mt5").unwrap().sample.replace("\t84\t0", "\t84\t7");
    room.text("mt5", "EURUSD", Some("1m"), &mt5).unwrap();
    assert_eq!(room.bars("EURUSD", "1m", PriceType::Bid).volume, [84]);
    let ticks = "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n\
                 2017.01.02\t02:00:00.100\t1.05\t\t\t\t2\n\
                 2017.01.02\t02:00:00.200\t\t1.06\t\t\t4\n\
                 2017.01.02\t02:00:00.300\t1.04\t\t\t\t2\n";
    let report = room.text("mt5-ticks", "EURUSD", None, ticks).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("1 of 3 rows")), "{:?}", report.notes);
    let Columns::Quotes(c) = room.columns("EURUSD", SeriesKind::Quotes) else { panic!("not quotes") };
    assert_eq!((c.bid, c.ask), (vec![105_000, 104_000], vec![106_000, 106_000]));
    // Binance in microseconds, and indicators in a TradingView export.
    room.text(
        "binance-klines",
        "ETHUSDT",
        Some("1m"),
        "1735689600000000,1,1,1,1,1,1735689659999999,1,1,1,1,0\n",
    )
    .unwrap();
    assert_eq!(time(room.bars("ETHUSDT", "1m", PriceType::Last).ts_open[0]), "2025-01-01T00:00:00Z");
    let text = "time,open,high,low,close,MA,Volume\n2017-01-01T00:00:00+01:00,1,2,0.5,1.5,NaN,7\n";
    room.text("tradingview", "BTCUSD", Some("1h"), text).unwrap();
    let c = room.bars("BTCUSD", "1h", PriceType::Last);
    assert_eq!((time(c.ts_open[0]), c.volume[0]), ("2016-12-31T23:00:00Z".into(), 700_000_000));
}

#[test]
fn a_mapping_reads_any_table() {
    let room = Room::new();
    let text = "Wann;Erster;Hoch;Tief;Letzter\n02.01.2017 10:00;100;102;99;101\n";
    let mut mapped = Layout::new(RowKind::Bar);
    mapped.columns = [
        (Field::Time, "Wann"),
        (Field::Open, "Erster"),
        (Field::High, "hoch"),
        (Field::Low, "Tief"),
        (Field::Close, "Letzter"),
    ]
    .map(|(field, name)| (field, Column::Named(name.into())))
    .to_vec();
    mapped.time = "%d.%m.%Y %H:%M".parse::<TimeFormat>().unwrap();
    mapped.zone = "Europe/Berlin".parse::<Zone>().unwrap();
    mapped.stamp = StampAt::End;
    mapped.price_shift = 2;
    mapped.price_type = PriceType::Mid;
    let file = room.file("a.csv", text);
    room.import(&request(mapped.clone(), "XYZ", Some("1h"), vec![file.clone()])).unwrap();
    let c = room.bars("XYZ", "1h", PriceType::Mid);
    assert_eq!(
        (time(c.ts_open[0]), time(c.ts_event[0])),
        ("2017-01-02T08:00:00Z".into(), "2017-01-02T09:00:00Z".into())
    );
    assert_eq!([c.open[0], c.high[0], c.low[0], c.close[0], c.volume[0]], [10_000, 10_200, 9_900, 10_100, 0]);

    mapped.columns[0].1 = Column::Named("Zeit".into());
    let error = room.import(&request(mapped.clone(), "XYZ", Some("1h"), vec![file])).unwrap_err().to_string();
    assert!(error.contains("zeit") || error.contains("Zeit") && error.contains("wann"), "{error}");
    // Positions, in a file without a header.
    mapped.columns =
        [(Field::Time, 4), (Field::Open, 0), (Field::High, 1), (Field::Low, 2), (Field::Close, 3)]
            .map(|(field, at)| (field, Column::At(at)))
            .to_vec();
    let file = room.file("b.csv", "100;102;99;101;03.01.2017 10:00\n");
    assert_eq!(room.import(&request(mapped, "XYZ", Some("1h"), vec![file])).unwrap().series[0].added, 1);
}

#[test]
fn one_content_in_every_packing_gives_one_catalog() {
    use std::io::Write;
    let plain = Room::new();
    let reference = plain.file("a.csv", GOOD);
    let once = request(layout("ohlcv-ms"), "BTCUSD", Some("1m"), vec![reference]);
    plain.import(&once).unwrap();
    let expected = plain.bars("BTCUSD", "1m", PriceType::Last);
    assert_eq!(expected.volume, [165_000_000, 6_908]);

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(GOOD.as_bytes()).unwrap();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("inner.csv", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(GOOD.as_bytes()).unwrap();
    let utf16: Vec<u8> =
        [0xfeff_u16].into_iter().chain(GOOD.encode_utf16()).flat_map(|unit| unit.to_le_bytes()).collect();
    let packings: [(&str, Vec<u8>); 6] = [
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd::encode_all(GOOD.as_bytes(), 3).unwrap()),
        ("zip", zip.finish().unwrap().into_inner()),
        ("UTF-16", utf16),
        ("UTF-8 with a byte order mark", [b"\xef\xbb\xbf", GOOD.as_bytes()].concat()),
        ("Windows line ends", GOOD.replace('\n', "\r\n").into_bytes()),
    ];
    for (what, bytes) in packings {
        let room = Room::new();
        // The name says nothing: content decides.
        let file = room.file("data.bin", bytes);
        room.import(&request(layout("ohlcv-ms"), "BTCUSD", Some("1m"), vec![file])).unwrap();
        assert_eq!(room.bars("BTCUSD", "1m", PriceType::Last), expected, "{what}");
    }
    // The catalog's own Parquet can be imported elsewhere.
    let (path, _) = plain
        .snapshot()
        .into_iter()
        .find(|(path, _)| path.extension().is_some_and(|e| e == "parquet"))
        .unwrap();
    let room = Room::new();
    let mut foreign = layout("csv");
    foreign.columns.push((Field::Time, Column::Named("ts_open".into())));
    room.import(&request(foreign, "BTCUSD", Some("1m"), vec![path])).unwrap();
    assert_eq!(room.bars("BTCUSD", "1m", PriceType::Last), expected, "Parquet");
    // The same file named twice is read once.
    let file = plain.file("b.csv", GOOD);
    let twice = request(layout("ohlcv-ms"), "BTCUSD", Some("1m"), vec![file.clone(), file]);
    let report = plain.import(&twice).unwrap();
    assert!(report.changed_nothing() && report.files.len() == 1);
}

#[test]
fn what_is_refused_names_file_and_line_and_changes_nothing() {
    let room = Room::new();
    room.text("ohlcv-ms", "BTCUSD", Some("1m"), GOOD).unwrap();
    let before = room.snapshot();
    let gz = {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        for n in 0..5000_i64 {
            writeln!(gzip, "{},1,1,1,1,1", 1_500_000_000_000 + n * 60_000).unwrap();
        }
        gzip.finish().unwrap()
    };
    let next = "1483228920000,966.62,966.63,966.62,966.63,1\n";
    let row = |text: &str| [GOOD, next, text].concat().into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "is empty"),
        (b"\n\n\n".to_vec(), "only blank lines"),
        (b"ts_ms,open,high,low,close,volume\n".to_vec(), "no rows"),
        (b"a,b,c\n1,2,3\n".to_vec(), "no column for time"),
        (row("1483228980000,966.62,966.63\n"), "line 5: the row has 3 fields"),
        (row("later,1,1,1,1,1\n"), "line 5: time \"later\""),
        (row("1483228980000,1,1,1,one,1\n"), "line 5: close \"one\" is not a number"),
        (row("1483228980000,1,inf,1,1,1\n"), "line 5: high \"inf\" is not finite"),
        (row("1483228980000,1.0000000001,2,1,1,1\n"), "9 decimals"),
        (row("1483228980000,1,1,1,1,1.0000000001\n1\n"), "line 6"),
        (row("1483228980000,5,4,3,3.5,1\n"), "line 5: high is not the highest"),
        (row("1483228980000,5,6,3,0,1\n"), "line 5: "),
        (row("1483228980000,5,6,4,5,-1\n"), "not above zero"),
        (row("1483228920000,5,6,4,5,1\n"), "but in"),
        (row("1483228980000,1\0,1,1,1,1\n"), "NUL"),
        (row("").into_iter().chain(*b"caf\xe9,1,1,1,1,1\n").collect(), "0xE9 is not UTF-8"),
        (gz[..gz.len() / 2].to_vec(), "truncated"),
        (zstd::encode_all(GOOD.as_bytes(), 3).unwrap()[..40].to_vec(), "truncated"),
        (b"PK\x03\x04 this is no archive".to_vec(), "zip"),
        (b"PAR1 this is no Parquet file".to_vec(), "Parquet"),
        (b"BZh91AY".to_vec(), "bzip2"),
        (GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect(), "NUL"),
    ];
    for (bytes, wanted) in cases {
        let file = room.file("bad.csv", &bytes);
        let error = room.import(&request(layout("ohlcv-ms"), "BTCUSD", Some("1m"), vec![file])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("bad.csv") && text.contains(wanted), "wanted {wanted:?}:\n{text}");
        assert!(room.snapshot() == before, "{wanted}");
    }
    // A good file beside a bad one is not imported either.
    let (good, bad) = (room.file("good.csv", next), room.file("bad.csv", "x"));
    assert!(room.import(&request(layout("ohlcv-ms"), "BTCUSD", Some("1m"), vec![good, bad])).is_err());
    assert!(room.snapshot() == before);
    let error = room.text("ohlcv-ms", "BTCUSD", None, GOOD).unwrap_err().to_string();
    assert!(error.contains("--interval"), "{error}");
    let missing = request(layout("ohlcv-ms"), "BTCUSD", Some("1m"), vec!["no-such-file".into()]);
    assert!(room.import(&missing).unwrap_err().to_string().contains("no-such-file"));
}

#[test]
fn policies_decide_what_becomes_of_bad_rows() {
    let text = "ts_ms,open,high,low,close,volume\n\
                1483228800000,10,11,9,10,1\n\
                1483228860000,10,9,11,10,1\n\
                1483228920000,null,null,null,null,null\n\
                1483228980000,10,11,9,x,1\n\
                1483229040000,10,11,0,10,1\n\
                1483229100000,10,11,9,10,1\n\
                1483229100000,10,11,9,10,1\n\
                1483229100000,10,12,9,10,1\n";
    let room = Room::new();
    let file = room.file("a.csv", text);
    let mut request = request(layout("ohlcv-ms"), "BTCUSD", Some("1m"), vec![file]);
    let ImportError::Rejected(report) = room.import(&request).unwrap_err() else { panic!("not rejected") };
    assert_eq!(
        report.count(Check::Ohlc) + report.count(Check::NonPositive) + report.count(Check::Malformed),
        3
    );
    assert!(room.snapshot().is_empty());

    request.policy.set_contradictions(Action::Drop);
    let report = room.import(&request).unwrap();
    assert_eq!(report.series[0].added, 2);
    let dropped: Vec<_> = report.dropped.iter().map(|row| (row.line, row.check)).collect();
    let expected = [
        (3, Check::Ohlc),
        (4, Check::NoPrice),
        (5, Check::Malformed),
        (6, Check::NonPositive),
        (9, Check::Conflict),
    ];
    assert_eq!(dropped, expected);
    assert_eq!(report.count(Check::Duplicate), 1);

    request.policy.set("ohlc=keep").unwrap();
    assert_eq!(room.import(&request).unwrap().series[0].added, 1);
    assert!(request.policy.set("malformed=keep").is_err());
    assert!(request.policy.set("nonsense=keep").is_err());
    assert!(request.policy.set("spike").is_err());
}

#[test]
fn spikes_can_be_dropped_and_are_reported_otherwise() {
    let mut text = String::from("time,open,high,low,close\n");
    for n in 0..120_i64 {
        let price = if n == 60 { 1000 } else { 100 + n % 3 };
        text.push_str(&format!("{},{price},{price},{price},{price}\n", 1_483_228_800 + n * 60));
    }
    let room = Room::new();
    let file = room.file("a.csv", &text);
    let mut request = request(layout("csv"), "BTCUSD", Some("1m"), vec![file]);
    request.dry_run = true;
    let report = room.import(&request).unwrap();
    assert_eq!((report.count(Check::Spike), report.series[0].rows), (1, 120));
    assert_eq!(report.checks[&Check::Spike].first[0].line, 62);
    assert!(room.snapshot().is_empty(), "a dry run writes nothing");
    request.dry_run = false;
    request.policy.set("spike=drop").unwrap();
    let report = room.import(&request).unwrap();
    assert_eq!(report.series[0].added, 119);
    assert!(!room.bars("BTCUSD", "1m", PriceType::Last).open.contains(&(1000 * 100_000_000)));
}

#[test]
fn rows_in_any_order_end_up_in_one_order() {
    let rows: Vec<String> = (0..500_i64)
        .map(|n| format!("{},{},{},{},{},1\n", 1_483_228_800_000 + n * 60_000, n + 1, n + 1, n + 1, n + 1))
        .collect();
    let up = Room::new();
    up.text("ohlcv-ms", "BTCUSD", Some("1m"), &rows.concat()).unwrap();
    let expected = up.bars("BTCUSD", "1m", PriceType::Last);
    let down = Room::new();
    let reversed: String = rows.iter().rev().map(String::as_str).collect();
    let report = down.text("ohlcv-ms", "BTCUSD", Some("1m"), &reversed).unwrap();
    assert!(report.notes[0].contains("new to old"));
    assert_eq!(report.count(Check::OutOfOrder), 0);
    assert_eq!(down.bars("BTCUSD", "1m", PriceType::Last), expected);
    let mixed = Room::new();
    let mut shuffled = rows.clone();
    shuffled.swap(10, 300);
    let report = mixed.text("ohlcv-ms", "BTCUSD", Some("1m"), &shuffled.concat()).unwrap();
    assert_eq!(report.count(Check::OutOfOrder), 2);
    assert_eq!(mixed.bars("BTCUSD", "1m", PriceType::Last), expected);
}

#[test]
fn a_known_instrument_keeps_its_scales_and_conflicts_follow_the_policy() {
    let room = Room::new();
    room.text("ohlcv-ms", "GOOG", Some("1m"), "1483228800000,10.25,11,9,10,1\n").unwrap();
    assert_eq!(room.scales("GOOG"), (4, 0));
    let finer = "1483228860000,10.25,11,9,10,1\n1483228920000,10.00001,11,9,10,1\n";
    let error = room.text("ohlcv-ms", "GOOG", Some("1m"), finer).unwrap_err().to_string();
    assert!(
        error.contains("line 2") && error.contains("5 decimals") && error.contains("--round 4"),
        "{error}"
    );
    let mut other = request(
        layout("ohlcv-ms"),
        "GOOG",
        Some("1m"),
        vec![room.file("b.csv", "1483228800000,10.5,11,9,10,1\n")],
    );
    let error = room.import(&other).unwrap_err().to_string();
    assert!(error.contains("10.25") && error.contains("10.5"), "{error}");
    other.conflict = ConflictPolicy::Keep;
    assert_eq!(room.import(&other).unwrap().series[0].kept_old, 1);
    other.conflict = ConflictPolicy::Replace;
    assert_eq!(room.import(&other).unwrap().series[0].replaced, 1);
    assert_eq!(room.bars("GOOG", "1m", PriceType::Last).open, [105_000]);
    other.instrument.multiplier = Some(2.into());
    assert!(room.import(&other).unwrap_err().to_string().contains("already defines"));
}

#[test]
fn a_day_without_a_session_is_reported_and_kept_unless_told_otherwise() {
    let room = Room::new();
    // 2013-07-04 is a holiday; weekly bars span the sessions of their week.
    let text =
        "Date,Open,High,Low,Close,Volume\n2013-07-03,1,1,1,1,1\n2013-07-04,1,1,1,1,0\n2013-07-05,1,1,1,1,1\n";
    let report = room.text("yahoo", "GOOG", None, text).unwrap();
    assert_eq!((report.count(Check::NoSession), report.series[0].added), (1, 3));
    let c = room.bars("GOOG", "1d", PriceType::Last);
    assert_eq!(time(c.ts_event[0]), "2013-07-03T17:00:00Z", "a half day ends at 13:00 in New York");
    room.text("yahoo", "GOOG", Some("1w"), text.lines().take(2).collect::<Vec<_>>().join("\n").as_str())
        .unwrap();
    let Columns::Bars(week) = room.columns("GOOG", bars("1w", PriceType::Last)) else { panic!("not bars") };
    assert_eq!(
        (time(week.ts_open[0]), time(week.ts_event[0])),
        ("2013-07-01T13:30:00Z".into(), "2013-07-05T20:00:00Z".into())
    );
}

/// Wants to stop at the n-th time it is asked.
struct StopAt(std::cell::Cell<u32>);

impl tradeflow_storage::import::Progress for StopAt {
    fn stopped(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

#[test]
fn an_import_that_is_stopped_writes_nothing() {
    let room = Room::new();
    let rows: String =
        (0..20_000_i64).map(|n| format!("{},1,1,1,1,1\n", 1_483_228_800_000 + n * 600_000)).collect();
    let request = request(layout("ohlcv-ms"), "BTCUSD", Some("1m"), vec![room.file("a.csv", rows)]);
    // Asked while reading (every 8192 lines), before each of the 5 months is checked, and again before each is merged.
    for asked in 0..12 {
        let stop = StopAt(std::cell::Cell::new(asked));
        let stopped = tradeflow_storage::import::import(&room.catalog, &request, &stop);
        assert!(matches!(stopped, Err(ImportError::Stopped)), "{asked}: {stopped:?}");
        assert!(room.snapshot().is_empty(), "{asked}");
    }
    assert_eq!(room.import(&request).unwrap().files_written, 5);
}

#[test]
fn parquet_as_pandas_writes_it_is_read() {
    use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray};
    use std::sync::Arc;
    let minute = 60_000_000_000_i64;
    let start = 1_483_228_800_000_000_000_i64;
    let prices = |values: [f64; 2]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
    let index = TimestampNanosecondArray::from(vec![start, start + minute]);
    for (zone, first) in [(None, "2017-01-01T05:00:00Z"), (Some("America/New_York"), "2017-01-01T00:00:00Z")]
    {
        let index: ArrayRef = Arc::new(index.clone().with_timezone_opt(zone));
        let batch = RecordBatch::try_from_iter([
            ("Open", prices([1.1, 1.2])),
            ("High", prices([1.3, 1.25])),
            ("Low", prices([1.05, 1.15])),
            ("Close", prices([1.2, 1.2])),
            ("Volume", Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef),
            ("__index_level_0__", index),
        ])
        .unwrap();
        let snappy = parquet::file::properties::WriterProperties::builder()
            .set_compression(parquet::basic::Compression::SNAPPY)
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(snappy)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let room = Room::new();
        let mut layout = layout("csv");
        // Without a zone in the file its times are local; with one they are instants.
        layout.zone = "-05:00".parse().unwrap();
        room.import(&request(layout, "EURUSD", Some("1m"), vec![room.file("a.parquet", bytes)])).unwrap();
        let c = room.bars("EURUSD", "1m", PriceType::Last);
        assert_eq!(time(c.ts_open[0]), first);
        assert_eq!((c.open, c.volume), (vec![110_000, 120_000], vec![7, 8]));
    }
}
