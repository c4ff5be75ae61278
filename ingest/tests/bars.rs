//! Bars made live of the ticks on the bus: equal to those of the recorded ticks, whatever happens to the maker.

mod recording;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use recording::*;
use tradeflow_bus::record::{BarsRecord, QuotesRecord, TradesRecord};
use tradeflow_bus::*;
use tradeflow_ingest::bars::{BarMaker, BarMakerConfig, BarSeries};
use tradeflow_model::market::{Aggressor, Columns, PriceType, QuoteColumns, TradeColumns};
use tradeflow_model::*;
use tradeflow_storage::aggregate::{Aggregator, Outside, Source};

const SECOND: i64 = 1_000_000_000;

fn spec(instrument: &Instrument, interval: &str, price_type: PriceType) -> BarSeries {
    BarSeries {
        instrument: instrument.clone(),
        interval: interval.parse().unwrap(),
        price_type,
        outside: Outside::Drop,
    }
}

/// The bars of all rows at once, sorted as the catalog sorts them: what `catalog aggregate` makes.
fn oracle(spec: &BarSeries, records: &[Columns]) -> Vec<Bar> {
    let ids = (SeriesId(0), InstrumentId(0));
    let mut rows: Vec<(i64, &Columns, usize)> = Vec::new();
    for columns in records {
        rows.extend((0..columns.len()).map(|row| (columns.ts_event(row), columns, row)));
    }
    rows.sort_by_key(|(time, ..)| *time);
    let source = match spec.price_type {
        PriceType::Last => Source::Trades,
        other => Source::Quotes(other),
    };
    let mut aggregator = Aggregator::new(&spec.instrument, ids, source, spec.interval, spec.outside).unwrap();
    let mut bars = Vec::new();
    for (_, columns, row) in rows {
        match columns {
            Columns::Trades(c) => aggregator.push_trade(&c.get(row, ids.0, ids.1), &mut bars).unwrap(),
            Columns::Quotes(c) => aggregator.push_quote(&c.get(row, ids.0, ids.1), &mut bars).unwrap(),
            _ => unreachable!(),
        }
    }
    aggregator.flush(&mut bars);
    bars
}

fn tick_record(topics: &Topics, partitions: u32, instrument: &Instrument, rows: Columns) -> NewRecord {
    let symbol = instrument.symbol.clone();
    let scales = (instrument.price_scale, instrument.size_scale);
    let key: bytes::Bytes = symbol.as_str().to_owned().into();
    let partition = partition_of(&key, partitions);
    let ts = Timestamp::from_nanos(rows.ts_event(0));
    let (topic, value) = match rows {
        Columns::Trades(c) => (&topics.trades, TradesRecord::new(symbol, "test", scales, c).encode()),
        Columns::Quotes(c) => (&topics.quotes, QuotesRecord::new(symbol, "test", scales, c).encode()),
        _ => unreachable!(),
    };
    NewRecord { topic: topic.clone(), partition, key, value: Some(value.into()), ts }
}

/// The published bars of each series, in order.
fn published(bus: &MemoryBus, topics: &Topics, specs: &[BarSeries]) -> Vec<Vec<Bar>> {
    let mut found: Vec<Vec<Bar>> = vec![Vec::new(); specs.len()];
    for partition in 0..bus.partitions(&topics.bars).unwrap() {
        for stored in all(bus, &topics.bars, partition) {
            let record = BarsRecord::decode(&stored.value.unwrap()).unwrap();
            let index = specs.iter().position(|spec| {
                spec.instrument.symbol == record.symbol
                    && spec.interval == record.interval
                    && spec.price_type == record.price_type
            });
            let Columns::Bars(c) = record.into_columns() else { unreachable!() };
            let rows = 0..c.ts_open.len();
            found[index.unwrap()].extend(rows.map(|row| c.get(row, SeriesId(0), InstrumentId(0))));
        }
    }
    found
}

fn start(bus: impl Bus, topics: &Topics, specs: &[BarSeries], clock: &Arc<SetClock>) -> BarMaker {
    let clock: Arc<dyn tradeflow_ingest::Clock> = Arc::<SetClock>::clone(clock);
    BarMaker::start(BarMakerConfig::new(specs.to_vec()), Arc::new(bus), topics, clock).unwrap()
}

