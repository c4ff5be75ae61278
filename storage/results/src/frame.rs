//! Between polars' columns and rows. Both stores answer with frames of the same columns, and this is where they become
//! rows, so that a row means the same whichever store it is of.

use polars_core::prelude::*;
use rust_decimal::Decimal;
use tradeflow_model::Timestamp;

use crate::rows::{EquityPoint, Fill, GroupStatistics, Order, Run, RunStrategy, Trade, Utc};
use crate::summary;

/// The scale of amounts where tables of many runs have one: 18 decimals.
pub(crate) const SCALE: usize = 18;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Bool,
    Time,
    Amount,
}

/// A table of a run: its file, which is its name in ClickHouse too, and its columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, Kind)],
}

use Kind::{Amount, Bool, Integer, Text, Time};

pub(crate) const EQUITY: Table = Table {
    name: "equity",
    columns: &[("account", Text), ("ts", Time), ("cash", Amount), ("equity", Amount)],
};

pub(crate) const ORDERS: Table = Table {
    name: "orders",
    columns: &[
        ("account", Text),
        ("order_id", Integer),
        ("strategy", Text),
        ("symbol", Text),
        ("side", Text),
        ("type", Text),
        ("time_in_force", Text),
        ("quantity", Amount),
        ("limit_price", Amount),
        ("trigger", Amount),
        ("reduce_only", Bool),
        ("parent_id", Integer),
        ("status", Text),
        ("filled", Amount),
        ("average_price", Amount),
        ("ts_submitted", Time),
        ("ts_closed", Time),
        ("reason", Text),
    ],
};

pub(crate) const FILLS: Table = Table {
    name: "fills",
    columns: &[
        ("account", Text),
        ("order_id", Integer),
        ("strategy", Text),
        ("symbol", Text),
        ("ts", Time),
        ("ts_init", Time),
        ("side", Text),
        ("price", Amount),
        ("quantity", Amount),
        ("fee", Amount),
        ("liquidity", Text),
    ],
};

pub(crate) const TRADES: Table = Table {
    name: "trades",
    columns: &[
        ("account", Text),
        ("trade_id", Integer),
        ("strategy", Text),
        ("symbol", Text),
        ("side", Text),
        ("quantity", Amount),
        ("entry_time", Time),
        ("exit_time", Time),
        ("entry_price", Amount),
        ("exit_price", Amount),
        ("pnl", Amount),
        ("fees", Amount),
        ("dividends", Amount),
        ("pnl_net", Amount),
        ("open", Bool),
    ],
};

/// The tables of a run.
pub(crate) const TABLES: [Table; 4] = [EQUITY, ORDERS, FILLS, TRADES];

impl Table {
    /// The names of its columns.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|(name, _)| *name)
    }

    /// Says which column is missing or is not of its kind.
    pub(crate) fn check(self, schema: &Schema) -> Result<(), String> {
        for (name, kind) in self.columns {
            let Some(dtype) = schema.get(name) else { return Err(format!("has no column {name}")) };
            let fits = match kind {
                Text => *dtype == DataType::String,
                Integer => *dtype == DataType::Int64,
                Bool => *dtype == DataType::Boolean,
                Time => matches!(dtype, DataType::Datetime(TimeUnit::Nanoseconds, _)),
                Amount => matches!(dtype, DataType::Decimal(_, scale) if *scale <= SCALE),
            };
            if !fits {
                return Err(format!("its column {name} is of the type {dtype}"));
            }
        }
        Ok(())
    }
}

/// The columns of a frame, value by value.
struct Columns<'a>(&'a DataFrame);

