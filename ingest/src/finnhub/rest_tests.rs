use super::*;
use proptest::prelude::*;

fn rest() -> Rest {
    Rest::new(&FinnhubConfig::new(Secret::new("sekret")), 1).unwrap()
}

#[test]
fn a_quote_is_read_and_zeros_are_an_unknown_symbol() {
    let body =
        r#"{"c":187.42,"d":-1.13,"dp":-0.5993,"h":189.02,"l":186.9,"o":188.7,"pc":188.55,"t":1767711600}"#;
    let quote = parse_quote(body).unwrap().unwrap();
    assert_eq!(quote.last.to_string(), "187.42");
    assert_eq!(quote.low.to_string(), "186.9");
    assert_eq!(quote.previous_close.to_string(), "188.55");
    assert_eq!(quote.ts_event, Timestamp::from_secs(1_767_711_600).unwrap());
    let no_change = body.replace("-1.13", "null").replace("-0.5993", "null");
    assert_eq!(parse_quote(&no_change).unwrap().unwrap(), quote);
    let zeros = r#"{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}"#;
    assert_eq!(parse_quote(zeros).unwrap(), None);
    for bad in ["{}", "[]", "null", r#"{"c":null,"h":0,"l":0,"o":0,"pc":0,"t":0}"#] {
        assert!(parse_quote(bad).is_err(), "{bad}");
    }
}

#[test]
fn candles_are_read_and_checked() {
    let body = r#"{"c":[101.2,101.4],"h":[101.5,101.6],"l":[100.9,101.1],"o":[101.0,101.2],"s":"ok","t":[1767711660,1.7677116e9],"v":[5321,4870]}"#;
    let candles = parse_candles(body).unwrap();
    assert_eq!(candles.len(), 2);
    assert_eq!(candles[0].ts_open, Timestamp::from_secs(1_767_711_600).unwrap());
    assert_eq!(candles[0].close.to_string(), "101.4");
    assert_eq!(candles[1].open, Decimal::from(101));
    assert_eq!(parse_candles(r#"{"s":"no_data"}"#).unwrap(), []);
    for (bad, why) in [
        (body.replace("101.5,101.6", "101.5"), "of open"),
        (body.replace("1767711660", "1767711600"), "two candles"),
        (body.replace("1767711660", "1.5"), "no time"),
        (body.replace("\"ok\"", "\"what\""), "status"),
        (body.replace("5321", "null"), "row 0"),
        ("{}".to_owned(), "no candles"),
    ] {
        let error = parse_candles(&bad).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn answers_are_told_apart() {
    let rest = rest();
    let class = |status: u16, body: &str| rest.classify("stock/candle", status, body.to_owned());
    assert!(class(200, "{}").is_ok());
    let error = |text: &str| format!("{{\"error\":\"{text}\"}}");
    for text in ["Please use an API key.", "Invalid API key.", "Invalid API key"] {
        assert_eq!(class(401, &error(text)), Err(RestError::Refused(text.into())));
    }
    let access = error("You don't have access to this resource.");
    for status in [401, 403] {
        let refused = class(status, &access).unwrap_err();
        assert!(matches!(refused, RestError::Entitlement { .. }), "{refused}");
        assert!(refused.to_string().contains("stock/candle"));
    }
    let limit = error("API limit reached. Please try again later. Remaining Limit: 0");
    assert_eq!(class(429, &limit), Err(RestError::RateLimited));
    assert_eq!(class(429, "<html>"), Err(RestError::RateLimited));
    assert_eq!(class(200, &limit), Err(RestError::RateLimited));
    assert!(matches!(class(502, "<html>bad gateway"), Err(RestError::Unavailable(_))));
    for (status, body) in
        [(302, ""), (200, "<html>blocked"), (200, ""), (404, "{}"), (200, &error("what? sekret"))]
    {
        let refused = class(status, body).unwrap_err();
        assert!(matches!(refused, RestError::Unexpected { .. }), "{refused}");
        assert!(!refused.to_string().contains("sekret"));
    }
}

#[test]
fn intraday_candles_are_paged_by_month_and_days_are_not() {
    let day = |n: i64| Timestamp::from_secs(n * 86_400).unwrap();
    let mut which = Candles {
        class: AssetClass::Equity,
        symbol: "AAPL".into(),
        interval: Interval::MINUTE,
        from: day(0),
        to: day(60),
    };
    let page = |from, to| Page { from: day(from), to: day(to) };
    assert_eq!(which.pages().collect::<Vec<_>>(), [page(0, 28), page(28, 56), page(56, 60)]);
    which.interval = Interval::DAY;
    assert_eq!(which.pages().collect::<Vec<_>>(), [page(0, 60)]);
    which.to = which.from;
    assert_eq!(which.pages().count(), 0);
    which.interval = "2h".parse().unwrap();
    assert_eq!(which.resolution(), Err(RestError::NoSuchInterval(which.interval)));
}

#[test]
fn the_recorded_candles_are_read() {
    let Some(lines) = super::super::recorded("candles.jsonl") else { return };
    let counts: Vec<usize> = lines.iter().map(|line| parse_candles(line).unwrap().len()).collect();
    assert_eq!(counts, [12, 5, 0]);
    let first = parse_candles(&lines[0]).unwrap()[0];
    assert_eq!(first.close.to_string(), "156.69");
    assert_eq!(first.ts_open.to_string(), "2021-09-07T00:00:00Z");
}

proptest! {
    #[test]
    fn no_body_panics(body: String, status in 100_u16..600) {
        let _ = parse_quote(&body);
        let _ = parse_candles(&body);
        let _ = rest().classify("quote", status, body);
    }
}
