//! A day of a catalog, once more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use rust_decimal::Decimal;
use tokio::sync::broadcast;
use tradeflow_model::market::{Columns, PriceType, QuoteColumns, SeriesKind, TradeColumns};
use tradeflow_model::time::NANOS_PER_DAY;
use tradeflow_model::{
    Bar, CorporateAction, Instrument, InstrumentId, Interval, Qty, SeriesId, Symbol, Timestamp, Trade,
};
use tradeflow_storage::aggregate::{AggregateError, Aggregator, Outside, Source};
use tradeflow_storage::catalog::{Catalog, CatalogError, SeriesInfo, SeriesKey};

use super::live::{Live, MarketClock};
use super::{Market, Tick, TickKind};

/// Rows of a day that are held in memory, at most: two gigabytes or so.
const ROWS_MAX: u64 = 30_000_000;

/// What is replayed.
#[derive(Debug, Clone)]
pub struct ReplayedOptions {
    /// The symbols; all of the catalog that have data on the day when empty.
    pub symbols: Vec<Symbol>,
    /// An instant of the day (UTC); the last day with trades or quotes, or else with bars, when left out.
    pub day: Option<Timestamp>,
    /// How fast the day goes by.
    pub speed: f64,
    /// Whether the day waits for a client that subscribes to something, so that it misses nothing.
    pub hold: bool,
}

/// Why there is nothing to replay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The catalog can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// There are no data.
    #[error(
        "the catalog at {catalog} has no trades, quotes or bars of {what}; `tradeflow catalog ls` shows what it has"
    )]
    Nothing {
        /// Its address.
        catalog: String,
        /// Of which symbols and day.
        what: String,
    },
    /// There are too many.
    #[error("the day has {rows} rows, more than the {ROWS_MAX} that fit in memory; name fewer symbols")]
    TooMuch {
        /// How many.
        rows: u64,
    },
    /// The speed makes no sense.
    #[error("a speed of {0} is not above zero")]
    Speed(f64),
    /// The bars could not be made into ticks, or ticks into bars.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// The thread that read them is gone.
    #[error("reading the day ended early: {0}")]
    Ended(String),
}

/// A day of a catalog, served as if it were now. Its time begins with the first tick and goes on when the ticks end.
///
/// Where a symbol has no trades on the day, its finest bars are played as four trades each: open, low and high in the
/// order that the close suggests, close. Bars of the day are made of the ticks that are played; those before come from
/// the catalog.
pub struct Replayed {
    catalog: Catalog,
    instruments: Vec<Instrument>,
    days: Vec<Arc<Day>>,
    series: Vec<SeriesInfo>,
    start: Timestamp,
    clock: MarketClock,
    live: Live,
}

/// The ticks of an instrument's day.
struct Day {
    instrument: Instrument,
    trades: TradeColumns,
    quotes: QuoteColumns,
}

struct Loaded {
    days: Vec<Arc<Day>>,
    series: Vec<SeriesInfo>,
    start: Timestamp,
}

