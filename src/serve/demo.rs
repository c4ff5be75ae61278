//! `tradeflow serve --demo`: local vendors on generated data, a paper account, two strategies. No key, no file.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;
use tradeflow_ingest::vendor::{Control, Generated, GeneratedOptions, Market, Misbehaviour, Server};
use tradeflow_ingest::{Secret, binance, finnhub, yahoo};
use tradeflow_model::{AccountId, AssetClass, Instrument, Symbol};
use tradeflow_storage::catalog::Catalog;
use tradeflow_storage::sample::{self, SampleOptions};

use super::config::ServeConfig;
use super::config::trading::{
    AccountSection, FeedName, FeesSection, InstrumentSection, KindName, StrategySection,
};
use super::config::values::default;

/// Trades and quotes a second, over all symbols.
const TICKS_PER_SECOND: u32 = 200;
/// The key that the local Finnhub takes.
const KEY: &str = "demo";

/// The vendors of the demonstration, running in this process.
pub struct Demo {
    servers: Vec<Server>,
}

impl Demo {
    /// Starts the vendors on free ports, and puts into a configuration what is to be traded on them.
    ///
    /// Coins come from Binance's protocol (trades and quotes), shares and currencies from Finnhub's (trades), with
    /// Yahoo's behind it.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(config: &mut ServeConfig, listen_is_given: bool) -> anyhow::Result<Self> {
        let options = GeneratedOptions { rate: TICKS_PER_SECOND, ..GeneratedOptions::default() };
        let market: Arc<dyn Market> = Arc::new(Generated::start(&options)?);
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let control = Control::new(Misbehaviour::default());
        let coins =
            binance::server::start(free, market.clone(), &control, binance::server::ServerOptions::default());
        let coins = coins.await.context("the local Binance")?;
        let plan = finnhub::server::ServerOptions::free(Secret::new(KEY));
        let shares = finnhub::server::start(market.clone(), plan, Misbehaviour::default(), free);
        let shares = shares.await.context("the local Finnhub")?;
        let yahoo = yahoo::server::start(market.clone(), Misbehaviour::default(), free);
        let yahoo = yahoo.await.context("the local Yahoo")?;

        let feeds = &mut config.feeds;
        feeds.binance.url = coins.ws();
        feeds.binance.rest_url = coins.http();
        feeds.finnhub.url = shares.ws();
        feeds.finnhub.rest_url = format!("{}/api/v1", shares.http());
        feeds.finnhub.key = Some(Secret::new(KEY));
        feeds.yahoo.url = Some(yahoo.http());
        config.instruments = market.instruments().iter().map(instrument).collect();
        config.accounts = vec![account()?];
        if !listen_is_given && TcpListener::bind(config.node.listen).is_err() {
            // A demonstration starts wherever it can.
            config.node.listen.set_port(0);
        }
        Ok(Self { servers: vec![coins, shares, yahoo] })
    }

    /// Puts history into the catalog, to run backtests on; it takes a moment, and changes nothing where it was done before.
    pub fn sample(catalog: &Catalog) {
        let symbols = vec!["SAMPLE-BTC".to_owned()];
        let options = SampleOptions { seed: 1, from: None, to: None, symbols, ticks: false };
        if let Err(error) = sample::write(catalog, &options) {
            tracing::warn!(%error, "the sample data for backtests");
        }
    }

    /// Ends the vendors.
    pub async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
}

fn instrument(known: &Instrument) -> InstrumentSection {
    let is_coin = known.class == AssetClass::CryptoSpot;
    let feed_symbol =
        if is_coin { binance::server::symbol_of(known) } else { finnhub::server::vendor_symbol(known) };
    InstrumentSection {
        class: Some(known.class),
        price_scale: Some(default(&known.price_scale.to_string())),
        size_scale: Some(default(&known.size_scale.to_string())),
        base: Some(known.base.clone()),
        quote: Some(known.quote.clone()),
        calendar: Some(known.calendar),
        fees: Some(FeesSection { taker_bps: Some(default("1")), ..FeesSection::default() }),
        feed: Some(if is_coin { FeedName::Binance } else { FeedName::Finnhub }),
        feed_symbol: Some(feed_symbol),
        quotes: is_coin.then_some(true),
        bars: Some(["1s", "1m"].iter().filter_map(|text| text.parse().ok()).collect()),
        ..InstrumentSection::new(known.symbol.clone())
    }
}

fn account() -> anyhow::Result<AccountSection> {
    let cross = StrategySection {
        id: Some("cross".into()),
        params: params(json!({ "fast": 5, "slow": 20 })),
        symbols: Some(vec![Symbol::new("BTCUSD")?]),
        data: default("1s"),
        size: default("30%"),
        ..StrategySection::new("sma_cross")
    };
    let momentum = StrategySection {
        id: Some("momentum".into()),
        params: params(json!({ "lookback": 100, "threshold_bps": 0, "direction": "both" })),
        symbols: Some(vec![Symbol::new("ETHUSD")?]),
        data: default("trades"),
        size: default("20%"),
        ..StrategySection::new("tick_momentum")
    };
    Ok(AccountSection {
        id: AccountId::new("paper")?,
        kind: KindName::Margin,
        leverage: Some(default("2")),
        strategies: vec![cross, momentum],
        ..AccountSection::default()
    })
}

fn params(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}
