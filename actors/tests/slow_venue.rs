//! The cell alone, on a venue that answers late, as a broker does: reports come several events after what they answer.

mod kit;

use kit::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use tradeflow_actors::Outbox;
use tradeflow_actors::cell::Cell;
use tradeflow_actors::execution::VenueCommand;
use tradeflow_actors::strategy::StrategyActor;
use tradeflow_model::order::{EndReason, Liquidity};
use tradeflow_model::{
    Fill, MarketEvent, Money, Order, OrderEvent, OrderEventKind, OrderId, SignalSide, StrategyIndex,
    Timestamp,
};

/// Fills what it is sent at 100 after a while, unless a cancel comes first. It works on what it was told, and its words
/// take as long to come back.
struct SlowVenue {
    delay: usize,
    /// Commands on their way, with the step at which they arrive.
    inbox: VecDeque<(usize, VenueCommand)>,
    working: BTreeMap<OrderId, (usize, Order)>,
    /// Reports on their way.
    outbox: VecDeque<(usize, OrderEvent)>,
}

impl SlowVenue {
    fn say(&mut self, step: usize, now: Timestamp, order: OrderId, kind: OrderEventKind) {
        let event = OrderEvent { order, ts_event: now, ts_init: now, kind };
        self.outbox.push_back((step + self.delay, event));
    }

    fn step(&mut self, step: usize, now: Timestamp, patience: usize) {
        while let Some((_, command)) = self.inbox.pop_front_if(|(due, _)| *due <= step) {
            match command {
                VenueCommand::Submit(order) => {
                    self.say(step, now, order.id, OrderEventKind::Accepted);
                    self.working.insert(order.id, (step, order));
                }
                VenueCommand::Cancel(id) => {
                    if self.working.remove(&id).is_some() {
                        self.say(step, now, id, OrderEventKind::Cancelled(EndReason::Requested));
                    }
                }
                VenueCommand::Modify { .. } => unreachable!("the script changes nothing"),
            }
        }
        let ready: Vec<OrderId> = self
            .working
            .iter()
            .filter(|(_, (since, _))| step >= since + patience)
            .map(|(id, _)| *id)
            .collect();
        for id in ready {
            let (_, order) = self.working.remove(&id).unwrap();
            let fill = Fill {
                side: order.side,
                price: price("100"),
                qty: order.qty,
                fee: Money::from_units(1),
                liquidity: Liquidity::Taker,
            };
            self.say(step, now, id, OrderEventKind::Filled(fill));
        }
    }
}

/// Runs signals through a cell on a slow venue; the position after each report, and the cell.
fn run(signals: &[(usize, SignalSide)], delay: usize, patience: usize) -> (Vec<i64>, Cell, usize) {
    let setup = Setup::stock(&[bars_of("1m")]).margin(10);
    let tables = setup.tables();
    let minute = |step: usize| at("00:00").saturating_add(step as i64 * 60_000_000_000);
    let script = signals
        .iter()
        .map(|(step, side)| (When::Event(minute(step + 1)), Act::Signal(*side, None, None)))
        .collect();
    let plan = setup.strategy_plan("script", 0);
    let series = [(plan.series[0], STOCK)];
    let actor =
        StrategyActor::around(StrategyIndex(0), &plan, Box::new(Scripted::new(script)), &series, tables.from);
    let mut cell = Cell::with_strategies(&setup.plan.cells[0], &tables, vec![actor]).unwrap();
    let mut venue =
        SlowVenue { delay, inbox: VecDeque::new(), working: BTreeMap::new(), outbox: VecDeque::new() };
    let mut commands = Outbox::default();
    let mut positions = Vec::new();
    let mut working_max = 0;
    let events = setup.events("bar 00:00 100 100 100 100");
    let MarketEvent::Bar(mut bar) = events[0] else { unreachable!() };
    for step in 0..400 {
        (bar.ts_open, bar.ts_event, bar.ts_init) = (minute(step), minute(step + 1), minute(step + 1));
        let now = bar.ts_event;
        cell.on_market(now, &MarketEvent::Bar(bar), &mut commands).unwrap();
        venue.step(step, now, patience);
        while let Some((_, report)) = venue.outbox.pop_front_if(|(due, _)| *due <= step) {
            cell.on_report(now, &report, &mut commands).unwrap();
            positions.push(cell.account().ledger().position(STOCK).qty.raw());
        }
        while let Some(command) = commands.pop() {
            venue.inbox.push_back((step + delay, command));
        }
        working_max = working_max.max(cell.orders().len());
    }
    (positions, cell, working_max)
}

/// Buy, and at once the opposite, while the buy is still on its way: the desk has it cancelled, waits for the word, and
/// only then sells from wherever it is. Never are two orders out, and never more than ten held.
#[test]
fn an_opposite_signal_waits_for_the_order_before_it() {
    let (positions, cell, working_max) = run(&[(5, SignalSide::Buy), (6, SignalSide::Sell)], 3, 50);
    assert_eq!(working_max, 1);
    assert_eq!(positions.iter().min(), Some(&-10));
    assert_eq!(positions.iter().max(), Some(&0));
    assert_eq!(cell.counters().fills, 1, "the buy was cancelled in time");
}

/// The fill wins the race against the cancel: then the sell is for twenty, from 10 to −10.
#[test]
fn a_fill_that_wins_the_race_is_counted() {
    let (positions, cell, working_max) = run(&[(5, SignalSide::Buy), (8, SignalSide::Sell)], 3, 1);
    assert_eq!(working_max, 1);
    assert_eq!(positions.iter().max(), Some(&10));
    assert_eq!(positions.last(), Some(&-10));
    assert_eq!(cell.counters().fills, 2);
}

proptest! {
    /// However signals, delays and races fall: no over-trading, the books balance, and the last word counts.
    #[test]
    fn the_last_signal_counts_and_nothing_is_overdone(
        steps in prop::collection::vec((0_usize..200, 0_u8..3), 1..40), delay in 0_usize..6, patience in 0_usize..6,
    ) {
        let mut signals: Vec<(usize, SignalSide)> = steps
            .into_iter()
            .map(|(step, side)| {
                (step, [SignalSide::Buy, SignalSide::Sell, SignalSide::Close][usize::from(side)])
            })
            .collect();
        signals.sort_by_key(|(step, _)| *step);
        let (positions, cell, working_max) = run(&signals, delay, patience);
        prop_assert!(working_max <= 1);
        prop_assert!(positions.iter().all(|held| held.abs() <= 10), "{positions:?}");
        let wanted = match signals.last().unwrap().1 {
            SignalSide::Buy => 10,
            SignalSide::Sell => -10,
            SignalSide::Close => 0,
        };
        let ledger = cell.account().ledger();
        prop_assert_eq!(ledger.position(STOCK).qty.raw(), wanted);
        prop_assert!(cell.orders().is_empty());
        // All trades at 100 for a fee of 1: equity is what is left of 10,000.
        let fees = Money::from_units(cell.counters().fills as i64);
        prop_assert_eq!(ledger.equity(), Money::from_units(10_000).checked_sub(fees).unwrap());
    }
}
