//! A node that is what a test says it is, and a client of one request.

#![allow(dead_code)] // each test binary uses its part

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tradeflow_api::{
    ApiConfig, Commander, FeedSource, Heard, JobsConfig, MarketData, NodeSource, ProjectorStatus, Server,
    Shared, UploadStatus,
};
use tradeflow_bus::{Bus, Durability, MemoryBus, Retention, Topics};
use tradeflow_ingest::bars::BarStatus;
use tradeflow_ingest::normalise::Counters;
use tradeflow_ingest::quotes::{Post, QuoteBoard, Ranking, SourceSpec};
use tradeflow_ingest::record::RecorderStatus;
use tradeflow_ingest::{FeedState, FeedStatus};
use tradeflow_live::host::Sources;
use tradeflow_live::node::{BusView, CellStatus, CellView, NodeView, PositionView, StrategyView};
use tradeflow_live::{NoHistory, SessionPlan};
use tradeflow_model::instrument::AssetClass;
use tradeflow_model::order::DenyReason;
use tradeflow_model::plan::RunPlan;
use tradeflow_model::{Currency, Instrument, Price, Symbol, Timestamp};
use tradeflow_storage::catalog::Catalog;

const SECOND: i64 = 1_000_000_000;

/// A node to be looked at.
pub struct FakeNode {
    pub view: Mutex<NodeView>,
    pub cells: Vec<Arc<CellStatus>>,
    pub feeds: Vec<FeedSource>,
    pub recorder: Arc<RecorderStatus>,
    pub bars: Arc<BarStatus>,
    pub uploads: Arc<UploadStatus>,
    pub board: Arc<QuoteBoard>,
    pub failure: Mutex<Option<String>>,
    pub now: Timestamp,
    pub plan: Arc<SessionPlan>,
    pub heard: Option<Arc<Heard>>,
}

impl NodeSource for FakeNode {
    fn plan(&self) -> Arc<SessionPlan> {
        self.plan.clone()
    }

    fn open_account(
        &self,
        _: &tradeflow_model::plan::CellPlan,
        _: &[tradeflow_model::InstrumentId],
    ) -> Result<(), tradeflow_live::node::AccountError> {
        Err(tradeflow_live::node::AccountError::Unknown("no node runs here".into()))
    }

    fn close_account(&self, account: &str) -> Result<(), tradeflow_live::node::AccountError> {
        Err(tradeflow_live::node::AccountError::Unknown(account.into()))
    }

    fn view(&self) -> NodeView {
        self.view.lock().unwrap().clone()
    }

    fn cells(&self) -> Vec<Arc<CellStatus>> {
        self.cells.clone()
    }

    fn bus(&self) -> BusView {
        let lag = [("md.trades.v1".to_owned(), 12), ("md.quotes.v1".to_owned(), 0)].into();
        BusView { records: 4321, waits: 2, behind_ms: 1500, lag }
    }

    fn feeds(&self) -> Vec<FeedSource> {
        self.feeds.clone()
    }

    fn recorder(&self) -> Option<Arc<RecorderStatus>> {
        Some(self.recorder.clone())
    }

    fn bars(&self) -> Option<Arc<BarStatus>> {
        Some(self.bars.clone())
    }

    fn read_models(&self) -> Option<Arc<ProjectorStatus>> {
        None
    }

    fn uploads(&self) -> Option<Arc<UploadStatus>> {
        Some(self.uploads.clone())
    }

    fn board(&self) -> Arc<QuoteBoard> {
        self.board.clone()
    }

