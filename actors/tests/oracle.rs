//! The venue's fills against a plain re-simulation that looks at each order by itself, bar after bar.

mod kit;

use kit::*;
use proptest::prelude::*;
use tradeflow_actors::execution::OrderRequest;
use tradeflow_model::{MarketEvent, OrderKind, Price, Qty, Side};

/// An order as it stood from a time on: its kind, or gone.
#[derive(Debug, Clone)]
struct Told {
    side: Side,
    qty: i64,
    /// Kinds by the time from which they stand, in nanoseconds; `None` once cancelled.
    versions: Vec<(i64, Option<OrderKind>)>,
}

/// Time, price and quantity of the fill of one order, if it fills. With endless money and volume orders do not touch
/// each other, so each can be walked through all bars alone.
fn simulate(order: &Told, bars: &[tradeflow_model::Bar]) -> Option<(i64, i64)> {
    let buy = order.side == Side::Buy;
    for bar in bars {
        let (open, high, low) = (bar.open.raw(), bar.high.raw(), bar.low.raw());
        // The version that stood when the bar opened. (One made inside the bar is first looked at in the next.)
        let at_open = order.versions.iter().rev().find(|(from, _)| *from <= bar.ts_open.as_nanos());
        let last = order.versions.iter().rev().find(|(from, _)| *from < bar.ts_event.as_nanos());
        let Some((from, Some(kind))) = at_open else { continue };
        if last != at_open {
            continue; // changed inside the bar: it is out of the market until the next
        }
        let first = *from
            > bars.iter().rfind(|b| b.ts_event < bar.ts_event).map_or(i64::MIN, |b| b.ts_open.as_nanos());
        let (at_the_open, inside) = match *kind {
            OrderKind::Market => (true, None),
            OrderKind::Limit { price } => {
                let price = price.raw();
                let takes = if buy { price >= open } else { price <= open };
                let through = if buy { price > open } else { price < open };
                let inside = if buy { low < price } else { high > price };
                (if first { takes } else { through }, inside.then_some(price))
            }
            OrderKind::Stop { trigger } => {
                let trigger = trigger.raw();
                let opens_beyond = if buy { open >= trigger } else { open <= trigger };
                let inside = if buy { high >= trigger } else { low <= trigger };
                (opens_beyond, inside.then_some(trigger))
            }
            _ => unreachable!("only these are made"),
        };
        if at_the_open {
            return Some((bar.ts_open.as_nanos(), open));
        }
        if let Some(price) = inside {
            return Some((bar.ts_event.as_nanos(), price));
        }
    }
    None
}

/// A script, its orders one by one, the market, and the plan.
type Flow = (Vec<(When, Act)>, Vec<Told>, Vec<MarketEvent>, Setup);

