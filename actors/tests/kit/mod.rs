//! What the tests of this crate share: plans, markets written as text, strategies that follow a script, and reports as
//! text to compare with.
#![allow(dead_code)] // each test file uses a part of it

pub mod random;

use serde::{Deserialize, Serialize};
use tradeflow_actors::actor::Fault;
use tradeflow_actors::cell::{PaperCell, RunTables};
use tradeflow_actors::execution::OrderRequest;
use tradeflow_actors::output::{CellOutput, Counters};
use tradeflow_actors::strategy::{Context, Strategy, StrategyActor};
use tradeflow_model::market::{ActionKind, Aggressor, PriceType, SeriesKind, SessionPhase};
use tradeflow_model::plan::{CellPlan, RiskLimits, RunPlan, SeriesPlan, StrategyPlan, VenueSpec};
use tradeflow_model::signal::Size;
use tradeflow_model::{
    AccountId, AccountKind, AccountSpec, AssetClass, Bar, CorporateAction, Currency, FeeSchedule, Instrument,
    InstrumentId, Interval, MarketEvent, Money, Order, OrderEvent, OrderId, Price, Qty, Quote, SeriesId,
    SessionEvent, Side, SignalSide, StrategyIndex, Symbol, Timestamp, Trade,
};

/// The first instrument.
pub const STOCK: InstrumentId = InstrumentId(0);

/// A time of 2024-01-02: `10:00`, `10:00:30`.
pub fn at(clock: &str) -> Timestamp {
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    format!("2024-01-02T{clock}{seconds}Z").parse().unwrap()
}

/// The clock of a time of that day.
pub fn clock(time: Timestamp) -> String {
    time.to_string()[11..].trim_end_matches('Z').to_owned()
}

/// A price with two decimals.
pub fn price(text: &str) -> Price {
    Price::from_raw(tradeflow_model::fixed::parse(text.as_bytes(), 2).unwrap())
}

/// A share priced in cents.
pub fn stock(symbol: &str) -> Instrument {
    let usd = || Currency::new("USD").unwrap();
    Instrument::new(Symbol::new(symbol).unwrap(), AssetClass::Equity, usd(), usd(), 2, 0).unwrap()
}

/// A future with a multiplier of 50, held on margin.
pub fn future(symbol: &str) -> Instrument {
    Instrument { class: AssetClass::Future, multiplier: 50.into(), ..stock(symbol) }
}

pub fn market(side: Side, qty: i64) -> OrderRequest {
    OrderRequest::market(STOCK, side, Qty::from_raw(qty))
}

pub fn limit(side: Side, qty: i64, at: &str) -> OrderRequest {
    OrderRequest::limit(STOCK, side, Qty::from_raw(qty), price(at))
}

pub fn stop(side: Side, qty: i64, at: &str) -> OrderRequest {
    OrderRequest::stop(STOCK, side, Qty::from_raw(qty), price(at))
}

/// What a scripted strategy does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Act {
    Submit(OrderRequest),
    /// Changes the order of the n-th `Submit`.
    Modify(usize, i64, Option<Price>, Option<Price>),
    /// Cancels the order of the n-th `Submit`.
    Cancel(usize),
    Signal(SignalSide, Option<Price>, Option<Price>),
}

/// When: with the first event at or after a time, or by a timer at just that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    Event(Timestamp),
    Timer(Timestamp),
}

/// A strategy that follows a script.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scripted {
    pub acts: Vec<(When, Act)>,
    pub done: Vec<bool>,
    pub ids: Vec<Option<OrderId>>,
    pub armed: bool,
    pub instrument: InstrumentId,
}

impl Scripted {
    pub fn new(acts: Vec<(When, Act)>) -> Self {
        Self { done: vec![false; acts.len()], acts, ids: Vec::new(), armed: false, instrument: STOCK }
    }