    fn heard(&self) -> Option<Arc<Heard>> {
        self.heard.clone()
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap().clone()
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}

fn feed(name: &str, now: Timestamp) -> FeedSource {
    let status = Arc::new(FeedStatus::default());
    status.set_state(FeedState::Live);
    for (counter, count) in [
        (&status.connects, 3),
        (&status.disconnects, 2),
        (&status.messages, 1000),
        (&status.trades, 700),
        (&status.quotes, 290),
        (&status.bad, 1),
        (&status.late, 4),
        (&status.duplicates, 5),
    ] {
        counter.store(count, Ordering::Relaxed);
    }
    status.last_message.store(now.as_nanos() - SECOND / 4, Ordering::Relaxed);
    FeedSource { name: name.to_owned(), counters: Counters::new(name, status.clone()), status }
}

fn cell(account: &str) -> CellView {
    CellView {
        account: account.to_owned(),
        currency: "USD".into(),
        equity: "100250.5".into(),
        cash: "40250.5".into(),
        realized: "300.5".into(),
        unrealized: "-50".into(),
        fees: "12.25".into(),
        open_orders: 1,
        positions: vec![PositionView {
            symbol: "BTCUSD".into(),
            qty: "1.5".into(),
            mark: "40000".into(),
            unrealized: "-50".into(),
        }],
        strategies: vec![StrategyView {
            id: "cross".into(),
            kind: "sma_cross".into(),
            running: true,
            ..StrategyView::default()
        }],
        events: 5000,
        orders: 20,
        fills: 18,
        rejected: 1,
        pending: 64,
        recovery_ms: 250.0,
        snapshot_ms: 2.5,
        snapshots: 7,
        ..CellView::default()
    }
}

/// A node that is well: two feeds, two cells, a fresh and a stale quote.
pub fn node() -> FakeNode {
    let now: Timestamp = "2026-02-03T15:30:00Z".parse().unwrap();
    let feeds = vec![feed("binance", now), feed("finnhub", now)];
    let source = |feed: &FeedSource| SourceSpec {
        name: feed.name.clone(),
        stale_after: 10 * SECOND,
        status: Some(feed.status.clone()),
    };
    let board = QuoteBoard::new(Ranking::new(feeds.iter().map(source).collect()));
    for (name, age, price) in [("BTCUSD", 1, 4_000_000), ("ETHUSD", 60, 250_000)] {
        let currency = |name| Currency::new(name).unwrap();
        let symbol = Symbol::new(name).unwrap();
        let base = currency(&name[..3]);
        let coin = Instrument::new(symbol, AssetClass::CryptoSpot, base, currency("USD"), 2, 5).unwrap();
        let at = now.saturating_add(-age * SECOND);
        let price = |offset: i64| Price::from_raw(price + offset);
        board.source("binance").unwrap().post([Post {
            instrument: Arc::new(coin),
            received: at,
            quote: Some((at, price(-1), price(1))),
            last: Some((at, price(0))),
        }]);
    }
    let cells: Vec<_> = ["alpha", "beta"].map(|account| Arc::new(CellStatus::new(account))).into();
    for micros in [40, 90, 150, 180, 1500] {
        cells[0].note_decision(micros * 1000, 1);
        cells[1].note_fills(micros * 2000, 1);
        cells[1].note_journal(Duration::from_micros(micros as u64 / 2));
    }
    cells[0].note_denied(&DenyReason::Rule { rule: "order_notional_max".into(), detail: "too much".into() });
    cells[0].note_denied(&DenyReason::Rule { rule: "order_notional_max".into(), detail: "more".into() });
    cells[0].note_denied(&DenyReason::SizeRoundsToZero);
    let recorder = Arc::new(RecorderStatus::default());
    recorder.lag_ns.store(15 * SECOND, Ordering::Relaxed);
    recorder.lag_records.store(9, Ordering::Relaxed);
    recorder.rows.store(123_456, Ordering::Relaxed);
    let bars = Arc::new(BarStatus::default());
    bars.bars.store(77, Ordering::Relaxed);
    bars.late.store(3, Ordering::Relaxed);
    let view =
        NodeView { session: "20260203-1".into(), ready: true, cells: vec![cell("beta"), cell("alpha")] };
    let (view, failure) = (Mutex::new(view), Mutex::default());
    let run = RunPlan {
        instruments: Vec::new(),
        series: Vec::new(),
        from: now,
        to: Timestamp::MAX,
        batch_rows: 4096,
        window_batches: 4,
        seed: 1,
        cells: Vec::new(),
    };
    let plan = Arc::new(SessionPlan::new(run, Vec::new(), Durability::Process, now));
    let uploads = Arc::new(UploadStatus::default());
    uploads.waiting.store(2, Ordering::Relaxed);
    FakeNode { view, cells, feeds, recorder, bars, uploads, board, failure, now, plan, heard: None }
}

/// A server on a free port, and what it stands on.
pub struct Served {
    pub server: Server,
    _folder: tempfile::TempDir,
    // The database's connections live in it.
    _runtime: tokio::runtime::Runtime,
}

impl std::ops::Deref for Served {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// A server of a node on a free port.
pub fn serve(node: &Arc<FakeNode>) -> Served {
    serve_at(SocketAddr::from(([127, 0, 0, 1], 0)), node)
}

/// A server of a node on this port.
pub fn serve_at(listen: SocketAddr, node: &Arc<FakeNode>) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("state.db").display());
    let state = runtime.block_on(tradeflow_state::State::open(&url)).unwrap();
    let (bus, topics): (Arc<dyn Bus>, _) = (Arc::new(MemoryBus::new()), Topics::new(""));
    bus.create(&topics.specs(1, Retention::default())).unwrap();
    let commander = Commander::start(bus.clone(), topics.clone()).unwrap();
    let jobs = JobsConfig {
        program: "false".into(),
        catalog: folder.path().display().to_string(),
        results: folder.path().join("results"),
        folder: folder.path().join("jobs"),
        at_once: 0,
        memory_mib: 64,
        clickhouse: None,
        node: "test".to_owned(),
    };
    let catalog = Catalog::open(&jobs.catalog).unwrap();
    let sources = Sources { bus, topics, partitions: 1, history: Arc::new(NoHistory), archive: None };
    let market = MarketData { catalog, sources };
    let config = ApiConfig::default();
    let shared = Shared::new(node.clone(), state, commander, Arc::default(), market, jobs, config);
    let server = Server::start(Server::bind(listen).unwrap(), shared).unwrap();
    Served { server, _folder: folder, _runtime: runtime }
}

/// The answer to a GET: status, headers, body.
pub fn get(server: &Server, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}
