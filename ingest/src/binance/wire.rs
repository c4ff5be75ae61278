//! The frames of Binance's market streams, spot and USDⓈ-M futures, read without copying.
//!
//! Source: Binance's `web-socket-streams.md` (spot), and the frames of both markets that the tests read.

use std::fmt;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tradeflow_model::Timestamp;
use tradeflow_model::market::Aggressor;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A trade.
    Trade(TradeFrame<'a>),
    /// The best bid and ask.
    Quote(QuoteFrame<'a>),
    /// The answer to a request of ours.
    Reply {
        /// The number of the request; `None` where the server could not tell.
        id: Option<u64>,
        /// What was wrong with it.
        error: Option<String>,
    },
    /// The server is about to go.
    Shutdown,
    /// Something that we do not use: depth, tickers, and futures "trades" that are no trades on the market.
    Other,
}

/// A trade (`<symbol>@trade`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradeFrame<'a> {
    /// The vendor's symbol, upper case.
    pub symbol: &'a str,
    /// Number of the trade within the symbol.
    pub id: u64,
    /// When it traded.
    pub ts_event: Timestamp,
    /// The price.
    pub price: Decimal,
    /// The quantity.
    pub qty: Decimal,
    /// Who crossed the spread: the seller where the buyer was the maker.
    pub aggressor: Aggressor,
}

/// The best bid and ask (`<symbol>@bookTicker`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteFrame<'a> {
    /// The vendor's symbol, upper case.
    pub symbol: &'a str,
    /// When; spot gives none.
    pub ts_event: Option<Timestamp>,
    /// Best bid.
    pub bid: Decimal,
    /// Best ask.
    pub ask: Decimal,
    /// Quantity at the bid.
    pub bid_size: Decimal,
    /// Quantity at the ask.
    pub ask_size: Decimal,
}

/// Why a frame can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It is no JSON object of the shape that frames have.
    #[error("not a frame of Binance: {0}")]
    Json(String),
    /// A field is missing, or holds something else than it should.
    #[error("{kind}: field {field:?} {why}")]
    Field {
        /// Which frame.
        kind: &'static str,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// None of the frames that are documented.
    #[error("a frame of unknown shape")]
    Unknown,
}

/// Reads a frame.
///
/// # Errors
/// [`WireError`]; frames of streams that we do not use are no error.
pub fn parse(text: &str) -> Result<Frame<'_>, WireError> {
    let json = |error: serde_json::Error| WireError::Json(error.to_string());
    // Nearly every frame is one of a combined stream; the rest may be looked at twice.
    if text.starts_with("{\"stream\"") {
        let combined: Combined<'_> = serde_json::from_str(text).map_err(json)?;
        return match combined.data.read()? {
            // A frame of a stream that has no name for its kind is known by the stream.
            None if combined.stream.is_some() => Ok(Frame::Other),
            None => Err(WireError::Unknown),
            Some(frame) => Ok(frame),
        };
    }
    let raw: Event<'_> = serde_json::from_str(text).map_err(json)?;
    match raw.read()? {
        Some(frame) => Ok(frame),
        None => serde_json::from_str::<Reply>(text).map_err(json)?.read(),
    }
}

#[derive(Deserialize)]
struct Combined<'a> {
    #[serde(borrow)]
    stream: Option<&'a str>,
    #[serde(borrow)]
    data: Event<'a>,
}

/// The fields of all the events that we use. The same letter means other things elsewhere (`b` is a list in a depth
/// update), so a field takes anything.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Event<'a> {
    #[serde(rename = "e", borrow)]
    kind: Field<'a>,
    #[serde(rename = "E")]
    sent: Field<'a>,
    #[serde(rename = "s")]
    symbol: Field<'a>,
    #[serde(rename = "t")]
    id: Field<'a>,
    #[serde(rename = "p")]
    price: Field<'a>,
    #[serde(rename = "q")]
    qty: Field<'a>,
    #[serde(rename = "T")]
    time: Field<'a>,
    #[serde(rename = "m")]
    buyer_is_maker: Field<'a>,
    #[serde(rename = "X")]
    order: Field<'a>,
    #[serde(rename = "u")]
    update: Field<'a>,
    #[serde(rename = "b")]
    bid: Field<'a>,
    #[serde(rename = "B")]
    bid_size: Field<'a>,
    #[serde(rename = "a")]
    ask: Field<'a>,
    #[serde(rename = "A")]
    ask_size: Field<'a>,
}

