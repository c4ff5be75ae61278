//! What comes over a webhook: key, age, duplicates, log; then the signal.

use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use tradeflow_model::{SignalSource, Timestamp};
use tradeflow_state::{Role, SignalRow, WebhookEntry, WebhookKey};
use utoipa::ToSchema;
use uuid::Uuid;

use super::alert::{Alert, instrument};
use super::payload::{Payload, redacted};
use super::{tradingview, trailhacker};
use crate::auth::address;
use crate::context::Context;
use crate::problem::Problem;
use crate::routes::{name, signals};

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sender {
    TradingView,
    TrailHacker,
}

impl Sender {
    fn read(self, payload: &Payload) -> Result<Alert, Problem> {
        match self {
            Self::TradingView => tradingview::read(payload),
            Self::TrailHacker => trailhacker::read(payload),
        }
    }

    fn source(self) -> SignalSource {
        match self {
            Self::TradingView => SignalSource::TradingView,
            Self::TrailHacker => SignalSource::Webhook,
        }
    }
}

/// What is answered to a sender.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Received {
    /// `accepted`, or `duplicate` when the same alert came before.
    status: &'static str,
    /// The signal that it became.
    signal_id: String,
}

/// The same alert without a time in it may come again after this; a sender repeats it within 15 seconds.
const REPEATS_NS: i64 = 30 * 1_000_000_000;
/// The same with a time in it.
const DAY_NS: i64 = 86_400 * 1_000_000_000;
/// A sender's clock may be ahead by this.
const AHEAD_NS: i64 = 60 * 1_000_000_000;

/// What is known of it by now, for the log.
#[derive(Default)]
struct Known {
    key: Option<WebhookKey>,
    signal: Option<String>,
}

/// Takes an alert, and answers before it is executed. Whatever comes is logged.
pub(crate) async fn receive(
    shared: &Context,
    request: &HttpRequest,
    sender: Sender,
    user: Option<&str>,
    body: &[u8],
) -> HttpResponse {
    let mut known = Known::default();
    let result = accept(shared, request, sender, user, body, &mut known).await;
    let (status, outcome) = match &result {
        Ok((received, _)) => {
            (if received.status == "accepted" { 202 } else { 200 }, received.status.to_owned())
        }
        Err(problem) => (problem.status, problem.detail.clone()),
    };
    let entry = WebhookEntry {
        id: String::new(),
        ts: shared.now().as_nanos(),
        route: request.match_pattern().unwrap_or_default(),
        key_id: known.key.as_ref().map(|key| key.id.clone()),
        user_id: known.key.as_ref().map(|key| key.user_id.clone()),
        address: address(request),
        status: status.into(),
        outcome: outcome.replace('\0', ""),
        signal_id: known.signal,
        body: redacted(body),
    };
    if let Err(error) = shared.state.add_webhook_entry(&entry).await {
        tracing::warn!(%error, "the log of webhooks");
    }
    match result {
        Ok((received, queued)) => {
            if let Some(row) = queued {
                let shared = shared.clone();
                // It stays queued where this fails, and is tried again.
                tokio::spawn(async move { drop(signals::run(&shared, row).await) });
            }
            match status {
                202 => HttpResponse::Accepted().json(received),
                _ => HttpResponse::Ok().json(received),
            }
        }
        Err(problem) => problem.error_response(),
    }
}

