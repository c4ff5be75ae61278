//! The calls: quotes and candles.
//!
//! The key goes in the header `X-Finnhub-Token`, never in an address, where it would end in errors and logs. Facts:
//! the vendor's OpenAPI file (`Finnhub-Stock-API/finnhub-go`, `api/openapi.yaml`), and replies that were seen.
//!
//! | answer | means |
//! |---|---|
//! | 401 | the key is missing or wrong; not tried again |
//! | 403, or "You don't have access to this resource." | the plan lacks it (candles, on the free plan); not tried again |
//! | 429 | too many calls: all calls wait, then again |
//! | 5xx, a broken connection | again, with growing pauses |
//! | 3xx, or a body that is no JSON | an error page: seen when a key was blocked; not tried again |
//! | a quote of zeros | the symbol is not known |
//! | `{"s":"no_data"}` | there are no candles |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use tradeflow_model::{AssetClass, Interval, Timestamp};
use url::Url;

use super::FinnhubConfig;
use super::wire::decimal;
use crate::calls::{Again, Calls, Failure, Rate, Retry};
use crate::history::with_causes;
use crate::secret::Secret;

/// The longest body that is read: a month of minutes of candles is about 3 MB.
const BODY_BYTES_MAX: usize = 16 << 20;

/// The longest stretch of intraday candles in one call: "one month", and the shortest month has 28 days.
const PAGE_SECS: i64 = 28 * 86_400;

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// 401.
    #[error("Finnhub refuses the key: {0} Check that it is right and that its account is active")]
    Refused(String),
    /// 403.
    #[error(
        "the Finnhub plan of this key does not include {path}: {text} Take a larger plan, or another vendor"
    )]
    Entitlement {
        /// What was asked for.
        path: String,
        /// What the vendor said.
        text: String,
    },
    /// 429, again and again.
    #[error(
        "Finnhub says, again and again, that there were too many calls: lower the rate, or wait a minute"
    )]
    RateLimited,
    /// 5xx, or no connection, again and again.
    #[error("Finnhub can't be reached: {0}")]
    Unavailable(String),
    /// An answer that makes no sense.
    #[error("Finnhub answers {path} with something unexpected: {why}")]
    Unexpected {
        /// What was asked for.
        path: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// There are no candles of this length.
    #[error("Finnhub has no candles of {0}: it has 1m, 5m, 15m, 30m, 1h, 1d and 1w")]
    NoSuchInterval(Interval),
}

impl Failure for RestError {
    fn again(&self) -> Again {
        match self {
            Self::RateLimited => Again::TooMany(None),
            Self::Unavailable(_) => Again::Later,
            _ => Again::Never,
        }
    }

    fn too_far_off(_: Duration) -> Self {
        Self::RateLimited
    }
}

/// Limits of calls, and how patient a call is. The defaults are those of the free plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls in a minute.
    pub per_minute: u32,
    /// Calls in a second; 30 on every plan.
    pub per_second: u32,
    /// When a call is made again after 429, a server error or a broken connection. The default's pauses outlast the
    /// minute after which the vendor counts anew.
    pub retry: Retry,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            per_minute: 60,
            per_second: 30,
            retry: Retry { attempts: 4, first: seconds(30), longest: seconds(60), wait_max: seconds(120) },
            timeout: seconds(15),
        }
    }
}

/// A quote: the last price and the day so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Time of the last price, to the second.
    pub ts_event: Timestamp,
    /// The last price.
    pub last: Decimal,
    /// Open of the day.
    pub open: Decimal,
    /// High of the day.
    pub high: Decimal,
    /// Low of the day.
    pub low: Decimal,
    /// Close of the day before.
    pub previous_close: Decimal,
}

/// A candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the usual five
pub struct Candle {
    /// Start of the interval. Of a day: an instant whose **UTC date** is the trade date; both midnight UTC and the
    /// open of the session were seen.
    pub ts_open: Timestamp,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    pub volume: Decimal,
}

/// Which candles: those that begin in `[from, to)`. Days are adjusted for splits, shorter ones are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candles {
    /// Chooses between stock, FX and crypto candles.
    pub class: AssetClass,
    /// The vendor's symbol.
    pub symbol: String,
    /// Their length.
    pub interval: Interval,
    /// Start.
    pub from: Timestamp,
    /// End.
    pub to: Timestamp,
}

