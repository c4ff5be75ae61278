//! `alerts`: what someone wants to be told of.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_state::{AlertEventRow, AlertRow, DeliveryRow, StateError, Token, TokenKind};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Checks, Page, Paging, account_of, audit, limit, time};
use crate::alerts::address::read_url;
use crate::alerts::event;
use crate::alerts::message::Told;
use crate::alerts::rule::Rule;
use crate::auth::{As, Caller, Viewer};
use crate::body::{Body, Query};
use crate::context::{Context, Shared};
use crate::problem::Problem;

/// Alerts of a user at most.
const MAX: i64 = 100;
/// Longest pause, in seconds: a week.
const PAUSE_MAX: u32 = 7 * 86_400;
const SECOND: i64 = 1_000_000_000;

/// An alert to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAlert {
    /// Its name, for people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// When it goes off.
    rule: Rule,
    /// Whether it goes on after it has gone off; otherwise it is switched off then.
    #[serde(default)]
    repeats: bool,
    /// For so many seconds it is quiet after it has gone off; 60 when it is not given.
    #[serde(default = "minute")]
    #[schema(maximum = 604800)]
    pause_secs: u32,
    /// Whether it is watched.
    #[serde(default = "yes")]
    enabled: bool,
    /// Whether a mail is sent, to the address of its user, unless he has switched off `alert_mail` in his settings.
    #[serde(default)]
    mail: bool,
    /// Where a webhook is sent to; the answer has the key of its signatures.
    #[schema(max_length = 2000)]
    webhook_url: Option<String>,
}

fn minute() -> u32 {
    60
}

fn yes() -> bool {
    true
}

/// What is to be changed; what is not given stays. Whatever is changed, its condition is looked at from the beginning.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeAlert {
    /// Its name.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// When it goes off.
    rule: Option<Rule>,
    /// Whether it goes on after it has gone off.
    repeats: Option<bool>,
    /// For so many seconds it is quiet after it has gone off.
    #[schema(maximum = 604800)]
    pause_secs: Option<u32>,
    /// Whether it is watched.
    enabled: Option<bool>,
    /// Whether a mail is sent.
    mail: Option<bool>,
    /// Where a webhook is sent to; an empty text for none. Another address has another key of its signatures.
    #[schema(max_length = 2000)]
    webhook_url: Option<String>,
}

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertView {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// When it goes off; none where it is of another version of the server.
    rule: Option<Rule>,
    /// Whether it goes on after it has gone off.
    repeats: bool,
    /// For so many seconds it is quiet after it has gone off.
    pause_secs: i64,
    /// Whether it is watched.
    enabled: bool,
    /// Whether it is stopped, because the account is not its user's any more.
    stopped: bool,
    /// Whether a mail is sent.
    mail: bool,
    /// Where a webhook is sent to.
    webhook_url: Option<String>,
    /// The key of the signatures of its webhook; shown this once, where there is a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_secret: Option<String>,
    /// When it was made.
    created: String,
    /// When it went off last.
    last_fired: Option<String>,
    /// How often it went off.
    fires: i64,
}

impl From<AlertRow> for AlertView {
    fn from(row: AlertRow) -> Self {
        let at = |nanos| time(Timestamp::from_nanos(nanos));
        Self {
            id: row.id,
            name: row.name,
            rule: serde_json::from_str(&row.rule).ok(),
            repeats: row.repeats == 1,
            pause_secs: row.pause / SECOND,
            enabled: row.enabled == 1,
            stopped: row.allowed == 0,
            mail: row.mail == 1,
            webhook_url: row.webhook_url,
            webhook_secret: None,
            created: at(row.created),
            last_fired: row.fired.map(at),
            fires: row.fires,
        }
    }
}

/// A time that an alert went off.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertEvent {
    /// What was told.
    event: Told,
    /// What became of its mail and its webhook.
    deliveries: Vec<Delivery>,
}

/// A mail or a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Delivery {
    /// `mail` or `webhook`.
    way: String,
    /// `waiting`, `sent` or `failed`. A mail is sent when the node's mailer has it.
    status: String,
    /// How often it was tried.
    attempts: i64,
    /// Why it failed last.
    error: Option<String>,
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        Self { way: row.way, status: row.status, attempts: row.attempts, error: row.error }
    }
}

/// Which of my alerts' events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichAlertEvents {
    /// Of this alert.
    alert_id: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many at most: 1 to 500, 100 when it is not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Checks an alert as it is to be, and gives the number of the account's last fill: those before are no news.