/// Bursts of trades and quotes, which jump about within a few seconds but never back over a closed bar of a second.
fn bursts(dice: &Dice, count: u64, ordered: bool) -> Vec<Columns> {
    let mut second = 0;
    let mut records = Vec::new();
    for _ in 0..count {
        second += [0, 0, 1, 2, 70][dice.roll(5) as usize];
        let rows = 1 + dice.roll(6);
        let mut times: Vec<i64> =
            (0..rows).map(|_| second * SECOND + dice.roll(10) as i64 * SECOND / 10).collect();
        if ordered {
            times.sort_unstable();
            let last = records.last().map_or(0, |columns: &Columns| columns.ts_event(columns.len() - 1));
            times.iter_mut().for_each(|time| *time = (*time).max(last));
        }
        if dice.roll(2) == 0 {
            let mut c = TradeColumns::default();
            for time in times {
                c.ts_event.push(time);
                c.ts_init.push(time + 5);
                c.price.push(10_000 + dice.roll(500) as i64);
                c.qty.push(1 + dice.roll(3_000) as i64);
                c.aggressor.push(Aggressor::Buyer);
            }
            records.push(Columns::Trades(c));
        } else {
            let mut c = QuoteColumns::default();
            for time in times {
                let bid = 10_000 + dice.roll(500) as i64;
                c.ts_event.push(time);
                c.ts_init.push(time + 5);
                c.bid.push(bid);
                c.ask.push(bid + dice.roll(9) as i64);
                c.bid_size.push(1_000);
                c.ask_size.push(2_000);
            }
            records.push(Columns::Quotes(c));
        }
    }
    records
}

fn of_kind(records: &[Columns], price_type: PriceType) -> Vec<Columns> {
    let is_trades = |c: &&Columns| matches!(c, Columns::Trades(_)) == (price_type == PriceType::Last);
    records.iter().filter(is_trades).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Killed at any operation, any number of times, while ticks keep coming: the bars are those of an uninterrupted
    /// aggregation of all ticks, each once, in order.
    #[test]
    fn a_maker_that_dies_anywhere_loses_doubles_and_changes_nothing(
        seed in any::<u64>(),
        lives in proptest::collection::vec(1_i64..40, 0..8),
    ) {
        let dice = Dice::new(seed);
        let topics = Topics::new("t.");
        let (a, b) = (crypto("AAA"), crypto("BBB"));
        let specs = [
            spec(&a, "1s", PriceType::Last),
            spec(&a, "1m", PriceType::Last),
            spec(&a, "1m", PriceType::Mid),
            spec(&b, "5s", PriceType::Bid),
            spec(&b, "3tick", PriceType::Last),
            spec(&b, "7volume", PriceType::Last),
        ];
        // Bars not counted in time want their ticks in order.
        let of_a = bursts(&dice, 120, false);
        let of_b = bursts(&dice, 120, true);
        let bus = memory_bus(&topics, 2);
        let clock = SetClock::at(Timestamp::from_nanos(0));
        let mut feed = of_a.iter().zip(&of_b).flat_map(|(x, y)| [(&a, x), (&b, y)]);
        let mut publish = |count: usize| {
            for (instrument, rows) in feed.by_ref().take(count) {
                bus.publish(vec![tick_record(&topics, 2, instrument, rows.clone())], Durability::Process);
            }
        };
        for life in lives {
            let mortal = Mortal::new(Arc::new(bus.clone()), life);
            let maker = start(mortal.clone(), &topics, &specs, &clock);
            publish(20);
            // Until it is dead, or nothing more happens by itself.
            wait_for("death or the end of ticks", || {
                mortal.is_dead() || (mortal.has_read(&topics.trades) && mortal.has_read(&topics.quotes))
            });
            maker.stop();
        }
        publish(usize::MAX);
        let maker = start(bus.clone(), &topics, &specs, &clock);
        // Everything is over: the clock closes what is still open.
        clock.set(Timestamp::from_nanos(1_000_000 * SECOND));
        let expected: Vec<Vec<Bar>> = specs
            .iter()
            .map(|spec| {
                let records = if spec.instrument == a { &of_a } else { &of_b };
                oracle(spec, &of_kind(records, spec.price_type))
            })
            .collect();
        let count = |bars: &[Vec<Bar>]| bars.iter().map(Vec::len).sum::<usize>();
        wait_for("all bars", || count(&published(&bus, &topics, &specs)) >= count(&expected));
        prop_assert_eq!(maker.status().gaps.load(Ordering::Relaxed), 0);
        maker.stop();
        prop_assert_eq!(published(&bus, &topics, &specs), expected);
    }
}

