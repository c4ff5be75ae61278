//! The rules of normalisation, one by one.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rust_decimal::Decimal;
use support::{bench, coin, decimal, ms, quote, symbol, trade, watchlist};
use tradeflow_bus::partition_of;
use tradeflow_ingest::normalise::{Conditions, Counters, Limits, Normaliser, Setup};
use tradeflow_ingest::quotes::{QuoteBoard, Ranking, SourceSpec};
use tradeflow_ingest::{Sink, Update};
use tradeflow_model::market::Aggressor;
use tradeflow_model::{AssetClass, Currency, Instrument, Timestamp};

#[test]
fn a_burst_becomes_one_record_of_each_series() {
    let mut it = bench([coin("BTCUSD", 2, 5), coin("ETHUSD", 2, 4)], None);
    it.trade("BTCUSD", (1, 2), "61837.63000000", "0.00123000", Some(7));
    it.quote("ETHUSD", (1, 2), "2400.10", "2400.20");
    it.trade("BTCUSD", (1, 2), "61837.6", "2", Some(8));
    assert!(it.bus.records().is_empty(), "nothing goes out before the burst is over");
    it.flush();
    assert_eq!(it.bus.publishes(), 1);
    let trades = &it.bus.trades()[0];
    assert_eq!((trades.symbol.as_str(), trades.source.as_str()), ("BTCUSD", "test"));
    assert_eq!((trades.price_scale, trades.size_scale), (2, 5));
    assert_eq!(trades.price, [6_183_763, 6_183_760]);
    assert_eq!(trades.qty, [123, 200_000]);
    assert_eq!(trades.aggressor, [1, 1]);
    assert_eq!(trades.ts_event, [ms(1).as_nanos(); 2]);
    assert_eq!(trades.ts_init, [ms(2).as_nanos(); 2]);
    let quotes = &it.bus.quotes()[0];
    assert_eq!((&quotes.bid[..], &quotes.ask[..]), (&[240_010][..], &[240_020][..]));
    assert_eq!((&quotes.bid_size[..], &quotes.ask_size[..]), (&[10_000][..], &[20_000][..]));
    for record in it.bus.records() {
        assert_eq!(record.partition, partition_of(&record.key, support::PARTITIONS));
        assert_eq!(record.ts, ms(2));
    }
    let counts = it.counters.counts();
    assert_eq!((counts.received, counts.published, counts.accounted()), (3, 3, 3));
    assert_eq!(it.status.trades.load(Ordering::Relaxed), 2);
    assert_eq!(it.status.quotes.load(Ordering::Relaxed), 1);
}

#[test]
fn a_long_burst_goes_out_in_pieces() {
    let mut it = bench([coin("BTCUSD", 2, 5)], None);
    for id in 0..600 {
        it.trade("BTCUSD", (1, 1), "1", "1", Some(id));
    }
    assert_eq!(it.bus.trades().iter().map(|record| record.price.len()).collect::<Vec<_>>(), [256, 256]);
    it.trade("BTCUSD", (1, 2), "1", "1", Some(600));
    assert_eq!(it.bus.trades().len(), 3, "a millisecond after the first");
    assert_eq!(it.counters.counts().accounted(), 601);
}

