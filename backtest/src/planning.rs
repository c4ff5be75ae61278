//! From what the user asked for to a run plan: instruments and files of the catalog, series with their warm-up, checked
//! parameters. Everything that is wrong is told at once.

use std::collections::BTreeMap;

use serde_json::Map;
use tradeflow_actors::strategy::{Needs, SeriesNeed, kind_of};
use tradeflow_model::market::{Columns, SeriesKind};
use tradeflow_model::plan::{CellPlan, RunPlan, SeriesPlan, StrategyPlan};
use tradeflow_model::time::{NANOS_PER_DAY, NANOS_PER_MIN};
use tradeflow_model::{AccountSpec, Instrument, InstrumentId, SeriesId, Symbol, Timestamp};
use tradeflow_storage::catalog::{Catalog, FileInfo, SeriesKey};

use crate::config::{AccountConfig, DataKind, Place, Problems, RunConfig, StrategyConfig};

/// A series that the plan needs, before it has its place in the series table.
#[derive(Debug, Clone)]
struct Wanted {
    instrument: InstrumentId,
    kind: SeriesKind,
    /// Rows before the start that strategies need for their warm-up.
    warm_up: u32,
}

/// A plan, and about how many rows it will read (the files' rows, also those before the start).
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan.
    pub plan: RunPlan,
    /// Rows of its files.
    pub rows: u64,
}

/// Builds the plan of a run.
///
/// # Errors
/// All that is wrong: symbols and data that the catalog does not have, strategies and parameters that do not exist, ranges.
pub fn plan(config: &RunConfig, catalog: &Catalog) -> Result<Planned, Problems> {
    let mut planner = Planner { config, catalog, problems: Problems::default(), rows: 0 };
    let plan = planner.plan();
    let planned = plan.map(|plan| Planned { plan, rows: planner.rows });
    planner.problems.finish(planned)
}

struct Planner<'a> {
    config: &'a RunConfig,
    catalog: &'a Catalog,
    problems: Problems,
    rows: u64,
}

/// A strategy with its parameters resolved and the series it needs.
struct Resolved {
    plan: StrategyPlan,
    needs: Vec<(InstrumentId, SeriesKind)>,
}

