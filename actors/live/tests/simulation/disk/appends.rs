//! Appends of the one writer of a partition, and what the weather makes of them: refused, late, without an answer.

use std::collections::BTreeSet;

use futures_channel::oneshot;
use tradeflow_bus::{Bus, BusError, Durability, NewRecord, Receipt};

use super::{Answer, Disk, Inner, Left, State, fault, unavailable};
use crate::dice::Weather;

/// An append that was not answered yet.
pub(super) struct UnderWay {
    process: u64,
    claim: u64,
    inner: Inner,
    power: bool,
    /// Until it is written.
    records: Option<Vec<NewRecord>>,
    /// From then on.
    written: Option<(Answer, Vec<NewRecord>)>,
    sender: oneshot::Sender<Answer>,
}

impl Disk {
    /// Gets on with the appends that wait: writes one, or answers one. All of them when it is calm.
    pub fn go_on(&self) {
        let mut state = self.state();
        for claim in state.open.keys().copied().collect::<Vec<_>>() {
            if state.calm || state.dice.chance(400) {
                state.complete(claim);
            }
        }
        let mut at = 0;
        let mut seen = BTreeSet::new();
        while at < state.under_way.len() {
            // Of one writer the oldest goes first.
            let first = seen.insert(state.under_way[at].claim);
            if !first || !(state.calm || state.dice.chance(400)) {
                at += 1;
                continue;
            }
            if let Some(records) = state.under_way[at].records.take() {
                let inner = state.under_way[at].inner.clone();
                let claim = state.under_way[at].claim;
                let answer = state.append(claim, &inner, records.clone());
                state.under_way[at].written = Some((answer, records));
                if !state.calm {
                    at += 1;
                    continue;
                }
            }
            let under_way = state.under_way.remove(at);
            seen.remove(&under_way.claim);
            let Some((answer, records)) = under_way.written else { continue };
            state.answered(under_way.process, under_way.power, &answer, &records);
            let _ = under_way.sender.send(answer);
        }
    }
}

impl State {
    /// An append of a claim, with whatever becomes of it.
    pub fn append_of(
        &mut self,
        (process, claim, power): (u64, u64, bool),
        inner: &Inner,
        records: Vec<NewRecord>,
    ) -> Receipt {
        if let Some(error) = self.unreachable(process) {
            return Receipt::ready(Err(error));
        }
        let behind = self.has_unwritten(claim);
        let account = records.first().map(|record| record.key.clone());
        let own = self.under_way.iter().filter(|other| other.claim == claim);
        let of_account = |other: &UnderWay| {
            let records = other.records.as_ref().or(other.written.as_ref().map(|(_, records)| records));
            records.and_then(|records| records.first().map(|record| record.key.clone())) == account
        };
        if own.filter(|other| of_account(other)).count() >= 2 {
            self.violations.push(format!("account {account:?} has three appends under way"));
        }
        if self.calm {
            let answer = self.append(claim, inner, records.clone());
            self.answered(process, power, &answer, &records);
            return Receipt::ready(answer);
        }
        let Weather { refused, lost_answer, slow_answer, slow_write, .. } = self.weather;
        if self.dice.chance(refused) {
            return Receipt::ready(Err(fault("the append was refused")));
        }
        if !behind && self.dice.chance(lost_answer) {
            let _ = self.append(claim, inner, records);
            return Receipt::ready(Err(fault("the answer was lost")));
        }
        let late = self.cells_run && (behind || self.dice.chance(slow_write));
        let (records, written) = if late {
            (Some(records), None)
        } else {
            let answer = self.append(claim, inner, records.clone());
            if !self.cells_run || !self.dice.chance(slow_answer) {
                self.answered(process, power, &answer, &records);
                return Receipt::ready(answer);
            }
            (None, Some((answer, records)))
        };
        let (sender, receipt) = Receipt::later();
        let inner = inner.clone();
        self.under_way.push(UnderWay { process, claim, inner, power, records, written, sender });
        receipt
    }

