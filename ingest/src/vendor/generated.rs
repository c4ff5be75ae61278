//! A market invented from a seed: the same history and the same live ticks, whenever and wherever it runs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use tokio::sync::broadcast;
use tradeflow_model::calendar::Calendar;
use tradeflow_model::time::NANOS_PER_MIN;
use tradeflow_model::{
    AssetClass, Bar, Currency, Instrument, InstrumentId, Interval, Price, Qty, SeriesId, Symbol, Timestamp,
    ValueError,
};

use super::live::{Live, MarketClock};
use super::path::{FIRST_MINUTE, MinuteTicks, Path, Profile};
use super::{Market, Tick, TickKind};

/// The symbols of a generated market when none are named.
pub const SYMBOLS: [&str; 5] = ["BTCUSD", "ETHUSD", "AAPL", "SPY", "EURUSD"];

/// What is invented.
#[derive(Debug, Clone)]
pub struct GeneratedOptions {
    /// The same seed, symbols and rate give the same market.
    pub seed: u64,
    /// The instruments: [`SYMBOLS`] are like their namesakes, any other is a coin.
    pub symbols: Vec<Symbol>,
    /// Trades and quotes a second of market time, over all symbols together. Each symbol has at least four trades a
    /// minute.
    pub rate: u32,
    /// Whether there are quotes, one before each trade; otherwise all ticks are trades.
    pub quotes: bool,
    /// Whether instruments keep the hours of their class. Otherwise they trade round the clock, and their calendar says
    /// so: a demonstration works on a Sunday too.
    pub hours: bool,
    /// The market's time when it starts; the machine's when left out.
    pub start: Option<Timestamp>,
    /// How fast its time goes.
    pub speed: f64,
}

impl Default for GeneratedOptions {
    fn default() -> Self {
        let symbols = SYMBOLS.iter().filter_map(|symbol| Symbol::new(*symbol).ok()).collect();
        Self { seed: 1, symbols, rate: 100, quotes: true, hours: false, start: None, speed: 1.0 }
    }
}

/// A generated market. Its history begins in 2010.
pub struct Generated {
    instruments: Vec<Instrument>,
    paths: HashMap<Symbol, Arc<Path>>,
    clock: MarketClock,
    live: Live,
}

impl Generated {
    /// Starts it, within a tokio runtime.
    ///
    /// # Errors
    /// When there is no symbol, one is named twice, or rate or speed is not above zero.
    pub fn start(options: &GeneratedOptions) -> Result<Self, ValueError> {
        let refuse = |field: &str, value: String, why: &str| {
            Err(ValueError::new(
                "generated market",
                field,
                value,
                tradeflow_model::ValueReason::Other(why.into()),
            ))
        };
        if options.symbols.is_empty() {
            return refuse("symbols", String::new(), "takes at least one");
        }
        if options.rate == 0 {
            return refuse("rate", "0".into(), "must be above zero");
        }
        if !(options.speed.is_finite() && options.speed > 0.0) {
            return refuse("speed", options.speed.to_string(), "must be above zero");
        }
        let per_minute = u64::from(options.rate) * 60 / options.symbols.len() as u64;
        let mut paths = HashMap::new();
        let mut instruments = Vec::new();
        let mut cursors = Vec::new();
        let clock = match (options.start, options.speed) {
            (None, 1.0) => MarketClock::machine(),
            (start, speed) => MarketClock::from(start.unwrap_or_else(|| MarketClock::machine().now()), speed),
        };
        let now = clock.now();
        let mut last = HashMap::new();
        for symbol in &options.symbols {
            let profile = profile(symbol, options.seed, options.hours)?;
            instruments.push(profile.instrument.clone());
            let path = Arc::new(Path::new(profile, options.seed, per_minute, options.quotes));
            if paths.insert(symbol.clone(), Arc::clone(&path)).is_some() {
                return refuse("symbols", symbol.to_string(), "is named twice");
            }
            let (cursor, before) = Cursor::at(path, now);
            cursors.push(cursor);
            last.insert(symbol.clone(), before);
        }
        let live = Live::start(clock.clone(), Merged::new(cursors), last);
        Ok(Self { instruments, paths, clock, live })
    }
}

impl Market for Generated {
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
        let path = self.paths.get(symbol).ok_or_else(|| format!("there is no {symbol} here"))?;
        let now = self.now();
        let first = Timestamp::from_nanos(FIRST_MINUTE * NANOS_PER_MIN);
        let slots = path.profile.instrument.calendar.expected_bars(interval, from.max(first), to.min(now));
        let slots = slots.ok_or_else(|| format!("bars of {interval} are not counted in time"))?;
        let done = slots.take_while(|slot| slot.close <= now);
        Ok(done.filter_map(|slot| bar_of(path, slot.open, slot.close)).collect())
    }

    fn last(&self, symbol: &Symbol) -> (Option<Tick>, Option<Tick>) {
        self.live.last(symbol)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<[Tick]>> {
        self.live.subscribe()
    }
}

