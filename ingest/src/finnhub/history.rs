//! Candles of Finnhub, of plans that have them.

use tradeflow_model::time::NANOS_PER_DAY;
use tradeflow_model::{AssetClass, Interval, Timestamp};

use super::{Candles, Page, Rest, RestError};
use crate::history::{Answer, Ask, Cut, History, HistoryError, Piece, RawBar, Reach};

/// Exchanges of currency pairs, as symbols such as `OANDA:EUR_USD` begin; all others trade coins.
const FX: [&str; 8] = ["OANDA", "FXCM", "FOREX.COM", "IC MARKETS", "ICM", "FXPIG", "PEPPERSTONE", "SAXO"];

/// The client. Keys, limits and retries are those of [`Rest`].
pub struct FinnhubHistory(Rest);

impl FinnhubHistory {
    /// History through these calls.
    pub fn new(rest: Rest) -> Self {
        Self(rest)
    }
}

fn class_of(symbol: &str) -> AssetClass {
    match symbol.split_once(':') {
        None => AssetClass::Equity,
        Some((exchange, _)) if FX.contains(&exchange) => AssetClass::FxPair,
        Some(_) => AssetClass::CryptoSpot,
    }
}

impl History for FinnhubHistory {
    fn name(&self) -> &'static str {
        "finnhub"
    }

    fn reach(&self, symbol: &str, interval: Interval, _now: Timestamp) -> Result<Reach, HistoryError> {
        if interval == Interval::DAY {
            if class_of(symbol) == AssetClass::Equity {
                return Err(HistoryError::Unsupported(
                    "finnhub's daily bars of shares are adjusted for splits, and the catalog keeps what was traded: fetch \
                     them from yahoo or alphavantage, or shorter bars"
                        .into(),
                ));
            }
            return Ok(Reach { earliest: None, cut: Cut::Whole, settles_in: NANOS_PER_DAY });
        }
        // A month of intraday candles at most, and the shortest has 28 days.
        Ok(Reach { earliest: None, cut: Cut::Span(28 * NANOS_PER_DAY), settles_in: NANOS_PER_DAY / 24 })
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> Answer<'a, Piece> {
        Box::pin(async move {
            let class = class_of(&ask.symbol);
            let which = Candles {
                class,
                symbol: ask.symbol.clone(),
                interval: ask.interval,
                from: ask.from,
                to: ask.to,
            };
            let page = Page { from: ask.from, to: ask.to };
            let candles = self.0.page(&which, page).await.map_err(error_of)?;
            let bars = candles.iter().map(|candle| RawBar {
                ts_open: candle.ts_open,
                open: candle.open,
                high: candle.high,
                low: candle.low,
                close: candle.close,
                volume: candle.volume,
            });
            Ok(Piece { bars: bars.collect(), class: Some(class), ..Piece::default() })
        })
    }
}

fn error_of(error: RestError) -> HistoryError {
    let text = error.to_string();
    match error {
        RestError::Refused(_) => HistoryError::Key(text),
        RestError::Entitlement { .. } => HistoryError::Plan(text),
        RestError::RateLimited => HistoryError::RateLimited { what: text, wait: None },
        RestError::Unavailable(_) => HistoryError::Network(text),
        RestError::NoSuchInterval(_) => HistoryError::Unsupported(text),
        RestError::Unexpected { .. } => HistoryError::Malformed(text),
    }
}
