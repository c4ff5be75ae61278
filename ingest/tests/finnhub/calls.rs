//! The calls: quotes and candles.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tradeflow_ingest::Secret;
use tradeflow_ingest::finnhub::{Candles, Rest, RestError};
use tradeflow_ingest::vendor::Misbehaviour;
use tradeflow_model::{AssetClass, Interval, Timestamp};

use crate::support::*;

fn rest(config: &tradeflow_ingest::finnhub::FinnhubConfig) -> Rest {
    Rest::new(config, 3).unwrap()
}

#[tokio::test]
async fn a_quote_is_that_of_the_market() {
    let market = Scripted::new(instruments());
    let (_server, config) = served(&market, "calls-1", |_| {}).await;
    market.tick("AAPL", OPEN_MS + 1_999, "100.25", "10");
    let quote = rest(&config).quote("AAPL").await.unwrap().unwrap();
    assert_eq!(quote.last, decimal("100.25"));
    assert_eq!(quote.ts_event, Timestamp::from_millis(OPEN_MS + 1_000).unwrap());
    let minute = |ms: i64| {
        let minute = Timestamp::from_millis(ms.div_euclid(60_000) * 60_000).unwrap();
        market.bar(&market.tick("SPY", 0, "1", "1").symbol, minute, 60_000_000_000)
    };
    let midnight = OPEN_MS - OPEN_MS % 86_400_000;
    assert_eq!(quote.open, minute(midnight).open.to_decimal(5));
    assert_eq!(quote.previous_close, minute(midnight - 60_000).close.to_decimal(5));
    assert!(quote.low <= quote.last && quote.last <= quote.high);
    assert_eq!(rest(&config).quote("NOPE").await, Ok(None), "zeros");
    assert_eq!(rest(&config).quote("MSFT").await, Ok(None), "known, but never traded");
}

#[tokio::test]
async fn a_wrong_key_and_a_missing_entitlement_are_not_tried_again() {
    let market = Scripted::new(instruments());
    let (server, mut config) = served(&market, "calls-2", |_| {}).await;
    let day = |n: i64| Timestamp::from_millis(OPEN_MS + n * 86_400_000).unwrap();
    let which = Candles {
        class: AssetClass::Equity,
        symbol: "AAPL".into(),
        interval: Interval::DAY,
        from: day(-10),
        to: day(0),
    };
    let refused = rest(&config).candles(&which).await.unwrap_err();
    assert!(matches!(&refused, RestError::Entitlement { path, .. } if path == "stock/candle"), "{refused}");
    assert_eq!(count(&server.control().requests), 1);
    config.key = Secret::new("calls-2-wrong");
    let refused = rest(&config).quote("AAPL").await.unwrap_err();
    assert_eq!(refused, RestError::Refused("Invalid API key.".into()));
    assert_eq!(count(&server.control().requests), 2);
    config.key = Secret::new("");
    let refused = rest(&config).quote("AAPL").await.unwrap_err();
    assert_eq!(refused, RestError::Refused("Please use an API key.".into()));
    assert!(
        Rest::new(&tradeflow_ingest::finnhub::FinnhubConfig { key: Secret::new("a\nb"), ..config }, 1)
            .is_err()
    );
}

#[tokio::test]
async fn candles_are_those_of_the_market_over_several_pages() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "calls-3", |options| options.premium = true).await;
    market.tick("AAPL", OPEN_MS, "1", "1");
    let rest = rest(&config);
    let at = |days: i64| Timestamp::from_millis(OPEN_MS + days * 86_400_000 + 123).unwrap();
    for (class, symbol, ours) in [
        (AssetClass::Equity, "AAPL", "AAPL"),
        (AssetClass::FxPair, "OANDA:EUR_USD", "EURUSD"),
        (AssetClass::CryptoSpot, "BINANCE:BTCUSDT", "BTCUSD"),
    ] {
        let which = Candles {
            class,
            symbol: symbol.into(),
            interval: "30m".parse().unwrap(),
            from: at(-70),
            to: at(-1),
        };
        let before = count(&server.control().requests);
        let candles = rest.candles(&which).await.unwrap();
        assert_eq!(count(&server.control().requests) - before, 3, "70 days are three months of 28");
        let ours = tradeflow_model::Symbol::new(ours).unwrap();
        let bars =
            tradeflow_ingest::vendor::Market::bars(&*market, &ours, which.interval, which.from, which.to);
        let bars = bars.unwrap();
        assert_eq!(candles.len(), bars.len());
        assert_eq!(bars.len(), 69 * 48);
        for (candle, bar) in candles.iter().zip(&bars) {
            assert_eq!(candle.ts_open, bar.ts_open);
            let prices = [bar.open, bar.high, bar.low, bar.close].map(|price| price.to_decimal(5));
            assert_eq!([candle.open, candle.high, candle.low, candle.close], prices);
            assert_eq!(candle.volume, bar.volume.to_decimal(6));
        }
    }
    let mut which = Candles {
        class: AssetClass::Equity,
        symbol: "NOPE".into(),
        interval: Interval::DAY,
        from: at(-9),
        to: at(0),
    };
    assert_eq!(rest.candles(&which).await, Ok(Vec::new()), "no_data");
    which.symbol = "AAPL".into();
    assert_eq!(rest.candles(&which).await.unwrap().len(), 8);
    which.interval = "2h".parse().unwrap();
    assert!(matches!(rest.candles(&which).await, Err(RestError::NoSuchInterval(_))));
}