/// The bar of the path's minutes, or of its trades where it is shorter than a minute or does not begin with one;
/// `None` without trades.
fn bar_of(path: &Path, open: Timestamp, close: Timestamp) -> Option<Bar> {
    let instrument = &path.profile.instrument;
    let (start, end) = (open.as_nanos(), close.as_nanos());
    let mut sum: Option<(i64, i64, i64, i64, i64)> = None;
    let mut add = |o: i64, h: i64, l: i64, c: i64, v: i64| {
        sum = Some(match sum {
            None => (o, h, l, c, v),
            Some((open, high, low, _, volume)) => (open, high.max(h), low.min(l), c, volume + v),
        });
    };
    let (tick, lot) = (instrument.price_increment.raw(), instrument.size_increment.raw());
    if start % NANOS_PER_MIN == 0 && end % NANOS_PER_MIN == 0 {
        for (minute, bar) in path.minutes(start / NANOS_PER_MIN..end / NANOS_PER_MIN) {
            if is_open(instrument.calendar, minute) {
                add(bar.open * tick, bar.high * tick, bar.low * tick, bar.close * tick, bar.volume * lot);
            }
        }
    } else if is_open(instrument.calendar, start.div_euclid(NANOS_PER_MIN)) {
        let inside = |tick: &Tick| open <= tick.ts_event && tick.ts_event < close;
        for tick in path.ticks(start.div_euclid(NANOS_PER_MIN)).filter(inside) {
            if let TickKind::Trade { price, qty, .. } = tick.kind {
                // Both were made at the instrument's scales.
                let (price, qty) = (price.mantissa() as i64, qty.mantissa() as i64);
                add(price, price, price, price, qty);
            }
        }
    }
    let (o, h, l, c, volume) = sum?;
    Some(Bar {
        series: SeriesId(0),
        instrument: InstrumentId(0),
        ts_open: open,
        ts_event: close,
        ts_init: close,
        open: Price::from_raw(o),
        high: Price::from_raw(h),
        low: Price::from_raw(l),
        close: Price::from_raw(c),
        volume: Qty::from_raw(volume),
    })
}

fn is_open(calendar: Calendar, minute: i64) -> bool {
    calendar == Calendar::AlwaysOpen || calendar.is_open(Timestamp::from_nanos(minute * NANOS_PER_MIN))
}

/// The endless ticks of a path from some instant on.
struct Cursor {
    path: Arc<Path>,
    minute: i64,
    /// Tick within the minute.
    next: i64,
    /// Ticks of this minute that are worked out, the next one last.
    ready: Vec<Tick>,
}

/// Ticks that a cursor works out at a time.
const AHEAD: usize = 256;

impl Cursor {
    /// At the first tick after `now`, with the last trade and quote until then.
    fn at(path: Arc<Path>, now: Timestamp) -> (Self, (Option<Tick>, Option<Tick>)) {
        let minute = now.as_nanos().div_euclid(NANOS_PER_MIN);
        let mut last = (None, None);
        let mut next = 0;
        if is_open(path.profile.instrument.calendar, minute) {
            let ticks = path.ticks(minute);
            next = ticks.position_after(now);
            // The last trade and the quote before it are among the last three.
            for tick in ticks.skip_to((next - 3).max(0)).take(next.min(3) as usize) {
                let place =
                    if matches!(tick.kind, TickKind::Trade { .. }) { &mut last.0 } else { &mut last.1 };
                *place = Some(tick);
            }
        }
        (Self { path, minute, next, ready: Vec::new() }, last)
    }

    /// The time of the next tick.
    fn peek(&mut self) -> Option<Timestamp> {
        if self.ready.is_empty() {
            self.fill();
        }
        self.ready.last().map(|tick| tick.ts_event)
    }

    fn take(&mut self) -> Option<Tick> {
        if self.ready.is_empty() {
            self.fill();
        }
        self.ready.pop()
    }

    fn fill(&mut self) {
        let calendar = self.path.profile.instrument.calendar;
        let mut ticks: MinuteTicks<'_> = self.path.ticks(self.minute).skip_to(self.next);
        if !is_open(calendar, self.minute) || ticks.is_over() {
            let after = Timestamp::from_nanos((self.minute + 1) * NANOS_PER_MIN);
            self.minute = match calendar {
                Calendar::AlwaysOpen => self.minute + 1,
                calendar if calendar.is_open(after) => self.minute + 1,
                calendar => {
                    let reopens = calendar.next_session(after).map_or(Timestamp::MAX, |session| session.open);
                    reopens.as_nanos() / NANOS_PER_MIN
                }
            };
            ticks = self.path.ticks(self.minute);
        }
        self.ready.extend(ticks.by_ref().take(AHEAD));
        self.ready.reverse();
        self.next = ticks.position();
    }
}

