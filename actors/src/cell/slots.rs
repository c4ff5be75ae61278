//! The strategies of a cell while it runs: started, stopped, begun anew after a failure.

use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tradeflow_model::plan::StrategyPlan;
use tradeflow_model::{MarketEvent, OrderId, StrategyIndex, Timestamp};

use super::{Answer, Cell, Refusal};
use crate::actor::{Actor, Fault, Outbox};
use crate::execution::{IdMint, VenueCommand};
use crate::output::Notice;
use crate::strategy::{StrategyActor, StrategyEvent, StrategyInput, View};

/// What a cell knows of one of its strategies beside the strategy itself. The place of a strategy never changes: its
/// index is in orders and trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Whether it is told anything.
    pub(super) active: bool,
    /// How often it failed.
    pub(super) failures: u32,
    /// Before this it does not trade.
    pub(super) from: Timestamp,
}

/// A slot in a snapshot: with what the strategy was built from, as it may have been started on the way.
#[derive(Serialize, Deserialize)]
pub(super) struct SlotState {
    slot: Slot,
    /// The plan as JSON: its parameters are not for a format without names.
    plan: String,
    strategy: Vec<u8>,
}

impl Cell {
    /// The strategy with this id, running or stopped.
    pub fn strategy_index(&self, id: &str) -> Option<StrategyIndex> {
        let index = self.strategies.iter().position(|strategy| strategy.plan().id == id)?;
        Some(StrategyIndex(index as u16))
    }

    /// The strategies: plan, whether it runs, how often it failed.
    pub fn strategies(&self) -> impl Iterator<Item = (&StrategyPlan, bool, u32)> {
        let slots = self.slots.iter();
        self.strategies
            .iter()
            .zip(slots)
            .map(|(strategy, slot)| (strategy.plan(), slot.active, slot.failures))
    }

    /// Gives a strategy an event of the past, to warm it up. Nothing else sees it, and nothing comes of it.
    ///
    /// # Errors
    /// What the strategy breaks.
    pub fn warm_up(&mut self, strategy: StrategyIndex, event: &MarketEvent) -> Result<(), Fault> {
        let told = match event {
            MarketEvent::Bar(bar) => StrategyEvent::Bar(bar),
            MarketEvent::Trade(trade) => StrategyEvent::Trade(trade),
            MarketEvent::Quote(quote) => StrategyEvent::Quote(quote),
            MarketEvent::Session(_) | MarketEvent::Action(_) => return Ok(()),
        };
        self.counters.warm_up += 1;
        let view = View { account: &self.account, orders: &self.orders };
        let mut ids = IdMint::new(self.position);
        let input = StrategyInput { event: told, view, ids: &mut ids };
        self.strategies[strategy.index()].handle(event.ts_event(), input, &mut self.intents)?;
        while self.intents.pop().is_some() {} // timers of the past
        Ok(())
    }

    fn build(&self, index: usize, plan: &StrategyPlan, from: Timestamp) -> Result<StrategyActor, Fault> {
        let index = StrategyIndex(u16::try_from(index).map_err(|_| Fault::new("too many strategies"))?);
        let mut series = Vec::with_capacity(plan.series.len());
        for id in &plan.series {
            let instrument = self.tables.series.get(id.index());
            series.push((*id, *instrument.ok_or_else(|| Fault::new("there is no such series"))?));
        }
        StrategyActor::new(index, plan, &series, &self.tables.instruments, from)
    }

