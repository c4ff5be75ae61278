//! The time series of an answer, JSON or CSV: numbers as text, local times without an offset, newest first.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use rust_decimal::Decimal;
use serde_json::Value;
use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::ActionKind;
use tradeflow_model::{Money, Timestamp};

use crate::history::{HistoryError, Piece, RawBar, ex_time, sample};

/// The zone of shares, which CSV does not name.
const EASTERN: &str = "US/Eastern";

fn malformed(what: impl std::fmt::Display) -> HistoryError {
    HistoryError::Malformed(format!("alphavantage: {what}"))
}

/// Reads the series of an answer that is no error: bars sorted by time, and the splits and dividends of adjusted days.
/// A row that can't be read is left out, with a note.
///
/// # Errors
/// [`HistoryError::Malformed`] for an answer without a series.
pub fn time_series(body: &str) -> Result<Piece, HistoryError> {
    let rows = if body.trim_start().starts_with('{') { of_json(body)? } else { of_csv(body)? };
    let mut piece = Piece::default();
    let mut bad: Option<(u64, String)> = None;
    for (time, fields) in &rows.rows {
        match row(time, fields, &rows.zone) {
            Ok((bar, actions)) => {
                piece.bars.push(bar);
                piece.actions.extend(actions);
            }
            Err(why) => bad.get_or_insert((0, format!("{time}: {why}"))).0 += 1,
        }
    }
    if let Some((count, first)) = bad {
        if piece.bars.is_empty() {
            return Err(malformed(format!("none of {count} rows can be read, such as {first}")));
        }
        piece
            .notes
            .push(format!("alphavantage: {count} rows can't be read and were left out, such as {first}"));
    }
    piece.bars.sort_by_key(|bar| bar.ts_open);
    piece.actions.sort_by_key(|(time, _)| *time);
    Ok(piece)
}

/// Rows by their time as text, with fields by their plain names.
struct Rows {
    zone: TimeZone,
    rows: Vec<(String, BTreeMap<String, String>)>,
}

/// `open` of `1. open`: the numbers before the names shift from function to function.
fn plain(name: &str) -> &str {
    name.split_once(". ").map_or(name, |(_, rest)| rest)
}

fn of_json(body: &str) -> Result<Rows, HistoryError> {
    let object: BTreeMap<String, Value> =
        serde_json::from_str(body).map_err(|error| malformed(format!("{error} in {}", sample(body))))?;
    let (_, series) = object
        .iter()
        .find(|(key, _)| key.contains("Time Series"))
        .ok_or_else(|| malformed(format!("no time series in {}", sample(body))))?;
    let meta = object.get("Meta Data").and_then(Value::as_object);
    let zone = meta.and_then(|meta| meta.iter().find(|(key, _)| plain(key) == "Time Zone")?.1.as_str());
    let points = series.as_object().ok_or_else(|| malformed("the time series is not an object"))?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = points.iter().map(|(time, point)| {
        let fields = point.as_object().into_iter().flatten();
        (time.clone(), fields.map(|(name, value)| (plain(name).to_owned(), text(value))).collect())
    });
    Ok(Rows { zone: zone_of(zone.unwrap_or(EASTERN))?, rows: rows.collect() })
}

fn of_csv(body: &str) -> Result<Rows, HistoryError> {
    let mut lines = body.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let header: Vec<_> = lines.next().unwrap_or_default().split(',').collect();
    if !matches!(header.first(), Some(&("timestamp" | "time"))) {
        return Err(malformed(format!("neither a time series nor an error: {}", sample(body))));
    }
    let rows = lines.map(|line| {
        let mut values = line.split(',');
        let time = values.next().unwrap_or_default().to_owned();
        (time, header[1..].iter().map(|name| name.replace('_', " ")).zip(values.map(str::to_owned)).collect())
    });
    Ok(Rows { zone: zone_of(EASTERN)?, rows: rows.collect() })
}

fn zone_of(name: &str) -> Result<TimeZone, HistoryError> {
    TimeZoneDatabase::bundled()
        .get(name)
        .map_err(|_| malformed(format!("the time zone {name:?} is not known")))
}

type Row = (RawBar, Vec<(Timestamp, ActionKind)>);

