//! Records of one partition as columns, in the order of the bus: what is gathered until it is written, and what is
//! read back.

use std::collections::HashMap;
use std::ops::Range;

use tradeflow_bus::Topics;
use tradeflow_bus::record::{BarsRecord, MarketRecord, QuotesRecord, RecordError, TradesRecord};
use tradeflow_model::Symbol;
use tradeflow_model::market::{Aggressor, Columns, QuoteColumns, TradeColumns};
use tradeflow_model::{BarColumns, DigestWriter};
use tradeflow_storage::catalog::SeriesKey;

/// Which of the market-data topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Trades,
    Quotes,
    Bars,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Trades, Self::Quotes, Self::Bars];

    pub(super) fn topic(self, topics: &Topics) -> &tradeflow_bus::Topic {
        match self {
            Self::Trades => &topics.trades,
            Self::Quotes => &topics.quotes,
            Self::Bars => &topics.bars,
        }
    }

    pub(super) fn decode(self, bytes: &[u8]) -> Result<MarketRecord, RecordError> {
        Ok(match self {
            Self::Trades => MarketRecord::Trades(TradesRecord::decode(bytes)?),
            Self::Quotes => MarketRecord::Quotes(QuotesRecord::decode(bytes)?),
            Self::Bars => MarketRecord::Bars(BarsRecord::decode(bytes)?),
        })
    }

    /// Columns of numbers, those of the record before those of the row.
    pub(super) fn integers(self) -> &'static [&'static str] {
        match self {
            Self::Trades => &[
                "offset",
                "v",
                "price_scale",
                "size_scale",
                "ts_event",
                "ts_init",
                "price",
                "qty",
                "aggressor",
            ],
            Self::Quotes => &[
                "offset",
                "v",
                "price_scale",
                "size_scale",
                "ts_event",
                "ts_init",
                "bid",
                "ask",
                "bid_size",
                "ask_size",
            ],
            Self::Bars => &[
                "offset",
                "v",
                "price_scale",
                "size_scale",
                "ticks_through",
                "rows_through",
                "ts_open",
                "ts_event",
                "ts_init",
                "open",
                "high",
                "low",
                "close",
                "volume",
            ],
        }
    }

    /// Columns of words, all of the record.
    pub(super) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Bars => &["symbol", "source", "interval", "price_type"],
            _ => &["symbol", "source"],
        }
    }
}

/// Rows in columns; equal offsets in a row are one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) kind: Kind,
    pub(super) integers: Vec<Vec<i64>>,
    /// Numbers of texts in `texts`.
    pub(super) words: Vec<Vec<u32>>,
    pub(super) texts: Texts,
}

/// Texts that repeat.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}
impl Eq for Texts {}

impl Texts {
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).expect("fewer texts than rows, which are bounded");
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    pub(super) fn get(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}

