//! Frames of the socket, read without copies, numbers exactly as they are written.
//!
//! A frame is either trades, a ping, or an error (protocol: <https://finnhub.io/docs/api/websocket-trades>):
//!
//! ```text
//! {"data":[{"c":["1","12"],"p":187.41,"s":"AAPL","t":1767711600123,"v":25}],"type":"trade"}
//! {"type":"ping"}
//! {"msg":"Subscribing to too many symbols","type":"error"}
//! ```
//!
//! One frame carries several trades, of several symbols. Order of keys, white space and keys that are not known do not
//! matter. A trade that can't be read does not cost the others of its frame.

use std::borrow::Cow;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use tradeflow_model::Timestamp;

use super::conditions::Conditions;

/// A trade as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireTrade<'a> {
    /// The vendor's symbol.
    pub symbol: Cow<'a, str>,
    /// Its time, to the millisecond.
    pub ts_event: Timestamp,
    /// The price.
    pub price: Decimal,
    /// The quantity; zero for a price update without a trade (some FX and crypto venues).
    pub qty: Decimal,
    /// What kind of trade it was; none for FX and crypto (`c` is `null` there).
    pub conditions: Conditions,
}

/// A frame that was understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Trades, in the order of the frame, and why others of the frame could not be read.
    Trades {
        /// Those that could be read.
        trades: Vec<WireTrade<'a>>,
        /// One reason for each that could not.
        bad: Vec<String>,
    },
    /// The server is there, and has nothing to say.
    Ping,
    /// The server complains.
    Error(VendorError<'a>),
}

/// What the server complains about.
#[derive(Debug, PartialEq, Eq)]
pub enum VendorError<'a> {
    /// `Subscribing to too many symbols`: the last subscription is not served. It does not say which that was.
    TooManySymbols,
    /// `Invalid symbol <SYM>`.
    InvalidSymbol(&'a str),
    /// `API limit reached. …`
    LimitReached,
    /// Another text.
    Other(&'a str),
}

impl<'a> VendorError<'a> {
    /// By its text. The texts are those that were seen; case and surrounding are taken loosely.
    pub fn of(text: &'a str) -> Self {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        if lower.contains("too many symbols") {
            Self::TooManySymbols
        } else if let Some(rest) = lower.strip_prefix("invalid symbol").map(str::len) {
            Self::InvalidSymbol(text[text.len() - rest..].trim_matches([' ', ':', '"', '\'', '.']))
        } else if lower.contains("limit reached") {
            Self::LimitReached
        } else {
            Self::Other(text)
        }
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Envelope<'a, T> {
    data: Option<Vec<T>>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawTrade<'a> {
    #[serde(default)]
    c: Conditions,
    #[serde(borrow)]
    p: &'a RawValue,
    #[serde(borrow)]
    s: Cow<'a, str>,
    t: i64,
    #[serde(borrow)]
    v: &'a RawValue,
}

impl<'a> RawTrade<'a> {
    fn read(self) -> Result<WireTrade<'a>, String> {
        let number = |name: &str, raw: &RawValue| decimal(raw.get()).map_err(|why| format!("{name} {why}"));
        Ok(WireTrade {
            ts_event: Timestamp::from_millis(self.t).ok_or_else(|| format!("t {} is no time", self.t))?,
            price: number("p", self.p)?,
            qty: number("v", self.v)?,
            conditions: self.c,
            symbol: self.s,
        })
    }
}

/// Reads a frame.
///
/// # Errors
/// In words, when it is none.
pub fn parse(text: &str) -> Result<Frame<'_>, String> {
    // All at once where everything is as it should be; else each trade for itself.
    if let Ok(envelope) = serde_json::from_str::<Envelope<'_, RawTrade<'_>>>(text) {
        return frame(envelope, Ok);
    }
    let envelope: Envelope<'_, &RawValue> =
        serde_json::from_str(text).map_err(|e| format!("no frame: {e}"))?;
    frame(envelope, |raw| serde_json::from_str(raw.get()).map_err(|e| format!("no trade: {e}")))
}

