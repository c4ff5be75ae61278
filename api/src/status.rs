//! `GET /api/v1/status`: what a node does now, as JSON. Prices and money are text (`"101.25"`), times UTC in RFC 3339, ages
//! milliseconds. Fields may be added; a reader passes over those that it does not know.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tradeflow_ingest::FeedState;
use tradeflow_ingest::bars::BarStatus;
use tradeflow_ingest::quotes::{BoardQuote, Freshness};
use tradeflow_ingest::record::RecorderStatus;
use tradeflow_live::node::CellView;
use tradeflow_model::Timestamp;

use crate::auth::AtHome;
use crate::health::Health;
use crate::server::Source;
use crate::source::{FeedSource, NodeSource};

/// A node, as people see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// When this was so.
    pub time: String,
    /// Whether it works, and what does not.
    pub health: Health,
    /// The session.
    pub session: String,
    /// Whether the cells are up.
    pub ready: bool,
    /// The feeds.
    pub feeds: Vec<FeedLine>,
    /// The quotes, by symbol.
    pub quotes: Vec<QuoteLine>,
    /// The cells, by account.
    pub cells: Vec<CellView>,
    /// The recorder, where it runs.
    pub recorder: Option<RecorderLine>,
    /// The bar maker, where it runs.
    pub bars: Option<BarsLine>,
}

/// A feed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // counters, named by what they count
pub struct FeedLine {
    pub name: String,
    /// `off`, `connecting`, `live`, `silent` or `refused`.
    pub state: String,
    /// How long ago the last message came; none before the first.
    pub age_ms: Option<i64>,
    pub messages: u64,
    pub trades: u64,
    pub quotes: u64,
    /// Rows that the bus has confirmed.
    pub published: u64,
    pub bad: u64,
    pub duplicates: u64,
    pub late: u64,
    /// Rows left out under pressure.
    pub shed: u64,
    pub rate_limited: u64,
    /// Symbols that the vendor does not serve, or that are over its limit.
    pub unserved: u64,
    pub connects: u64,
    pub disconnects: u64,
    /// Whether the bus does not take what it publishes.
    pub degraded: bool,
    pub last_error: Option<String>,
}

/// A quote of the board.
#[derive(
    Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema, schemars::JsonSchema,
)]
#[serde(default)]
pub struct QuoteLine {
    /// The instrument.
    pub symbol: String,
    /// Best bid, where the source gives one.
    pub bid: Option<String>,
    /// Best ask, where the source gives one.
    pub ask: Option<String>,
    /// Last price.
    pub last: Option<String>,
    /// Where it is from.
    pub source: String,
    /// The vendor's time of it.
    pub ts_event: String,
    /// Its age by the vendor's time.
    pub age_ms: i64,
    /// `live`, `closed` (the last one of a market that is closed) or `stale`.
    pub freshness: String,
    /// Whether it is too old to be relied on.
    pub stale: bool,
}

/// The recorder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct RecorderLine {
    /// Records on the bus that are not in the catalog yet.
    pub lag_records: u64,
    /// How long the oldest of them has waited.
    pub lag_ms: i64,
    pub records: u64,
    pub rows: u64,
    pub rows_refused: u64,
    pub conflicts: u64,
    pub poison: u64,
    pub lost: u64,
    pub flushes: u64,
    pub failures: u64,
    /// Whether the last try failed.
    pub failing: bool,
    pub last_error: Option<String>,
}

/// The bar maker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct BarsLine {
    pub ticks: u64,
    pub bars: u64,
    /// Ticks for bars that were closed already.
    pub late: u64,
    pub outside: u64,
    pub bad: u64,
    pub gaps: u64,
    /// Whether the last try failed.
    pub failing: bool,
    pub last_error: Option<String>,
}

const NANOS_PER_MS: i64 = 1_000_000;

fn get_u64(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn text(error: &Mutex<Option<String>>) -> Option<String> {
    error.lock().ok().and_then(|error| error.clone())
}

pub(crate) fn state_name(state: FeedState) -> &'static str {
    match state {
        FeedState::Off => "off",
        FeedState::Connecting => "connecting",
        FeedState::Live => "live",
        FeedState::Silent => "silent",
        FeedState::Refused => "refused",
    }
}

