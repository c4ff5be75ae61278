//! Brings a cell up: from snapshot and journal, or at the start of its session.

use tradeflow_actors::cell::{Answer, Command, Refusal};
use tradeflow_bus::{NewRecord, Position};
use tradeflow_model::Timestamp;

use super::Opened;
use crate::LiveError;
use crate::commands::CommandMessage;
use crate::host::{CellHost, Pending, Places, Snapshot, recover};
use crate::journal::{Source, records};
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
) -> Result<CellHost, LiveError> {
    let (sources, plan) = (&shared.sources, &opened.plan);
    let (topics, partitions) = (&sources.topics, sources.partitions);
    let account = plan.run.cells[cell].account.id.as_str();
    let last = Snapshot::latest(sources.bus.as_ref(), topics, partitions, account)?;
    if last.as_ref().is_some_and(|snapshot| snapshot.session == plan.id) {
        return recover(sources, plan, cell, writer);
    }
    let partition = plan.journal_partition(cell, partitions);
    let first_time = plan.accounts[cell].opened.filter(|_| last.is_none());
    let opened_account = first_time.filter(|account| account.at >= opened.record.started);
    let first_command = first_time.map_or(0, |account| account.commands_from);
    let from = last.as_ref().map_or(first_command, |snapshot| snapshot.places.commands);
    let commands = sources.bus.bounds(&topics.commands, partition)?;
    let mut places = Places {
        // Whoever opened the account may have told it something already.
        commands: opened_account
            .map_or(commands.end, |account| account.commands_from.clamp(commands.start, commands.end)),
        signals: sources.bus.bounds(&topics.signals, partition)?.end,
        ..Places::default()
    };
    let market = sources.bus.partitions(&topics.trades)?;
    for (topic, partition) in plan.feeds_of(cell, market) {
        let end = sources.bus.bounds(topic.topic(topics), partition)?.end;
        places.market.insert((topic, partition), end);
    }
    let end = |topic| sources.bus.bounds(topic, partition).map(|bounds| bounds.end);
    let mut host = match &last {
        Some(snapshot) => CellHost::at_snapshot(plan.clone(), cell, topics.clone(), partitions, snapshot)?,
        None => CellHost::new(plan.clone(), cell, topics.clone(), partitions, end(&topics.journal)?)?,
    };
    host.begin_at(places, (end(&topics.orders)?, end(&topics.fills)?));
    let now = shared.clock.now();
    let snapshot = host.snapshot()?;
    let mut first =
        vec![opening(shared, &snapshot, now), snapshot.record(topics, partitions, account.to_owned(), now)];
    if opened_account.is_none() {
        first.extend(refuse_missed(shared, &mut host, (partition, from), now)?);
    }
    let mut warm_ups = WarmUps::new(sources, plan);
    for strategy in &plan.accounts[cell].strategies {
        let history = warm_ups.past(&host.offered().market, strategy)?;
        host.offer(Pending::Command {
            now,
            source: None,
            id: format!("{}:start:{}", plan.id, strategy.id),
            command: Box::new(Command::Start(Box::new(strategy.clone()))),
            history,
        });
    }
    // With the opening, all or none: a node that dies in between would leave a session without strategies.
    let mut entry = None;
    if let Some(turn) = host.take() {
        let handled = host.handle(&turn)?;
        entry = Some(first.len());
        first.extend(host.entry());
        first.extend(handled.records);
    }
    let receipt = writer.lock().map_err(|_| LiveError::Other("a writer panicked".into()))?.append(first);
    let written = receipt.wait()?;
    if let Some((_, offset)) = entry.and_then(|entry| written.places.get(entry)) {
        host.written(*offset);
    }
    Ok(host)
}

/// The answers to commands that came while no session was open for the account: nobody took them, and it is too late.
fn refuse_missed(
    shared: &Shared,
    host: &mut CellHost,
    (partition, from): (u32, u64),
    now: Timestamp,
) -> Result<Vec<NewRecord>, LiveError> {
    let sources = &shared.sources;
    let topic = sources.topics.commands.clone();
    let mut replies = Vec::new();
    let answer = Answer::refused(Refusal::Unavailable, "no session was open when it was sent: send it again");
    let place = Position { topic, partition, offset: from };
    records(&sources.bus, place, |stored| {
        let message = CommandMessage::decode(stored.value.as_deref().unwrap_or_default());
        let Some(message) = message.ok().filter(|message| message.account == host.account()) else {
            return Ok(()); // another account's, or one that can't be read: no one knows whom to answer
        };
        let source = Source { partition, offset: stored.offset };
        replies.push(host.refuse(source, &message.id, &answer, now));
        Ok::<_, LiveError>(())
    })?;
    Ok(replies)
}