impl Replayed {
    /// Reads the day and starts it.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub async fn start(catalog: Catalog, options: ReplayedOptions) -> Result<Self, ReplayError> {
        if !(options.speed.is_finite() && options.speed > 0.0) {
            return Err(ReplayError::Speed(options.speed));
        }
        let (speed, hold) = (options.speed, options.hold);
        let source = catalog.clone();
        let load = tokio::task::spawn_blocking(move || load(&source, &options));
        let Loaded { days, series, start } =
            load.await.map_err(|error| ReplayError::Ended(error.to_string()))??;
        let ticks = Ticks::new(days.clone());
        let first = ticks.heap.peek().map_or(start, |Reverse((time, _))| *time);
        let clock = if hold { MarketClock::held(first, speed) } else { MarketClock::from(first, speed) };
        let live = Live::start(clock.clone(), ticks, Default::default());
        let instruments = days.iter().map(|day| day.instrument.clone()).collect();
        Ok(Self { catalog, instruments, days, series, start, clock, live })
    }

    /// Bars of the catalog that opened before the day: of that interval, or made of finer ones.
    fn earlier(
        &self,
        instrument: &Instrument,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Bar>, ReplayError> {
        let mut candidates: Vec<_> = self
            .series
            .iter()
            .filter_map(|info| match info.key.kind {
                SeriesKind::Bars { interval: finer, price_type }
                    if info.key.symbol == instrument.symbol
                        && price_type != PriceType::Ask
                        && (finer == interval
                            || finer.nanos().is_some()
                                && finer.nominal_nanos() < interval.nominal_nanos()) =>
                {
                    Some((price_rank(price_type), Reverse(finer.nominal_nanos()), &info.key, finer))
                }
                _ => None,
            })
            .collect();
        candidates.sort_by_key(|(price, length, ..)| (*price, *length));
        let Some((.., key, finer)) = candidates.into_iter().next() else { return Ok(Vec::new()) };
        // The first bar may have begun before `from`: its parts are left out below.
        let Columns::Bars(columns) = self.catalog.read(key, from, to)? else { return Ok(Vec::new()) };
        let count = columns.ts_open.len();
        let bars = columns.rows(0..count, SeriesId(0), InstrumentId(0));
        if finer == interval {
            return Ok(bars.collect());
        }
        let mut made = Vec::new();
        let mut aggregator = aggregator(instrument, Source::Bars(finer), interval)?;
        for bar in bars {
            aggregator.push_bar(&bar, &mut made)?;
        }
        aggregator.flush(&mut made);
        made.retain(|bar| bar.ts_open >= from);
        Ok(made)
    }
}

