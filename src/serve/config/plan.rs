//! From the configuration to a session's plan and the feeds' watchlists.

use tradeflow_actors::cell::Answer;
use tradeflow_backtest::config::{DataKind, Place, Problems};
use tradeflow_ingest::{Watch, Watchlist};
use tradeflow_live::commands::WireStrategy;
use tradeflow_live::{AccountPlan, SessionPlan};
use tradeflow_model::market::SeriesKind;
use tradeflow_model::plan::{CellPlan, RunPlan, SeriesPlan, StrategyPlan};
use tradeflow_model::time::NANOS_PER_MIN;
use tradeflow_model::{AccountSpec, Currency, Instrument, InstrumentId, Symbol, Timestamp};
use tradeflow_storage::catalog::Catalog;

use super::ServeConfig;
use super::trading::{AccountSection, FeedName, InstrumentSection, StrategySection};
use super::tree::Step::{Index, Key};

impl ServeConfig {
    /// What a session of this configuration trades. Definitions of instruments come from the catalog where it has them.
    ///
    /// # Errors
    /// All that is wrong: instruments that are not defined, or otherwise than in the catalog; data that a strategy needs
    /// and nobody makes; currencies that differ.
    pub fn session_plan(&self, catalog: &Catalog, now: Timestamp) -> Result<SessionPlan, Problems> {
        let mut problems = Problems::default();
        if self.instruments.is_empty() {
            let what = "there is nothing to trade: add [[instruments]] and [[accounts]] to a configuration file \
                        (docs/configuration.md), or try `tradeflow serve --demo`";
            problems.add(&Place::Default, what);
        }
        let definitions: Vec<_> = self
            .instruments
            .iter()
            .enumerate()
            .map(|(index, section)| self.definition(index, section, catalog, &mut problems))
            .collect();
        let Some(instruments) = definitions.into_iter().collect::<Option<Vec<_>>>() else {
            return problems.finish(None);
        };
        let series = self.series(now);
        if series.len() > usize::from(u16::MAX) {
            problems.add(&Place::Default, "the configuration needs more than 65,535 series of data");
            return problems.finish(None);
        }
        let cells: Option<Vec<_>> = self
            .accounts
            .iter()
            .enumerate()
            .map(|(index, account)| self.cell(index, account, &instruments, &mut problems))
            .collect();
        let Some(cells) = cells else { return problems.finish(None) };
        let follows = |account| AccountPlan {
            instruments: self
                .symbols_of_account(account)
                .iter()
                .filter_map(|symbol| self.id_of(symbol))
                .collect(),
            ..AccountPlan::default()
        };
        let accounts = self.accounts.iter().map(follows).collect();
        let run = RunPlan {
            instruments,
            series,
            from: now,
            to: Timestamp::MAX,
            batch_rows: 4_096,
            window_batches: 4,
            seed: 0,
            cells,
        };
        let durability = self.node.durability;
        let bare = SessionPlan::new(run, accounts, durability, now);
        let mut accounts = bare.accounts.clone();
        for (index, account) in self.accounts.iter().enumerate() {
            for (number, strategy) in account.strategies.iter().enumerate() {
                let path = [Key("accounts"), Index(index), Key("strategies"), Index(number), Key("data")];
                match self.strategy(&bare, account, strategy) {
                    Ok(plan) => accounts[index].strategies.push(plan),
                    Err(what) => problems.add(&self.place(&path), format!("account {}: {what}", account.id)),
                }
            }
        }
        problems.finish(Some(SessionPlan::new(bare.run, accounts, durability, now)))
    }

    /// What a feed is to be subscribed to; `instruments` are those of the session.
    pub fn watchlist(&self, feed: FeedName, instruments: &[Instrument]) -> Watchlist {
        let wanted = self.instruments.iter().filter(|section| section.feed == Some(feed));
        let watches = wanted.filter_map(|section| {
            let instrument = instruments.iter().find(|known| known.symbol == section.symbol)?;
            Some(Watch {
                instrument: instrument.clone(),
                vendor_symbol: section.vendor_symbol(),
                trades: section.follows_trades(),
                quotes: section.follows_quotes(),
            })
        });
        Watchlist { watches: watches.collect() }
    }

    /// The symbols of a strategy: its own, or those of its account.
    pub(super) fn symbols_of(&self, account: &AccountSection, strategy: &StrategySection) -> Vec<Symbol> {
        strategy.symbols.clone().unwrap_or_else(|| self.symbols_of_account(account))
    }

    fn symbols_of_account(&self, account: &AccountSection) -> Vec<Symbol> {
        let all = || self.instruments.iter().map(|instrument| instrument.symbol.clone()).collect();
        account.symbols.clone().unwrap_or_else(all)
    }

    fn id_of(&self, symbol: &Symbol) -> Option<InstrumentId> {
        let index = self.instruments.iter().position(|instrument| instrument.symbol == *symbol)?;
        Some(InstrumentId(index as u32))
    }

