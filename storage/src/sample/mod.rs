//! Realistic data from a seed, so that anyone can run everything without a download.
//!
//! | symbol | what | calendar | by default |
//! |---|---|---|---|
//! | `SAMPLE-BTC` | a coin in dollars | 24x7 | 1m bars, 90 days |
//! | `SAMPLE-EQ` | a share, with dividends and a split | NYSE | 1d bars, 10 years, with corporate actions; 1m bars, the last month |
//! | `SAMPLE-FX` | a currency pair | FX week | quotes and 1m bid and ask bars, 5 days |
//! | `SAMPLE-FUT` | an index future | CME Globex | 1m bars, a month |
//!
//! Bars are made from the generated events by [`crate::aggregate`], so bars and ticks of a market agree. How the
//! events come about: the `path` module. The prices are invented; any likeness is in the statistics only.

mod market;
mod path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tradeflow_model::calendar::Session;
use tradeflow_model::market::{ActionKind, Columns, PriceType, QuoteColumns, SeriesKind, TradeColumns};
use tradeflow_model::time::NANOS_PER_DAY;
use tradeflow_model::{
    Bar, BarColumns, CorporateAction, Instrument, InstrumentId, Interval, Money, Quote, SeriesId, Symbol,
    Timestamp, Trade, ValueError, ValueReason,
};

use crate::aggregate::{Aggregator, Outside, Source};
use crate::catalog::{Catalog, CatalogError, ConflictPolicy, MergeReport, SeriesKey};
use market::{Market, markets};
use path::{Path, Step};

/// What to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleOptions {
    /// The same seed gives the same data, on every machine.
    pub seed: u64,
    /// Start of the data instead of each market's own. The path begins here, so another start gives other prices.
    pub from: Option<Timestamp>,
    /// End of the data instead of each market's own.
    pub to: Option<Timestamp>,
    /// The markets; all of them when empty.
    pub symbols: Vec<String>,
    /// Trades and quotes of the last [`TICK_SESSIONS`] sessions as well, where there would be bars only.
    pub ticks: bool,
}

/// Sessions of which [`SampleOptions::ticks`] keeps events.
pub const TICK_SESSIONS: usize = 2;

/// Days for which the equity has 1m bars.
const MINUTE_DAYS: i64 = 31;

/// A generated market.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What is traded.
    pub instrument: Instrument,
    /// Its series.
    pub series: Vec<(SeriesKind, Columns)>,
}

/// A series that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which.
    pub key: SeriesKey,
    /// Rows generated.
    pub rows: u64,
    /// How they joined the catalog.
    pub merge: MergeReport,
}

/// Generates and writes into a catalog, all or nothing up to the commit. Again with the same options changes nothing;
/// with others, times that are there already are a conflict.
///
/// # Errors
/// For a symbol that is no sample, an empty stretch of time, or as [`Catalog::merge`].
pub fn write(catalog: &Catalog, options: &SampleOptions) -> Result<Vec<Written>, CatalogError> {
    let mut writer = catalog.writer()?;
    let mut written = Vec::new();
    let source = format!("sample, seed {}", options.seed);
    for sample in generate(options)? {
        writer.put_instrument(&sample.instrument)?;
        for (kind, columns) in &sample.series {
            let key = SeriesKey::new(sample.instrument.symbol.clone(), *kind);
            let merge = writer.merge(&key, &source, columns, ConflictPolicy::Reject)?;
            written.push(Written { key, rows: columns.len() as u64, merge });
        }
    }
    writer.commit()?;
    Ok(written)
}

