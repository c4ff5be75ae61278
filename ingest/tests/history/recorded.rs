//! Recorded replies through the parsers: each gives what is in it, or the right error.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};
use tradeflow_ingest::alphavantage::{classify, global_quote, time_series};
use tradeflow_ingest::history::{Ask, History, HistoryError, Piece, Reply};
use tradeflow_ingest::vendor::{Control, Misbehaviour, Server};
use tradeflow_ingest::yahoo::Yahoo;
use tradeflow_model::market::ActionKind;
use tradeflow_model::{Interval, Timestamp};

use crate::market::{QUICK, at, clock};

/// The recorded replies of a vendor; where there are none, says why a test does not read them.
fn recorded(folder: &str) -> Option<PathBuf> {
    let root = std::env::var("TRADEFLOW_DATA").unwrap_or("../../shared/data".into());
    let path = PathBuf::from(root).join("vendor_responses").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no recorded replies at {} (TRADEFLOW_DATA names the folder)", path.display());
    None
}

/// A recorded chart.
struct Recorded {
    name: String,
    url: url::Url,
    status: u16,
    body: Value,
}

impl Recorded {
    fn read(path: &std::path::Path) -> Self {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let response = &file["response"];
        Self {
            name,
            url: file["request"]["url"].as_str().unwrap().parse().unwrap(),
            status: response["status"].as_u64().unwrap() as u16,
            body: response["bodyJson"].clone(),
        }
    }

    fn result(&self) -> &Value {
        &self.body["chart"]["result"][0]
    }

    fn second(&self, name: &str) -> Timestamp {
        let (_, value) = self.url.query_pairs().find(|(key, _)| key == name).unwrap();
        Timestamp::from_secs(value.parse().unwrap()).unwrap()
    }

    fn ask(&self) -> Ask {
        let symbol = self.url.path_segments().unwrap().next_back().unwrap();
        let interval = self.result()["meta"]["dataGranularity"].as_str().unwrap();
        Ask {
            symbol: symbol.replace("%3D", "=").replace("%5E", "^"),
            interval: interval.parse().unwrap(),
            from: self.second("period1"),
            to: self.second("period2"),
        }
    }
}

type Shown = Arc<Mutex<(u16, Value)>>;

/// Answers with the reply at hand; of another interval there is nothing.
async fn answer(
    State(shown): State<Shown>,
    Query(query): Query<BTreeMap<String, String>>,
) -> (StatusCode, String) {
    let (status, mut body) = shown.lock().unwrap().clone();
    let granularity = body["chart"]["result"][0]["meta"]["dataGranularity"].as_str().map(str::to_owned);
    if body["as_it_is"].is_null() && granularity.is_some_and(|granularity| query["interval"] != granularity) {
        let mut meta = body["chart"]["result"][0]["meta"].take();
        meta["dataGranularity"] = json!(query["interval"]);
        let result = json!({"meta": meta, "indicators": {"quote": [{}]}});
        body = json!({"chart": {"result": [result], "error": null}});
    }
    (StatusCode::from_u16(status).unwrap(), body.to_string())
}

struct Stage {
    shown: Shown,
    yahoo: Yahoo,
    _server: Server,
}

impl Stage {
    async fn new() -> Self {
        let shown: Shown = Arc::default();
        let router =
            Router::new().route("/v8/finance/chart/{symbol}", get(answer)).with_state(Arc::clone(&shown));
        let control = Control::new(Misbehaviour::default());
        let server = Server::start("127.0.0.1:0".parse().unwrap(), &control, router).await.unwrap();
        let yahoo = Yahoo::with_rates(Some(&server.http()), &[], QUICK, clock(), 1).unwrap();
        Self { shown, yahoo, _server: server }
    }

    async fn fetch(&self, status: u16, body: &Value, ask: &Ask) -> Result<Piece, HistoryError> {
        *self.shown.lock().unwrap() = (status, body.clone());
        self.yahoo.fetch(ask).await
    }
}

/// Rows of a chart in which nothing is null: time, four prices, volume.
fn rows(result: &Value) -> Vec<(i64, [f64; 4], u64)> {
    let quote = &result["indicators"]["quote"][0];
    let times = result["timestamp"].as_array().cloned().unwrap_or_default();
    let row = |at: usize| {
        let price = |name: &str| quote[name][at].as_f64();
        let prices = [price("open")?, price("high")?, price("low")?, price("close")?];
        Some((times[at].as_i64()?, prices, quote["volume"][at].as_u64().unwrap_or(0)))
    };
    (0..times.len()).filter_map(row).collect()
}