#[test]
fn what_makes_no_sense_is_counted_by_its_reason() {
    let es = Currency::new("ES").unwrap();
    let usd = Currency::new("USD").unwrap();
    let spread = Instrument::new(symbol("SPREAD"), AssetClass::Future, es, usd, 2, 0).unwrap();
    let mut it = bench([coin("BTCUSD", 2, 5), spread], None);
    for (price, qty) in [
        ("1.001", "1"),
        ("0", "1"),
        ("-1", "1"),
        ("10000000000000000.01", "1"),
        ("79228162514264337593543950335", "1"),
        ("1000000000000000", "1000000000"),
        ("1", "-0.1"),
    ] {
        it.trade("BTCUSD", (0, 0), price, qty, None);
    }
    it.quote("BTCUSD", (0, 0), "0", "1");
    it.trade("BTCUSD", (60_001, 0), "1", "1", None);
    it.normaliser.update(ms(0), quote_without_time("BTCUSD", Some(Timestamp::from_nanos(0))));
    it.trade("DOGEUSD", (0, 0), "1", "1", None);
    it.trade("SPREAD", (0, 0), "-1.25", "1", None);
    it.normaliser.bad("no JSON", "<html>");
    it.flush();
    let expected = BTreeMap::from([
        ("negative quantity", 1),
        ("no JSON", 1),
        ("no time", 1),
        ("not watched", 1),
        ("price finer than the price scale", 1),
        ("price not above zero", 3),
        ("price or quantity out of range", 3),
        ("time in the future", 1),
    ]);
    let reasons = it.counters.bad_by_reason();
    assert_eq!(reasons.iter().map(|(k, v)| (k.as_str(), *v)).collect::<BTreeMap<_, _>>(), expected);
    let counts = it.counters.counts();
    assert_eq!((counts.bad, counts.published, counts.accounted()), (12, 1, 13));
    assert_eq!(it.bus.trades()[0].price, [-125], "futures trade below zero");
}

fn quote_without_time(name: &str, ts_event: Option<Timestamp>) -> Update {
    let one = Decimal::ONE;
    Update::Quote { symbol: symbol(name), ts_event, bid: one, ask: one, bid_size: one, ask_size: one }
}

#[test]
fn a_quantity_is_rounded_down_and_a_price_without_one_is_shown() {
    let board =
        QuoteBoard::new(Ranking::new(vec![SourceSpec { name: "test".into(), stale_after: 1, status: None }]));
    let mut it = bench([coin("BTCUSD", 2, 2)], Some(&board));
    it.trade("BTCUSD", (0, 0), "10", "1.999", None);
    it.trade("BTCUSD", (1, 1), "11", "0.009", None);
    it.trade("BTCUSD", (2, 2), "12", "0", None);
    it.normaliser
        .update(ms(3), Update::Last { symbol: symbol("BTCUSD"), ts_event: ms(3), price: decimal("13") });
    it.normaliser.update(ms(3), quote_without_time("BTCUSD", None));
    it.flush();
    assert_eq!(it.bus.trades()[0].qty, [199]);
    assert_eq!(it.bus.quotes()[0].ts_event, [ms(3).as_nanos()], "without a time that of receipt counts");
    let counts = it.counters.counts();
    assert_eq!((counts.floored, counts.shown, counts.published, counts.accounted()), (2, 3, 2, 5));
    let shown = board.get(&symbol("BTCUSD"), ms(3)).unwrap();
    assert_eq!((shown.last, shown.bid), (Some(decimal("13")), Some(decimal("1"))));
}

#[test]
fn late_is_left_out_and_out_of_order_is_passed_on() {
    let mut it = bench([coin("BTCUSD", 2, 2), coin("ETHUSD", 2, 2)], None);
    it.trade("BTCUSD", (10_000, 10_000), "10", "1", None);
    it.trade("BTCUSD", (5_000, 10_001), "11", "1", None);
    it.trade("BTCUSD", (4_999, 10_002), "12", "1", None);
    it.trade("ETHUSD", (1, 10_003), "13", "1", None);
    it.quote("BTCUSD", (1, 10_004), "9", "10");
    it.flush();
    let btc = it.bus.trades().into_iter().find(|record| record.symbol.as_str() == "BTCUSD").unwrap();
    assert_eq!(btc.price, [1_000, 1_100]);
    assert_eq!(btc.ts_event, [ms(10_000).as_nanos(), ms(5_000).as_nanos()]);
    assert_eq!((it.counters.counts().late, it.counters.counts().published), (1, 4));
}

