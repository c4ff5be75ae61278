//! Streams of market data for the recorder's tests, and what the catalog should hold of them.

use std::collections::BTreeMap;
use std::ops::Range;

use tradeflow_bus::record::*;
use tradeflow_bus::*;
use tradeflow_ingest::record::Recorded;
use tradeflow_model::market::{Aggressor, Columns, PriceType, QuoteColumns, SeriesKind, TradeColumns};
use tradeflow_model::*;
use tradeflow_storage::catalog::{Catalog, SeriesKey};

use super::Dice;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Records in the order of a bus, whose rows come out of order, twice, and around midnight.
pub struct Stream {
    instruments: Vec<Instrument>,
    partitions: u32,
    topics: Topics,
    now: i64,
    minute: i64,
    step: i64,
}

impl Stream {
    pub fn new(instruments: &[Instrument], partitions: u32, topics: &Topics) -> Self {
        let now = 20_000 * DAY;
        Self {
            instruments: instruments.to_vec(),
            partitions,
            topics: topics.clone(),
            now,
            minute: now,
            step: DAY / 50,
        }
    }

    /// The stream of one of many lives: time goes slowly, and their bars do not meet.
    pub fn of_life(mut self, life: u64) -> Self {
        self.step = 10 * SECOND;
        self.minute += i64::try_from(life).unwrap() * 300 * DAY;
        self
    }

    /// Trades, quotes and bars.
    pub fn records(&mut self, dice: &Dice, count: usize) -> Vec<NewRecord> {
        (0..count).map(|_| self.record(dice, dice.roll(3), self.step)).collect()
    }

    pub fn of_trades(&mut self, dice: &Dice, count: usize) -> Vec<NewRecord> {
        (0..count).map(|_| self.record(dice, 0, self.step)).collect()
    }

    /// Trades that stay within a day.
    pub fn one_day(&mut self, dice: &Dice, count: usize) -> Vec<NewRecord> {
        (0..count).map(|_| self.record(dice, 0, SECOND / 2)).collect()
    }

    fn record(&mut self, dice: &Dice, kind: u64, step: i64) -> NewRecord {
        let instrument = &self.instruments[dice.roll(self.instruments.len() as u64) as usize];
        let symbol = instrument.symbol.clone();
        let scales = (instrument.price_scale, instrument.size_scale);
        let source = ["binance", "finnhub"][dice.roll(2) as usize];
        let rows = 1 + dice.roll(if step < SECOND { 40 } else { 5 });
        if dice.roll(3) == 0 {
            self.now += dice.roll(step as u64) as i64;
        }
        let time = || {
            let late = if dice.roll(4) == 0 { dice.roll(5) as i64 * SECOND } else { 0 };
            (self.now - late).max(20_000 * DAY)
        };
        let key: bytes::Bytes = symbol.as_str().to_owned().into();
        let partition = partition_of(&key, self.partitions);
        let (topic, value) = match kind {
            0 => {
                let mut c = TradeColumns::default();
                for _ in 0..rows {
                    let time = time();
                    let side = [Aggressor::Unknown, Aggressor::Buyer, Aggressor::Seller];
                    c.ts_event.push(time);
                    c.ts_init.push(self.now + 5);
                    c.price.push(10_000 + dice.roll(3) as i64);
                    c.qty.push(1 + dice.roll(2) as i64);
                    c.aggressor.push(side[dice.roll(3) as usize]);
                }
                (&self.topics.trades, TradesRecord::new(symbol, source, scales, c).encode())
            }
            1 => {
                let mut c = QuoteColumns::default();
                for _ in 0..rows {
                    c.ts_event.push(time());
                    c.ts_init.push(self.now + 7);
                    c.bid.push(10_000 + dice.roll(3) as i64);
                    c.ask.push(10_003);
                    c.bid_size.push(dice.roll(2) as i64);
                    c.ask_size.push(1);
                }
                (&self.topics.quotes, QuotesRecord::new(symbol, source, scales, c).encode())
            }
            _ => {
                let mut c = BarColumns::default();
                for _ in 0..rows {
                    self.minute += 60 * SECOND;
                    c.ts_open.push(self.minute);
                    c.ts_event.push(self.minute + 60 * SECOND);
                    c.ts_init.push(self.minute + 61 * SECOND);
                    for column in [&mut c.open, &mut c.high, &mut c.low, &mut c.close] {
                        column.push(10_000);
                    }
                    c.volume.push(dice.roll(9) as i64);
                }
                let through = Some(dice.roll(1_000)).filter(|n| n % 3 != 0);
                let of = ("1m".parse().unwrap(), PriceType::Last);
                let mut record = BarsRecord::new(symbol, source, scales, of, c, through);
                record.rows_through = u32::try_from(dice.roll(3)).unwrap();
                (&self.topics.bars, record.encode())
            }
        };
        let ts = Timestamp::from_nanos(self.now);
        NewRecord { topic: topic.clone(), partition, key, value: Some(value.into()), ts }
    }
}

pub fn market_record(topics: &Topics, record: &NewRecord) -> MarketRecord {
    of_bytes(topics, &record.topic, record.value.as_deref().unwrap()).unwrap()
}

