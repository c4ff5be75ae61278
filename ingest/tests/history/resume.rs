//! A fetch that ends anywhere goes on, and ends as one that was never interrupted.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio_util::sync::CancellationToken;
use tradeflow_ingest::history::{
    Answer, Ask, Fill, FillError, FillProgress, History, HistoryError, Piece, Reach,
};
use tradeflow_ingest::vendor::Misbehaviour;
use tradeflow_ingest::yahoo::{Yahoo, server};
use tradeflow_model::market::ActionKind;
use tradeflow_model::{Interval, Money, Timestamp};
use tradeflow_storage::catalog::ConflictPolicy;

use crate::market::{Fixed, NOW, QUICK, at, catalog, clock, files, fill, stored, stored_actions, wanted};

/// A vendor that goes away after some answers.
struct Leaving<'a> {
    inner: &'a Yahoo,
    left: AtomicI64,
}

impl History for Leaving<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn reach(&self, symbol: &str, interval: Interval, now: Timestamp) -> Result<Reach, HistoryError> {
        self.inner.reach(symbol, interval, now)
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> Answer<'a, Piece> {
        if self.left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Box::pin(std::future::ready(Err(HistoryError::Network("gone".into()))));
        }
        self.inner.fetch(ask)
    }
}

/// Data files of a catalog.
fn data(folder: &std::path::Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    files(folder).into_iter().filter(|(name, _)| name.ends_with(".parquet")).collect()
}

#[tokio::test]
async fn an_interrupted_fetch_goes_on_where_it_was() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = server::start(Fixed::start(), Misbehaviour::default(), listen).await.unwrap();
    let yahoo = Yahoo::with_rates(Some(&server.http()), &[], QUICK, clock(), 1).unwrap();
    let month = wanted("ACME", "1m", "2024-06-03", "2024-06-29");
    let (whole, broken) = (catalog(), catalog());
    fill(&whole.catalog, &yahoo, &month).await.1.unwrap();
    for left in 0..4 {
        let leaving = Leaving { inner: &yahoo, left: AtomicI64::new(1) };
        let (report, result) = fill(&broken.catalog, &leaving, &month).await;
        assert!(
            matches!(result, Err(FillError::History(HistoryError::Network(_)))) || left == 3,
            "{left}: {result:?}"
        );
        assert_eq!((report.pieces, report.unchanged, report.left), (1, 0, 3 - left));
    }
    assert_eq!(data(broken.folder.path()), data(whole.folder.path()));
    let (report, result) = fill(&broken.catalog, &yahoo, &month).await;
    result.unwrap();
    assert_eq!(report.pieces, 0);

    // What was lost from the catalog is asked for again, whatever was noted.
    let lost = files(broken.folder.path()).into_keys().find(|name| name.contains("kind=bar")).unwrap();
    std::fs::remove_file(broken.folder.path().join(lost)).unwrap();
    let (report, result) = fill(&broken.catalog, &yahoo, &month).await;
    result.unwrap();
    assert_eq!(report.pieces, 4);
    assert_eq!(stored(&broken, "ACME", "1m").await, stored(&whole, "ACME", "1m").await);
}

/// Stops after the first piece.
struct StopAtOnce(CancellationToken);

impl FillProgress for StopAtOnce {
    fn piece(&self, _: u64) {
        self.0.cancel();
    }
}

#[tokio::test]
async fn who_stops_it_keeps_what_came() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = server::start(Fixed::start(), Misbehaviour::default(), listen).await.unwrap();
    let yahoo = Yahoo::with_rates(Some(&server.http()), &[], QUICK, clock(), 1).unwrap();
    let kept = catalog();
    let stop = CancellationToken::new();
    let fill = Fill {
        history: &yahoo,
        catalog: kept.catalog.clone(),
        clock: clock(),
        conflict: ConflictPolicy::Reject,
        stop: stop.clone(),
    };
    let (report, result) = fill.run(&wanted("ACME", "1m", "2024-06-03", NOW), &StopAtOnce(stop)).await;
    assert!(matches!(result, Err(FillError::Stopped)));
    assert_eq!(report.pieces, 1);
    assert!(report.added > 1000);
    assert_eq!(stored(&kept, "ACME", "1m").await.len() as u64, report.added);
}

/// A vendor with one day, one dividend, and one bar that contradicts itself.
struct Small {
    name: &'static str,
    cents: i64,
}

impl History for Small {
    fn name(&self) -> &'static str {
        self.name
    }

    fn reach(&self, _: &str, _: Interval, _: Timestamp) -> Result<Reach, HistoryError> {
        Ok(Reach { earliest: None, cut: tradeflow_ingest::history::Cut::Whole, settles_in: 0 })
    }

    fn fetch<'a>(&'a self, _: &'a Ask) -> Answer<'a, Piece> {
        let bar = |time: &str, high: i64| tradeflow_ingest::history::RawBar {
            ts_open: at(time),
            open: 10.into(),
            high: high.into(),
            low: 9.into(),
            close: 10.into(),
            volume: 5.into(),
        };
        let amount = Money::from_decimal(rust_decimal::Decimal::new(self.cents, 2)).unwrap();
        let piece = Piece {
            bars: vec![bar("2024-06-03T13:30Z", 11), bar("2024-06-04T13:30Z", 8)],
            actions: vec![(at("2024-06-03T13:30Z"), ActionKind::Dividend { amount })],
            ..Piece::default()
        };
        Box::pin(std::future::ready(Ok(piece)))
    }
}

#[tokio::test]
async fn contradictions_are_counted_and_a_dividend_is_not_paid_twice() {
    let kept = catalog();
    let days = wanted("ACME", "1d", "2024-06-03", "2024-06-05");
    let (report, result) = fill(&kept.catalog, &Small { name: "one", cents: 25 }, &days).await;
    result.unwrap();
    assert_eq!((report.added, report.actions_added, report.checks.get("ohlc")), (1, 1, Some(&1)));
    let (report, result) = fill(&kept.catalog, &Small { name: "two", cents: 26 }, &days).await;
    result.unwrap();
    // Only the missing day was asked for; its bar is as bad as before.
    assert_eq!((report.added, report.actions_added, report.unchanged), (0, 0, 0));
    assert_eq!(stored_actions(&kept, "ACME").await.len(), 1);
    let (report, _) = fill(&kept.catalog, &Small { name: "one", cents: 25 }, &days).await;
    assert_eq!(report.pieces, 0, "this vendor has said what it has");

    let other = catalog();
    let monday = wanted("ACME", "1d", "2024-06-03", "2024-06-04");
    fill(&other.catalog, &Small { name: "one", cents: 25 }, &monday).await.1.unwrap();
    let key = tradeflow_storage::catalog::SeriesKey::bars(
        monday.symbol.clone(),
        monday.interval,
        tradeflow_model::market::PriceType::Last,
    );
    let folder = other.folder.path().join(key.folder().unwrap());
    std::fs::remove_dir_all(folder).unwrap();
    let (report, result) = fill(&other.catalog, &Small { name: "two", cents: 26 }, &monday).await;
    result.unwrap();
    assert_eq!((report.added, report.actions_added), (1, 0));
    assert!(
        report.notes.iter().any(|note| note.contains("0.25") && note.contains("0.26")),
        "{:?}",
        report.notes
    );
}
