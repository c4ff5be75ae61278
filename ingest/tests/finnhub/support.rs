//! A market that a test moves, a sink that keeps what comes, and a feed that runs.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradeflow_ingest::finnhub::server::{ServerOptions, start, vendor_symbol};
use tradeflow_ingest::finnhub::{FinnhubConfig, Timing};
use tradeflow_ingest::vendor::{Market, Misbehaviour, Server, Tick, TickKind};
use tradeflow_ingest::{Feed, FeedContext, FeedStatus, Secret, Sink, SystemClock, Update, Watch, Watchlist};
use tradeflow_model::market::Aggressor;
use tradeflow_model::{
    AssetClass, Bar, Currency, Instrument, InstrumentId, Interval, Price, Qty, SeriesId, Symbol, Timestamp,
};

/// 2026-01-06 14:40 UTC, a Tuesday: 09:40 in New York.
pub const OPEN_MS: i64 = 1_767_710_400_000;

/// As long as anything may take.
const DEADLINE: Duration = Duration::from_secs(120);

pub fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

pub fn instrument(symbol: &str, class: AssetClass) -> Instrument {
    let name = |text: &str| Currency::new(text).unwrap();
    let (base, quote) = match class {
        AssetClass::Equity => (name("SHARE"), name("USD")),
        _ => (name(&symbol[..3]), name(&symbol[3..])),
    };
    Instrument::new(Symbol::new(symbol).unwrap(), class, base, quote, 5, 6).unwrap()
}

/// AAPL, MSFT, SPY, EURUSD, BTCUSD.
pub fn instruments() -> Vec<Instrument> {
    let stocks = ["AAPL", "MSFT", "SPY"].map(|symbol| instrument(symbol, AssetClass::Equity));
    let others = [instrument("EURUSD", AssetClass::FxPair), instrument("BTCUSD", AssetClass::CryptoSpot)];
    stocks.into_iter().chain(others).collect()
}

/// A market that moves when it is told to.
pub struct Scripted {
    instruments: Vec<Instrument>,
    last: Mutex<BTreeMap<Symbol, Tick>>,
    count: AtomicU64,
    stream: broadcast::Sender<Arc<[Tick]>>,
}

impl Scripted {
    pub fn new(instruments: Vec<Instrument>) -> Arc<Self> {
        Arc::new(Self {
            instruments,
            last: Mutex::default(),
            count: AtomicU64::new(0),
            stream: broadcast::channel(1024).0,
        })
    }

    /// A trade.
    pub fn tick(&self, symbol: &str, ms: i64, price: &str, qty: &str) -> Tick {
        let tick = Tick {
            symbol: Symbol::new(symbol).unwrap(),
            ts_event: Timestamp::from_millis(ms).unwrap(),
            id: self.count.fetch_add(1, Ordering::Relaxed) + 1,
            kind: TickKind::Trade {
                price: price.parse().unwrap(),
                qty: qty.parse().unwrap(),
                aggressor: Aggressor::Buyer,
            },
        };
        self.last.lock().unwrap().insert(tick.symbol.clone(), tick.clone());
        tick
    }

    /// A burst of trades.
    pub fn send(&self, ticks: Vec<Tick>) {
        // Nobody may listen just now.
        let _ = self.stream.send(ticks.into());
    }

    /// One trade of 100, a millisecond after the one before.
    pub fn trade(&self, symbol: &str) {
        let ms = OPEN_MS + self.count.load(Ordering::Relaxed) as i64;
        let tick = self.tick(symbol, ms, "100.5", "100");
        self.send(vec![tick]);
    }

    /// What a bar is here: a function of its time alone.
    pub fn bar(&self, symbol: &Symbol, from: Timestamp, length: i64) -> Bar {
        let n = from.as_nanos() / length % 1000;
        let price = |more: i64| Price::from_raw(10_000_000 + n * 1_000 + more);
        let _ = symbol;
        Bar {
            series: SeriesId(0),
            instrument: InstrumentId(0),
            ts_open: from,
            ts_event: from.saturating_add(length),
            ts_init: from.saturating_add(length),
            open: price(0),
            high: price(700),
            low: price(-300),
            close: price(500),
            volume: Qty::from_raw(1_000_000 + n),
        }
    }
}

impl Market for Scripted {
    fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    fn now(&self) -> Timestamp {
        let last = self.last.lock().unwrap();
        last.values().map(|tick| tick.ts_event).max().unwrap_or(Timestamp::from_millis(OPEN_MS).unwrap())
    }

