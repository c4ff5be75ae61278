//! Binance: pages of a thousand, closed bars only.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tradeflow_ingest::binance::BinanceHistory;
use tradeflow_ingest::binance::server::{ServerOptions, start};
use tradeflow_ingest::history::{FillError, HistoryError};
use tradeflow_ingest::vendor::{Control, Misbehaviour};

use crate::market::{Fixed, NOW, QUICK, catalog, clock, expected, fill, stored, wanted};

#[tokio::test]
async fn klines_come_a_thousand_at_a_time_and_years_of_nothing_are_skipped() {
    let market = Fixed::start();
    let control = Control::new(Misbehaviour::default());
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = start(listen, Arc::clone(&market), &control, ServerOptions::default()).await.unwrap();
    let client = BinanceHistory::new(&server.http(), QUICK, clock(), 1).unwrap();
    let kept = catalog();
    // The market begins in 2023; five years of hours before it are 44 pages.
    let hours = wanted("BTCUSDT", "1h", "2018-01-01", NOW);
    control.set(Misbehaviour { fail_next: 1, ..Default::default() });
    let (report, result) = fill(&kept.catalog, &client, &hours).await;
    result.unwrap();
    let rows = expected(&market, "BTCUSDT", "1h", "2018-01-01", NOW);
    assert!(rows.len() > 13_000);
    assert_eq!(stored(&kept, "BTCUSDT", "1h").await, rows);
    let requests = control.requests.load(Ordering::Relaxed);
    assert!(requests < 20, "{requests} requests, {report:?}");
    let (report, result) = fill(&kept.catalog, &client, &hours).await;
    result.unwrap();
    assert_eq!((report.pieces, report.added), (0, 0));
    let (_, result) = fill(&kept.catalog, &client, &wanted("NOPEUSDT", "1h", "2024-01-01", NOW)).await;
    assert!(matches!(result, Err(FillError::History(HistoryError::Symbol(_)))), "{result:?}");
}
