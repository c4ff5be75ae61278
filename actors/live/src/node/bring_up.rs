//! Brings a cell up: from snapshot and journal, or at the start of its session.

use tradeflow_bus::NewRecord;

use super::Opened;
use crate::LiveError;
use crate::host::{CellHost, Pending, Places, Snapshot, recover};
use crate::shell::{Shared, Writer, opening};
use crate::warm_up::WarmUps;

/// A cell as it stood, or at the start of the session.
///
/// # Errors
/// Those of the bus, and a state that can't be gone on from.
pub(super) fn bring_up(
    shared: &Shared,
    opened: &Opened,
    cell: usize,
    writer: &Writer,
) -> Result<(CellHost, Vec<NewRecord>), LiveError> {
    let (sources, plan) = (&shared.sources, &opened.plan);
    let (topics, partitions) = (&sources.topics, sources.partitions);
    let account = plan.run.cells[cell].account.id.as_str();
    let last = Snapshot::latest(sources.bus.as_ref(), topics, partitions, account)?;
    if last.as_ref().is_some_and(|snapshot| snapshot.session == plan.id) {
        return recover(sources, plan, cell);
    }
    let partition = plan.journal_partition(cell, partitions);
    let mut places = Places {
        commands: sources.bus.bounds(&topics.commands, partition)?.end,
        signals: sources.bus.bounds(&topics.signals, partition)?.end,
        ..Places::default()
    };
    let market = sources.bus.partitions(&topics.trades)?;
    for (topic, partition) in plan.feeds_of(cell, market) {
        let end = sources.bus.bounds(topic.topic(topics), partition)?.end;
        places.market.insert((topic, partition), end);
    }
    let mut host = match &last {
        Some(snapshot) => {
            let mut host = CellHost::at_snapshot(plan.clone(), cell, topics.clone(), partitions, snapshot)?;
            host.begin_at(places);
            host
        }
        None => {
            let next = sources.bus.bounds(&topics.journal, partition)?.end;
            CellHost::new(plan.clone(), cell, topics.clone(), partitions, places, next)?
        }
    };
    let now = shared.clock.now();
    let snapshot = host.snapshot()?;
    let records =
        vec![opening(shared, &snapshot, now), snapshot.record(topics, partitions, account.to_owned(), now)];
    let receipt = writer.lock().map_err(|_| LiveError::Other("a writer panicked".into()))?.append(records);
    receipt.wait()?;
    let mut warm_ups = WarmUps::new(sources, plan);
    for strategy in &plan.accounts[cell].strategies {
        let history = warm_ups.past(&host, strategy)?;
        host.offer(Pending::Command {
            now,
            source: None,
            id: format!("{}:start:{}", plan.id, strategy.id),
            command: Box::new(tradeflow_actors::cell::Command::Start(Box::new(strategy.clone()))),
            history,
        });
    }
    Ok((host, Vec::new()))
}
