//! Klines of Binance: a thousand an answer, closed bars only.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;
use tradeflow_model::time::NANOS_PER_SEC;
use tradeflow_model::{AssetClass, Interval, IntervalUnit, Timestamp};

use crate::calls::Calls;
use crate::clock::Clock;
use crate::history::{
    Answer, Ask, Cut, History, HistoryError, Http, Piece, Rate, RawBar, Reach, Reply, Retry, sample,
};

/// Where market data is, without the parts for trading.
pub const BASE: &str = "https://data-api.binance.vision";
/// Rows of an answer, at most.
const PAGE: i64 = 1000;
/// The first day of trading.
const SINCE: &str = "2017-07-14";

/// The client.
pub struct BinanceHistory {
    http: Http,
    calls: Calls,
    clock: Arc<dyn Clock>,
}

impl BinanceHistory {
    /// A client of the interface at `base`. It takes no key.
    ///
    /// # Errors
    /// For an address that is none.
    pub fn new(base: &str, retry: Retry, clock: Arc<dyn Clock>, seed: u64) -> Result<Self, HistoryError> {
        // An answer weighs 2, of 6000 a minute for the address, which others may share.
        let rates = [Rate { count: 20, per: Duration::from_secs(1) }, Rate::per_minute(1000)];
        Ok(Self { http: Http::new(base, None)?, calls: Calls::new(&rates, retry, seed), clock })
    }

    async fn klines(
        &self,
        symbol: &str,
        interval: Interval,
        bounds: &[(&str, i64)],
    ) -> Result<Vec<RawBar>, HistoryError> {
        let word = interval_word(interval).ok_or_else(|| unsupported(interval))?;
        let bounds: Vec<_> = bounds.iter().map(|(name, value)| (*name, value.to_string())).collect();
        let mut query = vec![("symbol", symbol), ("interval", word)];
        query.extend(bounds.iter().map(|(name, value)| (*name, value.as_str())));
        self.calls
            .run(|| async {
                let reply = self.http.get("/api/v3/klines", &query).await?;
                match error_of(&reply, symbol) {
                    Some(error) => Err(error),
                    None => read(&reply.body),
                }
            })
            .await
    }

    async fn piece(&self, ask: &Ask) -> Result<Piece, HistoryError> {
        let millis = |time: Timestamp| time.as_nanos().div_euclid(1_000_000);
        let (from, end) = (millis(ask.from), millis(ask.to) - 1); // both ends are inclusive
        let bounds = [("startTime", from), ("endTime", end), ("limit", PAGE)];
        let bars = self.klines(&ask.symbol, ask.interval, &bounds).await?;
        let mut piece = Piece { bars, class: Some(AssetClass::CryptoSpot), ..Piece::default() };
        if piece.bars.is_empty() {
            // Not listed yet, or halted: where it goes on, so that nobody asks for years of nothing.
            let next = self.klines(&ask.symbol, ask.interval, &[("startTime", from), ("limit", 1)]).await?;
            piece.nothing_before = Some(next.first().map_or_else(|| self.clock.now(), |bar| bar.ts_open));
        }
        Ok(piece)
    }
}

fn unsupported(interval: Interval) -> HistoryError {
    HistoryError::Unsupported(format!(
        "binance has no bars of {interval}: choose 1s, 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h or 1d"
    ))
}

fn interval_word(interval: Interval) -> Option<&'static str> {
    const WORDS: [&str; 13] =
        ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"];
    let text = interval.to_string();
    WORDS.into_iter().find(|word| *word == text || (text == "60m" && *word == "1h"))
}

