//! Alpha Vantage: plans, limits, errors with status 200.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tradeflow_ingest::Secret;
use tradeflow_ingest::alphavantage::server::{ServerOptions, start};
use tradeflow_ingest::alphavantage::{AlphaVantage, time_series};
use tradeflow_ingest::history::{FillError, HistoryError, Retry};
use tradeflow_ingest::vendor::{Market, Misbehaviour, Server};

use crate::market::{
    Fixed, NOW, QUICK, actions, catalog, expected, fill, plain, stored, stored_actions, wanted,
};

const KEY: &str = "K3Y+TOP/SECRET";

async fn serve(options: ServerOptions) -> (Arc<dyn Market>, Server) {
    let market = Fixed::start();
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = start(Arc::clone(&market), options, Misbehaviour::default(), listen).await.unwrap();
    (market, server)
}

fn premium() -> ServerOptions {
    ServerOptions::premium(Secret::new(KEY))
}

fn client(server: &Server, key: &str) -> AlphaVantage {
    AlphaVantage::with_rates(&server.http(), Secret::new(key), &[], QUICK, 1).unwrap()
}

#[tokio::test]
async fn a_paid_plan_gives_raw_days_with_splits_and_dividends() {
    let (market, server) = serve(premium()).await;
    let kept = catalog();
    let all = wanted("ACME", "1d", "2023-02-01", NOW);
    let (report, result) = fill(&kept.catalog, &client(&server, KEY), &all).await;
    result.unwrap();
    assert_eq!(stored(&kept, "ACME", "1d").await, expected(&market, "ACME", "1d", "2023-02-01", NOW));
    assert_eq!(stored_actions(&kept, "ACME").await, plain(&actions()));
    assert_eq!(report.pieces, 1);
}

#[tokio::test]
async fn a_free_plan_gives_the_newest_days_and_says_what_it_lacks() {
    let mut options = ServerOptions::free(Secret::new(KEY));
    options.per_second = None;
    let (market, server) = serve(options).await;
    let (kept, client) = (catalog(), client(&server, KEY));
    let (report, result) = fill(&kept.catalog, &client, &wanted("BRK.B", "1d", "2024-05-01", NOW)).await;
    result.unwrap();
    assert_eq!(stored(&kept, "BRK.B", "1d").await, expected(&market, "BRK-B", "1d", "2024-05-01", NOW));
    assert!(
        report.notes.iter().any(|note| note.contains("splits and dividends are not included")),
        "{report:?}"
    );
    let (_, result) = fill(&kept.catalog, &client, &wanted("ACME", "1d", "2023-05-01", NOW)).await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, FillError::History(HistoryError::Plan(text)) if text.contains("--from 2024-02-")),
        "{error}"
    );
    let (_, result) = fill(&kept.catalog, &client, &wanted("ACME", "5m", "2024-05-01", NOW)).await;
    assert!(matches!(result, Err(FillError::History(HistoryError::Plan(_)))));
}

#[tokio::test]
async fn intraday_bars_come_month_by_month_in_new_york_time() {
    let (market, server) = serve(premium()).await;
    let (kept, client) = (catalog(), client(&server, KEY));
    // Over the change to summer time.
    let (report, result) =
        fill(&kept.catalog, &client, &wanted("ACME", "5m", "2024-02-20", "2024-04-05")).await;
    result.unwrap();
    let rows = expected(&market, "ACME", "5m", "2024-02-20", "2024-04-05");
    assert!(rows.len() > 1500);
    assert_eq!(stored(&kept, "ACME", "5m").await, rows);
    assert_eq!((report.pieces, server.control().requests.load(Ordering::Relaxed)), (3, 3));
    let (report, result) =
        fill(&kept.catalog, &client, &wanted("ACME", "5m", "2024-02-20", "2024-04-05")).await;
    result.unwrap();
    assert_eq!((report.pieces, report.added), (0, 0), "quiet minutes are not asked for again");
}