impl Columns<'_> {
    fn texts(&self, name: &str) -> PolarsResult<Vec<Option<String>>> {
        Ok(self.0.column(name)?.str()?.iter().map(|text| text.map(str::to_owned)).collect())
    }

    fn text(&self, name: &str) -> PolarsResult<Vec<String>> {
        all(name, self.texts(name)?)
    }

    fn i64s(&self, name: &str) -> PolarsResult<Vec<Option<i64>>> {
        Ok(self.0.column(name)?.i64()?.iter().collect())
    }

    fn u64(&self, name: &str) -> PolarsResult<Vec<u64>> {
        all(name, self.0.column(name)?.cast(&DataType::UInt64)?.u64()?.iter().collect())
    }

    fn f64s(&self, name: &str) -> PolarsResult<Vec<Option<f64>>> {
        Ok(self.0.column(name)?.f64()?.iter().collect())
    }

    fn bool(&self, name: &str) -> PolarsResult<Vec<bool>> {
        all(name, self.0.column(name)?.bool()?.iter().collect())
    }

    fn times(&self, name: &str) -> PolarsResult<Vec<Option<Utc>>> {
        let column = self.0.column(name)?.cast(&DataType::Int64)?;
        Ok(column.i64()?.iter().map(|ns| ns.map(|ns| Utc(Timestamp::from_nanos(ns)))).collect())
    }

    fn time(&self, name: &str) -> PolarsResult<Vec<Utc>> {
        all(name, self.times(name)?)
    }

    fn amounts(&self, name: &str) -> PolarsResult<Vec<Option<Decimal>>> {
        let column = self.0.column(name)?.decimal()?;
        let scale = column.scale();
        column.physical().iter().map(|raw| raw.map(|raw| decimal(name, raw, scale)).transpose()).collect()
    }

    fn amount(&self, name: &str) -> PolarsResult<Vec<Decimal>> {
        all(name, self.amounts(name)?)
    }

    fn lists(&self, name: &str) -> PolarsResult<Vec<Vec<String>>> {
        let lists = self.0.column(name)?.list()?;
        lists
            .amortized_iter()
            .map(|list| match list {
                Some(list) => Ok(list.as_ref().str()?.iter().flatten().map(str::to_owned).collect()),
                None => Ok(Vec::new()),
            })
            .collect()
    }
}

fn all<T>(name: &str, values: Vec<Option<T>>) -> PolarsResult<Vec<T>> {
    values
        .into_iter()
        .collect::<Option<_>>()
        .ok_or_else(|| polars_err!(ComputeError: "a value of {name} is missing"))
}

/// A decimal of this many units, without closing zeros.
fn decimal(name: &str, mut raw: i128, mut scale: usize) -> PolarsResult<Decimal> {
    while scale > 0 && raw % 10 == 0 {
        raw /= 10;
        scale -= 1;
    }
    Decimal::try_from_i128_with_scale(raw, scale as u32)
        .map_err(|_| polars_err!(ComputeError: "{name}: {raw} with {scale} decimals has too many digits"))
}

/// An iterator over each column of a frame that gives its next value: `next!(column)`.
macro_rules! rows {
    ($frame:ident => $row:ident { $($field:ident: $column:ident($name:literal)),* $(,)? } $(, $($more:ident: $value:expr),*)?) => {{
        let columns = Columns($frame);
        $(let mut $field = columns.$column($name)?.into_iter();)*
        let mut rows = Vec::with_capacity($frame.height());
        for _ in 0..$frame.height() {
            let short = || polars_err!(ComputeError: "columns of different lengths");
            rows.push($row { $($field: $field.next().ok_or_else(short)?,)* $($($more: $value,)*)? });
        }
        Ok(rows)
    }};
}

pub(crate) fn equity(frame: &DataFrame) -> PolarsResult<Vec<EquityPoint>> {
    rows!(frame => EquityPoint { ts: time("ts"), cash: amount("cash"), equity: amount("equity") })
}

pub(crate) fn orders(frame: &DataFrame) -> PolarsResult<Vec<Order>> {
    rows!(frame => Order {
        account: text("account"),
        order_id: i64("order_id"),
        strategy: texts("strategy"),
        symbol: text("symbol"),
        side: text("side"),
        kind: text("type"),
        time_in_force: text("time_in_force"),
        quantity: amount("quantity"),
        limit_price: amounts("limit_price"),
        trigger: amounts("trigger"),
        reduce_only: bool("reduce_only"),
        parent_id: i64s("parent_id"),
        status: text("status"),
        filled: amount("filled"),
        average_price: amounts("average_price"),
        ts_submitted: time("ts_submitted"),
        ts_closed: time("ts_closed"),
        reason: texts("reason"),
    })
}

pub(crate) fn fills(frame: &DataFrame) -> PolarsResult<Vec<Fill>> {
    rows!(frame => Fill {
        account: text("account"),
        order_id: i64("order_id"),
        strategy: texts("strategy"),
        symbol: text("symbol"),
        ts: time("ts"),
        ts_init: time("ts_init"),
        side: text("side"),
        price: amount("price"),
        quantity: amount("quantity"),
        fee: amount("fee"),
        liquidity: text("liquidity"),
    })
}