fn frame<'a, T>(
    envelope: Envelope<'a, T>,
    read: impl Fn(T) -> Result<RawTrade<'a>, String>,
) -> Result<Frame<'a>, String> {
    match &*envelope.kind {
        "trade" => {
            let data = envelope.data.ok_or("a frame of trades without data")?;
            let mut trades = Vec::with_capacity(data.len());
            let mut bad = Vec::new();
            for raw in data {
                match read(raw).and_then(RawTrade::read) {
                    Ok(trade) => trades.push(trade),
                    Err(why) => bad.push(why),
                }
            }
            Ok(Frame::Trades { trades, bad })
        }
        "ping" => Ok(Frame::Ping),
        "error" => {
            let text = envelope.msg.map_or("", RawValue::get);
            // Without the quotes; an escape in such a text is of no interest.
            Ok(Frame::Error(VendorError::of(text.trim_matches('"'))))
        }
        other => Err(format!("a frame of type {:?}, which is not known", short(other))),
    }
}

/// The number that a JSON text is, exactly: Finnhub writes floats in their shortest form, and their text is what was
/// meant.
///
/// # Errors
/// When it is no number, or needs more than 28 digits.
pub fn decimal(text: &str) -> Result<Decimal, String> {
    let refuse = |_| format!("{:?} is no number that can be kept exactly", short(text));
    match text.split_once(['e', 'E']) {
        None => Decimal::from_str_exact(text).map_err(refuse),
        // The mantissa is checked for itself: the other function would round it.
        Some((mantissa, _)) => {
            Decimal::from_str_exact(mantissa).and_then(|_| Decimal::from_scientific(text)).map_err(refuse)
        }
    }
}