#[tokio::test]
async fn every_recorded_chart_of_yahoo_is_read_or_refused() {
    let Some(folder) = recorded("yahoo/tests/fixtures/http") else { return };
    let stage = Stage::new().await;
    let mut count = 0;
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.to_string_lossy().contains("chart-")) {
        let chart = Recorded::read(path);
        let found = stage.fetch(chart.status, &chart.body, &chart.ask()).await;
        count += 1;
        if chart.name.contains("notimestamp") {
            // Prices without times: made up to be refused.
            assert!(matches!(found, Err(HistoryError::Malformed(_))), "{}: {found:?}", chart.name);
            continue;
        }
        let piece = found.unwrap_or_else(|error| panic!("{}: {error}", chart.name));
        let mut expected = rows(chart.result());
        if chart.ask().interval == Interval::DAY {
            expected.dedup_by_key(|row| row.0 / 86_400);
        }
        assert_eq!(piece.bars.len(), expected.len(), "{}", chart.name);
        if chart.result()["events"].is_object() {
            continue; // split: see below
        }
        // Pence come as pounds, and the volumes of coins are money.
        let is_pence = chart.result()["meta"]["currency"] == "GBp";
        let is_coin = chart.result()["meta"]["instrumentType"] == "CRYPTOCURRENCY";
        for (bar, (time, prices, volume)) in piece.bars.iter().zip(expected) {
            assert_eq!(bar.ts_open, Timestamp::from_secs(time).unwrap());
            for (ours, theirs) in [bar.open, bar.high, bar.low, bar.close].into_iter().zip(prices) {
                let ours = ours.to_f64().unwrap() * if is_pence { 100.0 } else { 1.0 };
                assert!((ours / theirs - 1.0).abs() < 6e-8, "{}: {ours} for {theirs}", chart.name);
                assert!(is_pence || ours as f32 == theirs as f32, "{}: {ours} for {theirs}", chart.name);
            }
            assert_eq!(bar.volume, if is_coin { Decimal::ZERO } else { volume.into() }, "{}", chart.name);
        }
    }
    assert!(count > 40, "{count} charts");
}

#[tokio::test]
async fn nvidias_split_of_2021_gives_the_prices_of_that_time() {
    let Some(folder) = recorded("yahoo/tests/fixtures/http") else { return };
    let mut chart =
        Recorded::read(&folder.join("historical-via-chart-NVDA-split-2021-02-01-to-2022-01-31.csv.json"));
    // It was recorded after the split of 2024, whose event lies after its end. A request until now has that one too.
    let later = json!({"date": 1_718_026_200, "numerator": 10, "denominator": 1, "splitRatio": "10:1"});
    chart.body["chart"]["result"][0]["events"]["splits"]["1718026200"] = later;
    let ask = chart.ask();
    let piece = Stage::new().await.fetch(200, &chart.body, &ask).await.unwrap();
    let split = |new| ActionKind::Split { new, old: 1 };
    assert_eq!(piece.actions, [(at("2021-07-20T13:30Z"), split(4)), (at("2024-06-10T13:30Z"), split(10))]);
    let day = |text: &str| {
        let bar = piece.bars.iter().find(|bar| bar.ts_open.to_string().starts_with(text)).unwrap();
        (bar.close.to_string(), bar.volume)
    };
    // The closes of the day before and of the day of the split, as they were traded.
    assert_eq!(day("2021-02-01"), ("529.48".into(), 5_430_100.into()));
    assert_eq!(day("2021-07-19").0, "751.19");
    assert_eq!(day("2021-07-20").0, "186.12");
    for (bar, (time, prices, volume)) in piece.bars.iter().zip(rows(chart.result())) {
        let ratio = if time < 1_626_787_800 { 40 } else { 10 };
        let raw = bar.close.to_f64().unwrap();
        assert_eq!((raw / f64::from(ratio)) as f32, prices[3] as f32, "{}", bar.ts_open);
        assert!(bar.close.scale() <= 4, "{}: {}", bar.ts_open, bar.close);
        assert!((bar.volume * Decimal::from(ratio) - Decimal::from(volume)).abs() <= Decimal::from(ratio));
    }
}