async fn check(shared: &Context, caller: &Caller, row: &AlertRow, rule: &Rule) -> Result<i64, Problem> {
    let mut checks = Checks::new();
    checks.text("name", &row.name, 1, 100);
    checks.that(
        (0..=i64::from(PAUSE_MAX) * SECOND).contains(&row.pause),
        "pause_secs",
        &format!("takes 0 to {PAUSE_MAX}"),
    );
    let plan = shared.plan();
    let mut symbol = |symbol: &str| {
        let known = plan.instrument(symbol).is_some();
        checks.that(known, "rule.symbol", "is none that this node follows: see /instruments");
    };
    match rule {
        Rule::Price { symbol: of, level, .. } => {
            symbol(of);
            checks.that(!level.is_zero(), "rule.level", "takes a price");
        }
        Rule::Fill { symbol: of, strategy, .. } => {
            of.iter().for_each(|of| symbol(of));
            if let Some(strategy) = strategy {
                checks.text("rule.strategy", strategy, 1, 100);
            }
        }
        Rule::Drawdown { percent, .. } => {
            let fits = *percent > 0.into() && *percent <= 100.into();
            checks.that(fits, "rule.percent", "takes more than 0, and 100 at most");
        }
        Rule::FeedDown { feed, seconds } => {
            let names: Vec<_> = shared.node.feeds().into_iter().map(|feed| feed.name).collect();
            let known = feed.as_ref().is_none_or(|feed| names.contains(feed));
            checks.that(known, "rule.feed", &format!("is none of: {}", names.join(", ")));
            checks.that((1..=86_400).contains(seconds), "rule.seconds", "takes 1 to 86400");
        }
    }
    if let Some(url) = &row.webhook_url {
        let read = read_url(url, shared.config.alert_private_addresses);
        checks.that(url.chars().count() <= 2000, "webhook_url", "takes 2000 characters at most");
        checks.that(read.is_ok(), "webhook_url", &read.err().unwrap_or_default());
    }
    checks.done()?;
    let Some(account) = rule.account() else { return Ok(0) };
    account_of(shared, caller, account).await.map_err(|problem| match problem.status {
        404 => Problem::field("rule.account", "is none that you may see"),
        _ => problem,
    })?;
    Ok(shared.state.last_fill(account).await? as i64)
}

/// My alerts, the newest first
#[utoipa::path(tag = "alerts", params(Paging), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Page<AlertView>)))]
#[get("/alerts")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Viewer>,
    paging: Query<Paging>,
) -> Result<HttpResponse, Problem> {
    let most = limit(paging.0.limit)?;
    let rows = shared.state.alerts(caller.id(), paging.0.cursor.as_deref(), most + 1).await?;
    Ok(HttpResponse::Ok().json(Page::of(rows, most, |row| row.id.clone()).map(AlertView::from)))
}

/// Make an alert
///
/// It is told over the socket (channel `alerts`), and by mail and webhook where that is wanted. 409 with code `too-many` where
/// one has a hundred.
#[utoipa::path(tag = "alerts", request_body = NewAlert, security(("bearer" = ["viewer"])),
    responses((status = 201, body = AlertView)))]
#[post("/alerts")]
pub(crate) async fn create(
    shared: Context,
    caller: As<Viewer>,
    body: Body<NewAlert>,
) -> Result<HttpResponse, Problem> {
    let NewAlert { name, rule, repeats, pause_secs, enabled, mail, webhook_url } = body.0;
    let now = shared.now().as_nanos();
    let webhook_url = webhook_url.filter(|url| !url.is_empty());
    let mut row = AlertRow {
        id: Uuid::now_v7().to_string(),
        user_id: caller.id().to_owned(),
        name,
        rule: serde_json::to_string(&rule).map_err(|_| Problem::internal())?,
        account: rule.account().map(str::to_owned),
        repeats: repeats.into(),
        pause: i64::from(pause_secs) * SECOND,
        enabled: enabled.into(),
        mail: mail.into(),
        webhook_secret: None,
        webhook_key: None,
        webhook_url,
        created: now,
        changed: now,
        fired: None,
        fires: 0,
        seen: 0,
        progress: "{}".to_owned(),
        allowed: 1,
    };
    row.seen = check(&shared, &caller, &row, &rule).await?;
    let webhook_secret = give_secret(&shared, &mut row)?;
    if !shared.state.add_alert(&row, MAX).await? {
        return Err(Problem::conflict("too-many", format!("there are {MAX} alerts already: delete one")));
    }
    audit(&shared, &caller, "alerts.create", &row.id, "done").await;
    shared.alerts.changed.notify_one();
    Ok(HttpResponse::Created().json(AlertView { webhook_secret, ..row.into() }))
}

/// Gives a webhook that there is a secret of its own: what its user is shown once.
fn give_secret(shared: &Shared, row: &mut AlertRow) -> Result<Option<String>, Problem> {
    (row.webhook_secret, row.webhook_key) = (None, None);
    if row.webhook_url.is_none() {
        return Ok(None);
    }
    let secret = Token::new(TokenKind::Webhook).reveal().to_owned();
    row.seal_secret(&shared.keys, &secret).map_err(StateError::from)?;
    Ok(Some(secret))
}

