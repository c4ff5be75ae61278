//! Market data of one instrument, as columns of equal length: one message of a feed or a burst of them.
//!
//! Prices and quantities are integers at the scales that the record gives: `price / 10^price_scale`. Times are
//! nanoseconds since 1970-01-01 UTC: `ts_event` by the venue's clock, `ts_init` when this system received it.

use serde::{Deserialize, Serialize};
use tradeflow_model::market::{Aggressor, BarColumns, Columns, PriceType, QuoteColumns, TradeColumns};
use tradeflow_model::{Interval, Symbol};

use super::{RecordError, decode, encode};

/// Trades of an instrument (`md.trades.v1`, key: the symbol).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the columns are the fields of `model::Trade` with their names
pub struct TradesRecord {
    /// Version of this schema.
    pub v: u16,
    /// The instrument, as the catalog calls it.
    pub symbol: Symbol,
    /// The feed: `binance`, `finnhub`, …
    pub source: String,
    /// Decimals of prices.
    pub price_scale: u8,
    /// Decimals of quantities.
    pub size_scale: u8,
    pub ts_event: Vec<i64>,
    pub ts_init: Vec<i64>,
    pub price: Vec<i64>,
    pub qty: Vec<i64>,
    /// 0 unknown, 1 a buyer lifted the ask, 2 a seller hit the bid.
    pub aggressor: Vec<u8>,
}

/// Best bids and asks of an instrument (`md.quotes.v1`, key: the symbol).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // as above, of `model::Quote`
pub struct QuotesRecord {
    pub v: u16,
    pub symbol: Symbol,
    pub source: String,
    pub price_scale: u8,
    pub size_scale: u8,
    pub ts_event: Vec<i64>,
    pub ts_init: Vec<i64>,
    pub bid: Vec<i64>,
    pub ask: Vec<i64>,
    pub bid_size: Vec<i64>,
    pub ask_size: Vec<i64>,
}

/// Bars of an instrument (`md.bars.v1`, key: the symbol).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // as above, of `model::Bar`
pub struct BarsRecord {
    pub v: u16,
    pub symbol: Symbol,
    pub source: String,
    pub price_scale: u8,
    pub size_scale: u8,
    /// Their length: `1m`, `1h`, …
    pub interval: Interval,
    /// What they are made of: `last`, `bid`, `ask`, `mid`.
    pub price_type: PriceType,
    pub ts_open: Vec<i64>,
    pub ts_event: Vec<i64>,
    pub ts_init: Vec<i64>,
    pub open: Vec<i64>,
    pub high: Vec<i64>,
    pub low: Vec<i64>,
    pub close: Vec<i64>,
    pub volume: Vec<i64>,
    /// The offset up to which (exclusive) the ticks of the same partition are in these bars, where they were made of
    /// ticks: whoever makes the bars goes on from here after a restart.
    #[serde(default)]
    pub ticks_through: Option<u64>,
    /// Of the record at `ticks_through`, this many first rows are in these bars too: a bar may end within a burst.
    #[serde(default)]
    pub rows_through: u32,
}

/// A record of one of the market-data topics.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MarketRecord {
    Trades(TradesRecord),
    Quotes(QuotesRecord),
    Bars(BarsRecord),
}

/// The version that is written.
const VERSION: u16 = 1;
/// More rows than this in one record are refused: a feed cuts its bursts well below.
pub(crate) const ROWS_MAX: usize = 65_536;

impl TradesRecord {
    /// A record of these rows.
    pub fn new(symbol: Symbol, source: &str, scales: (u8, u8), rows: TradeColumns) -> Self {
        let code = |side: Aggressor| match side {
            Aggressor::Unknown => 0,
            Aggressor::Buyer => 1,
            Aggressor::Seller => 2,
        };
        Self {
            v: VERSION,
            symbol,
            source: source.to_owned(),
            price_scale: scales.0,
            size_scale: scales.1,
            ts_event: rows.ts_event,
            ts_init: rows.ts_init,
            price: rows.price,
            qty: rows.qty,
            aggressor: rows.aggressor.into_iter().map(code).collect(),
        }
    }

