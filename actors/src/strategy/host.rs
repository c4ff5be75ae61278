//! The actor around a strategy: hands it events, keeps it from trading while it warms up, collects what it wants.

use serde::{Deserialize, Serialize};
use tradeflow_model::plan::StrategyPlan;
use tradeflow_model::{
    Bar, Instrument, InstrumentId, Order, OrderEvent, Quote, SeriesId, SessionEvent, StrategyIndex,
    Timestamp, Trade,
};

use super::{Context, Intent, Setup, Strategy, View, kind_of};
use crate::actor::{Actor, Fault, Outbox};
use crate::execution::IdMint;

/// What a strategy is told.
#[derive(Debug, Clone, Copy)]
pub enum StrategyEvent<'a> {
    /// A bar has closed.
    Bar(&'a Bar),
    /// A trade.
    Trade(&'a Trade),
    /// A quote.
    Quote(&'a Quote),
    /// A session opens or closes.
    Session(&'a SessionEvent),
    /// Something happened to one of its orders.
    Order(&'a OrderEvent, &'a Order),
    /// A timer has come.
    Timer(u32),
}

/// An event, and what the strategy may look at while it handles it.
pub struct StrategyInput<'a> {
    /// The event.
    pub event: StrategyEvent<'a>,
    /// The cell, to look at.
    pub view: View<'a>,
    /// Ids for its orders.
    pub ids: &'a mut IdMint,
}

/// A strategy as an actor.
pub struct StrategyActor {
    index: StrategyIndex,
    plan: StrategyPlan,
    strategy: Box<dyn Strategy>,
    /// Before this nothing trades.
    from: Timestamp,
    warm: Warm,
    intents: Vec<Intent>,
}

/// Events still to be seen of each series, before it may trade.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Warm {
    missing: Vec<(SeriesId, u32)>,
    done: bool,
}

#[derive(Serialize, Deserialize)]
struct State {
    warm: Warm,
    strategy: Vec<u8>,
}

impl StrategyActor {
    /// Builds the strategy of a plan.
    ///
    /// # Errors
    /// When there is no such kind, or its parameters were not resolved.
    pub fn new(
        index: StrategyIndex,
        plan: &StrategyPlan,
        series: &[(SeriesId, InstrumentId)],
        instruments: &[Instrument],
        from: Timestamp,
    ) -> Result<Self, Fault> {
        let kind = kind_of(&plan.kind).map_err(Fault::new)?;
        if kind.version != plan.version {
            return Err(Fault::new(format!(
                "the plan has {} in version {}, this program has {}",
                plan.kind, plan.version, kind.version
            )));
        }
        let strategy = kind
            .build(&plan.params, &Setup { series, instruments })
            .map_err(|why| Fault::new(format!("strategy {}: {why}", plan.id)))?;
        Ok(Self::around(index, plan, strategy, series, from))
    }

    /// An actor around a strategy that is not in the registry, as tests do.
    pub fn around(
        index: StrategyIndex,
        plan: &StrategyPlan,
        strategy: Box<dyn Strategy>,
        series: &[(SeriesId, InstrumentId)],
        from: Timestamp,
    ) -> Self {
        let missing = series.iter().map(|(series, _)| (*series, plan.warm_up_bars)).collect();
        let warm = Warm { missing, done: plan.warm_up_bars == 0 };
        Self { index, plan: plan.clone(), strategy, from, warm, intents: Vec::new() }
    }

    /// What it was built from.
    pub fn plan(&self) -> &StrategyPlan {
        &self.plan
    }

    /// Before this nothing trades.
    pub fn from(&self) -> Timestamp {
        self.from
    }

    /// Counts the event; whether the strategy may act on it. The event that completes the warm-up may be acted on, for
    /// with it the strategy has all it asked for.
    #[inline]
    fn may_trade(&mut self, event: &StrategyEvent<'_>, now: Timestamp) -> bool {
        let (series, begins) = match event {
            StrategyEvent::Bar(bar) => (Some(bar.series), bar.ts_open),
            StrategyEvent::Trade(trade) => (Some(trade.series), trade.ts_event),
            StrategyEvent::Quote(quote) => (Some(quote.series), quote.ts_event),
            _ => (None, now),
        };
        if let (false, Some(series)) = (self.warm.done, series) {
            for (of, missing) in &mut self.warm.missing {
                if *of == series {
                    *missing = missing.saturating_sub(1);
                }
            }
            self.warm.done = self.warm.missing.iter().all(|(_, missing)| *missing == 0);
        }
        self.warm.done && begins >= self.from
    }
}

impl Actor for StrategyActor {
    type Input<'a> = StrategyInput<'a>;
    type Output = Intent;

    #[inline]
    fn handle(
        &mut self,
        now: Timestamp,
        input: StrategyInput<'_>,
        out: &mut Outbox<Intent>,
    ) -> Result<(), Fault> {
        let trading = self.may_trade(&input.event, now);
        let mut context = Context {
            now,
            strategy: self.index,
            view: input.view,
            trading,
            ids: input.ids,
            intents: &mut self.intents,
            fault: None,
        };
        match input.event {
            StrategyEvent::Bar(bar) => self.strategy.on_bar(&mut context, bar),
            StrategyEvent::Trade(trade) => self.strategy.on_trade(&mut context, trade),
            StrategyEvent::Quote(quote) => self.strategy.on_quote(&mut context, quote),
            StrategyEvent::Session(session) => self.strategy.on_session(&mut context, session),
            StrategyEvent::Order(event, order) => self.strategy.on_order_event(&mut context, event, order),
            StrategyEvent::Timer(timer) => self.strategy.on_timer(&mut context, timer),
        }
        if let Some(fault) = context.fault {
            return Err(fault);
        }
        self.intents.drain(..).try_for_each(|intent| out.push(intent))
    }

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        let state = State { warm: self.warm.clone(), strategy: self.strategy.snapshot()? };
        Ok(postcard::to_allocvec(&state)?)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let state: State = postcard::from_bytes(snapshot)?;
        self.strategy.restore(&state.strategy)?;
        self.warm = state.warm;
        Ok(())
    }
}