pub(crate) fn trades(frame: &DataFrame) -> PolarsResult<Vec<Trade>> {
    rows!(frame => Trade {
        account: text("account"),
        trade_id: i64("trade_id"),
        strategy: texts("strategy"),
        symbol: text("symbol"),
        side: text("side"),
        quantity: amount("quantity"),
        entry_time: time("entry_time"),
        exit_time: times("exit_time"),
        entry_price: amount("entry_price"),
        exit_price: amounts("exit_price"),
        pnl: amounts("pnl"),
        fees: amount("fees"),
        dividends: amount("dividends"),
        pnl_net: amounts("pnl_net"),
        open: bool("open"),
    })
}

pub(crate) fn groups(frame: &DataFrame) -> PolarsResult<Vec<GroupStatistics>> {
    rows!(frame => GroupStatistics {
        value: text("value"),
        runs: u64("runs"),
        best: f64s("best"),
        median: f64s("median"),
        worst: f64s("worst"),
        best_run: texts("best_run"),
    })
}

/// A value of each column that there must be.
impl Columns<'_> {
    fn i64(&self, name: &str) -> PolarsResult<Vec<i64>> {
        all(name, self.i64s(name)?)
    }

    fn f64(&self, name: &str) -> PolarsResult<Vec<f64>> {
        all(name, self.f64s(name)?)
    }

    fn strategies(&self, name: &str) -> PolarsResult<Vec<Vec<RunStrategy>>> {
        let read = |text: String| {
            serde_json::from_str(&text).map_err(|error| polars_err!(ComputeError: "{name}: {error}"))
        };
        self.text(name)?.into_iter().map(read).collect()
    }
}

/// The whole numbers of a column.
pub(crate) fn numbers(frame: &DataFrame, name: &str) -> PolarsResult<Vec<u64>> {
    Columns(frame).u64(name)
}

/// A count in an answer of one row.
pub(crate) fn number(frame: &DataFrame, name: &str) -> PolarsResult<u64> {
    Ok(Columns(frame).u64(name)?.first().copied().unwrap_or(0))
}

/// A whole number of an answer of one row.
pub(crate) fn integer(frame: &DataFrame, name: &str) -> PolarsResult<i64> {
    Ok(Columns(frame).i64(name)?.first().copied().unwrap_or(0))
}

/// The texts of a column.
pub(crate) fn texts(frame: &DataFrame, name: &str) -> PolarsResult<Vec<String>> {
    Columns(frame).text(name)
}

pub(crate) fn runs(frame: &DataFrame) -> PolarsResult<Vec<Run>> {
    rows!(frame => Run {
        run: text("run"),
        finished: time("finished"),
        version: text("version"),
        digest: text("digest"),
        config_digest: text("config_digest"),
        data_digest: text("data_digest"),
        seed: u64("seed"),
        completed: bool("completed"),
        from: time("period_from"),
        to: time("period_to"),
        symbols: lists("symbols"),
        accounts: lists("accounts"),
        strategies: strategies("strategies"),
        currency: texts("currency"),
        bars: u64("bars"),
        ticks: u64("ticks"),
        orders: u64("orders"),
        fills: u64("fills"),
        trades: u64("trades"),
        initial_equity: amount("initial_equity"),
        final_equity: amount("final_equity"),
        fees: amount("fees"),
        total_return: f64s("total_return"),
        cagr: f64s("cagr"),
        volatility: f64s("volatility"),
        sharpe: f64s("sharpe"),
        sortino: f64s("sortino"),
        max_drawdown: f64s("max_drawdown"),
        win_rate: f64s("win_rate"),
        profit_factor: f64s("profit_factor"),
        seconds: f64("seconds"),
    })
}

/// The columns of the table of runs, as both stores have them.
pub(crate) const RUN_COLUMNS: [&str; 33] = [
    "run",
    "finished",
    "version",
    "digest",
    "config_digest",
    "data_digest",
    "seed",
    "completed",
    "period_from",
    "period_to",
    "symbols",
    "accounts",
    "kinds",
    "params",
    "strategies",
    "currency",
    "bars",
    "ticks",
    "orders",
    "fills",
    "trades",
    "initial_equity",
    "final_equity",
    "fees",
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "max_drawdown",
    "win_rate",
    "profit_factor",
    "seconds",
];