/// The ticks of several cursors in the order of time.
struct Merged {
    cursors: Vec<Cursor>,
    heap: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl Merged {
    fn new(mut cursors: Vec<Cursor>) -> Self {
        let heap =
            cursors.iter_mut().enumerate().filter_map(|(at, cursor)| Some(Reverse((cursor.peek()?, at))));
        let heap = heap.collect();
        Self { cursors, heap }
    }
}

impl Iterator for Merged {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        let mut top = self.heap.peek_mut()?;
        let at = top.0.1;
        let tick = self.cursors[at].take();
        match self.cursors[at].peek() {
            Some(time) => top.0.0 = time,
            None => drop(std::collections::binary_heap::PeekMut::pop(top)),
        }
        tick
    }
}

/// What a market of this name is like.
fn profile(symbol: &Symbol, seed: u64, hours: bool) -> Result<Profile, ValueError> {
    use AssetClass::{CryptoSpot, Equity, FxPair};
    let text = symbol.as_str();
    // Class, base, decimals of price and size, price in ticks, liveliness, spread in ticks, lots a minute.
    let (class, base, scales, price, lively, spread, lots) = match text {
        "BTCUSD" => (CryptoSpot, "BTC".into(), (2, 5), 6_500_000, 400, 1, 600_000),
        "ETHUSD" => (CryptoSpot, "ETH".into(), (2, 4), 340_000, 450, 1, 900_000),
        "AAPL" => (Equity, "AAPL".into(), (2, 0), 19_000, 300, 1, 60_000),
        "SPY" => (Equity, "SPY".into(), (2, 0), 52_000, 180, 1, 120_000),
        "EURUSD" => (FxPair, "EUR".into(), (5, 0), 108_500, 60, 2, 30_000_000),
        _ => {
            let name = text.strip_suffix("USDT").or_else(|| text.strip_suffix("USD")).unwrap_or(text);
            let code: String =
                name.to_ascii_uppercase().chars().filter(char::is_ascii_alphanumeric).collect();
            let code = code.chars().take(12).collect::<String>();
            let code = if code.is_empty() { "COIN".to_owned() } else { code };
            let draw = text.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            (CryptoSpot, code, (2, 4), 1_000 + (draw % 99_000) as i64, 400, 1, 500_000)
        }
    };
    let mut instrument = Instrument::new(
        symbol.clone(),
        class,
        Currency::new(base)?,
        Currency::new("USD")?,
        scales.0,
        scales.1,
    )?;
    if !hours {
        instrument.calendar = Calendar::AlwaysOpen;
    }
    Ok(Profile { instrument, base: price, lively, spread, lots })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tradeflow_storage::aggregate::{Aggregator, Outside, Source};

    const IDS: (SeriesId, InstrumentId) = (SeriesId(0), InstrumentId(0));

    fn ticks_between(path: &Arc<Path>, from: Timestamp, to: Timestamp) -> Vec<Tick> {
        let (cursor, _) = Cursor::at(Arc::clone(path), from.saturating_add(-1));
        Merged::new(vec![cursor]).take_while(|tick| tick.ts_event < to).collect()
    }

    /// The bars that our aggregator, which knows nothing of paths, makes of ticks.
    fn aggregated(instrument: &Instrument, ticks: &[Tick], interval: Interval) -> Vec<Bar> {
        let mut aggregator =
            Aggregator::new(instrument, IDS, Source::Trades, interval, Outside::Drop).unwrap();
        let mut bars = Vec::new();
        for tick in ticks {
            let TickKind::Trade { price, qty, aggressor } = tick.kind else { continue };
            let trade = tradeflow_model::Trade {
                series: IDS.0,
                instrument: IDS.1,
                ts_event: tick.ts_event,
                ts_init: tick.ts_event,
                price: instrument.order_price("price", price).unwrap(),
                qty: instrument.order_qty("quantity", qty).unwrap(),
                aggressor,
            };
            aggregator.push_trade(&trade, &mut bars).unwrap();
        }
        aggregator.flush(&mut bars);
        bars
    }

    fn path(symbol: &str, seed: u64, per_minute: u64, quotes: bool, hours: bool) -> Arc<Path> {
        let profile = profile(&Symbol::new(symbol).unwrap(), seed, hours).unwrap();
        Arc::new(Path::new(profile, seed, per_minute, quotes))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn served_bars_are_those_of_the_ticks(
            seed: u64,
            symbol in prop::sample::select(&SYMBOLS[..]),
            per_minute in 1_u64..3_000,
            quotes: bool,
            hours: bool,
            interval in prop::sample::select(&["1s", "1m", "15m", "1h"][..]),
        ) {
            let path = path(symbol, seed, per_minute, quotes, hours);
            let from: Timestamp = "2024-03-05T14:00".parse().unwrap();
            let to: Timestamp = "2024-03-05T16:00".parse().unwrap();
            let ticks = ticks_between(&path, from, to);
            prop_assert!(ticks.windows(2).all(|pair| pair[0].ts_event <= pair[1].ts_event));
            let trades: Vec<_> =
                ticks.iter().filter(|tick| matches!(tick.kind, TickKind::Trade { .. })).collect();
            if !hours {
                prop_assert!(trades.windows(2).all(|pair| pair[1].id == pair[0].id + 1));
            }
            let interval: Interval = interval.parse().unwrap();
            let instrument = &path.profile.instrument;
            let slots = instrument.calendar.expected_bars(interval, from, to).unwrap();
            let served: Vec<_> = slots.filter(|slot| slot.close <= to)
                .filter_map(|slot| bar_of(&path, slot.open, slot.close)).collect();
            let made: Vec<_> =
                aggregated(instrument, &ticks, interval).into_iter().filter(|bar| bar.ts_event <= to).collect();
            prop_assert!(!served.is_empty());
            prop_assert_eq!(served, made);
            for tick in &ticks {
                if let TickKind::Quote { bid, ask, bid_size, ask_size } = tick.kind {
                    let zero = rust_decimal::Decimal::ZERO;
                    prop_assert!(zero < bid && bid < ask && zero < bid_size && zero < ask_size);
                }
            }
        }
    }

    #[test]
    fn a_path_looks_like_a_market() {
        let path = path("BTCUSD", 7, 600, true, false);
        let start = 28_400_000;
        let closes: Vec<f64> =
            path.minutes(start..start + 1_440 * 30).map(|(_, bar)| bar.close as f64).collect();
        let deviation = |step: usize| {
            let returns = closes.iter().step_by(step).collect::<Vec<_>>();
            let squares: f64 = returns.windows(2).map(|pair| (pair[1] / pair[0] - 1.0).powi(2)).sum();
            (squares / (returns.len() - 1) as f64).sqrt()
        };
        let (minute, hour, day) = (deviation(1), deviation(60), deviation(1_440));
        assert!((0.000_1..0.002).contains(&minute), "{minute}");
        assert!((0.002..0.012).contains(&hour), "{hour}");
        assert!((0.008..0.08).contains(&day), "{day}");
        assert!(closes.iter().all(|price| (2_600_000.0..10_400_000.0).contains(price)));
    }

    #[test]
    fn a_market_that_keeps_hours_skips_the_night() {
        let path = path("AAPL", 1, 60, false, true);
        let close: Timestamp = "2024-03-08T21:00".parse().unwrap(); // a Friday
        let open: Timestamp = "2024-03-11T13:30".parse().unwrap(); // in summer time
        let (mut cursor, last) = Cursor::at(Arc::clone(&path), close.saturating_add(-1));
        assert!(last.0.is_some());
        let next = cursor.take().unwrap().ts_event;
        assert!(open <= next && next < open.saturating_add(NANOS_PER_MIN), "{next}");
    }

    #[tokio::test]
    async fn what_was_live_is_history_a_moment_later() {
        let start: Timestamp = "2024-03-05T14:59:59".parse().unwrap();
        let options = GeneratedOptions {
            rate: 500,
            symbols: vec![Symbol::new("ETHUSD").unwrap()],
            start: Some(start),
            speed: 60.0,
            ..GeneratedOptions::default()
        };
        let market = Generated::start(&options).unwrap();
        let mut stream = market.subscribe();
        let mut ticks = Vec::new();
        let end: Timestamp = "2024-03-05T15:03".parse().unwrap();
        let mut is_over = false;
        while !is_over {
            let burst = stream.recv().await.unwrap();
            is_over =
                burst.iter().any(|tick| tick.ts_event >= end && matches!(tick.kind, TickKind::Trade { .. }));
            ticks.extend(burst.iter().cloned());
        }
        let from: Timestamp = "2024-03-05T15:00".parse().unwrap();
        ticks.retain(|tick| from <= tick.ts_event && tick.ts_event < end);
        let instrument = &market.instruments()[0];
        let served = market.bars(&instrument.symbol, Interval::MINUTE, from, end).unwrap();
        assert_eq!(served, aggregated(instrument, &ticks, Interval::MINUTE));
        assert_eq!(served.len(), 3);
        assert!(market.last(&instrument.symbol).0.is_some_and(|tick| tick.ts_event >= end));
    }
}
