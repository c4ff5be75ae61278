//! Aggregation against a plain re-computation, and what it promises of volume and order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::{Aggressor, PriceType};
use tradeflow_model::*;
use tradeflow_storage::aggregate::{AggregateError, Aggregator, Outside, Source};

const IDS: (SeriesId, InstrumentId) = (SeriesId(3), InstrumentId(5));

fn instrument(calendar: Calendar) -> Instrument {
    let currency = |code| Currency::new(code).unwrap();
    let mut instrument = Instrument::new(
        Symbol::new("TEST").unwrap(),
        AssetClass::CryptoSpot,
        currency("BTC"),
        currency("USD"),
        2,
        1,
    )
    .unwrap();
    instrument.calendar = calendar;
    instrument
}

fn trade(time: i64, price: i64, qty: i64) -> Trade {
    Trade {
        series: SeriesId(0),
        instrument: InstrumentId(0),
        ts_event: Timestamp::from_nanos(time),
        ts_init: Timestamp::from_nanos(time),
        price: Price::from_raw(price),
        qty: Qty::from_raw(qty),
        aggressor: Aggressor::Unknown,
    }
}

fn interval(text: &str) -> Interval {
    text.parse().unwrap()
}

fn run(calendar: Calendar, into: &str, outside: Outside, trades: &[Trade]) -> (Vec<Bar>, u64) {
    let mut aggregator =
        Aggregator::new(&instrument(calendar), IDS, Source::Trades, interval(into), outside).unwrap();
    let mut bars = Vec::new();
    trades.iter().for_each(|trade| aggregator.push_trade(trade, &mut bars).unwrap());
    aggregator.flush(&mut bars);
    (bars, aggregator.dropped())
}

/// Trades over two weeks around the end of daylight saving in the United States, with bursts within a second.
fn some_trades() -> impl Strategy<Value = Vec<Trade>> {
    let start = "2023-10-30".parse::<Timestamp>().unwrap().as_nanos();
    let step = prop_oneof![0..1_000_000_000_i64, 0..3_600_000_000_000_i64, 0..40_000_000_000_000_i64];
    proptest::collection::vec((step, 1..100_000_i64, 1..500_i64), 1..300).prop_map(move |steps| {
        let mut time = start;
        let mut next = |(step, price, qty)| {
            time += step;
            trade(time, price, qty)
        };
        steps.into_iter().map(&mut next).collect()
    })
}

