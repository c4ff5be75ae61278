//! Mails and webhooks of alerts that went off. They wait in the state, so that a node that ends loses none; one that is
//! refused is tried again, ever later.

use std::time::Duration;

use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::redirect::Policy;
use sha2::Sha256;
use tradeflow_model::Timestamp;
use tradeflow_state::{AlertEventRow, DeliveryRow, StateError, Target};

use super::address::{Guarded, read_url};
use super::message::Told;
use crate::context::Context;
use crate::routes::settings::wants_mail;

/// Deliveries at once.
const AT_ONCE: u32 = 16;
/// How long the receiver of a webhook may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// For so long a delivery is this node's: after it, another one tries, in nanoseconds.
const LEASE: i64 = 60_000_000_000;
/// A delivery is given up after so many attempts; the first pause is a second, each next one twice as long, up to this.
const ATTEMPTS_MAX: i64 = 10;
const PAUSE_MAX_SECS: i64 = 300;
/// How often it looks for what other nodes left, and for what is due again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Delivers for as long as the server runs.
pub(super) async fn run(shared: Context) {
    let client = match client(shared.config.alert_private_addresses) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "webhooks of alerts can't be sent"),
    };
    loop {
        let (now, lease) = (shared.now(), Timestamp::from_nanos(shared.now().as_nanos() + LEASE));
        match shared.state.take_deliveries(now, lease, AT_ONCE).await {
            Ok(due) if !due.is_empty() => {
                join_all(due.iter().map(|row| deliver(&shared, &client, row))).await;
                continue;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "deliveries of alerts"),
        }
        tokio::select! {
            () = shared.alerts.due.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn client(private: bool) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .dns_resolver(std::sync::Arc::new(Guarded { private }))
        .no_proxy()
        .redirect(Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("TradeFlow/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Why a delivery failed, and whether it may be tried again.
struct Failure {
    why: String,
    again: bool,
}

async fn deliver(shared: &Context, client: &reqwest::Client, row: &DeliveryRow) {
    let done = match place(shared, row).await {
        Ok(Some((event, target))) if row.way == "mail" => match wants_mail(shared, &event.user_id).await {
            Ok(true) => mail(shared, &event, &target),
            Ok(false) => Err(Failure { why: "its user has switched mail off".to_owned(), again: false }),
            Err(_) => return, // the database is away: the lease ends
        },
        Ok(Some((event, target))) => webhook(shared, client, &event, &target).await,
        Ok(None) => Err(Failure { why: "the alert, or its user, is gone".to_owned(), again: false }),
        Err(_) => return, // the database is away: the lease ends
    };
    let kept = match done {
        Ok(()) => DeliveryRow { status: "sent".to_owned(), error: None, ..row.clone() },
        Err(Failure { why, again }) if !again || row.attempts >= ATTEMPTS_MAX => {
            tracing::warn!(event = row.event_id, way = row.way, why, "a delivery of an alert was given up");
            DeliveryRow { status: "failed".to_owned(), error: Some(why), ..row.clone() }
        }
        Err(Failure { why, .. }) => {
            let pause = (1_i64 << (row.attempts - 1).clamp(0, 30)).min(PAUSE_MAX_SECS);
            let due = shared.now().as_nanos() + pause * 1_000_000_000;
            DeliveryRow { due, error: Some(why), ..row.clone() }
        }
    };
    if let Err(error) = shared.state.keep_delivery(row, &kept).await {
        tracing::warn!(%error, "a delivery of an alert");
    }
}

async fn place(shared: &Context, row: &DeliveryRow) -> Result<Option<(AlertEventRow, Target)>, StateError> {
    let event = shared.state.alert_event(&row.event_id).await?;
    Ok(shared.state.delivery_target(&row.event_id).await?.map(|target| (event, target)))
}

fn mail(shared: &Context, event: &AlertEventRow, target: &Target) -> Result<(), Failure> {
    let subject = format!("TradeFlow: {}", event.name);
    let time = Timestamp::from_nanos(event.ts);
    let text = format!("{}\n\nAlert \"{}\", {time}.\n", event.message, event.name);
    match shared.mail.send(&target.email, &subject, &text) {
        true => Ok(()),
        false => Err(Failure { why: "the mail was not taken; the log tells why".to_owned(), again: true }),
    }
}

async fn webhook(
    shared: &Context,
    client: &reqwest::Client,
    event: &AlertEventRow,
    target: &Target,
) -> Result<(), Failure> {
    let secret = target.open_secret(&shared.keys);
    let secret = secret.map_err(|error| Failure { why: format!("webhook_secret: {error}"), again: true })?;
    let (Some(url), Some(secret)) = (&target.webhook_url, secret) else {
        return Err(Failure { why: "the alert has no webhook any more".to_owned(), again: false });
    };
    // An address in the URL is not resolved, so it is looked at here; names are at each connection.
    let url = read_url(url, shared.config.alert_private_addresses)
        .map_err(|why| Failure { why: format!("webhook_url: {why}"), again: false })?;
    let body = serde_json::to_string(&Told::from(event.clone())).unwrap_or_default();
    let time = (shared.now().as_nanos() / 1_000_000_000).to_string();
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header("x-tradeflow-event", &event.id)
        .header("x-tradeflow-timestamp", &time)
        .header("x-tradeflow-signature", signature(&secret, &time, &body))
        .body(body);
    let again = |why: String| Failure { why, again: true };
    let answer = request.send().await.map_err(|error| again(reason(error)))?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(again(format!("the receiver answers {}", answer.status().as_u16()))),
    }
}

/// What went wrong at the bottom of it; without the URL, which may hold a secret of its user's.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut deepest: &dyn std::error::Error = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match error.is_timeout() {
        true => format!("no answer within {} s", PATIENCE.as_secs()),
        false => deepest.to_string(),
    }
}

/// `sha256=` and the HMAC-SHA256 of the time, a dot and the body, in hexadecimal digits.
fn signature(secret: &[u8], time: &str, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{time}.{body}").as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn signatures_are_those_of_others() {
        // By Python: hmac.new(b"key", b"17.{}", "sha256").hexdigest()
        let expected = "e66392eac42eafc68c35a01c712811e016386c12456975fc3af80c9268568e3a";
        assert_eq!(super::signature(b"key", "17", "{}"), format!("sha256={expected}"));
    }
}