#[test]
fn the_clock_closes_a_bar_after_its_grace_and_late_ticks_leave_it_as_it_was() {
    let topics = Topics::new("");
    let bus = memory_bus(&topics, 1);
    let instrument = crypto("AAA");
    let specs = [spec(&instrument, "1m", PriceType::Last)];
    let clock = SetClock::at(Timestamp::from_nanos(0));
    let maker = start(bus.clone(), &topics, &specs, &clock);
    let trade = |second: i64, price: i64| {
        let c = TradeColumns {
            ts_event: vec![second * SECOND],
            ts_init: vec![second * SECOND],
            price: vec![price],
            qty: vec![1],
            aggressor: vec![Aggressor::Unknown],
        };
        bus.publish(vec![tick_record(&topics, 1, &instrument, Columns::Trades(c))], Durability::Process);
    };
    let ticks = |count: u64| {
        wait_for("ticks", || maker.status().ticks.load(Ordering::Relaxed) == count);
    };
    trade(10, 100);
    trade(50, 103);
    // Out of order within the minute: it is the first price now.
    trade(5, 99);
    ticks(3);
    clock.set(Timestamp::from_nanos(60 * SECOND + 499_999_999));
    trade(20, 104);
    ticks(4);
    assert!(published(&bus, &topics, &specs)[0].is_empty(), "the grace is not over");
    clock.set(Timestamp::from_nanos(60 * SECOND + 500_000_000));
    wait_for("the bar", || published(&bus, &topics, &specs)[0].len() == 1);
    trade(59, 500);
    trade(61, 101);
    ticks(6);
    assert_eq!(maker.status().late.load(Ordering::Relaxed), 1);
    // A later tick closes at once.
    trade(125, 102);
    wait_for("the second bar", || published(&bus, &topics, &specs)[0].len() == 2);
    maker.stop();
    let bars: Vec<[i64; 5]> = published(&bus, &topics, &specs)[0]
        .iter()
        .map(|bar| {
            [bar.ts_open.as_nanos() / SECOND, bar.open.raw(), bar.high.raw(), bar.low.raw(), bar.close.raw()]
        })
        .collect();
    assert_eq!(bars, [[0, 99, 104, 99, 103], [60, 101, 101, 101, 101]]);
}

#[test]
fn ticks_that_retention_took_leave_out_the_unfinished_bar_and_are_counted() {
    let topics = Topics::new("");
    let bus = memory_bus(&topics, 1);
    let instrument = crypto("AAA");
    let specs = [spec(&instrument, "1m", PriceType::Last)];
    let mut made = BTreeMap::new();
    for second in (0..600).step_by(10) {
        let c = TradeColumns {
            ts_event: vec![second * SECOND],
            ts_init: vec![second * SECOND],
            price: vec![second],
            qty: vec![1],
            aggressor: vec![Aggressor::Unknown],
        };
        let record = tick_record(&topics, 1, &instrument, Columns::Trades(c.clone()));
        bus.publish(vec![record], Durability::Process).wait().unwrap();
        made.insert(second, c);
    }
    let clock = SetClock::at(Timestamp::from_nanos(0));
    let maker = start(bus.clone(), &topics, &specs, &clock);
    wait_for("the first nine bars", || published(&bus, &topics, &specs)[0].len() == 9);
    maker.stop();
    // The place on the bus is in the tenth minute: all of it is gone, and more has come.
    for second in (600..720).step_by(10) {
        let c = made[&0].clone();
        let c = TradeColumns { ts_event: vec![second * SECOND], price: vec![second], ..c };
        let record = tick_record(&topics, 1, &instrument, Columns::Trades(c));
        bus.publish(vec![record], Durability::Process).wait().unwrap();
    }
    bus.trim(&topics.trades, 0, 60);
    let maker = start(bus.clone(), &topics, &specs, &clock);
    wait_for("the eleventh", || published(&bus, &topics, &specs)[0].len() == 10);
    maker.stop();
    let opens: Vec<i64> =
        published(&bus, &topics, &specs)[0].iter().map(|bar| bar.ts_open.as_nanos() / 60 / SECOND).collect();
    assert_eq!(opens, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]);
}