#[tokio::test]
async fn the_days_quota_ends_a_fetch_and_the_next_day_goes_on() {
    let mut options = premium();
    options.per_day = Some(3);
    let (market, server) = serve(options).await;
    let kept = catalog();
    let half_year = wanted("ACME", "15m", "2024-01-02", "2024-06-20");
    let (report, result) = fill(&kept.catalog, &client(&server, KEY), &half_year).await;
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, FillError::History(HistoryError::Quota(_))), "{text}");
    assert!(text.contains("tomorrow") && text.contains("goes on"), "{text}");
    assert!(text.contains("***") && !text.contains(KEY), "the vendor echoes the key: {text}");
    assert_eq!((report.pieces, report.left), (3, 3));
    assert_eq!(
        stored(&kept, "ACME", "15m").await,
        expected(&market, "ACME", "15m", "2024-01-02", "2024-04-01")
    );

    let (market, next_day) = serve(premium()).await;
    let (report, result) = fill(&kept.catalog, &client(&next_day, KEY), &half_year).await;
    result.unwrap();
    assert_eq!((report.pieces, report.unchanged), (3, 0));
    assert_eq!(
        stored(&kept, "ACME", "15m").await,
        expected(&market, "ACME", "15m", "2024-01-02", "2024-06-20")
    );
}

#[tokio::test]
async fn bursts_and_outages_pass_and_wrong_keys_and_symbols_do_not() {
    let (_, server) = serve(premium()).await;
    let kept = catalog();
    server.control().set(Misbehaviour { refuse_next: 2, fail_next: 1, ..Default::default() });
    let day = wanted("ACME", "1d", "2024-06-03", "2024-06-05");
    fill(&kept.catalog, &client(&server, KEY), &day).await.1.unwrap();
    server.control().set(Misbehaviour { refuse_next: 99, ..Default::default() });
    let (_, result) = fill(&catalog().catalog, &client(&server, KEY), &day).await;
    assert!(matches!(result, Err(FillError::History(HistoryError::RateLimited { .. }))));
    server.control().set(Misbehaviour::default());
    let (_, result) =
        fill(&kept.catalog, &client(&server, "wrong"), &wanted("BRK-B", "1d", "2024-06-03", NOW)).await;
    let text = result.unwrap_err().to_string();
    assert!(text.contains("TRADEFLOW_ALPHAVANTAGE_KEY") && !text.contains("=wrong"), "{text}");
    let (_, result) =
        fill(&kept.catalog, &client(&server, KEY), &wanted("NOPE", "1d", "2024-06-03", NOW)).await;
    assert!(matches!(result, Err(FillError::History(HistoryError::Symbol(text))) if text.contains("NOPE")));
}

#[tokio::test]
async fn the_limit_of_a_second_is_kept_by_waiting() {
    let mut options = premium();
    options.per_second = Some(1);
    let (_, server) = serve(options).await;
    let retry = Retry { attempts: 1, ..QUICK };
    let client = AlphaVantage::new(&server.http(), Secret::new(KEY), retry, 1).unwrap();
    for _ in 0..2 {
        client.quote("ACME").await.expect("no burst, and no second attempt");
    }
    assert!(matches!(client.quote("NOPE").await, Err(HistoryError::Symbol(_))));
}

#[tokio::test]
async fn csv_ends_lines_as_the_vendor_does_and_errors_are_json_all_the_same() {
    let (market, server) = serve(premium()).await;
    let ask = async |symbol: &str| {
        let mut url = url::Url::parse(&format!("{}/query", server.http())).unwrap();
        url.query_pairs_mut().extend_pairs([
            ("function", "TIME_SERIES_DAILY"),
            ("symbol", symbol),
            ("datatype", "csv"),
            ("apikey", KEY),
        ]);
        let reply = reqwest::get(url).await.unwrap();
        assert_eq!(reply.status().as_u16(), 200);
        reply.text().await.unwrap()
    };
    let csv = ask("ACME").await;
    assert!(csv.starts_with("timestamp,open,high,low,close,volume\r\n2024-06-28,"), "{}", &csv[..80]);
    let piece = time_series(&csv).unwrap();
    assert_eq!(piece.bars.len(), 100);
    let last = expected(&market, "ACME", "1d", "2024-06-28", NOW)[0];
    assert_eq!((piece.bars[99].ts_open, piece.bars[99].close.normalize()), (last.0, last.2[3]));
    let error: serde_json::Value = serde_json::from_str(&ask("NOPE").await).unwrap();
    assert!(error["Error Message"].as_str().unwrap().starts_with("Invalid API call"));
}
