//! Quotes by calls: at the start, and where the socket does not serve.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tradeflow_ingest::finnhub::{FinnhubQuotes, FinnhubSocket, Polling, Rest};
use tradeflow_ingest::vendor::Misbehaviour;
use tradeflow_ingest::{FeedState, Secret, Update};

use crate::support::*;

fn often() -> Polling {
    Polling { every: Duration::from_millis(20), ..Polling::default() }
}

fn many(config: &mut tradeflow_ingest::finnhub::FinnhubConfig) {
    (config.calls.per_minute, config.calls.per_second) = (1_000_000, 1_000_000);
}

#[tokio::test]
async fn all_are_asked_for_once_and_then_those_that_are_not_served() {
    let market = Scripted::new(instruments());
    let (_server, mut config) = served(&market, "quotes-1", |options| {
        (options.per_minute, options.per_second) = (1_000_000, 1_000_000);
    })
    .await;
    many(&mut config);
    for symbol in ["AAPL", "MSFT", "SPY"] {
        market.tick(symbol, OPEN_MS, "100.5", "10");
    }
    let serves = |names: &str| Arc::new(names.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>());
    let (socket, served) = watch::channel(serves("AAPL MSFT"));
    let quotes = FinnhubQuotes::new(Rest::new(&config, 1).unwrap(), Some(served), often());
    let feed = Running::start(quotes, watchlist(&instruments(), "AAPL MSFT SPY"));
    until("many of SPY", || feed.seen().of("SPY").len() >= 10).await;
    let seen = feed.seen();
    assert_eq!((seen.of("AAPL").len(), seen.of("MSFT").len()), (1, 1));
    let (t, last) = (OPEN_MS, "last".to_owned());
    assert_eq!(row(&seen.of("SPY")[0]), (t, "100.5".into(), last));
    assert!(seen.updates.iter().all(|update| matches!(update, Update::Last { .. })));
    assert_eq!(feed.status.state(), FeedState::Live);
    // The socket loses MSFT, and gets SPY.
    socket.send_replace(serves("AAPL SPY"));
    until("many of MSFT", || feed.seen().of("MSFT").len() >= 10).await;
    let of_spy = feed.seen().of("SPY").len();
    until("more of MSFT", || feed.seen().of("MSFT").len() >= 20).await;
    assert!(feed.seen().of("SPY").len() <= of_spy + 1);
    assert_eq!(feed.seen().of("AAPL").len(), 1);
    // The socket is gone for good: everything is asked for.
    socket.send_replace(serves(""));
    drop(socket);
    until("AAPL again", || feed.seen().of("AAPL").len() >= 3).await;
    // And what is wanted changes.
    feed.watchlist.send(watchlist(&instruments(), "SPY")).unwrap();
    let before = feed.seen().of("SPY").len();
    until("more of SPY", || feed.seen().of("SPY").len() >= before + 10).await;
    feed.end().await;
}

#[tokio::test]
async fn they_take_over_from_the_socket_and_hand_back() {
    let market = Scripted::new(instruments());
    let (server, mut config) = served(&market, "quotes-2", |options| {
        (options.per_minute, options.per_second) = (1_000_000, 1_000_000);
    })
    .await;
    many(&mut config);
    market.tick("AAPL", OPEN_MS, "100.5", "10");
    let socket = FinnhubSocket::new(config.clone()).unwrap();
    let quotes = FinnhubQuotes::new(Rest::new(&config, 1).unwrap(), Some(socket.served()), often());
    let list = watchlist(&instruments(), "AAPL");
    let (socket, quotes) = (Running::start(socket, list.clone()), Running::start(quotes, list));
    socket.reaches(&market, "AAPL").await;
    until("the first quote", || !quotes.seen().updates.is_empty()).await;
    let at_first = quotes.seen().updates.len();
    server.control().set(Misbehaviour { drop_every: Some(1), ..Default::default() });
    until("quotes while the socket is dropped", || {
        market.trade("AAPL");
        quotes.seen().updates.len() >= at_first + 3
    })
    .await;
    server.control().set(Misbehaviour::default());
    socket.reaches(&market, "AAPL").await;
    socket.end().await;
    quotes.end().await;
}

#[tokio::test]
async fn an_unknown_symbol_is_counted_and_left_alone() {
    let market = Scripted::new(instruments());
    let (server, mut config) = served(&market, "quotes-3", |_| {}).await;
    many(&mut config);
    market.tick("AAPL", OPEN_MS, "100.5", "10");
    let polling = Polling { every: Duration::from_secs(3600), ..Polling::default() };
    let feed = Running::start(
        FinnhubQuotes::new(Rest::new(&config, 1).unwrap(), None, polling),
        watchlist(&instruments(), "MSFT AAPL"),
    );
    until("both", || count(&server.control().requests) == 2 && !feed.seen().updates.is_empty()).await;
    until("the count", || count(&feed.status.unserved) == 1).await;
    assert!(feed.error().contains("no quote of \"MSFT\""), "{}", feed.error());
    feed.watchlist.send(watchlist(&instruments(), "AAPL")).unwrap();
    until("the new count", || count(&feed.status.unserved) == 0).await;
    feed.end().await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_insisted_upon() {
    let market = Scripted::new(instruments());
    let (server, mut config) = served(&market, "quotes-4", |_| {}).await;
    config.key = Secret::new("quotes-4-wrong");
    let feed = Running::start(
        FinnhubQuotes::new(Rest::new(&config, 1).unwrap(), None, often()),
        watchlist(&instruments(), "AAPL MSFT SPY"),
    );
    until("the refusal", || feed.status.state() == FeedState::Refused).await;
    assert!(feed.error().contains("refuses the key"), "{}", feed.error());
    let status = feed.status.clone();
    feed.end().await;
    assert_eq!(status.state(), FeedState::Off);
    assert_eq!(count(&server.control().requests), 1);
}

#[tokio::test]
async fn nonsense_is_told_to_the_sink_and_errors_do_not_end_it() {
    let market = Scripted::new(instruments());
    let (server, mut config) = served(&market, "quotes-5", |_| {}).await;
    many(&mut config);
    config.calls.retry.attempts = 1;
    market.tick("AAPL", OPEN_MS, "100.5", "10");
    server.control().set(Misbehaviour { refuse_next: 2, fail_next: 1, ..Default::default() });
    let feed = Running::start(
        FinnhubQuotes::new(Rest::new(&config, 1).unwrap(), None, often()),
        watchlist(&instruments(), "AAPL"),
    );
    until("a quote", || !feed.seen().updates.is_empty()).await;
    assert_eq!(count(&feed.status.rate_limited), 2);
    feed.end().await;
}
