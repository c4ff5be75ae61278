//! `/ws` and `/stream`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tradeflow_model::Symbol;
use tradeflow_model::market::Aggressor;

use super::{Served, locked, millis, too_many};
use crate::vendor::{Ended, Incoming, Socket, Tick, TickKind, Window};

/// How often it is looked whether messages that are late on purpose are due.
const LATE_CHECK: Duration = Duration::from_millis(5);

pub(super) async fn raw(served: State<Arc<Served>>, request: Request) -> Response {
    open(served, request, String::new(), false)
}

pub(super) async fn raw_of(
    served: State<Arc<Served>>,
    Path(streams): Path<String>,
    request: Request,
) -> Response {
    open(served, request, streams, false)
}

#[derive(Deserialize)]
pub(super) struct Streams {
    #[serde(default)]
    streams: String,
}

pub(super) async fn combined(
    served: State<Arc<Served>>,
    Query(Streams { streams }): Query<Streams>,
    request: Request,
) -> Response {
    open(served, request, streams, true)
}

fn open(State(served): State<Arc<Served>>, request: Request, streams: String, is_combined: bool) -> Response {
    if let Err(wait) = locked(&served.connections).take(1) {
        return too_many(wait, false);
    }
    let control = Arc::clone(&served.control);
    control.upgrade(request, move |socket| async move {
        let mut connection = Connection {
            socket,
            is_combined,
            streams: BTreeSet::new(),
            wanted: HashMap::new(),
            messages: Window::new(served.options.messages_per_second, Duration::from_secs(1)),
            unanswered: None,
            served,
        };
        for stream in streams.split('/').filter(|stream| !stream.is_empty()) {
            connection.streams.insert(stream.to_owned());
        }
        connection.rebuild();
        let too_many = connection.streams.len() > connection.served.options.streams_max;
        if too_many || connection.run().await == Some(Why::Rules) {
            connection.socket.close(CloseCode::Policy, "Too many requests").await;
        }
    })
}

/// What is wanted of an instrument, and its names.
#[derive(Debug, Default)]
struct Wanted {
    upper: String,
    lower: String,
    trades: bool,
    aggregates: bool,
    quotes: bool,
}

/// Why we end the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The client broke the rules.
    Rules,
}

struct Connection {
    served: Arc<Served>,
    socket: Socket,
    is_combined: bool,
    streams: BTreeSet<String>,
    wanted: HashMap<Symbol, Wanted>,
    messages: Window,
    /// The last ping, and when the first without an answer was sent.
    unanswered: Option<(Bytes, Instant)>,
}

impl Connection {
    /// Serves until either side ends it.
    async fn run(&mut self) -> Option<Why> {
        self.serve().await.err().flatten()
    }