/// A stretch `[from, to)` that one call may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Page {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Candles {
    /// The calls that it takes, oldest first: a month each for intraday candles, one for days and weeks.
    pub fn pages(&self) -> impl Iterator<Item = Page> + use<> {
        let page = match self.interval.nanos() {
            Some(_) => PAGE_SECS * 1_000_000_000,
            None => i64::MAX,
        };
        let (mut from, end) = (self.from, self.to);
        std::iter::from_fn(move || {
            let to = from.saturating_add(page).min(end);
            let page = (from < end).then_some(Page { from, to });
            from = to;
            page
        })
    }

    fn resolution(&self) -> Result<&'static str, RestError> {
        Ok(match self.interval.to_string().as_str() {
            "1m" => "1",
            "5m" => "5",
            "15m" => "15",
            "30m" => "30",
            "60m" | "1h" => "60",
            "1d" => "D",
            "1w" => "W",
            _ => return Err(RestError::NoSuchInterval(self.interval)),
        })
    }

    fn path(&self) -> &'static str {
        match self.class {
            AssetClass::FxPair => "forex/candle",
            AssetClass::CryptoSpot | AssetClass::Perpetual => "crypto/candle",
            AssetClass::Equity | AssetClass::Future => "stock/candle",
        }
    }
}

/// Finnhub's calls. Clones share the connection and the limits; use one for each key.
#[derive(Debug, Clone)]
pub struct Rest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    base: Url,
    key: Secret,
    calls: Calls,
    rate_limited: AtomicU64,
}