#[tokio::test]
async fn too_many_and_server_errors_are_tried_again() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "calls-4", |_| {}).await;
    market.tick("AAPL", OPEN_MS, "1", "1");
    let rest = rest(&config);
    server.control().set(Misbehaviour { refuse_next: 1, fail_next: 1, ..Default::default() });
    assert!(rest.quote("AAPL").await.unwrap().is_some());
    assert_eq!((count(&server.control().requests), rest.rate_limited()), (3, 1));
    // Not for ever.
    server.control().set(Misbehaviour { refuse_next: 100, ..Default::default() });
    assert_eq!(rest.quote("AAPL").await, Err(RestError::RateLimited));
    server.control().set(Misbehaviour { fail_next: 100, ..Default::default() });
    assert_eq!(rest.quote("AAPL").await, Err(RestError::Unavailable("HTTP 500".into())));
    assert_eq!(count(&server.control().requests), 11);
}

#[tokio::test]
async fn the_server_counts_calls_and_the_client_stays_below() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "calls-5", |_| {}).await;
    let get = |path: &str| reqwest::get(format!("{}/api/v1/{path}", server.http()));
    let missing = get("quote?symbol=AAPL").await.unwrap();
    assert_eq!(missing.status(), 401);
    let mut limited = None;
    for n in 0..40 {
        let answer = get("quote?symbol=AAPL&token=calls-5").await.unwrap();
        if answer.status() == 429 {
            limited = Some((n, answer.text().await.unwrap()));
            break;
        }
    }
    // 30 a second, unless this took longer than a second.
    let (calls, body) = limited.expect("a limit");
    assert!(calls >= 30);
    assert_eq!(body, r#"{"error":"API limit reached. Please try again later. Remaining Limit: 0"}"#);

    // A client that keeps to fewer calls than the server allows is never told so.
    let (server, mut config2) = served(&market, "calls-6", |options| options.per_second = 5).await;
    config2.calls.per_second = 4;
    let rest = rest(&config2);
    let calls = (0..6).map(|_| rest.quote("AAPL"));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer, Ok(None));
    }
    assert_eq!((count(&server.control().requests), rest.rate_limited()), (6, 0));
    drop(config);
}

/// A server that answers every request with this.
async fn answering(answer: &'static str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, task)
}

#[tokio::test]
async fn redirects_and_pages_are_errors() {
    for answer in [
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/login\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>",
    ] {
        let (address, task) = answering(answer).await;
        let error = rest(&config("calls-7", &address)).quote("AAPL").await.unwrap_err();
        assert!(matches!(error, RestError::Unexpected { .. }), "{error}");
        task.abort();
    }
}

#[tokio::test]
async fn no_answer_and_no_server_are_told_after_some_tries() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let mut slow = config("calls-8", &format!("http://{}", listener.local_addr().unwrap()));
    slow.calls.timeout = Duration::from_millis(50);
    slow.calls.retry.attempts = 2;
    let error = rest(&slow).quote("AAPL").await.unwrap_err();
    assert!(matches!(&error, RestError::Unavailable(why) if why.contains("timed out")), "{error}");
    drop(listener);
    let error = rest(&slow).quote("AAPL").await.unwrap_err();
    assert!(matches!(&error, RestError::Unavailable(why) if why.contains("refused")), "{error}");
}