    /// Starts a strategy in a new place, or in that of the one with the same id.
    pub(super) fn start(
        &mut self,
        now: Timestamp,
        plan: &StrategyPlan,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Answer, Fault> {
        let place = self.strategy_index(&plan.id).map_or(self.strategies.len(), StrategyIndex::index);
        let built = match self.build(place, plan, now) {
            Ok(built) => built,
            Err(Fault(why)) => return Ok(Answer::refused(Refusal::Invalid, why)),
        };
        let slot = Slot { active: true, failures: 0, from: now };
        if place < self.strategies.len() {
            let strategy = StrategyIndex(place as u16);
            self.cancel_where(now, |of, _| of == Some(strategy), ids, out)?;
            self.timers.forget(strategy);
            self.strategies[place] = built;
            self.slots[place] = slot;
        } else {
            self.strategies.push(built);
            self.slots.push(slot);
            self.desk.grow(self.strategies.len());
            self.account.grow(self.strategies.len());
        }
        self.subscribe();
        Ok(Answer::Done { orders: Vec::new() })
    }

    /// Stops a strategy: it is told nothing more, its orders are cancelled, and its positions closed if so wanted.
    pub(super) fn stop(
        &mut self,
        now: Timestamp,
        strategy: StrategyIndex,
        close: bool,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<Vec<OrderId>, Fault> {
        self.slots[strategy.index()].active = false;
        self.timers.forget(strategy);
        self.cancel_where(now, |of, _| of == Some(strategy), ids, out)?;
        if !close {
            return Ok(Vec::new());
        }
        self.close_where(now, |of, _| of == Some(strategy), ids, out)
    }

    /// Works out anew who sees what.
    pub(super) fn subscribe(&mut self) {
        let (subscribers, followers) = (&mut self.subscribers, &mut self.followers);
        subscribers.iter_mut().chain(followers.iter_mut()).for_each(Vec::clear);
        for (index, strategy) in self.strategies.iter().enumerate() {
            let index = StrategyIndex(index as u16);
            for series in &strategy.plan().series {
                let instrument = self.tables.series[series.index()];
                for seen in [&mut subscribers[series.index()], &mut followers[instrument.index()]] {
                    if seen.last() != Some(&index) {
                        seen.push(index);
                    }
                }
            }
        }
    }

    /// Tells a strategy something and keeps a failure to it: the failed one is told nothing more of this event, its
    /// orders are cancelled, and it begins anew from its parameters, or is stopped when it has failed too often. The
    /// same in live and replay, so that a session with a failing strategy can be verified like any other.
    pub(super) fn tell_contained(
        &mut self,
        now: Timestamp,
        strategy: StrategyIndex,
        event: StrategyEvent<'_>,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        let input = StrategyInput { event, view: View { account: &self.account, orders: &self.orders }, ids };
        let (actor, intents) = (&mut self.strategies[strategy.index()], &mut self.intents);
        let why = match catch_unwind(AssertUnwindSafe(|| actor.handle(now, input, intents))) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Fault(why))) => why,
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                text.or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "it panicked".into())
            }
        };
        self.on_failure(now, strategy, why, ids, out)
    }

    fn on_failure(
        &mut self,
        now: Timestamp,
        strategy: StrategyIndex,
        why: String,
        ids: &mut IdMint,
        out: &mut Outbox<VenueCommand>,
    ) -> Result<(), Fault> {
        while self.intents.pop().is_some() {}
        let policy = self.containment.unwrap_or_default();
        let slot = &mut self.slots[strategy.index()];
        slot.failures += 1;
        let (failures, quarantined) = (slot.failures, slot.failures >= policy.failures_max);
        let plan = self.strategies[strategy.index()].plan().clone();
        if quarantined {
            self.stop(now, strategy, policy.close_positions, ids, out)?;
        } else {
            self.strategies[strategy.index()] = self.build(strategy.index(), &plan, now)?;
            self.cancel_where(now, |of, _| of == Some(strategy), ids, out)?;
        }
        let notice = Notice::StrategyFailed { id: plan.id, ts_event: now, why, failures, quarantined };
        self.output.notices.push(notice);
        Ok(())
    }

    pub(super) fn slot_states(&self) -> Result<Vec<SlotState>, Fault> {
        let parts = self.strategies.iter().zip(&self.slots);
        parts
            .map(|(strategy, slot)| {
                let plan = serde_json::to_string(strategy.plan()).map_err(|e| Fault::new(e.to_string()))?;
                Ok(SlotState { slot: *slot, plan, strategy: strategy.snapshot()? })
            })
            .collect()
    }

    /// Brings the strategies to those of a snapshot. Those that are the same already, as those built by hand, stay.
    pub(super) fn set_slots(&mut self, states: Vec<SlotState>) -> Result<(), Fault> {
        for (index, state) in states.iter().enumerate() {
            let plan: StrategyPlan =
                serde_json::from_str(&state.plan).map_err(|e| Fault::new(format!("snapshot: {e}")))?;
            let same =
                |strategy: &StrategyActor| *strategy.plan() == plan && strategy.from() == state.slot.from;
            let same = self.strategies.get(index).is_some_and(same);
            if !same {
                let built = self.build(index, &plan, state.slot.from)?;
                match self.strategies.get_mut(index) {
                    Some(strategy) => *strategy = built,
                    None => self.strategies.push(built),
                }
            }
            self.strategies[index].restore(&state.strategy)?;
        }
        self.strategies.truncate(states.len());
        self.slots = states.iter().map(|state| state.slot).collect();
        self.subscribe();
        Ok(())
    }
}
