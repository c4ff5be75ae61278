//! The client against a server that behaves, and misbehaves.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tradeflow_ingest::vendor::{Control, Market, Misbehaviour, Server};
use tradeflow_ingest::{FeedState, Update, Watchlist};

use crate::kit::*;

fn watches(market: &Scripted) -> Vec<tradeflow_ingest::Watch> {
    market.instruments().iter().map(watch_of).collect()
}

#[tokio::test]
async fn all_that_is_watched_comes_as_it_was_sent() {
    let market = Scripted::new(&["BTCUSD", "ETHUSD"]);
    let server = serve(&market, Misbehaviour::default(), ServerOptions::default()).await;
    let client = client(server.ws(), quick(), watches(&market));
    until("live", || client.state() == FeedState::Live).await;
    (0..500).for_each(|_| market.tick());
    until("all trades", || client.trades("ETHUSD").len() == 500).await;
    assert_eq!(client.trades("BTCUSD"), (1..=500).collect::<Vec<_>>());
    assert_eq!((client.quotes("BTCUSD"), client.quotes("ETHUSD")), (500, 500));
    {
        let seen = client.seen.lock().unwrap();
        assert!(seen.bad.is_empty(), "{:?}", seen.bad);
        assert!(seen.flushes <= 600, "a burst is flushed as one: {}", seen.flushes);
        for (ts_init, update) in &seen.updates {
            match update {
                Update::Trade { ts_event, .. } => assert!(ts_event <= ts_init),
                Update::Quote { ts_event, .. } => assert_eq!(*ts_event, None),
                Update::Last { .. } => panic!("{update:?}"),
            }
        }
    }
    client.end().await;
}

use tradeflow_ingest::binance::server::ServerOptions;

/// However much is there at once: nothing that was read goes missing at the end of a burst.
#[tokio::test]
async fn a_burst_of_any_length_comes_whole() {
    const FRAMES: u64 = 5_000;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    let client = client(address, quick(), vec![watch_of(&coin("BTCUSD"))]);
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let request = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(request.contains("SUBSCRIBE"), "{request}");
    socket.feed(Message::text(r#"{"result":null,"id":1}"#)).await.unwrap();
    for id in 1..=FRAMES {
        let trade = format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1,"s":"BTCUSDT","t":{id},"p":"{id}","q":"1","T":1700000000000,"m":true}}}}"#
        );
        socket.feed(Message::text(trade)).await.unwrap();
    }
    socket.flush().await.unwrap();
    until("all trades", || client.trades("BTCUSD").len() as u64 >= FRAMES).await;
    assert_eq!(client.trades("BTCUSD"), (1..=FRAMES).collect::<Vec<_>>());
    client.end().await;
}

