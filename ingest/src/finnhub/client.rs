//! The live client: one socket, trades of many symbols.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::Aggressor;
use tradeflow_model::{Symbol, Timestamp};

use super::FinnhubConfig;

use super::key::{KeyInUse, KeyLease};
use super::pauses::{Ended, Pauses, Timing};
use super::subscriptions::Subscriptions;
use super::wire::{self, Frame, VendorError, WireTrade};
use crate::feed::{Feed, FeedContext, FeedState, Update};

/// The largest frame that is read: some ten thousand trades. A larger one is no frame of Finnhub's.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// So many frames are read in a burst before what was gathered goes out.
const BURST_FRAMES_MAX: usize = 256;

/// The vendor symbols that the socket serves just now.
pub type Served = watch::Receiver<Arc<BTreeSet<String>>>;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Finnhub's socket as a [`Feed`].
#[derive(Debug)]
pub struct FinnhubSocket {
    config: FinnhubConfig,
    served: watch::Sender<Arc<BTreeSet<String>>>,
    _lease: KeyLease,
}

impl FinnhubSocket {
    /// A client; it has the key to itself until it is dropped.
    ///
    /// # Errors
    /// When another client of this process has the key.
    pub fn new(config: FinnhubConfig) -> Result<Self, KeyInUse> {
        let lease = KeyLease::take(config.socket.as_str(), &config.key)?;
        Ok(Self { config, served: watch::Sender::default(), _lease: lease })
    }

    /// What it serves, as it changes.
    pub fn served(&self) -> Served {
        self.served.subscribe()
    }
}

impl Feed for FinnhubSocket {
    fn name(&self) -> &'static str {
        "finnhub"
    }

    fn run(self: Box<Self>, context: FeedContext) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut client = Client {
                subscriptions: Subscriptions::new(self.config.symbols_max),
                watched: HashMap::new(),
                watchlist_ends: false,
                last_trades: String::new(),
                feed: *self,
                context,
            };
            client.run().await;
        })
    }
}

/// What a vendor symbol stands for.
struct Watched {
    symbol: Symbol,
    /// Whether trades are wanted, or only prices.
    trades: bool,
}

struct Client {
    feed: FinnhubSocket,
    context: FeedContext,
    subscriptions: Subscriptions,
    watched: HashMap<String, Watched>,
    /// Nobody changes the watchlist any more.
    watchlist_ends: bool,
    /// The last frame of trades, to know one that comes twice.
    last_trades: String,
}

