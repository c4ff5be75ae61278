//! Errors, which come with HTTP status 200 as a JSON object, whatever format was asked for.
//!
//! The wording changes often, so fragments are matched, in an order that keeps false friends apart: the text about too
//! many requests a second also names the 25 a day, and a wrong key is told under two keys.

use std::collections::BTreeMap;

use crate::history::{HistoryError, Reply};

/// The keys under which the vendor tells an error, in the order in which they are looked at.
const ERROR_KEYS: [&str; 3] = ["Error Message", "Information", "Note"];

/// The error that an answer is; `None` for data. Its text may hold the key.
pub fn classify(reply: &Reply, symbol: &str) -> Option<HistoryError> {
    let sample = || crate::history::sample(&reply.body);
    match reply.status {
        200 => {}
        429 => {
            let what = format!("alphavantage: too many requests ({})", sample());
            return Some(HistoryError::RateLimited { what, wait: reply.retry_after });
        }
        500.. => {
            return Some(HistoryError::Server(format!(
                "alphavantage: status {}: {}",
                reply.status,
                sample()
            )));
        }
        status => return Some(HistoryError::Refused(format!("alphavantage: status {status}: {}", sample()))),
    }
    let body = reply.body.trim_start();
    if body.starts_with('<') {
        return Some(HistoryError::Server(format!("alphavantage: answered with a web page: {}", sample())));
    }
    // CSV is data, and so is an object with anything but the keys of errors.
    let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(body).ok()?;
    let text = ERROR_KEYS.iter().find_map(|key| object.get(*key)?.as_str())?;
    Some(of_text(text, symbol))
}

fn of_text(text: &str, symbol: &str) -> HistoryError {
    let says = |fragment: &str| text.contains(fragment);
    let words = crate::history::sample(text);
    if says("apikey is invalid or missing") {
        return HistoryError::Key(format!(
            "alphavantage: the key is wrong or missing; set it in TRADEFLOW_ALPHAVANTAGE_KEY ({words})"
        ));
    }
    if says("This is a premium endpoint") || says("is a premium feature") {
        return HistoryError::Plan(format!("alphavantage: this key's plan does not include it ({words})"));
    }
    let is_burst = says("sparingly") || says("per second");
    if (says("per day") && says("detected your API key")) && !is_burst {
        return HistoryError::Quota(format!(
            "alphavantage: the day's requests of this key are used up; run the same command tomorrow, it goes on where \
             it was ({words})"
        ));
    }
    if is_burst || says("call frequency") {
        return HistoryError::RateLimited {
            what: format!("alphavantage: too many requests ({words})"),
            wait: None,
        };
    }
    if says("Invalid API call") {
        return HistoryError::Symbol(format!(
            "alphavantage: does not know {symbol:?}, or not such bars ({words})"
        ));
    }
    if says("does not exist") {
        return HistoryError::Unsupported(format!("alphavantage: {words}"));
    }
    if says("premium") {
        return HistoryError::Plan(format!("alphavantage: this key's plan does not include it ({words})"));
    }
    HistoryError::Refused(format!("alphavantage: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: String) -> Option<HistoryError> {
        classify(&Reply { status, retry_after: None, is_json: true, body }, "ACME")
    }

    fn class(key: &str, text: &str) -> &'static str {
        let body = serde_json::json!({ key: text }).to_string();
        match error(200, body).expect("an error") {
            HistoryError::Key(_) => "key",
            HistoryError::Plan(_) => "plan",
            HistoryError::Symbol(_) => "symbol",
            HistoryError::Quota(_) => "quota",
            HistoryError::RateLimited { .. } => "burst",
            HistoryError::Unsupported(_) => "function",
            HistoryError::Refused(_) => "other",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_text_of_the_vendor_is_told_from_the_others() {
        let bad_key = "the parameter apikey is invalid or missing. Please claim your free API key on \
                       (https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds.";
        assert_eq!(class("Error Message", bad_key), "key");
        assert_eq!(class("Information", bad_key), "key");
        let call = "Invalid API call. Please retry or visit the documentation \
                    (https://www.alphavantage.co/documentation/) for TIME_SERIES_DAILY.";
        assert_eq!(class("Error Message", call), "symbol");
        assert_eq!(class("Error Message", "This API function (TIME_SERIES_X) does not exist."), "function");
        let daily = "We have detected your API key as K3Y and our standard API rate limit is 25 requests per day. Please \
                     subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly remove \
                     all daily rate limits.";
        assert_eq!(class("Information", daily), "quota");
        let burst = "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more \
                     sparingly (1 request per second). You may subscribe to any of the premium plans at \
                     https://www.alphavantage.co/premium/ to lift the free key rate limit (25 requests per day), raise \
                     the per-second burst limit, and instantly unlock all premium endpoints";
        assert_eq!(class("Information", burst), "burst");
        let legacy = "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 \
                      calls per day. Please visit https://www.alphavantage.co/premium/ if you would like to target a \
                      higher API call frequency.";
        assert_eq!(class("Note", legacy), "burst");
        let endpoint = "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the \
                        premium plans at https://www.alphavantage.co/premium/ to instantly unlock all premium endpoints";
        assert_eq!(class("Information", endpoint), "plan");
        let parameter = "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for \
                         the TIME_SERIES_DAILY endpoint.";
        assert_eq!(class("Information", parameter), "plan");
        assert_eq!(class("Information", "Something new."), "other");
    }

    #[test]
    fn data_is_no_error_and_pages_and_statuses_are() {
        assert_eq!(error(200, r#"{"Meta Data":{},"Time Series (Daily)":{}}"#.into()), None);
        assert_eq!(error(200, r#"{"Global Quote":{}}"#.into()), None);
        assert_eq!(error(200, "timestamp,open,high,low,close,volume\r\n".into()), None);
        assert!(matches!(error(200, "<html>busy</html>".into()), Some(HistoryError::Server(_))));
        assert!(matches!(error(503, String::new()), Some(HistoryError::Server(_))));
        assert!(matches!(error(429, String::new()), Some(HistoryError::RateLimited { .. })));
        assert!(matches!(error(403, String::new()), Some(HistoryError::Refused(_))));
    }
}
