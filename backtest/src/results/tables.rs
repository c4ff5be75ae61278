//! The columns of each table.

use std::path::Path;

use tradeflow_actors::account::RoundTrip;
use tradeflow_actors::output::{CellOutput, EquityColumns, FillRecord, OrderRecord, PositionRecord};
use tradeflow_model::order::Liquidity;
use tradeflow_model::plan::{CellPlan, RunPlan};
use tradeflow_model::{Instrument, Money, Price, Qty, Side, StrategyIndex};

use super::table::{Cell, Kind, Table};

/// The tables of a run.
pub(super) struct Tables {
    equity: Table,
    orders: Table,
    fills: Table,
    trades: Table,
    positions: Table,
    names: Vec<CellNames>,
    instruments: Vec<Instrument>,
    scales: Scales,
    trade_ids: Vec<i64>,
}

/// Points of an equity curve, for statistics.
pub(crate) struct Points {
    /// Times, in nanoseconds.
    pub(crate) ts_event: Vec<i64>,
    /// Equity.
    pub(crate) equity: Vec<f64>,
}

/// What the rows of a cell are called.
struct CellNames {
    account: String,
    strategies: Vec<String>,
}

/// The decimals of the tables' columns: the finest of the run's instruments and currencies, as a column has one scale.
#[derive(Debug, Clone, Copy)]
struct Scales {
    price: u8,
    size: u8,
    money: u8,
}

impl CellNames {
    fn of(plan: &CellPlan) -> Self {
        Self {
            account: plan.account.id.to_string(),
            strategies: plan.strategies.iter().map(|strategy| strategy.id.clone()).collect(),
        }
    }

    fn strategy(&self, index: Option<StrategyIndex>) -> Cell<'_> {
        index.map_or(Cell::None, |index| Cell::Text(&self.strategies[index.index()]))
    }
}

impl Scales {
    fn money(&self, amount: Money) -> Result<i64, String> {
        amount.rounded(self.money).ok_or_else(|| format!("{amount} does not fit 18 digits of a result table"))
    }

    /// Amounts one after another: cash and equity often stay as they are, and a division of 128 bits is worth keeping.
    fn column(&self, amounts: &[i128]) -> Result<Vec<i64>, String> {
        let mut column = Vec::with_capacity(amounts.len());
        let mut last = (0, 0);
        for raw in amounts {
            if *raw != last.0 {
                last = (*raw, self.money(Money::from_raw(*raw))?);
            }
            column.push(last.1);
        }
        Ok(column)
    }

    fn scaled(raw: i64, from: u8, to: u8) -> Result<i64, String> {
        raw.checked_mul(10_i64.pow(u32::from(to - from)))
            .ok_or_else(|| format!("{raw} at {from} decimals does not fit 18 digits of a result table"))
    }

    fn price(&self, price: Price, definition: &Instrument) -> Result<i64, String> {
        Self::scaled(price.raw(), definition.price_scale, self.price)
    }

    fn size(&self, qty: Qty, definition: &Instrument) -> Result<i64, String> {
        Self::scaled(qty.raw(), definition.size_scale, self.size)
    }
}

