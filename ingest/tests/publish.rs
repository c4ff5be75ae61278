//! Shedding, and a bus that fails.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use support::{Mode, SwitchedBus, bench, coin, until};
use tokio_util::sync::CancellationToken;
use tradeflow_bus::{BusError, Topics};
use tradeflow_ingest::Sink;
use tradeflow_ingest::normalise::Counters;
use tradeflow_ingest::publish::{Level, OUTBOX_ROWS_MAX, Pressure, Publisher};

#[test]
fn under_pressure_the_newest_of_a_burst_goes_out() {
    for (level, trades, quotes) in [(Level::Free, 3, 3), (Level::Conflate, 3, 1), (Level::Shed, 1, 1)] {
        let mut it = bench([coin("BTCUSD", 0, 0)], None);
        let gauge = it.pressure.gauge();
        gauge.set(level);
        for (at, price) in [(0, "10"), (1, "11"), (2, "12")] {
            it.trade("BTCUSD", (at, 0), price, "1", None);
            it.quote("BTCUSD", (at, 0), price, "20");
        }
        it.flush();
        let (published_trades, published_quotes) = (&it.bus.trades()[0].price, &it.bus.quotes()[0].bid);
        assert_eq!((published_trades.len(), published_quotes.len()), (trades, quotes), "{level:?}");
        assert_eq!((published_trades.last(), published_quotes.last()), (Some(&12), Some(&12)), "{level:?}");
        let counts = it.counters.counts();
        assert_eq!(counts.shed as usize, 6 - trades - quotes, "{level:?}");
        assert_eq!((counts.shed, counts.accounted()), (counts.conflated, 6));
        assert_eq!(it.status.shed.load(Ordering::Relaxed), counts.shed);
    }
}

#[test]
fn a_burst_without_end_stays_bounded_under_pressure() {
    let mut it = bench([coin("BTCUSD", 0, 0), coin("ETHUSD", 0, 0)], None);
    let gauge = it.pressure.gauge();
    gauge.set(Level::Shed);
    for id in 0..10_000 {
        it.trade(["BTCUSD", "ETHUSD"][id as usize % 2], (0, 0), "10", "1", Some(id));
    }
    assert_eq!(it.bus.publishes(), 0, "nothing is old enough yet");
    it.trade("BTCUSD", (20, 20), "11", "1", Some(10_000));
    assert_eq!(it.bus.trades().iter().map(|record| record.price.len()).sum::<usize>(), 2);
    assert_eq!((it.counters.counts().shed, it.counters.counts().accounted()), (9_999, 10_001));
}

#[test]
fn a_flush_keeps_the_socket_waiting_for_a_bounded_time_only() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut it = bench([coin("BTCUSD", 0, 0)], None);
    it.bus.set(Mode::Hold);
    let gauge = it.pressure.gauge();
    gauge.set(Level::Shed);
    it.trade("BTCUSD", (0, 0), "10", "1", None);
    let before = Instant::now();
    runtime.block_on(it.normaliser.flush());
    assert!(before.elapsed() >= Duration::from_millis(20));
    gauge.set(Level::Free);
    // Free again, although the bus has not answered.
    it.trade("BTCUSD", (1, 1), "10", "1", None);
    assert!(it.normaliser.flush().now_or_never().is_some());
    assert_eq!((it.counters.counts().pending, it.counters.counts().accounted()), (2, 2));
}

#[test]
fn what_the_bus_refuses_is_tried_again_in_order() {
    let mut it = bench([coin("BTCUSD", 0, 0)], None);
    it.bus.set(Mode::Refuse);
    for at in 0..10 {
        it.trade("BTCUSD", (at, at), "10", "1", None);
        it.flush();
    }
    let counts = it.counters.counts();
    assert_eq!((counts.pending, counts.published, counts.accounted()), (10, 0, 10));
    assert!(counts.publish_errors > 0 && it.counters.is_degraded());
    assert!(it.status.last_error.lock().unwrap().as_ref().unwrap().contains("switched off"));
    it.bus.set(Mode::Take);
    it.drain();
    let times: Vec<i64> = it.bus.trades().iter().flat_map(|record| record.ts_init.clone()).collect();
    assert_eq!(times, (0..10).map(|at| support::ms(at).as_nanos()).collect::<Vec<_>>());
    let counts = it.counters.counts();
    assert_eq!((counts.published, counts.shed, counts.accounted()), (10, 0, 10));
    assert!(!it.counters.is_degraded());
}