/// The beginning of a text, for an error.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trades(text: &str) -> Vec<WireTrade<'_>> {
        match parse(text) {
            Ok(Frame::Trades { trades, bad }) => {
                assert_eq!(bad, Vec::<String>::new());
                trades
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_frame_of_several_trades_and_symbols() {
        let text = r#"{"data":[{"c":["1","12"],"p":187.41,"s":"AAPL","t":1767711600123,"v":25},
            {"c":null,"p":7296.89,"s":"BINANCE:BTCUSDT","t":1575526691134,"v":0.011467},
            {"p":1.1e-05,"s":"BINANCE:X","t":1,"v":0,"x":{"new":[1,2]}}],"type":"trade"}"#;
        let read = trades(text);
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].symbol, "AAPL");
        assert!(matches!(read[0].symbol, Cow::Borrowed(_)));
        assert_eq!(read[0].price.to_string(), "187.41");
        assert_eq!(read[0].qty, Decimal::from(25));
        assert_eq!(read[0].ts_event, Timestamp::from_millis(1_767_711_600_123).unwrap());
        assert_eq!(read[0].conditions, Conditions::of(&[1, 12]));
        assert_eq!(read[1].qty.to_string(), "0.011467");
        assert_eq!(read[1].conditions, Conditions::default());
        assert_eq!(read[2].price.to_string(), "0.000011");
        assert!(read[2].qty.is_zero());
    }

    #[test]
    fn the_order_of_keys_and_escapes_do_not_matter() {
        let text = r#" { "type" : "trade", "data" : [ {"v":1,"t":2,"s":"A\u0041PL","p":3,"c":[]} ] } "#;
        assert_eq!(trades(text)[0].symbol, "AAPL");
    }

    #[test]
    fn numbers_are_those_of_the_text() {
        for (text, exact) in [
            ("0.1", "0.1"),
            ("187.40999999999997", "187.40999999999997"),
            ("1e3", "1000"),
            ("1.5E+2", "150"),
            ("2.5e-7", "0.00000025"),
            ("-3", "-3"),
        ] {
            assert_eq!(decimal(text).unwrap().to_string(), exact);
        }
        let long = "0.12345678901234567890123456789012345";
        for text in ["null", "\"1\"", "true", "[1]", "", "1e99", "1e-40", long, &format!("{long}e1")] {
            assert!(decimal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bad_trade_does_not_cost_the_others() {
        let good = r#"{"c":null,"p":1,"s":"A","t":1,"v":1}"#;
        for bad in [
            r#"{"c":null,"p":null,"s":"A","t":1,"v":1}"#,
            r#"{"c":null,"s":"A","t":1,"v":1}"#,
            r#"{"c":null,"p":1,"s":7,"t":1,"v":1}"#,
            r#"{"c":null,"p":1,"s":"A","t":"yesterday","v":1}"#,
            r#"{"c":null,"p":1,"s":"A","t":9223372036854775807,"v":1}"#,
            r#"{"c":"1","p":1,"s":"A","t":1,"v":1}"#,
            r#"{"c":null,"p":1e50,"s":"A","t":1,"v":1}"#,
            "17",
            "null",
        ] {
            let text = format!(r#"{{"data":[{good},{bad},{good}],"type":"trade"}}"#);
            match parse(&text) {
                Ok(Frame::Trades { trades, bad }) => {
                    assert_eq!((trades.len(), bad.len()), (2, 1), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn pings_errors_and_what_is_not_known() {
        assert_eq!(parse(r#"{"type":"ping"}"#), Ok(Frame::Ping));
        let error =
            |msg: &str| parse(&format!(r#"{{"msg":"{msg}","type":"error"}}"#)).map(|f| format!("{f:?}"));
        assert_eq!(error("Subscribing to too many symbols").unwrap(), "Error(TooManySymbols)");
        assert_eq!(error("Invalid symbol XYZ").unwrap(), "Error(InvalidSymbol(\"XYZ\"))");
        assert_eq!(error("invalid symbol: XYZ.").unwrap(), "Error(InvalidSymbol(\"XYZ\"))");
        let limit = "API limit reached. Please try again later. Remaining Limit: 0";
        assert_eq!(error(limit).unwrap(), "Error(LimitReached)");
        assert_eq!(error("Something new").unwrap(), "Error(Other(\"Something new\"))");
        assert_eq!(parse(r#"{"type":"error"}"#), Ok(Frame::Error(VendorError::Other(""))));
        for text in [
            "",
            "{",
            "[]",
            "null",
            "<html>",
            r#"{"type":"news","data":[]}"#,
            r#"{"type":"trade"}"#,
            r#"{"data":[]}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }

        /// A frame with bytes changed, taken out and put in: it is understood or refused, and what is passed on is
        /// never more than what the frame held.
        #[test]
        fn mutated_frames_do_not_panic(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..3, any::<u8>()), 0..6),
        ) {
            let frame = r#"{"data":[{"c":["1","12"],"p":187.41,"s":"AAPL","t":1767711600123,"v":25},{"c":null,"p":1e-7,"s":"BINANCE:BTCUSDT","t":1575526691134,"v":0}],"type":"trade"}"#;
            let mut bytes = frame.as_bytes().to_vec();
            for (at, what, byte) in edits {
                let at = at.index(bytes.len());
                match what {
                    0 => bytes[at] = byte,
                    1 => { bytes.remove(at); }
                    _ => bytes.insert(at, byte),
                }
            }
            if let Ok(Frame::Trades { trades, bad }) = parse(&String::from_utf8_lossy(&bytes)) {
                prop_assert!(trades.len() + bad.len() <= 3);
            }
        }

        /// What is written is what is read.
        #[test]
        fn trades_survive_the_way_there_and_back(
            rows in proptest::collection::vec(
                (-1_000_000_000_i64..1_000_000_000, 0_u32..9, 0_i64..1_000_000, 0_u32..9, 0_i64..4_000_000_000_000,
                 proptest::collection::vec(1_u8..42, 0..4)), 1..20),
        ) {
            let data: Vec<String> = rows.iter().map(|(p, ps, v, vs, t, c)| {
                let codes: Vec<String> = c.iter().map(|c| format!("\"{c}\"")).collect();
                let (p, v) = (Decimal::new(*p, *ps), Decimal::new(*v, *vs));
                format!(r#"{{"c":[{}],"p":{p},"s":"S","t":{t},"v":{v}}}"#, codes.join(","))
            }).collect();
            let text = format!(r#"{{"data":[{}],"type":"trade"}}"#, data.join(","));
            let read = trades(&text);
            prop_assert_eq!(read.len(), rows.len());
            for (trade, (p, ps, v, vs, t, c)) in read.iter().zip(&rows) {
                prop_assert_eq!(trade.price, Decimal::new(*p, *ps));
                prop_assert_eq!(trade.qty, Decimal::new(*v, *vs));
                prop_assert_eq!(trade.ts_event, Timestamp::from_millis(*t).unwrap());
                prop_assert_eq!(trade.conditions, Conditions::of(c));
            }
        }
    }
}