/// The error that an answer is.
fn error_of(reply: &Reply, symbol: &str) -> Option<HistoryError> {
    let said = serde_json::from_str::<Value>(&reply.body).ok();
    let code = said.as_ref().and_then(|body| body.get("code")?.as_i64());
    let text = || format!("binance, {symbol}: status {}: {}", reply.status, sample(&reply.body));
    Some(match (reply.status, code) {
        (200, None) => return None,
        (_, Some(-1121)) => {
            HistoryError::Symbol(format!("binance: does not know {symbol:?}; its symbols look like BTCUSDT"))
        }
        (_, Some(-1120)) => HistoryError::Unsupported(text()),
        // 418 is a ban for going on after 429; it says for how long.
        (429 | 418, _) | (_, Some(-1003)) => {
            HistoryError::RateLimited { what: text(), wait: reply.retry_after }
        }
        (451, _) => HistoryError::Refused(format!("{}; binance does not serve this country", text())),
        (500.., _) | (200, Some(-1000 | -1001 | -1007)) => HistoryError::Server(text()),
        _ => HistoryError::Refused(text()),
    })
}

/// Rows such as `[1499040000000, "0.0163", "0.8", "0.0157", "0.0158", "148976.1", 1499644799999, …]`.
fn read(body: &str) -> Result<Vec<RawBar>, HistoryError> {
    let malformed = |what: String| HistoryError::Malformed(format!("binance: {what}"));
    let rows: Vec<Vec<Value>> =
        serde_json::from_str(body).map_err(|error| malformed(format!("{error} in {}", sample(body))))?;
    let mut bars = Vec::with_capacity(rows.len());
    for row in &rows {
        let number = |at: usize| row.get(at)?.as_str().and_then(|text| Decimal::from_str_exact(text).ok());
        let time = row.first().and_then(Value::as_i64).and_then(Timestamp::from_millis);
        let bar = || {
            Some(RawBar {
                ts_open: time?,
                open: number(1)?,
                high: number(2)?,
                low: number(3)?,
                close: number(4)?,
                volume: number(5)?,
            })
        };
        bars.push(bar().ok_or_else(|| {
            malformed(format!("a row is no kline: {}", sample(&Value::from(row.clone()).to_string())))
        })?);
    }
    Ok(bars)
}

impl History for BinanceHistory {
    fn name(&self) -> &'static str {
        "binance"
    }

    fn reach(&self, _symbol: &str, interval: Interval, _now: Timestamp) -> Result<Reach, HistoryError> {
        interval_word(interval).ok_or_else(|| unsupported(interval))?;
        let length = if interval.unit() == IntervalUnit::Day {
            interval.nominal_nanos()
        } else {
            interval.nanos().unwrap_or(1)
        };
        Ok(Reach {
            earliest: SINCE.parse().ok(),
            cut: Cut::Span(PAGE * length),
            settles_in: 10 * NANOS_PER_SEC,
        })
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> Answer<'a, Piece> {
        Box::pin(self.piece(ask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_by_code_and_status() {
        let reply = |status, body: &str| Reply {
            status,
            retry_after: Some(Duration::from_secs(7)),
            is_json: true,
            body: body.into(),
        };
        let class = |status, body: &str| error_of(&reply(status, body), "X");
        assert_eq!(class(200, "[]"), None);
        assert!(matches!(
            class(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#),
            Some(HistoryError::Symbol(_))
        ));
        let banned = class(418, r#"{"code":-1003,"msg":"Way too much request weight used; IP banned"}"#);
        assert!(
            matches!(banned, Some(HistoryError::RateLimited { wait: Some(wait), .. }) if wait.as_secs() == 7)
        );
        assert!(matches!(class(403, "<html>"), Some(HistoryError::Refused(_))));
        assert!(matches!(class(451, "{}"), Some(HistoryError::Refused(_))));
        assert!(matches!(class(502, ""), Some(HistoryError::Server(_))));
    }

    #[test]
    fn klines_are_exact_and_nonsense_is_malformed() {
        let row = r#"[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19",308,"1","2","0"]]"#;
        let bars = read(row).unwrap();
        assert_eq!(
            (bars[0].open.to_string(), bars[0].volume.to_string()),
            ("0.01634790".into(), "148976.11427815".into())
        );
        assert_eq!(bars[0].ts_open.to_string(), "2017-07-03T00:00:00Z");
        for bad in ["{}", "[[1]]", "[[\"x\",\"1\",\"1\",\"1\",\"1\",\"1\"]]", "<html>", "[[1,1,1,1,1,1]]"] {
            assert!(matches!(read(bad), Err(HistoryError::Malformed(_))), "{bad}");
        }
    }
}