#[test]
fn what_was_overtaken_is_left_out() {
    let mut it = bench([coin("BTCUSD", 0, 0), coin("ETHUSD", 0, 0)], None);
    it.bus.set(Mode::Hold);
    it.trade("BTCUSD", (0, 0), "10", "1", None);
    it.trade("ETHUSD", (0, 0), "10", "1", None);
    it.flush();
    it.trade("BTCUSD", (1, 1), "10", "1", None);
    it.flush();
    it.bus.set(Mode::Take);
    assert!(it.bus.answer(false) && it.bus.answer(true) && !it.bus.answer(true));
    it.drain();
    let counts = it.counters.counts();
    assert_eq!((counts.published, counts.shed, counts.accounted()), (2, 1, 3));
    assert_eq!(
        it.bus.trades().last().unwrap().symbol.as_str(),
        "ETHUSD",
        "of the other one nothing came later"
    );
    assert!(!it.counters.is_degraded());
}

#[test]
fn a_full_outbox_sheds_its_oldest_and_presses() {
    let coins: Vec<String> = (0..64).map(|number| format!("C{number}")).collect();
    let mut it = bench(coins.iter().map(|name| coin(name, 0, 0)), None);
    it.bus.set(Mode::Refuse);
    let bursts = OUTBOX_ROWS_MAX as i64 / 32;
    let mut levels = vec![Level::Free];
    for at in 0..bursts {
        for name in &coins {
            it.trade(name, (at / 1_000, at), "10", "1", Some(at as u64));
        }
        it.flush();
        if levels.last() != Some(&it.pressure.level()) {
            levels.push(it.pressure.level());
        }
    }
    assert_eq!(levels, [Level::Free, Level::Conflate, Level::Shed]);
    let all = bursts as u64 * 64;
    let (full, counts) = (OUTBOX_ROWS_MAX as u64, it.counters.counts());
    assert_eq!((counts.pending, counts.shed, counts.conflated), (full, all - full, 0));
    it.bus.set(Mode::Take);
    it.drain();
    assert_eq!(it.pressure.level(), Level::Free);
    assert_eq!((it.counters.counts().published, it.counters.counts().accounted()), (full, all));
    let newest: Vec<i64> = (bursts / 2..bursts).map(|at| support::ms(at).as_nanos()).collect();
    assert!(
        it.bus.rows().values().all(|times| *times == newest),
        "the oldest are gone, the rest is in order"
    );
}

#[test]
fn writes_under_way_are_bounded() {
    let mut it = bench([coin("BTCUSD", 0, 0)], None);
    it.bus.set(Mode::Hold);
    for at in 0..1_000 {
        it.trade("BTCUSD", (0, at), "10", "1", Some(at as u64));
        it.flush();
    }
    assert_eq!(it.bus.publishes(), 256);
    assert_eq!(it.counters.counts().pending, 1_000);
    it.bus.set(Mode::Take);
    while it.bus.answer(true) {}
    it.drain();
    assert_eq!(it.counters.counts().published, 1_000);
    assert!(it.bus.rows().values().all(|times| times.is_sorted()));
}

#[test]
fn upkeep_writes_while_the_feed_is_quiet_and_says_farewell() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let mut it = bench([coin("BTCUSD", 0, 0)], None);
    let stop = CancellationToken::new();
    let upkeep = runtime.spawn(it.publisher.clone().upkeep(stop.clone()));
    it.bus.set(Mode::Refuse);
    it.trade("BTCUSD", (0, 0), "10", "1", None);
    it.flush();
    assert_eq!(it.counters.counts().pending, 1);
    it.bus.set(Mode::Take);
    until("it is written", || it.counters.counts().published == 1);
    it.bus.set(Mode::Hold);
    it.trade("BTCUSD", (1, 1), "10", "1", None);
    it.flush();
    stop.cancel();
    until("it is held", || it.bus.answer(true));
    runtime.block_on(upkeep).unwrap();
    assert_eq!((it.counters.counts().published, it.counters.counts().accounted()), (2, 2));
}

#[test]
fn what_is_left_at_the_end_is_counted() {
    let mut it = bench([coin("BTCUSD", 0, 0)], None);
    it.bus.set(Mode::Refuse);
    it.trade("BTCUSD", (0, 0), "10", "1", None);
    let counters = it.counters.clone();
    drop(it);
    let counts = counters.counts();
    assert_eq!((counts.shed, counts.pending, counts.accounted()), (1, 0, 1));
}

#[test]
fn topics_must_be_there() {
    let bus = Arc::new(SwitchedBus::default());
    let counters = Counters::new("test", Arc::default());
    let refused = Publisher::new(bus, &Topics::new("other."), &Pressure::default(), counters);
    assert!(
        matches!(refused.err(), Some(BusError::NoTopic(topic)) if topic.as_str() == "other.md.trades.v1")
    );
}
