//! What must hold all the time, and what retention takes in between.

use std::collections::BTreeMap;
use std::fmt::Write;

use tradeflow_live::commands::{CommandMessage, WireCommand};
use tradeflow_live::host::Snapshot;
use tradeflow_live::journal::{Input, JournalReader};
use tradeflow_live::{CellHost, HistoryRef, MarketTopic};

use super::{Finding, World};
use crate::check;
use crate::disk::PARTITIONS;

impl World {
    /// What must hold at any moment.
    pub(super) fn watch(&mut self) -> Result<(), Finding> {
        for machine in &self.machines {
            let Some(running) = &machine.node else { continue };
            for cell in running.node.cells().values() {
                let (told, written) = (cell.fills(), self.disk.fills(running.process, cell.account()));
                if told > written {
                    return Err(Finding(format!(
                        "I4: {} tells of {told} fills, {written} were known to follow from its journal",
                        cell.account()
                    )));
                }
                let waits = cell.view().pending;
                if waits > CellHost::PENDING_ROWS_MAX + CellHost::ENTRY_ROWS_MAX {
                    return Err(Finding(format!("I6: {waits} rows wait for {}", cell.account())));
                }
            }
        }
        match self.disk.state().violations.first() {
            Some(first) => Err(Finding(first.clone())),
            None => Ok(()),
        }
    }

    /// Now and then the whole bus is checked as it is.
    pub(super) fn check_now(&mut self) -> Result<(), Finding> {
        if !self.dice.chance(200) {
            return Ok(());
        }
        let sources = self.checker();
        check::sessions(&sources)?;
        check::outputs(&sources, &self.plan)
    }

    /// Retention takes market data that no cell needs any more to be rebuilt.
    pub(super) fn trim(&mut self) -> Result<(), Finding> {
        if self.disk.is_busy() {
            return Ok(());
        }
        let sources = self.checker();
        let bus = sources.bus.as_ref();
        let mut floor: BTreeMap<(MarketTopic, u32), u64> = BTreeMap::new();
        let mut keep = |topic: MarketTopic, partition: u32, from: u64| {
            let floor = floor.entry((topic, partition)).or_insert(u64::MAX);
            *floor = (*floor).min(from);
        };
        for plan in &self.plan.run.cells {
            let account = plan.account.id.as_str();
            let Some(snapshot) = Snapshot::latest(bus, &sources.topics, PARTITIONS, account)? else {
                return Ok(());
            };
            for ((topic, partition), next) in &snapshot.places.market {
                keep(*topic, *partition, *next);
            }
            let place = sources.place(&sources.topics.journal, account, snapshot.journal_next);
            let mut told = snapshot.places.commands;
            let mut journal = JournalReader::new(&sources.bus, &place, account)?;
            while let Some((_, entry)) = journal.read()? {
                for input in &entry.inputs {
                    let Input::Command { history, source, .. } = input else { continue };
                    told = source.map_or(told, |source| told.max(source.offset + 1));
                    for reference in history {
                        if let HistoryRef::Bus { topic, partition, first, .. } = reference {
                            keep(*topic, *partition, *first);
                        }
                    }
                }
            }
            // A strategy that is about to start may have read its past from here, and not be in the journal yet.
            let place = sources.place(&sources.topics.commands, account, told);
            let mut commands = bus.scan(&place)?;
            loop {
                let records = commands.next(100)?;
                if records.is_empty() {
                    break;
                }
                let read =
                    records.iter().filter_map(|stored| CommandMessage::decode(stored.value.as_deref()?).ok());
                let starts = |message: &CommandMessage| matches!(message.command, WireCommand::Start(_));
                if read.into_iter().any(|message| message.account == account && starts(&message)) {
                    return Ok(());
                }
            }
        }
        let mut said = String::from("retention:");
        for ((topic, partition), before) in floor {
            let topic = topic.topic(&sources.topics).clone();
            // Nor what a reader is about to read: retention is days, a reader that works is moments behind.
            let key = (topic.clone(), partition);
            let running = self.machines.iter().filter_map(|machine| machine.node.as_ref());
            let behind = running.filter_map(|running| running.node.reads().get(&key).copied()).min();
            let before = behind.map_or(before, |next| before.min(next));
            let _ = write!(said, " {topic}/{partition} before {before}");
            self.disk.trim(&topic, partition, before);
        }
        self.note(said);
        Ok(())
    }
}