    fn run(&mut self, context: &mut Context<'_>, by_timer: bool) {
        if !self.armed {
            self.armed = true;
            for (when, _) in &self.acts {
                if let When::Timer(at) = when {
                    context.set_timer(*at, 0);
                }
            }
        }
        for index in 0..self.acts.len() {
            let (when, act) = self.acts[index];
            let due = match when {
                When::Event(at) => !by_timer && context.now() >= at,
                When::Timer(at) => by_timer && context.now() >= at,
            };
            if !due || self.done[index] {
                continue;
            }
            self.done[index] = true;
            let order = |n: usize| self.ids.get(n).copied().flatten();
            match act {
                Act::Submit(request) => {
                    let id = context.submit(request);
                    self.ids.push(id);
                }
                Act::Modify(n, qty, price, trigger) => {
                    context.modify(order(n).unwrap(), Qty::from_raw(qty), price, trigger);
                }
                Act::Cancel(n) => context.cancel(order(n).unwrap()),
                Act::Signal(side, stop, target) => {
                    context.signal_with_exits(self.instrument, side, stop, target);
                }
            }
        }
    }
}

impl Strategy for Scripted {
    fn on_bar(&mut self, context: &mut Context<'_>, _bar: &Bar) {
        self.run(context, false);
    }

    fn on_trade(&mut self, context: &mut Context<'_>, _trade: &Trade) {
        self.run(context, false);
    }

    fn on_quote(&mut self, context: &mut Context<'_>, _quote: &Quote) {
        self.run(context, false);
    }

    fn on_session(&mut self, context: &mut Context<'_>, _session: &SessionEvent) {
        self.run(context, false);
    }

    fn on_timer(&mut self, context: &mut Context<'_>, _timer: u32) {
        self.run(context, true);
    }

    fn on_order_event(&mut self, _context: &mut Context<'_>, _event: &OrderEvent, _order: &Order) {}

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        Ok(postcard::to_allocvec(self)?)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        *self = postcard::from_bytes(snapshot)?;
        Ok(())
    }
}

/// A plan for tests: one account, instruments, series.
#[derive(Debug, Clone)]
pub struct Setup {
    pub plan: RunPlan,
}

pub fn interval(text: &str) -> Interval {
    text.parse().unwrap()
}

pub fn bars_of(text: &str) -> SeriesKind {
    SeriesKind::Bars { interval: interval(text), price_type: PriceType::Last }
}

impl Setup {
    /// A plan over instruments with series of these kinds (by instrument), an account with 10,000 USD in cash, no volume
    /// cap, no fees, no slippage.
    pub fn new(instruments: Vec<Instrument>, series: &[(u32, SeriesKind)]) -> Self {
        let mut series: Vec<SeriesPlan> = series
            .iter()
            .map(|(of, kind)| SeriesPlan {
                instrument: InstrumentId(*of),
                kind: *kind,
                start: Timestamp::MIN,
                files: Vec::new(),
            })
            .collect();
        series.sort_by_key(|series| series.kind.rank());
        let account = AccountSpec {
            id: AccountId::new("test").unwrap(),
            kind: AccountKind::Cash,
            currency: Currency::new("USD").unwrap(),
            balance: 10_000.into(),
        };
        let cell = CellPlan {
            account,
            strategies: Vec::new(),
            risk: RiskLimits::default(),
            venue: VenueSpec { volume_share_max: None, ..VenueSpec::default() },
            equity_interval_ns: 1,
            containment: None,
        };
        let plan = RunPlan {
            instruments,
            series,
            from: at("00:00"),
            to: Timestamp::MAX,
            batch_rows: 16,
            window_batches: 4,
            seed: 1,
            cells: vec![cell],
        };
        Self { plan }
    }

    pub fn stock(series: &[SeriesKind]) -> Self {
        let series: Vec<_> = series.iter().map(|kind| (0, *kind)).collect();
        Self::new(vec![stock("STK")], &series)
    }

    pub fn cell(&mut self) -> &mut CellPlan {
        &mut self.plan.cells[0]
    }

    pub fn cash(mut self, balance: i64) -> Self {
        self.cell().account.balance = balance.into();
        self
    }

    pub fn margin(mut self, leverage: i64) -> Self {
        self.cell().account.kind = AccountKind::Margin { leverage: leverage.into() };
        self
    }

