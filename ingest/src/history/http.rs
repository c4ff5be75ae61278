//! Requests to a vendor, with a key that never shows in an error.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};

use super::HistoryError;
use crate::secret::Secret;

/// The longest answer that is read. A month of minutes is some megabytes.
const BODY_MAX: usize = 64 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its HTTP status.
    pub status: u16,
    /// The seconds that its `Retry-After` names.
    pub retry_after: Option<Duration>,
    /// Whether it says that it is JSON.
    pub is_json: bool,
    /// The body.
    pub body: String,
}

/// A client of one vendor's HTTP interface.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    base: url::Url,
    key: Option<(&'static str, Secret)>,
}

impl Http {
    /// A client of the interface at `base`, with the query parameter that carries the key.
    ///
    /// # Errors
    /// When the address is none, or TLS can't be set up.
    pub fn new(base: &str, key: Option<(&'static str, Secret)>) -> Result<Self, HistoryError> {
        let refuse = |why: String| HistoryError::Network(format!("{base}: {why}"));
        let base = url::Url::parse(base).map_err(|error| refuse(error.to_string()))?;
        if base.cannot_be_a_base() {
            return Err(refuse("is not the address of a server, such as https://example.com".into()));
        }
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Self { client, base, key })
    }

    /// The text without the key.
    pub fn redact(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_owned(), |(_, key)| key.redact(text))
    }

    /// Asks for a path below the base, once.
    ///
    /// # Errors
    /// [`HistoryError::Network`] when no whole answer comes, [`HistoryError::Malformed`] for one that is too long.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Reply, HistoryError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.query_pairs_mut().extend_pairs(query);
        let place = self.redact(url.as_str());
        if let Some((name, key)) = &self.key {
            url.query_pairs_mut().append_pair(name, key.expose());
        }
        let failed = |error: reqwest::Error| {
            // The error's own text would hold the address, and with it the key.
            let error = with_causes(&error.without_url());
            HistoryError::Network(self.redact(&format!("{place}: {error}")))
        };
        let mut response = self.client.get(url).send().await.map_err(failed)?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after =
            header(RETRY_AFTER).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let is_json = header(CONTENT_TYPE).is_some_and(|kind| kind.contains("json"));
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > BODY_MAX {
                return Err(HistoryError::Malformed(format!("{place}: the answer is longer than 64 MiB")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, retry_after, is_json, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// An error with its causes: the outermost of `reqwest` says only that it could not send.
pub(crate) fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// The beginning of a text, for errors.
pub(crate) fn sample(text: &str) -> String {
    const SHOWN: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_names_the_address_and_not_the_key() {
        // Nobody listens on a port that was just given back.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let http = Http::new(&base, Some(("apikey", Secret::new("s3cr+t")))).unwrap();
        let error = http.get("/query", &[("symbol", "A B")]).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, HistoryError::Network(_)));
        assert!(text.contains("/query?symbol=A+B") && text.contains("refused"), "{text}");
        assert!(!text.contains("s3cr"), "{text}");
        assert!(!format!("{http:?}").contains("s3cr"));
    }
}
