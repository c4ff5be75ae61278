//! `/api/v3/…`: what a market data client asks for. Prices and quantities are text, times milliseconds.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tradeflow_model::market::Aggressor;
use tradeflow_model::{Bar, Instrument, Interval, Timestamp};

use super::{Served, locked, millis, refusal, symbol_of, too_many};
use crate::vendor::{self, Tick, TickKind};

/// The most bars or trades in an answer, and how many where the client does not say.
const LIMIT_MAX: usize = 1_000;
const LIMIT: usize = 500;
/// The intervals of Binance that a market has too.
const INTERVALS: [&str; 14] =
    ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w"];
/// Stretches of time that are looked through for bars, at most. The first is a page long and each twice as long as the
/// one before, up to so many bars: years before a market began are passed over, but for bars of a second.
const STRETCHES_MAX: usize = 64;
const STRETCH_BARS_MAX: i64 = 1 << 20;

type Params = Query<HashMap<String, String>>;
/// Boxed, as it is the rarer half of a result.
type Refusal = Box<Response>;
type Answer = Result<Value, Refusal>;

pub(super) fn routes() -> Router<Arc<Served>> {
    Router::new()
        .route(
            "/api/v3/ping",
            get(async |State(served): State<Arc<Served>>| answer(&served, 1, Ok(json!({})))),
        )
        .route("/api/v3/time", get(time))
        .route("/api/v3/exchangeInfo", get(exchange_info))
        .route("/api/v3/klines", get(klines))
        .route("/api/v3/aggTrades", get(aggregates))
        .route("/api/v3/ticker/bookTicker", get(book_ticker))
        .route("/api/v3/depth", get(depth))
}

/// Counts the weight, and puts it into the headers; too much of it is refused, and much too much banned.
fn answer(served: &Served, weight: u64, answer: Answer) -> Response {
    let (taken, used) = {
        let mut window = locked(&served.weight);
        (window.take(weight), window.used())
    };
    let mut response = match taken {
        Err(wait) => too_many(wait, used > 2 * served.options.weight),
        Ok(()) => answer.map_or_else(|refusal| *refusal, |value| Json(value).into_response()),
    };
    let header = HeaderName::from_static("x-mbx-used-weight-1m");
    response.headers_mut().insert(header, HeaderValue::from(used));
    response
}

fn wrong(code: i32, message: impl AsRef<str>) -> Refusal {
    Box::new(refusal(StatusCode::BAD_REQUEST, code, message))
}

fn instrument<'a>(served: &'a Served, params: &Params) -> Result<&'a Instrument, Refusal> {
    let missing = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.";
    let name = params.get("symbol").filter(|name| !name.is_empty()).ok_or_else(|| wrong(-1102, missing))?;
    served.instrument(name).ok_or_else(|| wrong(-1121, "Invalid symbol."))
}

/// A whole number that may be left out.
fn number(params: &Params, name: &str) -> Result<Option<i64>, Refusal> {
    let illegal = || {
        wrong(
            -1100,
            format!("Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."),
        )
    };
    params.get(name).map(|text| text.parse::<i64>()).transpose().map_err(|_| illegal())
}

fn limit(params: &Params) -> Result<usize, Refusal> {
    let limit = number(params, "limit")?.map_or(LIMIT, |limit| usize::try_from(limit).unwrap_or(0));
    if limit == 0 {
        Err(wrong(-1130, "Data sent for parameter 'limit' is not valid."))
    } else {
        Ok(limit.min(LIMIT_MAX))
    }
}

async fn time(State(served): State<Arc<Served>>) -> Response {
    let now = millis(served.market.now());
    answer(&served, 1, Ok(json!({ "serverTime": now })))
}

