//! The key shows nowhere: not in the log at its most talkative, not in errors, not in what the sink is told.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::SinkExt;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tradeflow_ingest::finnhub::{FinnhubQuotes, FinnhubSocket, Polling, Rest};
use tradeflow_ingest::vendor::Misbehaviour;

use crate::support::*;

/// A key with characters that an address has to encode.
const KEY: &str = "s3kret+key/of&this=test";
const ENCODED: &str = "s3kret%2Bkey%2Fof%26this%3Dtest";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether it holds the key, or enough of it to be of use.
fn shows(text: &str) -> bool {
    text.contains(KEY) || text.contains(ENCODED) || text.contains("s3kret")
}

// One thread, so that the subscriber of this test sees everything that it does.
#[tokio::test(flavor = "current_thread")]
async fn the_key_shows_nowhere() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer({
            let log = log.clone();
            move || log.clone()
        })
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut told: Vec<String> = Vec::new();
    let mut keep = |feed: &Running| {
        told.push(feed.error());
        told.extend(feed.seen().bad.iter().map(|(reason, message)| format!("{reason} {message}")));
    };

    // A server that echoes the key in every way that it can.
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { continue };
            for text in [
                format!(r#"{{"msg":"Your key {KEY} is fine","type":"error"}}"#),
                format!(r#"{{"msg":"Invalid symbol {KEY}","type":"error"}}"#),
                format!("<html>?token={ENCODED}</html>"),
                format!(r#"{{"type":"{KEY}"}}"#),
                format!(r#"{{"type":"trade","data":[{{"p":"{KEY}"}}]}}"#),
            ] {
                let _ = socket.send(Message::text(text)).await;
            }
            let _ = socket.send(Message::binary(KEY.as_bytes().to_vec())).await;
            let _ = socket.close(None).await;
        }
    });
    let feed =
        Running::start(FinnhubSocket::new(config(KEY, &address)).unwrap(), watchlist(&instruments(), "AAPL"));
    until("some echoes", || {
        keep(&feed);
        feed.seen().bad.len() >= 8
    })
    .await;
    feed.end().await;
    task.abort();

    // The local server: with the key, without, failing and refusing; then none.
    let market = Scripted::new(instruments());
    let (server, config) = served(&market, KEY, |_| {}).await;
    let mut wrong = config.clone();
    wrong.key = tradeflow_ingest::Secret::new(format!("{KEY}-wrong"));
    for config in [&config, &wrong] {
        server.control().set(Misbehaviour { refuse_next: 1, fail_next: 2, ..Default::default() });
        let socket = FinnhubSocket::new(config.clone()).unwrap();
        told.push(FinnhubSocket::new(config.clone()).unwrap_err().to_string());
        told.push(format!("{socket:?} {config:?}"));
        let rest = Rest::new(config, 1).unwrap();
        told.push(format!("{rest:?}"));
        let quotes = FinnhubQuotes::new(
            rest,
            None,
            Polling { every: Duration::from_millis(10), ..Polling::default() },
        );
        let list = watchlist(&instruments(), "AAPL");
        let (socket, quotes) = (Running::start(socket, list.clone()), Running::start(quotes, list));
        until("errors", || {
            told.extend([socket.error(), quotes.error()]);
            !socket.error().is_empty() && !quotes.error().is_empty()
        })
        .await;
        socket.end().await;
        quotes.end().await;
    }
    server.stop().await;
    let mut gone = config.clone();
    gone.calls.retry.attempts = 1;
    told.push(Rest::new(&gone, 1).unwrap().quote("AAPL").await.unwrap_err().to_string());
    let socket = Running::start(FinnhubSocket::new(gone).unwrap(), watchlist(&instruments(), "AAPL"));
    until("no connection", || !socket.error().is_empty()).await;
    told.push(socket.error());
    socket.end().await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("Finnhub says"), "the log is there:\n{log}");
    for line in log.lines().chain(told.iter().map(String::as_str)) {
        assert!(!shows(line), "the key shows: {line}");
    }
    assert!(told.iter().any(|text| text.contains("***")));
}
