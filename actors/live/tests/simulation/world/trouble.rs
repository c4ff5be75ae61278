//! What goes wrong, and who looks after it.

use tradeflow_bus::{Bus, Topics};
use tradeflow_live::LiveError;

use super::{Finding, World};
use crate::disk::{FAULT, PARTITIONS};

impl World {
    /// What the weather brings.
    pub(super) fn trouble(&mut self) -> Result<(), Finding> {
        let machine = self.dice.below(2) as usize;
        let partition = self.dice.below(u64::from(PARTITIONS)) as u32;
        let weather = self.weather.clone();
        if self.dice.chance(weather.crash) {
            self.crash(machine);
            self.check_now()?;
        }
        if self.dice.chance(weather.power) {
            self.check_now()?;
            self.crash(0);
            self.crash(1);
            self.disk.lose_power();
            let bus = self.disk.bus();
            let topic = Topics::new("").commands;
            self.people.sent.retain(|sent| {
                bus.bounds(&topic, sent.partition).is_ok_and(|bounds| sent.offset < bounds.end)
            });
            self.note("the power fails");
            self.check_now()?;
        }
        if self.dice.chance(weather.moved) {
            self.move_away(partition);
        }
        // A session that is about to end is the worst moment.
        let ending =
            self.machines.iter().any(|machine| machine.node.as_ref().is_some_and(|node| node.ending));
        if self.dice.chance(if ending { weather.seized * 10 } else { weather.seized }) {
            let from = self.owner[partition as usize];
            self.note(format!("partition {partition} is taken from machine {from} without a word"));
            if let Some(running) = &mut self.machines[from].node {
                running.stale = true;
                if !running.ending {
                    running.leaving.remove(&partition);
                }
                if running.node.owns(partition) {
                    running.lost.insert(partition, self.dice.below(12));
                }
            }
            self.take_over(1 - from, partition)?;
        }
        if self.dice.chance(weather.cut)
            && let Some(running) = &mut self.machines[machine].node
        {
            running.stale = true;
            let process = running.process;
            let mut state = self.disk.state();
            let healed = state.cut.remove(&process) || !state.cut.insert(process);
            drop(state);
            self.note(format!("machine {machine} is {}", if healed { "back" } else { "cut off" }));
        }
        if self.dice.chance(weather.clock) {
            let reach = self.dice.weighted(&[(3, 2_000), (2, 60_000), (1, 7_200_000)]);
            let by = self.dice.between(-reach, reach) * 1_000_000;
            let slow = self.dice.between(-20_000, 20_000);
            let machine = &mut self.machines[machine];
            machine.error_ns = if self.dice.chance(300) { 0 } else { machine.error_ns + by };
            machine.drift = slow;
        }
        if self.dice.chance(weather.trim) {
            self.trim()?;
        }
        if self.dice.chance(weather.end) {
            self.end_session();
        }
        Ok(())
    }

    /// The group moves a partition, in good order.
    pub(super) fn move_away(&mut self, partition: u32) {
        let from = self.owner[partition as usize];
        let Some(running) = &mut self.machines[from].node else {
            self.owner[partition as usize] = 1 - from;
            return;
        };
        if running.ending || running.leaving.contains_key(&partition) || !running.node.owns(partition) {
            return;
        }
        let closing = running.node.let_go(partition, false);
        running.leaving.insert(partition, closing);
        self.note(format!("partition {partition} is to leave machine {from}"));
    }

    /// Someone stops the node that has everything, and with it the session.
    pub(super) fn end_session(&mut self) {
        let machine = self.owner[0];
        let Some(running) = &mut self.machines[machine].node else { return };
        let halted = running.node.cells().values().any(|cell| cell.halted().is_some());
        let all = (0..PARTITIONS).all(|p| self.owner[p as usize] == machine);
        if !all || halted || running.ending || !running.leaving.is_empty() || running.node.cells().len() < 4 {
            return;
        }
        if let Err(error) = running.node.begin_close() {
            self.note(format!("machine {machine} can't end the session: {error}"));
            return;
        }
        running.ending = true;
        for partition in 0..PARTITIONS {
            let closing = running.node.let_go(partition, true);
            running.leaving.insert(partition, closing);
        }
        self.note(format!("machine {machine} ends the session"));
        // The other goes with it: it runs what is ended now.
        self.crash(1 - machine);
    }