#[test]
fn an_event_ahead_of_the_clock_does_not_make_others_late() {
    let mut it = bench([coin("BTCUSD", 2, 2)], None);
    it.trade("BTCUSD", (59_000, 0), "10", "1", None);
    it.trade("BTCUSD", (1, 1), "11", "1", None);
    it.trade("BTCUSD", (59_000, 2), "10", "1", None);
    it.flush();
    assert_eq!((it.counters.counts().late, it.counters.counts().published), (0, 3));
}

#[test]
fn numbers_tell_duplicates_and_a_venue_that_counts_anew() {
    let mut it = bench([coin("BTCUSD", 2, 2)], None);
    for (at, id) in [(0, 5), (1, 6), (0, 5), (1, 6), (1, 8), (1, 7), (1, 7), (2, 5), (3, 6), (2, 5)] {
        it.trade("BTCUSD", (at, at), "10", "1", Some(id));
    }
    it.flush();
    let counts = it.counters.counts();
    assert_eq!((counts.duplicates, counts.published), (4, 6));
    assert_eq!(it.status.duplicates.load(Ordering::Relaxed), 4);
}

#[test]
fn crossed_quotes_are_passed_on() {
    let mut it = bench([coin("BTCUSD", 2, 2)], None);
    it.quote("BTCUSD", (0, 0), "10.01", "10");
    it.quote("BTCUSD", (0, 0), "10", "10");
    it.flush();
    assert_eq!((it.counters.counts().crossed, it.counters.counts().published), (1, 2));
}

#[test]
fn the_watchlist_is_followed() {
    let mut it = bench([coin("BTCUSD", 2, 2)], None);
    it.trade("BTCUSD", (0, 0), "10", "1", Some(1));
    it.watchlist.send(watchlist([coin("ETHUSD", 2, 2), coin("BTCUSD", 2, 2)])).unwrap();
    it.trade("ETHUSD", (0, 0), "10", "1", Some(1));
    it.trade("BTCUSD", (0, 0), "10", "1", Some(1));
    it.flush();
    assert_eq!(it.counters.counts().duplicates, 1, "what is known of an instrument stays");
    let mut quiet = watchlist([coin("ETHUSD", 3, 2)]);
    quiet.watches[0].quotes = false;
    it.watchlist.send(quiet).unwrap();
    it.flush();
    it.trade("BTCUSD", (1, 1), "10", "1", Some(2));
    it.quote("ETHUSD", (1, 1), "10", "11");
    it.trade("ETHUSD", (1, 1), "10.125", "1", Some(1));
    it.flush();
    assert_eq!(it.counters.bad_by_reason()["not watched"], 2);
    assert_eq!(it.bus.trades().last().unwrap().price_scale, 3);
    assert_eq!((it.counters.counts().published, it.counters.counts().accounted()), (3, 6));
}

#[test]
fn a_polled_source_is_shown_and_not_published() {
    let board =
        QuoteBoard::new(Ranking::new(vec![SourceSpec { name: "test".into(), stale_after: 1, status: None }]));
    let it = bench([coin("BTCUSD", 2, 2)], None);
    let counters = Counters::new("poll", Arc::default());
    let mut polled = Normaliser::new(Setup {
        watchlist: it.watchlist.subscribe(),
        counters: counters.clone(),
        publisher: None,
        board: board.source("test"),
        clock: it.clock.clone(),
        secrets: Vec::new(),
        limits: Limits::default(),
    });
    polled.update(ms(0), quote("BTCUSD", 0, "10", "11"));
    polled.update(ms(0), trade("BTCUSD", 0, "10", "1", None));
    polled.update(ms(0), trade("BTCUSD", 0, "10", "-1", None));
    drop(polled.flush());
    assert!(it.bus.records().is_empty());
    assert_eq!((counters.counts().shown, counters.counts().accounted()), (2, 3));
    assert_eq!(board.get(&symbol("BTCUSD"), ms(0)).unwrap().ask, Some(decimal("11")));
}

