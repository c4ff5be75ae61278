//! The routes under `/api/v1`, one file each.
//!
//! Each handler names the least role that may call it twice: as the type of its caller ([`crate::auth::As`]), which is
//! what holds, and in its description, which the OpenAPI document shows; a test compares the two by calling it.

pub(crate) mod accounts;
pub(crate) mod alerts;
pub(crate) mod api_keys;
pub(crate) mod auth;
pub(crate) mod backtests;
pub(crate) mod bars;
pub(crate) mod command;
pub(crate) mod credentials;
pub(crate) mod download;
pub(crate) mod equity;
pub(crate) mod fills;
pub(crate) mod instruments;
pub(crate) mod listing;
pub(crate) mod live_sessions;
pub(crate) mod log_export;
pub(crate) mod logs;
pub(crate) mod oidc;
pub(crate) mod orders;
pub(crate) mod positions;
pub(crate) mod quotes;
pub(crate) mod results;
pub(crate) mod second_factor;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod signals;
pub(crate) mod strategies;
pub(crate) mod system_log;
pub(crate) mod trades;
pub(crate) mod users;
pub(crate) mod watchlists;
pub(crate) mod webhook_keys;
pub(crate) mod webhooks;

use actix_web::HttpRequest;
use tradeflow_model::Timestamp;
use tradeflow_state::NewAudit;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::auth::Caller;
use crate::context::{Context, Shared};
use crate::problem::{FieldProblem, Problem};
use crate::socket::connection;

/// All of them.
pub(crate) fn all(app: &mut ServiceConfig) {
    // The router looks at one after the other: what is asked most comes first.
    app.service(quotes::get)
        .service(quotes::list)
        .service(auth::register)
        .service(auth::login)
        .service(auth::refresh)
        .service(auth::logout)
        .service(auth::me)
        .service(auth::change_password)
        .service(auth::forgot)
        .service(auth::reset)
        .service(oidc::providers)
        .service(oidc::begin)
        .service(oidc::link)
        .service(oidc::unlink)
        .service(oidc::callback)
        .service(second_factor::show)
        .service(second_factor::begin)
        .service(second_factor::confirm)
        .service(second_factor::renew)
        .service(second_factor::remove)
        .service(second_factor::remove_of_user)
        .service(sessions::list)
        .service(live_sessions::list)
        .service(live_sessions::verify)
        .service(live_sessions::fork)
        .service(sessions::end)
        .service(api_keys::list)
        .service(api_keys::create)
        .service(api_keys::remove)
        .service(users::list)
        .service(users::get)
        .service(users::change)
        .service(watchlists::list)
        .service(watchlists::create)
        .service(watchlists::get)
        .service(watchlists::change)
        .service(watchlists::remove)
        .service(instruments::list)
        .service(instruments::get)
        .service(bars::get)
        .service(accounts::list)
        .service(accounts::get)
        .service(accounts::users)
        .service(accounts::grant)
        .service(accounts::revoke)
        .service(accounts::pause)
        .service(accounts::resume)
        .service(accounts::kill)
        .service(accounts::open::open)
        .service(accounts::open::change)
        .service(accounts::open::close)
        .service(accounts::limits::show)
        .service(accounts::limits::put)
        .service(accounts::sync::sync)
        .service(credentials::list)
        .service(credentials::give)
        .service(credentials::remove)
        .service(positions::list)
        .service(positions::get)
        .service(positions::close)
        .service(positions::flatten)
        .service(equity::get)
        .service(orders::read::list)
        .service(orders::read::get)
        .service(orders::preview::preview)
        .service(orders::place)
        .service(orders::change)
        .service(orders::cancel)
        .service(orders::cancel_all)
        .service(fills::list)
        .service(trades::list)
        .service(trades::export::get)
        .service(trades::statistics::get)
        .service(trades::get)
        .service(trades::annotate)
        .service(strategies::list)
        .service(strategies::get)
        .service(strategies::dry_run::run_once)
        .service(strategies::account::list)
        .service(strategies::account::versions)
        .service(strategies::start)
        .service(strategies::stop)
        .service(signals::list)
        .service(signals::create)
        .service(signals::get)
        .service(signals::execute)
        .service(signals::cancel)
        .service(webhook_keys::list)
        .service(webhook_keys::create)
        .service(webhook_keys::remove)
        .service(webhooks::tradingview)
        .service(webhooks::trailhacker)
        .service(webhooks::test)
        .service(webhooks::of_user)
        .service(backtests::submit)
        .service(backtests::list)
        .service(backtests::compare)
        .service(backtests::get)
        .service(backtests::summary)
        .service(backtests::cancel)
        .service(download::download)
        .service(results::equity)
        .service(results::orders)
        .service(results::fills)
        .service(results::trades)
        .service(results::runs)
        .service(results::groups)
        .service(alerts::list)
        .service(alerts::create)
        .service(alerts::get)
        .service(alerts::change)
        .service(alerts::remove)
        .service(alerts::test)
        .service(alerts::events)
        .service(settings::get)
        .service(settings::change)
        .service(settings::change_global)
        .service(logs::audit)
        .service(logs::export_audit)
        .service(system_log::system)
        .service(system_log::export_system)
        .service(logs::webhooks)
        .service(connection::open);
}

