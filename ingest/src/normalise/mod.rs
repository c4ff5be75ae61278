//! Normalisation: the one place where what vendors report becomes market data of ours, and what is left out is counted.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Normaliser`]: the [`Sink`] that live feeds write to |
//! | `series.rs` | the rules for one instrument: exact integers, times |
//! | `duplicates.rs` | trades that have come before |
//! | `conditions.rs` | [`Conditions`]: trades that do not set a price |
//! | `complaints.rs` | bad messages, sampled to the log |
//! | `counters.rs` | [`Counters`]: what became of updates |
//!
//! # Rules
//! - **Prices** are exact at the instrument's price scale, or the update is bad: nothing is rounded. They are above zero,
//!   but for futures. (US shares trade in tenths and hundredths of a cent: such an instrument needs a price scale of 4.)
//! - **Quantities** are never negative. One finer than the size scale is rounded down and counted as `floored`: so the
//!   price of a fraction of a share is not lost, and volume is never overstated.
//! - **A trade of quantity zero** (also after rounding) is no trade: its price goes to the quote board.
//! - **Duplicates** are left out; by which rule stands in `duplicates.rs`.
//! - **Late**: an event whose `ts_event` is older than the newest of its series by more than [`Limits::late_max`] is left
//!   out. Within it, it is passed on where it came, with its own time: a cell never lets its own time run backwards.
//! - **Times** more than [`Limits::ahead_max`] ahead of the time of receipt, or not after 1970, are bad.
//! - **Crossed quotes** (bid above ask) are passed on and counted: the venue does not fill on them.
//! - **Absurd** numbers (beyond 10¹⁸ raw, or worth more than an amount of money holds) are bad.
//! - **Instruments** that are not on the watchlist, or of which the kind is not wanted, are bad ("not watched").
//!
//! Bad ones are counted by reason and sampled to the log, at most one a second for each reason, without secrets.
//!
//! # Bursts
//! Rows are gathered by instrument and kind. They go out when the feed flushes, and while a burst lasts at [`ROWS_PER_RECORD`]
//! rows of one series, [`GATHER_ROWS_MAX`] in all, or a millisecond after the first. Under pressure they are conflated
//! (see [`crate::publish`]).

mod complaints;
mod conditions;
mod counters;
mod duplicates;
mod series;

pub use conditions::Conditions;
pub use counters::{Counters, Counts};

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tradeflow_model::time::{NANOS_PER_MIN, NANOS_PER_SEC};
use tradeflow_model::{Instrument, Price, Symbol, Timestamp};

use crate::clock::Clock;
use crate::feed::{Sink, Update};
use crate::publish::{Level, Publisher, ROWS_PER_RECORD, Rows};
use crate::quotes::{BoardSource, Post};
use crate::secret::Secret;
use crate::watchlist::{Watch, Watchlist};
use complaints::{Complaints, sample};
use series::{Bad, RawQuote, RawTrade, Series, Verdict};

/// As many rows are gathered over all instruments.
pub const GATHER_ROWS_MAX: usize = 4_096;
/// While a burst lasts, what was gathered goes out after this time, in nanoseconds.
const GATHER_NANOS: i64 = 1_000_000;

const NOT_WATCHED: Bad = "not watched";

/// Times beyond which events are left out, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// An event may be older than the newest of its series by this much. Default: 5 s.
    pub late_max: i64,
    /// An event may be ahead of the time of receipt by this much. Default: 1 min.
    pub ahead_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { late_max: 5 * NANOS_PER_SEC, ahead_max: NANOS_PER_MIN }
    }
}

/// What a [`Normaliser`] works with.
pub struct Setup {
    /// What is wanted; the same that the feed goes by.
    pub watchlist: watch::Receiver<Watchlist>,
    /// Counts, under the feed's name.
    pub counters: Arc<Counters>,
    /// The way to the bus, with the same counters. `None` for a source whose prices are shown only, as polled ones are.
    pub publisher: Option<Arc<Publisher>>,
    /// The feed's place on the quote board.
    pub board: Option<BoardSource>,
    /// For the log.
    pub clock: Arc<dyn Clock>,
    /// What may not stand in the log.
    pub secrets: Vec<Secret>,
    /// Times beyond which events are left out.
    pub limits: Limits,
}

/// The [`Sink`] of live feeds. Each feed has its own.
pub struct Normaliser {
    setup: Setup,
    by_symbol: HashMap<Symbol, usize>,
    slots: Vec<Slot>,
    /// Slots with something to publish or to show, in the order in which they got it.
    touched: Vec<usize>,
    /// Rows that were gathered, and when the first of them came.
    rows: usize,
    since: Timestamp,
    /// Number of the burst.
    burst: u64,
    /// For the bytes of records.
    buffer: Vec<u8>,
    counts: Counts,
    complaints: Complaints,
}