/// The table of these runs.
pub(crate) fn of_runs(runs: &[Run]) -> PolarsResult<DataFrame> {
    let text = |name: &str, of: fn(&Run) -> &str| -> Column {
        Column::new(name.into(), runs.iter().map(of).collect::<Vec<_>>())
    };
    let whole = |name: &str, of: fn(&Run) -> u64| -> Column {
        Column::new(name.into(), runs.iter().map(of).collect::<Vec<_>>())
    };
    let number = |name: &str, of: fn(&Run) -> Option<f64>| -> Column {
        Column::new(name.into(), runs.iter().map(of).collect::<Vec<_>>())
    };
    let list = |name: &str, of: &dyn Fn(&Run) -> Vec<String>| -> Column {
        let lists: ListChunked = runs.iter().map(|run| Series::new("".into(), of(run))).collect();
        lists.with_name(name.into()).into_column()
    };
    let time = |name: &str, of: fn(&Run) -> Utc| -> PolarsResult<Column> {
        let nanos: Vec<i64> = runs.iter().map(|run| of(run).0.as_nanos()).collect();
        Column::new(name.into(), nanos).cast(&time_type())
    };
    let amount = |name: &str, of: fn(&Run) -> Decimal| -> PolarsResult<Column> {
        let raw = runs.iter().map(|run| units(of(run))).collect::<Option<Vec<i128>>>();
        let raw = raw.ok_or_else(|| polars_err!(ComputeError: "{name} has too many digits"))?;
        let column = Int128Chunked::from_vec(name.into(), raw).into_decimal_unchecked(38, SCALE);
        Ok(column.into_series().into_column())
    };
    let strategies = runs.iter().map(|run| serde_json::to_string(&run.strategies));
    let strategies: Vec<String> = strategies
        .collect::<Result<_, _>>()
        .map_err(|error| polars_err!(ComputeError: "strategies: {error}"))?;
    let currencies: Vec<_> = runs.iter().map(|run| run.currency.as_deref()).collect();
    let completed: Vec<_> = runs.iter().map(|run| run.completed).collect();
    let columns = vec![
        text("run", |run| &run.run),
        time("finished", |run| run.finished)?,
        text("version", |run| &run.version),
        text("digest", |run| &run.digest),
        text("config_digest", |run| &run.config_digest),
        text("data_digest", |run| &run.data_digest),
        whole("seed", |run| run.seed),
        Column::new("completed".into(), completed),
        time("period_from", |run| run.from)?,
        time("period_to", |run| run.to)?,
        list("symbols", &|run| run.symbols.clone()),
        list("accounts", &|run| run.accounts.clone()),
        list("kinds", &summary::kinds),
        list("params", &summary::params),
        Column::new("strategies".into(), strategies),
        Column::new("currency".into(), currencies),
        whole("bars", |run| run.bars),
        whole("ticks", |run| run.ticks),
        whole("orders", |run| run.orders),
        whole("fills", |run| run.fills),
        whole("trades", |run| run.trades),
        amount("initial_equity", |run| run.initial_equity)?,
        amount("final_equity", |run| run.final_equity)?,
        amount("fees", |run| run.fees)?,
        number("total_return", |run| run.total_return),
        number("cagr", |run| run.cagr),
        number("volatility", |run| run.volatility),
        number("sharpe", |run| run.sharpe),
        number("sortino", |run| run.sortino),
        number("max_drawdown", |run| run.max_drawdown),
        number("win_rate", |run| run.win_rate),
        number("profit_factor", |run| run.profit_factor),
        number("seconds", |run| Some(run.seconds)),
    ];
    DataFrame::new(runs.len(), columns)
}

/// The type of times: nanoseconds. All are UTC; a frame that was read says no zone, so one that was made must not either.
fn time_type() -> DataType {
    DataType::Datetime(TimeUnit::Nanoseconds, None)
}

/// An amount in units of 10⁻¹⁸; `None` where it has more digits than 38.
fn units(amount: Decimal) -> Option<i128> {
    let amount = amount.normalize();
    let up = (SCALE as u32).checked_sub(amount.scale())?;
    amount.mantissa().checked_mul(10_i128.checked_pow(up)?).filter(|raw| raw.unsigned_abs() < 10_u128.pow(38))
}