async fn accept(
    shared: &Context,
    request: &HttpRequest,
    sender: Sender,
    user: Option<&str>,
    body: &[u8],
    known: &mut Known,
) -> Result<(Received, Option<SignalRow>), Problem> {
    let payload = Payload::read(body)?;
    let secret = payload.secret().or_else(|| from_query(request));
    let secret =
        secret.ok_or_else(|| Problem::unauthorized("the secret is missing: field `secret` of the body"))?;
    let now = shared.now();
    let key = shared.state.use_webhook_key(now, &secret).await?;
    let key = key.filter(|key| user.is_none_or(|user| user == key.user_id));
    let key =
        known.key.insert(key.ok_or_else(|| Problem::unauthorized("the secret is no webhook key's"))?).clone();
    let owner = shared.state.user(&key.user_id).await?;
    let may = !owner.disabled
        && owner.role >= Role::Trader
        && (owner.role >= Role::Manager || shared.state.has_access(&owner.id, &key.account).await?);
    if !may {
        return Err(Problem::forbidden(format!("the key's user may not trade in {}", key.account)));
    }
    let alert = sender.read(&payload)?;
    let row = row(shared, &key, sender, &alert, now)?;
    check_age(&alert, &key, now)?;
    let hash = blake3::Hasher::new().update(key.id.as_bytes()).update(b"\n").update(body).finalize().to_hex();
    let window = if alert.sent.is_some() { DAY_NS } else { REPEATS_NS };
    let since = Timestamp::from_nanos(now.as_nanos() - window);
    if let Some(before) = shared.state.add_signal(&row, Some((hash.as_str(), since))).await? {
        known.signal = Some(before.clone());
        return Ok((Received { status: "duplicate", signal_id: before }, None));
    }
    known.signal = Some(row.id.clone());
    signals::told(shared, row.clone());
    let received = Received { status: "accepted", signal_id: row.id.clone() };
    Ok((received, (key.auto_execute != 0).then_some(row)))
}

/// A secret in the URL's query, for senders whose body is not their user's to write.
fn from_query(request: &HttpRequest) -> Option<String> {
    let pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
    pairs
        .into_iter()
        .find(|(name, _)| ["secret", "token", "key"].contains(&name.as_ref()))
        .map(|(_, value)| value.into_owned())
}

fn check_age(alert: &Alert, key: &WebhookKey, now: Timestamp) -> Result<(), Problem> {
    let Some(sent) = alert.sent else { return Ok(()) };
    let age = now.as_nanos().saturating_sub(sent.as_nanos());
    if age > key.max_age {
        let why = format!(
            "it was sent {} s ago; the key takes {} s",
            age / 1_000_000_000,
            key.max_age / 1_000_000_000
        );
        return Err(Problem::stale(why));
    }
    if age < -AHEAD_NS {
        return Err(Problem::field("timestamp", "lies in the future"));
    }
    Ok(())
}

/// The signal that an alert becomes.
fn row(
    shared: &Context,
    key: &WebhookKey,
    sender: Sender,
    alert: &Alert,
    now: Timestamp,
) -> Result<SignalRow, Problem> {
    let symbol = instrument(&shared.plan(), &alert.ticker).ok_or_else(|| {
        Problem::field("ticker", format!("{:?} is no instrument of this node", alert.ticker))
    })?;
    let text = |number: Option<rust_decimal::Decimal>| number.map(|number| number.normalize().to_string());
    Ok(SignalRow {
        id: Uuid::now_v7().to_string(),
        account: key.account.clone(),
        user_id: key.user_id.clone(),
        source: name(&sender.source()),
        strategy_id: alert.strategy.id.clone(),
        strategy_version: alert.strategy.version.clone(),
        strategy_name: alert.strategy.name.clone(),
        symbol: symbol.to_string(),
        side: name(&alert.side),
        size: alert.size.map(|size| size.to_string()).or_else(|| key.default_size.clone()),
        price: text(alert.price),
        limit_price: text(alert.limit_price),
        stop_loss: text(alert.stop_loss),
        take_profit: text(alert.take_profit),
        ts_event: alert.sent.unwrap_or(now).as_nanos(),
        // One that waits too long is not what its sender meant.
        expires: (key.auto_execute != 0).then(|| now.as_nanos().saturating_add(key.max_age)),
        created: now.as_nanos(),
        status: if key.auto_execute != 0 { "queued" } else { "new" }.to_owned(),
        reason: None,
        order_ids: String::new(),
        decided: None,
    })
}

/// What an alert is understood as; nothing is kept or done.
pub(crate) fn understood(
    shared: &Context,
    sender: Sender,
    key: &WebhookKey,
    body: &[u8],
) -> Result<SignalRow, Problem> {
    let alert = sender.read(&Payload::read(body)?)?;
    row(shared, key, sender, &alert, shared.now())
}
