//! Yahoo: raw prices, retention, errors, quotes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tradeflow_ingest::history::{Ask, FillError, History, HistoryError};
use tradeflow_ingest::vendor::{Market, Misbehaviour, Server};
use tradeflow_ingest::yahoo::{Yahoo, YahooQuotes, server};
use tradeflow_ingest::{Feed, FeedContext, FeedState, FeedStatus, Sink, Update, Watch, Watchlist};
use tradeflow_model::Timestamp;

use crate::market::{
    Fixed, NOW, QUICK, actions, at, catalog, clock, expected, files, fill, plain, stored, stored_actions,
    wanted,
};

async fn serve() -> (Arc<dyn Market>, Server) {
    let market = Fixed::start();
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = server::start(Arc::clone(&market), Misbehaviour::default(), listen).await.unwrap();
    (market, server)
}

fn client(server: &Server) -> Yahoo {
    Yahoo::with_rates(Some(&server.http()), &[], QUICK, clock(), 1).unwrap()
}

#[tokio::test]
async fn days_come_as_they_were_traded_with_their_splits_and_dividends() {
    let (market, server) = serve().await;
    let (yahoo, kept) = (client(&server), catalog());
    // The end lies before the last split: it has to be undone all the same.
    let first = wanted("ACME", "1d", "2023-01-01", "2024-03-01");
    let (report, result) = fill(&kept.catalog, &yahoo, &first).await;
    result.unwrap();
    assert_eq!(
        stored(&kept, "ACME", "1d").await,
        expected(&market, "ACME", "1d", "2023-01-01", "2024-03-01")
    );
    assert_eq!(stored_actions(&kept, "ACME").await, plain(&actions()[..3]));
    assert_eq!((report.pieces, report.actions_added), (1, 3));

    let all = wanted("ACME", "1d", "2023-01-01", NOW);
    let (report, result) = fill(&kept.catalog, &yahoo, &all).await;
    result.unwrap();
    assert_eq!(stored(&kept, "ACME", "1d").await, expected(&market, "ACME", "1d", "2023-01-01", NOW));
    assert_eq!(stored_actions(&kept, "ACME").await, plain(&actions()));
    assert_eq!(report.unchanged, 0, "nothing is asked for twice");

    // Today is not over and may yet come: one request, which changes nothing.
    let before = files(kept.folder.path());
    let (report, result) = fill(&kept.catalog, &yahoo, &all).await;
    result.unwrap();
    assert_eq!((report.pieces, report.added, report.unchanged), (1, 0, 0));
    assert_eq!(files(kept.folder.path()), before);
}

#[tokio::test]
async fn minutes_are_asked_for_a_week_at_a_time_as_far_back_as_they_are_kept() {
    let (market, server) = serve().await;
    let (yahoo, kept) = (client(&server), catalog());
    let month = wanted("ACME", "1m", "2024-05-01", NOW);
    let (report, result) = fill(&kept.catalog, &yahoo, &month).await;
    result.unwrap();
    let since = at(NOW).saturating_add(-29 * 86_400 * 1_000_000_000);
    let rows = expected(&market, "ACME", "1m", &since.to_string(), NOW);
    assert!(rows.len() > 6_000);
    assert_eq!(stored(&kept, "ACME", "1m").await, rows);
    assert_eq!(report.pieces, 5);
    assert!(
        report.notes.iter().any(|note| note.contains("since 2024-06-02T18:00:00Z only")),
        "{:?}",
        report.notes
    );
    assert_eq!(stored_actions(&kept, "ACME").await, plain(&actions()[3..]));
    // A request for actions and five for minutes.
    assert_eq!(server.control().requests.load(Ordering::Relaxed), 6);
    let (report, result) = fill(&kept.catalog, &yahoo, &month).await;
    result.unwrap();
    assert_eq!(
        (report.pieces, report.added),
        (0, 0),
        "all until the last bar is answered, quiet minutes too"
    );
}

#[tokio::test]
async fn coins_have_no_volume_and_hours_are_read_as_such() {
    let (market, server) = serve().await;
    let (yahoo, kept) = (client(&server), catalog());
    let mut hours = wanted("BTC-USD", "1h", "2024-06-01", "2024-06-03");
    let (_, result) = fill(&kept.catalog, &yahoo, &hours).await;
    result.unwrap();
    let mut rows = expected(&market, "BTCUSDT", "1h", "2024-06-01", "2024-06-03");
    rows.iter_mut().for_each(|row| row.3 = 0.into());
    assert_eq!(stored(&kept, "BTC-USD", "1h").await, rows);
    hours.interval = "4h".parse().unwrap();
    let (_, result) = fill(&kept.catalog, &yahoo, &hours).await;
    assert!(matches!(result, Err(FillError::History(HistoryError::Unsupported(_)))));
}

async fn error(yahoo: &Yahoo, symbol: &str, interval: &str, from: &str, to: &str) -> HistoryError {
    let ask = Ask { symbol: symbol.into(), interval: interval.parse().unwrap(), from: at(from), to: at(to) };
    yahoo.fetch(&ask).await.unwrap_err()
}