impl Client {
    async fn run(&mut self) {
        let mut pauses = Pauses::new(self.timing(), self.context.seed);
        self.read_watchlist();
        let stop = self.context.stop.clone();
        while !stop.is_cancelled() {
            self.context.status.set_state(FeedState::Connecting);
            let (ended, lived) = self.connect_and_serve().await;
            self.subscriptions.disconnected();
            self.publish_served();
            if ended == Ended::Stopped {
                break;
            }
            let pause = pauses.after(&ended, lived);
            self.tell(&ended, pause.key_in_use, pause.delay);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause.delay) => {}
            }
        }
        self.context.status.set_state(FeedState::Off);
    }

    /// One connection, from the attempt to its end, and how long it lasted.
    async fn connect_and_serve(&mut self) -> (Ended, Duration) {
        let connecting = connect(&self.feed.config);
        let stop = self.context.stop.clone();
        let socket = tokio::select! {
            () = stop.cancelled() => return (Ended::Stopped, Duration::ZERO),
            done = tokio::time::timeout(self.timing().connect, connecting) => done,
        };
        let mut socket = match socket {
            Ok(Ok(socket)) => socket,
            Ok(Err(ended)) => return (ended, Duration::ZERO),
            Err(_) => return (Ended::Failed("no answer in time".into()), Duration::ZERO),
        };
        let since = Instant::now();
        self.context.status.connects.fetch_add(1, Relaxed);
        self.context.status.set_state(FeedState::Live);
        tracing::info!(feed = "finnhub", "connected");
        self.subscriptions.connected();
        self.last_trades.clear();
        let ended = self.serve(&mut socket).await;
        self.context.sink.flush().await;
        self.context.status.disconnects.fetch_add(1, Relaxed);
        // Politely, but not at any price: the server may be gone.
        let _ = tokio::time::timeout(self.timing().settle, socket.close(None)).await;
        (ended, since.elapsed())
    }

    /// Serves a connection until it ends.
    async fn serve(&mut self, socket: &mut Socket) -> Ended {
        if let Err(ended) = self.subscribe(socket).await {
            return ended;
        }
        let stop = self.context.stop.clone();
        let mut heard = Instant::now();
        let mut settle: Option<Instant> = None;
        loop {
            let silence = self.silence_ends(heard);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                message = socket.next() => {
                    heard = Instant::now();
                    self.context.status.set_state(FeedState::Live);
                    let mut next = Some(message);
                    let mut read = 0;
                    while let Some(message) = next {
                        match self.message(message) {
                            Ok(Effect::None) => {}
                            Ok(Effect::Subscriptions) => settle = Some(heard + self.timing().settle),
                            Err(ended) => return ended,
                        }
                        read += 1;
                        next = if read < BURST_FRAMES_MAX { socket.next().now_or_never() } else { None };
                    }
                    self.context.sink.flush().await;
                }
                changed = self.context.watchlist.changed(), if !self.watchlist_ends => {
                    self.watchlist_ends = changed.is_err();
                    self.read_watchlist();
                    if let Err(ended) = self.subscribe(socket).await {
                        return ended;
                    }
                }
                () = at(settle) => {
                    settle = None;
                    if let Err(ended) = self.subscribe(socket).await {
                        return ended;
                    }
                }
                () = tokio::time::sleep_until(silence) => {
                    if heard.elapsed() >= self.patience() {
                        return Ended::Silent;
                    }
                    self.context.status.set_state(FeedState::Silent);
                }
            }
        }
    }

    /// When something is to be done about silence: at half the time it is shown, at the whole it ends the connection.
    fn silence_ends(&self, heard: Instant) -> Instant {
        let patience = self.patience();
        let shown = self.context.status.state() == FeedState::Silent;
        heard + if shown { patience } else { patience / 2 }
    }

    /// How long nothing may come. Longer while no watched market is open: nothing but pings is expected then, and
    /// whether those come every one or every two minutes is not agreed upon.
    fn patience(&self) -> Duration {
        let now = self.context.clock.now();
        let watchlist = self.context.watchlist.borrow();
        let mut calendars: Vec<Calendar> = watchlist.watches.iter().map(|w| w.instrument.calendar).collect();
        calendars.sort_unstable();
        calendars.dedup();
        let closed = !calendars.is_empty() && !calendars.iter().any(|calendar| calendar.is_open(now));
        self.timing().silence * if closed { 2 } else { 1 }
    }

    /// Takes over what is wanted.
    fn read_watchlist(&mut self) {
        let watchlist = self.context.watchlist.borrow_and_update();
        let wanted = watchlist.watches.iter().filter(|watch| watch.trades || watch.quotes);
        self.subscriptions.want(wanted.clone().map(|watch| watch.vendor_symbol.clone()));
        self.watched = wanted
            .map(|watch| {
                let watched = Watched { symbol: watch.instrument.symbol.clone(), trades: watch.trades };
                (watch.vendor_symbol.clone(), watched)
            })
            .collect();
    }

    /// Brings the server's subscriptions to what is wanted.
    async fn subscribe(&mut self, socket: &mut Socket) -> Result<(), Ended> {
        let commands = self.subscriptions.commands();
        let sending = async {
            for command in &commands {
                socket.feed(Message::text(command.frame())).await?;
            }
            socket.flush().await
        };
        let sent = tokio::time::timeout(self.feed.config.timing.connect, sending).await;
        self.context.status.unserved.store(self.subscriptions.unserved() as u64, Relaxed);
        self.publish_served();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.dropped(&error)),
            Err(_) => Err(Ended::Dropped("the server takes nothing any more".into())),
        }
    }

    fn publish_served(&self) {
        let served = self.subscriptions.served();
        self.feed.served.send_if_modified(|old| {
            let differs = **old != served;
            if differs {
                *old = Arc::new(served);
            }
            differs
        });
    }

    /// One message of the socket.
    fn message(&mut self, message: Option<tungstenite::Result<Message>>) -> Result<Effect, Ended> {
        let now = self.context.clock.now();
        self.context.status.last_message.store(now.as_nanos(), Relaxed);
        match message {
            Some(Ok(Message::Text(text))) => {
                self.context.status.messages.fetch_add(1, Relaxed);
                self.text(now, text.as_str())
            }
            // Pings of the protocol are answered by the socket itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(Effect::None),
            Some(Ok(Message::Binary(bytes))) => {
                self.context.status.messages.fetch_add(1, Relaxed);
                self.bad("a binary message, which Finnhub does not send", &String::from_utf8_lossy(&bytes));
                Ok(Effect::None)
            }
            Some(Ok(Message::Close(Some(close)))) => {
                let why = format!("the server closed: {} {}", close.code, close.reason);
                Err(Ended::Dropped(self.feed.config.key.redact(&why)))
            }
            Some(Ok(Message::Close(None) | Message::Frame(_))) | None => {
                Err(Ended::Dropped("the server closed".into()))
            }
            Some(Err(error)) => Err(self.dropped(&error)),
        }
    }

    fn text(&mut self, now: Timestamp, text: &str) -> Result<Effect, Ended> {
        match wire::parse(text) {
            Ok(Frame::Trades { trades, bad }) => {
                if trades.len() > 1 && text == self.last_trades {
                    self.context.status.duplicates.fetch_add(trades.len() as u64, Relaxed);
                    return Ok(Effect::None);
                }
                for reason in bad {
                    self.bad(&reason, text);
                }
                let single = trades.len() < 2;
                for trade in trades {
                    self.trade(now, trade);
                }
                self.last_trades.clear();
                if !single {
                    self.last_trades.push_str(text);
                }
                Ok(Effect::None)
            }
            Ok(Frame::Ping) => Ok(Effect::None),
            Ok(Frame::Error(error)) => self.complaint(&error),
            Err(reason) => {
                self.bad(&reason, text);
                Ok(Effect::None)
            }
        }
    }

    fn trade(&mut self, ts_init: Timestamp, trade: WireTrade<'_>) {
        // One that was unsubscribed a moment ago may still come.
        let Some(watched) = self.watched.get(&*trade.symbol) else { return };
        if !trade.conditions.sets_last() {
            self.context.sink.excluded();
            return;
        }
        let symbol = watched.symbol.clone();
        let WireTrade { ts_event, price, qty, .. } = trade;
        let update = if watched.trades {
            Update::Trade { symbol, ts_event, price, qty, aggressor: Aggressor::Unknown, id: None }
        } else {
            Update::Last { symbol, ts_event, price }
        };
        self.context.sink.update(ts_init, update);
    }

    fn complaint(&mut self, error: &VendorError<'_>) -> Result<Effect, Ended> {
        let status = &self.context.status;
        match error {
            VendorError::TooManySymbols => {
                let Some(limit) = self.subscriptions.too_many() else { return Ok(Effect::None) };
                let why = format!(
                    "Finnhub serves {limit} symbols on this plan: the first {limit} of the watchlist are kept, the \
                     others come from the quote calls. Shorten the watchlist or take a larger plan"
                );
                tracing::warn!(feed = "finnhub", limit, "{why}");
                status.set_error(why);
                Ok(Effect::Subscriptions)
            }
            VendorError::InvalidSymbol(symbol) => {
                let symbol = self.feed.config.key.redact(symbol);
                if self.subscriptions.unknown(&symbol) {
                    let why = format!(
                        "Finnhub does not know the symbol {symbol:?}: look it up with its symbol search and change the \
                         watchlist"
                    );
                    tracing::warn!(feed = "finnhub", symbol, "{why}");
                    status.set_error(why);
                }
                Ok(Effect::Subscriptions)
            }
            // Which of our frames it was about can't be known: all of it once more, later.
            VendorError::LimitReached => Err(Ended::TooMany),
            VendorError::Other(text) => {
                let why = format!("Finnhub says: {}", self.feed.config.key.redact(text));
                tracing::warn!(feed = "finnhub", "{why}");
                status.set_error(why);
                Ok(Effect::None)
            }
        }
    }

    fn bad(&mut self, reason: &str, message: &str) {
        let key = &self.feed.config.key;
        self.context.sink.bad(&key.redact(reason), &key.redact(message));
    }

    fn dropped(&self, error: &tungstenite::Error) -> Ended {
        Ended::Dropped(self.feed.config.key.redact(&error.to_string()))
    }

    /// Tells people how a connection ended, and what they can do.
    fn tell(&self, ended: &Ended, key_in_use: bool, delay: Duration) {
        let status = &self.context.status;
        let (state, why) = match ended {
            Ended::Stopped => return,
            Ended::Refused => (
                FeedState::Refused,
                "Finnhub refuses the key (401): check that it is right and that its account is active"
                    .to_owned(),
            ),
            Ended::TooMany => {
                status.rate_limited.fetch_add(1, Relaxed);
                (FeedState::Connecting, "Finnhub says: too many (429, or limit reached)".to_owned())
            }
            Ended::Failed(why) => (FeedState::Connecting, format!("no connection: {why}")),
            Ended::Dropped(why) if key_in_use => (
                FeedState::Refused,
                format!(
                    "Finnhub takes the connection and drops it soon after ({why}), again and again: most likely the \
                     key is in use by another program. Finnhub serves one connection a key and drops both; stop the \
                     other, or use a key of its own"
                ),
            ),
            Ended::Dropped(why) => (FeedState::Connecting, format!("the connection ended: {why}")),
            Ended::Silent => (FeedState::Silent, "nothing came for too long, not even a ping".to_owned()),
        };
        tracing::warn!(feed = "finnhub", delay_ms = delay.as_millis() as u64, "{why}");
        status.set_error(why);
        status.set_state(state);
    }

    fn timing(&self) -> Timing {
        self.feed.config.timing
    }
}

/// What a message asks for.
enum Effect {
    None,
    /// Subscriptions are to be brought in order, once no more complaints come.
    Subscriptions,
}

/// At this time, or never.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Connects. The address with the key stays in here: what comes out is without it.
async fn connect(config: &FinnhubConfig) -> Result<Socket, Ended> {
    let mut address = config.socket.clone();
    address.query_pairs_mut().append_pair("token", config.key.expose());
    let limits = WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let error = match connect_async_with_config(address.as_str(), Some(limits), true).await {
        Ok((socket, _)) => return Ok(socket),
        Err(error) => error,
    };
    Err(match error {
        tungstenite::Error::Http(response) => match response.status().as_u16() {
            401 => Ended::Refused,
            429 => Ended::TooMany,
            status => Ended::Failed(format!("the handshake was answered with HTTP {status}")),
        },
        other => Ended::Failed(config.key.redact(&other.to_string())),
    })
}
