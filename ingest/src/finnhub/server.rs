//! Finnhub's protocol on localhost, from a [`Market`]: for the demo and for tests, through the real client.
//!
//! What it does as the vendor does: 401 on a bad key, on the handshake and on calls; **both** sockets dropped when a
//! key comes twice; a subscription taken without a word; an error for the symbol after the last that the plan has; a
//! ping as text every minute; trades of several symbols in one frame; 60 calls a minute and 30 a second, then 429; a
//! quote of zeros for a symbol that it does not know; 403 for candles on the free plan; at most a month of intraday
//! candles in an answer. Beside that, every [`super::super::vendor::Misbehaviour`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tradeflow_model::{AssetClass, Instrument, Interval, Timestamp};

use super::frames::Frames;
use crate::secret::Secret;
use crate::vendor::{
    Control, Ended, Fault, Incoming, Market, Misbehaviour, Server, Socket, TickKind, Window, bars,
};

/// How often what is late on purpose is looked for.
const RELEASE_EVERY: Duration = Duration::from_millis(20);

/// The most that an answer with intraday candles spans.
const MONTH_NANOS: i64 = 31 * 86_400 * 1_000_000_000;

const LIMIT_TEXT: &str = "API limit reached. Please try again later. Remaining Limit: 0";

/// What kind of Finnhub it is.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The keys that it takes.
    pub keys: Vec<Secret>,
    /// How many symbols a connection may have.
    pub symbols_max: usize,
    /// How often it pings.
    pub ping_every: Duration,
    /// Calls a minute.
    pub per_minute: u64,
    /// Calls a second.
    pub per_second: u64,
    /// Whether the plan has candles.
    pub premium: bool,
}

impl ServerOptions {
    /// The free plan.
    pub fn free(key: Secret) -> Self {
        Self {
            keys: vec![key],
            symbols_max: 50,
            ping_every: Duration::from_secs(60),
            per_minute: 60,
            per_second: 30,
            premium: false,
        }
    }
}

/// What the vendor calls an instrument: `AAPL`, `OANDA:EUR_USD`, `BINANCE:BTCUSDT`.
pub fn vendor_symbol(instrument: &Instrument) -> String {
    let (base, quote) = (instrument.base.code(), instrument.quote.code());
    match instrument.class {
        AssetClass::Equity | AssetClass::Future => instrument.symbol.as_str().to_owned(),
        AssetClass::FxPair => format!("OANDA:{base}_{quote}"),
        AssetClass::CryptoSpot | AssetClass::Perpetual => {
            format!("BINANCE:{base}{}", if quote == "USD" { "USDT" } else { quote })
        }
    }
}

struct Vendor {
    market: Arc<dyn Market>,
    options: ServerOptions,
    control: Arc<Control>,
    symbols: BTreeMap<String, Instrument>,
    sessions: Mutex<Sessions>,
    /// The calls of each key.
    calls: Mutex<BTreeMap<String, [Window; 2]>>,
}

/// The connection of each key, by its number; ended by the token.
#[derive(Default)]
struct Sessions {
    count: u64,
    of_key: BTreeMap<String, (u64, CancellationToken)>,
}

/// Starts it.
///
/// # Errors
/// When the address can't be listened on.
pub async fn start(
    market: Arc<dyn Market>,
    options: ServerOptions,
    misbehaviour: Misbehaviour,
    listen: SocketAddr,
) -> io::Result<Server> {
    let control = Control::new(misbehaviour);
    let symbols = market.instruments().iter().map(|i| (vendor_symbol(i), i.clone())).collect();
    let vendor = Arc::new(Vendor {
        market,
        options,
        control: Arc::clone(&control),
        symbols,
        sessions: Mutex::default(),
        calls: Mutex::default(),
    });
    let router = Router::new()
        .route("/", get(socket))
        .route("/api/v1/quote", get(quote))
        .route("/api/v1/stock/candle", get(candles))
        .route("/api/v1/forex/candle", get(candles))
        .route("/api/v1/crypto/candle", get(candles))
        .with_state(vendor);
    Server::start(listen, &control, control.guard(router, faulty)).await
}

fn faulty(fault: Fault) -> Response {
    match fault {
        Fault::Refuse => error(StatusCode::TOO_MANY_REQUESTS, LIMIT_TEXT),
        // Not JSON: so it was seen.
        Fault::Fail => {
            let html = [(header::CONTENT_TYPE, "text/html")];
            (StatusCode::INTERNAL_SERVER_ERROR, html, "<html>Internal Server Error</html>").into_response()
        }
    }
}

fn error(status: StatusCode, text: &str) -> Response {
    json(status, serde_json::json!({"error": text}).to_string())
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}

