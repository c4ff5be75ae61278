//! One connection: subscribing, messages in, time-outs, and the step to the next one before its life is over.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::client::{BinanceOptions, Client, Times};
use super::wire::{self, Frame};
use crate::feed::{FeedState, Update};

/// Messages that are read before what was gathered goes out.
const BURST_MAX: usize = 1_024;
/// The largest message that is read. A larger one is none of these streams'.
const MESSAGE_MAX: usize = 1 << 20;
/// Read from the socket at a time, and zeroed before: enough for a hundred messages, and less than what the allocator
/// gives back to the system each time.
const READ_BYTES: usize = 16 << 10;
/// So much of a bad message is told.
const TOLD_MAX: usize = 300;

pub(super) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// The vendor refuses us: the HTTP status (403 firewall, 429 too many, 418 banned), and when to come again where
    /// it says so.
    Refused { status: u16, retry_after: Option<Duration> },
    /// Anything else.
    Failed(String),
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// We were told to stop.
    Stopped,
    /// For this reason.
    Lost(String),
}

/// Connects.
pub(super) async fn connect(options: BinanceOptions) -> Result<Stream, NoConnection> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX))
        .read_buffer_size(READ_BYTES);
    let address = format!("{}/stream", options.stream_url.trim_end_matches('/'));
    let connecting = connect_async_with_config(address, Some(config), true);
    match tokio::time::timeout(options.times.connect, connecting).await {
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(tungstenite::Error::Http(response))) => {
            let status = response.status().as_u16();
            if !matches!(status, 403 | 418 | 429) {
                return Err(NoConnection::Failed(format!("HTTP {status} instead of a stream")));
            }
            let retry_after = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
            let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            Err(NoConnection::Refused { status, retry_after })
        }
        Ok(Err(error)) => Err(NoConnection::Failed(error.to_string())),
        Err(_) => Err(NoConnection::Failed(format!("no connection within {:?}", options.times.connect))),
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<Stream, NoConnection>> + Send>>;

/// Which of the two connections.
#[derive(Debug, Clone, Copy)]
enum Which {
    Own,
    Old,
}

/// A connection, and during the step to the next one both of them.
pub(super) struct Connection<'a> {
    client: &'a mut Client,
    times: Times,
    stream: Stream,
    /// The connection before this one, read until all is subscribed on this one, so that nothing is lost between them.
    /// What comes on both is known by its number (trades), or says the same twice (quotes).
    old: Option<Stream>,
    /// The next connection, while this one still serves.
    next: Option<Connecting>,
    /// When to begin the step to the next.
    renew_at: Instant,
    /// When the last message of any kind came, and the last with data.
    heard: Instant,
    data: Instant,
    pinged: bool,
    /// When the next request may be sent.
    may_request: Instant,
}

impl<'a> Connection<'a> {
    pub(super) fn new(client: &'a mut Client, stream: Stream) -> Self {
        let now = Instant::now();
        let times = client.options.times;
        client.subscriptions.begin();
        Self {
            client,
            times,
            stream,
            old: None,
            next: None,
            renew_at: now + times.lifetime,
            heard: now,
            data: now,
            pinged: false,
            may_request: now,
        }
    }