#[tokio::test]
async fn microsofts_dividends_give_yahoos_own_factors() {
    let Some(folder) = recorded("yahoo/tests/fixtures/http") else { return };
    let chart =
        Recorded::read(&folder.join("historical-via-chart-MSFT-dividends-2021-02-01-to-2022-01-31.csv.json"));
    let piece = Stage::new().await.fetch(200, &chart.body, &chart.ask()).await.unwrap();
    assert_eq!(piece.actions.len(), 4);
    assert_eq!(piece.bars.len(), 252);
    let adjusted = &chart.result()["indicators"]["adjclose"][0]["adjclose"];
    let factor = |at: usize| adjusted[at].as_f64().unwrap() / piece.bars[at].close.to_f64().unwrap();
    let mut steps = 0;
    for at in 0..piece.bars.len() - 1 {
        let next = piece.bars[at + 1].ts_open;
        let paid = piece.actions.iter().find(|(time, _)| *time == next);
        let close = piece.bars[at].close.to_f64().unwrap();
        let expected = match paid {
            Some((_, ActionKind::Dividend { amount })) => {
                steps += 1;
                (close - amount.to_f64()) / close
            }
            _ => 1.0,
        };
        let step = factor(at) / factor(at + 1);
        assert!((step - expected).abs() < 1e-6, "{next}: {step} and {expected}");
    }
    assert_eq!(steps, 4);
}

#[tokio::test]
async fn errors_inside_charts_are_told_apart() {
    let stage = Stage::new().await;
    let ask =
        Ask { symbol: "ACME".into(), interval: Interval::DAY, from: at("2024-01-02"), to: at("2024-02-02") };
    let error = |code: &str, text: &str| json!({"chart": {"result": null, "error": {"code": code, "description": text}}});
    let missing = error("Not Found", "No data found, symbol may be delisted");
    for status in [404, 200] {
        assert!(matches!(stage.fetch(status, &missing, &ask).await, Err(HistoryError::Symbol(_))));
    }
    let old = error(
        "Unprocessable Entity",
        "1m data not available for startTime=1 and endTime=2. The requested range \
                    must be within the last 30 days.",
    );
    for status in [422, 200] {
        assert!(matches!(stage.fetch(status, &old, &ask).await, Err(HistoryError::Reach(_))), "{status}");
    }
    let blocked = error("Unauthorized", "User is unable to access this feature");
    assert!(matches!(stage.fetch(401, &blocked, &ask).await, Err(HistoryError::Refused(_))));
    let coarse = json!({"chart": {"result": [{"meta": {"currency": "USD", "dataGranularity": "1d"},
        "timestamp": [1_704_205_800, 1_704_292_200, 1_704_300_000], "indicators": {"quote": [{
            "open": [1.5, null, 2.0], "high": [2.0, null, 2.0], "low": [1.0, null, 2.0], "close": [1.75, null, 2.0],
            "volume": [10, null, 0]}]}}], "error": null}});
    // A row of nulls is left out and told.
    let piece = stage.fetch(200, &coarse, &ask).await.unwrap();
    assert_eq!(piece.bars.len(), 2);
    assert!(piece.notes[0].contains("incomplete"), "{:?}", piece.notes);
    let mut months = coarse.clone();
    months["chart"]["result"][0]["meta"]["dataGranularity"] = json!("3mo");
    months["as_it_is"] = json!(true);
    assert!(matches!(stage.fetch(200, &months, &ask).await, Err(HistoryError::Malformed(_))), "coarsened");
}

#[test]
fn recorded_replies_of_alpha_vantage_are_read_or_refused() {
    let Some(folder) = recorded("alphavantage/test_data") else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let piece = time_series(&read("mock_time_series")).unwrap();
    assert_eq!((piece.bars.len(), piece.notes.len()), (100, 0));
    assert!(piece.bars.is_sorted_by_key(|bar| bar.ts_open));
    let last = piece.bars.last().unwrap();
    assert_eq!(last.ts_open, at("2017-12-18T19:56:00Z"), "14:56 in New York");
    assert_eq!((last.open.to_string(), last.volume), ("86.4900".into(), 10_494.into()));
    let piece = time_series(&read("mock_time_series_extended")).unwrap();
    assert!(piece.bars.len() > 1000 && piece.notes.is_empty());
    assert_eq!(piece.bars.last().unwrap().ts_open, at("2020-12-19T01:00:00Z"));
    let quote = global_quote(&read("global_quote"), "MSFT").unwrap();
    assert_eq!((quote.price.to_string(), quote.day.to_string()), ("112.1300".into(), "2018-10-05".into()));
    for name in [
        "mock_company_overview",
        "mock_crypto_currencies",
        "mock_foreign_exchange",
        "mock_fundamental_data",
        "mock_sector",
        "mock_technical_indicator",
        "symbol_search",
    ] {
        let body = read(name);
        assert!(matches!(time_series(&body), Err(HistoryError::Malformed(_))), "{name}");
        let reply = Reply { status: 200, retry_after: None, is_json: true, body };
        assert_eq!(classify(&reply, "X"), None, "{name} is no error");
    }
}
