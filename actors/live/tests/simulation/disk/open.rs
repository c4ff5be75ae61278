//! Entries that were answered before what came of them was written, as Kafka answers them (ADR 9).

use std::collections::BTreeSet;

use tradeflow_bus::{Bus, NewRecord, Receipt, Stored, Topic, Written};

use super::{Inner, Left, State, records};

/// Entries that were answered before what came of them was written.
pub(super) struct Open {
    process: u64,
    topic: Topic,
    partition: u32,
    inner: Inner,
    power: bool,
    entries: Vec<NewRecord>,
    outputs: Vec<NewRecord>,
}

impl State {
    /// Entries of a claim with what came of them: as an append, or answered before what came of them is written.
    pub fn journal_of(
        &mut self,
        (process, claim, power): (u64, u64, bool),
        inner: &Inner,
        entries: Vec<NewRecord>,
        outputs: Vec<NewRecord>,
    ) -> Receipt {
        let whole = || [entries.clone(), outputs.clone()].concat();
        let Some(first) = entries.first() else {
            return self.append_of((process, claim, power), inner, whole());
        };
        let (topic, partition) = (first.topic.clone(), first.partition);
        let early = !self.has_unwritten(claim)
            && !self.calm
            && self.unreachable(process).is_none()
            && self.holder.get(&partition) == Some(&claim)
            && self.dice.chance(self.weather.early);
        if !early {
            return self.append_of((process, claim, power), inner, whole());
        }
        self.complete(claim);
        let end = self.bus.bounds(&topic, partition).expect("it is there").end;
        let places = (end..).take(entries.len()).map(|offset| (partition, offset)).collect();
        let answer = Ok(Written { places });
        self.answered(process, power, &answer, &whole());
        self.open
            .insert(claim, Open { process, topic, partition, inner: inner.clone(), power, entries, outputs });
        Receipt::ready(answer)
    }

    /// Writes what a claim has answered for, with what belongs to it.
    pub(super) fn complete(&mut self, claim: u64) {
        let Some(Open { inner, power, topic, partition, entries, outputs, .. }) = self.open.remove(&claim)
        else {
            return;
        };
        let end = self.bus.bounds(&topic, partition).expect("it is there").end;
        let written =
            self.append(claim, &inner, [entries, outputs].concat()).expect("none has claimed it since");
        assert_eq!(written.places.first(), Some(&(partition, end)), "the place that was promised");
        self.sync(power);
    }

    /// Claims that end: of what they have answered for, all that belongs to it is written, or readers see nothing of it.
    /// Gives the claims of which they see nothing.
    fn end_open(&mut self, which: impl Fn(&Open) -> bool) -> BTreeSet<u64> {
        let mut unseen = BTreeSet::new();
        let ending = self.open.iter().filter(|(_, open)| which(open)).map(|(claim, _)| *claim);
        for claim in ending.collect::<Vec<_>>() {
            if self.dice.chance(500) {
                self.complete(claim);
            } else if let Some(Open { power, entries, .. }) = self.open.remove(&claim) {
                self.leave_unseen(entries);
                unseen.insert(claim);
                self.sync(power);
            }
        }
        unseen
    }

    /// Ends what is open by a process, as [`Self::end_open`].
    pub(super) fn end_open_by(&mut self, process: u64) -> BTreeSet<u64> {
        self.end_open(|open| open.process == process)
    }

    /// Ends what is open of a partition.
    pub fn end_open_of(&mut self, topic: &Topic, partition: u32) {
        self.end_open(|open| (&open.topic, open.partition) == (topic, partition));
    }

    pub(super) fn leave_unseen(&mut self, entries: Vec<NewRecord>) {
        for NewRecord { topic, partition, key, value, ts } in entries.clone() {
            let offset = self.bus.bounds(&topic, partition).expect("it is there").end;
            self.bus.skip(&topic, partition);
            self.unseen.push(Stored { topic, partition, offset, key, value, ts });
        }
        self.writes.push((entries, Left::Unseen));
    }

    /// The records of a partition from an offset on, those included that readers do not see.
    pub fn journaled(&self, topic: &Topic, partition: u32, from: u64) -> Vec<Stored> {
        let unseen = |stored: &&Stored| {
            (&stored.topic, stored.partition) == (topic, partition) && stored.offset >= from
        };
        let mut all = records(&self.bus, topic, partition, from);
        all.extend(self.unseen.iter().filter(unseen).cloned());
        all.sort_by_key(|stored| stored.offset);
        all
    }
}
