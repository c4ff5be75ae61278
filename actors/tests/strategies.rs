//! Parameters of the registered strategies; what a strategy sees and when; signals from outside.

mod kit;

use kit::*;
use serde_json::{Map, Value, json};
use std::sync::mpsc;
use tradeflow_actors::actor::Fault;
use tradeflow_actors::strategy::{Context, Strategy, kind_of, registry};
use tradeflow_model::market::SeriesKind;
use tradeflow_model::{
    Bar, InstrumentId, MarketEvent, Price, Qty, SeriesId, Side, Signal, SignalSide, SignalSource,
    StrategyIndex, Timestamp,
};

fn params(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn schemas_document_every_parameter_with_default_and_range() {
    let names: Vec<_> = registry().iter().map(|kind| kind.name).collect();
    let expected = ["buy_and_hold", "ema_cross", "external", "rsi_reversion", "sma_cross", "tick_momentum"];
    assert_eq!(names, expected);
    for kind in registry() {
        assert!(!kind.summary.is_empty() && !kind.version.is_empty());
        let schema = (kind.schema)().to_value();
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        let resolved = kind.resolve(&Map::new()).unwrap();
        assert_eq!(resolved.as_object().unwrap().len(), properties.len(), "{kind:?}");
        for (name, property) in &properties {
            let said = property["description"].as_str().unwrap_or_default();
            assert!(said.len() > 10, "{kind:?}.{name} has no documentation: {property}");
            assert_eq!(property["default"], resolved[name], "{kind:?}.{name}");
            let number = matches!(property["type"].as_str(), Some("integer" | "number"));
            assert_eq!(number, property.get("minimum").is_some() && property.get("maximum").is_some());
        }
    }
}

#[test]
fn wrong_parameters_are_told_all_at_once() {
    let kind = kind_of("sma_cross").unwrap();
    let given = params(json!({ "fats": 1, "slow": "many", "fast": 0, "direction": "up" }));
    let errors = kind.resolve(&given).unwrap_err();
    let told: Vec<_> = errors.iter().map(|e| e.param.as_str()).collect();
    assert_eq!(errors.len(), 4, "{errors:?}");
    for name in ["fats", "slow", "fast", "direction"] {
        assert!(told.contains(&name), "{errors:?}");
    }
    let of = |name: &str| errors.iter().find(|e| e.param == name).unwrap().why.clone();
    assert!(of("fats").contains("direction, fast, slow"), "{}", of("fats"));
    assert!(of("fast").contains("1 to 100000"), "{}", of("fast"));
}

#[test]
fn parameters_are_checked_against_each_other() {
    let errors = |name: &str, value| kind_of(name).unwrap().resolve(&params(value)).unwrap_err();
    assert_eq!(errors("sma_cross", json!({ "fast": 50, "slow": 50 }))[0].param, "fast");
    assert_eq!(errors("ema_cross", json!({ "fast": 30 }))[0].param, "fast");
    assert_eq!(errors("rsi_reversion", json!({ "exit": 20 }))[0].param, "exit");
    assert_eq!(errors("sma_cross", json!({ "fast": 1.5 }))[0].param, "fast");
    assert_eq!(errors("sma_cross", json!({ "fast": -1 }))[0].param, "fast");
    assert!(kind_of("nope").unwrap_err().contains("sma_cross"));
}

/// Tells a channel what it sees.
struct Watcher {
    seen: mpsc::Sender<(Timestamp, Bar, bool, bool)>,
}

impl Strategy for Watcher {
    fn on_bar(&mut self, context: &mut Context<'_>, bar: &Bar) {
        context.signal(bar.instrument, SignalSide::Buy);
        let sent = context.submit(tradeflow_actors::execution::OrderRequest::market(
            bar.instrument,
            Side::Buy,
            Qty::from_raw(1),
        ));
        self.seen.send((context.now(), *bar, context.is_trading(), sent.is_some())).unwrap();
    }

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// Bars of one and five minutes of two instruments, from 09:00.
fn four_series(minutes: i64) -> (Setup, Vec<MarketEvent>) {
    let series = [(0, bars_of("1m")), (1, bars_of("1m")), (0, bars_of("5m")), (1, bars_of("5m"))];
    let setup = Setup::new(vec![stock("AAA"), stock("BBB")], &series).margin(100);
    let mut events = Vec::new();
    for (index, plan) in setup.plan.series.iter().enumerate() {
        let SeriesKind::Bars { interval, .. } = plan.kind else { unreachable!() };
        let length = interval.nanos().unwrap();
        for n in 0..minutes * 60_000_000_000 / length {
            let ts_open = at("09:00").saturating_add(n * length);
            let ts_event = ts_open.saturating_add(length);
            let price = Price::from_raw(10_000 + n);
            events.push(MarketEvent::Bar(Bar {
                series: SeriesId(index as u16),
                instrument: plan.instrument,
                ts_open,
                ts_event,
                ts_init: ts_event,
                open: price,
                high: price,
                low: price,
                close: price,
                volume: Qty::ZERO,
            }));
        }
    }
    events.sort_by_key(|event| (event.ts_event(), event.series()));
    (setup, events)
}

fn watch(
    setup: &Setup,
    events: &[MarketEvent],
    warm_up: u32,
) -> (Vec<(Timestamp, Bar, bool, bool)>, Watched) {
    let (seen, told) = mpsc::channel();
    let plan = setup.strategy_plan("watcher", warm_up);
    let mut cell = setup.build(vec![(plan, Box::new(Watcher { seen }))]);
    events.iter().for_each(|event| cell.on_event(event).unwrap());
    let output = cell.take_output();
    let ran = Watched { orders: cell.counters().orders, output };
    drop(cell);
    (told.iter().collect(), ran)
}

struct Watched {
    orders: u64,
    output: tradeflow_actors::output::CellOutput,
}

/// Each bar is seen at its close, whatever its length; at one time the shorter first, then in the order of the plan.
#[test]
fn bars_of_several_lengths_and_instruments_come_at_their_close_in_order() {
    let (setup, events) = four_series(20);
    let (seen, ran) = watch(&setup, &events, 0);
    assert_eq!(seen.len(), 2 * 20 + 2 * 4);
    assert!(seen.iter().all(|(now, bar, ..)| bar.ts_event == *now));
    assert!(seen.is_sorted_by_key(|(now, bar, ..)| (
        *now,
        bar.ts_event.as_nanos() - bar.ts_open.as_nanos(),
        bar.series
    )));
    let at_five: Vec<_> = seen
        .iter()
        .filter(|(now, ..)| *now == at("09:05"))
        .map(|(_, bar, ..)| (bar.series.0, bar.instrument.0))
        .collect();
    assert_eq!(at_five, [(0, 0), (1, 1), (2, 0), (3, 1)]);
    // An order sent on any of them is filled by a one-minute bar that opened no earlier.
    for fill in &ran.output.fills {
        let order = ran.output.orders.iter().find(|r| r.order.id == fill.order).unwrap();
        assert!(fill.ts_event >= order.order.ts_submitted);
        assert_eq!(fill.ts_event.as_nanos() % 60_000_000_000, 0);
    }
    assert!(ran.output.fills.len() > 20);
}

/// Three bars of each series: with the third of the slowest, the five-minute bar of 09:15, it may trade; before it
/// nothing leaves, whatever it wants.
#[test]
fn warm_up_never_trades() {
    let (setup, events) = four_series(20);
    let (seen, _) = watch(&setup, &events, 3);
    for (now, bar, trading, sent) in &seen {
        let warm = *now > at("09:15") || (*now == at("09:15") && bar.series.0 == 3);
        assert_eq!((*trading, *sent), (warm, warm), "{now} {bar:?}");
    }
}

/// Data before `from` warms up; the first bar that may be traded on opens at `from`.
#[test]
fn nothing_trades_before_the_run_begins() {
    let (mut setup, events) = four_series(20);
    setup.plan.from = at("09:10");
    for warm_up in [0, 1] {
        let (seen, ran) = watch(&setup, &events, warm_up);
        for (_, bar, trading, _) in &seen {
            assert_eq!(*trading, bar.ts_open >= at("09:10"));
        }
        assert!(ran.output.fills.iter().all(|fill| fill.ts_event > at("09:10")));
        assert!(ran.output.equity.ts_event.iter().all(|ts| *ts > at("09:10").as_nanos()));
        assert!(ran.orders > 0);
    }
}

fn signal(source: SignalSource, side: SignalSide, clock: &str) -> Signal {
    Signal {
        id: "alert-1".into(),
        source,
        strategy: Some(StrategyIndex(0)),
        strategy_id: "script".into(),
        strategy_version: "1".into(),
        strategy_name: "a script".into(),
        instrument: InstrumentId(0),
        side,
        size: None,
        price: None,
        limit_price: None,
        stop_loss: Some("98".parse().unwrap()),
        take_profit: Some("105".parse().unwrap()),
        expires: None,
        ts_event: at(clock),
    }
}

const MARKET: &str = "bar 10:00 100 101 99 100
                      bar 10:01 100 101 99 100
                      bar 10:02 100 101 97 100
                      bar 10:03 100 101 99 100";

/// The same decision from inside and from an alert: the same orders, but for their ids, which say which input they
/// came from.
#[test]
fn a_signal_from_outside_takes_the_same_way() {
    let setup = Setup::stock(&[bars_of("1m")]).margin(2);
    let inside = setup
        .run(vec![on("10:01", Act::Signal(SignalSide::Buy, Some(price("98")), Some(price("105"))))], MARKET);
    for source in [SignalSource::TradingView, SignalSource::Webhook, SignalSource::Manual] {
        let mut cell =
            setup.build(vec![(setup.strategy_plan("script", 0), Box::new(Scripted::new(Vec::new())))]);
        for event in setup.events(MARKET) {
            cell.on_event(&event).unwrap();
            if event.ts_event() == at("10:01") {
                cell.on_signal(at("10:01"), &signal(source, SignalSide::Buy, "10:01")).unwrap();
            }
        }
        cell.finish().unwrap();
        let output = cell.take_output();
        let plain = |output: &tradeflow_actors::output::CellOutput| {
            let orders: Vec<_> = output
                .orders
                .iter()
                .map(|r| {
                    (
                        r.order.kind,
                        r.order.side,
                        r.order.qty,
                        r.order.status,
                        r.order.ts_submitted,
                        r.ts_closed,
                    )
                })
                .collect();
            let fills: Vec<_> =
                output.fills.iter().map(|f| (f.ts_event, f.side, f.price, f.qty, f.fee)).collect();
            (orders, fills, output.trades.clone(), output.equity.clone())
        };
        assert_eq!(plain(&output), plain(&inside.output));
        assert_eq!(output.fills.len(), 2);
    }
}

/// Before the run begins, and after its expiry, a signal from outside does nothing.
#[test]
fn a_signal_out_of_its_time_is_idle() {
    let mut setup = Setup::stock(&[bars_of("1m")]).margin(2);
    setup.plan.from = at("10:02");
    let mut cell = setup.build(vec![(setup.strategy_plan("script", 0), Box::new(Scripted::new(Vec::new())))]);
    for event in setup.events(MARKET) {
        cell.on_event(&event).unwrap();
        if event.ts_event() == at("10:01") {
            cell.on_signal(at("10:01"), &signal(SignalSource::Manual, SignalSide::Buy, "10:01")).unwrap();
        }
        if event.ts_event() == at("10:03") {
            let mut late = signal(SignalSource::Manual, SignalSide::Buy, "10:01");
            late.expires = Some(at("10:02"));
            cell.on_signal(at("10:03"), &late).unwrap();
        }
    }
    let counters = cell.counters();
    assert_eq!((counters.signals, counters.signals_idle, counters.orders), (2, 2, 0));
}
