//! A WebSocket connection of a server, with the misbehaviour that was asked for.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tradeflow_model::Timestamp;

use super::{Control, Misbehaviour, Outgoing};

/// What clients send is small; anything larger is an error and ends the connection.
const MESSAGE_MAX: usize = 1 << 20;

/// The connection is over: the client is gone, or it is dropped on purpose. End the task; nothing more is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A text.
    Text(Utf8Bytes),
    /// A ping; it is answered already, and to be counted where the vendor counts them.
    Ping,
    /// An answer to our ping.
    Pong(Bytes),
}

/// A connection.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    outgoing: Outgoing,
    rules: watch::Receiver<Misbehaviour>,
    control: Arc<Control>,
}

impl Control {
    /// Answers a request for an upgrade, and runs the connection that comes of it. It ends with the server at the
    /// latest: `run` is dropped then.
    pub fn upgrade<F, R>(self: &Arc<Self>, mut request: Request, run: F) -> Response
    where
        F: FnOnce(Socket) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let response = match create_response_with_body(&request, Body::empty) {
            Ok(response) => response,
            Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let control = Arc::clone(self);
        let connection = async move {
            let Ok(io) = upgrade.await else { return };
            control.sockets.fetch_add(1, Ordering::Relaxed);
            let config = WebSocketConfig::default()
                .max_message_size(Some(MESSAGE_MAX))
                .max_frame_size(Some(MESSAGE_MAX));
            let stream = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await;
            let rules = control.misbehaviour.subscribe();
            run(Socket { stream, outgoing: Outgoing::default(), rules, control }).await;
        };
        let stop = self.stop.clone();
        self.connections.spawn(async move { stop.run_until_cancelled(connection).await });
        response
    }
}

impl Socket {
    /// The server's switches.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Sends a message of the market, of market time `ts_event`, through the misbehaviour. It may wait in a buffer for
    /// [`Self::flush`], so that a burst leaves in few packets.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn market(&mut self, ts_event: Timestamp, text: impl Into<Utf8Bytes>) -> Result<(), Ended> {
        let rules = *self.rules.borrow();
        let text = text.into();
        // What was held back before all was switched off still goes out.
        if rules == Misbehaviour::default() && !self.outgoing.holds_back() {
            return self.feed(text).await;
        }
        let mut out = Vec::new();
        let pushed = self.outgoing.push(&rules, ts_event, text, |text| out.push(text));
        for text in out {
            self.feed(text).await?;
        }
        if pushed.is_err() {
            self.flush().await?;
            return Err(Ended);
        }
        Ok(())
    }

    /// Sends what was late on purpose and is due at market time `now`. To be called with each burst, or by a timer.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn release(&mut self, now: Timestamp) -> Result<(), Ended> {
        let rules = *self.rules.borrow();
        let mut out = Vec::new();
        self.outgoing.release(&rules, now, |text| out.push(text));
        for text in out {
            self.feed(text).await?;
        }
        Ok(())
    }

    /// Answers the client: nothing goes wrong with it, except that a silent server gives none.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn reply(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), Ended> {
        if self.is_silent() {
            return Ok(());
        }
        self.feed(text.into()).await?;
        self.flush().await
    }

    /// Pings the client, unless the server is silent.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn ping(&mut self, payload: impl Into<Bytes>) -> Result<(), Ended> {
        if self.is_silent() {
            return Ok(());
        }
        self.stream.send(Message::Ping(payload.into())).await.map_err(|_| Ended)
    }

    /// Sends what waits in the buffer.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn flush(&mut self) -> Result<(), Ended> {
        self.stream.flush().await.map_err(|_| Ended)
    }

    /// Says goodbye, with a reason, and waits until the client has gone.
    pub async fn close(mut self, code: CloseCode, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        if self.stream.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = self.stream.next().await {}
        }
    }

    /// The next thing that the client sends. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn next(&mut self) -> Result<Incoming, Ended> {
        loop {
            if self.is_silent() {
                // Read past the protocol, which would answer pings.
                let mut waste = [0; 1024];
                match self.stream.get_mut().read(&mut waste).await {
                    Ok(0) | Err::<_, io::Error>(_) => return Err(Ended),
                    Ok(_) => continue,
                }
            }
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Incoming::Text(text)),
                Some(Ok(Message::Pong(payload))) => return Ok(Incoming::Pong(payload)),
                Some(Ok(Message::Ping(_))) => {
                    self.flush().await?;
                    return Ok(Incoming::Ping);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Ended),
            }
        }
    }

    /// Whether a message is held back on purpose, for the next one or for its time.
    pub fn holds_back(&self) -> bool {
        self.outgoing.holds_back()
    }

    fn is_silent(&self) -> bool {
        self.outgoing.is_silent(&self.rules.borrow())
    }

    async fn feed(&mut self, text: Utf8Bytes) -> Result<(), Ended> {
        self.stream.feed(Message::Text(text)).await.map_err(|_| Ended)
    }
}
