//! Yahoo Finance through `yfinance-rs`: history and quotes. Without a key, and without any promise: best effort.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Yahoo`], a [`History`], and its quotes |
//! | `raw.rs` | raw prices out of split-adjusted ones |
//! | `errors.rs` | the crate's errors as ours |
//! | `feed.rs` | [`YahooQuotes`]: quotes by polling, a [`crate::Feed`] |
//! | `server.rs` | a local server that speaks the protocol |
//!
//! # What Yahoo's prices are
//!
//! Open, high, low, close and volume of its charts are adjusted for every split until today, also for those after the
//! end of the chart, and not for dividends; dividends are adjusted for splits likewise. The crate's `auto_adjust(true)`
//! multiplies prices by `adjclose / close`, which takes dividends out too; with `false`, as here, they stay as Yahoo
//! has them, and `close_unadj`, in spite of its name, is Yahoo's split-adjusted close in both cases. So the splits from
//! the first bar until now are always asked for, and undone: the catalog holds what was traded.
//!
//! Numbers come as 32-bit floats in 64-bit clothes. `raw.rs` finds the decimal that was meant.
//!
//! *Limitations*: volumes of coins are amounts of money at Yahoo and are left out. Dates are those of UTC, which is
//! right where a session does not cross its midnight.

mod errors;
mod feed;
mod raw;
pub mod server;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::ActionKind;
use tradeflow_model::time::{NANOS_PER_DAY, NANOS_PER_SEC};
use tradeflow_model::{AssetClass, Interval, Money, Symbol, Timestamp};
use yfinance_rs::{Action, Candle, HistoryBuilder, HistoryResponse, QuotesBuilder, YfClient};

use crate::calls::Calls;
use crate::clock::Clock;
use crate::history::{Answer, Ask, Cut, History, HistoryError, Piece, Rate, RawBar, Reach, Retry, ex_time};

pub use feed::YahooQuotes;
use raw::{Splits, printed};

const DAY: i64 = NANOS_PER_DAY;

/// A split or dividend by its ex-date, as Yahoo has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dated {
    date: Date,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Split { new: u32, old: u32 },
    Dividend(Decimal),
}

/// What was learnt of a symbol's actions from `since` until now.
#[derive(Debug, Clone)]
struct Known {
    symbol: String,
    since: Timestamp,
    actions: Arc<Vec<Dated>>,
}

/// A last price of Yahoo's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastPrice {
    /// Yahoo's symbol.
    pub symbol: String,
    /// When.
    pub ts_event: Timestamp,
    /// The price.
    pub price: Decimal,
}

/// The client.
pub struct Yahoo {
    client: YfClient,
    calls: Calls,
    clock: Arc<dyn Clock>,
    /// Of the symbol that was asked for last: the pieces of one fetch share it.
    known: Mutex<Option<Known>>,
}

