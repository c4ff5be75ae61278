//! What a strategy would decide over events of the past, with nothing of it done.

use std::collections::VecDeque;
use std::sync::Arc;

use tradeflow_model::plan::StrategyPlan;
use tradeflow_model::{
    AccountSpec, Instrument, InstrumentId, MarketEvent, SeriesId, StrategyIndex, Timestamp,
};

use super::{Intent, StrategyActor, StrategyEvent, StrategyInput, View};
use crate::account::Account;
use crate::actor::{Actor, Fault, Outbox};
use crate::execution::{IdMint, OpenOrders};

/// Decisions that are kept, the latest.
const KEPT: usize = 20;

/// What came of a dry run.
#[derive(Debug, Default)]
pub struct DryRun {
    /// Events that it saw.
    pub events: u64,
    /// The time of the first and of the last of them.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What it wanted, and when: the latest twenty, the latest last. Without timers, which nothing sets off here.
    pub decisions: VecDeque<(Timestamp, Intent)>,
}

/// Lets a strategy see events in their order, as one that is flat and stays so; it begins to decide once it is warm.
///
/// # Errors
/// What the strategy breaks.
pub fn dry_run(
    plan: &StrategyPlan,
    series: &[(SeriesId, InstrumentId)],
    instruments: &Arc<[Instrument]>,
    account: &AccountSpec,
    events: impl Iterator<Item = MarketEvent>,
) -> Result<DryRun, Fault> {
    let mut strategy = StrategyActor::new(StrategyIndex(0), plan, series, instruments, Timestamp::MIN)?;
    let mut account = Account::new(Arc::new(account.clone()), instruments, 1)?;
    let (orders, mut intents) = (OpenOrders::default(), Outbox::default());
    let mut run = DryRun::default();
    for event in events {
        let at = event.ts_event();
        let (told, price) = match &event {
            MarketEvent::Bar(bar) => (StrategyEvent::Bar(bar), bar.close),
            MarketEvent::Trade(trade) => (StrategyEvent::Trade(trade), trade.price),
            MarketEvent::Quote(quote) => (StrategyEvent::Quote(quote), quote.bid),
            MarketEvent::Session(_) | MarketEvent::Action(_) => continue,
        };
        run.events += 1;
        run.span = Some((run.span.map_or(at, |(first, _)| first), at));
        account.mark(event.instrument(), price)?;
        let mut ids = IdMint::new(run.events);
        let view = View { account: &account, orders: &orders };
        strategy.handle(at, StrategyInput { event: told, view, ids: &mut ids }, &mut intents)?;
        while let Some(intent) = intents.pop() {
            if matches!(intent, Intent::Timer { .. }) {
                continue;
            }
            if run.decisions.len() == KEPT {
                run.decisions.pop_front();
            }
            run.decisions.push_back((at, intent));
        }
    }
    Ok(run)
}
