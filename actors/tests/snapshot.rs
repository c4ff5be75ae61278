//! A run that is broken off and restored, or cut into batches of any size, is the same run; damaged snapshots are refused.

mod kit;

use kit::Dice;
use kit::random::{cell_of, random_run};
use proptest::prelude::*;
use std::sync::Arc;
use tradeflow_actors::Actor;
use tradeflow_actors::cell::PaperCell;
use tradeflow_actors::output::CellOutput;
use tradeflow_model::market::{Columns, Run, SeriesColumns};
use tradeflow_model::{BarColumns, Digest, MarketBatch, MarketEvent};

fn add(all: &mut CellOutput, part: CellOutput) {
    all.orders.extend(part.orders);
    all.fills.extend(part.fills);
    all.trades.extend(part.trades);
    all.positions.extend(part.positions);
    all.equity.ts_event.extend(part.equity.ts_event);
    all.equity.cash.extend(part.equity.cash);
    all.equity.equity.extend(part.equity.equity);
}

fn whole(seed: u64, margin: bool) -> (Digest, CellOutput) {
    let (setup, events, traders) = random_run(seed, 100, margin);
    let mut cell = cell_of(&setup, &traders);
    events.iter().for_each(|event| cell.on_event(event).unwrap());
    cell.finish().unwrap();
    (cell.cell().output_digest(), cell.take_output())
}

/// A batch of some events, as a driver makes it: one part a series, runs in order.
fn batch_of(events: &[MarketEvent], number: u64) -> MarketBatch {
    let mut batch = MarketBatch { number, ..MarketBatch::default() };
    for event in events {
        let series = event.series();
        let part = batch.parts.iter().position(|part| part.series == series).unwrap_or_else(|| {
            let columns = match event {
                MarketEvent::Bar(_) => Columns::Bars(BarColumns::default()),
                MarketEvent::Trade(_) => Columns::Trades(Default::default()),
                MarketEvent::Quote(_) => Columns::Quotes(Default::default()),
                MarketEvent::Action(_) => Columns::Actions(Vec::new()),
                MarketEvent::Session(_) => Columns::Sessions(Vec::new()),
            };
            let columns = Arc::new(columns);
            batch.parts.push(SeriesColumns { series, instrument: event.instrument(), columns });
            batch.parts.len() - 1
        });
        let columns = Arc::get_mut(&mut batch.parts[part].columns).unwrap();
        let row = columns.len() as u32;
        match (columns, event) {
            (Columns::Bars(columns), MarketEvent::Bar(bar)) => columns.push(bar),
            (Columns::Trades(columns), MarketEvent::Trade(trade)) => columns.push(trade),
            (Columns::Quotes(columns), MarketEvent::Quote(quote)) => columns.push(quote),
            (Columns::Actions(rows), MarketEvent::Action(action)) => rows.push(*action),
            (Columns::Sessions(rows), MarketEvent::Session(session)) => rows.push(*session),
            _ => unreachable!("a series holds one kind"),
        }
        let part = part as u32;
        match batch.runs.last_mut() {
            Some(run) if run.part == part && run.end == row => run.end += 1,
            _ => batch.runs.push(Run { part, start: row, end: row + 1 }),
        }
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_run_goes_on_as_if_nothing_had_happened(
        seed in any::<u64>(), margin in any::<bool>(), at in any::<prop::sample::Index>(),
    ) {
        let (setup, events, traders) = random_run(seed, 100, margin);
        let mut output = CellOutput::default();
        let mut first = cell_of(&setup, &traders);
        let (before, after) = events.split_at(at.index(events.len()));
        before.iter().for_each(|event| first.on_event(event).unwrap());
        add(&mut output, first.take_output());
        let snapshot = first.snapshot().unwrap();
        drop(first);
        let mut second = cell_of(&setup, &traders);
        second.restore(&snapshot).unwrap();
        prop_assert_eq!(&second.snapshot().unwrap(), &snapshot);
        after.iter().for_each(|event| second.on_event(event).unwrap());
        second.finish().unwrap();
        add(&mut output, second.take_output());
        prop_assert_eq!((second.cell().output_digest(), output), whole(seed, margin));
    }

    #[test]
    fn the_size_of_batches_does_not_matter(seed in any::<u64>(), cuts in any::<u64>()) {
        let (setup, events, traders) = random_run(seed, 100, true);
        let mut cell = cell_of(&setup, &traders);
        let mut dice = Dice(cuts);
        let mut rest = &events[..];
        let mut output = CellOutput::default();
        let mut number = 0;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(rest.len().min(1 + dice.below(70) as usize));
            cell.on_batch(&batch_of(batch, number)).unwrap();
            add(&mut output, cell.take_output());
            (rest, number) = (after, number + 1);
        }
        cell.finish().unwrap();
        add(&mut output, cell.take_output());
        prop_assert_eq!((cell.cell().output_digest(), output), whole(seed, true));
    }

    #[test]
    fn a_damaged_snapshot_is_refused_and_changes_nothing(
        seed in any::<u64>(), at in any::<prop::sample::Index>(), by in 1_u8..=255, cut in any::<bool>(),
    ) {
        let (mut cell, snapshot) = half_run(seed);
        let before = cell.snapshot().unwrap();
        let mut bad = snapshot;
        let at = at.index(bad.len());
        if cut { bad.truncate(at) } else { bad[at] ^= by }
        prop_assert!(cell.restore(&bad).is_err());
        prop_assert_eq!(cell.snapshot().unwrap(), before);
    }

    #[test]
    fn any_bytes_at_all_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (mut cell, _) = half_run(1);
        let before = cell.snapshot().unwrap();
        prop_assert!(cell.restore(&bytes).is_err());
        prop_assert_eq!(cell.snapshot().unwrap(), before);
    }
}

