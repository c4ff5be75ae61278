//! A market that walks at random, and a feed of it with everything that feeds do.

use bytes::Bytes;
use tradeflow_bus::record::{BarsRecord, QuotesRecord, TradesRecord};
use tradeflow_bus::{NewRecord, Topic, Topics, partition_of};
use tradeflow_model::market::{Aggressor, BarColumns, QuoteColumns, SeriesKind, TradeColumns};
use tradeflow_model::time::NANOS_PER_SEC;
use tradeflow_model::{Bar, InstrumentId, Price, Qty, Quote, SeriesId, Symbol, Timestamp, Trade};

use crate::dice::{Dice, Weather};
use crate::disk::PARTITIONS;
use crate::setting::{BAR_SECS, MARKETS, SCALES, bars_of};

const MILLI: i64 = 1_000_000;

/// A market and its bar in the making.
struct Market {
    price: i64,
    bar: Option<Bar>,
    /// Steps for which nothing comes.
    silent: u64,
}

/// The feed of all markets.
pub struct Feed {
    dice: Dice,
    weather: Weather,
    topics: Topics,
    markets: Vec<Market>,
    /// Records that are overtaken by the next ones.
    held: Vec<NewRecord>,
}

impl Feed {
    pub fn new(dice: Dice, weather: Weather) -> Self {
        let market = |(_, _, price, ..): &(_, _, i64, _, _)| Market { price: *price, bar: None, silent: 0 };
        let markets = MARKETS.iter().map(market).collect();
        Self { dice, weather, topics: Topics::new(""), markets, held: Vec::new() }
    }

    /// The last price of a market.
    pub fn price(&self, market: usize) -> i64 {
        self.markets[market].price
    }

    /// What comes at this moment of true time.
    pub fn step(&mut self, now: Timestamp) -> Vec<NewRecord> {
        let mut sent = Vec::new();
        for market in 0..MARKETS.len() {
            self.bar_ends(market, now, &mut sent);
            if self.markets[market].silent > 0 {
                self.markets[market].silent -= 1;
                continue;
            }
            if self.dice.chance(self.weather.silence) {
                self.markets[market].silent = self.dice.below(20);
            }
            if self.dice.chance(600) {
                self.ticks(market, now, &mut sent);
            }
        }
        self.disturb(sent, now)
    }

    fn ticks(&mut self, market: usize, now: Timestamp, sent: &mut Vec<NewRecord>) {
        let burst = self.dice.chance(self.weather.burst);
        let count = if burst { 60 } else { self.dice.between(1, 3) };
        let late = if self.dice.chance(self.weather.late) { self.dice.between(1, 90_000) } else { 0 };
        let (_, _, _, quotes, trades) = MARKETS[market];
        let (mut traded, mut quoted) = (TradeColumns::default(), QuoteColumns::default());
        for number in 0..count {
            let state = &mut self.markets[market];
            let reach = (state.price / 1000).max(2);
            state.price = (state.price + self.dice.between(-reach, reach)).max(500);
            let price = state.price;
            let ts_event = now.saturating_add((number - count - late) * MILLI);
            let (series, instrument) = (SeriesId(0), InstrumentId(0));
            let qty = Qty::from_raw(self.dice.between(1, 4000));
            if trades {
                let aggressor = *self.dice.pick(&[Aggressor::Buyer, Aggressor::Seller, Aggressor::Unknown]);
                let price = Price::from_raw(price);
                traded.push(&Trade { series, instrument, ts_event, ts_init: now, price, qty, aggressor });
            }
            if quotes {
                // Crossed now and then.
                let half = if self.dice.chance(30) { -1 } else { self.dice.between(0, 3) };
                let (bid, ask) = (Price::from_raw(price - half), Price::from_raw(price + half));
                let (bid_size, ask_size) = (qty, Qty::from_raw(self.dice.between(0, 4000)));
                quoted.push(&Quote {
                    series,
                    instrument,
                    ts_event,
                    ts_init: now,
                    bid,
                    ask,
                    bid_size,
                    ask_size,
                });
            }
            self.extend_bar(market, price, now);
        }
        if trades {
            let value = TradesRecord::new(symbol(market), "simulation", SCALES, traded).encode();
            sent.push(record(&self.topics.trades, market, value, now));
        }
        if quotes {
            let value = QuotesRecord::new(symbol(market), "simulation", SCALES, quoted).encode();
            sent.push(record(&self.topics.quotes, market, value, now));
        }
    }

