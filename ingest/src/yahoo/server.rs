//! Yahoo's charts and quotes on localhost, from a [`Market`].
//!
//! As Yahoo does: prices and dividends are adjusted for every split until now and are 32-bit floats; a chart without
//! bars has no `timestamp`; times beyond what is kept get 422, unknown symbols 404 in a chart and nothing in a quote;
//! `range=max` coarsens; the running bar comes last, with the time of the last trade; quotes want a cookie and a crumb.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};
use tradeflow_model::market::ActionKind;
use tradeflow_model::time::{NANOS_PER_DAY, NANOS_PER_SEC};
use tradeflow_model::{AssetClass, Bar, CorporateAction, Instrument, Interval, Timestamp};

use crate::vendor::{Control, Fault, Market, Misbehaviour, Server, TickKind, actions, bars};

const COOKIE: &str = "A3=d=AQABBLocal&S=AQAAAg";
const CRUMB: &str = "l0calCrumb/1";

struct Vendor {
    market: Arc<dyn Market>,
}

/// What Yahoo calls an instrument: `AAPL`, `EURUSD=X`, `BTC-USD`.
pub fn vendor_symbol(instrument: &Instrument) -> String {
    let (base, quote) = (instrument.base.code(), instrument.quote.code());
    match instrument.class {
        AssetClass::Equity => instrument.symbol.as_str().to_owned(),
        AssetClass::FxPair => format!("{base}{quote}=X"),
        AssetClass::CryptoSpot | AssetClass::Perpetual => format!("{base}-{quote}"),
        AssetClass::Future => format!("{base}=F"),
    }
}

/// Starts it.
///
/// # Errors
/// When the address can't be listened on.
pub async fn start(
    market: Arc<dyn Market>,
    misbehaviour: Misbehaviour,
    listen: SocketAddr,
) -> io::Result<Server> {
    let control = Control::new(misbehaviour);
    let router = Router::new()
        .route("/v8/finance/chart/{symbol}", get(chart))
        .route("/v7/finance/quote", get(quote))
        .route("/consent", get(consent))
        .route("/v1/test/getcrumb", get(crumb))
        .with_state(Arc::new(Vendor { market }));
    Server::start(listen, &control, control.guard(router, faulty)).await
}