    async fn serve(&mut self) -> Result<(), Option<Why>> {
        let options = self.served.options;
        let start = Instant::now();
        let mut ticks = self.served.market.subscribe();
        let mut pings = interval_at(start + options.ping_every, options.ping_every);
        let mut late = interval_at(start + LATE_CHECK, LATE_CHECK);
        let mut goodbyes = self.served.control.goodbyes();
        loop {
            let is_late = self.socket.holds_back();
            tokio::select! {
                burst = ticks.recv() => match burst {
                    Ok(burst) => self.burst(&burst).await.map_err(gone)?,
                    Err(RecvError::Lagged(bursts)) => {
                        tracing::warn!(bursts, "a client is too slow; it lost some");
                    }
                    Err(RecvError::Closed) => return Err(None),
                },
                incoming = self.socket.next() => self.incoming(incoming.map_err(gone)?).await?,
                now = pings.tick() => self.ping(now).await?,
                _ = late.tick(), if is_late => {
                    self.socket.release(self.served.market.now()).await.map_err(gone)?;
                    self.socket.flush().await.map_err(gone)?;
                }
                Ok(()) = goodbyes.changed() => {
                    let event = json!({ "e": "serverShutdown", "E": millis(self.served.market.now()) });
                    let event = if self.is_combined {
                        format!(r#"{{"stream":"!serverShutdown","data":{event}}}"#)
                    } else {
                        event.to_string()
                    };
                    self.socket.reply(event).await.map_err(gone)?;
                }
                () = tokio::time::sleep_until(start + options.lifetime) => return Err(None),
            }
        }
    }

    async fn burst(&mut self, burst: &[Tick]) -> Result<(), Ended> {
        for tick in burst {
            let Some(wanted) = self.wanted.get(&tick.symbol) else { continue };
            let is_trade = matches!(tick.kind, TickKind::Trade { .. });
            if is_trade && wanted.trades || !is_trade && wanted.quotes {
                self.socket.market(tick.ts_event, frame(tick, wanted, self.is_combined)).await?;
            }
            if is_trade && wanted.aggregates {
                self.socket.market(tick.ts_event, aggregate(tick, wanted, self.is_combined)).await?;
            }
        }
        self.socket.flush().await
    }

    async fn ping(&mut self, now: Instant) -> Result<(), Option<Why>> {
        let payload = Bytes::from(millis(self.served.market.now()).to_string());
        let since = match self.unanswered.take() {
            Some((_, since)) if now.duration_since(since) >= self.served.options.pong_within => {
                return Err(None);
            }
            Some((_, since)) => since,
            None => now,
        };
        self.unanswered = Some((payload.clone(), since));
        self.socket.ping(payload).await.map_err(gone)
    }

    async fn incoming(&mut self, incoming: Incoming) -> Result<(), Option<Why>> {
        if self.messages.take(1).is_err() {
            return Err(Some(Why::Rules));
        }
        match incoming {
            Incoming::Text(text) => {
                let reply = self.request(&text);
                self.socket.reply(reply.to_string()).await.map_err(gone)?;
                if self.streams.len() > self.served.options.streams_max {
                    return Err(Some(Why::Rules));
                }
            }
            Incoming::Ping => {}
            Incoming::Pong(payload) => {
                if self.unanswered.as_ref().is_some_and(|(sent, _)| *sent == payload) {
                    self.unanswered = None;
                }
            }
        }
        Ok(())
    }

    /// Does what the client asks for; gives the answer.
    fn request(&mut self, text: &str) -> Value {
        let refuse =
            |id: &Value, why: &str| json!({ "code": 2, "msg": format!("Invalid request: {why}"), "id": id });
        let Ok(Value::Object(request)) = serde_json::from_str(text) else {
            return json!({ "code": 3, "msg": "Invalid JSON: expected value" });
        };
        let id = request.get("id").cloned().unwrap_or(Value::Null);
        let is_id = match &id {
            Value::Null => true,
            Value::Number(number) => number.is_i64() || number.is_u64(),
            Value::String(text) => text.len() <= 36,
            _ => false,
        };
        if !is_id {
            return refuse(&Value::Null, "request ID must be an unsigned integer or a string");
        }
        let params = request.get("params").and_then(Value::as_array).cloned().unwrap_or_default();
        let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
        match method {
            "SUBSCRIBE" | "UNSUBSCRIBE" => {
                let streams: Vec<_> = params.iter().filter_map(Value::as_str).collect();
                if streams.is_empty() || streams.len() < params.len() {
                    return refuse(&id, "params must be names of streams");
                }
                // All or nothing.
                if let Some(wrong) = streams.iter().find(|stream| !is_name(stream)) {
                    return refuse(&id, &format!("unknown stream {wrong}"));
                }
                for stream in streams {
                    match method {
                        "SUBSCRIBE" => drop(self.streams.replace(stream.to_owned())),
                        _ => drop(self.streams.take(stream)),
                    }
                }
                self.rebuild();
                json!({ "result": null, "id": id })
            }
            "LIST_SUBSCRIPTIONS" => json!({ "result": self.streams, "id": id }),
            "SET_PROPERTY" | "GET_PROPERTY" => {
                match (params.first().and_then(Value::as_str), params.get(1)) {
                    (Some("combined"), Some(Value::Bool(value))) if method == "SET_PROPERTY" => {
                        self.is_combined = *value;
                        json!({ "result": null, "id": id })
                    }
                    (Some("combined"), None) if method == "GET_PROPERTY" => {
                        json!({ "result": self.is_combined, "id": id })
                    }
                    _ => refuse(&id, "unknown property"),
                }
            }
            _ => refuse(&id, "unknown method"),
        }
    }

    /// Works out what is wanted of each instrument.
    fn rebuild(&mut self) {
        self.wanted.clear();
        for stream in &self.streams {
            let Some((lower, kind)) = stream.split_once('@') else { continue };
            let upper = lower.to_ascii_uppercase();
            // Names in streams are lower case; others are taken, and stay empty.
            let Some(symbol) =
                self.served.symbols.get(&upper).filter(|_| upper.to_ascii_lowercase() == lower)
            else {
                continue;
            };
            let wanted = self.wanted.entry(symbol.clone()).or_default();
            (wanted.upper, wanted.lower) = (upper, lower.to_owned());
            match kind {
                "trade" => wanted.trades = true,
                "aggTrade" => wanted.aggregates = true,
                "bookTicker" => wanted.quotes = true,
                _ => {}
            }
        }
        if !self.wanted.is_empty() {
            self.served.market.begin();
        }
    }
}

fn gone(_: Ended) -> Option<Why> {
    None
}

/// Whether a text has the shape of a stream's name.
fn is_name(stream: &str) -> bool {
    let letters =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match stream.split_once('@') {
        Some((symbol, kind)) => letters(symbol) && kind.split('@').all(letters),
        None => stream.starts_with('!'),
    }
}

/// The frame of a trade or a quote.
fn frame(tick: &Tick, wanted: &Wanted, is_combined: bool) -> String {
    let Wanted { upper, lower, .. } = wanted;
    let (time, id) = (millis(tick.ts_event), tick.id);
    match tick.kind {
        TickKind::Trade { price, qty, aggressor } => {
            let buyer_is_maker = aggressor == Aggressor::Seller;
            let data = format_args!(
                r#"{{"e":"trade","E":{time},"s":"{upper}","t":{id},"p":"{price}","q":"{qty}","T":{time},"m":{buyer_is_maker},"M":true}}"#
            );
            wrapped(is_combined, lower, "trade", data)
        }
        TickKind::Quote { bid, ask, bid_size, ask_size } => {
            let data = format_args!(
                r#"{{"u":{id},"s":"{upper}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"}}"#
            );
            wrapped(is_combined, lower, "bookTicker", data)
        }
    }
}

/// The frame of a trade as an aggregate of one.
fn aggregate(tick: &Tick, wanted: &Wanted, is_combined: bool) -> String {
    let Wanted { upper, lower, .. } = wanted;
    let (time, id) = (millis(tick.ts_event), tick.id);
    let TickKind::Trade { price, qty, aggressor } = tick.kind else { return String::new() };
    let buyer_is_maker = aggressor == Aggressor::Seller;
    let data = format_args!(
        r#"{{"e":"aggTrade","E":{time},"s":"{upper}","a":{id},"p":"{price}","q":"{qty}","f":{id},"l":{id},"T":{time},"m":{buyer_is_maker},"M":true}}"#
    );
    wrapped(is_combined, lower, "aggTrade", data)
}

fn wrapped(is_combined: bool, symbol: &str, kind: &str, data: std::fmt::Arguments<'_>) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(256);
    // Writing to a text can't fail.
    let _ = if is_combined {
        write!(text, r#"{{"stream":"{symbol}@{kind}","data":{data}}}"#)
    } else {
        text.write_fmt(data)
    };
    text
}