    pub fn venue(mut self, change: impl FnOnce(&mut VenueSpec)) -> Self {
        change(&mut self.cell().venue);
        self
    }

    pub fn fees(self, taker_bps: &str, maker_bps: &str, per_unit: &str, minimum: &str) -> Self {
        let fees = FeeSchedule {
            taker_bps: taker_bps.parse().unwrap(),
            maker_bps: maker_bps.parse().unwrap(),
            per_unit: per_unit.parse().unwrap(),
            minimum: minimum.parse().unwrap(),
        };
        self.venue(|venue| venue.fees = Some(fees))
    }

    pub fn tables(&self) -> RunTables {
        RunTables::of(&self.plan)
    }

    /// The plan of a strategy that sees all series but sessions and actions.
    pub fn strategy_plan(&self, id: &str, warm_up_bars: u32) -> StrategyPlan {
        let data = |kind: SeriesKind| {
            matches!(kind, SeriesKind::Quotes | SeriesKind::Trades | SeriesKind::Bars { .. })
        };
        let series = self.plan.series.iter().enumerate().filter(|(_, series)| data(series.kind));
        StrategyPlan {
            id: id.into(),
            kind: "test".into(),
            version: "1".into(),
            params: serde_json::Value::Null,
            series: series.map(|(index, _)| SeriesId(index as u16)).collect(),
            size: Size::Quantity(10.into()),
            warm_up_bars,
        }
    }

    /// A cell with these strategies.
    pub fn build(&self, strategies: Vec<(StrategyPlan, Box<dyn Strategy>)>) -> PaperCell {
        let tables = self.tables();
        let actors = strategies.into_iter().enumerate().map(|(index, (plan, strategy))| {
            let series: Vec<_> = plan.series.iter().map(|s| (*s, tables.series[s.index()])).collect();
            StrategyActor::around(StrategyIndex(index as u16), &plan, strategy, &series, tables.from)
        });
        let actors = actors.collect();
        PaperCell::with_strategies(&self.plan, &self.plan.cells[0], &tables, actors).unwrap()
    }

    pub fn series_of(&self, instrument: u32, kind: impl Fn(SeriesKind) -> bool) -> SeriesId {
        let found = self.plan.series.iter().position(|s| s.instrument.0 == instrument && kind(s.kind));
        SeriesId(found.expect("the plan has such a series") as u16)
    }

