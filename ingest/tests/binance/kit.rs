//! A market under the test's hand, a sink that keeps what comes, and a client on them.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradeflow_ingest::binance::server::{self, ServerOptions, symbol_of};
use tradeflow_ingest::binance::{Binance, BinanceOptions, Times};
use tradeflow_ingest::vendor::{Control, Market, Misbehaviour, Server, Tick, TickKind};
use tradeflow_ingest::{
    Feed, FeedContext, FeedState, FeedStatus, Sink, SystemClock, Update, Watch, Watchlist,
};
use tradeflow_model::market::Aggressor;
use tradeflow_model::{AssetClass, Bar, Currency, Instrument, Interval, Symbol, Timestamp};

/// Waits for a condition, at most two minutes.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "not within two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn symbol(text: &str) -> Symbol {
    Symbol::new(text).unwrap()
}

pub fn coin(name: &str) -> Instrument {
    let code = |text: &str| Currency::new(text).unwrap();
    Instrument::new(symbol(name), AssetClass::CryptoSpot, code(&name[..3]), code("USD"), 2, 4).unwrap()
}

/// A market in which the test says what happens.
pub struct Scripted {
    instruments: Vec<Instrument>,
    sender: broadcast::Sender<Arc<[Tick]>>,
    ids: Mutex<BTreeMap<Symbol, u64>>,
}

impl Scripted {
    pub fn new(names: &[&str]) -> Arc<Self> {
        let instruments = names.iter().map(|name| coin(name)).collect();
        Arc::new(Self { instruments, sender: broadcast::Sender::new(65_536), ids: Mutex::default() })
    }

    /// A quote and a trade of each instrument; the price of a trade is its number.
    pub fn tick(&self) {
        let mut burst = Vec::new();
        let mut ids = self.ids.lock().unwrap();
        for instrument in &self.instruments {
            let id = ids.entry(instrument.symbol.clone()).or_default();
            *id += 1;
            let price = Decimal::from(*id);
            let ts_event = self.now();
            let tick = |kind| Tick { symbol: instrument.symbol.clone(), ts_event, id: *id, kind };
            let quote = TickKind::Quote {
                bid: price,
                ask: price + Decimal::ONE,
                bid_size: 1.into(),
                ask_size: 2.into(),
            };
            burst.push(tick(quote));
            burst.push(tick(TickKind::Trade { price, qty: 1.into(), aggressor: Aggressor::Buyer }));
        }
        let _ = self.sender.send(burst.into());
    }

    /// How many times it ticked.
    pub fn ticked(&self) -> u64 {
        self.ids.lock().unwrap().values().copied().max().unwrap_or_default()
    }

