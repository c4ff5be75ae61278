//! Writes a few records of market data to Kafka, as the feeds do, for readers in other languages to be tried on:
//!
//!     cargo run --release -p tradeflow-bus --example kafka_records -- 127.0.0.1:9092 demo.
//!
//! Among them one of a schema that is newer than this reader's (fields that it does not know), one that is older (a field
//! is missing that came later), and one that is no record at all.

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tradeflow_bus::record::{BarsRecord, QuotesRecord, TradesRecord, encode};
use tradeflow_bus::{
    Bus, BusError, Durability, KafkaBus, KafkaConfig, NewRecord, Retention, Topic, Topics, partition_of,
};
use tradeflow_model::market::{Aggressor, BarColumns, PriceType, QuoteColumns, TradeColumns};
use tradeflow_model::{Interval, Symbol, Timestamp};

/// 2024-03-01 14:30:00 UTC.
const START: i64 = 1_709_303_400_000_000_000;
const PARTITIONS: u32 = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let topics = Topics::new(&arguments.next().unwrap_or_default());
    let bus = KafkaBus::connect(KafkaConfig::new(brokers))?;
    bus.create(&topics.specs(PARTITIONS, Retention::default()))?;
    let (btc, spy) = (Symbol::new("BTCUSD")?, Symbol::new("SPY")?);

    let trades = TradesRecord::new(
        btc.clone(),
        "binance",
        (2, 8),
        TradeColumns {
            ts_event: vec![START, START + 1_234_567],
            ts_init: vec![START + 1_000_000, START + 2_000_000],
            price: vec![6_123_456, 6_123_450],
            qty: vec![150_000_000, 1],
            aggressor: vec![Aggressor::Buyer, Aggressor::Seller],
        },
    );
    write(&bus, &topics.trades, &btc, trades.encode())?;
    let newer =
        with(&trades, &[("v", json!(2)), ("trade_id", json!([71, 72])), ("venue", json!({"mic": "XBIN"}))])?;
    write(&bus, &topics.trades, &btc, newer)?;
    write(&bus, &topics.trades, &btc, b"no record at all".to_vec())?;
    write(&bus, &topics.trades, &spy, TradesRecord { symbol: spy.clone(), ..trades }.encode())?;

    let quotes = QuotesRecord::new(
        spy.clone(),
        "finnhub",
        (4, 0),
        QuoteColumns {
            ts_event: vec![START],
            ts_init: vec![START + 5],
            bid: vec![5_120_100],
            ask: vec![5_120_200],
            bid_size: vec![300],
            ask_size: vec![0],
        },
    );
    write(&bus, &topics.quotes, &spy, quotes.encode())?;

    let (interval, last): (Interval, _) = ("1m".parse()?, PriceType::Last);
    let columns = BarColumns {
        ts_open: vec![START],
        ts_event: vec![START + 60_000_000_000],
        ts_init: vec![START + 60_000_000_001],
        open: vec![5_120_000],
        high: vec![5_130_000],
        low: vec![5_110_000],
        close: vec![5_125_000],
        volume: vec![12_345],
    };
    let bars = BarsRecord::new(spy.clone(), "finnhub", (4, 0), (interval, last), columns, Some(17));
    write(&bus, &topics.bars, &spy, bars.encode())?;
    let mut older = serde_json::to_value(&bars)?;
    older.as_object_mut().ok_or("a map")?.remove("ticks_through");
    write(&bus, &topics.bars, &spy, encode(&older))?;
    Ok(())
}

/// A record with more or other fields than it has.
fn with(
    record: &impl Serialize,
    fields: &[(&str, serde_json::Value)],
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut map = serde_json::to_value(record)?;
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    map.as_object_mut().ok_or("a map")?.extend(fields);
    Ok(encode(&map))
}

fn write(bus: &KafkaBus, topic: &Topic, symbol: &Symbol, value: Vec<u8>) -> Result<(), BusError> {
    let key = Bytes::copy_from_slice(symbol.as_str().as_bytes());
    let partition = partition_of(&key, PARTITIONS);
    let (topic, value, ts) = (topic.clone(), Some(value.into()), Timestamp::from_nanos(START + 1));
    bus.publish(vec![NewRecord { topic, partition, key, value, ts }], Durability::Process).wait()?;
    Ok(())
}