/// Generates in memory.
///
/// # Errors
/// For a symbol that is no sample, or an empty stretch of time.
pub fn generate(options: &SampleOptions) -> Result<Vec<Sample>, ValueError> {
    let all = markets()?;
    let names: Vec<_> = all.iter().map(|market| market.instrument.symbol.to_string()).collect();
    if let Some(unknown) = options.symbols.iter().find(|symbol| !names.contains(symbol)) {
        let why = format!("is not one of {}", names.join(", "));
        return Err(ValueError::new("sample", "symbol", unknown, ValueReason::Other(why)));
    }
    let mut samples = Vec::new();
    for (stream, market) in all.iter().enumerate() {
        let wanted = options.symbols.is_empty()
            || options.symbols.iter().any(|symbol| symbol == market.instrument.symbol.as_str());
        if wanted {
            samples.push(generate_market(options, stream as u64, market)?);
        }
    }
    Ok(samples)
}

fn generate_market(options: &SampleOptions, stream: u64, market: &Market) -> Result<Sample, ValueError> {
    let from = options.from.map_or_else(|| market.span.0.parse(), Ok)?;
    let to = options.to.map_or_else(|| market.span.1.parse(), Ok)?;
    if from >= to {
        let why = ValueReason::Other(format!("is not before the end, {to}"));
        return Err(ValueError::new("sample", "start", from, why));
    }
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    random.set_stream(stream);
    let mut path = Path::new(market, random);
    let mut recorder = Recorder::new(options, market, from, to);
    let mut actions = Actions::default();
    for session in market.instrument.calendar.sessions(from, to) {
        if market.has_actions && session.open >= from {
            actions.before(&session, &mut path);
        }
        path.session(&session, from, to, &mut |step| recorder.record(step));
    }
    let mut series = recorder.finish();
    series.retain(|(_, columns)| !columns.is_empty());
    if !actions.rows.is_empty() {
        series.insert(0, (SeriesKind::Actions, Columns::Actions(actions.rows)));
    }
    Ok(Sample { instrument: market.instrument.clone(), series })
}

const IDS: (SeriesId, InstrumentId) = (SeriesId(0), InstrumentId(0));

/// Keeps the series that are wanted of a market's events.
struct Recorder {
    bars: Vec<BarSeries>,
    trades: Option<TradeColumns>,
    quotes: Option<QuoteColumns>,
    ticks_since: Timestamp,
}

struct BarSeries {
    kind: SeriesKind,
    aggregator: Aggregator,
    since: Timestamp,
    price_type: PriceType,
    done: Vec<Bar>,
    columns: BarColumns,
}

impl Recorder {
    fn new(options: &SampleOptions, market: &Market, from: Timestamp, to: Timestamp) -> Self {
        let last_days = |days: i64| from.max(to.saturating_add(-days * NANOS_PER_DAY));
        let wanted: &[(Interval, PriceType, Timestamp)] = if market.has_actions {
            &[
                (Interval::DAY, PriceType::Last, from),
                (Interval::MINUTE, PriceType::Last, last_days(MINUTE_DAYS)),
            ]
        } else if market.has_trades {
            &[(Interval::MINUTE, PriceType::Last, from)]
        } else {
            &[(Interval::MINUTE, PriceType::Bid, from), (Interval::MINUTE, PriceType::Ask, from)]
        };
        let bars = wanted
            .iter()
            .map(|(interval, price_type, since)| BarSeries::new(market, *interval, *price_type, *since))
            .collect();
        Self {
            bars,
            trades: (options.ticks && market.has_trades).then(TradeColumns::default),
            quotes: (options.ticks || !market.has_trades).then(QuoteColumns::default),
            ticks_since: if market.has_trades { last_sessions(market, from, to) } else { from },
        }
    }

    fn record(&mut self, step: &Step) {
        let (series, instrument) = IDS;
        let &Step { time, bid, ask, bid_size, ask_size, trade } = step;
        let quote = Quote { series, instrument, ts_event: time, ts_init: time, bid, ask, bid_size, ask_size };
        let trade = trade.map(|(price, qty, aggressor)| Trade {
            series,
            instrument,
            ts_event: time,
            ts_init: time,
            price,
            qty,
            aggressor,
        });
        self.bars.iter_mut().for_each(|bars| bars.record(&quote, trade.as_ref()));
        if time < self.ticks_since {
            return;
        }
        if let Some(quotes) = &mut self.quotes {
            quotes.push(&quote);
        }
        if let (Some(trades), Some(trade)) = (&mut self.trades, &trade) {
            trades.push(trade);
        }
    }

