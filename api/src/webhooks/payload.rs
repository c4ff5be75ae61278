//! What was sent, read by content.

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// A body of JSON.
#[derive(Debug, Clone)]
pub(super) struct Payload(Map<String, Value>);

/// Fields that hold a secret, wherever they stand.
const SECRETS: [&str; 6] = ["secret", "token", "key", "passphrase", "password", "webhook_key"];

impl Payload {
    /// Reads a body; what its content type says does not matter. Values that a chart could not give (`NaN`, `n/a`) are
    /// none.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|_| Problem::malformed("the body is no UTF-8"))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        let read = serde_json::from_str(text).or_else(|_| serde_json::from_str(&without_gaps(text)));
        match read {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Problem::field("body", "takes a JSON object")),
            Err(error) => Err(Problem::malformed(format!(
                "the body is no JSON: {error}; write the alert's message as a JSON object"
            ))),
        }
    }

    /// The value at a path such as `tv.symbol`.
    fn at(&self, path: &str) -> Option<&Value> {
        let mut parts = path.split('.');
        let mut value = self.0.get(parts.next()?)?;
        for part in parts {
            value = value.as_object()?.get(part)?;
        }
        Some(value)
    }

    /// The first of these paths that holds a text or a number, with the path. What a chart could not fill in is none.
    pub(super) fn find<'a>(&self, paths: &[&'a str]) -> Option<(&'a str, String)> {
        paths.iter().find_map(|path| {
            let text = match self.at(path)? {
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            let none = ["", "null", "NaN", "nan", "n/a", "na", "None", "none", "undefined"];
            let unfilled = text.starts_with("{{") && text.ends_with("}}");
            (!none.contains(&text.as_str()) && !unfilled).then_some((*path, text))
        })
    }

    /// The same as a text.
    pub(super) fn text(&self, paths: &[&str]) -> Option<String> {
        self.find(paths).map(|(_, text)| text)
    }

    /// The same as a decimal.
    ///
    /// # Errors
    /// The path, when it is none.
    pub(super) fn decimal(&self, paths: &[&str]) -> Result<Option<Decimal>, Problem> {
        let Some((path, text)) = self.find(paths) else { return Ok(None) };
        let read = text.parse().or_else(|_| Decimal::from_scientific(&text));
        read.map(Some).map_err(|_| Problem::field(path, "takes a number"))
    }

    /// The secret.
    pub(super) fn secret(&self) -> Option<String> {
        self.text(&SECRETS)
    }

    /// As text, without secrets.
    pub(super) fn shown(&self) -> String {
        let mut value = Value::Object(self.0.clone());
        redact(&mut value);
        value.to_string()
    }
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.to_ascii_lowercase();
                match SECRETS.iter().any(|secret| name.contains(secret)) {
                    true => *value = "…".into(),
                    false => redact(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        // One that stands in a text.
        Value::String(text) if text.contains("tfw_") => *text = "…".to_owned(),
        _ => {}
    }
}

/// Longest body that is kept in the log, in bytes.
const SHOWN_MAX: usize = 4 << 10;

/// A body for the log: without secrets, and not too long. One that is no JSON object is not kept: a secret could stand
/// anywhere in it.
pub(crate) fn redacted(bytes: &[u8]) -> String {
    let Ok(payload) = Payload::read(bytes) else {
        return format!("({} bytes that are no JSON object)", bytes.len());
    };
    let mut shown = payload.shown().replace('\0', "");
    if shown.len() > SHOWN_MAX {
        let end = (0..=SHOWN_MAX).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// Bare words outside of texts that stand for no value, as `null`.
fn without_gaps(text: &str) -> String {
    const WORDS: [&str; 6] = ["-Infinity", "Infinity", "NaN", "nan", "n/a", "na"];
    let mut out = String::with_capacity(text.len());
    let (mut in_text, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else if c == '"' {
            in_text = true;
        } else {
            let begins = out.trim_end().ends_with([':', ',', '[']);
            let word = WORDS.iter().find(|word| {
                begins
                    && rest
                        .strip_prefix(**word)
                        .is_some_and(|after| after.trim_start().starts_with([',', '}', ']']))
            });
            if let Some(word) = word {
                out.push_str("null");
                rest = &rest[word.len()..];
                continue;
            }
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_that_a_chart_could_not_give_are_none() {
        let body = r#"{"a": NaN, "b": [n/a , 1], "c": "NaN", "d": "x: NaN, \" n/a,", "e": -Infinity, "f":"{{plot_0}}", "g": " 7 "}"#;
        let payload = Payload::read(body.as_bytes()).unwrap();
        assert_eq!(payload.find(&["a", "c", "e", "f", "g"]), Some(("g", "7".into())));
        assert_eq!(payload.text(&["d"]).unwrap(), "x: NaN, \" n/a,");
        assert!(Payload::read(b"buy BTCUSD").is_err());
        assert!(Payload::read(b"[1]").is_err());
        assert!(Payload::read("[".repeat(100_000).as_bytes()).is_err(), "no stack is deep enough");
    }

    #[test]
    fn secrets_are_not_shown_wherever_they_stand() {
        let body = br#"{"secret":"s3cr3t-1","a":{"Webhook_Key":"s3cr3t-2","b":[{"apiToken":{"x":"s3cr3t-3"}}]},"note":"my tfw_s3cr3t-4","ok":"1"}"#;
        let shown = redacted(body);
        assert!(!shown.contains("s3cr3t") && shown.contains("\"ok\":\"1\""), "{shown}");
        assert!(!redacted(b"secret=s3cr3t").contains("s3cr3t"));
        assert!(redacted(format!("{{\"a\":\"{}\"}}", "\u{e9}".repeat(5000)).as_bytes()).len() < 5000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Payload::read(&bytes);
            let _ = redacted(&bytes);
        }

        #[test]
        fn what_is_json_stays_as_it_is(text in r#"[\\"a-z:,{}\[\]NaN/ ]{0,40}"#) {
            let body = serde_json::json!({ "x": text });
            let payload = Payload::read(body.to_string().as_bytes()).unwrap();
            prop_assert_eq!(payload.at("x").unwrap(), &body["x"]);
            // Nor does filling gaps touch what stands in texts.
            prop_assert_eq!(without_gaps(&body.to_string()), body.to_string());
        }
    }
}
