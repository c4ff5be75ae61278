//! Whatever goes in: nothing goes missing without a count, and what comes out is what went in, in order.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use rust_decimal::Decimal;
use support::{Mode, SwitchedBus, bench, coin, ms, symbol};
use tradeflow_ingest::publish::Level;
use tradeflow_ingest::{Sink, Update};
use tradeflow_model::market::Aggressor;
use tradeflow_model::{Symbol, fixed};

/// Name, price scale, size scale.
const COINS: [(&str, u8, u8); 3] = [("ANY", 2, 3), ("FINE", 9, 9), ("WHOLE", 0, 0)];

#[derive(Debug, Clone)]
enum Step {
    Update(Update),
    Bad,
    Excluded,
    Flush,
    Press(Level),
    Bus(Mode),
    Answer(bool),
}

/// Mostly what vendors send, sometimes anything.
fn number() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        6 => (1..100_000_i64, 0..4_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
        1 => (1..1_000_i64).prop_map(Decimal::from),
        1 => any::<(i64, u8)>().prop_map(|(mantissa, scale)| Decimal::new(mantissa, u32::from(scale % 29))),
        1 => Just(Decimal::ZERO),
    ]
}

fn name() -> impl Strategy<Value = Symbol> {
    prop_oneof![9 => (0..3_usize).prop_map(|i| symbol(COINS[i].0)), 1 => Just(symbol("OTHER"))]
}

fn update() -> impl Strategy<Value = Update> {
    let ts = prop_oneof![8 => (0..7_000_i64).prop_map(ms), 1 => (50_000..80_000_i64).prop_map(ms)];
    let trade = (name(), ts.clone(), number(), number(), proptest::option::of(0..40_u64)).prop_map(
        |(symbol, ts_event, price, qty, id)| Update::Trade {
            symbol,
            ts_event,
            price,
            qty,
            aggressor: Aggressor::Seller,
            id,
        },
    );
    let sizes = (number(), number());
    let quote = (name(), proptest::option::of(ts.clone()), number(), number(), sizes).prop_map(
        |(symbol, ts_event, bid, ask, (bid_size, ask_size))| Update::Quote {
            symbol,
            ts_event,
            bid,
            ask,
            bid_size,
            ask_size,
        },
    );
    let last =
        (name(), ts, number()).prop_map(|(symbol, ts_event, price)| Update::Last { symbol, ts_event, price });
    prop_oneof![5 => trade, 4 => quote, 1 => last]
}

fn calm_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => update().prop_map(Step::Update),
        1 => Just(Step::Bad),
        1 => Just(Step::Excluded),
        3 => Just(Step::Flush),
    ]
}

fn rough_step() -> impl Strategy<Value = Step> {
    let level = prop_oneof![Just(Level::Free), Just(Level::Conflate), Just(Level::Shed)];
    let mode = prop_oneof![Just(Mode::Take), Just(Mode::Refuse), Just(Mode::Hold)];
    prop_oneof![
        20 => calm_step(),
        1 => level.prop_map(Step::Press),
        1 => mode.prop_map(Step::Bus),
        1 => any::<bool>().prop_map(Step::Answer),
    ]
}

fn raw(value: Decimal, scale: u8) -> i64 {
    fixed::from_decimal(value.trunc_with_scale(scale.into()), scale).unwrap()
}

/// Each row on the bus is the update that was received at its time: all are received at different times.
fn check_rows(bus: &SwitchedBus, sent: &BTreeMap<i64, Update>) -> u64 {
    let mut rows = 0;
    for record in bus.trades() {
        for row in 0..record.price.len() {
            let Some(Update::Trade { symbol, ts_event, price, qty, .. }) = sent.get(&record.ts_init[row])
            else {
                panic!("row {row} of {record:?} was never sent");
            };
            assert_eq!(record.symbol, *symbol);
            assert_eq!(record.ts_event[row], ts_event.as_nanos());
            assert_eq!(fixed::from_decimal(*price, record.price_scale), Ok(record.price[row]));
            assert_eq!(record.qty[row], raw(*qty, record.size_scale));
            assert!(record.price[row] > 0 && record.qty[row] > 0);
            rows += 1;
        }
    }
    for record in bus.quotes() {
        for row in 0..record.bid.len() {
            let Some(Update::Quote { symbol, bid, ask, bid_size, ask_size, .. }) =
                sent.get(&record.ts_init[row])
            else {
                panic!("row {row} of {record:?} was never sent");
            };
            assert_eq!(record.symbol, *symbol);
            assert_eq!(fixed::from_decimal(*bid, record.price_scale), Ok(record.bid[row]));
            assert_eq!(fixed::from_decimal(*ask, record.price_scale), Ok(record.ask[row]));
            assert_eq!(record.bid_size[row], raw(*bid_size, record.size_scale));
            assert_eq!(record.ask_size[row], raw(*ask_size, record.size_scale));
            assert!(record.bid[row] > 0 && record.ask[row] > 0);
            rows += 1;
        }
    }
    rows
}

fn run(steps: Vec<Step>, calm: bool) {
    let mut it = bench(COINS.map(|(name, price, size)| coin(name, price, size)), None);
    let gauge = it.pressure.gauge();
    let (mut received, mut sent) = (0, BTreeMap::new());
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Update(update) => {
                let ts_init = ms(5_000).saturating_add(number as i64 * 20_000);
                sent.insert(ts_init.as_nanos(), update.clone());
                it.normaliser.update(ts_init, update);
                received += 1;
            }
            Step::Bad => {
                it.normaliser.bad("garbage", "?");
                received += 1;
            }
            Step::Excluded => {
                it.normaliser.excluded();
                received += 1;
            }
            Step::Flush => {
                it.flush();
                let counts = it.counters.counts();
                assert_eq!((counts.received, counts.accounted()), (received, received), "{counts:?}");
            }
            Step::Press(level) => gauge.set(level),
            Step::Bus(mode) => it.bus.set(mode),
            Step::Answer(take) => _ = it.bus.answer(take),
        }
    }
    it.bus.set(Mode::Take);
    it.flush();
    while it.bus.answer(true) {}
    it.drain();
    let counts = it.counters.counts();
    assert_eq!((counts.received, counts.accounted()), (received, received), "{counts:?}");
    assert_eq!(check_rows(&it.bus, &sent), counts.published, "rows on the bus are those counted");
    for (series, times) in it.bus.rows() {
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{series:?} is out of order: {times:?}");
    }
    assert_eq!(it.counters.bad_by_reason().values().sum::<u64>(), counts.bad);
    if calm {
        assert_eq!((counts.shed, counts.publish_errors), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_goes_missing(steps in proptest::collection::vec(calm_step(), 0..400)) {
        run(steps, true);
    }
}

proptest! {
    // Each waits in real time until the bus is tried again.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_goes_missing_without_a_count_under_pressure_and_failure(
        steps in proptest::collection::vec(rough_step(), 0..300),
    ) {
        run(steps, false);
    }
}
