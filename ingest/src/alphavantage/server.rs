//! Alpha Vantage's protocol on localhost, from a [`Market`].
//!
//! As the vendor does: every answer has status 200, errors are JSON objects even where CSV was asked for; a free key may
//! ask 25 times a day, with the key echoed when they are used up, and once a second; intraday bars, adjusted days and
//! `outputsize=full` are of paid plans; numbers are text, rows newest first, times those of New York; CSV ends its
//! lines with CR LF. `BRK-B` and `BRK.B` are one share.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::ActionKind;
use tradeflow_model::time::NANOS_PER_DAY;
use tradeflow_model::{Bar, Instrument, Interval, Timestamp};

use crate::secret::Secret;
use crate::vendor::{Control, Fault, Market, Misbehaviour, Server, Window, actions, bars};

const BURST: &str = "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more \
     sparingly (1 request per second). You may subscribe to any of the premium plans at \
     https://www.alphavantage.co/premium/ to lift the free key rate limit (25 requests per day), raise the per-second \
     burst limit, and instantly unlock all premium endpoints";
const BAD_KEY: &str = "the parameter apikey is invalid or missing. Please claim your free API key on \
     (https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds.";

/// What kind of Alpha Vantage it is.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The keys that it takes.
    pub keys: Vec<Secret>,
    /// Whether the plan is a paid one.
    pub premium: bool,
    /// Requests a day; `None` for a paid plan.
    pub per_day: Option<u64>,
    /// Requests a second; `None` for no such limit.
    pub per_second: Option<u64>,
}

impl ServerOptions {
    /// The free plan.
    pub fn free(key: Secret) -> Self {
        Self { keys: vec![key], premium: false, per_day: Some(25), per_second: Some(1) }
    }

    /// A paid plan.
    pub fn premium(key: Secret) -> Self {
        Self { keys: vec![key], premium: true, per_day: None, per_second: None }
    }
}

struct Vendor {
    market: Arc<dyn Market>,
    options: ServerOptions,
    zone: TimeZone,
    day: Option<Mutex<Window>>,
    second: Option<Mutex<Window>>,
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
    let window = |limit: Option<u64>, seconds| {
        limit.map(|limit| Mutex::new(Window::new(limit, Duration::from_secs(seconds))))
    };
    let vendor = Arc::new(Vendor {
        day: window(options.per_day, 86_400),
        second: window(options.per_second, 1),
        market,
        options,
        zone: TimeZoneDatabase::bundled().get("America/New_York").unwrap_or(TimeZone::UTC),
    });
    let router = Router::new().route("/query", get(query)).with_state(vendor);
    Server::start(listen, &control, control.guard(router, faulty)).await
}

fn faulty(fault: Fault) -> Response {
    match fault {
        Fault::Refuse => *information(BURST),
        Fault::Fail => {
            let html = [(header::CONTENT_TYPE, "text/html")];
            (StatusCode::SERVICE_UNAVAILABLE, html, "<html>Service Unavailable</html>").into_response()
        }
    }
}

fn answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Boxed, as it is the rarer half of most results.
type Refusal = Box<Response>;

fn information(text: &str) -> Refusal {
    Box::new(answer(&json!({ "Information": text })))
}

fn error_message(text: &str) -> Refusal {
    Box::new(answer(&json!({ "Error Message": text })))
}

type Parameters = BTreeMap<String, String>;

async fn query(State(vendor): State<Arc<Vendor>>, Query(parameters): Query<Parameters>) -> Response {
    vendor.answer(&parameters).await.unwrap_or_else(|refusal| *refusal)
}

impl Vendor {
    async fn answer(&self, parameters: &Parameters) -> Result<Response, Refusal> {
        let get = |name: &str| parameters.get(name).map_or("", String::as_str);
        let key = get("apikey");
        if !self.options.keys.iter().any(|known| known.expose() == key) {
            return Err(error_message(BAD_KEY));
        }
        self.count(key)?;
        let function = get("function");
        let is_full = get("outputsize") == "full";
        match function {
            "TIME_SERIES_DAILY" if is_full && !self.options.premium => Err(information(
                "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for the \
                 TIME_SERIES_DAILY endpoint. You may subscribe to any of the premium plans at \
                 https://www.alphavantage.co/premium/ to instantly unlock all premium features",
            )),
            "TIME_SERIES_INTRADAY" | "TIME_SERIES_DAILY_ADJUSTED" if !self.options.premium => {
                Err(information(
                    "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the premium \
                 plans at https://www.alphavantage.co/premium/ to instantly unlock all premium endpoints",
                ))
            }
            "TIME_SERIES_INTRADAY" => self.intraday(parameters).await,
            "TIME_SERIES_DAILY" | "TIME_SERIES_DAILY_ADJUSTED" => self.daily(function, parameters).await,
            "GLOBAL_QUOTE" => self.quote(parameters).await,
            _ => Err(error_message(&format!("This API function ({function}) does not exist."))),
        }
    }