fn faulty(fault: Fault) -> Response {
    let page = [(header::CONTENT_TYPE, "text/html")];
    match fault {
        Fault::Refuse => (StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\r\n").into_response(),
        // An outage comes as a page with status 200.
        Fault::Fail => (page, "<html><body>Will be right back...</body></html>").into_response(),
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json;charset=utf-8")], body.to_string()).into_response()
}

fn chart_error(status: StatusCode, code: &str, description: &str) -> Response {
    answer(status, &json!({"chart": {"result": null, "error": {"code": code, "description": description}}}))
}

async fn consent() -> Response {
    // The page is an error, and the cookie comes with it all the same.
    (StatusCode::NOT_FOUND, [(header::SET_COOKIE, format!("{COOKIE}; Path=/; Secure"))], "<html></html>")
        .into_response()
}

async fn crumb(headers: HeaderMap) -> Response {
    if has_cookie(&headers) {
        CRUMB.into_response()
    } else {
        (StatusCode::UNAUTHORIZED, "Invalid Cookie").into_response()
    }
}

fn has_cookie(headers: &HeaderMap) -> bool {
    headers
        .get(header::COOKIE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|cookie| cookie.contains(COOKIE))
}

type Parameters = BTreeMap<String, String>;

impl Vendor {
    fn instrument(&self, symbol: &str) -> Option<&Instrument> {
        self.market.instruments().iter().find(|i| vendor_symbol(i) == symbol || i.symbol.as_str() == symbol)
    }
}

async fn quote(
    State(vendor): State<Arc<Vendor>>,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    if !has_cookie(&headers) || parameters.get("crumb").is_none_or(|crumb| crumb != CRUMB) {
        let error = json!({"code": "Unauthorized", "description": "Invalid Crumb"});
        return answer(StatusCode::UNAUTHORIZED, &json!({"finance": {"result": null, "error": error}}));
    }
    let symbols = parameters.get("symbols").map_or("", String::as_str);
    let quotes: Vec<_> = symbols.split(',').filter_map(|symbol| quote_of(&vendor, symbol)).collect();
    answer(StatusCode::OK, &json!({"quoteResponse": {"result": quotes, "error": null}}))
}

fn quote_of(vendor: &Vendor, symbol: &str) -> Option<Value> {
    let instrument = vendor.instrument(symbol)?;
    let (trade, _) = vendor.market.last(&instrument.symbol);
    let trade = trade?;
    let TickKind::Trade { price, .. } = trade.kind else { return None };
    let float = |value: Decimal| f64::from(value.to_f64().unwrap_or_default() as f32);
    Some(json!({
        "symbol": symbol, "quoteType": quote_type(instrument.class), "shortName": symbol, "exchange": "NMS",
        "fullExchangeName": "NasdaqGS", "currency": instrument.quote.code(), "marketState": "REGULAR",
        "regularMarketPrice": float(price), "regularMarketTime": trade.ts_event.as_nanos() / NANOS_PER_SEC,
        "regularMarketPreviousClose": float(price),
    }))
}

fn quote_type(class: AssetClass) -> &'static str {
    match class {
        AssetClass::Equity => "EQUITY",
        AssetClass::FxPair => "CURRENCY",
        AssetClass::CryptoSpot | AssetClass::Perpetual => "CRYPTOCURRENCY",
        AssetClass::Future => "FUTURE",
    }
}

async fn chart(
    State(vendor): State<Arc<Vendor>>,
    Path(symbol): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    chart_of(&vendor, &symbol, &parameters).await.unwrap_or_else(|refusal| refusal)
}

async fn chart_of(vendor: &Vendor, symbol: &str, parameters: &Parameters) -> Result<Response, Response> {
    let Some(instrument) = vendor.instrument(symbol) else {
        return Err(chart_error(StatusCode::NOT_FOUND, "Not Found", "No data found, symbol may be delisted"));
    };
    let now = vendor.market.now();
    let mut word = parameters.get("interval").map_or("1d", String::as_str);
    let (from, to) = period(parameters, now).ok_or_else(|| {
        chart_error(StatusCode::BAD_REQUEST, "Bad Request", "Invalid input - period1 and period2, or range")
    })?;
    if parameters.get("range").is_some_and(|range| range == "max") {
        word = "3mo";
    }
    let (interval, kept) = interval_of(word).ok_or_else(|| {
        chart_error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Unprocessable Entity",
            &format!("Invalid input - interval={word}"),
        )
    })?;
    let day = NANOS_PER_DAY;
    let is_kept = kept.is_none_or(|days| from.as_nanos() >= now.as_nanos() - days * day);
    let is_short = word != "1m" || to.as_nanos() - from.as_nanos() <= 8 * day;
    if !is_kept || !is_short {
        let days = if is_kept { 8 } else { kept.unwrap_or_default() };
        let second = |time: Timestamp| time.as_nanos() / NANOS_PER_SEC;
        return Err(chart_error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Unprocessable Entity",
            &format!(
                "{word} data not available for startTime={} and endTime={}. The requested range must be within the last \
                 {days} days.",
                second(from),
                second(to)
            ),
        ));
    }
    let failed = |why: String| (StatusCode::INTERNAL_SERVER_ERROR, why).into_response();
    let found = bars(&vendor.market, &instrument.symbol, interval, from, to).await.map_err(failed)?;
    let actions = actions(&vendor.market, &instrument.symbol, from, now).await.map_err(failed)?;
    let mut table = Columns::default();
    for bar in &found {
        table.push(instrument, bar, &actions);
    }
    let running = vendor.market.last(&instrument.symbol).0.filter(|tick| tick.ts_event < to);
    if let Some((time, TickKind::Trade { price, .. })) = running.map(|tick| (tick.ts_event, tick.kind))
        && found.last().is_none_or(|bar| bar.ts_event <= time)
    {
        table.running(time, price);
    }
    let shown = if interval == Interval::HOUR { "1h" } else { word };
    let mut result = json!({
        "meta": {
            "currency": instrument.quote.code(), "symbol": symbol, "exchangeName": "NMS",
            "fullExchangeName": "NasdaqGS", "instrumentType": quote_type(instrument.class), "gmtoffset": -18000,
            "timezone": "EST", "exchangeTimezoneName": "America/New_York", "priceHint": 2, "dataGranularity": shown,
            "range": "", "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
        },
        "indicators": { "quote": [table.quote()] },
    });
    if !table.timestamp.is_empty() {
        result["timestamp"] = json!(table.timestamp);
        if interval == Interval::DAY {
            result["indicators"]["adjclose"] = json!([{ "adjclose": table.close }]);
        }
    }
    let within: Vec<_> = actions.iter().filter(|action| action.ts_event < to).collect();
    if parameters.contains_key("events") && !within.is_empty() {
        result["events"] = events(&within, &actions);
    }
    Ok(answer(StatusCode::OK, &json!({"chart": {"result": [result], "error": null}})))
}