struct Slot {
    instrument: Arc<Instrument>,
    trades: bool,
    quotes: bool,
    series: Series,
    rows: Rows,
    touched: bool,
    quote: Option<(Timestamp, Price, Price)>,
    last: Option<(Timestamp, Price)>,
    /// Time of receipt of the newest of what is to be shown.
    received: Timestamp,
}

impl Slot {
    fn new(watch: &Watch, source: &str) -> Self {
        Self {
            instrument: Arc::new(watch.instrument.clone()),
            trades: watch.trades,
            quotes: watch.quotes,
            series: Series::new(&watch.instrument),
            rows: Rows::new(&watch.instrument, source),
            touched: false,
            quote: None,
            last: None,
            received: Timestamp::MIN,
        }
    }

    fn show_last(&mut self, ts_event: Timestamp, price: Price) {
        if self.last.is_none_or(|(ts, _)| ts <= ts_event) {
            self.last = Some((ts_event, price));
        }
    }

    fn show_quote(&mut self, ts_event: Timestamp, bid: Price, ask: Price) {
        if self.quote.is_none_or(|(ts, ..)| ts <= ts_event) {
            self.quote = Some((ts_event, bid, ask));
        }
    }
}

impl Normaliser {
    /// A normaliser for one feed.
    pub fn new(setup: Setup) -> Self {
        let mut normaliser = Self {
            setup,
            by_symbol: HashMap::new(),
            slots: Vec::new(),
            touched: Vec::new(),
            rows: 0,
            since: Timestamp::MIN,
            burst: 0,
            buffer: Vec::new(),
            counts: Counts::default(),
            complaints: Complaints::default(),
        };
        normaliser.read_watchlist();
        normaliser
    }

    /// Follows the watchlist. What is known about instruments that stay, stays.
    fn read_watchlist(&mut self) {
        self.send();
        let watchlist = self.setup.watchlist.borrow_and_update().clone();
        let mut old: Vec<Option<Slot>> = std::mem::take(&mut self.slots).into_iter().map(Some).collect();
        let before = std::mem::take(&mut self.by_symbol);
        for watch in &watchlist.watches {
            let kept = before.get(&watch.instrument.symbol).and_then(|index| old[*index].take());
            let slot = match kept {
                Some(slot) if *slot.instrument == watch.instrument => {
                    Slot { trades: watch.trades, quotes: watch.quotes, ..slot }
                }
                _ => Slot::new(watch, self.setup.counters.source()),
            };
            self.by_symbol.insert(watch.instrument.symbol.clone(), self.slots.len());
            self.slots.push(slot);
        }
    }

    fn slot(&mut self, symbol: &Symbol) -> Option<usize> {
        if let Some(index) = self.by_symbol.get(symbol) {
            return Some(*index);
        }
        if self.setup.watchlist.has_changed().unwrap_or(false) {
            self.read_watchlist();
        }
        self.by_symbol.get(symbol).copied()
    }

    fn take(&mut self, ts_init: Timestamp, update: &Update) -> Result<(), Bad> {
        let (Update::Trade { symbol, .. } | Update::Quote { symbol, .. } | Update::Last { symbol, .. }) =
            update;
        let index = self.slot(symbol).ok_or(NOT_WATCHED)?;
        let (slot, limits, counts) = (&mut self.slots[index], &self.setup.limits, &mut self.counts);
        let publish = self.setup.publisher.is_some();
        let gathered = match *update {
            Update::Trade { ts_event, price, qty, aggressor, id, .. } => {
                if !slot.trades {
                    return Err(NOT_WATCHED);
                }
                let raw = RawTrade { ts_event, ts_init, price, qty, aggressor, id };
                match slot.series.trade(&raw, self.burst, limits, counts)? {
                    Verdict::Pass(trade) => {
                        slot.show_last(ts_event, trade.price);
                        publish.then(|| slot.rows.push_trade(&trade))
                    }
                    Verdict::Show(ts_event, price) => {
                        slot.show_last(ts_event, price);
                        None
                    }
                    Verdict::Drop => return Ok(()),
                }
            }
            Update::Quote { ts_event, bid, ask, bid_size, ask_size, .. } => {
                if !slot.quotes {
                    return Err(NOT_WATCHED);
                }
                let raw = RawQuote { ts_event, ts_init, bid, ask, bid_size, ask_size };
                match slot.series.quote(&raw, limits, counts)? {
                    Verdict::Pass(quote) => {
                        slot.show_quote(quote.ts_event, quote.bid, quote.ask);
                        publish.then(|| slot.rows.push_quote(&quote))
                    }
                    Verdict::Show(..) | Verdict::Drop => return Ok(()),
                }
            }
            Update::Last { ts_event, price, .. } => {
                let price = slot.series.last(ts_event, ts_init, price, limits)?;
                slot.show_last(ts_event, price);
                None
            }
        };
        slot.received = slot.received.max(ts_init);
        if !slot.touched {
            slot.touched = true;
            self.touched.push(index);
        }
        match gathered {
            Some(of_series) => self.gathered(ts_init, index, of_series),
            None => self.counts.shown += 1,
        }
        Ok(())
    }

