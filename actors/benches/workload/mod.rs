//! Cells and markets to measure with, the same for the benchmark and the example.
#![allow(dead_code)] // each user takes a part

use std::sync::Arc;
use tradeflow_actors::actor::Fault;
use tradeflow_actors::cell::{PaperCell, RunTables};
use tradeflow_actors::execution::OrderRequest;
use tradeflow_actors::strategy::{Context, Strategy, StrategyActor, kind_of};
use tradeflow_model::market::{Columns, PriceType, Run, SeriesColumns, SeriesKind};
use tradeflow_model::plan::{CellPlan, RiskLimits, RunPlan, SeriesPlan, StrategyPlan, VenueSpec};
use tradeflow_model::signal::Size;
use tradeflow_model::{
    AccountId, AccountKind, AccountSpec, AssetClass, Bar, BarColumns, Currency, FeeSchedule, Instrument,
    InstrumentId, Interval, MarketBatch, Qty, SeriesId, Side, StrategyIndex, Symbol, Timestamp,
};

/// What a cell does with each bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// A strategy that does nothing, no position.
    Idle,
    /// SMA cross 10/50 in a steady rise: it holds a position and looks at averages.
    HoldingSmaCross,
    /// A market order every other bar.
    OrderHeavy,
}

struct Idle;

impl Strategy for Idle {
    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// Buys and sells one share in turn, every other bar.
struct EveryOther {
    bars: u64,
}

impl Strategy for EveryOther {
    fn on_bar(&mut self, context: &mut Context<'_>, bar: &Bar) {
        self.bars += 1;
        if self.bars.is_multiple_of(2) {
            let side = if self.bars.is_multiple_of(4) { Side::Buy } else { Side::Sell };
            context.submit(OrderRequest::market(bar.instrument, side, Qty::from_raw(1)));
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        Ok(self.bars.to_le_bytes().to_vec())
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Err(Fault::new("this one is only measured"))
    }
}

/// One-minute bars, as many as one wants.
pub struct Market {
    minute: i64,
    number: u64,
    price: i64,
    rising: bool,
}

impl Market {
    /// The next bars.
    pub fn batch(&mut self, bars: usize) -> MarketBatch {
        let mut columns = BarColumns::default();
        for _ in 0..bars {
            // A wave of 40 minutes, on a slope where it should only rise.
            let wave = (self.minute % 40 - 20).abs();
            let step = match self.rising {
                true if self.minute < 100 => -1, // the averages cross when it turns
                true => 1,
                false => wave % 3 - 1,
            };
            let open = self.price;
            self.price = (self.price + step).max(1_000);
            let (ts_open, ts_event) = (self.minute * 60_000_000_000, (self.minute + 1) * 60_000_000_000);
            columns.ts_open.push(ts_open);
            columns.ts_event.push(ts_event);
            columns.ts_init.push(ts_event);
            columns.open.push(open);
            columns.high.push(open.max(self.price) + 5);
            columns.low.push(open.min(self.price) - 5);
            columns.close.push(self.price);
            columns.volume.push(1_000);
            self.minute += 1;
        }
        let part = SeriesColumns {
            series: SeriesId(0),
            instrument: InstrumentId(0),
            columns: Arc::new(Columns::Bars(columns)),
        };
        self.number += 1;
        let runs = vec![Run { part: 0, start: 0, end: bars as u32 }];
        MarketBatch { number: self.number, parts: vec![part], runs }
    }
}

/// A cell and the market it is on.
pub struct Measured {
    pub paper: PaperCell,
    pub market: Market,
}

/// A cell that has seen so many bars.
pub fn cell_behind(workload: Workload, bars: usize, batch_bars: usize) -> Measured {
    let plan = plan_of(workload);
    let tables = RunTables::of(&plan);
    let cell = &plan.cells[0];
    let strategy: Option<Box<dyn Strategy>> = match workload {
        Workload::Idle => Some(Box::new(Idle)),
        Workload::OrderHeavy => Some(Box::new(EveryOther { bars: 0 })),
        Workload::HoldingSmaCross => None,
    };
    let paper = match strategy {
        None => PaperCell::new(&plan, cell, &tables),
        Some(strategy) => {
            let series = [(SeriesId(0), InstrumentId(0))];
            let from = tables.from;
            let actor = StrategyActor::around(StrategyIndex(0), &cell.strategies[0], strategy, &series, from);
            PaperCell::with_strategies(&plan, cell, &tables, vec![actor])
        }
    };
    let rising = workload == Workload::HoldingSmaCross;
    let market = Market { minute: 0, number: 0, price: 100_000, rising };
    let mut measured = Measured { paper: paper.expect("the plan fits together"), market };
    let mut seen = 0;
    while seen < bars {
        measured.paper.on_batch(&measured.market.batch(batch_bars)).expect("a plain market");
        drop(measured.paper.take_output());
        seen += batch_bars;
    }
    measured
}

fn plan_of(workload: Workload) -> RunPlan {
    let usd = || Currency::new("USD").expect("a currency");
    let symbol = Symbol::new("STK").expect("a symbol");
    let mut stock = Instrument::new(symbol, AssetClass::Equity, usd(), usd(), 2, 0).expect("a share");
    stock.fees = FeeSchedule { taker_bps: 10.into(), ..FeeSchedule::default() };
    let bars = SeriesKind::Bars { interval: Interval::MINUTE, price_type: PriceType::Last };
    let (kind, params) = match workload {
        Workload::HoldingSmaCross => ("sma_cross", serde_json::json!({ "fast": 10, "slow": 50 })),
        _ => ("measured", serde_json::json!({})),
    };
    let version = kind_of(kind).map_or("1", |kind| kind.version);
    let params = match kind_of(kind) {
        Ok(kind) => kind.resolve(params.as_object().expect("an object")).expect("good parameters"),
        Err(_) => params,
    };
    let strategy = StrategyPlan {
        id: kind.into(),
        kind: kind.into(),
        version: version.into(),
        params,
        series: vec![SeriesId(0)],
        size: Size::Quantity(100.into()),
        warm_up_bars: 0,
    };
    let account = AccountSpec {
        id: AccountId::new("bench").expect("a name"),
        kind: AccountKind::Margin { leverage: 2.into() },
        currency: usd(),
        balance: 1_000_000_000.into(),
    };
    let cell = CellPlan {
        account,
        strategies: vec![strategy],
        risk: RiskLimits::default(),
        venue: VenueSpec::default(),
        equity_interval_ns: 60_000_000_000,
        containment: None,
    };
    RunPlan {
        instruments: vec![stock],
        series: vec![SeriesPlan {
            instrument: InstrumentId(0),
            kind: bars,
            start: Timestamp::MIN,
            files: Vec::new(),
        }],
        from: Timestamp::MIN,
        to: Timestamp::MAX,
        batch_rows: 16_384,
        window_batches: 4,
        seed: 1,
        cells: vec![cell],
    }
}