/// The parameters of all calls.
#[derive(Debug, Deserialize)]
struct Params {
    token: Option<String>,
    symbol: Option<String>,
    resolution: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
}

impl Vendor {
    /// The key of a request, or how it is refused.
    fn key(&self, params: &Params, headers: &HeaderMap) -> Result<String, Box<Response>> {
        let header = headers.get("x-finnhub-token").and_then(|value| value.to_str().ok());
        let refuse = |text: &str| Err(Box::new(error(StatusCode::UNAUTHORIZED, text)));
        let Some(key) = params.token.as_deref().or(header).filter(|key| !key.is_empty()) else {
            return refuse("Please use an API key.");
        };
        if self.options.keys.iter().any(|known| known.expose() == key) {
            return Ok(key.to_owned());
        }
        refuse("Invalid API key.")
    }

    /// A call: the key, counted.
    fn call(&self, params: &Params, headers: &HeaderMap) -> Result<(), Box<Response>> {
        let key = self.key(params, headers)?;
        let windows = || {
            let options = &self.options;
            [
                Window::new(options.per_minute, Duration::from_secs(60)),
                Window::new(options.per_second, Duration::from_secs(1)),
            ]
        };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = calls.entry(key).or_insert_with(windows);
        // Both count, whatever the other says.
        let taken = windows.each_mut().map(|window| window.take(1).is_ok());
        if taken == [true, true] {
            return Ok(());
        }
        Err(Box::new(error(StatusCode::TOO_MANY_REQUESTS, LIMIT_TEXT)))
    }

    /// Enters a connection; the one that the key had is ended, and so is this one then.
    fn enter(&self, key: &str) -> Option<(u64, CancellationToken)> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, old)) = sessions.of_key.remove(key) {
            old.cancel();
            return None;
        }
        sessions.count += 1;
        let session = (sessions.count, CancellationToken::new());
        sessions.of_key.insert(key.to_owned(), session.clone());
        Some(session)
    }

    fn leave(&self, key: &str, number: u64) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.of_key.get(key).is_some_and(|(current, _)| *current == number) {
            sessions.of_key.remove(key);
        }
    }
}

async fn socket(
    State(vendor): State<Arc<Vendor>>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let key = match vendor.key(&params, &headers) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let control = Arc::clone(&vendor.control);
    control.upgrade(request, async move |mut socket| {
        let Some((number, ended)) = vendor.enter(&key) else { return };
        let _ = ended.run_until_cancelled(serve(&vendor, &mut socket)).await;
        vendor.leave(&key, number);
    })
}

