//! Recorded frames of spot and futures, every one of them, through the parser; counted and added up once more by a
//! general JSON reader.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use rust_decimal::Decimal;
use serde_json::Value;
use tradeflow_ingest::binance::wire::{Frame, parse};
use tradeflow_model::market::Aggressor;

/// The frames of a market, or nothing where the data is not there.
fn recorded(name: &str) -> Option<String> {
    let data = PathBuf::from(std::env::var_os("TRADEFLOW_DATA").unwrap_or("../../shared/data".into()));
    let path = data.join("frames").join(name);
    let Ok(file) = std::fs::File::open(&path) else {
        println!("skipped: there is no {}; TRADEFLOW_DATA names the folder of recorded data", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text)
}

/// Counts and sums by kind of frame.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    frames: BTreeMap<&'static str, u64>,
    amounts: BTreeMap<&'static str, Decimal>,
    numbers: BTreeMap<&'static str, i128>,
}

impl Sums {
    fn frame(&mut self, kind: &'static str) {
        *self.frames.entry(kind).or_default() += 1;
    }

    fn amount(&mut self, name: &'static str, amount: Decimal) {
        *self.amounts.entry(name).or_default() += amount.normalize();
    }

    fn number(&mut self, name: &'static str, number: i128) {
        *self.numbers.entry(name).or_default() += number;
    }
}

fn parsed(text: &str) -> Sums {
    let mut sums = Sums::default();
    for line in text.lines() {
        let (_, json) = line.split_once(' ').unwrap();
        match parse(json).unwrap_or_else(|error| panic!("{error}: {json}")) {
            Frame::Trade(trade) => {
                assert_eq!(trade.symbol, "BTCUSDT");
                sums.frame("trade");
                sums.amount("price", trade.price);
                sums.amount("qty", trade.qty);
                sums.amount("value", trade.price * trade.qty);
                sums.number("id", trade.id.into());
                sums.number("time", (trade.ts_event.as_nanos() / 1_000_000).into());
                sums.number("sold", (trade.aggressor == Aggressor::Seller).into());
            }
            Frame::Quote(quote) => {
                assert_eq!(quote.symbol, "BTCUSDT");
                sums.frame("quote");
                sums.amount("bid", quote.bid);
                sums.amount("ask", quote.ask);
                sums.amount("bid size", quote.bid_size);
                sums.amount("ask size", quote.ask_size);
                sums.number("quotes with a time", quote.ts_event.is_some().into());
                sums.number(
                    "quote time",
                    quote.ts_event.map_or(0, |time| time.as_nanos() / 1_000_000).into(),
                );
            }
            Frame::Other => sums.frame("other"),
            frame => panic!("{frame:?}: {json}"),
        }
    }
    sums
}

/// The same by the shape that the recording shows, without our parser.
fn independent(text: &str) -> Sums {
    let mut sums = Sums::default();
    for line in text.lines() {
        let value: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
        let data = &value["data"];
        let amount = |name: &str| data[name].as_str().unwrap().parse::<Decimal>().unwrap();
        let number = |name: &str| i128::from(data[name].as_i64().unwrap_or_default());
        match value["stream"].as_str() {
            Some("btcusdt@trade") => {
                sums.frame("trade");
                sums.amount("price", amount("p"));
                sums.amount("qty", amount("q"));
                sums.amount("value", amount("p") * amount("q"));
                sums.number("id", number("t"));
                sums.number("time", number("T"));
                sums.number("sold", data["m"].as_bool().unwrap().into());
            }
            Some("btcusdt@bookTicker") => {
                sums.frame("quote");
                sums.amount("bid", amount("b"));
                sums.amount("ask", amount("a"));
                sums.amount("bid size", amount("B"));
                sums.amount("ask size", amount("A"));
                sums.number("quotes with a time", data.get("T").is_some().into());
                sums.number("quote time", number("T"));
            }
            _ => sums.frame("other"),
        }
    }
    sums
}

#[test]
fn every_recorded_frame_of_spot_is_read() {
    let Some(text) = recorded("binance_spot_btcusdt_20240808.gz") else { return };
    let sums = parsed(&text);
    assert_eq!(sums, independent(&text));
    assert_eq!(sums.frames, BTreeMap::from([("trade", 9_757), ("quote", 28_040), ("other", 3_452)]));
    assert_eq!(sums.numbers["quotes with a time"], 0);
}

#[test]
fn every_recorded_frame_of_futures_is_read() {
    let Some(text) = recorded("binance_usdm_btcusdt_20240808.gz") else { return };
    let sums = parsed(&text);
    assert_eq!(sums, independent(&text));
    assert_eq!(sums.frames, BTreeMap::from([("trade", 21_313), ("quote", 66_089), ("other", 6_552)]));
    assert_eq!(sums.numbers["quotes with a time"], 66_089);
}