    fn definition(
        &self,
        index: usize,
        section: &InstrumentSection,
        catalog: &Catalog,
        problems: &mut Problems,
    ) -> Option<Instrument> {
        let place = |key| self.place(&[Key("instruments"), Index(index), Key(key)]);
        let symbol = &section.symbol;
        let mut instrument = match problems.check(&place("symbol"), catalog.instrument(symbol))? {
            Some(known) => {
                let before = problems.0.len();
                let mut same = |key, given: Option<String>, known: String| {
                    if let Some(given) = given.filter(|given| *given != known) {
                        let what = format!(
                            "{symbol}: {key} is {known} in the catalog {}, not {given}",
                            catalog.url()
                        );
                        problems.add(&place(key), what);
                    }
                };
                let name = |class| serde_json::to_string(&class).unwrap_or_default();
                same("class", section.class.map(name), name(known.class));
                let digits = |scale: &super::values::Text<_>| scale.text().to_owned();
                same("price_scale", section.price_scale.as_ref().map(digits), known.price_scale.to_string());
                same("size_scale", section.size_scale.as_ref().map(digits), known.size_scale.to_string());
                same("base", section.base.as_ref().map(Currency::to_string), known.base.to_string());
                same("quote", section.quote.as_ref().map(Currency::to_string), known.quote.to_string());
                same("calendar", section.calendar.map(|c| c.to_string()), known.calendar.to_string());
                if problems.0.len() > before {
                    return None;
                }
                known
            }
            None => self.new_definition(section, catalog, &place("symbol"), problems)?,
        };
        if let Some(fees) = &section.fees {
            instrument.fees = fees.get();
        }
        Some(instrument)
    }

    fn new_definition(
        &self,
        section: &InstrumentSection,
        catalog: &Catalog,
        place: &Place,
        problems: &mut Problems,
    ) -> Option<Instrument> {
        let missing = [
            ("class", section.class.is_none()),
            ("price_scale", section.price_scale.is_none()),
            ("size_scale", section.size_scale.is_none()),
            ("base", section.base.is_none()),
            ("quote", section.quote.is_none()),
        ];
        let missing: Vec<_> = missing.iter().filter(|(_, missing)| *missing).map(|(key, _)| *key).collect();
        if !missing.is_empty() {
            let what = format!(
                "{}: the catalog {} does not define it: give its {}",
                section.symbol,
                catalog.url(),
                missing.join(", ")
            );
            problems.add(place, what);
        }
        let scales = (section.price_scale.as_ref()?.get() as u8, section.size_scale.as_ref()?.get() as u8);
        let (base, quote) = (section.base.clone()?, section.quote.clone()?);
        let made = Instrument::new(section.symbol.clone(), section.class?, base, quote, scales.0, scales.1);
        let mut instrument = problems.check(place, made)?;
        instrument.calendar = section.calendar.unwrap_or(instrument.calendar);
        Some(instrument)
    }

    /// The series table: of each instrument its sessions, and what is followed or made of it.
    fn series(&self, start: Timestamp) -> Vec<SeriesPlan> {
        let mut series = Vec::new();
        for (index, section) in self.instruments.iter().enumerate() {
            let mut add = |kind| {
                let instrument = InstrumentId(index as u32);
                series.push(SeriesPlan { instrument, kind, start, files: Vec::new() });
            };
            add(SeriesKind::SessionOpens);
            if section.follows_quotes() {
                add(SeriesKind::Quotes);
            }
            if section.follows_trades() {
                add(SeriesKind::Trades);
            }
            let (bars, price_type) = section.made_bars();
            bars.into_iter().for_each(|interval| add(SeriesKind::Bars { interval, price_type }));
            add(SeriesKind::SessionCloses);
        }
        series.sort_by_key(|series| (series.kind.rank(), series.instrument));
        series
    }

    fn cell(
        &self,
        index: usize,
        account: &AccountSection,
        instruments: &[Instrument],
        problems: &mut Problems,
    ) -> Option<CellPlan> {
        let followed: Vec<_> = self
            .symbols_of_account(account)
            .iter()
            .filter_map(|symbol| instruments.iter().find(|instrument| instrument.symbol == *symbol))
            .collect();
        let currency = account.currency.clone().or_else(|| Some(followed.first()?.settlement.clone()))?;
        for instrument in followed.iter().filter(|instrument| instrument.settlement != currency) {
            let what = format!(
                "{} settles in {}, and account {} is kept in {currency}: amounts are not converted, so an account trades \
                 instruments of its own currency; name them by symbols",
                instrument.symbol, instrument.settlement, account.id
            );
            problems.add(&self.place(&[Key("accounts"), Index(index), Key("currency")]), what);
        }
        Some(CellPlan {
            account: AccountSpec {
                id: account.id.clone(),
                kind: account.account_kind(),
                currency,
                balance: account.balance.get(),
            },
            strategies: Vec::new(),
            risk: account.risk.get(),
            venue: account.venue.get(),
            equity_interval_ns: NANOS_PER_MIN,
            containment: Some(account.containment.get()),
        })
    }

    fn strategy(
        &self,
        session: &SessionPlan,
        account: &AccountSection,
        strategy: &StrategySection,
    ) -> Result<StrategyPlan, String> {
        let symbols = self.symbols_of(account, strategy);
        let instruments: Vec<_> = symbols.iter().filter_map(|symbol| self.id_of(symbol)).collect();
        let wire = WireStrategy {
            id: strategy.name().to_owned(),
            kind: strategy.kind.clone(),
            params: strategy.params.clone(),
            symbols: symbols.iter().map(ToString::to_string).collect(),
            data: match strategy.data.get() {
                DataKind::Bars(interval) => interval.to_string(),
                DataKind::Trades => "trades".to_owned(),
                DataKind::Quotes => "quotes".to_owned(),
            },
            size: strategy.size.get(),
        };
        wire.plan(session, &instruments).map_err(|answer| match *answer {
            Answer::Refused { why, .. } => why,
            Answer::Done { .. } => "it is not refused and has no plan".to_owned(),
        })
    }
}