async fn exchange_info(State(served): State<Arc<Served>>, params: Params) -> Response {
    let info = || {
        let asked = match (params.get("symbol"), params.get("symbols")) {
            (Some(symbol), _) => Some(vec![symbol.clone()]),
            (None, Some(list)) => {
                let list = serde_json::from_str(list);
                Some(list.map_err(|_| wrong(-1100, "Illegal characters found in parameter 'symbols'."))?)
            }
            (None, None) => None,
        };
        let instruments: Vec<_> = match asked {
            None => served.market.instruments().iter().collect(),
            Some(names) => {
                let found = names.iter().map(|name| served.instrument(name));
                found.collect::<Option<_>>().ok_or_else(|| wrong(-1121, "Invalid symbol."))?
            }
        };
        Ok(json!({
            "timezone": "UTC",
            "serverTime": millis(served.market.now()),
            "rateLimits": [
                { "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": served.options.weight },
            ],
            "exchangeFilters": [],
            "symbols": instruments.into_iter().map(definition).collect::<Vec<_>>(),
        }))
    };
    answer(&served, 20, info())
}

fn definition(instrument: &Instrument) -> Value {
    let name = symbol_of(instrument);
    let base = instrument.base.code();
    let quote = name.strip_prefix(base).unwrap_or(instrument.quote.code());
    let tick = instrument.price_text(instrument.price_increment);
    let lot = instrument.qty_text(instrument.size_increment);
    json!({
        "symbol": name,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": false,
        "filters": [
            { "filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00", "tickSize": tick },
            { "filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000.00", "stepSize": lot },
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    })
}

async fn klines(State(served): State<Arc<Served>>, params: Params) -> Response {
    let bars = find_bars(&served, &params).await;
    answer(&served, 2, bars)
}

/// Bars oldest first: from `startTime` on where it is given, else the newest until `endTime`. The last one may not be
/// over yet: Binance gives it all the same, and so a client learns to leave it out.
async fn find_bars(served: &Served, params: &Params) -> Answer {
    let instrument = instrument(served, params)?;
    let name = params.get("interval").map(String::as_str).unwrap_or_default();
    let interval =
        Some(name).filter(|name| INTERVALS.contains(name)).and_then(|name| name.parse::<Interval>().ok());
    let interval = interval.ok_or_else(|| wrong(-1120, "Invalid interval."))?;
    let limit = limit(params)?;
    let at = |name| Ok::<_, Refusal>(number(params, name)?.and_then(Timestamp::from_millis));
    let now = served.market.now();
    let (start, end) = (at("startTime")?, at("endTime")?);
    // Bars open in `[start, end]`.
    let end = end.map_or(now, |end| end.saturating_add(1).min(now));
    let stretch_of = |bars: i64| interval.nominal_nanos().saturating_mul(bars);
    let mut stretch = stretch_of(limit as i64);
    let read = |from, to| vendor::bars(&served.market, &instrument.symbol, interval, from, to);
    let unfinished = unfinished(served, instrument, interval, end);
    // The newest bars are wanted with the one in the making among them.
    let wanted = if start.is_none() && unfinished.is_some() { limit - 1 } else { limit };
    let mut bars: Vec<Bar> = Vec::new();
    let mut edge = start.unwrap_or(end);
    for _ in 0..STRETCHES_MAX {
        let (from, to) = match start {
            Some(_) => (edge, edge.saturating_add(stretch).min(end)),
            None => (edge.saturating_add(-stretch), edge),
        };
        if from >= to || bars.len() >= wanted {
            break;
        }
        let more = read(from, to).await.map_err(|why| wrong(-1000, why))?;
        match start {
            Some(_) => bars.extend(more),
            None => drop(bars.splice(0..0, more)),
        }
        edge = if start.is_some() { to } else { from };
        stretch = stretch.saturating_mul(2).min(stretch_of(STRETCH_BARS_MAX));
    }
    match start {
        Some(_) => bars.truncate(wanted),
        None => drop(bars.drain(..bars.len().saturating_sub(wanted))),
    }
    let mut rows: Vec<_> = bars.iter().map(|bar| row(instrument, bar)).collect();
    if edge >= end || start.is_none() {
        rows.extend(unfinished.filter(|_| bars.len() < limit));
    }
    Ok(Value::Array(rows))
}

/// The bar in the making, as far as the last trade tells it.
fn unfinished(served: &Served, instrument: &Instrument, interval: Interval, end: Timestamp) -> Option<Value> {
    let now = served.market.now();
    let length = interval.nominal_nanos();
    let open = instrument.calendar.expected_bars(interval, now.saturating_add(-2 * length), now)?.last()?;
    let Tick { ts_event, kind: TickKind::Trade { price, qty, .. }, .. } =
        served.market.last(&instrument.symbol).0?
    else {
        return None;
    };
    if open.close <= now || open.open >= end || ts_event < open.open {
        return None;
    }
    let price = instrument.order_price("price", price).ok()?;
    let volume = instrument.order_qty("quantity", qty).ok()?;
    let bar = Bar {
        series: tradeflow_model::SeriesId(0),
        instrument: tradeflow_model::InstrumentId(0),
        ts_open: open.open,
        ts_event: open.close,
        ts_init: open.close,
        open: price,
        high: price,
        low: price,
        close: price,
        volume,
    };
    Some(row(instrument, &bar))
}

/// A bar as Binance writes it. A market does not know how many trades were in it, nor their value: zero.
fn row(instrument: &Instrument, bar: &Bar) -> Value {
    let price = |price| instrument.price_text(price);
    json!([
        millis(bar.ts_open),
        price(bar.open),
        price(bar.high),
        price(bar.low),
        price(bar.close),
        instrument.qty_text(bar.volume),
        millis(bar.ts_event) - 1,
        "0",
        0,
        "0",
        "0",
        "0",
    ])
}

/// The last trades, as aggregates of one each.
async fn aggregates(State(served): State<Arc<Served>>, params: Params) -> Response {
    let trades = || {
        let symbol = &instrument(&served, &params)?.symbol;
        let limit = limit(&params)?;
        let from = number(&params, "fromId")?.map(|id| u64::try_from(id).unwrap_or(0));
        let recent = locked(&served.recent);
        let ticks = recent.iter().flat_map(|burst| burst.iter()).filter(|tick| tick.symbol == *symbol);
        let rows = ticks.filter_map(|tick| match tick.kind {
            TickKind::Trade { price, qty, aggressor } if from.is_none_or(|from| tick.id >= from) => {
                Some(json!({
                    "a": tick.id, "p": price.to_string(), "q": qty.to_string(), "f": tick.id, "l": tick.id,
                    "T": millis(tick.ts_event), "m": aggressor == Aggressor::Seller, "M": true,
                }))
            }
            _ => None,
        });
        let mut rows: Vec<_> = rows.collect();
        match from {
            Some(_) => rows.truncate(limit),
            None => drop(rows.drain(..rows.len().saturating_sub(limit))),
        }
        Ok(Value::Array(rows))
    };
    answer(&served, 4, trades())
}

async fn book_ticker(State(served): State<Arc<Served>>, params: Params) -> Response {
    if params.contains_key("symbol") {
        let one =
            instrument(&served, &params).map(|instrument| best(&served, instrument).unwrap_or(json!({})));
        return answer(&served, 2, one);
    }
    let all: Vec<_> =
        served.market.instruments().iter().filter_map(|instrument| best(&served, instrument)).collect();
    answer(&served, 4, Ok(Value::Array(all)))
}

fn best(served: &Served, instrument: &Instrument) -> Option<Value> {
    let quote = served.market.last(&instrument.symbol).1?;
    let TickKind::Quote { bid, ask, bid_size, ask_size } = quote.kind else { return None };
    Some(json!({
        "symbol": symbol_of(instrument),
        "bidPrice": bid.to_string(), "bidQty": bid_size.to_string(),
        "askPrice": ask.to_string(), "askQty": ask_size.to_string(),
    }))
}

/// A book of one level.
async fn depth(State(served): State<Arc<Served>>, params: Params) -> Response {
    let book = || {
        let quote = served.market.last(&instrument(&served, &params)?.symbol).1;
        let Some(Tick { id, kind: TickKind::Quote { bid, ask, bid_size, ask_size }, .. }) = quote else {
            return Ok(json!({ "lastUpdateId": 0, "bids": [], "asks": [] }));
        };
        let level = |price: rust_decimal::Decimal, size: rust_decimal::Decimal| {
            json!([[price.to_string(), size.to_string()]])
        };
        Ok(json!({ "lastUpdateId": id, "bids": level(bid, bid_size), "asks": level(ask, ask_size) }))
    };
    answer(&served, 5, book())
}
