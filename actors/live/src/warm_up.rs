//! Finds and reads a strategy's past when it starts: the catalog up to where it ends, then the bus up to the cell's own
//! place in each partition.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tradeflow_actors::cell::{Answer, Command, Refusal};
use tradeflow_actors::strategy::{DryRun, dry_run};
use tradeflow_model::plan::StrategyPlan;
use tradeflow_model::{MarketEvent, Timestamp};

use crate::LiveError;
use crate::chunk::{Chunk, Decoder, MarketTopic};
use crate::commands::CommandMessage;
use crate::history::{HistoryRef, digest_of};
use crate::host::{CellHost, Sources};
use crate::journal::{MarketReader, read_history};
use crate::session::SessionPlan;

/// References to the past, with their rows.
pub(crate) type Past = Vec<(HistoryRef, Arc<Vec<Chunk>>)>;

/// Reads what strategies need to warm up.
pub(crate) struct WarmUps {
    sources: Sources,
    plan: Arc<SessionPlan>,
    market: MarketReader,
    decoder: Decoder,
}

/// The rows of the past, all series together, in the order of time: a strategy over two sees them as it will live.
pub(crate) fn events_of(history: &[(HistoryRef, Arc<Vec<Chunk>>)]) -> impl Iterator<Item = MarketEvent> {
    let mut rows: Vec<_> = history
        .iter()
        .flat_map(|(_, chunks)| chunks.iter())
        .flat_map(|chunk| (0..chunk.columns.len()).map(move |row| (chunk, row)))
        .collect();
    rows.sort_by_key(|(chunk, row)| (chunk.columns.ts_event(*row), chunk.series));
    rows.into_iter().map(|(chunk, row)| chunk.columns.get(row, chunk.series, chunk.instrument))
}

impl WarmUps {
    /// Bars that a dry run sees beyond those that make its strategy warm.
    const DRY_RUN_BARS: u32 = 500;

    pub(crate) fn new(sources: &Sources, plan: &Arc<SessionPlan>) -> Self {
        Self {
            market: MarketReader::new(sources.bus.clone(), sources.topics.clone(), sources.archive.clone()),
            decoder: Decoder::new(plan, &sources.topics),
            sources: sources.clone(),
            plan: plan.clone(),
        }
    }

    /// The command of a message, with its past where it starts a strategy.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn command(
        &mut self,
        host: &CellHost,
        message: &CommandMessage,
    ) -> Result<(Command, Past), Answer> {
        let command = message.command.resolve(&self.plan, host.index()).map_err(|answer| *answer)?;
        let Command::Start(strategy) = &command else { return Ok((command, Vec::new())) };
        // Reading blocks, and may start a runtime, which a thread that already drives one can't: on a thread of its own.
        // The cell waits, so that nothing comes between what was read and its place.
        let places = host.offered().market.clone();
        let past = std::thread::scope(|scope| scope.spawn(|| self.past(&places, strategy)).join());
        let past = past.unwrap_or_else(|_| Err(LiveError::Other("reading it panicked".into())));
        let past =
            past.map_err(|error| Answer::refused(Refusal::Invalid, format!("its warm-up: {error}")))?;
        Ok((command, past))
    }

    /// What a strategy decides over its latest past, as one that is flat: in words, why not.
    pub(crate) fn dry_run(&mut self, host: &CellHost, strategy: &StrategyPlan) -> Result<DryRun, String> {
        // More than it needs to be warm, so that there is something to decide on.
        let reach = StrategyPlan {
            warm_up_bars: strategy.warm_up_bars.saturating_add(Self::DRY_RUN_BARS),
            ..strategy.clone()
        };
        let places = host.offered().market.clone();
        let past = std::thread::scope(|scope| scope.spawn(|| self.past(&places, &reach)).join());
        let past = past.map_err(|_| "reading its past panicked".to_owned())?.map_err(|e| e.to_string())?;
        let run = &self.plan.run;
        let of = |id: &tradeflow_model::SeriesId| (*id, run.series[id.index()].instrument);
        let series: Vec<_> = strategy.series.iter().map(of).collect();
        let account = &run.cells[host.index()].account;
        let instruments = run.instruments.clone().into();
        // What it breaks is its own: this cell goes on.
        let decided = catch_unwind(AssertUnwindSafe(|| {
            dry_run(strategy, &series, &instruments, account, events_of(&past))
        }));
        decided
            .map_err(|_| "it panicked; the panic's text is in the log".to_owned())?
            .map_err(|fault| fault.0)
    }

    /// What a strategy needs of the past, up to a cell's places.
    pub(crate) fn past(
        &mut self,
        places: &BTreeMap<(MarketTopic, u32), u64>,
        strategy: &StrategyPlan,
    ) -> Result<Past, LiveError> {
        let mut past = Vec::new();
        if strategy.warm_up_bars == 0 {
            return Ok(past);
        }
        for id in &strategy.series {
            let series = &self.plan.run.series[id.index()];
            let Some(topic) = MarketTopic::of(series.kind) else { continue };
            let history = &self.sources.history;
            let found = history.find(&self.plan, strategy, *id).map_err(LiveError::Other)?;
            let after = found.map_or(Timestamp::MIN, |(_, to)| to);
            let catalog = match found {
                Some((from, to)) => {
                    let rows = history.read(&self.plan, *id, from, to).map_err(LiveError::Other)?;
                    Some(HistoryRef::Catalog { series: *id, from, to, digest: digest_of(&rows) })
                }
                None => None,
            };
            let name = topic.topic(&self.sources.topics);
            let partitions = self.sources.bus.partitions(name)?;
            let symbol = self.plan.symbol(series.instrument);
            let partition = tradeflow_bus::partition_of(symbol.as_str().as_bytes(), partitions);
            let kept = self.sources.bus.bounds(name, partition)?;
            let end = places.get(&(topic, partition)).copied().unwrap_or(kept.end);
            let on_bus =
                HistoryRef::Bus { series: *id, topic, partition, first: kept.start.min(end), end, after };
            for reference in catalog.into_iter().chain([on_bus]) {
                let history = self.sources.history.as_ref();
                let rows = read_history(&reference, &self.plan, history, &mut self.market, &self.decoder)?;
                past.push((reference, Arc::new(rows)));
            }
        }
        Ok(past)
    }
}