impl<'a> Event<'a> {
    /// The frame; `None` when this is no event.
    fn read(&self) -> Result<Option<Frame<'a>>, WireError> {
        Ok(Some(match self.kind {
            Field::Text("trade") => match self.order {
                // Liquidations by the insurance fund and the like come as trades of another kind, priced zero.
                Field::None | Field::Text("MARKET") => Frame::Trade(self.trade()?),
                _ => Frame::Other,
            },
            Field::Text("bookTicker") => Frame::Quote(self.quote()?),
            Field::Text("serverShutdown") => Frame::Shutdown,
            Field::Text(_) => Frame::Other,
            // Spot's book ticker does not say what it is.
            Field::None if matches!((self.update, self.bid), (Field::Number(_), Field::Text(_))) => {
                Frame::Quote(self.quote()?)
            }
            _ => return Ok(None),
        }))
    }

    fn trade(&self) -> Result<TradeFrame<'a>, WireError> {
        let field = Named("trade");
        let aggressor = match self.buyer_is_maker {
            Field::Bool(true) => Aggressor::Seller,
            Field::Bool(false) => Aggressor::Buyer,
            _ => return Err(field.wrong("m", "is not true or false")),
        };
        Ok(TradeFrame {
            symbol: field.symbol(self.symbol)?,
            id: field.number("t", self.id)?,
            ts_event: field.time("T", self.time)?,
            price: field.decimal("p", self.price)?,
            qty: field.decimal("q", self.qty)?,
            aggressor,
        })
    }

    fn quote(&self) -> Result<QuoteFrame<'a>, WireError> {
        let field = Named("bookTicker");
        let ts_event = match (self.time, self.sent) {
            (Field::None, Field::None) => None,
            (Field::None, sent) => Some(field.time("E", sent)?),
            (time, _) => Some(field.time("T", time)?),
        };
        Ok(QuoteFrame {
            symbol: field.symbol(self.symbol)?,
            ts_event,
            bid: field.decimal("b", self.bid)?,
            ask: field.decimal("a", self.ask)?,
            bid_size: field.decimal("B", self.bid_size)?,
            ask_size: field.decimal("A", self.ask_size)?,
        })
    }
}

/// Reads fields of a frame of this kind.
struct Named(&'static str);

impl Named {
    fn wrong(&self, field: &'static str, why: &'static str) -> WireError {
        WireError::Field { kind: self.0, field, why }
    }

    fn symbol<'a>(&self, value: Field<'a>) -> Result<&'a str, WireError> {
        match value {
            Field::Text(text) => Ok(text),
            _ => Err(self.wrong("s", "is not a symbol")),
        }
    }

    fn number(&self, field: &'static str, value: Field<'_>) -> Result<u64, WireError> {
        match value {
            Field::Number(number) => Ok(number),
            _ => Err(self.wrong(field, "is not a whole number")),
        }
    }

    fn time(&self, field: &'static str, value: Field<'_>) -> Result<Timestamp, WireError> {
        let millis = i64::try_from(self.number(field, value)?).ok();
        millis
            .and_then(Timestamp::from_millis)
            .ok_or_else(|| self.wrong(field, "is not a time in milliseconds"))
    }

    fn decimal(&self, field: &'static str, value: Field<'_>) -> Result<Decimal, WireError> {
        match value {
            Field::Text(text) => {
                Decimal::from_str_exact(text).map_err(|_| self.wrong(field, "is not a decimal number"))
            }
            _ => Err(self.wrong(field, "is not a decimal number in quotes")),
        }
    }
}