    fn extend_bar(&mut self, market: usize, price: i64, now: Timestamp) {
        let length = BAR_SECS * NANOS_PER_SEC;
        let open_at = now.as_nanos() - now.as_nanos().rem_euclid(length);
        let price = Price::from_raw(price);
        let bar = self.markets[market].bar.get_or_insert(Bar {
            series: SeriesId(0),
            instrument: InstrumentId(0),
            ts_open: Timestamp::from_nanos(open_at),
            ts_event: Timestamp::from_nanos(open_at + length),
            ts_init: now,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Qty::from_raw(0),
        });
        bar.high = bar.high.max(price);
        bar.low = bar.low.min(price);
        bar.close = price;
        bar.volume = Qty::from_raw(bar.volume.raw() + 2000);
    }

    fn bar_ends(&mut self, market: usize, now: Timestamp, sent: &mut Vec<NewRecord>) {
        let ended = |bar: &mut Bar| bar.ts_event <= now;
        let Some(mut bar) = self.markets[market].bar.take_if(ended) else { return };
        bar.ts_init = now;
        let SeriesKind::Bars { interval, price_type } = bars_of(market) else { return };
        let mut rows = BarColumns::default();
        rows.push(&bar);
        let of = (interval, price_type);
        let value = BarsRecord::new(symbol(market), "simulation", SCALES, of, rows, None).encode();
        sent.push(record(&self.topics.bars, market, value, now));
    }

    /// What the way from the vendor makes of it.
    fn disturb(&mut self, sent: Vec<NewRecord>, now: Timestamp) -> Vec<NewRecord> {
        let mut arrived = Vec::new();
        let overtaken = std::mem::take(&mut self.held);
        for record in sent {
            if self.dice.chance(self.weather.drop) {
                continue;
            }
            if self.dice.chance(self.weather.garbage) {
                arrived.push(self.garbage(&record, now));
            }
            if self.dice.chance(self.weather.reorder) {
                self.held.push(record);
                continue;
            }
            if self.dice.chance(self.weather.double) {
                arrived.push(record.clone());
            }
            arrived.push(record);
        }
        arrived.extend(overtaken);
        arrived
    }

    /// Something that no one can read, or wants.
    fn garbage(&mut self, like: &NewRecord, now: Timestamp) -> NewRecord {
        let whole = like.value.clone().unwrap_or_default();
        let value = match self.dice.below(5) {
            0 => Bytes::new(),
            1 => whole.slice(..self.dice.below(whole.len() as u64) as usize),
            2 => (0..40).map(|_| self.dice.below(256) as u8).collect(),
            3 => {
                // Other decimals than the session's.
                let mut rows = TradeColumns::default();
                rows.push(&some_trade(now));
                TradesRecord::new(symbol(0), "simulation", (7, 3), rows).encode().into()
            }
            _ => {
                // A symbol that no one follows.
                let mut rows = TradeColumns::default();
                rows.push(&some_trade(now));
                let symbol = Symbol::new("OTHER").expect("a symbol");
                TradesRecord::new(symbol, "simulation", SCALES, rows).encode().into()
            }
        };
        NewRecord { value: Some(value), ..like.clone() }
    }
}

fn some_trade(now: Timestamp) -> Trade {
    Trade {
        series: SeriesId(0),
        instrument: InstrumentId(0),
        ts_event: now,
        ts_init: now,
        price: Price::from_raw(1),
        qty: Qty::from_raw(1),
        aggressor: Aggressor::Unknown,
    }
}

fn symbol(market: usize) -> Symbol {
    Symbol::new(MARKETS[market].0).expect("a symbol")
}

fn record(topic: &Topic, market: usize, value: Vec<u8>, ts: Timestamp) -> NewRecord {
    let key = Bytes::from_static(MARKETS[market].0.as_bytes());
    let partition = partition_of(&key, PARTITIONS);
    NewRecord { topic: topic.clone(), partition, key, value: Some(value.into()), ts }
}