impl Yahoo {
    /// A client of Yahoo, or of a server at `base` that has all of its paths.
    ///
    /// # Errors
    /// For an address that is none.
    pub fn new(
        base: Option<&str>,
        retry: Retry,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Self, HistoryError> {
        // No limit is published. Two a second is far below what browsers do.
        Self::with_rates(base, &[Rate::per_second(2), Rate::per_minute(60)], retry, clock, seed)
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// For an address that is none.
    pub fn with_rates(
        base: Option<&str>,
        rates: &[Rate],
        retry: Retry,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Self, HistoryError> {
        // Retries and the memory of answers are ours.
        let mut builder =
            YfClient::builder().retry_enabled(false).no_cache().timeout(Duration::from_secs(30));
        if let Some(base) = base {
            let url = |path: &str| {
                let text = format!("{}{path}", base.trim_end_matches('/'));
                url::Url::parse(&text).map_err(|error| HistoryError::Network(format!("{base}: {error}")))
            };
            builder = builder
                .base_chart(url("/v8/finance/chart/")?)
                .base_quote_v7(url("/v7/finance/quote")?)
                .base_quote_api(url("/v10/finance/quoteSummary/")?)
                .base_options_v7(url("/v7/finance/options/")?)
                .base_timeseries(url("/ws/fundamentals-timeseries/v1/finance/timeseries/")?)
                .base_news(url("/")?)
                .base_insider_search(url("/ajax/SearchController_Suggest")?)
                .cookie_url(url("/consent")?)
                .crumb_url(url("/v1/test/getcrumb")?);
        }
        let client = builder.build().map_err(|error| errors::of(&error, ""))?;
        Ok(Self { client, calls: Calls::new(rates, retry, seed), clock, known: Mutex::new(None) })
    }

    /// A chart of `from..to`: never by `range`, which coarsens the bars where there would be many.
    async fn chart(
        &self,
        symbol: &str,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<(HistoryResponse, Vec<String>), HistoryError> {
        let word = interval_word(interval).ok_or_else(|| unsupported(interval))?;
        let request = HistoryBuilder::new(&self.client, symbol)
            .between(system_time(from).into(), system_time(to).into())
            .interval(word)
            .auto_adjust(false)
            .prepost(false)
            .actions(true);
        let response = self.calls.run(|| async {
            request.fetch_full_with_diagnostics().await.map_err(|error| errors::of(&error, symbol))
        });
        let response = response.await?;
        let left_out = response.diagnostics.len();
        let mut notes = Vec::new();
        if let Some(first) = response.diagnostics.warnings.first() {
            notes.push(format!("yahoo: {left_out} items are incomplete and were left out, such as {first}"));
        }
        Ok((response.data, notes))
    }

    async fn piece(&self, ask: &Ask) -> Result<Piece, HistoryError> {
        // A day more than now, because the end is exclusive and today may split.
        let until_now = self.clock.now().max(ask.to).saturating_add(DAY);
        let (response, mut notes, actions);
        if ask.interval == Interval::DAY {
            (response, notes) = self.chart(&ask.symbol, ask.interval, ask.from, until_now).await?;
            actions = Arc::new(dated(&response.actions, &mut notes));
        } else {
            actions = self.actions(&ask.symbol, ask.from, until_now).await?;
            (response, notes) = self.chart(&ask.symbol, ask.interval, ask.from, ask.to).await?;
        }
        let mut piece = assemble(ask, &response.candles, &actions);
        piece.notes.append(&mut notes);
        Ok(piece)
    }

    /// Splits and dividends from `from` until now.
    async fn actions(
        &self,
        symbol: &str,
        from: Timestamp,
        until_now: Timestamp,
    ) -> Result<Arc<Vec<Dated>>, HistoryError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.symbol == symbol && known.since <= from) {
            return Ok(known.actions);
        }
        // A chart may begin on a holiday: a week more, so that there is a bar in it.
        let (response, _) =
            self.chart(symbol, Interval::DAY, from.saturating_add(-7 * DAY), until_now).await?;
        let actions = Arc::new(dated(&response.actions, &mut Vec::new()));
        let known = Known { symbol: symbol.into(), since: from, actions: Arc::clone(&actions) };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(actions)
    }

    /// The last prices of those of the symbols that Yahoo knows.
    ///
    /// # Errors
    /// As [`History::fetch`].
    pub async fn quotes(&self, symbols: &[String]) -> Result<Vec<LastPrice>, HistoryError> {
        let request = QuotesBuilder::new(&self.client).symbols(symbols.iter().cloned());
        let quotes = self.calls.run(|| async {
            request.fetch_with_diagnostics().await.map_err(|error| errors::of(&error, "quotes"))
        });
        let quotes = quotes.await?.into_data();
        Ok(quotes
            .into_iter()
            .filter_map(|quote| {
                let price = printed(*quote.price?.as_decimal(), (1, 1));
                let ts_event = Timestamp::from_secs(quote.as_of?.timestamp())?;
                Some(LastPrice { symbol: quote.instrument.symbol.as_str().to_owned(), ts_event, price })
            })
            .collect())
    }
}

fn unsupported(interval: Interval) -> HistoryError {
    HistoryError::Unsupported(format!(
        "yahoo has no bars of {interval}: choose 1m, 2m, 5m, 15m, 30m, 1h or 1d"
    ))
}

/// The crate's word for an interval that Yahoo has. 30m is asked for as it is: the crate refuses an answer of another
/// length.
fn interval_word(interval: Interval) -> Option<yfinance_rs::Interval> {
    use yfinance_rs::Interval as Word;
    Some(match interval.to_string().as_str() {
        "1m" => Word::I1m,
        "2m" => Word::I2m,
        "5m" => Word::I5m,
        "15m" => Word::I15m,
        "30m" => Word::I30m,
        "1h" | "60m" => Word::I1h,
        "1d" => Word::D1,
        _ => return None,
    })
}

fn system_time(time: Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(time.as_nanos().unsigned_abs());
    if time.as_nanos() < 0 { UNIX_EPOCH - nanos } else { UNIX_EPOCH + nanos }
}

/// The actions that we know, by date; capital gains of funds count as dividends, because they are paid like them.
fn dated(actions: &[Action], notes: &mut Vec<String>) -> Vec<Dated> {
    let mut all = Vec::new();
    for action in actions {
        let (date, what) = match action {
            Action::Split { date, numerator, denominator } => {
                (date, What::Split { new: numerator.get(), old: denominator.get() })
            }
            Action::Dividend { date, amount } | Action::CapitalGain { date, gain: amount } => {
                (date, What::Dividend(amount.amount()))
            }
            _ => {
                notes.push("yahoo: an action of a kind that is not known was left out".into());
                continue;
            }
        };
        match date.to_string().parse() {
            Ok(date) => all.push(Dated { date, what }),
            Err(_) => notes.push(format!("yahoo: an action has no date that can be read ({date})")),
        }
    }
    all.sort_by_key(|action| action.date);
    all
}

fn utc_date(time: Timestamp) -> Date {
    time.to_jiff().to_zoned(TimeZone::UTC).date()
}

/// Raw bars and actions of an answer.
fn assemble(ask: &Ask, candles: &[Candle], actions: &[Dated]) -> Piece {
    let splits = Splits::new(actions.iter().filter_map(|action| match action.what {
        What::Split { new, old } => Some((action.date, new, old)),
        What::Dividend(_) => None,
    }));
    let class = class_of(&ask.symbol);
    let is_coin = class == Some(AssetClass::CryptoSpot);
    let mut piece = Piece { class, ..Piece::default() };
    for candle in candles {
        let Some(ts_open) = Timestamp::from_secs(candle.ts.timestamp()) else { continue };
        piece.currency.get_or_insert_with(|| candle.currency.code().to_owned());
        if is_odd(ask.interval, ts_open) {
            continue; // the bar of the running session, which is stamped with the last trade
        }
        let ratio = splits.after(utc_date(ts_open));
        let price = |amount: &yfinance_rs::PriceAmount| printed(*amount.as_decimal(), ratio);
        let volume = candle.volume.as_ref().map_or(Decimal::ZERO, |volume| *volume.as_decimal());
        piece.bars.push(RawBar {
            ts_open,
            open: price(&candle.ohlc.open),
            high: price(&candle.ohlc.high),
            low: price(&candle.ohlc.low),
            close: price(&candle.ohlc.close),
            volume: if is_coin { Decimal::ZERO } else { raw::shares(volume, ratio) },
        });
    }
    // Of two daily bars of one session the second is the live one.
    if ask.interval == Interval::DAY {
        piece.bars.dedup_by_key(|bar| utc_date(bar.ts_open));
    }
    let calendar = if class == Some(AssetClass::FxPair) { Calendar::FxWeek } else { Calendar::Nyse };
    for action in actions {
        let Some(time) = ex_time(calendar, action.date) else { continue };
        let kind = match action.what {
            What::Split { new, old } => ActionKind::Split { new, old },
            // For each share as it was before a split of the same date: the dividend goes first.
            What::Dividend(amount) => match Money::from_decimal(printed(amount, splits.from(action.date))) {
                Ok(amount) => ActionKind::Dividend { amount },
                Err(_) => continue,
            },
        };
        piece.actions.push((time, kind));
    }
    piece.actions.sort_by_key(|(time, kind)| (*time, matches!(kind, ActionKind::Split { .. })));
    piece
}

/// Whether an intraday bar does not stand on the grid. Sessions open on half hours, so the grid of whole hours may too.
fn is_odd(interval: Interval, time: Timestamp) -> bool {
    interval.nanos().is_some_and(|nanos| time.as_nanos() % nanos.min(1800 * NANOS_PER_SEC) != 0)
}

/// The class that a symbol of Yahoo's says.
fn class_of(symbol: &str) -> Option<AssetClass> {
    if symbol.ends_with("=X") {
        return Some(AssetClass::FxPair);
    }
    if symbol.ends_with("=F") {
        return Some(AssetClass::Future);
    }
    let guessed = tradeflow_storage::import::class_of(&Symbol::new(symbol).ok()?);
    (guessed == AssetClass::CryptoSpot).then_some(guessed)
}

impl History for Yahoo {
    fn name(&self) -> &'static str {
        "yahoo"
    }

    fn reach(&self, _symbol: &str, interval: Interval, now: Timestamp) -> Result<Reach, HistoryError> {
        interval_word(interval).ok_or_else(|| unsupported(interval))?;
        let since = |days: i64| Some(now.saturating_add(-days * DAY));
        // A day less than what Yahoo says, so that a fetch that takes a while does not fall out of it.
        let (earliest, cut) = match interval.to_string().as_str() {
            "1m" => (since(29), Cut::Span(7 * DAY)),
            "1h" | "60m" => (since(729), Cut::Whole),
            "1d" => (None, Cut::Whole),
            _ => (since(59), Cut::Whole),
        };
        let settles_in = if interval == Interval::DAY { DAY } else { DAY / 24 };
        Ok(Reach { earliest, cut, settles_in })
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> Answer<'a, Piece> {
        Box::pin(self.piece(ask))
    }
}
