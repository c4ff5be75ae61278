//! `/api/v3/…` of the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;
use tradeflow_ingest::binance::server::{self, ServerOptions};
use tradeflow_ingest::vendor::{Control, Generated, GeneratedOptions, Market, Misbehaviour, Server};
use tradeflow_model::{Interval, Symbol, Timestamp};

use crate::kit::{symbol, until};

async fn serve(options: ServerOptions) -> (Arc<Generated>, Server) {
    let start: Timestamp = "2024-03-05T15:00:30".parse().unwrap();
    let market = GeneratedOptions { start: Some(start), rate: 500, ..GeneratedOptions::default() };
    let market = Arc::new(Generated::start(&market).unwrap());
    let control = Control::new(Misbehaviour::default());
    let served = Arc::clone(&market) as Arc<dyn Market>;
    let server = server::start(([127, 0, 0, 1], 0).into(), served, &control, options).await.unwrap();
    (market, server)
}

async fn get(server: &Server, path: &str) -> (StatusCode, Value) {
    let reply = reqwest::get(format!("{}/api/v3/{path}", server.http())).await.unwrap();
    (reply.status(), reply.json().await.unwrap())
}

fn millis(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_nanos() / 1_000_000
}

#[tokio::test]
async fn klines_are_the_bars_of_the_market() {
    let (market, server) = serve(ServerOptions::default()).await;
    let (from, to) = (millis("2024-03-04"), millis("2024-03-05"));
    let mut rows = Vec::new();
    let mut next = from;
    while next < to {
        let path =
            format!("klines?symbol=BTCUSDT&interval=1m&startTime={next}&endTime={}&limit=1000", to - 1);
        let (status, page) = get(&server, &path).await;
        assert_eq!(status, 200, "{page}");
        let page = page.as_array().unwrap().clone();
        assert!(!page.is_empty() && page.len() <= 1_000);
        next = page.last().unwrap()[6].as_i64().unwrap() + 1;
        rows.extend(page);
    }
    let instrument = &market.instruments()[0];
    let time = |ms| Timestamp::from_millis(ms).unwrap();
    let bars = market.bars(&instrument.symbol, Interval::MINUTE, time(from), time(to)).unwrap();
    assert_eq!((rows.len(), bars.len()), (1_440, 1_440));
    for (row, bar) in rows.iter().zip(&bars) {
        let text = |at: usize| row[at].as_str().unwrap();
        let price = |at| instrument.parse_price("price", text(at).as_bytes()).unwrap();
        assert_eq!([price(1), price(2), price(3), price(4)], [bar.open, bar.high, bar.low, bar.close]);
        assert_eq!(instrument.parse_qty("volume", text(5).as_bytes()).unwrap(), bar.volume);
        let times = (row[0].as_i64().unwrap() * 1_000_000, (row[6].as_i64().unwrap() + 1) * 1_000_000);
        assert_eq!(times, (bar.ts_open.as_nanos(), bar.ts_event.as_nanos()));
    }
}

#[tokio::test]
async fn the_newest_kline_is_not_over() {
    let (market, server) = serve(ServerOptions::default()).await;
    until("a trade", || market.last(&symbol("BTCUSD")).0.is_some()).await;
    let (_, page) = get(&server, "klines?symbol=BTCUSDT&interval=1m&limit=3").await;
    let opens: Vec<_> = page.as_array().unwrap().iter().map(|row| row[0].as_i64().unwrap()).collect();
    assert!(opens.ends_with(&[millis("2024-03-05T14:59"), millis("2024-03-05T15:00")]), "{opens:?}");
}

#[tokio::test]
async fn wrong_requests_are_refused_by_number() {
    let (_, server) = serve(ServerOptions::default()).await;
    for (path, code) in [
        ("klines?interval=1m", -1102),
        ("klines?symbol=NOSUCH&interval=1m", -1121),
        ("klines?symbol=BTCUSDT&interval=7m", -1120),
        ("klines?symbol=BTCUSDT&interval=1m&startTime=yesterday", -1100),
        ("klines?symbol=BTCUSDT&interval=1m&limit=0", -1130),
        ("exchangeInfo?symbol=NOSUCH", -1121),
    ] {
        let (status, body) = get(&server, path).await;
        assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &Value::from(code)), "{path}: {body}");
    }
}

#[tokio::test]
async fn what_else_a_client_asks_for() {
    let (market, server) = serve(ServerOptions::default()).await;
    let moved = |symbol: &Symbol| matches!(market.last(symbol), (Some(_), Some(_)));
    until("a trade and a quote of each", || market.instruments().iter().all(|one| moved(&one.symbol))).await;
    let (_, info) = get(&server, "exchangeInfo?symbols=[%22BTCUSDT%22,%22ETHUSDT%22]").await;
    assert_eq!(info["symbols"][0]["filters"][0]["tickSize"], "0.01");
    assert_eq!(info["symbols"][1]["quoteAsset"], "USDT");
    let (_, time) = get(&server, "time").await;
    assert!(time["serverTime"].as_i64().unwrap() >= millis("2024-03-05T15:00:30"));
    let (_, quotes) = get(&server, "ticker/bookTicker").await;
    assert_eq!(quotes.as_array().unwrap().len(), 5);
    let (_, book) = get(&server, "depth?symbol=BTCUSDT").await;
    let side = |side: &str| book[side][0][0].as_str().unwrap().parse::<f64>().unwrap();
    assert!(side("bids") < side("asks"));
    // The server remembers trades by itself, a moment after the market has them.
    let deadline = Instant::now() + Duration::from_secs(120);
    let ids = loop {
        let (_, trades) = get(&server, "aggTrades?symbol=BTCUSDT&limit=5").await;
        let ids: Vec<_> =
            trades.as_array().unwrap().iter().map(|trade| trade["a"].as_i64().unwrap()).collect();
        if ids.len() == 5 {
            break ids;
        }
        assert!(Instant::now() < deadline, "not within two minutes: five trades");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
}

#[tokio::test]
async fn weight_is_counted_and_limited() {
    let (_, server) = serve(ServerOptions { weight: 50, ..ServerOptions::default() }).await;
    let url = format!("{}/api/v3/exchangeInfo", server.http());
    let mut seen = Vec::new();
    for _ in 0..6 {
        let reply = reqwest::get(&url).await.unwrap();
        let used = reply.headers()["x-mbx-used-weight-1m"].to_str().unwrap().to_owned();
        let wait =
            reply.headers().get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(wait.is_some(), reply.status() != 200);
        assert!(wait.is_none_or(|wait| (1..=61).contains(&wait)));
        seen.push((reply.status().as_u16(), used));
    }
    let statuses: Vec<_> = seen.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 429, 418], "{seen:?}");
}