    fn finish(self) -> Vec<(SeriesKind, Columns)> {
        let mut series: Vec<_> = self.bars.into_iter().map(BarSeries::finish).collect();
        series.extend(self.trades.map(|trades| (SeriesKind::Trades, Columns::Trades(trades))));
        series.extend(self.quotes.map(|quotes| (SeriesKind::Quotes, Columns::Quotes(quotes))));
        series
    }
}

/// Open of the first of the last sessions before `to`, but not before `from`.
fn last_sessions(market: &Market, from: Timestamp, to: Timestamp) -> Timestamp {
    (0..TICK_SESSIONS).fold(to, |before, _| {
        let session = market.instrument.calendar.previous_session(before);
        session.map_or(from, |session| session.open).max(from)
    })
}

impl BarSeries {
    fn new(market: &Market, interval: Interval, price_type: PriceType, since: Timestamp) -> Self {
        let source = if market.has_trades { Source::Trades } else { Source::Quotes(price_type) };
        let aggregator = Aggregator::new(&market.instrument, IDS, source, interval, Outside::Drop)
            .expect("trades and quotes make minutes and days");
        let kind = SeriesKind::Bars { interval, price_type };
        Self { kind, aggregator, since, price_type, done: Vec::new(), columns: BarColumns::default() }
    }

    fn record(&mut self, quote: &Quote, trade: Option<&Trade>) {
        if quote.ts_event < self.since {
            return;
        }
        let pushed = match (self.price_type, trade) {
            (PriceType::Last, Some(trade)) => self.aggregator.push_trade(trade, &mut self.done),
            (PriceType::Last, None) => Ok(()),
            _ => self.aggregator.push_quote(quote, &mut self.done),
        };
        pushed.expect("generated events are in order and their sums are small");
        for bar in self.done.drain(..) {
            self.columns.push(&bar);
        }
    }

    fn finish(mut self) -> (SeriesKind, Columns) {
        self.aggregator.flush(&mut self.done);
        for bar in &self.done {
            self.columns.push(bar);
        }
        (self.kind, Columns::Bars(self.columns))
    }
}

/// Dividends of 0.4 % once a quarter, and a split of 2 for 1 at the start of every fifth year.
#[derive(Default)]
struct Actions {
    rows: Vec<CorporateAction>,
    quarter: Option<(i16, i8)>,
    year: Option<i16>,
}

impl Actions {
    /// What takes effect at the open of a session, and the step of the price that goes with it.
    fn before(&mut self, session: &Session, path: &mut Path<'_>) {
        let date = session.date;
        let quarter = (date.year(), (date.month() - 1) / 3);
        let is_new_year = self.year.replace(date.year()).is_some_and(|year| year != date.year());
        if is_new_year && date.year() % 5 == 0 {
            path.rescale(0.5);
            self.add(session, ActionKind::Split { new: 2, old: 1 });
        }
        // Ex-dates fall in the middle month of a quarter.
        if date.month() % 3 == 2 && date.day() >= 10 && self.quarter != Some(quarter) {
            self.quarter = Some(quarter);
            let cents = (path.mid() * 0.4).round() as i64;
            path.rescale(1.0 - cents as f64 / 100.0 / path.mid());
            let amount = Money::from_raw(i128::from(cents) * 10_i128.pow(16));
            self.add(session, ActionKind::Dividend { amount });
        }
    }

    fn add(&mut self, session: &Session, kind: ActionKind) {
        let (series, instrument) = IDS;
        let time = session.open;
        self.rows.push(CorporateAction { series, instrument, ts_event: time, ts_init: time, kind });
    }
}

/// The symbols that can be generated.
///
/// # Errors
/// Never, unless the definitions contradict themselves.
pub fn symbols() -> Result<Vec<Symbol>, ValueError> {
    Ok(markets()?.into_iter().map(|market| market.instrument.symbol).collect())
}