impl Rest {
    /// Calls with the configuration's key, address and limits; jitter from a seed.
    ///
    /// # Errors
    /// When the key can't stand in a header, or TLS can't be set up.
    pub fn new(config: &FinnhubConfig, seed: u64) -> Result<Self, RestError> {
        let unusable = || RestError::Refused("it holds characters that no key has.".into());
        let mut token = HeaderValue::from_str(config.key.expose()).map_err(|_| unusable())?;
        token.set_sensitive(true);
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(
                "x-finnhub-token".parse().expect("a header name"),
                token,
            )]))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.calls.timeout)
            .build()
            .map_err(|error| RestError::Unavailable(error.to_string()))?;
        let mut base = config.rest.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let rates = [Rate::per_minute(config.calls.per_minute), Rate::per_second(config.calls.per_second)];
        Ok(Self(Arc::new(Inner {
            http,
            base,
            key: config.key.clone(),
            calls: Calls::new(&rates, config.calls.retry, seed),
            rate_limited: AtomicU64::new(0),
        })))
    }

    /// How often "too many" was the answer.
    pub fn rate_limited(&self) -> u64 {
        self.0.rate_limited.load(Ordering::Relaxed)
    }

    /// The quote of a symbol; `None` when the vendor does not know it.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn quote(&self, symbol: &str) -> Result<Option<Quote>, RestError> {
        let body = self.get("quote", &[("symbol", symbol)]).await?;
        parse_quote(&body).map_err(|why| self.unexpected("quote", why))
    }

    /// All candles, page by page, oldest first.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn candles(&self, which: &Candles) -> Result<Vec<Candle>, RestError> {
        let mut all = Vec::new();
        for page in which.pages() {
            all.extend(self.page(which, page).await?);
        }
        Ok(all)
    }

    /// The candles of one page, oldest first.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn page(&self, which: &Candles, page: Page) -> Result<Vec<Candle>, RestError> {
        let second = |t: Timestamp| t.as_nanos().div_euclid(1_000_000_000);
        let path = which.path();
        // Both ends are inclusive, in whole seconds: the last one that begins before `to`.
        let (from, to) = (second(page.from).to_string(), (second(page.to) - 1).to_string());
        let query = [
            ("symbol", which.symbol.as_str()),
            ("resolution", which.resolution()?),
            ("from", from.as_str()),
            ("to", to.as_str()),
        ];
        let body = self.get(path, &query).await?;
        let mut candles = parse_candles(&body).map_err(|why| self.unexpected(path, why))?;
        candles.retain(|candle| page.from <= candle.ts_open && candle.ts_open < page.to);
        Ok(candles)
    }

    /// The body of an answer of 200.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<String, RestError> {
        let inner = &*self.0;
        let mut address = inner.base.join(path).map_err(|e| self.unexpected(path, e.to_string()))?;
        address.query_pairs_mut().extend_pairs(query);
        let once = || async {
            let answer = self.once(path, address.clone()).await;
            if answer == Err(RestError::RateLimited) {
                inner.rate_limited.fetch_add(1, Ordering::Relaxed);
            }
            answer
        };
        inner.calls.run(once).await
    }

    async fn once(&self, path: &str, address: Url) -> Result<String, RestError> {
        let gone = |error: reqwest::Error| {
            let text = with_causes(&error.without_url());
            RestError::Unavailable(self.0.key.redact(&text))
        };
        let mut response = self.0.http.get(address).send().await.map_err(gone)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(gone)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(self.unexpected(path, format!("a body of more than {BODY_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let body =
            String::from_utf8(body).map_err(|_| self.unexpected(path, "a body that is no text".into()))?;
        self.classify(path, status, body)
    }

    fn classify(&self, path: &str, status: u16, body: String) -> Result<String, RestError> {
        #[derive(Deserialize)]
        struct Complaint {
            error: String,
        }
        let complaint = serde_json::from_str::<Complaint>(&body).ok().map(|c| self.0.key.redact(&c.error));
        let text = complaint.clone().unwrap_or_default();
        match status {
            // Before 2021 this came with 401.
            _ if text.contains("access to this resource") => {
                Err(RestError::Entitlement { path: path.to_owned(), text })
            }
            401 => Err(RestError::Refused(text)),
            403 => Err(RestError::Entitlement { path: path.to_owned(), text }),
            429 => Err(RestError::RateLimited),
            _ if text.contains("limit reached") => Err(RestError::RateLimited),
            500..=599 => Err(RestError::Unavailable(format!("HTTP {status} {text}").trim_end().to_owned())),
            200 if complaint.is_none() => {
                let start = body.trim_start();
                if start.starts_with(['{', '[']) {
                    return Ok(body);
                }
                Err(self.unexpected(path, format!("no JSON, but {:?}", beginning(start))))
            }
            _ => {
                let said = complaint.unwrap_or_else(|| beginning(&body));
                Err(self.unexpected(path, format!("HTTP {status}, {said:?}")))
            }
        }
    }

    fn unexpected(&self, path: &str, why: String) -> RestError {
        RestError::Unexpected { path: path.to_owned(), why: self.0.key.redact(&why) }
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Reads a quote; `None` for the zeros that stand for an unknown symbol.
fn parse_quote(body: &str) -> Result<Option<Quote>, String> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(borrow)]
        c: &'a RawValue,
        #[serde(borrow)]
        o: &'a RawValue,
        #[serde(borrow)]
        h: &'a RawValue,
        #[serde(borrow)]
        l: &'a RawValue,
        #[serde(borrow)]
        pc: &'a RawValue,
        t: i64,
    }
    let raw: Raw<'_> = serde_json::from_str(body).map_err(|e| format!("no quote: {e}"))?;
    let quote = Quote {
        ts_event: Timestamp::from_secs(raw.t).ok_or_else(|| format!("t {} is no time", raw.t))?,
        last: decimal(raw.c.get())?,
        open: decimal(raw.o.get())?,
        high: decimal(raw.h.get())?,
        low: decimal(raw.l.get())?,
        previous_close: decimal(raw.pc.get())?,
    };
    let known = raw.t != 0 && !quote.last.is_zero();
    Ok(known.then_some(quote))
}

/// Reads candles, oldest first.
fn parse_candles(body: &str) -> Result<Vec<Candle>, String> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        s: String,
        #[serde(borrow, default)]
        t: Vec<&'a RawValue>,
        #[serde(borrow, default)]
        o: Vec<&'a RawValue>,
        #[serde(borrow, default)]
        h: Vec<&'a RawValue>,
        #[serde(borrow, default)]
        l: Vec<&'a RawValue>,
        #[serde(borrow, default)]
        c: Vec<&'a RawValue>,
        #[serde(borrow, default)]
        v: Vec<&'a RawValue>,
    }
    let raw: Raw<'_> = serde_json::from_str(body).map_err(|e| format!("no candles: {e}"))?;
    match raw.s.as_str() {
        "ok" => {}
        "no_data" => return Ok(Vec::new()),
        other => return Err(format!("candles with the status {other:?}")),
    }
    let lengths = [&raw.o, &raw.h, &raw.l, &raw.c, &raw.v].map(Vec::len);
    if lengths.iter().any(|length| *length != raw.t.len()) {
        return Err(format!("{} times, but {lengths:?} of open, high, low, close, volume", raw.t.len()));
    }
    let mut candles = Vec::with_capacity(raw.t.len());
    for (row, t) in raw.t.iter().enumerate() {
        let number =
            |values: &[&RawValue]| decimal(values[row].get()).map_err(|why| format!("row {row}: {why}"));
        // Of FX the times are floats.
        let seconds = number(&raw.t)?.normalize();
        let ts_open = (seconds.scale() == 0).then(|| i64::try_from(seconds.mantissa()).ok()).flatten();
        candles.push(Candle {
            ts_open: ts_open
                .and_then(Timestamp::from_secs)
                .ok_or_else(|| format!("row {row}: {} is no time", t.get()))?,
            open: number(&raw.o)?,
            high: number(&raw.h)?,
            low: number(&raw.l)?,
            close: number(&raw.c)?,
            volume: number(&raw.v)?,
        });
    }
    candles.sort_by_key(|candle| candle.ts_open);
    match candles.windows(2).find(|pair| pair[0].ts_open == pair[1].ts_open) {
        Some(pair) => Err(format!("two candles of {}", pair[0].ts_open)),
        None => Ok(candles),
    }
}

/// A quote's or candle's reading, for tests with recorded replies.
#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