/// A fresh cell, and the snapshot of one like it in the middle of a run.
fn half_run(seed: u64) -> (PaperCell, Vec<u8>) {
    let (setup, events, traders) = random_run(seed, 40, true);
    let mut cell = cell_of(&setup, &traders);
    events.iter().for_each(|event| cell.on_event(event).unwrap());
    (cell_of(&setup, &traders), cell.snapshot().unwrap())
}

/// A length of 2⁶³ where a list begins must not make anyone ask for so much memory.
#[test]
fn absurd_lengths_are_refused() {
    let (mut cell, snapshot) = half_run(7);
    let absurd = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    for at in 0..snapshot.len().min(400) {
        let mut bad = snapshot.clone();
        bad.splice(at..at, absurd);
        assert!(cell.restore(&bad).is_err(), "at byte {at}");
    }
}

/// A snapshot of a cell that was built otherwise is none of this one.
#[test]
fn a_snapshot_belongs_to_its_plan() {
    let (setup, _, traders) = random_run(3, 1, true);
    let snapshot = cell_of(&setup, &traders).snapshot().unwrap();
    let mut other = setup.clone();
    other.cell().account.balance = 1.into();
    assert!(cell_of(&other, &traders).restore(&snapshot).is_err());
    assert!(cell_of(&setup, &traders).restore(&snapshot).is_ok());
}

#[test]
fn two_runs_are_equal() {
    assert_eq!(whole(11, true), whole(11, true));
    assert_ne!(whole(11, true).0, whole(12, true).0);
}

/// Snapshots of the cell alone, and of the venue alone, are sealed as well.
#[test]
fn the_parts_refuse_each_others_snapshots() {
    let (mut cell, snapshot) = half_run(5);
    cell.restore(&snapshot).unwrap();
    let (ours, theirs) = (cell.cell().snapshot().unwrap(), cell.venue().snapshot().unwrap());
    let mut venue = cell.venue().clone();
    assert!(venue.restore(&ours).is_err());
    assert!(venue.restore(&theirs).is_ok());
    assert_eq!(venue.digest().unwrap(), cell.venue().digest().unwrap());
}
