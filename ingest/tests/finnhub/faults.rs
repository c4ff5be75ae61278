//! What goes wrong at the server, by its switches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tradeflow_ingest::finnhub::FinnhubSocket;
use tradeflow_ingest::finnhub::server::{ServerOptions, start};
use tradeflow_ingest::vendor::{Market, Misbehaviour};
use tradeflow_ingest::{FeedState, Secret};

use crate::support::*;

#[tokio::test]
async fn a_dropped_connection_is_made_again_with_its_subscriptions() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "faults-1", |_| {}).await;
    let socket = FinnhubSocket::new(config).unwrap();
    let mut serves = socket.served();
    let feed = Running::start(socket, watchlist(&instruments(), "AAPL MSFT"));
    feed.reaches(&market, "AAPL").await;
    serves.borrow_and_update();
    server.control().set(Misbehaviour { drop_every: Some(1), ..Default::default() });
    market.trade("AAPL");
    until("the drop", || count(&feed.status.disconnects) == 1).await;
    server.control().set(Misbehaviour::default());
    feed.reaches(&market, "MSFT").await;
    feed.reaches(&market, "AAPL").await;
    assert!(serves.has_changed().unwrap(), "who asks by calls was told");
    assert_eq!(feed.status.state(), FeedState::Live);
    assert!(count(&feed.status.connects) >= 2);
    assert!(feed.error().starts_with("the connection ended"), "{}", feed.error());
    feed.end().await;
}

#[tokio::test]
async fn silence_is_seen_and_ended() {
    let market = Scripted::new(instruments());
    let (server, mut config) =
        served(&market, "faults-2", |options| options.ping_every = Duration::from_millis(20)).await;
    config.timing.silence = Duration::from_millis(600);
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "BTCUSD"));
    feed.reaches(&market, "BTCUSD").await;
    server.control().set(Misbehaviour { silence_after: Some(0), ..Default::default() });
    // First it is shown, while the connection is still there …
    until("silence", || feed.status.state() == FeedState::Silent).await;
    assert_eq!(count(&feed.status.disconnects), 0);
    // … then the connection is given up, and made anew.
    until("the end of it", || count(&feed.status.disconnects) == 1).await;
    assert!(feed.error().contains("not even a ping"), "{}", feed.error());
    server.control().set(Misbehaviour::default());
    feed.reaches(&market, "BTCUSD").await;
    assert_eq!(feed.status.state(), FeedState::Live);
    feed.end().await;
}

#[tokio::test]
async fn garbage_is_counted_and_costs_no_trade() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "faults-3", |_| {}).await;
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "BTCUSD"));
    feed.reaches(&market, "BTCUSD").await;
    server.control().set(Misbehaviour { garbage_every: Some(2), ..Default::default() });
    let t = OPEN_MS + 1_000_000;
    for n in 0..60 {
        market.send(vec![market.tick("BTCUSD", t + n, "1.5", "1")]);
    }
    let sent: BTreeSet<i64> = (t..t + 60).collect();
    let come = |seen: &Seen| seen.updates.iter().map(|u| row(u).0).filter(|ms| *ms >= t).collect::<Vec<_>>();
    until("all trades", || come(&feed.seen()).len() >= 60).await;
    let seen = feed.end().await;
    assert_eq!(come(&seen).into_iter().collect::<BTreeSet<_>>(), sent);
    assert!((29..=31).contains(&seen.bad.len()), "{}", seen.bad.len());
    assert!(seen.bad.iter().all(|(reason, message)| !reason.is_empty() && !message.is_empty()));
}

#[tokio::test]
async fn a_frame_sent_twice_counts_once_and_equal_trades_are_kept() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "faults-4", |_| {}).await;
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "BTCUSD"));
    feed.reaches(&market, "BTCUSD").await;
    server.control().set(Misbehaviour { duplicate_every: Some(1), ..Default::default() });
    let t = OPEN_MS + 1_000_000;
    // Two equal trades in a frame are two trades; the frame that comes again is none.
    let equal = market.tick("BTCUSD", t, "1.5", "1");
    market.send(vec![equal.clone(), equal.clone()]);
    until("the frame", || count(&feed.status.duplicates) == 2).await;
    // A frame of one trade that comes again can't be told from a second trade.
    market.send(vec![market.tick("BTCUSD", t + 1, "1.5", "1")]);
    until("the last", || feed.seen().updates.iter().filter(|u| row(u).0 == t + 1).count() == 2).await;
    let seen = feed.end().await;
    assert_eq!(seen.updates.iter().filter(|u| row(u).0 == t).count(), 2);
}

