//! Mail over SMTP, sent in the background; to the log where no server is configured.
//!
//! A letter that was taken is in memory until the server has it: one that waits when the node ends is lost, and whoever
//! waits for it asks again. No request waits for a mail server, and no answer depends on one.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use url::Url;
use uuid::Uuid;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Letters that wait to be taken up, at most.
const QUEUE_MAX: usize = 1_000;
/// Letters that are being sent, or wait for their next attempt, at most.
const UNDERWAY_MAX: usize = 200;
/// Pauses before the next attempts, in seconds; after the last of them a letter is given up. Servers that put off mail of
/// senders whom they don't know take it after some minutes.
const PAUSES_SECS: [u64; 8] = [1, 5, 15, 60, 180, 300, 600, 1800];
/// How long a server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How mail is sent.
#[derive(Clone, Default)]
pub struct MailConfig {
    /// `smtps://user:password@host:465`, or `smtp://user:password@host:587?tls=required` for STARTTLS.
    pub url: String,
    /// The sender: `TradeFlow <trade@example.org>`.
    pub from: String,
    /// A PEM file with certificates that are trusted beside the public ones.
    pub ca: Option<PathBuf>,
}

/// What is wrong with a configuration, and where: `url`, `from` or `ca`.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {why}")]
pub struct MailError {
    /// The setting.
    pub field: &'static str,
    /// What is wrong with it; never the password.
    pub why: String,
}

/// A letter to be sent.
struct Letter {
    to: String,
    message: Message,
}

/// A server, and letters on their way to it.
struct Post {
    from: Mailbox,
    letters: Sender<Letter>,
    // Taken by whoever runs it.
    office: Mutex<Option<(AsyncSmtpTransportBuilder, Receiver<Letter>)>>,
}

/// Sends mail.
#[derive(Default)]
pub struct Mail(Option<Post>);

impl MailConfig {
    /// Whether it can be used; no file is read for it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), MailError> {
        self.server()?;
        self.sender()?;
        Ok(())
    }

    fn sender(&self) -> Result<Mailbox, MailError> {
        self.from.parse().map_err(|error| MailError {
            field: "from",
            why: format!("{:?} is no sender such as TradeFlow <trade@example.org>: {error}", self.from),
        })
    }

    /// The server's address; whether TLS comes first, or by STARTTLS; no TLS at all only on this machine.
    fn server(&self) -> Result<(Url, Option<bool>), MailError> {
        let wrong = |why: &str| MailError { field: "url", why: why.to_owned() };
        let url = Url::parse(&self.url).map_err(|error| {
            wrong(&format!("is no address such as smtps://user:password@host:465: {error}"))
        })?;
        let query: Vec<_> = url.query_pairs().collect();
        let tls = match (url.scheme(), query.as_slice()) {
            ("smtps", []) => Some(true),
            ("smtp", [(key, value)]) if key == "tls" && value == "required" => Some(false),
            ("smtp", []) => None,
            _ => {
                return Err(wrong(
                    "takes smtps://user:password@host:465, or smtp://user:password@host:587?tls=required \
                     for STARTTLS",
                ));
            }
        };
        let host = host(&url);
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if tls.is_none() && !local {
            return Err(wrong(
                "sends everything in the clear to another machine: add ?tls=required for STARTTLS, or take smtps://",
            ));
        }
        if url.username().is_empty() != url.password().is_none() {
            return Err(wrong("has a user without a password, or a password without a user"));
        }
        Ok((url, tls))
    }

    fn transport(&self) -> Result<AsyncSmtpTransportBuilder, MailError> {
        let (url, tls) = self.server()?;
        let failed =
            |error: lettre::transport::smtp::Error| MailError { field: "url", why: error.to_string() };
        let builder = Transport::from_url(url.as_str()).map_err(failed)?.timeout(Some(PATIENCE));
        let Some(first) = tls else { return Ok(builder) };
        let mut parameters = TlsParameters::builder(host(&url).to_owned());
        if let Some(path) = &self.ca {
            let wrong =
                |why: String| MailError { field: "ca", why: format!("file {}: {why}", path.display()) };
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let certificate = Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
            parameters = parameters.add_root_certificate(certificate);
        }
        let parameters = parameters.build_rustls().map_err(failed)?;
        Ok(builder.tls(if first { Tls::Wrapper(parameters) } else { Tls::Required(parameters) }))
    }
}

impl Mail {
    /// Mail by a server. It is sent while [`Self::run`] runs.
    ///
    /// # Errors
    /// What is wrong with the configuration. The server is not asked.
    pub fn new(config: &MailConfig) -> Result<Self, MailError> {
        let (from, transport) = (config.sender()?, config.transport()?);
        let (letters, receiver) = channel(QUEUE_MAX);
        Ok(Self(Some(Post { from, letters, office: Mutex::new(Some((transport, receiver))) })))
    }

    /// Whether there is a server; otherwise letters stand in the log.
    pub fn is_configured(&self) -> bool {
        self.0.is_some()
    }