#[test]
fn conditions_exclude_trades() {
    let mut it = bench([coin("BTCUSD", 2, 2)], None);
    let conditions = Conditions::new(["2", "41"]);
    assert!(conditions.admit(["1", "12"], &mut it.normaliser));
    assert!(!conditions.admit(["1", "41"], &mut it.normaliser));
    assert!(Conditions::default().admit(["41"], &mut it.normaliser));
    it.flush();
    assert_eq!((it.counters.counts().excluded, it.counters.counts().accounted()), (1, 1));
}

#[test]
fn what_is_in_hand_when_the_feed_ends_is_published() {
    let mut it = bench([coin("BTCUSD", 2, 2)], None);
    it.trade("BTCUSD", (0, 0), "10", "1", None);
    drop(it.normaliser);
    assert_eq!(it.bus.trades().len(), 1);
    assert_eq!(it.counters.counts().accounted(), 1);
}

/// Keeps what is logged.
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn bad_messages_are_sampled_to_the_log_without_secrets() {
    let log = Arc::<Mutex<Vec<String>>>::default();
    tracing::subscriber::with_default(Log(log.clone()), || {
        let mut it = bench([coin("BTCUSD", 2, 2)], None);
        for millis in 0..2_500 {
            it.clock.0.store(ms(millis).as_nanos(), Ordering::Relaxed);
            it.normaliser.bad("no JSON", "token=hush-hush\n<html>");
            it.trade("BTCUSD", (0, 0), "0", "1", None);
        }
        it.flush();
        assert_eq!(it.counters.counts().bad, 5_000);
    });
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 6, "one a second for each reason: {log:#?}");
    assert!(log.iter().all(|line| !line.contains("hush") && !line.contains('\n')), "{log:#?}");
    assert!(log[0].contains("token=***") && log[0].contains("no JSON"), "{log:#?}");
    assert!(log[2].contains("unlogged=999"), "{log:#?}");
}

/// Trades of a recorded Finnhub socket: a frame ends in mid-instant and repeats itself in the next; all are trades. Sent
/// again after a reconnection they are duplicates, but for the last instant.
#[test]
fn recorded_trades_repeat_and_are_known_when_sent_again() {
    let data = std::env::var("TRADEFLOW_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let path = std::path::Path::new(&data).join("vendor_responses/finnhub/ws_aapl_20230331.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no recorded frames at {} (set TRADEFLOW_DATA)", path.display());
        return;
    };
    let frames: Vec<Vec<Update>> = text.lines().map(trades_of_frame).collect();
    let mut it = bench([coin("AAPL", 4, 0)], None);
    let received = Timestamp::from_ymd(2023, 4, 1).unwrap();
    let trades: usize = frames.iter().map(Vec::len).sum();
    for _ in 0..2 {
        for frame in &frames {
            frame.iter().for_each(|update| it.normaliser.update(received, update.clone()));
            it.flush();
        }
    }
    let counts = it.counters.counts();
    let again = counts.published - trades as u64;
    assert_eq!(trades, 61);
    assert_eq!((counts.bad, counts.received), (0, 122), "{:?}", it.counters.bad_by_reason());
    assert_eq!(
        (again, counts.duplicates + counts.late),
        (1, 60),
        "the last instant holds one trade: {counts:?}"
    );
}

fn trades_of_frame(line: &str) -> Vec<Update> {
    let frame: serde_json::Value = serde_json::from_str(line).unwrap();
    let number = |value: &serde_json::Value| decimal(&value.to_string());
    frame["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| Update::Trade {
            symbol: symbol(row["s"].as_str().unwrap()),
            ts_event: Timestamp::from_millis(row["t"].as_i64().unwrap()).unwrap(),
            price: number(&row["p"]),
            qty: number(&row["v"]),
            aggressor: Aggressor::Unknown,
            id: None,
        })
        .collect()
}