    /// Ticks every millisecond until the guard is dropped.
    pub fn run(self: &Arc<Self>) -> Running {
        let market = Arc::clone(self);
        let goes = Arc::new(AtomicBool::new(true));
        let go = Arc::clone(&goes);
        tokio::spawn(async move {
            while go.load(Relaxed) {
                market.tick();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Running(goes)
    }
}

pub struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

impl Market for Scripted {
    fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    fn now(&self) -> Timestamp {
        use tradeflow_ingest::Clock;
        SystemClock.now()
    }

    fn bars(&self, _: &Symbol, _: Interval, _: Timestamp, _: Timestamp) -> Result<Vec<Bar>, String> {
        Ok(Vec::new())
    }

    fn last(&self, _: &Symbol) -> (Option<Tick>, Option<Tick>) {
        (None, None)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<[Tick]>> {
        self.sender.subscribe()
    }
}

/// A server of the market on some port.
pub async fn serve(market: &Arc<Scripted>, rules: Misbehaviour, options: ServerOptions) -> Server {
    serve_at(market, rules, options, SocketAddr::from(([127, 0, 0, 1], 0))).await
}

pub async fn serve_at(
    market: &Arc<Scripted>,
    rules: Misbehaviour,
    options: ServerOptions,
    address: SocketAddr,
) -> Server {
    server::start(address, Arc::clone(market) as Arc<dyn Market>, &Control::new(rules), options)
        .await
        .unwrap()
}

/// Without the limits that tests with short times would run into.
pub fn open_server() -> ServerOptions {
    ServerOptions { messages_per_second: 1_000, connections: 10_000, ..ServerOptions::default() }
}

/// What came, as it came.
#[derive(Debug, Default)]
pub struct Seen {
    pub updates: Vec<(Timestamp, Update)>,
    pub bad: Vec<(String, String)>,
    pub flushes: u64,
}

struct Keep(Arc<Mutex<Seen>>);

impl Sink for Keep {
    fn update(&mut self, ts_init: Timestamp, update: Update) {
        self.0.lock().unwrap().updates.push((ts_init, update));
    }

    fn bad(&mut self, reason: &str, message: &str) {
        self.0.lock().unwrap().bad.push((reason.into(), message.into()));
    }

    fn flush(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.lock().unwrap().flushes += 1;
        Box::pin(std::future::ready(()))
    }
}

/// A client that runs.
pub struct Client {
    pub seen: Arc<Mutex<Seen>>,
    pub status: Arc<FeedStatus>,
    pub watchlist: watch::Sender<Watchlist>,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

/// Times for tests: the same order of things, some hundred times as fast.
pub fn quick() -> Times {
    let ms = Duration::from_millis;
    Times {
        connect: ms(2_000),
        request_gap: ms(2),
        reply: ms(2_000),
        silent: ms(200),
        dead: ms(400),
        stale: ms(20_000),
        lifetime: Duration::from_secs(3_600),
        first_pause: ms(5),
        max_pause: ms(40),
        stable: ms(200),
        limited: ms(10),
    }
}

pub fn watch_of(instrument: &Instrument) -> Watch {
    Watch { instrument: instrument.clone(), vendor_symbol: symbol_of(instrument), trades: true, quotes: true }
}

pub fn client(stream_url: String, times: Times, watches: Vec<Watch>) -> Client {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let status = Arc::new(FeedStatus::default());
    let (watchlist, receiver) = watch::channel(Watchlist { watches });
    let stop = CancellationToken::new();
    let context = FeedContext {
        watchlist: receiver,
        sink: Box::new(Keep(Arc::clone(&seen))),
        clock: Arc::new(SystemClock),
        status: Arc::clone(&status),
        seed: 1,
        stop: stop.clone(),
    };
    let options = BinanceOptions { stream_url, times, ..BinanceOptions::default() };
    let task = tokio::spawn(Box::new(Binance::new(options)).run(context));
    Client { seen, status, watchlist, stop, task }
}

impl Client {
    /// Numbers of the trades of a symbol, in the order in which they came.
    pub fn trades(&self, name: &str) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        let of = |update: &Update| match update {
            Update::Trade { symbol, id: Some(id), price, .. } if symbol.as_str() == name => {
                assert_eq!(*price, Decimal::from(*id));
                Some(*id)
            }
            _ => None,
        };
        seen.updates.iter().filter_map(|(_, update)| of(update)).collect()
    }

    /// How many quotes of a symbol came.
    pub fn quotes(&self, name: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        let is = |update: &Update| matches!(update, Update::Quote { symbol, .. } if symbol.as_str() == name);
        seen.updates.iter().filter(|(_, update)| is(update)).count()
    }

    pub fn state(&self) -> FeedState {
        self.status.state()
    }

    pub fn connects(&self) -> u64 {
        self.status.connects.load(Relaxed)
    }

    pub fn error(&self) -> String {
        self.status.last_error.lock().unwrap().clone().unwrap_or_default()
    }

    /// Ends it, and checks that it ended by itself.
    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(120), self.task).await.expect("it ends").unwrap();
        assert_eq!(self.status.state(), FeedState::Off);
        assert_eq!(self.status.connects.load(Relaxed), self.status.disconnects.load(Relaxed));
    }
}

/// Sorted, each once: what a sink leaves that knows duplicates by their number.
pub fn distinct(ids: &[u64]) -> Vec<u64> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Runs of numbers that are missing in between.
pub fn gaps(ids: &[u64]) -> usize {
    distinct(ids).windows(2).filter(|pair| pair[1] != pair[0] + 1).count()
}