    /// Counts a request against the limits of the day and the second.
    fn count(&self, key: &str) -> Result<(), Refusal> {
        let is_over = |window: &Option<Mutex<Window>>| {
            window
                .as_ref()
                .is_some_and(|window| window.lock().unwrap_or_else(PoisonError::into_inner).take(1).is_err())
        };
        if is_over(&self.second) {
            return Err(information(BURST));
        }
        if is_over(&self.day) {
            return Err(information(&format!(
                "We have detected your API key as {key} and our standard API rate limit is {} requests per day. Please \
                 subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly remove all \
                 daily rate limits.",
                self.options.per_day.unwrap_or_default()
            )));
        }
        Ok(())
    }

    fn instrument(&self, parameters: &Parameters, function: &str) -> Result<&Instrument, Refusal> {
        let asked = parameters
            .get("symbol")
            .map_or(String::new(), |symbol| symbol.to_ascii_uppercase().replace('.', "-"));
        let found = self.market.instruments().iter().find(|i| i.symbol.as_str().replace('.', "-") == asked);
        found.ok_or_else(|| {
            error_message(&format!(
                "Invalid API call. Please retry or visit the documentation \
                 (https://www.alphavantage.co/documentation/) for {function}."
            ))
        })
    }

    async fn bars(
        &self,
        symbol: &Instrument,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Bar>, Refusal> {
        let found = bars(&self.market, &symbol.symbol, interval, from, to).await;
        found.map_err(|why| Box::new((StatusCode::INTERNAL_SERVER_ERROR, why).into_response()))
    }

    async fn intraday(&self, parameters: &Parameters) -> Result<Response, Refusal> {
        let function = "TIME_SERIES_INTRADAY";
        let instrument = self.instrument(parameters, function)?;
        let invalid = || {
            error_message(&format!(
                "Invalid API call. Please retry or visit the documentation \
                 (https://www.alphavantage.co/documentation/) for {function}."
            ))
        };
        let word = parameters.get("interval").map_or("", String::as_str);
        let interval: Interval = match word {
            "1min" | "5min" | "15min" | "30min" => {
                word.trim_end_matches("in").parse().map_err(|_| invalid())?
            }
            "60min" => Interval::HOUR,
            _ => return Err(invalid()),
        };
        let now = self.market.now();
        let (from, to) = match parameters.get("month") {
            Some(month) => self.month(month).ok_or_else(invalid)?,
            None => (now.saturating_add(-30 * NANOS_PER_DAY), now),
        };
        // Regular hours, or from four to eight.
        let is_extended = parameters.get("extended_hours").is_none_or(|value| value != "false");
        let (open, close) = if is_extended { ((4, 0), (20, 0)) } else { ((9, 30), (16, 0)) };
        let clock = |(hour, minute)| Time::constant(hour, minute, 0, 0);
        let mut rows = Vec::new();
        for bar in self.bars(instrument, interval, from, to).await? {
            let local = self.zone.to_datetime(bar.ts_open.to_jiff());
            if (clock(open)..clock(close)).contains(&local.time()) {
                rows.push((local.strftime("%Y-%m-%d %H:%M:%S").to_string(), prices(instrument, &bar)));
            }
        }
        let is_full = parameters.get("outputsize").is_some_and(|size| size == "full");
        let rows = newest(rows, is_full);
        let meta = [
            ("Information", format!("Intraday ({word}) open, high, low, close prices and volume")),
            ("Symbol", instrument.symbol.to_string()),
            ("Last Refreshed", rows.first().map_or(String::new(), |(time, _)| time.clone())),
            ("Interval", word.to_owned()),
            ("Output Size", if is_full { "Full size" } else { "Compact" }.to_owned()),
            ("Time Zone", "US/Eastern".to_owned()),
        ];
        Ok(series(parameters, &meta, &format!("Time Series ({word})"), &rows))
    }

    fn month(&self, text: &str) -> Option<(Timestamp, Timestamp)> {
        let (year, month) = text.split_once('-')?;
        let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
        let next = first.last_of_month().tomorrow().ok()?;
        let instant = |date: Date| {
            let instant = self.zone.to_timestamp(DateTime::from(date)).ok()?;
            i64::try_from(instant.as_nanosecond()).ok().map(Timestamp::from_nanos)
        };
        (first.year() >= 2000).then_some(())?;
        Some((instant(first)?, instant(next)?))
    }

    async fn daily(&self, function: &str, parameters: &Parameters) -> Result<Response, Refusal> {
        let instrument = self.instrument(parameters, function)?;
        let is_full = parameters.get("outputsize").is_some_and(|size| size == "full");
        let is_adjusted = function == "TIME_SERIES_DAILY_ADJUSTED";
        let now = self.market.now();
        // Twenty years and more; a compact answer needs no more than half a year.
        let since = if is_full { -25 * 366 } else { -200 };
        let from = now.saturating_add(since * NANOS_PER_DAY);
        let actions = actions(&self.market, &instrument.symbol, from, now).await;
        let actions =
            actions.map_err(|why| Box::new((StatusCode::INTERNAL_SERVER_ERROR, why).into_response()))?;
        let mut rows = Vec::new();
        for bar in self.bars(instrument, Interval::DAY, from, now).await? {
            let mut fields = prices(instrument, &bar);
            if is_adjusted {
                let today = actions.iter().filter(|a| bar.ts_open <= a.ts_event && a.ts_event < bar.ts_event);
                let (mut dividend, mut split) = (Decimal::ZERO, Decimal::ONE);
                for action in today {
                    match action.kind {
                        ActionKind::Dividend { amount } => dividend += amount.to_decimal(),
                        ActionKind::Split { new, old } => split *= Decimal::from(new) / Decimal::from(old),
                    }
                }
                let close = fields[3].1.clone();
                fields.insert(4, ("adjusted close", close));
                fields.push(("dividend amount", format!("{dividend:.4}")));
                fields.push((
                    "split coefficient",
                    if split.scale() == 0 {
                        format!("{split}.0")
                    } else {
                        split.round_dp(6).normalize().to_string()
                    },
                ));
            }
            rows.push((date_of(instrument.calendar, &bar).to_string(), fields));
        }
        let rows = newest(rows, is_full);
        let what = if is_adjusted {
            "Daily Time Series with Splits and Dividend Events"
        } else {
            "Daily Prices (open, high, low, close) and Volumes"
        };
        let meta = [
            ("Information", what.to_owned()),
            ("Symbol", instrument.symbol.to_string()),
            ("Last Refreshed", rows.first().map_or(String::new(), |(time, _)| time.clone())),
            ("Output Size", if is_full { "Full size" } else { "Compact" }.to_owned()),
            ("Time Zone", "US/Eastern".to_owned()),
        ];
        Ok(series(parameters, &meta, "Time Series (Daily)", &rows))
    }

    async fn quote(&self, parameters: &Parameters) -> Result<Response, Refusal> {
        let Ok(instrument) = self.instrument(parameters, "GLOBAL_QUOTE") else {
            return Ok(answer(&json!({ "Global Quote": {} })));
        };
        let now = self.market.now();
        let days = self.bars(instrument, Interval::DAY, now.saturating_add(-14 * NANOS_PER_DAY), now).await?;
        let [.., before, last] = days.as_slice() else { return Ok(answer(&json!({ "Global Quote": {} }))) };
        let text = |price| instrument.price_text(price);
        let close = |bar: &Bar| bar.close.to_decimal(instrument.price_scale);
        let change = close(last) - close(before);
        let percent = (change / close(before) * Decimal::ONE_HUNDRED).round_dp(4);
        Ok(answer(&json!({ "Global Quote": {
            "01. symbol": instrument.symbol.as_str(), "02. open": text(last.open), "03. high": text(last.high),
            "04. low": text(last.low), "05. price": text(last.close), "06. volume": instrument.qty_text(last.volume),
            "07. latest trading day": date_of(instrument.calendar, last).to_string(),
            "08. previous close": text(before.close), "09. change": change.to_string(),
            "10. change percent": format!("{percent}%"),
        }})))
    }
}

fn date_of(calendar: Calendar, bar: &Bar) -> Date {
    calendar.session_at(bar.ts_open).map_or_else(|| calendar.local_date(bar.ts_open), |session| session.date)
}

type Fields = Vec<(&'static str, String)>;

fn prices(instrument: &Instrument, bar: &Bar) -> Fields {
    let text = |price| instrument.price_text(price);
    vec![
        ("open", text(bar.open)),
        ("high", text(bar.high)),
        ("low", text(bar.low)),
        ("close", text(bar.close)),
        ("volume", instrument.qty_text(bar.volume)),
    ]
}

/// Newest first, and of a compact answer the newest hundred.
fn newest(mut rows: Vec<(String, Fields)>, is_full: bool) -> Vec<(String, Fields)> {
    rows.reverse();
    if !is_full {
        rows.truncate(100);
    }
    rows
}

fn series(
    parameters: &Parameters,
    meta: &[(&str, String)],
    name: &str,
    rows: &[(String, Fields)],
) -> Response {
    if parameters.get("datatype").is_some_and(|kind| kind == "csv") {
        let names = |fields: &Fields| {
            fields.iter().map(|(name, _)| name.replace(' ', "_")).collect::<Vec<_>>().join(",")
        };
        let header =
            rows.first().map_or("open,high,low,close,volume".to_owned(), |(_, fields)| names(fields));
        let mut csv = format!("timestamp,{header}\r\n");
        for (time, fields) in rows {
            let values: Vec<_> = fields.iter().map(|(_, value)| value.as_str()).collect();
            csv.push_str(&format!("{time},{}\r\n", values.join(",")));
        }
        return ([(header::CONTENT_TYPE, "application/x-download")], csv).into_response();
    }
    let numbered = |fields: &[(&str, String)]| {
        let fields = fields
            .iter()
            .enumerate()
            .map(|(at, (name, value))| (format!("{}. {name}", at + 1), value.clone().into()));
        Value::Object(fields.collect::<Map<_, _>>())
    };
    // By hand: the vendor's order is newest first, and a map would sort.
    let points: Vec<_> =
        rows.iter().map(|(time, fields)| format!("{}:{}", json!(time), numbered(fields))).collect();
    let body = format!("{{\"Meta Data\":{},{}:{{{}}}}}", numbered(meta), json!(name), points.join(","));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
