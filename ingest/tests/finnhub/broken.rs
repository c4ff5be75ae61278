//! Servers that do what the local one does not: each is a few lines over a socket of this test.

use std::future::Future;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tradeflow_ingest::finnhub::FinnhubSocket;

use crate::support::*;

/// Listens, and runs this for each connection after the handshake. Ends with the test.
async fn server<F, R>(serve: F) -> (String, JoinHandle<()>)
where
    F: Fn(u32, WebSocketStream<TcpStream>) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(socket) = tokio_tungstenite::accept_async(stream).await {
                tokio::spawn(serve(number, socket));
            }
        }
    });
    (address, task)
}

async fn say(socket: &mut WebSocketStream<TcpStream>, text: &str) {
    let _ = socket.send(Message::text(text)).await;
}

/// Reads until the client goes.
async fn listen(socket: &mut WebSocketStream<TcpStream>) {
    while let Some(Ok(_)) = socket.next().await {}
}

const TRADE: &str =
    r#"{"data":[{"c":null,"p":1.5,"s":"BINANCE:BTCUSDT","t":1767710400000,"v":2}],"type":"trade"}"#;

#[tokio::test]
async fn pings_of_the_protocol_are_answered() {
    let (address, task) = server(async |_, mut socket| {
        let _ = socket.send(Message::Ping("are you there".into())).await;
        while let Some(Ok(message)) = socket.next().await {
            if message == Message::Pong("are you there".into()) {
                say(&mut socket, TRADE).await;
            }
        }
    })
    .await;
    let feed = Running::start(
        FinnhubSocket::new(config("broken-1", &address)).unwrap(),
        watchlist(&instruments(), "BTCUSD"),
    );
    until("the trade after the pong", || !feed.seen().updates.is_empty()).await;
    feed.end().await;
    task.abort();
}

#[tokio::test]
async fn one_symbol_a_frame() {
    let (sender, mut frames) = tokio::sync::mpsc::channel(16);
    let (address, task) = server(move |_, mut socket| {
        let sender = sender.clone();
        async move {
            while let Some(Ok(Message::Text(text))) = socket.next().await {
                let _ = sender.send(text.to_string()).await;
            }
        }
    })
    .await;
    let list = watchlist(&instruments(), "AAPL BTCUSD");
    let feed = Running::start(FinnhubSocket::new(config("broken-2", &address)).unwrap(), list.clone());
    assert_eq!(frames.recv().await.unwrap(), r#"{"symbol":"AAPL","type":"subscribe"}"#);
    assert_eq!(frames.recv().await.unwrap(), r#"{"symbol":"BINANCE:BTCUSDT","type":"subscribe"}"#);
    feed.watchlist.send(tradeflow_ingest::Watchlist { watches: list.watches[1..].to_vec() }).unwrap();
    assert_eq!(frames.recv().await.unwrap(), r#"{"symbol":"AAPL","type":"unsubscribe"}"#);
    feed.end().await;
    task.abort();
}

#[tokio::test]
async fn a_limit_told_on_the_socket_is_a_long_pause() {
    let (address, task) = server(async |number, mut socket| {
        if number == 0 {
            let text = "API limit reached. Please try again later. Remaining Limit: 0";
            say(&mut socket, &format!(r#"{{"msg":"{text}","type":"error"}}"#)).await;
        } else {
            say(&mut socket, TRADE).await;
        }
        listen(&mut socket).await;
    })
    .await;
    let start = std::time::Instant::now();
    let feed = Running::start(
        FinnhubSocket::new(config("broken-3", &address)).unwrap(),
        watchlist(&instruments(), "BTCUSD"),
    );
    until("the trade", || !feed.seen().updates.is_empty()).await;
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(count(&feed.status.rate_limited), 1);
    feed.end().await;
    task.abort();
}

#[tokio::test]
async fn other_complaints_binary_frames_and_half_bad_frames_are_taken() {
    let (address, task) = server(async |_, mut socket| {
        say(&mut socket, r#"{"msg":"A new complaint","type":"error"}"#).await;
        let _ = socket.send(Message::binary(vec![0, 159, 146, 150])).await;
        say(&mut socket, &TRADE.replace("\"data\":[", "\"data\":[{\"p\":null},")).await;
        listen(&mut socket).await;
    })
    .await;
    let feed = Running::start(
        FinnhubSocket::new(config("broken-4", &address)).unwrap(),
        watchlist(&instruments(), "BTCUSD"),
    );
    until("the trade", || !feed.seen().updates.is_empty()).await;
    assert_eq!(feed.error(), "Finnhub says: A new complaint");
    let seen = feed.end().await;
    assert_eq!((seen.updates.len(), seen.bad.len()), (1, 2), "{:?}", seen.bad);
    task.abort();
}

#[tokio::test]
async fn a_close_with_a_reason_is_told() {
    let (address, task) = server(async |number, mut socket| {
        if number == 0 {
            let frame = CloseFrame { code: CloseCode::Away, reason: "maintenance".into() };
            let _ = socket.close(Some(frame)).await;
        } else {
            say(&mut socket, TRADE).await;
        }
        listen(&mut socket).await;
    })
    .await;
    let feed = Running::start(
        FinnhubSocket::new(config("broken-5", &address)).unwrap(),
        watchlist(&instruments(), "BTCUSD"),
    );
    until("the trade", || !feed.seen().updates.is_empty()).await;
    assert!(feed.error().contains("maintenance"), "{}", feed.error());
    feed.end().await;
    task.abort();
}

#[tokio::test]
async fn a_handshake_without_an_answer_ends_in_time() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let mut config = config("broken-6", &format!("http://{}", listener.local_addr().unwrap()));
    config.timing.connect = Duration::from_millis(100);
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "BTCUSD"));
    until("the time-out", || feed.error() == "no connection: no answer in time").await;
    feed.end().await;
}

#[tokio::test]
async fn a_frame_larger_than_any_ends_the_connection() {
    let (address, task) = server(async |number, mut socket| {
        if number == 0 {
            say(&mut socket, &"x".repeat(3 << 20)).await;
        } else {
            say(&mut socket, TRADE).await;
        }
        listen(&mut socket).await;
    })
    .await;
    let feed = Running::start(
        FinnhubSocket::new(config("broken-7", &address)).unwrap(),
        watchlist(&instruments(), "BTCUSD"),
    );
    until("the trade", || !feed.seen().updates.is_empty()).await;
    assert!(feed.error().contains("the connection ended"), "{}", feed.error());
    feed.end().await;
    task.abort();
}

/// TLS is set up for real: it talks to a server that answers nonsense, and says so.
#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_failure_and_no_panic() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let mut config = config("broken-8", &format!("http://{}", listener.local_addr().unwrap()));
    config.socket.set_scheme("wss").unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 64];
            let _ = stream.read(&mut hello).await;
            assert_eq!(hello[0], 22, "a TLS handshake");
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let feed = Running::start(FinnhubSocket::new(config).unwrap(), watchlist(&instruments(), "BTCUSD"));
    until("the failure", || feed.error().starts_with("no connection")).await;
    feed.end().await;
    assert!(!task.is_finished());
    task.abort();
}