fn flow(seed: u64, minutes: usize) -> Flow {
    let mut dice = Dice(seed);
    let setup = Setup::stock(&[bars_of("1m")]).cash(1_000_000_000).margin(100);
    let events = random::random_market(&setup, &mut dice, minutes);
    let mut acts = Vec::new();
    let mut told: Vec<Told> = Vec::new();
    for event in &events {
        let MarketEvent::Bar(bar) = event else { continue };
        let near = |dice: &mut Dice| Price::from_raw((bar.close.raw() + dice.between(-250, 250)).max(1));
        for _ in 0..dice.below(3) {
            let inside = dice.once_in(3);
            let now = bar.ts_event.saturating_add(if inside { 30_000_000_000 } else { 0 });
            let when = if inside { When::Timer(now) } else { When::Event(now) };
            let changes = !told.is_empty() && dice.once_in(3);
            if changes {
                let n = dice.below(told.len() as u64) as usize;
                // The last thing said of the order must have been said before.
                let (from, Some(kind)) = *told[n].versions.last().unwrap() else { continue };
                if from >= now.as_nanos() {
                    continue;
                }
                let next = match kind {
                    OrderKind::Limit { .. } if dice.once_in(2) => {
                        Some(OrderKind::Limit { price: near(&mut dice) })
                    }
                    OrderKind::Stop { .. } if dice.once_in(2) => {
                        Some(OrderKind::Stop { trigger: near(&mut dice) })
                    }
                    _ => None,
                };
                told[n].versions.push((now.as_nanos(), next));
                acts.push((
                    when,
                    match next {
                        Some(kind) => Act::Modify(n, told[n].qty, kind.limit_price(), kind.trigger()),
                        None => Act::Cancel(n),
                    },
                ));
                continue;
            }
            let side = if dice.once_in(2) { Side::Buy } else { Side::Sell };
            let qty = dice.between(1, 9);
            let kind = match dice.below(4) {
                0 => OrderKind::Market,
                1 | 2 => OrderKind::Limit { price: near(&mut dice) },
                _ => OrderKind::Stop { trigger: near(&mut dice) },
            };
            told.push(Told { side, qty, versions: vec![(now.as_nanos(), Some(kind))] });
            let request = OrderRequest { kind, ..OrderRequest::market(STOCK, side, Qty::from_raw(qty)) };
            acts.push((when, Act::Submit(request)));
        }
    }
    (acts, told, events, setup)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn fills_are_those_of_a_plain_simulation(seed in any::<u64>(), minutes in 2_usize..80) {
        let (acts, told, events, setup) = flow(seed, minutes);
        // Acts of one time must come in the order in which they were made, whether by timer or with the event, and an
        // act's order must have been sent: sort by time, which keeps that.
        let mut script = Scripted::new(Vec::new());
        let order_of = |when: &When| match when { When::Event(at) | When::Timer(at) => *at };
        let mut sorted: Vec<(usize, (When, Act))> = acts.into_iter().enumerate().collect();
        sorted.sort_by_key(|(index, (when, _))| (order_of(when), *index));
        let mut renumbered = Vec::new();
        let submits = |list: &[(usize, (When, Act))]| {
            list.iter().filter(|(_, (_, act))| matches!(act, Act::Submit(_))).map(|(index, _)| *index).collect::<Vec<_>>()
        };
        let by_time = submits(&sorted);
        let mut by_making = by_time.clone();
        by_making.sort_unstable();
        let place = |n: usize| by_time.iter().position(|index| *index == by_making[n]).unwrap();
        for (_, (when, act)) in &sorted {
            renumbered.push((*when, match *act {
                Act::Modify(n, qty, price, trigger) => Act::Modify(place(n), qty, price, trigger),
                Act::Cancel(n) => Act::Cancel(place(n)),
                act => act,
            }));
        }
        script.done = vec![false; renumbered.len()];
        script.acts = renumbered;
        let mut cell = setup.build(vec![(setup.strategy_plan("script", 0), Box::new(script))]);
        for event in &events {
            cell.on_event(event).map_err(|fault| TestCaseError::fail(fault.to_string()))?;
        }
        let bars: Vec<_> = events
            .iter()
            .filter_map(|event| match event { MarketEvent::Bar(bar) => Some(*bar), _ => None })
            .collect();
        let output = cell.take_output();
        let mut ours: Vec<_> = output.fills.iter()
            .map(|f| (f.ts_event.as_nanos(), f.price.raw(), f.side, f.qty.raw()))
            .collect();
        let mut theirs: Vec<_> = told.iter()
            .filter_map(|order| simulate(order, &bars).map(|(at, price)| (at, price, order.side, order.qty)))
            .collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        prop_assert_eq!(ours, theirs);
    }
}

/// The comparison above would hold of two lists that are empty: they are not.
#[test]
fn the_flows_fill_in_all_ways() {
    let mut kinds = [0_u32; 3];
    for seed in 0..20 {
        let (_, told, events, _) = flow(seed, 60);
        let bars: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                MarketEvent::Bar(bar) => Some(*bar),
                _ => None,
            })
            .collect();
        for order in told.iter().filter(|order| simulate(order, &bars).is_some()) {
            let (_, kind) = order.versions[0];
            kinds[match kind {
                Some(OrderKind::Market) => 0,
                Some(OrderKind::Limit { .. }) => 1,
                _ => 2,
            }] += 1;
        }
    }
    assert!(kinds.iter().all(|count| *count > 100), "{kinds:?}");
}