impl Market for Replayed {
    fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn bars(
        &self,
        symbol: &Symbol,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Bar>, String> {
        let day = self.days.iter().find(|day| day.instrument.symbol == *symbol);
        let day = day.ok_or_else(|| format!("there is no {symbol} here"))?;
        if interval.nominal_nanos() == 0 {
            return Err(format!("bars of {interval} are not counted in time"));
        }
        let told = |error: ReplayError| error.to_string();
        let mut bars = if from < self.start {
            self.earlier(&day.instrument, interval, from, to.min(self.start)).map_err(told)?
        } else {
            Vec::new()
        };
        if to > self.start {
            let today = day.bars(interval).map_err(|error| error.to_string())?;
            let from = from.max(self.start);
            bars.extend(today.into_iter().filter(|bar| from <= bar.ts_open && bar.ts_open < to));
        }
        let now = self.now();
        bars.retain(|bar| bar.ts_event <= now);
        Ok(bars)
    }

    fn actions(
        &self,
        symbol: &Symbol,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<CorporateAction>, String> {
        super::stored::actions(&self.catalog, symbol, from, to.min(self.now()))
    }

    fn last(&self, symbol: &Symbol) -> (Option<Tick>, Option<Tick>) {
        self.live.last(symbol)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<[Tick]>> {
        self.live.subscribe()
    }

    fn begin(&self) {
        self.clock.begin();
    }
}

/// Which bars stand for an instrument that has several kinds.
fn price_rank(price: PriceType) -> u8 {
    match price {
        PriceType::Last => 0,
        PriceType::Mid => 1,
        PriceType::Bid => 2,
        PriceType::Ask => 3,
    }
}

fn aggregator(
    instrument: &Instrument,
    source: Source,
    interval: Interval,
) -> Result<Aggregator, AggregateError> {
    Aggregator::new(instrument, (SeriesId(0), InstrumentId(0)), source, interval, Outside::Drop)
}

impl Day {
    /// The day's bars, the last one perhaps not over: of trades, or of the middle of the quotes where there are none.
    fn bars(&self, interval: Interval) -> Result<Vec<Bar>, AggregateError> {
        let mut made = Vec::new();
        let is_traded = !self.trades.ts_event.is_empty();
        let source = if is_traded { Source::Trades } else { Source::Quotes(PriceType::Mid) };
        let mut aggregator = aggregator(&self.instrument, source, interval)?;
        for row in 0..self.trades.ts_event.len() {
            aggregator.push_trade(&self.trades.get(row, SeriesId(0), InstrumentId(0)), &mut made)?;
        }
        if !is_traded {
            for row in 0..self.quotes.ts_event.len() {
                aggregator.push_quote(&self.quotes.get(row, SeriesId(0), InstrumentId(0)), &mut made)?;
            }
        }
        aggregator.flush(&mut made);
        Ok(made)
    }
}

fn load(catalog: &Catalog, options: &ReplayedOptions) -> Result<Loaded, ReplayError> {
    let is_wanted = |symbol: &Symbol| options.symbols.is_empty() || options.symbols.contains(symbol);
    let mut series = catalog.series()?;
    series.retain(|info| is_wanted(&info.key.symbol));
    let is_tick = |kind: SeriesKind| matches!(kind, SeriesKind::Trades | SeriesKind::Quotes);
    let is_bar = |kind: SeriesKind| matches!(kind, SeriesKind::Bars { price_type: PriceType::Last, .. });
    let last = |of: &dyn Fn(SeriesKind) -> bool| {
        series.iter().filter(|info| of(info.key.kind)).map(|info| info.last).max()
    };
    let day = options.day.or_else(|| last(&is_tick)).or_else(|| last(&is_bar));
    let nothing = |day: Option<Timestamp>| {
        let symbols = options.symbols.iter().map(Symbol::as_str).collect::<Vec<_>>().join(", ");
        let symbols = if symbols.is_empty() { "any symbol".to_owned() } else { symbols };
        let day = day.map_or_else(String::new, |day| format!(" on the day of {day}"));
        ReplayError::Nothing { catalog: catalog.url().to_owned(), what: format!("{symbols}{day}") }
    };
    let day = day.ok_or_else(|| nothing(None))?;
    let start = Timestamp::from_nanos(day.utc_day() * NANOS_PER_DAY);
    let end = start.saturating_add(NANOS_PER_DAY);
    let mut rows = 0;
    let mut days = Vec::new();
    for instrument in catalog.instruments()?.into_iter().filter(|instrument| is_wanted(&instrument.symbol)) {
        let mut read = |kind| -> Result<Option<Columns>, ReplayError> {
            let key = SeriesKey::new(instrument.symbol.clone(), kind);
            rows += catalog.files(&key, start, end)?.iter().map(|file| file.rows).sum::<u64>();
            if rows > ROWS_MAX {
                return Err(ReplayError::TooMuch { rows });
            }
            Ok(Some(catalog.read(&key, start, end)?).filter(|columns| !columns.is_empty()))
        };
        let quotes = match read(SeriesKind::Quotes)? {
            Some(Columns::Quotes(quotes)) => quotes,
            _ => QuoteColumns::default(),
        };
        let trades = match read(SeriesKind::Trades)? {
            Some(Columns::Trades(trades)) => trades,
            _ => {
                let bars = series
                    .iter()
                    .filter(|info| info.key.symbol == instrument.symbol && is_bar(info.key.kind));
                let finest = bars.min_by_key(|info| info.key.kind.rank());
                match finest.map(|info| read(info.key.kind)).transpose()?.flatten() {
                    Some(Columns::Bars(bars)) => {
                        let count = bars.ts_open.len();
                        played(bars.rows(0..count, SeriesId(0), InstrumentId(0)))
                    }
                    _ => TradeColumns::default(),
                }
            }
        };
        if !trades.ts_event.is_empty() || !quotes.ts_event.is_empty() {
            days.push(Arc::new(Day { instrument, trades, quotes }));
        }
    }
    if days.is_empty() {
        return Err(nothing(Some(start)));
    }
    Ok(Loaded { days, series, start })
}

/// Bars as four trades each, which make the same bars.
fn played(bars: impl Iterator<Item = Bar>) -> TradeColumns {
    let mut trades = TradeColumns::default();
    for bar in bars {
        let (second, third) = if bar.close >= bar.open { (bar.low, bar.high) } else { (bar.high, bar.low) };
        let quarter = (bar.ts_event.as_nanos() - bar.ts_open.as_nanos()) / 4;
        let share = bar.volume.raw() / 4;
        for (at, price) in [bar.open, second, third, bar.close].into_iter().enumerate() {
            let time = bar.ts_open.saturating_add(quarter * at as i64);
            let qty = if at == 0 { bar.volume.raw() - 3 * share } else { share };
            trades.push(&Trade {
                series: bar.series,
                instrument: bar.instrument,
                ts_event: time,
                ts_init: time,
                price,
                qty: Qty::from_raw(qty),
                aggressor: Default::default(),
            });
        }
    }
    trades
}

/// The ticks of several days in the order of time; of one instant quotes come first.
struct Ticks {
    days: Vec<Arc<Day>>,
    /// The next trade and quote of each.
    next: Vec<(usize, usize)>,
    heap: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl Ticks {
    fn new(days: Vec<Arc<Day>>) -> Self {
        let next = vec![(0, 0); days.len()];
        let mut ticks = Self { next, heap: BinaryHeap::new(), days };
        for at in 0..ticks.days.len() {
            ticks.heap.extend(ticks.time(at).map(|time| Reverse((time, at))));
        }
        ticks
    }

    fn time(&self, at: usize) -> Option<Timestamp> {
        let (trade, quote) = self.next[at];
        let trade = self.days[at].trades.ts_event.get(trade);
        let quote = self.days[at].quotes.ts_event.get(quote);
        trade.into_iter().chain(quote).min().map(|nanos| Timestamp::from_nanos(*nanos))
    }
}

impl Iterator for Ticks {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        let Reverse((ts_event, at)) = self.heap.pop()?;
        let Day { instrument, trades, quotes } = &*self.days[at];
        let (trade, quote) = self.next[at];
        let money = |raw: i64| Decimal::new(raw, instrument.price_scale.into());
        let size = |raw: i64| Decimal::new(raw, instrument.size_scale.into());
        let (id, kind) = if quotes.ts_event.get(quote) == Some(&ts_event.as_nanos()) {
            self.next[at].1 += 1;
            let kind = TickKind::Quote {
                bid: money(quotes.bid[quote]),
                ask: money(quotes.ask[quote]),
                bid_size: size(quotes.bid_size[quote]),
                ask_size: size(quotes.ask_size[quote]),
            };
            (quote, kind)
        } else {
            self.next[at].0 += 1;
            let (price, qty) = (money(trades.price[trade]), size(trades.qty[trade]));
            (trade, TickKind::Trade { price, qty, aggressor: trades.aggressor[trade] })
        };
        let symbol = instrument.symbol.clone();
        self.heap.extend(self.time(at).map(|time| Reverse((time, at))));
        Some(Tick { symbol, ts_event, id: id as u64 + 1, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradeflow_storage::sample::{self, SampleOptions};

    /// A catalog of the sample generator, with ticks of one market and bars of another.
    fn catalog(folder: &std::path::Path) -> Catalog {
        let catalog = Catalog::open(folder.to_str().unwrap()).unwrap();
        let time = |text: &str| Some(text.parse().unwrap());
        let options = SampleOptions {
            seed: 5,
            from: time("2024-01-02"),
            to: time("2024-01-05"),
            symbols: vec!["SAMPLE-BTC".into()],
            ticks: true,
        };
        sample::write(&catalog, &options).unwrap();
        let options = SampleOptions { symbols: vec!["SAMPLE-FUT".into()], ticks: false, ..options };
        sample::write(&catalog, &options).unwrap();
        catalog
    }

    #[tokio::test]
    async fn a_day_is_played_whole_and_its_bars_are_those_of_the_catalog() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().to_owned();
        let catalog = tokio::task::spawn_blocking(move || catalog(&source)).await.unwrap();
        let options = ReplayedOptions { symbols: Vec::new(), day: None, speed: 100_000.0, hold: false };
        let market = Arc::new(Replayed::start(catalog.clone(), options).await.unwrap());
        let mut stream = market.subscribe();
        let (bitcoin, future) = (Symbol::new("SAMPLE-BTC").unwrap(), Symbol::new("SAMPLE-FUT").unwrap());
        let (start, end): (Timestamp, Timestamp) =
            ("2024-01-04".parse().unwrap(), "2024-01-05".parse().unwrap());
        let source = catalog.clone();
        let expected = tokio::task::spawn_blocking(move || {
            let of = |symbol: &str, kind| SeriesKey::new(Symbol::new(symbol).unwrap(), kind);
            let bars = SeriesKind::Bars { interval: Interval::MINUTE, price_type: PriceType::Last };
            let day_before = start.saturating_add(-NANOS_PER_DAY);
            let read = |key: SeriesKey, from| match source.read(&key, from, end).unwrap() {
                Columns::Bars(bars) => {
                    bars.rows(0..bars.ts_open.len(), SeriesId(0), InstrumentId(0)).collect()
                }
                _ => Vec::new(),
            };
            let trades = source.read(&of("SAMPLE-BTC", SeriesKind::Trades), start, end).unwrap().len();
            let quotes = source.read(&of("SAMPLE-BTC", SeriesKind::Quotes), start, end).unwrap().len();
            (
                read(of("SAMPLE-BTC", bars), day_before),
                read(of("SAMPLE-FUT", bars), day_before),
                trades,
                quotes,
            )
        });
        let (bitcoin_bars, future_bars, trades, quotes) = expected.await.unwrap();
        let today = future_bars.iter().filter(|bar| bar.ts_open >= start).count();
        assert!(trades > 5_000 && quotes > 5_000 && today > 500, "{trades} {quotes} {today}");

        let mut ticks: Vec<Tick> = Vec::new();
        while ticks.len() < trades + quotes + 4 * today {
            let burst = tokio::time::timeout(std::time::Duration::from_secs(20), stream.recv());
            ticks.extend(burst.await.expect("the day goes on").unwrap().iter().cloned());
        }
        assert!(ticks.windows(2).all(|pair| pair[0].ts_event <= pair[1].ts_event));
        let ids: Vec<_> = ticks
            .iter()
            .filter(|tick| tick.symbol == bitcoin && matches!(tick.kind, TickKind::Trade { .. }))
            .map(|tick| tick.id)
            .collect();
        assert_eq!(ids, (1..=trades as u64).collect::<Vec<_>>());
        while market.now() < end {
            tokio::task::yield_now().await;
        }
        let day_before = start.saturating_add(-NANOS_PER_DAY);
        let market: Arc<dyn Market> = market;
        for (symbol, expected) in [(&bitcoin, bitcoin_bars), (&future, future_bars)] {
            let served =
                super::super::bars(&market, symbol, Interval::MINUTE, day_before, end).await.unwrap();
            assert_eq!(served.len(), expected.len());
            let plain =
                |bar: &Bar| (bar.ts_open, bar.ts_event, bar.open, bar.high, bar.low, bar.close, bar.volume);
            assert!(served.iter().map(plain).eq(expected.iter().map(plain)), "{symbol}");
        }
        // The catalog has no hours: they are made of its minutes.
        let hours = super::super::bars(&market, &bitcoin, Interval::HOUR, day_before, end).await.unwrap();
        assert_eq!(hours.len(), 48);
    }

    #[tokio::test]
    async fn a_catalog_without_data_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path().to_str().unwrap()).unwrap();
        let options =
            ReplayedOptions { symbols: vec![Symbol::new("X").unwrap()], day: None, speed: 1.0, hold: false };
        let error = Replayed::start(catalog, options).await.err().unwrap().to_string();
        assert!(error.contains("has no trades, quotes or bars of X"), "{error}");
    }
}
