//! Bytes that nobody meant: an import of anything ends in a report or an error, and an error changes nothing.

mod import_support;

use import_support::{Room, layout, request};
use proptest::prelude::*;
use tradeflow_storage::import::{Action, presets};

/// A whole small file of a preset, in one of the packings.
fn packed(preset: &str, packing: usize) -> Vec<u8> {
    use std::io::Write;
    let sample = presets::find(preset).unwrap().sample.as_bytes();
    match packing {
        1 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(sample).unwrap();
            gzip.finish().unwrap()
        }
        2 => zstd::encode_all(sample, 3).unwrap(),
        3 => {
            let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            zip.start_file("20140501_x.csv", zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(sample).unwrap();
            zip.finish().unwrap().into_inner()
        }
        _ => sample.to_vec(),
    }
}

/// Imports the bytes with a preset; on an error the catalog must be as it was.
fn survive(preset: &str, bytes: &[u8], action: Action) {
    let room = Room::new();
    let file = room.file("20140501_x_minute_trade_201406.csv", bytes);
    let mut request = request(layout(preset), "EURUSD", None, vec![file]);
    if request.layout.interval.is_none() {
        request.layout.interval = Some("1m".parse().unwrap());
    }
    request.policy.set_contradictions(action);
    let before = room.snapshot();
    match room.import(&request) {
        Ok(report) => {
            // What was taken once is there, so taking it again changes nothing.
            let again = room.import(&request).unwrap();
            assert!(again.changed_nothing(), "{preset}: {report:?}");
        }
        Err(_) => assert!(room.snapshot() == before),
    }
}

fn any_preset() -> impl Strategy<Value = &'static str> {
    (0..presets::ALL.len()).prop_map(|at| presets::ALL[at].name)
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Reject), Just(Action::Drop), Just(Action::Keep)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(preset in any_preset(), bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        survive(preset, &bytes, Action::Drop);
    }

    #[test]
    fn random_bytes_behind_a_signature(
        preset in any_preset(),
        signature in 0..6_usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let signatures: [&[u8]; 6] =
            [b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PAR1", b"\xff\xfe", b"\xef\xbb\xbf"];
        survive(preset, &[signatures[signature], &bytes].concat(), Action::Drop);
    }

    #[test]
    fn tables_of_odd_numbers(
        preset in any_preset(),
        action in any_action(),
        rows in proptest::collection::vec(
            proptest::collection::vec("(-?[0-9]{1,13}(\\.[0-9]{0,10})?(e-?[0-9]{1,2})?|[0-9]{8} [0-9]{6}|nan||[0-9]{4}-[0-9]{2}-[0-9]{2})", 1..12),
            1..20,
        ),
        delimiter in prop_oneof![Just(","), Just(";"), Just("\t")],
    ) {
        let text: String = rows.iter().map(|row| row.join(delimiter) + "\n").collect();
        survive(preset, text.as_bytes(), action);
    }

    #[test]
    fn damaged_files(
        preset in any_preset(),
        packing in 0..4_usize,
        action in any_action(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        cut_it in any::<bool>(),
    ) {
        let mut bytes = packed(preset, packing);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut_it {
            bytes.truncate(cut.index(bytes.len()));
        }
        survive(preset, &bytes, action);
    }
}

/// A Parquet file cut or damaged anywhere.
#[test]
fn damaged_parquet() {
    let room = Room::new();
    room.text("ohlcv-ms", "BTCUSD", Some("1m"), "1483228800000,1,1,1,1,1\n1483228860000,1,2,1,1,1\n")
        .unwrap();
    let (_, whole) = room
        .snapshot()
        .into_iter()
        .find(|(path, _)| path.extension().is_some_and(|e| e == "parquet"))
        .unwrap();
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        survive("csv", &bytes, Action::Drop);
        if at % 7 == 0 {
            survive("csv", &whole[..at], Action::Drop);
        }
    }
}
