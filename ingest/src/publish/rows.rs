//! The rows of one instrument that were gathered and are not published yet.

use bytes::Bytes;
use tradeflow_bus::NewRecord;
use tradeflow_bus::record::{QuotesRecord, TradesRecord, encode_into};
use tradeflow_model::market::{Aggressor, Quote, QuoteColumns, Trade, TradeColumns};
use tradeflow_model::{Instrument, Timestamp};

use super::Route;

/// As many rows of one kind go into one record.
pub const ROWS_PER_RECORD: usize = 256;

/// Gathers the rows of an instrument. Its columns are used again and again: what leaves is bytes.
#[derive(Debug)]
pub(crate) struct Rows {
    key: Bytes,
    trades: TradesRecord,
    quotes: QuotesRecord,
}

impl Rows {
    pub fn new(instrument: &Instrument, source: &str) -> Self {
        let scales = (instrument.price_scale, instrument.size_scale);
        let symbol = &instrument.symbol;
        Self {
            key: Bytes::copy_from_slice(symbol.as_str().as_bytes()),
            trades: TradesRecord::new(symbol.clone(), source, scales, TradeColumns::default()),
            quotes: QuotesRecord::new(symbol.clone(), source, scales, QuoteColumns::default()),
        }
    }

    /// Appends a trade; how many there are now.
    #[inline]
    pub fn push_trade(&mut self, trade: &Trade) -> usize {
        let rows = &mut self.trades;
        rows.ts_event.push(trade.ts_event.as_nanos());
        rows.ts_init.push(trade.ts_init.as_nanos());
        rows.price.push(trade.price.raw());
        rows.qty.push(trade.qty.raw());
        rows.aggressor.push(match trade.aggressor {
            Aggressor::Unknown => 0,
            Aggressor::Buyer => 1,
            Aggressor::Seller => 2,
        });
        rows.price.len()
    }

    /// Appends a quote; how many there are now.
    #[inline]
    pub fn push_quote(&mut self, quote: &Quote) -> usize {
        let rows = &mut self.quotes;
        rows.ts_event.push(quote.ts_event.as_nanos());
        rows.ts_init.push(quote.ts_init.as_nanos());
        rows.bid.push(quote.bid.raw());
        rows.ask.push(quote.ask.raw());
        rows.bid_size.push(quote.bid_size.raw());
        rows.ask_size.push(quote.ask_size.raw());
        rows.bid.len()
    }

    /// The number of rows of the kind that has more.
    pub fn longest(&self) -> usize {
        self.trades.price.len().max(self.quotes.bid.len())
    }

    /// Drops all trades but the newest; how many were dropped.
    pub fn conflate_trades(&mut self) -> usize {
        let rows = &mut self.trades;
        for column in [&mut rows.ts_event, &mut rows.ts_init, &mut rows.price, &mut rows.qty] {
            keep_last(column);
        }
        keep_last(&mut rows.aggressor)
    }

    /// Drops all quotes but the newest; how many were dropped.
    pub fn conflate_quotes(&mut self) -> usize {
        let rows = &mut self.quotes;
        for column in
            [&mut rows.ts_event, &mut rows.ts_init, &mut rows.bid, &mut rows.ask, &mut rows.bid_size]
        {
            keep_last(column);
        }
        keep_last(&mut rows.ask_size)
    }

    /// Puts what was gathered into records, with the number of rows in each, and is empty again. They are written in
    /// `buffer` first.
    pub fn take(&mut self, route: &Route, buffer: &mut Vec<u8>, into: &mut Vec<(NewRecord, usize)>) {
        if let Some(ts) = self.quotes.ts_init.last() {
            let rows = &self.quotes;
            encode_into(rows, buffer);
            into.push((route.quotes(&self.key, buffer, Timestamp::from_nanos(*ts)), rows.bid.len()));
            let rows = &mut self.quotes;
            for column in [
                &mut rows.ts_event,
                &mut rows.ts_init,
                &mut rows.bid,
                &mut rows.ask,
                &mut rows.bid_size,
                &mut rows.ask_size,
            ] {
                column.clear();
            }
        }
        if let Some(ts) = self.trades.ts_init.last() {
            let rows = &self.trades;
            encode_into(rows, buffer);
            into.push((route.trades(&self.key, buffer, Timestamp::from_nanos(*ts)), rows.price.len()));
            let rows = &mut self.trades;
            for column in [&mut rows.ts_event, &mut rows.ts_init, &mut rows.price, &mut rows.qty] {
                column.clear();
            }
            rows.aggressor.clear();
        }
    }
}

fn keep_last<T: Copy>(column: &mut Vec<T>) -> usize {
    let dropped = column.len().saturating_sub(1);
    if dropped > 0 {
        column[0] = column[dropped];
        column.truncate(1);
    }
    dropped
}