fn period(parameters: &Parameters, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let second = |name: &str| Timestamp::from_secs(parameters.get(name)?.parse().ok()?);
    if let (Some(from), Some(to)) = (second("period1"), second("period2")) {
        return (from < to).then_some((from, to));
    }
    let days = match parameters.get("range")?.as_str() {
        "1d" => 1,
        "5d" => 5,
        "1mo" => 30,
        "3mo" => 91,
        "6mo" => 182,
        "1y" => 365,
        "2y" => 730,
        "5y" => 1826,
        "10y" => 3652,
        "max" => 9000,
        _ => return None,
    };
    Some((now.saturating_add(-days * NANOS_PER_DAY), now))
}

/// The interval of a word, and for how many days such bars are kept. Months come as days: nobody asks for them.
fn interval_of(word: &str) -> Option<(Interval, Option<i64>)> {
    Some(match word {
        "1m" => (Interval::MINUTE, Some(30)),
        "2m" | "5m" | "15m" | "30m" => (word.parse().ok()?, Some(60)),
        "60m" | "1h" => (Interval::HOUR, Some(730)),
        "1d" | "3mo" => (Interval::DAY, None),
        _ => return None,
    })
}

/// The shares that one share of time `t` has become.
fn splits_after(actions: &[CorporateAction], t: Timestamp) -> Decimal {
    let later = actions.iter().filter(|action| action.ts_event > t);
    later.fold(Decimal::ONE, |product, action| match action.kind {
        ActionKind::Split { new, old } => product * Decimal::from(new) / Decimal::from(old),
        ActionKind::Dividend { .. } => product,
    })
}

/// As Yahoo keeps numbers.
fn float(value: Decimal) -> f64 {
    f64::from(value.to_f64().unwrap_or_default() as f32)
}

#[derive(Default)]
struct Columns {
    timestamp: Vec<i64>,
    open: Vec<f64>,
    high: Vec<f64>,
    low: Vec<f64>,
    close: Vec<f64>,
    volume: Vec<u64>,
}

impl Columns {
    fn push(&mut self, instrument: &Instrument, bar: &Bar, actions: &[CorporateAction]) {
        let ratio = splits_after(actions, bar.ts_open);
        let price = |price: tradeflow_model::Price| float(price.to_decimal(instrument.price_scale) / ratio);
        self.timestamp.push(bar.ts_open.as_nanos() / NANOS_PER_SEC);
        self.open.push(price(bar.open));
        self.high.push(price(bar.high));
        self.low.push(price(bar.low));
        self.close.push(price(bar.close));
        let volume = bar.volume.to_decimal(instrument.size_scale) * ratio;
        self.volume.push(volume.round().to_u64().unwrap_or_default());
    }

    /// The bar of the running session, of which nothing but the last trade is told.
    fn running(&mut self, time: Timestamp, price: Decimal) {
        self.timestamp.push(time.as_nanos() / NANOS_PER_SEC);
        for column in [&mut self.open, &mut self.high, &mut self.low, &mut self.close] {
            column.push(float(price));
        }
        self.volume.push(0);
    }

    fn quote(&self) -> Value {
        if self.timestamp.is_empty() {
            return json!({});
        }
        json!({"open": self.open, "high": self.high, "low": self.low, "close": self.close, "volume": self.volume})
    }
}

fn events(within: &[&CorporateAction], all: &[CorporateAction]) -> Value {
    let (mut dividends, mut splits) = (serde_json::Map::new(), serde_json::Map::new());
    for action in within {
        let second = action.ts_event.as_nanos() / NANOS_PER_SEC;
        match action.kind {
            ActionKind::Dividend { amount } => {
                // Of a split of the same date too: the amount is that of a share after it.
                let ratio = splits_after(all, action.ts_event.saturating_add(-1));
                let amount = float(amount.to_decimal() / ratio);
                dividends.insert(second.to_string(), json!({"amount": amount, "date": second}));
            }
            ActionKind::Split { new, old } => {
                let split = json!({"date": second, "numerator": new, "denominator": old, "splitRatio": format!("{new}:{old}")});
                splits.insert(second.to_string(), split);
            }
        }
    }
    let mut events = serde_json::Map::new();
    for (name, map) in [("dividends", dividends), ("splits", splits)] {
        if !map.is_empty() {
            events.insert(name.into(), map.into());
        }
    }
    events.into()
}