    /// Runs until it is lost, or we are told to stop.
    pub(super) async fn run(mut self) -> End {
        loop {
            let wake = self.wake();
            let stop = self.client.context.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let _ = tokio::time::timeout(self.times.connect, self.stream.close(None)).await;
                    return End::Stopped;
                }
                () = self.client.watchlist_changes() => self.client.take_watchlist(),
                next = pending(&mut self.next) => self.step(next),
                () = tokio::time::sleep_until(wake) => {
                    if let Err(why) = self.on_time().await {
                        return End::Lost(why);
                    }
                }
                message = from(&mut self.old) => {
                    // Its end was expected.
                    if self.burst(Which::Old, message).await.is_err() {
                        self.old = None;
                    }
                }
                message = self.stream.next() => {
                    if let Err(why) = self.burst(Which::Own, message).await {
                        return End::Lost(why);
                    }
                }
            }
        }
    }

    /// Reads what is there, beginning with `first`, from this connection or the old one, and sends what was gathered on
    /// its way.
    async fn burst(
        &mut self,
        which: Which,
        first: Option<tungstenite::Result<Message>>,
    ) -> Result<(), String> {
        let mut done = self.take(first);
        // Counted before it is read: what was read and not taken would be lost.
        for _ in 1..BURST_MAX {
            let stream = match which {
                Which::Own => Some(&mut self.stream),
                Which::Old => self.old.as_mut(),
            };
            let Some(message) =
                stream.filter(|_| done.is_ok()).and_then(|stream| stream.next().now_or_never())
            else {
                break;
            };
            done = self.take(message);
        }
        self.client.context.sink.flush().await;
        done
    }

    fn take(&mut self, message: Option<tungstenite::Result<Message>>) -> Result<(), String> {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(format!("the connection broke: {error}")),
            None => return Err("the connection ended".into()),
        };
        self.heard = Instant::now();
        self.pinged = false;
        match message {
            Message::Text(text) => self.text(text.as_str()),
            // Pings are answered by the library with the next read.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            Message::Binary(_) => self.client.bad("a binary message", ""),
            Message::Close(frame) => {
                let why = frame.map(|frame| format!(": {} {}", frame.code, frame.reason)).unwrap_or_default();
                return Err(format!("the vendor closed the connection{why}"));
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        let client = &mut *self.client;
        let now = client.context.clock.now();
        let status = &client.context.status;
        status.messages.fetch_add(1, Relaxed);
        status.last_message.store(now.as_nanos(), Relaxed);
        let update = match wire::parse(text) {
            Ok(Frame::Trade(trade)) => client.symbols.get(trade.symbol).map(|symbol| Update::Trade {
                symbol: symbol.clone(),
                ts_event: trade.ts_event,
                price: trade.price,
                qty: trade.qty,
                aggressor: trade.aggressor,
                id: Some(trade.id),
            }),
            Ok(Frame::Quote(quote)) => client.symbols.get(quote.symbol).map(|symbol| Update::Quote {
                symbol: symbol.clone(),
                ts_event: quote.ts_event,
                bid: quote.bid,
                ask: quote.ask,
                bid_size: quote.bid_size,
                ask_size: quote.ask_size,
            }),
            Ok(Frame::Reply { id, error }) => return self.reply(id, error),
            Ok(Frame::Shutdown) => {
                // While the step is being taken it may be the old one that says so once more.
                if self.next.is_none() && self.old.is_none() {
                    tracing::info!(feed = "binance", "the server is about to go; connecting to another");
                    self.renew_at = self.heard;
                }
                return;
            }
            Ok(Frame::Other) => return,
            Err(error) => return client.bad(&error.to_string(), text),
        };
        // A frame of what was unsubscribed a moment ago is no error.
        if let Some(update) = update {
            self.data = self.heard;
            client.context.status.set_state(FeedState::Live);
            client.context.sink.update(now, update);
        }
    }

    fn reply(&mut self, id: Option<u64>, error: Option<String>) {
        let client = &mut *self.client;
        if let Some(stream) = client.subscriptions.reply(id, error.is_some()) {
            let error = error.unwrap_or_default();
            tracing::warn!(feed = "binance", stream, error, "the vendor does not take this stream");
            client.context.status.set_error(format!("{stream} was refused: {error}"));
        }
        client.count_unserved();
        if client.subscriptions.is_settled() {
            self.old = None;
            // Quiet instruments may not trade for long; that they are subscribed is what counts.
            if client.context.status.state() == FeedState::Connecting {
                client.context.status.set_state(FeedState::Live);
            }
        }
    }

    /// The next connection is there, or not.
    fn step(&mut self, next: Result<Stream, NoConnection>) {
        let now = Instant::now();
        self.next = None;
        match next {
            Ok(stream) => {
                self.client.context.status.connects.fetch_add(1, Relaxed);
                self.client.context.status.disconnects.fetch_add(1, Relaxed);
                self.old = Some(std::mem::replace(&mut self.stream, stream));
                self.client.subscriptions.begin();
                (self.heard, self.data, self.pinged) = (now, now, false);
                (self.renew_at, self.may_request) = (now + self.times.lifetime, now);
            }
            Err(error) => {
                // This one still serves; when it ends, connecting goes on as after any loss.
                tracing::warn!(feed = "binance", ?error, "the next connection failed");
                self.renew_at = now + self.times.limited;
            }
        }
    }

    /// When there is something to do if nothing comes.
    fn wake(&self) -> Instant {
        let times = &self.times;
        let subscriptions = &self.client.subscriptions;
        let mut wake = self.heard + if self.pinged { times.dead } else { times.silent };
        if !subscriptions.is_empty() && self.client.context.status.state() == FeedState::Live {
            wake = wake.min(self.data + times.silent);
        }
        if !subscriptions.is_empty() {
            wake = wake.min(self.data + times.stale);
        }
        if subscriptions.has_request() {
            wake = wake.min(self.may_request);
        }
        if let Some(since) = subscriptions.waiting_since() {
            wake = wake.min(since + times.reply);
        }
        if self.next.is_none() {
            wake = wake.min(self.renew_at);
        }
        wake
    }

    /// Does what is due.
    async fn on_time(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let times = self.times;
        if now >= self.heard + times.dead {
            return Err(format!("nothing came for {:?}, pings included", times.dead));
        }
        let is_wanted = !self.client.subscriptions.is_empty();
        if is_wanted && now >= self.data + times.stale {
            return Err(format!("no data came for {:?}, though the connection answers", times.stale));
        }
        if self.client.subscriptions.waiting_since().is_some_and(|since| now >= since + times.reply) {
            return Err(format!("a request was not answered within {:?}", times.reply));
        }
        if is_wanted && now >= self.data + times.silent {
            self.client.context.status.set_state(FeedState::Silent);
        }
        if !self.pinged && now >= self.heard + times.silent {
            self.pinged = true;
            self.send(Message::Ping(Default::default())).await?;
        }
        if self.next.is_none() && now >= self.renew_at {
            self.next = Some(Box::pin(connect(self.client.options.clone())));
        }
        if now >= self.may_request
            && let Some(request) = self.client.subscriptions.next_request(now)
        {
            self.may_request = now + times.request_gap;
            self.send(Message::Text(request.into())).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), String> {
        match tokio::time::timeout(self.times.connect, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the connection broke: {error}")),
            Err(_) => Err(format!("a message could not be sent within {:?}", self.times.connect)),
        }
    }
}

/// The outcome of a future that may not be there.
async fn pending(future: &mut Option<Connecting>) -> Result<Stream, NoConnection> {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The next message of a stream that may not be there.
async fn from(stream: &mut Option<Stream>) -> Option<tungstenite::Result<Message>> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

impl Client {
    /// Tells of a bad message.
    fn bad(&mut self, reason: &str, text: &str) {
        let end = text.char_indices().nth(TOLD_MAX).map_or(text.len(), |(at, _)| at);
        self.context.sink.bad(reason, &text[..end]);
    }
}