/// Serves a connection until it ends.
async fn serve(vendor: &Vendor, socket: &mut Socket) -> Result<(), Ended> {
    let mut ticks = vendor.market.subscribe();
    let mut ping = tokio::time::interval(vendor.options.ping_every);
    ping.tick().await; // the first is now
    let mut release = tokio::time::interval(RELEASE_EVERY);
    let mut frames = Frames::default();
    loop {
        tokio::select! {
            incoming = socket.next() => {
                if let Incoming::Text(text) = incoming? {
                    command(vendor, socket, &mut frames, &text).await?;
                }
            }
            burst = ticks.recv() => {
                let burst = match burst {
                    Ok(burst) => burst,
                    // A slow reader loses the oldest, as with the vendor.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return Ok(()),
                };
                for (ts_event, frame) in frames.of(&burst) {
                    socket.market(ts_event, frame).await?;
                }
                socket.flush().await?;
            }
            _ = release.tick() => {
                socket.release(vendor.market.now()).await?;
                socket.flush().await?;
            }
            _ = ping.tick() => socket.reply(r#"{"type":"ping"}"#).await?,
        }
    }
}

/// What a client asks for: nothing is said about it unless it goes wrong.
async fn command(vendor: &Vendor, socket: &mut Socket, frames: &mut Frames, text: &str) -> Result<(), Ended> {
    #[derive(Deserialize)]
    struct Command {
        r#type: String,
        symbol: String,
    }
    let Ok(command) = serde_json::from_str::<Command>(text) else { return Ok(()) };
    let refuse = |msg: String| serde_json::json!({"msg": msg, "type": "error"}).to_string();
    match (command.r#type.as_str(), vendor.symbols.get(&command.symbol)) {
        ("subscribe", None) => socket.reply(refuse(format!("Invalid symbol {}", command.symbol))).await,
        ("subscribe", Some(instrument)) => {
            if frames.add(&command.symbol, instrument, vendor.options.symbols_max) {
                vendor.market.begin();
                return Ok(());
            }
            socket.reply(refuse("Subscribing to too many symbols".into())).await
        }
        ("unsubscribe", Some(instrument)) => {
            frames.remove(instrument);
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn quote(
    State(vendor): State<Arc<Vendor>>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = vendor.call(&params, &headers) {
        return *refused;
    }
    let known = params.symbol.as_deref().and_then(|symbol| vendor.symbols.get(symbol));
    let last = known.and_then(|instrument| Some((instrument, vendor.market.last(&instrument.symbol).0?)));
    let Some((instrument, tick)) = last else {
        let zeros = r#"{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}"#;
        return json(StatusCode::OK, zeros.into());
    };
    let TickKind::Trade { price, .. } = tick.kind else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "the last trade is none");
    };
    let day = 86_400_000_000_000;
    let midnight = Timestamp::from_nanos(tick.ts_event.utc_day() * day);
    let minutes = |from: i64, to: Timestamp| {
        let from = midnight.saturating_add(from);
        bars(&vendor.market, &instrument.symbol, Interval::MINUTE, from, to)
    };
    let (today, before) = match tokio::join!(minutes(0, tick.ts_event), minutes(-day, midnight)) {
        (Ok(today), Ok(before)) => (today, before),
        (Err(why), _) | (_, Err(why)) => return error(StatusCode::INTERNAL_SERVER_ERROR, &why),
    };
    let decimal = |raw: tradeflow_model::Price| raw.to_decimal(instrument.price_scale);
    let open = today.first().map_or(price, |bar| decimal(bar.open));
    let high = today.iter().map(|bar| decimal(bar.high)).fold(price, rust_decimal::Decimal::max);
    let low = today.iter().map(|bar| decimal(bar.low)).fold(price, rust_decimal::Decimal::min);
    let close = before.last().map_or(open, |bar| decimal(bar.close));
    let change = price - close;
    let percent =
        (change * rust_decimal::Decimal::ONE_HUNDRED).checked_div(close).unwrap_or_default().round_dp(4);
    let [c, d, dp, h, l, o, pc] =
        [price, change, percent, high, low, open, close].map(|number| number.normalize());
    let t = tick.ts_event.as_nanos().div_euclid(1_000_000_000);
    let body = format!(r#"{{"c":{c},"d":{d},"dp":{dp},"h":{h},"l":{l},"o":{o},"pc":{pc},"t":{t}}}"#);
    json(StatusCode::OK, body)
}

async fn candles(
    State(vendor): State<Arc<Vendor>>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = vendor.call(&params, &headers) {
        return *refused;
    }
    if !vendor.options.premium {
        return error(StatusCode::FORBIDDEN, "You don't have access to this resource.");
    }
    let interval = match params.resolution.as_deref() {
        Some("60") => Some(Interval::HOUR),
        Some("D") => Some(Interval::DAY),
        Some("W") => "1w".parse().ok(),
        Some(minutes @ ("1" | "5" | "15" | "30")) => format!("{minutes}m").parse().ok(),
        _ => None,
    };
    let (from, to) = (params.from.and_then(Timestamp::from_secs), params.to.and_then(Timestamp::from_secs));
    let (Some(interval), Some(mut from), Some(to)) = (interval, from, to) else {
        return error(StatusCode::UNPROCESSABLE_ENTITY, "Wrong resolution, from or to.");
    };
    if interval.nanos().is_some() {
        from = from.max(to.saturating_add(-MONTH_NANOS));
    }
    let known = params.symbol.as_deref().and_then(|symbol| vendor.symbols.get(symbol));
    let found = match known {
        None => Ok(Vec::new()),
        Some(instrument) => {
            let end = to.saturating_add(1_000_000_000); // it is part of what is asked for
            bars(&vendor.market, &instrument.symbol, interval, from, end).await
        }
    };
    let (instrument, bars) = match (known, found) {
        (_, Err(why)) => return error(StatusCode::INTERNAL_SERVER_ERROR, &why),
        (Some(instrument), Ok(bars)) if !bars.is_empty() => (instrument, bars),
        _ => return json(StatusCode::OK, r#"{"s":"no_data"}"#.into()),
    };
    let column = |value: &dyn Fn(&tradeflow_model::Bar) -> String| {
        let values: Vec<String> = bars.iter().map(value).collect();
        values.join(",")
    };
    let price = |raw: tradeflow_model::Price| raw.to_decimal(instrument.price_scale).normalize().to_string();
    let body = format!(
        r#"{{"c":[{}],"h":[{}],"l":[{}],"o":[{}],"s":"ok","t":[{}],"v":[{}]}}"#,
        column(&|bar| price(bar.close)),
        column(&|bar| price(bar.high)),
        column(&|bar| price(bar.low)),
        column(&|bar| price(bar.open)),
        column(&|bar| bar.ts_open.as_nanos().div_euclid(1_000_000_000).to_string()),
        column(&|bar| bar.volume.to_decimal(instrument.size_scale).normalize().to_string()),
    );
    json(StatusCode::OK, body)
}