    /// A process is gone: of what it had under way, what had reached the system is written in time, the rest is not.
    pub(super) fn end_appends_by(&mut self, process: u64) {
        // What was appended behind entries that readers do not see is not seen either.
        let mut lost = self.end_open_by(process);
        for mut under_way in std::mem::take(&mut self.under_way) {
            if under_way.process != process {
                self.under_way.push(under_way);
                continue;
            }
            if let Some(records) = under_way.records.take() {
                if lost.contains(&under_way.claim) || self.dice.chance(500) {
                    lost.insert(under_way.claim);
                } else {
                    let _ = self.append(under_way.claim, &under_way.inner, records);
                }
            }
        }
    }

    /// Whether appends of a claim wait to be written.
    pub(super) fn has_unwritten(&self, claim: u64) -> bool {
        self.under_way.iter().any(|other| other.claim == claim && other.records.is_some())
    }

    /// With power durability all writes so far survive a loss of power.
    pub(super) fn sync(&mut self, power: bool) {
        if power {
            self.synced = self.writes.len();
        }
    }

    /// Writes of processes that belong to no claim: records that can't be read, the end of a session.
    pub fn publish_of(&mut self, process: u64, records: Vec<NewRecord>, power: bool) -> Receipt {
        if let Some(error) = self.unreachable(process) {
            return Receipt::ready(Err(error));
        }
        if let Some(record) = records.iter().find(|record| self.is_owned(&record.topic)) {
            self.violations.push(format!("{} was written to without a claim", record.topic));
        }
        if !self.calm && self.dice.chance(self.weather.refused) {
            return Receipt::ready(Err(fault("the write was refused")));
        }
        let bus = self.bus.clone();
        let answer =
            self.write(records.clone(), Left::Records, |records| bus.publish(records, Durability::Process));
        self.answered(process, power, &answer, &records);
        Receipt::ready(answer)
    }

    /// Why a process can't use the bus.
    pub fn unreachable(&self, process: u64) -> Option<BusError> {
        if !self.alive.contains(&process) {
            return Some(fault("the process is gone"));
        }
        self.cut.contains(&process).then(|| unavailable("the network is cut"))
    }

    pub(super) fn append(&mut self, claim: u64, inner: &Inner, records: Vec<NewRecord>) -> Answer {
        self.complete(claim);
        let left = if self.weather.gaps { Left::Gap } else { Left::Records };
        let mut inner = inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let owned: Vec<_> = records
            .iter()
            .filter(|r| self.is_owned(&r.topic))
            .map(|r| (r.topic.clone(), r.partition))
            .collect();
        let answer = self.write(records, left, |records| inner.append(records));
        if answer.is_ok()
            && let Some((topic, partition)) =
                owned.into_iter().find(|(_, p)| self.holder.get(p) != Some(&claim))
        {
            self.violations.push(format!("{topic}/{partition} was written to by one who does not own it"));
        }
        answer
    }

    /// A process is told what became of its write: of the first of these records, or of all.
    pub(super) fn answered(&mut self, process: u64, power: bool, answer: &Answer, records: &[NewRecord]) {
        let Ok(written) = answer else { return };
        self.sync(power);
        let promise = self.plan.durability == Durability::Power;
        for (record, (partition, offset)) in records.iter().zip(&written.places) {
            if promise && self.is_owned(&record.topic) {
                let end = self.promised.entry((record.topic.clone(), *partition)).or_default();
                *end = (*end).max(offset + 1);
            }
        }
        let topics = [&self.topics.orders, &self.topics.fills];
        self.told.extend(records.iter().filter(|record| topics.contains(&&record.topic)).cloned());
        for record in records.iter().filter(|record| record.topic == self.topics.fills) {
            let account = String::from_utf8_lossy(&record.key).into_owned();
            *self.fills.entry((process, account)).or_default() += 1;
        }
    }
}
