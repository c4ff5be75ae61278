//! Where ClickHouse is.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::ResultsError;

/// The address of a ClickHouse database, `http://user:password@host:8123/database`. Prints without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct ClickHouseUrl {
    /// Scheme, host and port.
    pub(super) server: String,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: String,
}

impl ClickHouseUrl {
    /// The database where none is named.
    pub const DATABASE: &'static str = "tradeflow";

    /// The same address with another password.
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = password.into();
        self
    }

    /// The whole address, with the password: for the environment of a process, and for nothing that is shown or kept.
    pub fn expose(&self) -> String {
        let encoded = |text: &str| -> String {
            text.bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                    _ => format!("%{byte:02X}"),
                })
                .collect()
        };
        let (scheme, host) = self.server.split_once("://").unwrap_or(("http", &self.server));
        format!("{scheme}://{}:{}@{host}/{}", encoded(&self.user), encoded(&self.password), self.database)
    }

    /// What stands for this database in the names of files: of server and database alone.
    pub(crate) fn key(&self) -> String {
        let digest = blake3::hash(format!("{}/{}", self.server, self.database).as_bytes());
        digest.to_hex()[..16].to_owned()
    }

    /// A text without the password, as it stands and as it is in addresses.
    pub(super) fn redact(&self, text: &str) -> String {
        if self.password.is_empty() {
            return text.to_owned();
        }
        let encoded: String = url::form_urlencoded::byte_serialize(self.password.as_bytes()).collect();
        text.replace(&self.password, "***").replace(&encoded, "***")
    }
}

impl FromStr for ClickHouseUrl {
    type Err = ResultsError;

    fn from_str(text: &str) -> Result<Self, ResultsError> {
        // The text is in no message: it may hold a password.
        let refuse = |what: &str| {
            ResultsError::Query(format!(
                "the address of ClickHouse {what}: it is written http://user:password@host:8123/database"
            ))
        };
        let url = Url::parse(text).map_err(|error| refuse(&format!("can't be read ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("is not of http or https"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refuse("names no host"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("has something behind the database"));
        }
        let decode = |text: &str| -> Result<String, ResultsError> {
            percent_decoded(text)
                .ok_or_else(|| refuse("has a user or password that is not percent-encoded UTF-8"))
        };
        let database = match url.path().trim_matches('/') {
            "" => Self::DATABASE,
            name => name,
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !database.chars().all(word) || database.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(refuse("has a database whose name is not of letters, digits and _"));
        }
        Ok(Self {
            server: url.origin().ascii_serialization(),
            user: decode(url.username())?,
            password: decode(url.password().unwrap_or_default())?,
            database: database.to_owned(),
        })
    }
}

/// A text whose bytes may be written `%41`.
fn percent_decoded(text: &str) -> Option<String> {
    // A form's decoder takes `+` for a space, which an address does not.
    let text = format!("v={}", text.replace('+', "%2B"));
    let (_, value) = url::form_urlencoded::parse(text.as_bytes()).next()?;
    (!value.contains('\u{fffd}')).then(|| value.into_owned())
}

impl fmt::Display for ClickHouseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.database)
    }
}

impl fmt::Debug for ClickHouseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_does_not_show_its_password() {
        let url: ClickHouseUrl = "http://ann:p%40ss+w%2Frd@db.example.org:8123/results".parse().unwrap();
        assert_eq!(
            (url.user.as_str(), url.password.as_str(), url.database.as_str()),
            ("ann", "p@ss+w/rd", "results")
        );
        assert_eq!(url.to_string(), "http://db.example.org:8123/results");
        assert!(!format!("{url:?}").contains("rd@"));
        assert_eq!(url.expose().parse::<ClickHouseUrl>().unwrap(), url);
        assert_eq!(url.redact("key p@ss+w/rd or p%40ss%2Bw%2Frd"), "key *** or ***");
        let plain: ClickHouseUrl = "https://db".parse().unwrap();
        assert_eq!(plain.to_string(), "https://db/tradeflow");
        assert_eq!(plain.expose().parse::<ClickHouseUrl>().unwrap(), plain);
        for wrong in [
            "",
            "db:8123",
            "ftp://a:secret@b",
            "http://a:secret@b/c;d",
            "http://a:secret@b/c?x=1",
            "http://a:secret@b/9",
        ] {
            let error = wrong.parse::<ClickHouseUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
