//! What comes through while all is well.

use std::time::Duration;

use tradeflow_ingest::finnhub::FinnhubSocket;
use tradeflow_ingest::{FeedState, Update};
use tradeflow_model::market::Aggressor;

use crate::support::*;

#[tokio::test]
async fn trades_come_as_they_were_made() {
    let market = Scripted::new(instruments());
    let (_server, config) = served(&market, "stream-1", |_| {}).await;
    let all = instruments();
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&all, "AAPL EURUSD BTCUSD"));
    for symbol in ["AAPL", "EURUSD", "BTCUSD"] {
        feed.reaches(&market, symbol).await;
    }
    let before = feed.seen().updates.len();
    // One frame of several symbols: equal trades, one out of order, a price update without a quantity, an odd lot, and
    // a trade after hours; MSFT is not watched.
    let t = OPEN_MS + 3_600_000;
    let after_hours = OPEN_MS + 8 * 3_600_000;
    market.send(vec![
        market.tick("AAPL", t, "187.41", "100"),
        market.tick("AAPL", t, "187.41", "100"),
        market.tick("MSFT", t, "400", "100"),
        market.tick("AAPL", t - 5, "187.4055", "250"),
        market.tick("EURUSD", t, "1.08213", "0"),
        market.tick("AAPL", t, "200", "99"),
        market.tick("BTCUSD", t, "43000.01", "0.000123"),
        market.tick("AAPL", after_hours, "188.5", "300"),
    ]);
    until("the burst", || feed.seen().of("AAPL").last().is_some_and(|u| row(u).0 == after_hours)).await;
    let seen = feed.end().await;
    let rows: Vec<(String, (i64, String, String))> = seen.updates[before..]
        .iter()
        .filter(|u| row(u).0 >= t - 5)
        .map(|u| (symbol_of(u).into(), row(u)))
        .collect();
    let expect = |symbol: &str, ms: i64, price: &str, qty: &str| {
        (symbol.to_owned(), (ms, price.to_owned(), qty.to_owned()))
    };
    assert_eq!(
        rows,
        [
            expect("AAPL", t, "187.41", "100"),
            expect("AAPL", t, "187.41", "100"),
            expect("AAPL", t - 5, "187.4055", "250"),
            expect("EURUSD", t, "1.08213", "0"),
            expect("BTCUSD", t, "43000.01", "0.000123"),
            expect("AAPL", after_hours, "188.5", "300"),
        ]
    );
    assert_eq!(seen.excluded, 1, "the odd lot");
    assert!(seen.bad.is_empty(), "{:?}", seen.bad);
    assert!(seen.flushes > 0);
    assert!(matches!(&seen.updates[0], Update::Trade { aggressor: Aggressor::Unknown, id: None, .. }));
}

#[tokio::test]
async fn a_price_alone_is_given_where_no_trades_are_wanted() {
    let market = Scripted::new(instruments());
    let (_server, config) = served(&market, "stream-2", |_| {}).await;
    let mut list = watchlist(&instruments(), "AAPL MSFT");
    list.watches[0].trades = false;
    list.watches[1].trades = false;
    list.watches[1].quotes = false;
    let socket = FinnhubSocket::new(config).unwrap();
    let mut served = socket.served();
    let feed = Running::start(socket, list);
    feed.reaches(&market, "AAPL").await;
    assert_eq!(served.borrow_and_update().iter().collect::<Vec<_>>(), ["AAPL"]);
    let seen = feed.end().await;
    assert!(seen.updates.iter().all(|update| matches!(update, Update::Last { .. })));
    assert!(served.borrow().is_empty(), "nothing is served any more");
}

#[tokio::test]
async fn pings_keep_an_idle_connection() {
    let market = Scripted::new(instruments());
    let (_server, mut config) =
        served(&market, "stream-3", |options| options.ping_every = Duration::from_millis(50)).await;
    config.timing.silence = Duration::from_secs(2);
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "AAPL"));
    // Pings for longer than silence is allowed to last.
    until("pings", || count(&feed.status.messages) >= 60).await;
    assert_eq!(count(&feed.status.connects), 1);
    assert_eq!(feed.status.state(), FeedState::Live);
    let seen = feed.end().await;
    assert!(seen.updates.is_empty() && seen.bad.is_empty());
}

#[tokio::test]
async fn a_stopped_feed_is_off_and_gives_its_key_back() {
    let market = Scripted::new(instruments());
    let (_server, config) = served(&market, "stream-4", |_| {}).await;
    let socket = FinnhubSocket::new(config.clone()).unwrap();
    let refused = FinnhubSocket::new(config.clone()).unwrap_err();
    assert!(refused.to_string().contains("in use by another client of this process"), "{refused}");
    let feed = Running::start(socket, watchlist(&instruments(), "AAPL"));
    feed.reaches(&market, "AAPL").await;
    assert!(FinnhubSocket::new(config.clone()).is_err(), "while it runs");
    let status = feed.status.clone();
    feed.end().await;
    assert_eq!(status.state(), FeedState::Off);
    assert_eq!((count(&status.connects), count(&status.disconnects)), (1, 1));
    // The server takes the same key again.
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "AAPL"));
    feed.reaches(&market, "AAPL").await;
    feed.end().await;
}

#[tokio::test]
async fn a_burst_of_many_frames_comes_whole() {
    let market = Scripted::new(instruments());
    let (_server, config) = served(&market, "stream-5", |_| {}).await;
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "BTCUSD"));
    feed.reaches(&market, "BTCUSD").await;
    let t = OPEN_MS + 1_000_000;
    let total: i64 = 20_000;
    for burst in 0..20 {
        let ticks = (0..total / 20).map(|n| {
            let n = burst * (total / 20) + n;
            market.tick("BTCUSD", t + n, &format!("{}.5", 40_000 + n), "0.5")
        });
        market.send(ticks.collect());
    }
    let of_burst = |seen: &Seen| {
        seen.updates.iter().map(row).filter(|row| row.0 >= t).map(|row| row.0 - t).collect::<Vec<_>>()
    };
    until("all", || of_burst(&feed.seen()).len() as i64 >= total).await;
    let seen = feed.end().await;
    assert_eq!(of_burst(&seen), (0..total).collect::<Vec<_>>());
}
