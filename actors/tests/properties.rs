//! Random orders from random strategies against random markets: what must hold whatever happens.

mod kit;

use kit::random::{cell_of, random_run};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tradeflow_actors::cell::PaperCell;
use tradeflow_actors::output::CellOutput;
use tradeflow_model::market::SeriesKind;
use tradeflow_model::plan::Slippage;
use tradeflow_model::{AccountKind, InstrumentId, MarketEvent, Money, Order, OrderId, OrderStatus};

/// What must hold between two events.
fn check_between_events(setup: &kit::Setup, cell: &PaperCell) -> Result<(), TestCaseError> {
    let ours = cell.cell().account().ledger();
    let theirs = cell.venue().ledger();
    for index in 0..setup.plan.instruments.len() as u32 {
        let id = InstrumentId(index);
        ours.reconcile(theirs, id).map_err(|fault| TestCaseError::fail(fault.to_string()))?;
        prop_assert_eq!(ours.position(id), theirs.position(id));
    }
    prop_assert_eq!(ours.equity(), theirs.equity());
    if setup.plan.cells[0].account.kind == AccountKind::Cash {
        prop_assert!(ours.cash() >= Money::ZERO, "cash is {}", ours.cash());
        prop_assert!((0..2).all(|index| ours.position(InstrumentId(index)).qty.raw() >= 0));
    }
    // The orders of the cell are the orders of the venue, in all that reports tell.
    let told = |order: &Order| {
        let moved_by_venue = matches!(order.kind, tradeflow_model::OrderKind::TrailingStop { .. });
        let kind = (!moved_by_venue).then_some(order.kind);
        (order.id, order.status, order.qty, order.filled, order.filled_value, kind, order.cancel_requested)
    };
    let ours: Vec<_> = cell.cell().orders().iter().map(told).collect();
    let theirs: Vec<_> = cell.venue().orders().map(told).collect();
    prop_assert_eq!(ours, theirs);
    for order in cell.cell().orders().iter() {
        prop_assert!(order.filled.raw() >= 0 && order.filled < order.qty && !order.is_closed());
    }
    Ok(())
}

/// What must hold of everything that a run put out.
fn check_outputs(
    setup: &kit::Setup,
    events: &[MarketEvent],
    cell: &PaperCell,
    output: &CellOutput,
) -> Result<(), TestCaseError> {
    let orders: BTreeMap<OrderId, &Order> =
        output.orders.iter().map(|record| (record.order.id, &record.order)).collect();
    prop_assert_eq!(orders.len(), output.orders.len(), "each order ends once");
    prop_assert_eq!(orders.len() as u64, cell.counters().orders);
    let slips = setup.plan.cells[0].venue.slippage != Slippage::None;
    let mut held: BTreeMap<InstrumentId, i64> = BTreeMap::new();
    let mut filled: BTreeMap<OrderId, i64> = BTreeMap::new();
    let mut exited: BTreeMap<OrderId, i64> = BTreeMap::new();
    for fill in &output.fills {
        let order = orders[&fill.order];
        prop_assert!(fill.qty.raw() > 0 && fill.side == order.side);
        prop_assert!(fill.ts_event >= order.ts_submitted, "{fill:?} of {order:?}");
        prop_assert!(fill.ts_init >= fill.ts_event);
        let position = held.entry(fill.instrument).or_default();
        let before = *position;
        *position += fill.side.sign() * fill.qty.raw();
        if order.reduce_only {
            prop_assert!(before.signum() == -fill.side.sign() && before.abs() >= fill.qty.raw());
        }
        *filled.entry(fill.order).or_default() += fill.qty.raw();
        if let Some(entry) = order.parent {
            let exits = exited.entry(entry).or_default();
            *exits += fill.qty.raw();
            prop_assert!(*exits <= filled.get(&entry).copied().unwrap_or(0), "exits beyond the entry");
        }
        // The limit at the end is that of the last fill; one before it may have kept to an earlier limit.
        if let Some(limit) = order.kind.limit_price().filter(|_| fill.qty == order.qty) {
            prop_assert!(fill.side.sign() * (fill.price.raw() - limit.raw()) <= 0, "{fill:?} of {order:?}");
        }
        let by_bars = setup.plan.series.iter().all(|series| {
            series.instrument != fill.instrument
                || !matches!(series.kind, SeriesKind::Quotes | SeriesKind::Trades)
        });
        if by_bars && !slips {
            let inside = events.iter().any(|event| match event {
                MarketEvent::Bar(bar) if bar.instrument == fill.instrument => {
                    (bar.ts_open == fill.ts_event && bar.open == fill.price)
                        || (bar.ts_event == fill.ts_event && bar.low <= fill.price && fill.price <= bar.high)
                }
                _ => false,
            });
            prop_assert!(inside, "{fill:?} is in no bar");
        }
    }
    for (id, order) in &orders {
        prop_assert_eq!(order.filled.raw(), filled.get(id).copied().unwrap_or(0));
        prop_assert_eq!(
            order.status == OrderStatus::Filled,
            order.leaves().is_zero() && !order.qty.is_zero()
        );
    }
    // What the trades made, and what the open ones are worth more or less than they cost, is all that changed equity.
    let ledger = cell.cell().account().ledger();
    let mut made = 0_i128;
    for trip in &output.trades {
        let definition = &setup.plan.instruments[trip.instrument.index()];
        let factor = definition.notional_factor().unwrap();
        let open = trip.side.sign() * (trip.entry_qty.raw() - trip.exit_qty.raw());
        let mark = ledger.position(trip.instrument).mark;
        made += trip.profit(definition).unwrap().raw() + i128::from(open) * i128::from(mark.raw()) * factor;
        prop_assert_eq!(trip.exit_time.is_none(), open != 0);
    }
    prop_assert_eq!(ledger.equity().raw() - ledger.start().raw(), made);
    let fees: i128 = output.trades.iter().map(|trip| trip.fees.raw()).sum();
    prop_assert_eq!(ledger.fees().raw(), fees);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_trading_breaks_nothing(seed in any::<u64>(), minutes in 1_usize..150, margin in any::<bool>()) {
        let (setup, events, traders) = random_run(seed, minutes, margin);
        let mut cell = cell_of(&setup, &traders);
        for event in &events {
            cell.on_event(event).map_err(|fault| TestCaseError::fail(fault.to_string()))?;
            check_between_events(&setup, &cell)?;
        }
        cell.finish().unwrap();
        let output = cell.take_output();
        check_outputs(&setup, &events, &cell, &output)?;
    }
}

/// The properties above would hold of a trader that does nothing: it does a lot.
#[test]
fn random_traders_trade() {
    let mut totals = tradeflow_actors::output::Counters::default();
    for seed in 0..50 {
        let (setup, events, traders) = random_run(seed, 100, seed % 2 == 0);
        let mut cell = cell_of(&setup, &traders);
        events.iter().for_each(|event| cell.on_event(event).unwrap());
        let counters = cell.counters();
        totals.orders += counters.orders;
        totals.fills += counters.fills;
        totals.trades += counters.trades;
        totals.rejected += counters.rejected;
        totals.changes_refused += counters.changes_refused;
    }
    assert!(totals.orders > 5_000 && totals.fills > 1_000 && totals.trades > 300, "{totals:?}");
    assert!(totals.rejected > 50 && totals.changes_refused > 50, "{totals:?}");
}
