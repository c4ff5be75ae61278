//! What is subscribed, while it changes and where it is limited.

use tradeflow_ingest::finnhub::FinnhubSocket;
use tradeflow_model::AssetClass;

use crate::support::*;

fn names(served: &tradeflow_ingest::finnhub::Served) -> String {
    served.borrow().iter().cloned().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_watchlist_changes_while_it_runs() {
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, "subs-1", |_| {}).await;
    let all = instruments();
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&all, "AAPL EURUSD"));
    feed.reaches(&market, "AAPL").await;
    feed.watchlist.send(watchlist(&all, "EURUSD MSFT")).unwrap();
    feed.reaches(&market, "MSFT").await;
    let before = feed.seen().of("AAPL").len();
    // AAPL first: were it still subscribed, it would come before the others.
    let t = OPEN_MS + 9_000_000;
    market.send(["AAPL", "MSFT", "EURUSD"].map(|symbol| market.tick(symbol, t, "5", "100")).to_vec());
    until("the others", || feed.seen().updates.iter().filter(|u| row(u).0 == t).count() == 2).await;
    feed.watchlist.send(watchlist(&all, "EURUSD MSFT AAPL")).unwrap();
    feed.reaches(&market, "AAPL").await;
    assert_eq!(count(&server.control().sockets), 1, "all over one connection");
    let seen = feed.end().await;
    assert!(seen.of("AAPL")[before..].iter().all(|update| row(update).0 != t));
}

#[tokio::test]
async fn the_limit_of_the_plan_is_learnt_and_the_least_important_given_up() {
    let names_of = |n: usize| format!("S{n:02}");
    let all: Vec<_> = (0..60).map(|n| instrument(&names_of(n), AssetClass::Equity)).collect();
    let symbols = |range: std::ops::Range<usize>| range.map(names_of).collect::<Vec<_>>().join(" ");
    let market = Scripted::new(all.clone());
    let (_server, mut config) = served(&market, "subs-2", |_| {}).await;
    config.symbols_max = 58; // as if we thought our plan had more
    let socket = FinnhubSocket::new(config).unwrap();
    let served = socket.served();
    let feed = Running::start(socket, watchlist(&all, &symbols(0..55)));
    until("the limit", || count(&feed.status.unserved) == 5).await;
    assert_eq!(names(&served), symbols(0..50));
    assert!(feed.error().contains("serves 50 symbols"), "{}", feed.error());
    feed.reaches(&market, "S49").await;
    // A more important one takes the place of the least important.
    let more = format!("S59 {}", symbols(0..55));
    feed.watchlist.send(watchlist(&all, &more)).unwrap();
    feed.reaches(&market, "S59").await;
    assert_eq!(names(&served), format!("{} S59", symbols(0..49)));
    assert_eq!(count(&feed.status.unserved), 6);
    // Fewer than the limit: all are served.
    feed.watchlist.send(watchlist(&all, &symbols(50..55))).unwrap();
    feed.reaches(&market, "S54").await;
    assert_eq!((count(&feed.status.unserved), names(&served)), (0, symbols(50..55)));
    assert_eq!(count(&feed.status.connects), 1);
    feed.end().await;
}

#[tokio::test]
async fn a_refused_important_symbol_gets_its_place() {
    let market = Scripted::new(instruments());
    let (_server, config) = served(&market, "subs-3", |options| options.symbols_max = 2).await;
    let all = instruments();
    let socket = FinnhubSocket::new(config).unwrap();
    let served = socket.served();
    let feed = Running::start(socket, watchlist(&all, "AAPL MSFT"));
    feed.reaches(&market, "MSFT").await;
    // The server refuses SPY, which came last but is the most important.
    feed.watchlist.send(watchlist(&all, "SPY AAPL MSFT")).unwrap();
    feed.reaches(&market, "SPY").await;
    assert_eq!((names(&served).as_str(), count(&feed.status.unserved)), ("AAPL SPY", 1));
    feed.end().await;
}

#[tokio::test]
async fn our_own_limit_is_kept_without_asking() {
    let market = Scripted::new(instruments());
    let (_server, mut config) = served(&market, "subs-4", |_| {}).await;
    config.symbols_max = 2;
    let socket = FinnhubSocket::new(config).unwrap();
    let served = socket.served();
    let feed = Running::start(socket, watchlist(&instruments(), "AAPL MSFT SPY"));
    feed.reaches(&market, "MSFT").await;
    assert_eq!((names(&served).as_str(), count(&feed.status.unserved)), ("AAPL MSFT", 1));
    assert_eq!(feed.error(), "");
    feed.end().await;
}

#[tokio::test]
async fn an_unknown_symbol_is_told_and_makes_place() {
    let market = Scripted::new(instruments());
    let (_server, mut config) = served(&market, "subs-5", |_| {}).await;
    config.symbols_max = 2;
    let mut list = watchlist(&instruments(), "AAPL MSFT SPY");
    list.watches[1].vendor_symbol = "MICROSOFT".into();
    let socket = FinnhubSocket::new(config).unwrap();
    let served = socket.served();
    let feed = Running::start(socket, list);
    feed.reaches(&market, "SPY").await;
    assert_eq!((names(&served).as_str(), count(&feed.status.unserved)), ("AAPL SPY", 1));
    assert!(feed.error().contains("does not know the symbol \"MICROSOFT\""), "{}", feed.error());
    feed.end().await;
}