impl Status {
    /// Of a node as it is now.
    pub fn of(node: &dyn NodeSource) -> Self {
        let now = node.now();
        let view = node.view();
        let health = Health::of(node, &view);
        let mut cells = view.cells;
        cells.sort_by(|a, b| a.account.cmp(&b.account));
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: now.to_string(),
            health,
            session: view.session,
            ready: view.ready,
            feeds: node.feeds().iter().map(|feed| FeedLine::of(feed, now)).collect(),
            quotes: node.board().all(now).into_iter().map(QuoteLine::from).collect(),
            cells,
            recorder: node.recorder().map(|status| RecorderLine::from(status.as_ref())),
            bars: node.bars().map(|status| BarsLine::from(status.as_ref())),
        }
    }
}

impl FeedLine {
    fn of(feed: &FeedSource, now: Timestamp) -> Self {
        let FeedSource { name, status, counters } = feed;
        let last = status.last_message.load(Ordering::Relaxed);
        Self {
            name: name.clone(),
            state: state_name(status.state()).to_owned(),
            age_ms: (last > 0).then(|| now.as_nanos().saturating_sub(last).max(0) / NANOS_PER_MS),
            messages: get_u64(&status.messages),
            trades: get_u64(&status.trades),
            quotes: get_u64(&status.quotes),
            published: counters.counts().published,
            bad: get_u64(&status.bad),
            duplicates: get_u64(&status.duplicates),
            late: get_u64(&status.late),
            shed: get_u64(&status.shed),
            rate_limited: get_u64(&status.rate_limited),
            unserved: get_u64(&status.unserved),
            connects: get_u64(&status.connects),
            disconnects: get_u64(&status.disconnects),
            degraded: counters.is_degraded(),
            last_error: text(&status.last_error),
        }
    }
}

impl From<BoardQuote> for QuoteLine {
    fn from(quote: BoardQuote) -> Self {
        let freshness = match quote.freshness {
            Freshness::Live => "live",
            Freshness::Closed => "closed",
            Freshness::Stale => "stale",
        };
        Self {
            symbol: quote.symbol.to_string(),
            bid: quote.bid.map(|price| price.to_string()),
            ask: quote.ask.map(|price| price.to_string()),
            last: quote.last.map(|price| price.to_string()),
            source: quote.source,
            ts_event: quote.ts_event.to_string(),
            age_ms: quote.age / NANOS_PER_MS,
            freshness: freshness.to_owned(),
            stale: quote.stale,
        }
    }
}

impl From<&RecorderStatus> for RecorderLine {
    fn from(status: &RecorderStatus) -> Self {
        Self {
            lag_records: get_u64(&status.lag_records),
            lag_ms: status.lag_ns.load(Ordering::Relaxed) / NANOS_PER_MS,
            records: get_u64(&status.records),
            rows: get_u64(&status.rows),
            rows_refused: get_u64(&status.rows_refused),
            conflicts: get_u64(&status.conflicts),
            poison: get_u64(&status.poison),
            lost: get_u64(&status.lost),
            flushes: get_u64(&status.flushes),
            failures: get_u64(&status.failures),
            failing: status.failing.load(Ordering::Relaxed),
            last_error: text(&status.last_error),
        }
    }
}

impl From<&BarStatus> for BarsLine {
    fn from(status: &BarStatus) -> Self {
        Self {
            ticks: get_u64(&status.ticks),
            bars: get_u64(&status.bars),
            late: get_u64(&status.late),
            outside: get_u64(&status.outside),
            bad: get_u64(&status.bad),
            gaps: get_u64(&status.gaps),
            failing: status.failing.load(Ordering::Relaxed),
            last_error: text(&status.last_error),
        }
    }
}

pub(crate) async fn get(source: Source, _: AtHome) -> HttpResponse {
    HttpResponse::Ok().json(Status::of(source.as_ref().as_ref()))
}
