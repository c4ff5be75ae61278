//! Alpha Vantage: daily and intraday bars of US shares over its one REST endpoint.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`AlphaVantage`], a [`History`] |
//! | `errors.rs` | errors, which come with HTTP status 200 |
//! | `series.rs` | the time series of an answer |
//! | `server.rs` | a local server that speaks the protocol |
//!
//! What a free key gives changes: intraday bars, adjusted daily bars (which carry splits and dividends) and more than
//! the newest 100 days are of paid plans. The client asks for what is best and makes do with less, with a note, where
//! the vendor says "premium".
//!
//! *Limitations*: shares and funds only (its FX and crypto functions have shapes of their own); weekly and monthly bars
//! are to be aggregated from daily ones.

mod errors;
mod series;
pub mod server;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use tradeflow_model::calendar::Calendar;
use tradeflow_model::time::NANOS_PER_DAY;
use tradeflow_model::{AssetClass, Interval, Timestamp};

use crate::calls::Calls;
use crate::history::{Answer, Ask, Cut, History, HistoryError, Http, Piece, Rate, Reach, Retry};
use crate::secret::Secret;

pub use errors::classify;
pub use series::{GlobalQuote, global_quote, time_series};

/// Where the vendor is.
pub const BASE: &str = "https://www.alphavantage.co";
/// The newest points that `outputsize=compact` gives.
const COMPACT: usize = 100;
/// The first month of intraday bars.
const INTRADAY_SINCE: &str = "2000-01-01T00:00:00-05:00";

/// The client.
#[derive(Debug)]
pub struct AlphaVantage {
    http: Http,
    calls: Calls,
    zone: TimeZone,
    /// Whether the vendor has said that adjusted daily bars are not in the plan: asking again would cost one of few
    /// requests a day.
    no_adjusted: AtomicBool,
}

impl AlphaVantage {
    /// A client with a key. Free keys may ask once a second and 25 times a day; the day is the vendor's to count, paid
    /// plans have no such limit.
    ///
    /// # Errors
    /// For an address that is none.
    pub fn new(base: &str, key: Secret, retry: Retry, seed: u64) -> Result<Self, HistoryError> {
        // A little more than a second apart, because requests don't arrive as evenly as they leave.
        let rate = Rate { count: 1, per: Duration::from_millis(1100) };
        Self::with_rates(base, key, &[rate], retry, seed)
    }

    /// The same with other limits, such as those of a paid plan.
    ///
    /// # Errors
    /// For an address that is none.
    pub fn with_rates(
        base: &str,
        key: Secret,
        rates: &[Rate],
        retry: Retry,
        seed: u64,
    ) -> Result<Self, HistoryError> {
        Ok(Self {
            http: Http::new(base, Some(("apikey", key)))?,
            calls: Calls::new(rates, retry, seed),
            zone: TimeZoneDatabase::bundled().get("America/New_York").unwrap_or(TimeZone::UTC),
            no_adjusted: AtomicBool::new(false),
        })
    }

    /// One question; errors are told from answers by what they say.
    async fn ask(&self, query: &[(&str, &str)]) -> Result<String, HistoryError> {
        self.calls
            .run(|| async {
                let reply = self.http.get("/query", query).await?;
                let symbol = query.iter().find(|(name, _)| *name == "symbol").map_or("", |(_, value)| value);
                match classify(&reply, symbol) {
                    Some(error) => Err(error.redacted(|text| self.http.redact(text))),
                    None => Ok(reply.body),
                }
            })
            .await
    }

    async fn intraday(&self, ask: &Ask, interval: &'static str) -> Result<Piece, HistoryError> {
        let month = self.zone.to_datetime(ask.from.to_jiff()).date();
        let month = format!("{:04}-{:02}", month.year(), month.month());
        let query = [
            ("function", "TIME_SERIES_INTRADAY"),
            ("symbol", ask.symbol.as_str()),
            ("interval", interval),
            ("month", &month),
            ("outputsize", "full"),
            ("adjusted", "false"),
            ("extended_hours", "false"),
            ("datatype", "json"),
        ];
        let body = self.ask(&query).await?;
        let mut piece = self.parse(&body)?;
        piece.notes.push("intraday bars come without splits and dividends: fetch 1d too for these".into());
        Ok(piece)
    }