#[tokio::test]
async fn the_watchlist_is_followed_within_the_servers_pace() {
    let names: Vec<String> = (0..20).map(|n| format!("S{n:02}USD")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let market = Scripted::new(&names);
    // The server drops whoever sends more than five messages a second; the client's own gap keeps within.
    let server = serve(&market, Misbehaviour::default(), ServerOptions::default()).await;
    let times = tradeflow_ingest::binance::Times { request_gap: Duration::from_millis(300), ..quick() };
    let times = tradeflow_ingest::binance::Times {
        dead: Duration::from_secs(20),
        silent: Duration::from_secs(10),
        ..times
    };
    let client = client(server.ws(), times, Vec::new());
    let running = market.run();
    let all = watches(&market);
    for upto in 1..=all.len() {
        client.watchlist.send_replace(Watchlist { watches: all[..upto].to_vec() });
        tokio::task::yield_now().await;
    }
    until("all are there", || names.iter().all(|name| client.quotes(name) > 0)).await;
    client.watchlist.send_replace(Watchlist { watches: vec![all[7].clone()] });
    // Until a burst has nothing but the one that is left.
    until("the others end", || {
        let before = client.seen.lock().unwrap().updates.len();
        let seen = client.seen.lock().unwrap();
        let last = seen.updates.iter().rev().take(40);
        before > 40
            && last.into_iter().all(|(_, update)| {
                matches!(update, Update::Trade { symbol, .. } | Update::Quote { symbol, .. } if symbol.as_str() == "S07USD")
            })
    })
    .await;
    client.watchlist.send_replace(Watchlist { watches: all[..2].to_vec() });
    let before = client.trades("S00USD").len();
    until("back again", || client.trades("S00USD").len() > before + 5).await;
    assert_eq!(client.connects(), 1, "{}", client.error());
    drop(running);
    client.end().await;
}

#[tokio::test]
async fn a_dropped_connection_costs_only_what_was_sent_meanwhile() {
    let market = Scripted::new(&["BTCUSD"]);
    let rules = Misbehaviour { drop_every: Some(97), ..Misbehaviour::default() };
    let server = serve(&market, rules, open_server()).await;
    let client = client(server.ws(), quick(), watches(&market));
    let running = market.run();
    until("ten connections", || client.connects() >= 10).await;
    server.control().set(Misbehaviour::default());
    let sent = market.ticked();
    until("the rest", || client.trades("BTCUSD").last().is_some_and(|last| *last > sent + 200)).await;
    drop(running);
    let trades = client.trades("BTCUSD");
    let drops = client.status.disconnects.load(Relaxed) as usize;
    assert!(drops >= 9);
    assert!(gaps(&trades) <= drops, "{} gaps, {drops} drops", gaps(&trades));
    assert_eq!(distinct(&trades), trades, "in order, each once");
    client.end().await;
}

#[tokio::test]
async fn a_silent_connection_is_noticed_and_replaced() {
    let market = Scripted::new(&["BTCUSD"]);
    let rules = Misbehaviour { silence_after: Some(50), ..Misbehaviour::default() };
    let server = serve(&market, rules, open_server()).await;
    let client = client(server.ws(), quick(), watches(&market));
    let running = market.run();
    until("silent", || client.state() == FeedState::Silent).await;
    until("a second connection", || client.connects() >= 2).await;
    assert!(client.error().contains("pings included"), "{}", client.error());
    server.control().set(Misbehaviour::default());
    let before = client.trades("BTCUSD").len();
    until("flowing again", || client.trades("BTCUSD").len() > before + 300).await;
    assert_eq!(client.state(), FeedState::Live);
    drop(running);
    let trades = client.trades("BTCUSD");
    assert!(gaps(&trades) <= client.status.disconnects.load(Relaxed) as usize);
    client.end().await;
}

#[tokio::test]
async fn a_connection_that_answers_pings_but_sends_no_data_is_replaced() {
    let market = Scripted::new(&["BTCUSD"]);
    let server = serve(&market, Misbehaviour::default(), open_server()).await;
    let times = tradeflow_ingest::binance::Times { stale: Duration::from_millis(700), ..quick() };
    let client = client(server.ws(), times, watches(&market));
    until("silent, then replaced", || client.connects() >= 2).await;
    assert!(client.error().contains("no data came"), "{}", client.error());
    client.end().await;
}

#[tokio::test]
async fn garbage_duplicates_disorder_and_lateness_lose_nothing() {
    let market = Scripted::new(&["BTCUSD"]);
    let rules = Misbehaviour {
        garbage_every: Some(7),
        duplicate_every: Some(5),
        reorder_every: Some(11),
        late_every: Some(13),
        late_ms: 20,
        ..Misbehaviour::default()
    };
    let server = serve(&market, rules, open_server()).await;
    let client = client(server.ws(), quick(), watches(&market));
    until("live", || client.state() == FeedState::Live).await;
    let running = market.run();
    until("enough", || client.trades("BTCUSD").len() > 1_000).await;
    drop(running);
    // One may be held back by the server, to change places with a next that does not come.
    let sent = market.ticked();
    until("the late ones too", || distinct(&client.trades("BTCUSD")).len() as u64 >= sent - 1).await;
    let trades = client.trades("BTCUSD");
    assert!(trades.len() > distinct(&trades).len(), "some came twice");
    assert!(trades.windows(2).any(|pair| pair[1] < pair[0]), "some came out of order");
    {
        let seen = client.seen.lock().unwrap();
        assert!(seen.bad.len() > 100, "{}", seen.bad.len());
        assert!(seen.bad.iter().all(|(reason, message)| !reason.is_empty() && message.len() <= 300));
    }
    assert_eq!(client.connects(), 1);
    client.end().await;
}

#[tokio::test]
async fn a_refusal_is_shown_and_waited_out() {
    let market = Scripted::new(&["BTCUSD"]);
    let rules = Misbehaviour { refuse_next: 1, fail_next: 2, ..Misbehaviour::default() };
    let server = serve(&market, rules, open_server()).await;
    let started = std::time::Instant::now();
    let client = client(server.ws(), quick(), watches(&market));
    until("refused", || client.state() == FeedState::Refused).await;
    assert!(client.error().contains("429"), "{}", client.error());
    until("live at last", || client.state() == FeedState::Live).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After: 1 is kept");
    assert_eq!(client.status.rate_limited.load(Relaxed), 1);
    assert!(client.error().contains("HTTP 500"), "{}", client.error());
    assert_eq!((client.connects(), server.control().requests.load(Relaxed)), (1, 4));
    client.end().await;
}

#[tokio::test]
async fn a_ban_and_a_firewall_are_told_apart() {
    for (status, told, limited) in
        [(StatusCode::IM_A_TEAPOT, "banned", 1), (StatusCode::FORBIDDEN, "firewall", 0)]
    {
        let control = Control::new(Misbehaviour::default());
        let router = axum::Router::new().route("/stream", get(move || async move { status }));
        let router = control.guard(router, |_| StatusCode::OK.into_response());
        let server = Server::start(([127, 0, 0, 1], 0).into(), &control, router).await.unwrap();
        let times = tradeflow_ingest::binance::Times { limited: Duration::from_secs(3_600), ..quick() };
        let client = client(server.ws(), times, vec![watch_of(&coin("BTCUSD"))]);
        until("refused", || client.state() == FeedState::Refused).await;
        assert!(client.error().contains(told), "{}", client.error());
        assert_eq!(client.status.rate_limited.load(Relaxed), limited);
        assert_eq!(control.requests.load(Relaxed), 1);
        client.end().await;
    }
}

use axum::response::IntoResponse;

#[tokio::test]
async fn a_server_that_comes_back_on_its_port_is_found() {
    let market = Scripted::new(&["BTCUSD"]);
    let server = serve(&market, Misbehaviour::default(), open_server()).await;
    let (address, url) = (server.address(), server.ws());
    let client = client(url, quick(), watches(&market));
    let running = market.run();
    until("data", || client.trades("BTCUSD").len() > 50).await;
    server.stop().await;
    until("noticed", || client.state() == FeedState::Connecting && !client.error().is_empty()).await;
    let server = serve_at(&market, Misbehaviour::default(), open_server(), address).await;
    let before = client.trades("BTCUSD").len();
    until("data again", || client.trades("BTCUSD").len() > before + 200).await;
    drop(running);
    let trades = client.trades("BTCUSD");
    assert_eq!(gaps(&trades), 1, "what was sent while there was no server");
    assert_eq!((client.connects(), distinct(&trades)), (2, trades));
    client.end().await;
    server.stop().await;
}

#[tokio::test]
async fn the_step_to_a_new_connection_loses_nothing() {
    let market = Scripted::new(&["BTCUSD", "ETHUSD"]);
    let server = serve(&market, Misbehaviour::default(), open_server()).await;
    let times = tradeflow_ingest::binance::Times { lifetime: Duration::from_millis(60), ..quick() };
    let client = client(server.ws(), times, watches(&market));
    until("live", || client.state() == FeedState::Live).await;
    let first = market.ticked() + 1;
    let running = market.run();
    until("ten steps", || client.connects() > 10).await;
    drop(running);
    let sent = market.ticked();
    for name in ["BTCUSD", "ETHUSD"] {
        until("the last", || client.trades(name).contains(&sent)).await;
        assert_eq!(distinct(&client.trades(name)), (first..=sent).collect::<Vec<_>>());
    }
    client.end().await;
}

#[tokio::test]
async fn a_server_that_says_goodbye_is_left_without_a_loss() {
    let market = Scripted::new(&["BTCUSD"]);
    let server = serve(&market, Misbehaviour::default(), open_server()).await;
    let client = client(server.ws(), quick(), watches(&market));
    until("live", || client.state() == FeedState::Live).await;
    let running = market.run();
    until("data", || client.trades("BTCUSD").len() > 50).await;
    server.control().say_goodbye();
    until("a second connection", || client.connects() == 2).await;
    let before = client.trades("BTCUSD").len();
    until("data again", || client.trades("BTCUSD").len() > before + 300).await;
    drop(running);
    let sent = market.ticked();
    until("the last", || client.trades("BTCUSD").contains(&sent)).await;
    assert_eq!(distinct(&client.trades("BTCUSD")), (1..=sent).collect::<Vec<_>>());
    assert_eq!(client.connects(), 2);
    client.end().await;
}

#[tokio::test]
async fn a_stream_that_the_vendor_does_not_take_costs_no_other() {
    let market = Scripted::new(&["BTCUSD", "ETHUSD", "LTCUSD"]);
    let server = serve(&market, Misbehaviour::default(), open_server()).await;
    let mut all = watches(&market);
    all[1].vendor_symbol = "ETH/USD".into();
    let client = client(server.ws(), quick(), all);
    let running = market.run();
    until("the others", || client.quotes("BTCUSD") > 10 && client.quotes("LTCUSD") > 10).await;
    until("told", || client.status.unserved.load(Relaxed) == 1).await;
    assert!(client.error().contains("eth/usd@"), "{}", client.error());
    assert_eq!((client.connects(), client.quotes("ETHUSD")), (1, 0));
    drop(running);
    client.end().await;
}

#[tokio::test]
async fn pings_are_answered() {
    let market = Scripted::new(&["BTCUSD"]);
    let ms = Duration::from_millis;
    let options = ServerOptions { ping_every: ms(20), pong_within: ms(200), ..open_server() };
    let server = serve(&market, Misbehaviour::default(), options).await;
    let client = client(server.ws(), quick(), watches(&market));
    until("live", || client.state() == FeedState::Live).await;
    let started = std::time::Instant::now();
    until("five times the server's patience", || started.elapsed() > ms(1_000)).await;
    assert_eq!(client.connects(), 1, "{}", client.error());
    market.tick();
    until("data", || client.trades("BTCUSD").len() == 1).await;
    client.end().await;
}