fn row(time: &str, fields: &BTreeMap<String, String>, zone: &TimeZone) -> Result<Row, String> {
    let optional = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(text) => {
            Decimal::from_str_exact(text.trim()).map(Some).map_err(|_| format!("{name} is {text:?}"))
        }
    };
    let number = |name: &str| optional(name)?.ok_or_else(|| format!("has no {name}"));
    let mut actions = Vec::new();
    let ts_open = match time.parse::<Date>() {
        Ok(date) if time.len() == 10 => {
            let ex = ex_time(Calendar::Nyse, date).ok_or("lies outside the calendar")?;
            if let Some(amount) = optional("dividend amount")?.filter(|amount| !amount.is_zero()) {
                let amount = Money::from_decimal(amount).map_err(|why| format!("dividend {amount} {why}"))?;
                actions.push((ex, ActionKind::Dividend { amount }));
            }
            if let Some(coefficient) = optional("split coefficient")?.filter(|c| *c != Decimal::ONE) {
                let (new, old) =
                    ratio(coefficient).ok_or_else(|| format!("split coefficient is {coefficient}"))?;
                actions.push((ex, ActionKind::Split { new, old }));
            }
            match Calendar::Nyse.session_on(date) {
                Some(session) => session.open,
                None => instant(zone, date.at(0, 0, 0, 0))?,
            }
        }
        _ => instant(zone, time.parse::<DateTime>().map_err(|_| "is not a time")?)?,
    };
    let bar = RawBar {
        ts_open,
        open: number("open")?,
        high: number("high")?,
        low: number("low")?,
        close: number("close")?,
        volume: optional("volume")?.unwrap_or_default(),
    };
    Ok((bar, actions))
}

/// A local time; of those that a change of clocks repeats the first, which shares never trade in.
fn instant(zone: &TimeZone, local: DateTime) -> Result<Timestamp, String> {
    let instant = zone.to_timestamp(local).map_err(|error| error.to_string())?;
    i64::try_from(instant.as_nanosecond())
        .map(Timestamp::from_nanos)
        .map_err(|_| "lies outside 1677 to 2262".into())
}

/// Shares after and before, of a coefficient that may be rounded (`0.0333` for one of thirty): the fraction with the
/// smallest denominator that is printed so.
fn ratio(coefficient: Decimal) -> Option<(u32, u32)> {
    let coefficient = coefficient.normalize();
    let half_unit = Decimal::new(5, coefficient.scale() + 1);
    (1_u32..=10_000).find_map(|old| {
        let new = (coefficient * Decimal::from(old)).round();
        let is_close = (new / Decimal::from(old) - coefficient).abs() <= half_unit;
        // Few decimals are meant exactly: 1.5 is three for two, not the 1.45 that rounds to it.
        let is_exact = coefficient.scale() > 2 || new == coefficient * Decimal::from(old);
        let new = u32::try_from(new).ok().filter(|new| *new > 0)?;
        (is_close && is_exact).then_some((new, old))
    })
}

/// The last price of a symbol, at the end of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalQuote {
    /// The symbol.
    pub symbol: String,
    /// The price.
    pub price: Decimal,
    /// Close of the day before.
    pub previous_close: Decimal,
    /// Shares traded.
    pub volume: Decimal,
    /// The trade date.
    pub day: Date,
}