    async fn daily(&self, ask: &Ask) -> Result<Piece, HistoryError> {
        if !self.no_adjusted.load(Ordering::Relaxed) {
            match self.days("TIME_SERIES_DAILY_ADJUSTED", ask, "full").await {
                Err(HistoryError::Plan(_)) => self.no_adjusted.store(true, Ordering::Relaxed),
                other => return other,
            }
        }
        let mut piece = match self.days("TIME_SERIES_DAILY", ask, "full").await {
            Err(HistoryError::Plan(_)) => {
                let piece = self.days("TIME_SERIES_DAILY", ask, "compact").await?;
                self.check_compact(&piece, ask)?;
                piece
            }
            other => other?,
        };
        piece.notes.push(
            "this key's plan has no TIME_SERIES_DAILY_ADJUSTED: splits and dividends are not included; get them with \
             `tradeflow fetch yahoo`"
                .into(),
        );
        Ok(piece)
    }

    /// Whether the newest days reach back to what was asked for; without them a hole would pass for a holiday.
    fn check_compact(&self, piece: &Piece, ask: &Ask) -> Result<(), HistoryError> {
        let Some(first) = piece.bars.first().filter(|_| piece.bars.len() >= COMPACT) else { return Ok(()) };
        let asked = Calendar::Nyse.sessions(ask.from, ask.to).next().map_or(ask.from, |session| session.open);
        if asked >= first.ts_open {
            return Ok(());
        }
        Err(HistoryError::Plan(format!(
            "{}: this key's plan gives the newest {COMPACT} days only, which begin at {}; ask with --from {} or later, \
             or use a paid key, or `tradeflow fetch yahoo`",
            ask.symbol,
            first.ts_open,
            self.zone.to_datetime(first.ts_open.to_jiff()).date()
        )))
    }

    async fn days(&self, function: &str, ask: &Ask, size: &str) -> Result<Piece, HistoryError> {
        let query = [
            ("function", function),
            ("symbol", ask.symbol.as_str()),
            ("outputsize", size),
            ("datatype", "json"),
        ];
        let body = self.ask(&query).await?;
        self.parse(&body)
    }

    fn parse(&self, body: &str) -> Result<Piece, HistoryError> {
        let mut piece = time_series(body).map_err(|error| error.redacted(|text| self.http.redact(text)))?;
        piece.class = Some(AssetClass::Equity);
        Ok(piece)
    }

    /// The last price of a symbol.
    ///
    /// # Errors
    /// As [`History::fetch`]; [`HistoryError::Symbol`] for one that the vendor does not know.
    pub async fn quote(&self, symbol: &str) -> Result<GlobalQuote, HistoryError> {
        let body =
            self.ask(&[("function", "GLOBAL_QUOTE"), ("symbol", symbol), ("datatype", "json")]).await?;
        global_quote(&body, symbol).map_err(|error| error.redacted(|text| self.http.redact(text)))
    }
}

/// The vendor's word for an intraday interval.
fn interval_word(interval: Interval) -> Option<&'static str> {
    Some(match interval.to_string().as_str() {
        "1m" => "1min",
        "5m" => "5min",
        "15m" => "15min",
        "30m" => "30min",
        "60m" | "1h" => "60min",
        _ => return None,
    })
}

impl History for AlphaVantage {
    fn name(&self) -> &'static str {
        "alphavantage"
    }

    fn reach(&self, _symbol: &str, interval: Interval, _now: Timestamp) -> Result<Reach, HistoryError> {
        let settles_in = 2 * NANOS_PER_DAY;
        if interval == Interval::DAY {
            return Ok(Reach { earliest: None, cut: Cut::Whole, settles_in });
        }
        if interval_word(interval).is_none() {
            return Err(HistoryError::Unsupported(format!(
                "alphavantage has no bars of {interval}: choose 1m, 5m, 15m, 30m, 1h or 1d"
            )));
        }
        let earliest = INTRADAY_SINCE.parse().ok();
        Ok(Reach { earliest, cut: Cut::Months(self.zone.clone()), settles_in })
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> Answer<'a, Piece> {
        Box::pin(async move {
            match interval_word(ask.interval) {
                Some(word) => self.intraday(ask, word).await,
                None => self.daily(ask).await,
            }
        })
    }
}
