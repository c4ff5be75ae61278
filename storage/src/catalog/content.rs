//! The content digest of a file: of its values, column by column, whatever their compression.

use tradeflow_model::market::{ActionKind, Aggressor, Columns, SeriesKind};
use tradeflow_model::{CorporateAction, Digest, DigestWriter};

use super::schema::{Scales, fields};

/// Digests the rows of a file as they come.
///
/// Each column has a digest of its own (64-bit integers, little end first; words as one byte), and the digest of the
/// content is that of kind, scales, number of rows, and name and digest of each column in order.
#[derive(Debug, Clone)]
pub(crate) struct ContentDigest {
    kind: SeriesKind,
    scales: Scales,
    rows: u64,
    columns: Vec<DigestWriter>,
    /// Where the second time column repeats the first, one digest serves both.
    init_is_event: bool,
}

impl ContentDigest {
    pub(crate) fn new(kind: SeriesKind, scales: Scales, init_is_event: bool) -> Self {
        let columns = fields(kind).iter().map(|_| DigestWriter::new()).collect();
        Self { kind, scales, rows: 0, columns, init_is_event }
    }

    /// Adds rows.
    pub(crate) fn add(&mut self, rows: &Columns) {
        self.rows += rows.len() as u64;
        match rows {
            Columns::Bars(c) => {
                let columns =
                    [&c.ts_open, &c.ts_event, &c.ts_init, &c.open, &c.high, &c.low, &c.close, &c.volume];
                self.integers(&columns.map(Vec::as_slice));
            }
            Columns::Quotes(c) => {
                let columns = [&c.ts_event, &c.ts_init, &c.bid, &c.ask, &c.bid_size, &c.ask_size];
                self.integers(&columns.map(Vec::as_slice));
            }
            Columns::Trades(c) => {
                self.integers(&[&c.ts_event, &c.ts_init, &c.price, &c.qty]);
                let words: Vec<u8> = c.aggressor.iter().map(|a| aggressor_code(*a)).collect();
                self.columns[4].bytes(&words);
            }
            Columns::Actions(rows) => rows.iter().for_each(|row| self.action(row)),
            Columns::Sessions(_) => {}
        }
    }

    fn integers(&mut self, columns: &[&[i64]]) {
        let init = self.init_column();
        for (index, (writer, values)) in self.columns.iter_mut().zip(columns).enumerate() {
            if Some(index) != init {
                add_integers(writer, values);
            }
        }
    }

    fn action(&mut self, row: &CorporateAction) {
        let (word, new, old, amount) = match row.kind {
            ActionKind::Split { new, old } => (0, new, old, 0),
            ActionKind::Dividend { amount } => (1, 0, 0, amount.raw()),
        };
        self.columns[0].i64(row.ts_event.as_nanos());
        if !self.init_is_event {
            self.columns[1].i64(row.ts_init.as_nanos());
        }
        self.columns[2].bytes(&[word]);
        self.columns[3].i64(new.into());
        self.columns[4].i64(old.into());
        self.columns[5].i128(amount);
    }

    /// Index of `ts_init`, when it is not digested on its own.
    fn init_column(&self) -> Option<usize> {
        let init = fields(self.kind).iter().position(|(name, _)| *name == "ts_init");
        init.filter(|_| self.init_is_event)
    }

    /// The digest of everything added.
    pub(crate) fn finish(&self) -> Digest {
        let mut whole = DigestWriter::new();
        whole.text("tradeflow content 1");
        whole.u64(self.scales.price.into());
        whole.u64(self.scales.size.into());
        whole.u64(self.rows);
        let init = self.init_column();
        for (index, (name, _)) in fields(self.kind).iter().enumerate() {
            // `ts_event` stands just before `ts_init` in every kind.
            let source = if Some(index) == init { index - 1 } else { index };
            whole.text(name);
            whole.bytes(self.columns[source].finish().as_bytes());
        }
        whole.finish()
    }
}

/// An aggressor as one byte.
pub(crate) fn aggressor_code(aggressor: Aggressor) -> u8 {
    match aggressor {
        Aggressor::Unknown => 0,
        Aggressor::Buyer => 1,
        Aggressor::Seller => 2,
    }
}

fn add_integers(writer: &mut DigestWriter, values: &[i64]) {
    let mut bytes = [0; 8 * 1024];
    for chunk in values.chunks(1024) {
        for (place, value) in bytes.chunks_exact_mut(8).zip(chunk) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        writer.bytes(&bytes[..8 * chunk.len()]);
    }
}