    /// A row was gathered: sends what is enough to be sent.
    #[inline]
    fn gathered(&mut self, ts_init: Timestamp, index: usize, of_series: usize) {
        if self.rows == 0 {
            self.since = ts_init;
        }
        self.rows += 1;
        let age = ts_init.as_nanos().saturating_sub(self.since.as_nanos());
        if of_series < ROWS_PER_RECORD && self.rows < GATHER_ROWS_MAX && age < GATHER_NANOS {
            return;
        }
        let level = self.level();
        if level > Level::Free && age < pause(level).as_nanos() as i64 {
            // A longer burst conflates better. Trades that may not be left out still go as they come.
            let left_out = conflate(&mut self.slots[index].rows, level);
            self.rows -= left_out;
            self.counts.conflated += left_out as u64;
            if self.slots[index].rows.longest() < ROWS_PER_RECORD && self.rows < GATHER_ROWS_MAX {
                return;
            }
        }
        self.send();
    }

    fn level(&self) -> Level {
        self.setup.publisher.as_ref().map_or(Level::Free, |publisher| publisher.level())
    }

    /// Publishes and shows what was gathered; whether there was anything to publish.
    fn send(&mut self) -> bool {
        let level = self.level();
        let mut batch = Vec::new();
        for index in &self.touched {
            let slot = &mut self.slots[*index];
            slot.touched = false;
            if let Some(publisher) = &self.setup.publisher {
                self.counts.conflated += conflate(&mut slot.rows, level) as u64;
                slot.rows.take(publisher.route(), &mut self.buffer, &mut batch);
            }
        }
        if let Some(board) = &self.setup.board {
            let slots = &mut self.slots;
            board.post(self.touched.iter().map(|index| {
                let slot = &mut slots[*index];
                let (quote, last) = (slot.quote.take(), slot.last.take());
                Post { instrument: slot.instrument.clone(), received: slot.received, quote, last }
            }));
        }
        self.touched.clear();
        self.rows = 0;
        self.counts.shed = self.counts.conflated;
        self.setup.counters.add(&std::mem::take(&mut self.counts));
        match &self.setup.publisher {
            Some(publisher) if !batch.is_empty() => {
                publisher.send(batch);
                true
            }
            _ => false,
        }
    }

    #[cold]
    fn complain(&mut self, reason: &str, message: impl FnOnce() -> String) {
        self.counts.bad += 1;
        let reason = redact(&self.setup.secrets, reason);
        let reason = self.setup.counters.add_reason(&reason);
        if let Some(unlogged) = self.complaints.may_log(reason, self.setup.clock.now()) {
            let message = sample(&redact(&self.setup.secrets, &message()));
            let source = self.setup.counters.source();
            tracing::warn!(source, reason, unlogged, "left out: {message}");
        }
    }
}

fn redact(secrets: &[Secret], text: &str) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| secret.redact(&text))
}

/// How long a flush waits after it has published.
fn pause(level: Level) -> Duration {
    match level {
        Level::Free => Duration::ZERO,
        Level::Conflate => Duration::from_millis(5),
        Level::Shed => Duration::from_millis(20),
    }
}

/// Leaves out what a newer row replaces; how many rows that were.
fn conflate(rows: &mut Rows, level: Level) -> usize {
    match level {
        Level::Free => 0,
        Level::Conflate => rows.conflate_quotes(),
        Level::Shed => rows.conflate_quotes() + rows.conflate_trades(),
    }
}

impl Sink for Normaliser {
    fn update(&mut self, ts_init: Timestamp, update: Update) {
        self.counts.received += 1;
        match &update {
            Update::Trade { .. } => self.counts.trades += 1,
            Update::Quote { .. } => self.counts.quotes += 1,
            Update::Last { .. } => {}
        }
        if let Err(reason) = self.take(ts_init, &update) {
            self.complain(reason, || format!("{update:?}"));
        }
    }

    fn bad(&mut self, reason: &str, message: &str) {
        self.counts.received += 1;
        self.complain(reason, || message.to_owned());
    }

    fn excluded(&mut self) {
        self.counts.received += 1;
        self.counts.excluded += 1;
    }

    fn flush(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let sent = self.send();
        self.burst += 1;
        if let (false, Some(publisher)) = (sent, &self.setup.publisher) {
            publisher.tend();
        }
        if self.setup.watchlist.has_changed().unwrap_or(false) {
            self.read_watchlist();
        }
        let pause = pause(self.level());
        if pause.is_zero() {
            Box::pin(std::future::ready(())) // of no size: nothing is allocated
        } else {
            Box::pin(async move { tokio::time::sleep(pause).await })
        }
    }
}

impl Drop for Normaliser {
    fn drop(&mut self) {
        self.send();
    }
}