impl Block {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            integers: vec![Vec::new(); kind.integers().len()],
            words: vec![Vec::new(); kind.words().len()],
            texts: Texts::default(),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.integers[0].len()
    }

    pub(super) fn offset(&self, row: usize) -> u64 {
        self.integers[0][row].cast_unsigned()
    }

    /// Adds a record of the block's kind.
    pub(super) fn push(&mut self, offset: u64, record: &MarketRecord) {
        let offset = offset.cast_signed();
        let head =
            |v: u16, scales: (u8, u8)| vec![offset, i64::from(v), i64::from(scales.0), i64::from(scales.1)];
        match record {
            MarketRecord::Trades(r) => {
                let aggressor: Vec<i64> = r.aggressor.iter().map(|code| i64::from(*code)).collect();
                let columns = [&r.ts_event, &r.ts_init, &r.price, &r.qty, &aggressor];
                let words = [r.symbol.as_str(), &r.source];
                self.rows_of(&head(r.v, (r.price_scale, r.size_scale)), &words, &columns);
            }
            MarketRecord::Quotes(r) => {
                let columns = [&r.ts_event, &r.ts_init, &r.bid, &r.ask, &r.bid_size, &r.ask_size];
                let words = [r.symbol.as_str(), &r.source];
                self.rows_of(&head(r.v, (r.price_scale, r.size_scale)), &words, &columns);
            }
            MarketRecord::Bars(r) => {
                let mut head = head(r.v, (r.price_scale, r.size_scale));
                head.push(r.ticks_through.map_or(-1, u64::cast_signed));
                head.push(r.rows_through.into());
                let columns =
                    [&r.ts_open, &r.ts_event, &r.ts_init, &r.open, &r.high, &r.low, &r.close, &r.volume];
                let interval = r.interval.to_string();
                let words = [r.symbol.as_str(), &r.source, &interval, r.price_type.name()];
                self.rows_of(&head, &words, &columns);
            }
        }
    }

    fn rows_of(&mut self, head: &[i64], words: &[&str], columns: &[&Vec<i64>]) {
        let rows = columns[0].len();
        let (heads, tails) = self.integers.split_at_mut(head.len());
        for (column, value) in heads.iter_mut().zip(head) {
            column.resize(column.len() + rows, *value);
        }
        for (column, values) in tails.iter_mut().zip(columns) {
            column.extend_from_slice(values);
        }
        for (column, word) in self.words.iter_mut().zip(words) {
            let number = self.texts.number(word);
            column.resize(column.len() + rows, number);
        }
    }

    /// Appends the rows of another from `start` on.
    pub(super) fn append(&mut self, other: &Self, start: usize) {
        for (column, more) in self.integers.iter_mut().zip(&other.integers) {
            column.extend_from_slice(&more[start..]);
        }
        for (column, more) in self.words.iter_mut().zip(&other.words) {
            for number in &more[start..] {
                column.push(self.texts.number(other.texts.get(*number)));
            }
        }
    }

    /// First row of the records from an offset on.
    pub(super) fn row_at(&self, offset: u64) -> usize {
        self.integers[0].partition_point(|found| found.cast_unsigned() < offset)
    }

    /// The records with their offsets.
    ///
    /// # Errors
    /// In words, when a value is none of its record's.
    pub(super) fn records(&self, offsets: &Range<u64>) -> Result<Vec<(u64, MarketRecord)>, String> {
        let mut found = Vec::new();
        let (mut start, end) = (self.row_at(offsets.start), self.row_at(offsets.end));
        while start < end {
            let offset = self.offset(start);
            let stop = self.row_at(offset + 1);
            found.push((offset, self.record(start..stop)?));
            start = stop;
        }
        Ok(found)
    }

    fn record(&self, rows: Range<usize>) -> Result<MarketRecord, String> {
        let first = rows.start;
        let small = |column: usize| {
            let value = self.integers[column][first];
            u8::try_from(value).map_err(|_| format!("{} {value}", self.kind.integers()[column]))
        };
        let column = |index: usize| self.integers[index][rows.clone()].to_vec();
        let v = u16::try_from(self.integers[1][first]).map_err(|e| e.to_string())?;
        let (price_scale, size_scale) = (small(2)?, small(3)?);
        let symbol = self.symbol(first)?;
        let source = self.word(1, first).to_owned();
        Ok(match self.kind {
            Kind::Trades => MarketRecord::Trades(TradesRecord {
                v,
                symbol,
                source,
                price_scale,
                size_scale,
                ts_event: column(4),
                ts_init: column(5),
                price: column(6),
                qty: column(7),
                aggressor: column(8).into_iter().map(|code| u8::try_from(code).unwrap_or(0)).collect(),
            }),
            Kind::Quotes => MarketRecord::Quotes(QuotesRecord {
                v,
                symbol,
                source,
                price_scale,
                size_scale,
                ts_event: column(4),
                ts_init: column(5),
                bid: column(6),
                ask: column(7),
                bid_size: column(8),
                ask_size: column(9),
            }),
            Kind::Bars => MarketRecord::Bars(BarsRecord {
                v,
                symbol,
                source,
                price_scale,
                size_scale,
                interval: self.word(2, first).parse().map_err(|_| "an interval".to_owned())?,
                price_type: self.word(3, first).parse().map_err(|_| "a price type".to_owned())?,
                ticks_through: u64::try_from(self.integers[4][first]).ok(),
                rows_through: u32::try_from(self.integers[5][first]).map_err(|e| e.to_string())?,
                ts_open: column(6),
                ts_event: column(7),
                ts_init: column(8),
                open: column(9),
                high: column(10),
                low: column(11),
                close: column(12),
                volume: column(13),
            }),
        })
    }

    fn word(&self, column: usize, row: usize) -> &str {
        self.texts.get(self.words[column][row])
    }

    fn symbol(&self, row: usize) -> Result<Symbol, String> {
        Symbol::new(self.word(0, row)).map_err(|e| e.to_string())
    }

    /// The rows of each series, as the catalog wants them: sorted by key time, equal times in the order of the bus.
    ///
    /// # Errors
    /// In words, when a value is none of its record's.
    pub(super) fn series(&self) -> Result<Vec<SeriesRows>, String> {
        // Symbol, interval, price type and scales; the source may change from row to row.
        type Id = ([u32; 3], i64, i64);
        let mut groups: Vec<(Id, Vec<usize>)> = Vec::new();
        let mut known: HashMap<Id, usize> = HashMap::new();
        for row in 0..self.rows() {
            let word = |column: usize| self.words.get(column).map_or(0, |column| column[row]);
            let id = ([word(0), word(2), word(3)], self.integers[2][row], self.integers[3][row]);
            let group = *known.entry(id).or_insert_with(|| {
                groups.push((id, Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(row);
        }
        groups.into_iter().map(|(_, rows)| self.series_of(rows)).collect()
    }

    fn series_of(&self, mut rows: Vec<usize>) -> Result<SeriesRows, String> {
        let first = rows[0];
        let symbol = self.symbol(first)?;
        let scales = (self.integers[2][first], self.integers[3][first]);
        let mut sources: Vec<&str> = rows.iter().map(|row| self.word(1, *row)).collect();
        sources.sort_unstable();
        sources.dedup();
        let source = format!("live {}", sources.join(", "));
        // The key time: `ts_open` of bars, `ts_event` of ticks.
        let time = if self.kind == Kind::Bars { 6 } else { 4 };
        rows.sort_by_key(|row| self.integers[time][*row]);
        let column = |index: usize| -> Vec<i64> {
            let values = &self.integers[index];
            rows.iter().map(|row| values[*row]).collect()
        };
        let side = |code: i64| match code {
            1 => Aggressor::Buyer,
            2 => Aggressor::Seller,
            _ => Aggressor::Unknown,
        };
        use tradeflow_model::market::SeriesKind;
        let (kind, columns) = match self.kind {
            Kind::Trades => (
                SeriesKind::Trades,
                Columns::Trades(TradeColumns {
                    ts_event: column(4),
                    ts_init: column(5),
                    price: column(6),
                    qty: column(7),
                    aggressor: column(8).into_iter().map(side).collect(),
                }),
            ),
            Kind::Quotes => (
                SeriesKind::Quotes,
                Columns::Quotes(QuoteColumns {
                    ts_event: column(4),
                    ts_init: column(5),
                    bid: column(6),
                    ask: column(7),
                    bid_size: column(8),
                    ask_size: column(9),
                }),
            ),
            Kind::Bars => (
                SeriesKind::Bars {
                    interval: self.word(2, first).parse().map_err(|_| "an interval".to_owned())?,
                    price_type: self.word(3, first).parse().map_err(|_| "a price type".to_owned())?,
                },
                Columns::Bars(BarColumns {
                    ts_open: column(6),
                    ts_event: column(7),
                    ts_init: column(8),
                    open: column(9),
                    high: column(10),
                    low: column(11),
                    close: column(12),
                    volume: column(13),
                }),
            ),
        };
        let offsets = rows.iter().map(|row| self.offset(*row)).collect();
        Ok(SeriesRows { key: SeriesKey::new(symbol, kind), scales, source, columns, offsets })
    }

    /// A digest of all values.
    pub(super) fn digest(&self) -> tradeflow_model::Digest {
        let mut digest = DigestWriter::new();
        digest.text("tradeflow recorded 1");
        for column in &self.integers {
            column.iter().for_each(|value| digest.i64(*value));
        }
        for column in &self.words {
            for run in column.chunk_by(|a, b| a == b) {
                digest.text(self.texts.get(run[0]));
                digest.u64(run.len() as u64);
            }
        }
        digest.finish()
    }
}

/// Rows of one series.
pub(super) struct SeriesRows {
    pub(super) key: SeriesKey,
    pub(super) scales: (i64, i64),
    pub(super) source: String,
    pub(super) columns: Columns,
    pub(super) offsets: Vec<u64>,
}