#[tokio::test]
async fn errors_are_told_apart() {
    let (_, server) = serve().await;
    let yahoo = client(&server);
    let unknown = error(&yahoo, "NOPE", "1d", "2024-01-01", "2024-02-01").await;
    assert!(matches!(&unknown, HistoryError::Symbol(text) if text.contains("NOPE")), "{unknown:?}");
    let old = error(&yahoo, "ACME", "1m", "2024-01-01", "2024-01-05").await;
    assert!(matches!(&old, HistoryError::Reach(_)), "{old:?}");
    let long = error(&yahoo, "ACME", "1m", "2024-06-05", "2024-06-20").await;
    assert!(matches!(&long, HistoryError::Reach(_)), "{long:?}");

    // Throttled or down for a moment: tried again. For longer: told.
    let ask = Ask {
        symbol: "ACME".into(),
        interval: "1d".parse().unwrap(),
        from: at("2024-06-03"),
        to: at("2024-06-05"),
    };
    server.control().set(Misbehaviour { refuse_next: 2, fail_next: 1, ..Default::default() });
    assert_eq!(yahoo.fetch(&ask).await.map(|piece| piece.bars.is_empty()), Ok(false));
    server.control().set(Misbehaviour { refuse_next: 100, ..Default::default() });
    let before = server.control().requests.load(Ordering::Relaxed);
    assert!(matches!(yahoo.fetch(&ask).await, Err(HistoryError::RateLimited { .. })));
    assert_eq!(server.control().requests.load(Ordering::Relaxed) - before, u64::from(QUICK.attempts));
    server.control().set(Misbehaviour { fail_next: 100, ..Default::default() });
    assert!(matches!(yahoo.fetch(&ask).await, Err(HistoryError::Server(_))), "a page with status 200");
    server.control().set(Misbehaviour::default());

    let (past, result) = {
        let kept = catalog();
        fill(&kept.catalog, &yahoo, &wanted("ACME", "5m", "2023-01-01", "2023-02-01")).await
    };
    assert!(matches!(result, Err(FillError::History(HistoryError::Reach(_)))));
    assert_eq!(past.pieces, 0);
}

#[tokio::test]
async fn quotes_need_a_crumb_and_leave_out_what_is_unknown() {
    let (_, server) = serve().await;
    let yahoo = client(&server);
    let symbols = ["ACME", "NOPE", "BTC-USD"].map(String::from);
    let quotes = yahoo.quotes(&symbols).await.unwrap();
    let found: Vec<_> = quotes.iter().map(|quote| (quote.symbol.as_str(), quote.price.to_string())).collect();
    assert_eq!(found, [("ACME", "12.34".to_owned()), ("BTC-USD", "12.34".to_owned())]);
    assert_eq!(quotes[0].ts_event, at("2024-07-01T17:59:47Z"));
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Update>>>);

impl Sink for Kept {
    fn update(&mut self, _: Timestamp, update: Update) {
        self.0.lock().unwrap().push(update);
    }

    fn bad(&mut self, _: &str, _: &str) {}

    fn flush(&mut self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn polled_quotes_reach_the_sink_until_stopped() {
    let (market, server) = serve().await;
    let watch = |symbol: &str| Watch {
        instrument: market.instruments()[0].clone(),
        vendor_symbol: symbol.into(),
        trades: false,
        quotes: true,
    };
    let (_sender, watchlist) = watch::channel(Watchlist { watches: vec![watch("ACME"), watch("NOPE")] });
    let (sink, status, stop) = (Kept::default(), Arc::new(FeedStatus::default()), CancellationToken::new());
    let context = FeedContext {
        watchlist,
        sink: Box::new(sink.clone()),
        clock: clock(),
        status: Arc::clone(&status),
        seed: 1,
        stop: stop.clone(),
    };
    server.control().set(Misbehaviour { refuse_next: 100, ..Default::default() });
    let feed = Box::new(YahooQuotes::new(Arc::new(client(&server)), Duration::from_millis(2)));
    let running = tokio::spawn(feed.run(context));
    let until = async |done: &dyn Fn() -> bool| {
        tokio::time::timeout(Duration::from_secs(120), async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .expect("in time");
    };
    until(&|| status.state() == FeedState::Refused).await;
    assert!(status.rate_limited.load(Ordering::Relaxed) > 0);
    server.control().set(Misbehaviour::default());
    until(&|| sink.0.lock().unwrap().len() >= 2).await;
    assert_eq!(status.state(), FeedState::Live);
    assert_eq!(status.unserved.load(Ordering::Relaxed), 1);
    let Update::Last { symbol, ts_event, price } = sink.0.lock().unwrap()[0].clone() else {
        panic!("a last price")
    };
    assert_eq!((symbol.as_str(), price.to_string()), ("ACME", "12.34".to_owned()));
    assert_eq!(ts_event, at("2024-07-01T17:59:47Z"));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(120), running).await.expect("it stops").unwrap();
    assert_eq!(status.state(), FeedState::Off);
}