/// A value of any kind, of which we use some.
#[derive(Debug, Clone, Copy, Default)]
enum Field<'a> {
    #[default]
    None,
    Text(&'a str),
    Number(u64),
    Bool(bool),
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(text))
    }

    /// A text with escapes: none of ours has any.
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Field::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Field::Bool(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

/// `{"result":null,"id":1}`, `{"code":2,"msg":"…","id":1}` or, from older servers, `{"error":{"code":4,"msg":"…"}}`;
/// and the snapshot of a book, which some recordings hold between the frames.
#[derive(Deserialize)]
struct Reply {
    id: Option<serde_json::Value>,
    code: Option<i64>,
    msg: Option<String>,
    error: Option<ReplyError>,
    #[serde(rename = "lastUpdateId")]
    snapshot: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ReplyError {
    code: Option<i64>,
    msg: Option<String>,
}

impl Reply {
    fn read(self) -> Result<Frame<'static>, WireError> {
        let error = match (self.error, self.code) {
            (Some(error), _) => Some((error.code, error.msg)),
            (None, Some(code)) => Some((Some(code), self.msg)),
            (None, None) => None,
        };
        if self.id.is_none() && error.is_none() {
            return if self.snapshot.is_some() { Ok(Frame::Other) } else { Err(WireError::Unknown) };
        }
        let told = |(code, msg): (Option<i64>, Option<String>)| {
            format!("code {}: {}", code.unwrap_or_default(), msg.unwrap_or_default())
        };
        Ok(Frame::Reply { id: self.id.and_then(|id| id.as_u64()), error: error.map(told) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000123,"s":"BTCUSDT","t":42,"p":"61837.63000000","q":"0.02000000","T":1700000000122,"m":true,"M":true}}"#;

    fn millis(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms).unwrap()
    }

    #[test]
    fn each_kind_of_frame_is_known() {
        let trade = TradeFrame {
            symbol: "BTCUSDT",
            id: 42,
            ts_event: millis(1_700_000_000_122),
            price: "61837.63".parse().unwrap(),
            qty: "0.02".parse().unwrap(),
            aggressor: Aggressor::Seller,
        };
        assert_eq!(parse(TRADE), Ok(Frame::Trade(trade)));
        let spot = r#"{"u":5,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}"#;
        let Ok(Frame::Quote(quote)) = parse(spot) else { panic!("{spot}") };
        assert_eq!((quote.ts_event, quote.bid, quote.ask_size), (None, "1.5".parse().unwrap(), 3.into()));
        let futures =
            r#"{"e":"bookTicker","u":5,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3","T":7,"E":9}"#;
        let Ok(Frame::Quote(quote)) = parse(futures) else { panic!("{futures}") };
        assert_eq!(quote.ts_event, Some(millis(7)));
        for (text, frame) in [
            (r#"{"result":null,"id":1}"#, Frame::Reply { id: Some(1), error: None }),
            (
                r#"{"code":2,"msg":"Invalid request: x","id":7}"#,
                Frame::Reply { id: Some(7), error: Some("code 2: Invalid request: x".into()) },
            ),
            (
                r#"{"error":{"code":4,"msg":"Too many subscriptions"},"id":3}"#,
                Frame::Reply { id: Some(3), error: Some("code 4: Too many subscriptions".into()) },
            ),
            (r#"{"e":"serverShutdown","E":1}"#, Frame::Shutdown),
            (r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#, Frame::Shutdown),
            (r#"{"stream":"x@depth","data":{"e":"depthUpdate","b":[["1","2"]],"a":[]}}"#, Frame::Other),
            (r#"{"stream":"x@kline_1m","data":{"e":"kline","s":"X","k":{"t":1,"o":"1"}}}"#, Frame::Other),
            (r#"{"e":"trade","X":"INSURANCE_FUND","p":"0","q":"0"}"#, Frame::Other),
        ] {
            assert_eq!(parse(text), Ok(frame), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("<html>", "not a frame"),
            ("[]", "not a frame"),
            ("{}", "unknown shape"),
            (r#"{"stream":7,"data":[],"type":null}"#, "not a frame"),
            (&TRADE.replace("61837.63000000", "61837,63"), r#"trade: field "p" is not a decimal"#),
            (&TRADE.replace("\"t\":42", "\"t\":-42"), r#"trade: field "t" is not a whole number"#),
            (&TRADE.replace("\"m\":true,", ""), r#"trade: field "m""#),
            (&TRADE.replace("1700000000122", "99999999999999999"), r#"trade: field "T" is not a time"#),
            (&TRADE.replace("0.02000000", "NaN"), r#"trade: field "q""#),
            (&TRADE[..100], "not a frame"),
        ];
        for (text, why) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        /// Whatever comes is read or refused, and what is read is what it says.
        #[test]
        fn nothing_breaks_the_parser(
            at in 0..TRADE.len(), len in 0_usize..20, new in "[ -~]{0,20}", noise in any::<String>(),
        ) {
            let end = (at + len).min(TRADE.len());
            let mutated = format!("{}{new}{}", &TRADE[..at], &TRADE[end..]);
            if let Ok(Frame::Trade(trade)) = parse(&mutated) {
                prop_assert!(mutated.contains(trade.symbol));
                prop_assert!(mutated.contains(&trade.id.to_string()));
            }
            let _ = parse(&noise);
        }
    }
}