/// Bars by the slots that the calendar expects: every trade is looked up anew.
fn naive(calendar: Calendar, into: &str, trades: &[Trade]) -> Vec<Bar> {
    let (first, last) = (trades[0].ts_event, trades[trades.len() - 1].ts_event);
    let week = 8 * time::NANOS_PER_DAY;
    let slots: Vec<_> = calendar
        .expected_bars(interval(into), first.saturating_add(-week), last.saturating_add(week))
        .unwrap()
        .collect();
    let mut groups: BTreeMap<i64, (Timestamp, Vec<&Trade>)> = BTreeMap::new();
    for trade in trades.iter().filter(|trade| calendar.session_at(trade.ts_event).is_some()) {
        let slot = slots.iter().rfind(|slot| slot.open <= trade.ts_event && trade.ts_event < slot.close);
        // Within the pause of a session the calendar expects no bar; the trades of these tests may lie there.
        let Some(slot) = slot else { continue };
        groups.entry(slot.open.as_nanos()).or_insert((slot.close, Vec::new())).1.push(trade);
    }
    groups
        .into_iter()
        .map(|(open, (close, trades))| Bar {
            series: IDS.0,
            instrument: IDS.1,
            ts_open: Timestamp::from_nanos(open),
            ts_event: close,
            ts_init: close,
            open: trades[0].price,
            high: trades.iter().map(|trade| trade.price).max().unwrap(),
            low: trades.iter().map(|trade| trade.price).min().unwrap(),
            close: trades[trades.len() - 1].price,
            volume: Qty::from_raw(trades.iter().map(|trade| trade.qty.raw()).sum()),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn time_bars_equal_a_plain_recomputation(
        trades in some_trades(),
        into in proptest::sample::select(vec!["1m", "15m", "1h", "4h", "1d", "1w"]),
        calendar in proptest::sample::select(Calendar::ALL.to_vec()),
    ) {
        let (bars, dropped) = run(calendar, into, Outside::Drop, &trades);
        prop_assert_eq!(&bars, &naive(calendar, into, &trades));
        let inside = trades.iter().filter(|t| calendar.session_at(t.ts_event).is_some()).count() as u64;
        prop_assert_eq!(dropped, trades.len() as u64 - inside);
    }

    #[test]
    fn no_volume_is_lost_and_every_full_bar_is_full(
        trades in some_trades(),
        into in proptest::sample::select(vec!["1tick", "7tick", "50volume", "20000notional", "5m"]),
        calendar in proptest::sample::select(Calendar::ALL.to_vec()),
    ) {
        let (bars, dropped) = run(calendar, into, Outside::Keep, &trades);
        prop_assert_eq!(dropped, 0);
        let volume = |all: &mut dyn Iterator<Item = Qty>| all.map(Qty::raw).sum::<i64>();
        let given = volume(&mut trades.iter().map(|trade| trade.qty));
        prop_assert_eq!(volume(&mut bars.iter().map(|bar| bar.volume)), given);
        for pair in bars.windows(2) {
            prop_assert!(pair[0].ts_event <= pair[1].ts_open);
        }
        for bar in &bars {
            prop_assert!(bar.ts_open <= bar.ts_event);
            prop_assert!(bar.low <= bar.open.min(bar.close) && bar.open.max(bar.close) <= bar.high);
        }
        // A volume bar falls short only where its session ends.
        if into == "50volume" {
            for pair in bars.windows(2).filter(|pair| pair[0].volume.raw() < 500) {
                let session = |bar: &Bar| calendar.session_at(bar.ts_open).map(|session| session.date);
                prop_assert!(session(&pair[0]) != session(&pair[1]) || session(&pair[0]).is_none());
            }
        }
    }

    #[test]
    fn minutes_make_the_same_hours_and_days_as_trades(
        trades in some_trades(),
        into in proptest::sample::select(vec!["1h", "1d", "1w"]),
        calendar in proptest::sample::select(Calendar::ALL.to_vec()),
    ) {
        let (minutes, _) = run(calendar, "1m", Outside::Drop, &trades);
        let source = Source::Bars(Interval::MINUTE);
        let mut aggregator =
            Aggregator::new(&instrument(calendar), IDS, source, interval(into), Outside::Drop).unwrap();
        let mut bars = Vec::new();
        minutes.iter().for_each(|bar| aggregator.push_bar(bar, &mut bars).unwrap());
        aggregator.flush(&mut bars);
        prop_assert_eq!(bars, run(calendar, into, Outside::Drop, &trades).0);
    }
}

#[test]
fn the_trade_that_fills_a_bar_is_not_split() {
    let trades = [trade(0, 100, 300), trade(1, 110, 300), trade(2, 90, 100)];
    let (bars, _) = run(Calendar::AlwaysOpen, "50volume", Outside::Drop, &trades);
    let shape: Vec<_> =
        bars.iter().map(|bar| (bar.volume.raw(), bar.close.raw(), bar.ts_event.as_nanos())).collect();
    assert_eq!(shape, [(600, 110, 1), (100, 90, 2)]);
}

#[test]
fn a_timer_closes_a_bar_without_waiting_for_the_next_event() {
    let mut aggregator = Aggregator::new(
        &instrument(Calendar::AlwaysOpen),
        IDS,
        Source::Trades,
        Interval::MINUTE,
        Outside::Drop,
    )
    .unwrap();
    let mut bars = Vec::new();
    aggregator.push_trade(&trade(5, 100, 1), &mut bars).unwrap();
    aggregator.advance(Timestamp::from_nanos(time::NANOS_PER_MIN - 1), &mut bars);
    assert!(bars.is_empty());
    aggregator.advance(Timestamp::from_nanos(time::NANOS_PER_MIN), &mut bars);
    assert_eq!(bars.len(), 1);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let refuse = |source, into: &str| {
        let made = Aggregator::new(&instrument(Calendar::Nyse), IDS, source, interval(into), Outside::Drop);
        assert!(matches!(made, Err(AggregateError::Impossible { .. })), "{source:?} {into}");
    };
    refuse(Source::Quotes(PriceType::Bid), "100volume");
    refuse(Source::Quotes(PriceType::Last), "1m");
    refuse(Source::Bars(interval("1h")), "1m");
    refuse(Source::Bars(interval("1h")), "1h");
    refuse(Source::Bars(interval("2s")), "5s");
    refuse(Source::Bars(interval("1m")), "100tick");
    refuse(Source::Bars(interval("100tick")), "1h");

    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let source = Source::Bars(Interval::HOUR);
    let mut aggregator =
        Aggregator::new(&instrument(Calendar::Nyse), IDS, source, Interval::DAY, Outside::Drop).unwrap();
    // The clock hour that holds the close.
    let bar = Bar {
        series: IDS.0,
        instrument: IDS.1,
        ts_open: at("2024-01-03T20:30"),
        ts_event: at("2024-01-03T21:30"),
        ts_init: at("2024-01-03T21:30"),
        open: Price::from_raw(1),
        high: Price::from_raw(1),
        low: Price::from_raw(1),
        close: Price::from_raw(1),
        volume: Qty::ZERO,
    };
    let error = aggregator.push_bar(&bar, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, AggregateError::Straddles { .. }), "{error}");
    let mut trades = Aggregator::new(
        &instrument(Calendar::AlwaysOpen),
        IDS,
        Source::Trades,
        Interval::HOUR,
        Outside::Drop,
    )
    .unwrap();
    trades.push_trade(&trade(10, 1, 1), &mut Vec::new()).unwrap();
    let error = trades.push_trade(&trade(9, 1, 1), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, AggregateError::Unsorted { .. }), "{error}");
}