    /// Sends a letter in plain text, later. It returns at once; what becomes of the letter, the log tells. It may be called
    /// from any thread.
    ///
    /// Where no server is configured, the letter stands in the log, so that whoever runs the node gives it on. When more
    /// than a thousand letters wait, it is dropped, and the log says so. Gives whether it was taken.
    pub fn send(&self, to: &str, subject: &str, text: &str) -> bool {
        let Some(post) = &self.0 else {
            tracing::warn!(target: "mail", to, subject, text, "no mail server is configured");
            return true;
        };
        let dropped = |why: &str| {
            tracing::warn!(target: "mail", to, subject, why, "mail was dropped");
            false
        };
        let message = match letter(&post.from, to, subject, text) {
            Ok(message) => message,
            Err(why) => return dropped(&why),
        };
        match post.letters.try_send(Letter { to: to.to_owned(), message }) {
            Ok(()) => true,
            Err(_) => dropped("too many wait, or the node ends"),
        }
    }

    /// Sends what [`Self::send`] takes, for as long as it is polled; the second who calls it has nothing to do.
    pub(crate) async fn run(&self) {
        let Some(post) = &self.0 else { return };
        let office = post.office.lock().ok().and_then(|mut office| office.take());
        let Some((transport, mut letters)) = office else { return };
        let transport = transport.build();
        let mut underway = JoinSet::new();
        while let Some(letter) = letters.recv().await {
            while underway.try_join_next().is_some() {}
            if underway.len() >= UNDERWAY_MAX {
                underway.join_next().await;
            }
            underway.spawn(deliver(transport.clone(), letter));
        }
    }
}

/// As it stands in certificates: an IPv6 address without its brackets.
fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_matches(['[', ']'])
}

fn letter(from: &Mailbox, to: &str, subject: &str, text: &str) -> Result<Message, String> {
    let address: Address = to.parse().map_err(|error| format!("the address: {error}"))?;
    let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Message::builder()
        // The same for all attempts: whoever gets it twice can tell.
        .message_id(Some(format!("<{}@{}>", Uuid::now_v7(), from.email.domain())))
        .from(from.clone())
        .to(Mailbox::new(None, address))
        .subject(subject)
        .header(ContentType::TEXT_PLAIN)
        .body(text.to_owned())
        .map_err(|error| error.to_string())
}

async fn deliver(transport: Transport, letter: Letter) {
    let Letter { to, message } = letter;
    let mut pauses = PAUSES_SECS.iter();
    loop {
        let Err(error) = transport.send(message.clone()).await else {
            tracing::info!(target: "mail", to, "mail was sent");
            return;
        };
        match pauses.next().filter(|_| !error.is_permanent()) {
            Some(secs) => {
                tracing::warn!(target: "mail", to, %error, "mail was not sent; the next attempt is in {secs} s");
                tokio::time::sleep(Duration::from_secs(*secs)).await;
            }
            None => {
                tracing::error!(target: "mail", to, %error, "mail was not sent, and given up");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> MailConfig {
        MailConfig { url: url.to_owned(), from: "TradeFlow <t@example.org>".to_owned(), ca: None }
    }

    #[test]
    fn nothing_goes_in_the_clear_to_another_machine() {
        for good in [
            "smtps://user:pass@mail.example.org",
            "smtps://mail.example.org:465",
            "smtp://user:p%40ss@mail.example.org:587?tls=required",
            "smtp://localhost:2525",
            "smtp://127.0.0.1:2525",
            "smtp://[::1]:2525",
        ] {
            assert!(config(good).check().is_ok(), "{good}");
            assert!(Mail::new(&config(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "mail.example.org",
            "http://mail.example.org",
            "smtps://",
            "smtp://mail.example.org",
            "smtp://192.0.2.1",
            "smtp://127.0.0.1.example.org",
            "smtp://localhost.example.org",
            "smtp://user:secret-word@mail.example.org",
            "smtp://user:secret-word@mail.example.org?tls=opportunistic",
            "smtps://user:secret-word@mail.example.org?tls=none",
            "smtps://user@mail.example.org",
        ] {
            let error = config(bad).check().expect_err(bad);
            assert_eq!(error.field, "url", "{bad}");
            assert!(!error.to_string().contains("secret-word"), "{error}");
        }
        for from in ["", "no address", "t@example.org\nbcc: x@example.org"] {
            let error = MailConfig { from: from.to_owned(), ..config("smtp://localhost") }.check();
            assert_eq!(error.expect_err(from).field, "from");
        }
    }

    #[test]
    fn a_letter_has_no_more_headers_than_it_should() {
        let from: Mailbox = "TradeFlow <t@example.org>".parse().unwrap();
        let made = letter(&from, "a@example.org", "one\r\nbcc: x@example.org", "text").unwrap();
        let made = String::from_utf8(made.formatted()).unwrap();
        assert!(!made.to_lowercase().contains("\nbcc:"), "{made}");
        assert!(made.contains("\r\nDate: ") && made.contains("@example.org>\r\n"), "{made}");
        for bad in
            ["", "a", "a@example.org, b@example.org", "a@example.org\r\nb@example.org", "<a@example.org>"]
        {
            assert!(letter(&from, bad, "subject", "text").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn letters_that_no_one_sends_are_bounded() {
        let mail = Mail::new(&config("smtp://localhost:1")).unwrap();
        let taken = (0..2 * QUEUE_MAX).filter(|_| mail.send("a@example.org", "s", "t")).count();
        assert_eq!(taken, QUEUE_MAX);
    }
}