impl Tables {
    pub(super) fn create(plan: &RunPlan, folder: &Path) -> Result<Self, String> {
        let finest = |scale: fn(&Instrument) -> u8| plan.instruments.iter().map(scale).max().unwrap_or(0);
        let scales = Scales {
            price: finest(|i| i.price_scale),
            size: finest(|i| i.size_scale),
            money: plan.cells.iter().map(|c| c.account.currency.report_scale()).max().unwrap_or(8),
        };
        use Kind::{Bool, Integer, Time, Word};
        let (price, size, money) =
            (Kind::Decimal(scales.price), Kind::Decimal(scales.size), Kind::Decimal(scales.money));
        let table = |name: &str, columns: &[(&str, Kind)]| Table::create(folder, name, columns);
        // By far the longest table: the account is a column only where there are several.
        let curve = [("ts", Time), ("cash", money), ("equity", money), ("account", Word)];
        let curve = if plan.cells.len() > 1 { &curve[..] } else { &curve[..3] };
        Ok(Self {
            equity: table("equity", curve)?,
            orders: table(
                "orders",
                &[
                    ("account", Word),
                    ("order_id", Integer),
                    ("strategy?", Word),
                    ("symbol", Word),
                    ("side", Word),
                    ("type", Word),
                    ("time_in_force", Word),
                    ("quantity", size),
                    ("limit_price?", price),
                    ("trigger?", price),
                    ("reduce_only", Bool),
                    ("parent_id?", Integer),
                    ("status", Word),
                    ("filled", size),
                    ("average_price?", price),
                    ("ts_submitted", Time),
                    ("ts_closed", Time),
                    ("reason?", Word),
                ],
            )?,
            fills: table(
                "fills",
                &[
                    ("account", Word),
                    ("order_id", Integer),
                    ("strategy?", Word),
                    ("symbol", Word),
                    ("ts", Time),
                    ("ts_init", Time),
                    ("side", Word),
                    ("price", price),
                    ("quantity", size),
                    ("fee", money),
                    ("liquidity", Word),
                ],
            )?,
            trades: table(
                "trades",
                &[
                    ("account", Word),
                    ("trade_id", Integer),
                    ("strategy?", Word),
                    ("symbol", Word),
                    ("side", Word),
                    ("quantity", size),
                    ("entry_time", Time),
                    ("exit_time?", Time),
                    ("entry_price", price),
                    ("exit_price?", price),
                    ("pnl?", money),
                    ("fees", money),
                    ("dividends", money),
                    ("pnl_net?", money),
                    ("open", Bool),
                ],
            )?,
            positions: table(
                "positions",
                &[
                    ("account", Word),
                    ("ts", Time),
                    ("symbol", Word),
                    ("quantity", size),
                    ("cost", money),
                    ("realized", money),
                    ("fees", money),
                ],
            )?,
            names: plan.cells.iter().map(CellNames::of).collect(),
            instruments: plan.instruments.clone(),
            scales,
            trade_ids: vec![0; plan.cells.len()],
        })
    }

    /// Writes what a cell put out; returns its points of the equity curve.
    pub(super) fn take(&mut self, cell: usize, output: CellOutput) -> Result<Points, String> {
        output.orders.iter().try_for_each(|order| self.order(cell, order))?;
        output.fills.iter().try_for_each(|fill| self.fill(cell, fill))?;
        output.trades.iter().try_for_each(|trip| self.trade(cell, trip))?;
        output.positions.iter().try_for_each(|position| self.position(cell, position))?;
        self.curve(cell, output.equity)
    }

    fn curve(&mut self, cell: usize, equity: EquityColumns) -> Result<Points, String> {
        let cash = self.scales.column(&equity.cash)?;
        let values = self.scales.column(&equity.equity)?;
        // Statistics are of the exact amounts, not of the rounded ones.
        let points = Points {
            ts_event: equity.ts_event.clone(),
            equity: equity.equity.iter().map(|raw| Money::from_raw(*raw).to_f64()).collect(),
        };
        self.equity.columns([equity.ts_event, cash, values], &self.names[cell].account)?;
        Ok(points)
    }

    fn order(&mut self, cell: usize, record: &OrderRecord) -> Result<(), String> {
        let (order, names, scales) = (&record.order, &self.names[cell], self.scales);
        let definition = &self.instruments[order.instrument.index()];
        let price = |price: Option<Price>| match price {
            Some(price) => scales.price(price, definition).map(Cell::Integer),
            None => Ok(Cell::None),
        };
        self.orders.row(&[
            Cell::Text(&names.account),
            Cell::Integer(order.id.as_u64() as i64),
            names.strategy(order.strategy),
            Cell::Text(definition.symbol.as_str()),
            Cell::Text(order.side.name()),
            Cell::Text(order.kind.name()),
            Cell::Text(order.time_in_force.name()),
            Cell::Integer(scales.size(order.qty, definition)?),
            price(order.kind.limit_price())?,
            price(order.kind.trigger())?,
            Cell::Bool(order.reduce_only),
            order.parent.map_or(Cell::None, |id| Cell::Integer(id.as_u64() as i64)),
            Cell::Text(order.status.name()),
            Cell::Integer(scales.size(order.filled, definition)?),
            price(order.average_price())?,
            Cell::Integer(order.ts_submitted.as_nanos()),
            Cell::Integer(record.ts_closed.as_nanos()),
            if record.reason.is_empty() { Cell::None } else { Cell::Text(&record.reason) },
        ])
    }