    fn bars(
        &self,
        symbol: &Symbol,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Bar>, String> {
        let length = interval.nominal_nanos();
        let end = to.min(self.now());
        let mut at = Timestamp::from_nanos((from.as_nanos() + length - 1).div_euclid(length) * length);
        let mut bars = Vec::new();
        while at < end && at.saturating_add(length) <= self.now() {
            bars.push(self.bar(symbol, at, length));
            at = at.saturating_add(length);
        }
        Ok(bars)
    }

    fn last(&self, symbol: &Symbol) -> (Option<Tick>, Option<Tick>) {
        (self.last.lock().unwrap().get(symbol).cloned(), None)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<[Tick]>> {
        self.stream.subscribe()
    }
}

/// What a feed reported.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub updates: Vec<Update>,
    pub bad: Vec<(String, String)>,
    pub excluded: usize,
    pub flushes: usize,
}

impl Seen {
    /// Updates of a symbol.
    pub fn of(&self, symbol: &str) -> Vec<Update> {
        self.updates.iter().filter(|update| symbol_of(update) == symbol).cloned().collect()
    }
}

pub fn symbol_of(update: &Update) -> &str {
    match update {
        Update::Trade { symbol, .. } | Update::Quote { symbol, .. } | Update::Last { symbol, .. } => {
            symbol.as_str()
        }
    }
}

/// Time in milliseconds, price and quantity.
pub fn row(update: &Update) -> (i64, String, String) {
    match update {
        Update::Trade { ts_event, price, qty, .. } => {
            (ts_event.as_nanos() / 1_000_000, price.to_string(), qty.to_string())
        }
        Update::Last { ts_event, price, .. } => {
            (ts_event.as_nanos() / 1_000_000, price.to_string(), "last".into())
        }
        other => panic!("{other:?}"),
    }
}

struct Keeper(Arc<Mutex<Seen>>);

impl Sink for Keeper {
    fn update(&mut self, _: Timestamp, update: Update) {
        self.0.lock().unwrap().updates.push(update);
    }

    fn bad(&mut self, reason: &str, message: &str) {
        self.0.lock().unwrap().bad.push((reason.into(), message.into()));
    }

    fn excluded(&mut self) {
        self.0.lock().unwrap().excluded += 1;
    }

    fn flush(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.lock().unwrap().flushes += 1;
        Box::pin(std::future::ready(()))
    }
}

/// A feed that runs.
pub struct Running {
    pub watchlist: watch::Sender<Watchlist>,
    pub status: Arc<FeedStatus>,
    pub stop: CancellationToken,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(feed: impl Feed + 'static, watchlist: Watchlist) -> Self {
        let (watchlist, receiver) = watch::channel(watchlist);
        let (status, seen, stop) = (Arc::default(), Arc::<Mutex<Seen>>::default(), CancellationToken::new());
        let context = FeedContext {
            watchlist: receiver,
            sink: Box::new(Keeper(Arc::clone(&seen))),
            clock: Arc::new(SystemClock),
            status: Arc::clone(&status),
            seed: 7,
            stop: stop.clone(),
        };
        let task = tokio::spawn(Box::new(feed).run(context));
        Self { watchlist, status, stop, seen, task }
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    pub fn error(&self) -> String {
        self.status.last_error.lock().unwrap().clone().unwrap_or_default()
    }

    /// Lets the market trade a symbol until one of the trades has come through the feed.
    pub async fn reaches(&self, market: &Scripted, symbol: &str) {
        let before = self.seen().of(symbol).len();
        until(&format!("trades of {symbol}"), || {
            market.trade(symbol);
            self.seen().of(symbol).len() > before
        })
        .await;
    }

    pub async fn end(self) -> Seen {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("the feed ends when it is told to").unwrap();
        Arc::try_unwrap(self.seen).unwrap().into_inner().unwrap()
    }
}

/// Waits until it is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

pub fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Instruments of these symbols, with trades wanted.
pub fn watchlist(all: &[Instrument], symbols: &str) -> Watchlist {
    let watches = symbols.split_whitespace().map(|symbol| {
        let instrument = all.iter().find(|i| i.symbol.as_str() == symbol).expect("a known symbol").clone();
        Watch { vendor_symbol: vendor_symbol(&instrument), instrument, trades: true, quotes: true }
    });
    Watchlist { watches: watches.collect() }
}

/// Times that are short enough for a test.
pub fn quick() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        first: ms(10),
        max: ms(40),
        long: ms(200),
        long_max: ms(400),
        refused: ms(300),
        stable: ms(60_000),
        silence: ms(60_000),
        connect: ms(5_000),
        settle: ms(40),
    }
}

/// A server with the free plan, and a client's configuration for it. Each test has its own key.
pub async fn served(
    market: &Arc<Scripted>,
    key: &str,
    change: impl FnOnce(&mut ServerOptions),
) -> (Server, FinnhubConfig) {
    let mut options = ServerOptions::free(Secret::new(key));
    change(&mut options);
    let market: Arc<dyn Market> = market.clone();
    let server = start(market, options, Misbehaviour::default(), loopback()).await.unwrap();
    let config = config(key, &server.http());
    (server, config)
}

pub fn config(key: &str, base: &str) -> FinnhubConfig {
    let mut config = FinnhubConfig::local(Secret::new(key), &base.parse().unwrap());
    config.timing = quick();
    config.calls.retry.first = Duration::from_millis(20);
    config
}

pub fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}