/// A page of a list.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct Page<T> {
    /// What is on it.
    items: Vec<T>,
    /// Give it as `cursor` for the next page; none on the last.
    next: Option<String>,
}

/// Which page.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many at most: 1 to 500, 100 when it is not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// How many entries a page has at most.
pub(crate) fn limit(wanted: Option<u32>) -> Result<u32, Problem> {
    match wanted.unwrap_or(100) {
        limit @ 1..=500 => Ok(limit),
        _ => Err(Problem::field("limit", "takes 1 to 500")),
    }
}

impl<T> Page<T> {
    /// Of one item more than is shown, where there is one.
    fn of(mut items: Vec<T>, limit: u32, id: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(id) } else { None };
        Self { items, next }
    }

    fn map<V>(self, view: impl Fn(T) -> V) -> Page<V> {
        Page { items: self.items.into_iter().map(view).collect(), next: self.next }
    }
}

/// Checks texts of a body: not empty, not too long, no control characters.
pub(crate) struct Checks(Vec<FieldProblem>);

impl Checks {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn text(&mut self, field: &str, text: &str, min: usize, max: usize) -> &mut Self {
        let length = text.chars().count();
        if length < min || length > max {
            return self.that(false, field, &format!("takes {min} to {max} characters, not {length}"));
        }
        self.that(!text.chars().any(char::is_control), field, "takes no control characters")
    }

    pub(crate) fn that(&mut self, holds: bool, field: &str, why: &str) -> &mut Self {
        if !holds {
            self.0.push(FieldProblem { field: field.to_owned(), why: why.to_owned() });
        }
        self
    }

    pub(crate) fn done(&mut self) -> Result<(), Problem> {
        match std::mem::take(&mut self.0) {
            wrong if wrong.is_empty() => Ok(()),
            wrong => Err(Problem::fields(wrong)),
        }
    }
}

/// Notes in the audit log what a caller did. What was done stands, whether it can be noted or not.
pub(crate) async fn audit(shared: &Shared, caller: &Caller, action: &str, object: &str, outcome: &str) {
    audit_command(shared, caller, action, object, outcome, None).await;
}

/// The same of a command to a cell: what was sent, and the orders that it made, as a JSON object.
pub(crate) async fn audit_command(
    shared: &Shared,
    caller: &Caller,
    action: &str,
    object: &str,
    outcome: &str,
    detail: Option<&str>,
) {
    let user = &caller.identity.user;
    let new = NewAudit {
        user: Some(&user.id),
        actor: &user.email,
        action,
        object,
        outcome,
        address: &caller.address(),
    };
    write(shared, new, detail).await;
}

pub(crate) async fn note(shared: &Shared, new: NewAudit<'_>) {
    write(shared, new, None).await;
}

async fn write(shared: &Shared, new: NewAudit<'_>, detail: Option<&str>) {
    tracing::info!(target: "audit", actor = new.actor, action = new.action, object = new.object, outcome = new.outcome, address = new.address);
    if let Err(error) = shared.state.add_command_audit(shared.now(), new, detail).await {
        tracing::warn!(%error, "the audit log");
    }
}

/// A time as it stands in answers.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_string()
}

/// A name as it stands in records.
pub(crate) fn name<T: serde::Serialize>(value: &T) -> String {
    let name = serde_json::to_value(value).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A header as text.
pub(crate) fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// An account that the caller may see, one that was closed included; others are as if they were not there.
pub(crate) async fn account_of(shared: &Context, caller: &Caller, account: &str) -> Result<(), Problem> {
    let plan = shared.plan();
    let known = plan.cell_of(account).is_some();
    let shown = known
        && (caller.identity.user.role >= tradeflow_state::Role::Manager
            || shared.state.has_access(caller.id(), account).await?);
    if shown { Ok(()) } else { Err(Problem::missing("account")) }
}

/// An account that the caller may see and that is not closed.
pub(crate) async fn open_account_of(shared: &Context, caller: &Caller, account: &str) -> Result<(), Problem> {
    account_of(shared, caller, account).await?;
    if shared.plan().open_cell_of(account).is_some() {
        return Ok(());
    }
    Err(Problem::conflict("closed", format!("account {account} was closed: it trades no more")))
}