    /// Partitions that have left are given to the other machine; a session that has ended is closed.
    pub(super) fn let_go_on(&mut self) -> Result<(), Finding> {
        for machine in 0..2 {
            let Some(running) = &mut self.machines[machine].node else { continue };
            let mut left = Vec::new();
            for (partition, closing) in &mut running.leaving {
                let mut waits = false;
                let mut failed = None;
                closing.retain(|cell| match cell.done() {
                    None => {
                        waits = true;
                        true
                    }
                    Some(done) => {
                        failed = failed.take().or(done.err());
                        false
                    }
                });
                if let Some(error) = failed {
                    explained(&error, running.stale || running.node.failure().is_some())?;
                    left.push((*partition, false));
                } else if !waits {
                    left.push((*partition, true));
                }
            }
            if running.ending {
                self.end_on(machine, &left)?;
                continue;
            }
            for (partition, _) in left {
                running.leaving.remove(&partition);
                if self.owner[partition as usize] == machine {
                    self.owner[partition as usize] = 1 - machine;
                    self.take_over(1 - machine, partition)?;
                    break; // the other borrowed it all
                }
            }
        }
        Ok(())
    }

    pub(super) fn end_on(&mut self, machine: usize, left: &[(u32, bool)]) -> Result<(), Finding> {
        if left.iter().any(|(_, well)| !well) {
            self.crash(machine);
            return Ok(());
        }
        if left.len() < PARTITIONS as usize {
            return Ok(());
        }
        let Some(running) = &mut self.machines[machine].node else { return Ok(()) };
        let closed = running.node.close_session();
        self.note(format!("the session is closed: {closed:?}"));
        self.crash(machine);
        closed.or_else(|error| explained(&error, false))
    }

    /// A node whose bus failed ends; a halted cell waits for a person, who starts the node again. One that lost
    /// partitions is told so.
    pub(super) fn look_after_halted(&mut self) -> Result<(), Finding> {
        for machine in 0..2 {
            let Some(running) = &mut self.machines[machine].node else { continue };
            let (node, lost) = (&mut running.node, &mut running.lost);
            lost.retain(|partition, steps| {
                let told = *steps == 0;
                if told {
                    drop(node.let_go(*partition, false));
                }
                *steps = steps.saturating_sub(1);
                !told
            });
            if let Some(error) = running.node.failure() {
                explained(&error.into(), false)?;
                running.halted.get_or_insert(self.dice.below(4));
            }
            for cell in running.node.cells().values() {
                if let Some(why) = cell.halted() {
                    let known = why.contains(FAULT) || why.contains("fenced off");
                    if !known {
                        return Err(Finding(format!("{} is halted: {why}", cell.account())));
                    }
                    running.halted.get_or_insert(5);
                }
            }
            let due = running.halted.as_mut().is_some_and(|left| {
                *left = left.saturating_sub(1);
                *left == 0
            });
            if due {
                self.crash(machine);
            }
        }
        Ok(())
    }
}

/// Passes over errors that were made on purpose.
pub(super) fn explained(error: &LiveError, stale: bool) -> Result<(), Finding> {
    let text = error.to_string();
    // A cell that had ended before it was to be closed.
    let ended = stale && text.ends_with("it is halted");
    let made = ended || text.contains(FAULT) || text.contains("fenced off");
    // One that was away while others went on, and retention with them.
    let behind = stale && text.contains("is gone, the first that is kept is");
    // The other machine ended the session: this node is started again, into the next one.
    let closed = text.contains("was closed by another node");
    if made || behind || closed { Ok(()) } else { Err(Finding(text)) }
}