/// Reads the answer to `GLOBAL_QUOTE`.
///
/// # Errors
/// [`HistoryError::Symbol`] for the empty object that an unknown symbol gets.
pub fn global_quote(body: &str, symbol: &str) -> Result<GlobalQuote, HistoryError> {
    let object: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(body).map_err(|error| malformed(format!("{error} in {}", sample(body))))?;
    let quote =
        object.get("Global Quote").ok_or_else(|| malformed(format!("no quote in {}", sample(body))))?;
    if quote.is_empty() {
        return Err(HistoryError::Symbol(format!("alphavantage: does not know {symbol:?}")));
    }
    let field = |name: &str| {
        let found = quote.iter().find(|(key, _)| plain(key) == name);
        found.map(|(_, value)| value.as_str()).ok_or_else(|| malformed(format!("the quote has no {name}")))
    };
    let number = |name: &str| {
        let text = field(name)?;
        Decimal::from_str_exact(text).map_err(|_| malformed(format!("{name} of the quote is {text:?}")))
    };
    Ok(GlobalQuote {
        symbol: field("symbol")?.to_owned(),
        price: number("price")?,
        previous_close: number("previous close")?,
        volume: number("volume")?,
        day: field("latest trading day")?.parse().map_err(|_| malformed("the quote's day is not a date"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADJUSTED: &str = r#"{"Meta Data":{"1. Information":"Daily Time Series with Splits and Dividend Events",
        "2. Symbol":"ACME","3. Last Refreshed":"2024-06-10","4. Output Size":"Compact","5. Time Zone":"US/Eastern"},
        "Time Series (Daily)":{
        "2024-06-10":{"1. open":"12.00","2. high":"12.50","3. low":"11.50","4. close":"12.1234","5. adjusted close":"12.1",
          "6. volume":"1000","7. dividend amount":"0.0000","8. split coefficient":"10.0"},
        "2024-06-07":{"1. open":"120.00","2. high":"125.00","3. low":"115.00","4. close":"121.00","5. adjusted close":"12.0",
          "6. volume":"100","7. dividend amount":"0.2500","8. split coefficient":"1.0"},
        "2024-06-06":{"1. open":"None","2. high":"1","3. low":"1","4. close":"1","6. volume":"1"}}}"#;

    #[test]
    fn adjusted_days_give_raw_prices_and_actions_oldest_first() {
        let piece = time_series(ADJUSTED).unwrap();
        let opens: Vec<_> = piece.bars.iter().map(|bar| bar.ts_open.to_string()).collect();
        assert_eq!(opens, ["2024-06-07T13:30:00Z", "2024-06-10T13:30:00Z"]);
        assert_eq!(piece.bars[1].close.to_string(), "12.1234");
        assert_eq!(piece.bars[0].volume, Decimal::from(100));
        let amount = Money::from_decimal("0.25".parse().unwrap()).unwrap();
        assert_eq!(
            piece.actions,
            [
                (piece.bars[0].ts_open, ActionKind::Dividend { amount }),
                (piece.bars[1].ts_open, ActionKind::Split { new: 10, old: 1 })
            ]
        );
        assert!(
            piece.notes[0].contains("1 rows") && piece.notes[0].contains("2024-06-06"),
            "{:?}",
            piece.notes
        );
    }

    #[test]
    fn local_times_follow_daylight_saving() {
        let csv = "timestamp,open,high,low,close,volume\r\n2024-03-11 09:30:00,1,2,1,2,5\r\n2024-03-08 09:30:00,1,1,1,1,0\r\n";
        let piece = time_series(csv).unwrap();
        let opens: Vec<_> = piece.bars.iter().map(|bar| bar.ts_open.to_string()).collect();
        assert_eq!(opens, ["2024-03-08T14:30:00Z", "2024-03-11T13:30:00Z"]);
        assert_eq!(piece.bars[1].volume, Decimal::from(5));
    }

    #[test]
    fn split_coefficients_are_shares_after_and_before() {
        for (text, expected) in [
            ("4.0", (4, 1)),
            ("0.1", (1, 10)),
            ("1.5", (3, 2)),
            ("0.0333", (1, 30)),
            ("1.262838", (1041, 824)),
            ("0.25", (1, 4)),
        ] {
            let (new, old) = ratio(text.parse().unwrap()).unwrap();
            let printed = (Decimal::from(new) / Decimal::from(old)).round_dp(6);
            assert!((new, old) == expected || printed.to_string() == text, "{text}: {new}:{old}");
        }
        assert_eq!(ratio(Decimal::ZERO), None);
        assert_eq!(ratio("-2".parse().unwrap()), None);
    }

    #[test]
    fn what_is_no_series_is_malformed() {
        for body in [
            "",
            "{}",
            "{\"Time Series (Daily)\": 5}",
            "[1",
            "<html>",
            "{\"Meta Data\":{\"6. Time Zone\":\"Mars\"},\"Time Series (1min)\":{}}",
        ] {
            assert!(matches!(time_series(body), Err(HistoryError::Malformed(_))), "{body}");
        }
        assert!(matches!(global_quote("{\"Global Quote\":{}}", "NOPE"), Err(HistoryError::Symbol(_))));
    }
}
