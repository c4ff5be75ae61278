//! What happens to a cell from outside while it runs: commands, failing strategies, late data.

mod kit;

use kit::*;
use tradeflow_actors::actor::Fault;
use tradeflow_actors::cell::{Answer, Command, Refusal};
use tradeflow_actors::output::Notice;
use tradeflow_actors::strategy::{Context, Strategy};
use tradeflow_model::market::SeriesKind;
use tradeflow_model::plan::Containment;
use tradeflow_model::{Side, Trade};

/// Buys with the first trade, and panics with the third.
struct Fragile(u32);

impl Strategy for Fragile {
    fn on_trade(&mut self, context: &mut Context<'_>, _: &Trade) {
        self.0 += 1;
        match self.0 {
            1 => drop(context.submit(limit(Side::Buy, 5, "90.00"))),
            3 => panic!("the third trade is too much"),
            _ => {}
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        Ok(self.0.to_le_bytes().to_vec())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let bytes = snapshot.try_into().map_err(|_| Fault::new("four bytes"))?;
        self.0 = u32::from_le_bytes(bytes);
        Ok(())
    }
}

const TRADES: &str = "
    trade 10:00:01 100.00 50
    trade 10:00:02 100.00 50
    trade 10:00:03 100.00 50
    trade 10:00:04 100.00 50
    trade 10:00:05 100.00 50";

fn answer(cell: &mut tradeflow_actors::cell::PaperCell, clock: &str, command: &Command) -> Answer {
    cell.on_command(at(clock), command).unwrap()
}

#[test]
fn a_strategy_that_panics_is_stopped_and_the_others_go_on() {
    let mut setup = Setup::stock(&[SeriesKind::Trades]);
    setup.cell().containment = Some(Containment::default());
    let run = || {
        let steady = Scripted::new(vec![(When::Event(at("10:00:04")), Act::Submit(market(Side::Buy, 2)))]);
        let mut cell = setup.build(vec![
            (setup.strategy_plan("fragile", 0), Box::new(Fragile(0))),
            (setup.strategy_plan("steady", 0), Box::new(steady)),
        ]);
        for event in setup.events(TRADES) {
            cell.on_event(&event).unwrap();
        }
        cell
    };
    let mut cell = run();
    let output = cell.take_output();
    let [Notice::StrategyFailed { id, why, failures, quarantined, ts_event }] = &output.notices[..] else {
        panic!("{:?}", output.notices)
    };
    assert_eq!((id.as_str(), *failures, *quarantined, *ts_event), ("fragile", 1, true, at("10:00:03")));
    assert_eq!(why, "the third trade is too much");
    // Its resting order was cancelled; the other strategy's filled.
    assert_eq!(cell.cell().orders().len(), 0);
    assert_eq!(output.fills.len(), 1);
    let running: Vec<bool> = cell.cell().strategies().map(|(_, running, _)| running).collect();
    assert_eq!(running, [false, true]);
    // A replay contains it in the same way.
    assert_eq!(run().cell().output_digest(), cell.cell().output_digest());
}

#[test]
fn without_containment_a_panic_ends_the_run() {
    let setup = Setup::stock(&[SeriesKind::Trades]);
    let mut cell = setup.build(vec![(setup.strategy_plan("fragile", 0), Box::new(Fragile(0)))]);
    let events = setup.events(TRADES);
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        events.iter().for_each(|event| cell.on_event(event).unwrap());
    }));
    assert!(run.is_err());
}

#[test]
fn flattening_closes_what_each_strategy_holds_also_against_each_other() {
    let setup = Setup::stock(&[SeriesKind::Trades]).margin(10);
    let first = When::Event(at("10:00:01"));
    let long = Scripted::new(vec![(first, Act::Submit(market(Side::Buy, 5)))]);
    let short = Scripted::new(vec![(first, Act::Submit(market(Side::Sell, 3)))]);
    let mut cell = setup.build(vec![
        (setup.strategy_plan("long", 0), Box::new(long)),
        (setup.strategy_plan("short", 0), Box::new(short)),
    ]);
    let events = setup.events(TRADES);
    events[..3].iter().for_each(|event| cell.on_event(event).unwrap());
    assert_eq!(cell.cell().account().open_trips().count(), 2);
    let Answer::Done { orders } = answer(&mut cell, "10:00:03", &Command::Kill) else { panic!("refused") };
    assert_eq!(orders.len(), 2);
    // Pulled twice: what is on its way is neither doubled nor cancelled.
    assert_eq!(answer(&mut cell, "10:00:03", &Command::Kill), Answer::Done { orders });
    events[3..].iter().for_each(|event| cell.on_event(event).unwrap());
    assert_eq!(cell.cell().account().open_trips().count(), 0);
    // Nothing opens until someone resumes.
    let buy = Command::Submit(market(Side::Buy, 1));
    let Answer::Refused { code, why } = answer(&mut cell, "10:00:06", &buy) else { panic!("it was done") };
    assert_eq!((code, why.contains("kill switch")), (Refusal::Denied, true));
    assert!(matches!(answer(&mut cell, "10:00:06", &Command::Resume), Answer::Done { .. }));
    assert!(matches!(answer(&mut cell, "10:00:06", &buy), Answer::Done { .. }));
}

#[test]
fn a_late_event_is_seen_and_fills_nothing_that_was_ordered_after_it() {
    let setup = Setup::stock(&[SeriesKind::Trades]);
    let buy = Scripted::new(vec![(When::Event(at("10:00:02")), Act::Submit(market(Side::Buy, 2)))]);
    let mut cell = setup.build(vec![(setup.strategy_plan("buy", 0), Box::new(buy))]);
    for event in setup.events("trade 10:00:02 100.00 50\n trade 10:00:01 95.00 50\n trade 10:00:03 101.00 50")
    {
        cell.on_event(&event).unwrap();
    }
    let fills = cell.take_output().fills;
    assert_eq!(fills.len(), 1);
    assert_eq!((fills[0].price, fills[0].ts_event), (price("101.00"), at("10:00:03")));
    assert_eq!(cell.counters().ticks, 3);
}