/// An alert of mine
#[utoipa::path(tag = "alerts", params(("alert_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = AlertView)))]
#[get("/alerts/{alert_id}")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(AlertView::from(shared.state.alert(caller.id(), &id).await?)))
}

/// Change an alert of mine
#[utoipa::path(tag = "alerts", params(("alert_id" = String, Path, description = "Its id")),
    request_body = ChangeAlert, security(("bearer" = ["viewer"])), responses((status = 200, body = AlertView)))]
#[patch("/alerts/{alert_id}")]
pub(crate) async fn change(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
    body: Body<ChangeAlert>,
) -> Result<HttpResponse, Problem> {
    let before = shared.state.alert(caller.id(), &id).await?;
    let ChangeAlert { name, rule, repeats, pause_secs, enabled, mail, webhook_url } = body.0;
    let rule = match rule {
        Some(rule) => rule,
        None => serde_json::from_str(&before.rule)
            .map_err(|_| Problem::field("rule", "is of another version of the server: give it anew"))?,
    };
    let mut row = AlertRow {
        name: name.unwrap_or(before.name),
        rule: serde_json::to_string(&rule).map_err(|_| Problem::internal())?,
        account: rule.account().map(str::to_owned),
        repeats: repeats.map_or(before.repeats, i64::from),
        pause: pause_secs.map_or(before.pause, |secs| i64::from(secs) * SECOND),
        enabled: enabled.map_or(before.enabled, i64::from),
        mail: mail.map_or(before.mail, i64::from),
        changed: shared.now().as_nanos().max(before.changed + 1),
        progress: "{}".to_owned(),
        ..before
    };
    let mut fresh = None;
    if let Some(url) = webhook_url.filter(|url| row.webhook_url.as_ref() != Some(url)) {
        row.webhook_url = (!url.is_empty()).then_some(url);
        fresh = give_secret(&shared, &mut row)?;
    }
    row.seen = check(&shared, &caller, &row, &rule).await?;
    shared.state.change_alert(&row).await?;
    audit(&shared, &caller, "alerts.change", &row.id, "done").await;
    shared.alerts.changed.notify_one();
    let row = shared.state.alert(caller.id(), &id).await?;
    Ok(HttpResponse::Ok().json(AlertView { webhook_secret: fresh, ..row.into() }))
}

/// Delete an alert of mine
///
/// What it told stays in the list; webhooks of it that wait are not sent.
#[utoipa::path(tag = "alerts", params(("alert_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 204)))]
#[delete("/alerts/{alert_id}")]
pub(crate) async fn remove(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    shared.state.remove_alert(caller.id(), &id).await?;
    audit(&shared, &caller, "alerts.remove", &id, "done").await;
    shared.alerts.changed.notify_one();
    Ok(HttpResponse::NoContent().finish())
}

/// Try an alert of mine
///
/// It is told in all of its ways, marked as a trial; its state does not change.
#[utoipa::path(tag = "alerts", params(("alert_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 202, body = Told)))]
#[post("/alerts/{alert_id}/test")]
pub(crate) async fn test(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let row = shared.state.alert(caller.id(), &id).await?;
    let rule: Option<Rule> = serde_json::from_str(&row.rule).ok();
    let kind = rule.map_or("unknown", |rule| rule.kind());
    let message = "This is a trial: nothing has happened.";
    let tried = event(&shared, &row, kind, message, "{}", true);
    shared.state.test_alert(&row, &tried).await?;
    audit(&shared, &caller, "alerts.test", &row.id, "done").await;
    shared.alerts.told.notify_one();
    shared.alerts.due.notify_one();
    Ok(HttpResponse::Accepted().json(Told::from(tried)))
}

/// When my alerts went off, the newest first
///
/// With what became of mails and webhooks. Kept for 90 days.
#[utoipa::path(tag = "alerts", params(WhichAlertEvents), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Page<AlertEvent>)))]
#[get("/alert-events")]
pub(crate) async fn events(
    shared: Context,
    caller: As<Viewer>,
    which: Query<WhichAlertEvents>,
) -> Result<HttpResponse, Problem> {
    let WhichAlertEvents { alert_id, cursor, limit: count } = which.0;
    let most = limit(count)?;
    let state = &shared.state;
    let rows = state.alert_events(caller.id(), alert_id.as_deref(), cursor.as_deref(), most + 1).await?;
    let page = Page::of(rows, most, |row: &AlertEventRow| row.id.clone());
    let ids: Vec<_> = page.items.iter().map(|row| row.id.clone()).collect();
    let deliveries = state.deliveries_of(&ids).await?;
    Ok(HttpResponse::Ok().json(page.map(|row| {
        let of_event = deliveries.iter().filter(|delivery| delivery.event_id == row.id);
        let deliveries = of_event.map(|delivery| Delivery::from(delivery.clone())).collect();
        AlertEvent { event: row.into(), deliveries }
    })))
}
