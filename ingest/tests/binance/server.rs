//! The server against clients that break its rules.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tradeflow_ingest::binance::server::ServerOptions;
use tradeflow_ingest::vendor::Misbehaviour;

use crate::kit::*;

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn next(socket: &mut Socket) -> Message {
    let next = tokio::time::timeout(Duration::from_secs(120), socket.next()).await.expect("something comes");
    next.expect("it is open").unwrap()
}

async fn next_json(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = next(socket).await {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

async fn ask(socket: &mut Socket, request: Value) -> Value {
    socket.send(Message::Text(request.to_string().into())).await.unwrap();
    next_json(socket).await
}

#[tokio::test]
async fn requests_are_answered_as_the_vendor_does() {
    let market = Scripted::new(&["BTCUSD"]);
    let server = serve(&market, Misbehaviour::default(), open_server()).await;
    let (mut socket, _) = connect_async(format!("{}/ws/btcusdt@trade", server.ws())).await.unwrap();
    let subscribe =
        json!({ "method": "SUBSCRIBE", "params": ["btcusdt@bookTicker", "nosuch@trade"], "id": 1 });
    assert_eq!(ask(&mut socket, subscribe).await, json!({ "result": null, "id": 1 }));
    let list = json!({ "method": "LIST_SUBSCRIPTIONS", "id": "x" });
    let all = json!({ "result": ["btcusdt@bookTicker", "btcusdt@trade", "nosuch@trade"], "id": "x" });
    assert_eq!(ask(&mut socket, list).await, all);
    let wrong = json!({ "method": "SUBSCRIBE", "params": ["btcusdt@aggTrade", "a b"], "id": 2 });
    let refused = ask(&mut socket, wrong).await;
    assert_eq!((&refused["code"], &refused["id"]), (&json!(2), &json!(2)));
    assert_eq!(ask(&mut socket, json!({ "method": "DANCE", "id": 3 })).await["code"], 2);
    market.tick();
    let quote = next_json(&mut socket).await;
    assert_eq!((&quote["b"], &quote["s"], quote.get("e")), (&json!("1"), &json!("BTCUSDT"), None));
    let trade = next_json(&mut socket).await;
    assert_eq!((&trade["e"], &trade["t"], &trade["m"]), (&json!("trade"), &json!(1), &json!(false)));
    let unsubscribe = json!({ "method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": null });
    assert_eq!(ask(&mut socket, unsubscribe).await, json!({ "result": null, "id": null }));
    let combined = json!({ "method": "SET_PROPERTY", "params": ["combined", true], "id": 4 });
    ask(&mut socket, combined).await;
    market.tick();
    let trade = next_json(&mut socket).await;
    assert_eq!((&trade["stream"], &trade["data"]["t"]), (&json!("btcusdt@trade"), &json!(2)));
}

#[tokio::test]
async fn whoever_talks_too_much_is_closed_out() {
    let market = Scripted::new(&["BTCUSD"]);
    let server = serve(&market, Misbehaviour::default(), ServerOptions::default()).await;
    let (mut socket, _) = connect_async(format!("{}/ws", server.ws())).await.unwrap();
    for id in 0..6 {
        let list = json!({ "method": "LIST_SUBSCRIPTIONS", "id": id }).to_string();
        socket.send(Message::Text(list.into())).await.unwrap();
    }
    let frame = loop {
        match next(&mut socket).await {
            Message::Close(frame) => break frame.unwrap(),
            _ => continue,
        }
    };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "Too many requests"));
}

#[tokio::test]
async fn too_many_streams_are_closed_out() {
    let market = Scripted::new(&["BTCUSD"]);
    let server = serve(&market, Misbehaviour::default(), open_server()).await;
    let streams: Vec<_> = (0..1_025).map(|n| format!("s{n}@trade")).collect();
    let (mut socket, _) = connect_async(format!("{}/ws", server.ws())).await.unwrap();
    ask(&mut socket, json!({ "method": "SUBSCRIBE", "params": streams[..1_024], "id": 1 })).await;
    ask(&mut socket, json!({ "method": "SUBSCRIBE", "params": streams[1_024..], "id": 2 })).await;
    assert!(matches!(next(&mut socket).await, Message::Close(Some(_))));
}

/// A client that reads nothing and answers nothing: spoken by hand, since libraries answer pings.
#[tokio::test]
async fn whoever_does_not_answer_pings_is_dropped() {
    let market = Scripted::new(&["BTCUSD"]);
    let ms = Duration::from_millis;
    let options = ServerOptions { ping_every: ms(20), pong_within: ms(100), ..open_server() };
    let server = serve(&market, Misbehaviour::default(), options).await;
    let mut raw = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    raw.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(Duration::from_secs(120), raw.read_to_end(&mut all))
        .await
        .expect("it is dropped")
        .unwrap();
    let pings = all.iter().filter(|byte| **byte == 0x89).count();
    assert!((1..=20).contains(&pings), "{pings} pings");
}

#[tokio::test]
async fn connections_are_limited() {
    let market = Scripted::new(&["BTCUSD"]);
    let options = ServerOptions { connections: 3, ..ServerOptions::default() };
    let server = serve(&market, Misbehaviour::default(), options).await;
    let url = format!("{}/ws", server.ws());
    for _ in 0..3 {
        connect_async(&url).await.unwrap();
    }
    let Err(tokio_tungstenite::tungstenite::Error::Http(response)) = connect_async(&url).await else {
        panic!("a fourth connection");
    };
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn the_switches_are_within_reach() {
    let market = Scripted::new(&["BTCUSD"]);
    let server = serve(&market, Misbehaviour::default(), open_server()).await;
    let control = format!("{}/_control", server.http());
    let http = reqwest::Client::new();
    let rules = json!({ "refuse_next": 1, "late_ms": 5 });
    let body = |body: &Value| reqwest::Body::from(body.to_string());
    let put = http
        .put(&control)
        .header("content-type", "application/json")
        .body(body(&rules))
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 200);
    let now: Misbehaviour = http.get(&control).send().await.unwrap().json().await.unwrap();
    assert_eq!(now, Misbehaviour { refuse_next: 1, late_ms: 5, ..Misbehaviour::default() });
    let ping = format!("{}/api/v3/ping", server.http());
    assert_eq!(http.get(&ping).send().await.unwrap().status(), 429);
    assert_eq!(http.get(&ping).send().await.unwrap().status(), 200);
    let wrong = http.put(&control).header("content-type", "application/json").body("{\"nonsense\":1}").send();
    assert_eq!(wrong.await.unwrap().status(), 422);
}