#[tokio::test]
async fn what_is_out_of_order_or_late_is_passed_on_with_its_own_time() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "faults-5", |_| {}).await;
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "BTCUSD"));
    feed.reaches(&market, "BTCUSD").await;
    let t = OPEN_MS + 1_000_000;
    let come =
        |seen: &Seen| seen.updates.iter().map(|u| row(u).0 - t).filter(|ms| *ms >= 0).collect::<Vec<_>>();
    let reorder = Misbehaviour { reorder_every: Some(2), ..Default::default() };
    server.control().set(reorder);
    for n in 0..41 {
        market.send(vec![market.tick("BTCUSD", t + n, "1.5", "1")]);
    }
    until("most", || come(&feed.seen()).len() >= 40).await;
    let swapped = come(&feed.seen());
    assert!(swapped.windows(2).any(|pair| pair[1] < pair[0]), "{swapped:?}");
    server.control().set(Misbehaviour { late_every: Some(3), late_ms: 500, ..Default::default() });
    for n in 41..81 {
        market.send(vec![market.tick("BTCUSD", t + n, "1.5", "1")]);
    }
    // The market goes on: what was late is due.
    market.send(vec![market.tick("BTCUSD", t + 5_000, "1.5", "1")]);
    let all = |seen: &Seen| come(seen).into_iter().collect::<BTreeSet<_>>();
    until("all", || all(&feed.seen()).range(..81).count() == 81).await;
    let seen = feed.end().await;
    assert!(seen.bad.is_empty(), "{:?}", seen.bad);
}

#[tokio::test]
async fn a_refused_handshake_waits_longer_than_a_failed_one() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "faults-6", |_| {}).await;
    server.control().set(Misbehaviour { refuse_next: 1, fail_next: 2, ..Default::default() });
    let start = Instant::now();
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "AAPL"));
    until("the refusal", || count(&feed.status.rate_limited) == 1).await;
    assert!(feed.error().contains("429"), "{}", feed.error());
    feed.reaches(&market, "AAPL").await;
    // The long pause is 200 ms, less at most half.
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert!(feed.error().contains("HTTP 500"), "{}", feed.error());
    assert_eq!((count(&feed.status.connects), count(&feed.status.disconnects)), (1, 0));
    assert_eq!(server.control().requests.load(std::sync::atomic::Ordering::Relaxed), 4);
    feed.end().await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_tried_again_seldom() {
    let market = Scripted::new(instruments());
    let (server, mut config) = served(&market, "faults-7", |_| {}).await;
    config.key = Secret::new("faults-7-wrong");
    config.timing.refused = Duration::from_secs(3600);
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "AAPL"));
    until("the refusal", || feed.status.state() == FeedState::Refused).await;
    assert!(feed.error().contains("refuses the key (401)"), "{}", feed.error());
    assert_eq!(count(&server.control().requests), 1);
    // The pause of an hour does not keep it from ending.
    feed.end().await;
}

#[tokio::test]
async fn a_key_that_is_used_elsewhere_is_recognised() {
    let market = Scripted::new(instruments());
    let (server, mut config) = served(&market, "faults-8", |_| {}).await;
    config.timing.long = Duration::from_secs(3600);
    config.timing.long_max = Duration::from_secs(3600);
    // The other program: comes back at once whenever it is dropped.
    let address = format!("{}/?token=faults-8", server.ws());
    let other = tokio::spawn(async move {
        loop {
            if let Ok((mut socket, _)) = tokio_tungstenite::connect_async(address.as_str()).await {
                while futures_util::StreamExt::next(&mut socket).await.is_some_and(|m| m.is_ok()) {}
            }
        }
    });
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "AAPL"));
    until("the storm", || feed.status.state() == FeedState::Refused).await;
    assert!(feed.error().contains("in use by another program"), "{}", feed.error());
    assert!(count(&feed.status.connects) >= 3);
    other.abort();
    feed.end().await;
}

#[tokio::test]
async fn a_server_that_comes_back_on_its_port_is_found_again() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "faults-9", |_| {}).await;
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "AAPL"));
    feed.reaches(&market, "AAPL").await;
    let address = server.address();
    server.stop().await;
    until("failures", || feed.error().starts_with("no connection")).await;
    let options = ServerOptions::free(Secret::new("faults-9"));
    let again: Arc<dyn Market> = market.clone();
    let _server = start(again, options, Misbehaviour::default(), address).await.unwrap();
    feed.reaches(&market, "AAPL").await;
    feed.end().await;
}