fn of_bytes(topics: &Topics, topic: &Topic, bytes: &[u8]) -> Option<MarketRecord> {
    if *topic == topics.trades {
        return TradesRecord::decode(bytes).ok().map(MarketRecord::Trades);
    }
    if *topic == topics.quotes {
        return QuotesRecord::decode(bytes).ok().map(MarketRecord::Quotes);
    }
    BarsRecord::decode(bytes).ok().map(MarketRecord::Bars)
}

/// The records of a partition that can be read, by offset.
pub fn on_bus(
    bus: &impl Bus,
    topic: &Topic,
    partition: u32,
    offsets: Range<u64>,
) -> Vec<(u64, MarketRecord)> {
    let end = bus.bounds(topic, partition).unwrap().end.min(offsets.end);
    let from = Position { topic: topic.clone(), partition, offset: offsets.start };
    let mut reader = bus.reader(&[from]).unwrap();
    let mut found = Vec::new();
    let mut next = offsets.start;
    // The prefix does not matter to the schemas.
    let name = topic.as_str();
    let topics = Topics::new(&name[..name.find("md.").unwrap()]);
    while next < end {
        for stored in reader.poll(1_024, std::time::Duration::from_secs(10)).unwrap() {
            next = stored.offset + 1;
            let record = of_bytes(&topics, topic, stored.value.as_deref().unwrap());
            found.extend(record.filter(|_| stored.offset < end).map(|record| (stored.offset, record)));
        }
    }
    found
}

pub fn symbol_of(record: &MarketRecord) -> &Symbol {
    match record {
        MarketRecord::Trades(r) => &r.symbol,
        MarketRecord::Quotes(r) => &r.symbol,
        MarketRecord::Bars(r) => &r.symbol,
    }
}

pub fn rows_of(record: &MarketRecord) -> usize {
    match record {
        MarketRecord::Trades(r) => r.ts_event.len(),
        MarketRecord::Quotes(r) => r.ts_event.len(),
        MarketRecord::Bars(r) => r.ts_event.len(),
    }
}

/// Whether everything on the bus was recorded as `bus-1`.
pub fn is_recorded(bus: &impl Bus, topics: &Topics, catalog: &Catalog, partitions: u32) -> bool {
    let recorded = Recorded::new(catalog.clone(), "bus-1");
    [&topics.trades, &topics.quotes, &topics.bars].into_iter().all(|topic| {
        (0..partitions).all(|partition| {
            let end = bus.bounds(topic, partition).unwrap().end;
            recorded.through(topic, partition).unwrap().unwrap_or(0) == end
        })
    })
}

/// Compares every series of the catalog, and all records of `bus-1`, with what is on the bus.
pub fn compare(bus: &impl Bus, topics: &Topics, catalog: &Catalog, partitions: u32) {
    let recorded = Recorded::new(catalog.clone(), "bus-1");
    let mut series: BTreeMap<String, (SeriesKey, Vec<[i64; 8]>)> = BTreeMap::new();
    for topic in [&topics.trades, &topics.quotes, &topics.bars] {
        for partition in 0..partitions {
            let end = bus.bounds(topic, partition).unwrap().end;
            let records = on_bus(bus, topic, partition, 0..end);
            assert_eq!(recorded.records(topic, partition, 0..end).unwrap(), records, "{topic}/{partition}");
            for (_, record) in records {
                let kind = match &record {
                    MarketRecord::Trades(_) => SeriesKind::Trades,
                    MarketRecord::Quotes(_) => SeriesKind::Quotes,
                    MarketRecord::Bars(r) => {
                        SeriesKind::Bars { interval: r.interval, price_type: r.price_type }
                    }
                };
                let key = SeriesKey::new(symbol_of(&record).clone(), kind);
                let columns = match record {
                    MarketRecord::Trades(r) => r.into_columns(),
                    MarketRecord::Quotes(r) => r.into_columns(),
                    MarketRecord::Bars(r) => r.into_columns(),
                };
                series.entry(key.to_string()).or_insert((key, Vec::new())).1.extend(values(&columns));
            }
        }
    }
    let report = catalog.verify(None, |_, _| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!((report.faults, report.strays), (vec![], vec![]));
    assert_eq!(catalog.series().unwrap().len(), series.len());
    for (name, (key, mut rows)) in series {
        // Stable: equal times stay in the order of the bus.
        rows.sort_by_key(|row| row[0]);
        let found = values(&catalog.read(&key, Timestamp::MIN, Timestamp::MAX).unwrap());
        assert_eq!(found.len(), rows.len(), "{name}");
        assert!(found == rows, "{name}: other rows");
    }
}

/// All values of each row, its key time first.
fn values(columns: &Columns) -> Vec<[i64; 8]> {
    let rows = 0..columns.len();
    match columns {
        Columns::Trades(c) => rows
            .map(|r| [c.ts_event[r], c.ts_init[r], c.price[r], c.qty[r], c.aggressor[r] as i64, 0, 0, 0])
            .collect(),
        Columns::Quotes(c) => rows
            .map(|r| [c.ts_event[r], c.ts_init[r], c.bid[r], c.ask[r], c.bid_size[r], c.ask_size[r], 0, 0])
            .collect(),
        Columns::Bars(c) => rows
            .map(|r| {
                let prices = [c.open[r], c.high[r], c.low[r], c.close[r]];
                let [open, high, low, close] = prices;
                [c.ts_open[r], c.ts_event[r], c.ts_init[r], open, high, low, close, c.volume[r]]
            })
            .collect(),
        _ => unreachable!("a kind that is not recorded"),
    }
}