    /// Market events from text, one a line, of the first instrument:
    /// `bar 10:00 open high low close volume` (a minute from 10:00), `trade 10:00:30 price qty`,
    /// `quote 10:00:30 bid ask bid_size ask_size`, `open 09:30`, `close 16:00`, `split 09:30 2 1`,
    /// `dividend 09:30 0.50`. `late 61` at the end: known that many seconds after it happened.
    pub fn events(&self, text: &str) -> Vec<MarketEvent> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| self.event(line)).collect()
    }

    fn event(&self, line: &str) -> MarketEvent {
        let words: Vec<&str> = line.split_whitespace().collect();
        let instrument = STOCK;
        let ts_event = at(words[1]);
        let late = words.iter().position(|word| *word == "late");
        let seconds = late.map_or(0, |at| words[at + 1].parse().unwrap());
        let ts_init = ts_event.saturating_add(seconds * 1_000_000_000);
        let p = |at: usize| price(words[at]);
        let q = |at: usize| {
            let word = words.get(at).filter(|_| late.is_none_or(|late| at < late));
            Qty::from_raw(word.map_or(0, |word| word.parse().unwrap()))
        };
        match words[0] {
            "bar" => {
                let close = ts_event.saturating_add(60_000_000_000);
                MarketEvent::Bar(Bar {
                    series: self.series_of(0, |kind| matches!(kind, SeriesKind::Bars { .. })),
                    instrument,
                    ts_open: ts_event,
                    ts_event: close,
                    ts_init: close,
                    open: p(2),
                    high: p(3),
                    low: p(4),
                    close: p(5),
                    volume: q(6),
                })
            }
            "trade" => MarketEvent::Trade(Trade {
                series: self.series_of(0, |kind| kind == SeriesKind::Trades),
                instrument,
                ts_event,
                ts_init,
                price: p(2),
                qty: q(3),
                aggressor: Aggressor::Unknown,
            }),
            "quote" => MarketEvent::Quote(Quote {
                series: self.series_of(0, |kind| kind == SeriesKind::Quotes),
                instrument,
                ts_event,
                ts_init,
                bid: p(2),
                ask: p(3),
                bid_size: q(4),
                ask_size: q(5),
            }),
            "open" | "close" => {
                let opens = words[0] == "open";
                let kind = if opens { SeriesKind::SessionOpens } else { SeriesKind::SessionCloses };
                MarketEvent::Session(SessionEvent {
                    series: self.series_of(0, |of| of == kind),
                    instrument,
                    ts_event,
                    ts_init,
                    phase: if opens { SessionPhase::Open } else { SessionPhase::Close },
                })
            }
            "split" | "dividend" => {
                let kind = if words[0] == "split" {
                    ActionKind::Split { new: words[2].parse().unwrap(), old: words[3].parse().unwrap() }
                } else {
                    ActionKind::Dividend { amount: Money::from_decimal(words[2].parse().unwrap()).unwrap() }
                };
                let series = self.series_of(0, |of| of == SeriesKind::Actions);
                MarketEvent::Action(CorporateAction { series, instrument, ts_event, ts_init, kind })
            }
            _ => panic!("no such event: {line}"),
        }
    }

    /// Runs a script over a market.
    pub fn run(&self, script: Vec<(When, Act)>, market: &str) -> Ran {
        let mut cell = self.build(vec![(self.strategy_plan("script", 0), Box::new(Scripted::new(script)))]);
        for event in self.events(market) {
            cell.on_event(&event).unwrap();
        }
        cell.finish().unwrap();
        Ran { output: cell.take_output(), counters: cell.counters(), cell, scale: 2 }
    }
}

/// What came of a run.
pub struct Ran {
    pub output: CellOutput,
    pub counters: Counters,
    pub cell: PaperCell,
    scale: u8,
}

impl Ran {
    /// `10:01:00 buy 10 @ 100.50`, with ` fee 1` where there is one.
    pub fn fills(&self) -> Vec<String> {
        let text = |fill: &tradeflow_actors::output::FillRecord| {
            let fee = if fill.fee.is_zero() { String::new() } else { format!(" fee {}", fill.fee) };
            let at = fill.price.to_decimal(self.scale);
            format!("{} {} {} @ {at}{fee}", clock(fill.ts_event), fill.side.name(), fill.qty.raw())
        };
        self.output.fills.iter().map(text).collect()
    }

    /// `limit cancelled 4/10: requested`, in the order in which they ended; open ones last.
    pub fn orders(&self) -> Vec<String> {
        let text = |record: &tradeflow_actors::output::OrderRecord| {
            let order = &record.order;
            let why = if record.reason.is_empty() { String::new() } else { format!(": {}", record.reason) };
            let (kind, status) = (order.kind.name(), order.status.name());
            format!("{kind} {status} {}/{}{why}", order.filled.raw(), order.qty.raw())
        };
        self.output.orders.iter().map(text).collect()
    }

    pub fn cash(&self) -> String {
        self.cell.cell().account().ledger().cash().to_string()
    }

    pub fn held(&self) -> i64 {
        self.cell.cell().account().ledger().position(STOCK).qty.raw()
    }
}

/// Acts with the event at a time.
pub fn on(clock: &str, act: Act) -> (When, Act) {
    (When::Event(at(clock)), act)
}

/// Submits with the event at a time.
pub fn send(clock: &str, request: OrderRequest) -> (When, Act) {
    on(clock, Act::Submit(request))
}

/// Submits by a timer.
pub fn send_by_timer(clock: &str, request: OrderRequest) -> (When, Act) {
    (When::Timer(at(clock)), Act::Submit(request))
}

/// A seeded source of choices, small enough to be part of a snapshot (SplitMix64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `n` − 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
