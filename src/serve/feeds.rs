//! The feeds of a configuration: which run, what each is subscribed to, and which quote is shown where several have one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tradeflow_bus::{Clock, SystemClock};
use tradeflow_ingest::binance::{Binance, BinanceOptions, Times};
use tradeflow_ingest::finnhub::{FinnhubConfig, FinnhubQuotes, FinnhubSocket, Polling, Rest, Timing};
use tradeflow_ingest::history::Retry;
use tradeflow_ingest::normalise::Counters;
use tradeflow_ingest::quotes::{QuoteBoard, Ranking, SourceSpec};
use tradeflow_ingest::yahoo::server::vendor_symbol;
use tradeflow_ingest::yahoo::{Yahoo, YahooQuotes};
use tradeflow_ingest::{Feed, FeedStatus, Secret, Watch, Watchlist};
use tradeflow_model::Instrument;

use super::config::ServeConfig;
use super::config::trading::FeedName;

const BINANCE: &str = "binance";
const FINNHUB: &str = "finnhub";
const FINNHUB_REST: &str = "finnhub-rest";
const YAHOO: &str = "yahoo";

/// What is known of a feed, whether it runs here or not.
#[derive(Debug, Clone)]
pub struct FeedInfo {
    /// The vendor.
    pub name: &'static str,
    /// State and counters of the connection.
    pub status: Arc<FeedStatus>,
    /// What became of its messages.
    pub counters: Arc<Counters>,
    /// What it is subscribed to.
    pub watchlist: Watchlist,
    /// Whether its prices go on the bus; those that are polled are shown only.
    pub publishes: bool,
    /// A quote of it that is older is stale.
    stale_after: Duration,
}

/// A feed that can be run.
pub struct FeedPlan {
    /// What is known of it.
    pub info: FeedInfo,
    /// The client.
    pub feed: Box<dyn Feed>,
    /// What may not stand in the log.
    pub secrets: Vec<Secret>,
}

/// The feeds that a configuration needs, the best source of quotes first.
pub fn infos(config: &ServeConfig, instruments: &[Instrument]) -> Vec<FeedInfo> {
    let mut infos = Vec::new();
    let mut add = |name, watchlist: Watchlist, publishes, stale_after| {
        if !watchlist.watches.is_empty() {
            let status = Arc::new(FeedStatus::default());
            let counters = Counters::new(name, status.clone());
            infos.push(FeedInfo { name, status, counters, watchlist, publishes, stale_after });
        }
    };
    let feeds = &config.feeds;
    add(BINANCE, config.watchlist(FeedName::Binance, instruments), true, feeds.binance.silence.get());
    let finnhub = config.watchlist(FeedName::Finnhub, instruments);
    add(FINNHUB, finnhub.clone(), true, Duration::from_secs(60));
    add(FINNHUB_REST, finnhub.clone(), false, feeds.finnhub.poll.get() * 3);
    // Behind Finnhub stands Yahoo, and in front of what has no other source.
    let mut yahoo = config.watchlist(FeedName::Yahoo, instruments);
    yahoo.watches.extend(
        finnhub
            .watches
            .into_iter()
            .map(|watch| Watch { vendor_symbol: vendor_symbol(&watch.instrument), ..watch }),
    );
    add(YAHOO, yahoo, false, feeds.yahoo.poll.get() * 3);
    infos
}

/// The board of the quotes of these feeds.
pub fn board(infos: &[FeedInfo]) -> Arc<QuoteBoard> {
    let spec = |info: &FeedInfo| SourceSpec {
        name: info.name.to_owned(),
        stale_after: i64::try_from(info.stale_after.as_nanos()).unwrap_or(i64::MAX),
        status: Some(info.status.clone()),
    };
    let mut sources: Vec<_> = infos.iter().map(spec).collect();
    if sources.is_empty() {
        // A board has a source; of a node without feeds nobody posts to it.
        sources.push(SourceSpec { name: "none".into(), stale_after: 0, status: None });
    }
    QuoteBoard::new(Ranking::new(sources))
}

/// The clients of these feeds.
///
/// # Errors
/// For an address that is none, a key that is missing or in use.
pub fn plans(config: &ServeConfig, infos: &[FeedInfo]) -> anyhow::Result<Vec<FeedPlan>> {
    let mut plans = Vec::new();
    let mut served = None;
    for info in infos {
        let mut secrets = Vec::new();
        let feed: Box<dyn Feed> = match info.name {
            BINANCE => {
                let section = &config.feeds.binance;
                Box::new(Binance::new(BinanceOptions {
                    stream_url: section.url.clone(),
                    streams_max: section.streams_max.get() as usize,
                    times: Times { silent: section.silence.get(), ..Times::default() },
                }))
            }
            FINNHUB => {
                let finnhub = finnhub(config)?;
                secrets.push(finnhub.key.clone());
                let socket = FinnhubSocket::new(finnhub)?;
                served = Some(socket.served());
                Box::new(socket)
            }
            FINNHUB_REST => {
                let finnhub = finnhub(config)?;
                secrets.push(finnhub.key.clone());
                let rest = Rest::new(&finnhub, seed())?;
                let polling = Polling { every: config.feeds.finnhub.poll.get(), ..Polling::default() };
                Box::new(FinnhubQuotes::new(rest, served.take(), polling))
            }
            _ => {
                let section = &config.feeds.yahoo;
                let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                let yahoo = Yahoo::new(section.url.as_deref(), Retry::default(), clock, seed())?;
                Box::new(YahooQuotes::new(Arc::new(yahoo), section.poll.get()))
            }
        };
        plans.push(FeedPlan { info: info.clone(), feed, secrets });
    }
    Ok(plans)
}

fn finnhub(config: &ServeConfig) -> anyhow::Result<FinnhubConfig> {
    let section = &config.feeds.finnhub;
    let key = section.key.clone().context(
        "feeds.finnhub: instruments have feed = \"finnhub\" and there is no key: set TRADEFLOW_FINNHUB_KEY (free at \
         finnhub.io)",
    )?;
    let address = |name: &str, text: &str| {
        text.parse().with_context(|| format!("feeds.finnhub.{name}: {text:?} is no address"))
    };
    let usual = FinnhubConfig::new(key);
    Ok(FinnhubConfig {
        socket: address("url", &section.url)?,
        rest: address("rest_url", &section.rest_url)?,
        symbols_max: section.symbols_max.get() as usize,
        timing: Timing { silence: section.silence.get(), ..usual.timing },
        ..usual
    })
}

/// A seed of the jitter of pauses: nodes must not come back all at once.
pub fn seed() -> u64 {
    SystemClock.now().as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(48)
}