    /// From its bytes, checked.
    ///
    /// # Errors
    /// When they are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = decode("md.trades", bytes)?;
        let columns = [record.ts_init.len(), record.price.len(), record.qty.len(), record.aggressor.len()];
        check("md.trades", record.ts_event.len(), &columns)?;
        if let Some(code) = record.aggressor.iter().find(|code| **code > 2) {
            let reason = format!("aggressor {code} is not 0, 1 or 2");
            return Err(RecordError { schema: "md.trades", reason });
        }
        Ok(record)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Its rows.
    pub fn into_columns(self) -> Columns {
        let side = |code: u8| match code {
            1 => Aggressor::Buyer,
            2 => Aggressor::Seller,
            _ => Aggressor::Unknown,
        };
        Columns::Trades(TradeColumns {
            ts_event: self.ts_event,
            ts_init: self.ts_init,
            price: self.price,
            qty: self.qty,
            aggressor: self.aggressor.into_iter().map(side).collect(),
        })
    }
}

impl QuotesRecord {
    /// A record of these rows.
    pub fn new(symbol: Symbol, source: &str, scales: (u8, u8), rows: QuoteColumns) -> Self {
        Self {
            v: VERSION,
            symbol,
            source: source.to_owned(),
            price_scale: scales.0,
            size_scale: scales.1,
            ts_event: rows.ts_event,
            ts_init: rows.ts_init,
            bid: rows.bid,
            ask: rows.ask,
            bid_size: rows.bid_size,
            ask_size: rows.ask_size,
        }
    }

    /// From its bytes, checked.
    ///
    /// # Errors
    /// When they are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = decode("md.quotes", bytes)?;
        let columns = [
            record.ts_init.len(),
            record.bid.len(),
            record.ask.len(),
            record.bid_size.len(),
            record.ask_size.len(),
        ];
        check("md.quotes", record.ts_event.len(), &columns)?;
        Ok(record)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Its rows.
    pub fn into_columns(self) -> Columns {
        Columns::Quotes(QuoteColumns {
            ts_event: self.ts_event,
            ts_init: self.ts_init,
            bid: self.bid,
            ask: self.ask,
            bid_size: self.bid_size,
            ask_size: self.ask_size,
        })
    }
}

impl BarsRecord {
    /// A record of these rows; `of` is their length and what they are made of.
    pub fn new(
        symbol: Symbol,
        source: &str,
        scales: (u8, u8),
        of: (Interval, PriceType),
        rows: BarColumns,
        ticks_through: Option<u64>,
    ) -> Self {
        Self {
            v: VERSION,
            symbol,
            source: source.to_owned(),
            price_scale: scales.0,
            size_scale: scales.1,
            interval: of.0,
            price_type: of.1,
            ts_open: rows.ts_open,
            ts_event: rows.ts_event,
            ts_init: rows.ts_init,
            open: rows.open,
            high: rows.high,
            low: rows.low,
            close: rows.close,
            volume: rows.volume,
            ticks_through,
            rows_through: 0,
        }
    }

    /// From its bytes, checked.
    ///
    /// # Errors
    /// When they are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = decode("md.bars", bytes)?;
        let columns = [
            record.ts_open.len(),
            record.ts_init.len(),
            record.open.len(),
            record.high.len(),
            record.low.len(),
            record.close.len(),
            record.volume.len(),
        ];
        check("md.bars", record.ts_event.len(), &columns)?;
        Ok(record)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Its rows.
    pub fn into_columns(self) -> Columns {
        Columns::Bars(BarColumns {
            ts_open: self.ts_open,
            ts_event: self.ts_event,
            ts_init: self.ts_init,
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            volume: self.volume,
        })
    }
}

fn check(schema: &'static str, rows: usize, columns: &[usize]) -> Result<(), RecordError> {
    if rows == 0 || rows > ROWS_MAX || columns.iter().any(|column| *column != rows) {
        let reason =
            format!("its columns have {rows} and {columns:?} rows: all must have the same, 1 to {ROWS_MAX}");
        return Err(RecordError { schema, reason });
    }
    Ok(())
}