    fn fill(&mut self, cell: usize, fill: &FillRecord) -> Result<(), String> {
        let (names, scales) = (&self.names[cell], self.scales);
        let definition = &self.instruments[fill.instrument.index()];
        let liquidity = if fill.liquidity == Liquidity::Maker { "maker" } else { "taker" };
        self.fills.row(&[
            Cell::Text(&names.account),
            Cell::Integer(fill.order.as_u64() as i64),
            names.strategy(fill.strategy),
            Cell::Text(definition.symbol.as_str()),
            Cell::Integer(fill.ts_event.as_nanos()),
            Cell::Integer(fill.ts_init.as_nanos()),
            Cell::Text(fill.side.name()),
            Cell::Integer(scales.price(fill.price, definition)?),
            Cell::Integer(scales.size(fill.qty, definition)?),
            Cell::Integer(scales.money(fill.fee)?),
            Cell::Text(liquidity),
        ])
    }

    fn trade(&mut self, cell: usize, trip: &RoundTrip) -> Result<(), String> {
        let (names, scales) = (&self.names[cell], self.scales);
        let definition = &self.instruments[trip.instrument.index()];
        let price = |price: Option<Price>| match price {
            Some(price) => scales.price(price, definition).map(Cell::Integer),
            None => Ok(Cell::None),
        };
        let closed = trip.exit_time.is_some();
        let net = trip.profit(definition).map_err(|error| error.to_string())?;
        let gross = Money::from_raw(net.raw() + trip.fees.raw() - trip.flows.raw());
        let profit = |amount| match closed {
            true => scales.money(amount).map(Cell::Integer),
            false => Ok(Cell::None),
        };
        let id = &mut self.trade_ids[cell];
        *id += 1;
        self.trades.row(&[
            Cell::Text(&names.account),
            Cell::Integer(*id),
            names.strategy(trip.strategy),
            Cell::Text(definition.symbol.as_str()),
            Cell::Text(if trip.side == Side::Buy { "long" } else { "short" }),
            Cell::Integer(scales.size(trip.entry_qty, definition)?),
            Cell::Integer(trip.entry_time.as_nanos()),
            trip.exit_time.map_or(Cell::None, |time| Cell::Integer(time.as_nanos())),
            price(trip.entry_price())?,
            price(trip.exit_price())?,
            profit(gross)?,
            Cell::Integer(scales.money(trip.fees)?),
            Cell::Integer(scales.money(trip.flows)?),
            profit(net)?,
            Cell::Bool(!closed),
        ])
    }

    fn position(&mut self, cell: usize, position: &PositionRecord) -> Result<(), String> {
        let (names, scales) = (&self.names[cell], self.scales);
        let definition = &self.instruments[position.instrument.index()];
        self.positions.row(&[
            Cell::Text(&names.account),
            Cell::Integer(position.ts_event.as_nanos()),
            Cell::Text(definition.symbol.as_str()),
            Cell::Integer(scales.size(position.qty, definition)?),
            Cell::Integer(scales.money(position.cost)?),
            Cell::Integer(scales.money(position.realized)?),
            Cell::Integer(scales.money(position.fees)?),
        ])
    }

    pub(super) fn finish(self) -> Result<(), String> {
        [self.equity, self.orders, self.fills, self.trades, self.positions]
            .into_iter()
            .try_for_each(Table::finish)
    }
}