impl Planner<'_> {
    fn plan(&mut self) -> Option<RunPlan> {
        let config = self.config;
        if let (Some(from), Some(to)) = (&config.from, &config.to)
            && from.value >= to.value
        {
            self.problems
                .add(&to.place, format!("the end {} is not after the start {}", to.value, from.value));
        }
        let instruments = self.instruments();
        let names: BTreeMap<&Symbol, InstrumentId> =
            instruments.iter().enumerate().map(|(i, x)| (&x.symbol, InstrumentId(i as u32))).collect();
        let mut seen = std::collections::BTreeSet::new();
        for account in &config.accounts {
            if !seen.insert(&account.id.value) {
                let what = format!("there is more than one account {}", account.id.value);
                self.problems.add(&account.id.place, what);
            }
        }
        let resolved: Vec<Vec<Option<Resolved>>> = config
            .accounts
            .iter()
            .map(|account| account.strategies.iter().map(|s| self.strategy(s, &names)).collect())
            .collect();
        // What the user named himself is there even if no strategy looks at it: it marks positions and fills orders.
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut want = |instrument, kind, warm_up| match wanted
            .iter_mut()
            .find(|w| w.instrument == instrument && w.kind == kind)
        {
            Some(known) => known.warm_up = known.warm_up.max(warm_up),
            None => wanted.push(Wanted { instrument, kind, warm_up }),
        };
        for instrument in names.values() {
            want(*instrument, self.main_kind(), 0);
        }
        for strategy in resolved.iter().flatten().flatten() {
            for (instrument, kind) in &strategy.needs {
                want(*instrument, *kind, strategy.plan.warm_up_bars);
            }
        }
        let (from, to) = self.range(&instruments, &wanted)?;
        let mut series = self.series(&instruments, &wanted, from, to);
        for (index, _) in instruments.iter().enumerate() {
            let instrument = InstrumentId(index as u32);
            for kind in [SeriesKind::SessionOpens, SeriesKind::SessionCloses] {
                series.push(SeriesPlan { instrument, kind, start: from, files: Vec::new() });
            }
        }
        series.sort_by_key(|s| (s.kind.rank(), s.instrument));
        if series.len() > usize::from(u16::MAX) {
            self.problems.add(&Place::Default, "the run needs more than 65,535 series");
            return None;
        }
        let cells = config
            .accounts
            .iter()
            .zip(resolved)
            .map(|(account, strategies)| self.cell(account, strategies, &instruments, &series))
            .collect::<Option<Vec<_>>>()?;
        Some(RunPlan {
            instruments,
            series,
            from,
            to,
            batch_rows: config.batch_rows,
            window_batches: config.window_batches,
            seed: config.seed,
            cells,
        })
    }

    fn instruments(&mut self) -> Vec<Instrument> {
        let mut instruments: Vec<Instrument> = Vec::new();
        let mut missing = Vec::new();
        for symbol in &self.config.symbols {
            if instruments.iter().any(|known| known.symbol == symbol.value) {
                self.problems.add(&symbol.place, format!("{} is named twice", symbol.value));
                continue;
            }
            match self.catalog.instrument(&symbol.value) {
                Ok(Some(instrument)) => instruments.push(instrument),
                Ok(None) => missing.push(symbol),
                Err(error) => self.problems.add(&symbol.place, error.to_string()),
            }
        }
        if !missing.is_empty() {
            let there = self.catalog.instruments().unwrap_or_default();
            let names: Vec<&str> = there.iter().take(20).map(|i| i.symbol.as_str()).collect();
            let there = match names.as_slice() {
                [] => {
                    "it is empty: import data with `tradeflow import`, or make some with `tradeflow sample`"
                        .into()
                }
                names => format!("it has {}", names.join(", ")),
            };
            for symbol in missing {
                let what = format!("the catalog {} has no {}; {there}", self.catalog.url(), symbol.value);
                self.problems.add(&symbol.place, what);
            }
        }
        instruments
    }

    fn main_kind(&self) -> SeriesKind {
        match self.config.data.value {
            DataKind::Bars(interval) => SeriesKind::Bars { interval, price_type: self.config.price_type },
            DataKind::Trades => SeriesKind::Trades,
            DataKind::Quotes => SeriesKind::Quotes,
        }
    }

    fn strategy(
        &mut self,
        config: &StrategyConfig,
        names: &BTreeMap<&Symbol, InstrumentId>,
    ) -> Option<Resolved> {
        let kind = self.problems.check(&config.kind.place, kind_of(&config.kind.value))?;
        let mut given = Map::new();
        for (name, value) in &config.params {
            if given.insert(name.clone(), value.value.clone()).is_some() {
                self.problems.add(&value.place, format!("{name} is given twice"));
            }
        }
        let params = match kind.resolve(&given) {
            Ok(params) => params,
            Err(errors) => {
                for error in errors {
                    let at = config.params.iter().find(|(name, _)| *name == error.param);
                    let place = at.map_or(&config.kind.place, |(_, value)| &value.place);
                    self.problems.add(place, format!("{}: {}", error.param, error.why));
                }
                return None;
            }
        };
        let Needs { series: needs, warm_up: warm_up_bars } =
            self.problems.check(&config.kind.place, kind.needs(&params))?;
        if warm_up_bars > 0
            && !matches!(self.main_kind(), SeriesKind::Bars { .. })
            && needs.iter().any(|need| need.interval.is_none())
        {
            let what = format!(
                "{} decides on bars, trades and quotes are none: name an interval, such as 1m (`tradeflow catalog \
                 aggregate` makes bars of them)",
                kind.name
            );
            self.problems.add(&self.config.data.place, what);
            return None;
        }
        let mut instruments = Vec::new();
        for symbol in &config.symbols {
            match names.get(&symbol.value) {
                Some(id) => instruments.push(*id),
                None if self.config.symbols.iter().any(|s| s.value == symbol.value) => return None,
                None => {
                    let what = format!("{} is not among the symbols of the run", symbol.value);
                    self.problems.add(&symbol.place, what);
                }
            }
        }
        if config.symbols.is_empty() {
            instruments = self.config.symbols.iter().filter_map(|s| names.get(&s.value).copied()).collect();
        }
        let needed = 1 + needs.iter().map(|need| need.instrument).max().unwrap_or(0);
        if instruments.len() < needed {
            if config.symbols.is_empty() && instruments.len() < self.config.symbols.len() {
                return None; // told already: a symbol is missing from the catalog
            }
            let what = format!("{} needs {needed} symbols, not {}", kind.name, instruments.len());
            self.problems.add(&config.kind.place, what);
            return None;
        }
        if instruments.len() > needed {
            let what = format!(
                "{} trades {needed} of the {} symbols given: name them, with a strategy for each",
                kind.name,
                instruments.len()
            );
            self.problems.add(&config.kind.place, what);
            return None;
        }
        let needs = needs.iter().map(|need| self.resolve_need(need, &instruments)).collect();
        let plan = StrategyPlan {
            id: config.id.clone().unwrap_or_else(|| kind.name.to_owned()),
            kind: kind.name.to_owned(),
            version: kind.version.to_owned(),
            params,
            series: Vec::new(),
            size: config.size,
            warm_up_bars,
        };
        Some(Resolved { plan, needs })
    }

    fn resolve_need(&self, need: &SeriesNeed, instruments: &[InstrumentId]) -> (InstrumentId, SeriesKind) {
        let kind = need.interval.map_or(self.main_kind(), |interval| SeriesKind::Bars {
            interval,
            price_type: self.config.price_type,
        });
        (instruments[need.instrument], kind)
    }

    /// The range of the run: as given, or the part that all series have.
    fn range(&mut self, instruments: &[Instrument], wanted: &[Wanted]) -> Option<(Timestamp, Timestamp)> {
        let given = |given: &Option<crate::config::Given<Timestamp>>| given.as_ref().map(|given| given.value);
        let (from, to) = (given(&self.config.from), given(&self.config.to));
        if let (Some(from), Some(to)) = (from, to) {
            return (from < to).then_some((from, to));
        }
        let (mut first, mut last) = (Timestamp::MIN, Timestamp::MAX);
        for wanted in wanted {
            let key = SeriesKey::new(instruments[wanted.instrument.index()].symbol.clone(), wanted.kind);
            let files = self.files(&key, Timestamp::MIN, Timestamp::MAX)?;
            let (Some(begin), Some(end)) = (files.first(), files.last()) else { continue };
            first = first.max(begin.first);
            // The whole of the last UTC day, so that its session closes too.
            let day = end.last.as_nanos().div_euclid(NANOS_PER_DAY).saturating_add(1);
            last = last.min(Timestamp::from_nanos(day.saturating_mul(NANOS_PER_DAY)));
        }
        if first == Timestamp::MIN {
            // No data at all: say so series by series.
            let _ = self.series(instruments, wanted, Timestamp::MIN, Timestamp::MAX);
            return None;
        }
        let (from, to) = (from.unwrap_or(first), to.unwrap_or(last));
        if from < to {
            return Some((from, to));
        }
        let place =
            [&self.config.from, &self.config.to].into_iter().flatten().next().map(|given| &given.place);
        let symbols: Vec<&str> = instruments.iter().map(|i| i.symbol.as_str()).collect();
        let what = format!("the data of {} is from {first} to {last}", symbols.join(", "));
        self.problems.add(place.unwrap_or(&Place::Default), what);
        None
    }

    fn files(&mut self, key: &SeriesKey, from: Timestamp, to: Timestamp) -> Option<Vec<FileInfo>> {
        self.problems.check(&Place::Default, self.catalog.files(key, from, to))
    }

    fn series(
        &mut self,
        instruments: &[Instrument],
        wanted: &[Wanted],
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesPlan> {
        let mut series = Vec::new();
        for wanted in wanted {
            let definition = &instruments[wanted.instrument.index()];
            let key = SeriesKey::new(definition.symbol.clone(), wanted.kind);
            let Some(mut files) = self.files(&key, from, to) else { continue };
            if files.is_empty() {
                self.missing(&key, from, to);
                continue;
            }
            let mut start = from;
            if wanted.warm_up > 0 {
                let earlier = self.warm_up(definition, &key, wanted.warm_up, from);
                if let Some(Some((begin, before))) = self.problems.check(&Place::Default, earlier) {
                    start = begin;
                    let known: Vec<_> = files.iter().map(|f| f.file.path.clone()).collect();
                    files.splice(0..0, before.into_iter().filter(|f| !known.contains(&f.file.path)));
                }
            }
            self.rows += files.iter().map(|info| info.rows).sum::<u64>();
            series.push(SeriesPlan {
                instrument: wanted.instrument,
                kind: wanted.kind,
                start,
                files: files.into_iter().map(|info| info.file).collect(),
            });
        }
        for (index, definition) in instruments.iter().enumerate() {
            let key = SeriesKey::new(definition.symbol.clone(), SeriesKind::Actions);
            let Some(files) = self.files(&key, from, to).filter(|files| !files.is_empty()) else { continue };
            series.push(SeriesPlan {
                instrument: InstrumentId(index as u32),
                kind: SeriesKind::Actions,
                start: from,
                files: files.into_iter().map(|info| info.file).collect(),
            });
        }
        series
    }

    fn missing(&mut self, key: &SeriesKey, from: Timestamp, to: Timestamp) {
        let there = self.catalog.series().unwrap_or_default();
        let there: Vec<String> = there
            .iter()
            .filter(|info| info.key.symbol == key.symbol)
            .map(|info| format!("{} from {} to {}", describe(info.key.kind), info.first, info.last))
            .collect();
        let there = if there.is_empty() { "nothing".to_owned() } else { there.join("; ") };
        let range = if from == Timestamp::MIN { String::new() } else { format!(" from {from} to {to}") };
        let what = format!(
            "the catalog {} has no {} of {}{range}; it has {there}",
            self.catalog.url(),
            describe(key.kind),
            key.symbol,
        );
        let place = match &self.config.from {
            Some(given) => &given.place,
            None => &self.config.data.place,
        };
        self.problems.add(&place.clone(), what);
    }

    /// Where a warm-up of so many rows before `from` begins, and its files; `None` when there is nothing before.
    fn warm_up(
        &self,
        definition: &Instrument,
        key: &SeriesKey,
        rows: u32,
        from: Timestamp,
    ) -> Result<Option<(Timestamp, Vec<FileInfo>)>, String> {
        let error = |error: tradeflow_storage::catalog::CatalogError| error.to_string();
        let mut before = self.catalog.files(key, Timestamp::MIN, from).map_err(error)?;
        let mut missing = rows as usize;
        let mut used = Vec::new();
        let mut start = None;
        while let Some(info) = before.pop() {
            let mut times = Vec::new();
            for chunk in self
                .catalog
                .reader(definition, key.kind, vec![info.file.clone()], 1 << 16)
                .between(Timestamp::MIN, from)
            {
                match chunk.map_err(error)? {
                    Columns::Bars(bars) => times.extend(bars.ts_open),
                    Columns::Trades(trades) => times.extend(trades.ts_event),
                    Columns::Quotes(quotes) => times.extend(quotes.ts_event),
                    Columns::Actions(_) | Columns::Sessions(_) => {}
                }
            }
            used.insert(0, info);
            if let Some(first) = times.len().checked_sub(missing) {
                start = Some(times[first]);
                break;
            }
            missing -= times.len();
            start = times.first().copied().or(start);
        }
        Ok(start.map(|start| (Timestamp::from_nanos(start), used)))
    }

    fn cell(
        &mut self,
        account: &AccountConfig,
        strategies: Vec<Option<Resolved>>,
        instruments: &[Instrument],
        series: &[SeriesPlan],
    ) -> Option<CellPlan> {
        let currency = match &account.currency {
            Some(given) => given.value.clone(),
            None => instruments.first()?.settlement.clone(),
        };
        for instrument in instruments.iter().filter(|i| i.settlement != currency) {
            let place = account.currency.as_ref().map_or(&account.id.place, |given| &given.place);
            let what = format!(
                "{} settles in {}, and account {} is kept in {currency}: amounts are not converted yet, so an account \
                 trades instruments of its own currency",
                instrument.symbol, instrument.settlement, account.id.value
            );
            self.problems.add(place, what);
        }
        let mut plans: Vec<StrategyPlan> = Vec::new();
        for resolved in strategies {
            let Resolved { mut plan, needs } = resolved?;
            for (instrument, kind) in needs {
                let at = series.iter().position(|s| s.instrument == instrument && s.kind == kind)?;
                plan.series.push(SeriesId(at as u16));
            }
            let same = plans
                .iter()
                .filter(|p| p.id == plan.id || p.id.starts_with(&format!("{}-", plan.id)))
                .count();
            if same > 0 {
                plan.id = format!("{}-{}", plan.id, same + 1);
            }
            plans.push(plan);
        }
        let equity_interval = self.config.equity_interval.as_ref().map(|given| given.value);
        let of_data = match self.config.data.value {
            DataKind::Bars(interval) => interval.nanos().unwrap_or(NANOS_PER_MIN),
            DataKind::Trades | DataKind::Quotes => NANOS_PER_MIN,
        };
        Some(CellPlan {
            account: AccountSpec {
                id: account.id.value.clone(),
                kind: account.kind,
                currency,
                balance: account.balance,
            },
            strategies: plans,
            risk: account.risk,
            venue: account.venue,
            equity_interval_ns: equity_interval.map_or(of_data, |i| i.nominal_nanos().max(1)),
            containment: None,
        })
    }
}

/// A series kind in words.
fn describe(kind: SeriesKind) -> String {
    match kind {
        SeriesKind::Bars { interval, price_type } => match price_type {
            tradeflow_model::market::PriceType::Last => format!("{interval} bars"),
            other => format!("{interval} {} bars", other.name()),
        },
        SeriesKind::Trades => "trades".into(),
        SeriesKind::Quotes => "quotes".into(),
        SeriesKind::Actions => "corporate actions".into(),
        SeriesKind::SessionOpens | SeriesKind::SessionCloses => "sessions".into(),
    }
}
