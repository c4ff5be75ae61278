//! `accounts`: what they are worth, whose they are, and the switches that stop their trading.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | what shows them, whose they are, pause, resume, kill |
//! | `open.rs` | opening, labelling, closing |
//! | `limits.rs` | limits of the risk gate |
//! | `sync.rs` | the venue asked anew |

pub(crate) mod limits;
pub(crate) mod open;
pub(crate) mod sync;

use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_live::SessionPlan;
use tradeflow_live::commands::WireCommand;
use tradeflow_live::node::StrategyView;
use tradeflow_model::AccountKind;
use utoipa::{IntoParams, ToSchema};

use super::auth::UserView;
use super::command::{Done, Idempotency, command};
use super::listing::accounts_shown;
use super::{account_of, audit, name, time};
use crate::auth::{As, Manager, Trader, Viewer};
use crate::body::Query;
use crate::context::Context;
use crate::problem::Problem;
use crate::views::ShownCell;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountView {
    /// Its name.
    account: String,
    /// What people call it; empty where nobody has said.
    label: String,
    /// `cash` or `margin`.
    kind: &'static str,
    /// Of a margin account: value of positions over equity that an opening order may reach.
    leverage: Option<String>,
    /// Of its money.
    currency: String,
    /// What it may trade.
    symbols: Vec<String>,
    /// When it was opened over the API; none for an account of the node's configuration.
    opened: Option<String>,
    /// When it was closed; it trades no more.
    closed: Option<String>,
    /// What it is worth; none before its cell is up.
    balance: Option<Balance>,
    /// The strategies that run in it.
    strategies: Vec<StrategyLine>,
}

/// What an account is worth.
#[derive(Debug, Serialize, ToSchema, JsonSchema)]
pub(crate) struct Balance {
    /// Cash and positions.
    equity: String,
    /// Cash.
    cash: String,
    /// Profit of what was closed.
    realized: String,
    /// Profit of what is open.
    unrealized: String,
    /// Fees paid.
    fees: String,
    /// Orders that stand.
    open_orders: usize,
    /// `open`, `paused` or `killed`.
    mode: String,
    /// Why its cell is halted; none while it works.
    halted: Option<String>,
    /// When this was so: now, give or take a fifth of a second, where the account's cell runs on the node that is asked; otherwise when its node said so last,
    /// which is some seconds ago at most while that lives.
    as_of: String,
}

/// A strategy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StrategyLine {
    /// Its id.
    id: String,
    /// Its kind.
    kind: String,
    /// Whether it runs.
    running: bool,
    /// Stopped for good after its failures, until someone starts it again.
    quarantined: bool,
    /// How often it failed.
    failures: u32,
}

impl From<StrategyView> for StrategyLine {
    fn from(StrategyView { id, kind, running, quarantined, failures }: StrategyView) -> Self {
        Self { id, kind, running, quarantined, failures }
    }
}

impl From<ShownCell> for Balance {
    fn from(ShownCell { view, as_of }: ShownCell) -> Self {
        Self {
            equity: view.equity,
            cash: view.cash,
            realized: view.realized,
            unrealized: view.unrealized,
            fees: view.fees,
            open_orders: view.open_orders,
            mode: name(&view.mode),
            halted: view.halted,
            as_of: time(as_of),
        }
    }
}

impl AccountView {
    fn of(plan: &SessionPlan, index: usize, labels: &[(String, String)], shown: Option<ShownCell>) -> Self {
        let (cell, account) = (&plan.run.cells[index], &plan.accounts[index]);
        let label = labels.iter().find(|(known, _)| known == cell.account.id.as_str());
        let strategies = shown.as_ref().map(|shown| shown.view.strategies.clone()).unwrap_or_default();
        Self {
            account: cell.account.id.to_string(),
            label: label.map(|(_, label)| label.clone()).unwrap_or_default(),
            kind: match cell.account.kind {
                AccountKind::Cash => "cash",
                AccountKind::Margin { .. } => "margin",
            },
            leverage: match cell.account.kind {
                AccountKind::Cash => None,
                AccountKind::Margin { leverage } => Some(leverage.to_string()),
            },
            currency: cell.account.currency.code().to_owned(),
            symbols: account.instruments.iter().map(|id| plan.symbol(*id).to_string()).collect(),
            opened: account.opened.map(|opened| time(opened.at)),
            closed: account.closed.map(time),
            balance: shown.map(Balance::from),
            strategies: strategies.into_iter().map(StrategyLine::from).collect(),
        }
    }
}

/// Which accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichAccounts {
    /// Whether those that were closed are shown too.
    #[serde(default)]
    closed: bool,
}

/// Accounts that I may see
#[utoipa::path(tag = "accounts", params(WhichAccounts), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Vec<AccountView>)))]
#[get("/accounts")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Viewer>,
    which: Query<WhichAccounts>,
) -> Result<HttpResponse, Problem> {
    let plan = shared.plan();
    let mine = accounts_shown(&shared, &caller).await?;
    let mut cells = shared.node.shown_cells();
    let labels = shared.state.account_labels().await?;
    let id = |index: usize| plan.run.cells[index].account.id.as_str();
    let shown = (0..plan.run.cells.len())
        .filter(|index| which.0.closed || plan.accounts[*index].closed.is_none())
        .filter(|index| mine.as_ref().is_none_or(|mine| mine.iter().any(|account| account == id(*index))));
    let accounts: Vec<_> = shown
        .map(|index| {
            let place = cells.iter().position(|shown| shown.view.account == id(index));
            AccountView::of(&plan, index, &labels, place.map(|place| cells.swap_remove(place)))
        })
        .collect();
    Ok(HttpResponse::Ok().json(accounts))
}

/// An account
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "Its name")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = AccountView)))]
#[get("/accounts/{account}")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    account_of(&shared, &caller, &account).await?;
    Ok(HttpResponse::Ok().json(shown(&shared, &account).await?))
}

/// An account as it is shown.
async fn shown(shared: &Context, account: &str) -> Result<AccountView, Problem> {
    let labels = shared.state.account_labels().await?;
    let plan = shared.plan();
    let index = plan.cell_of(account).ok_or_else(|| Problem::missing("account"))?;
    Ok(AccountView::of(&plan, index, &labels, shared.node.shown_cell(account)))
}

/// Whose an account is
///
/// Managers and administrators see all accounts, and are not listed.
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "Its name")),
    security(("bearer" = ["manager"])), responses((status = 200, body = Vec<UserView>)))]
#[get("/accounts/{account}/users")]
pub(crate) async fn users(
    shared: Context,
    caller: As<Manager>,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    account_of(&shared, &caller, &account).await?;
    let mut owners = Vec::new();
    for id in shared.state.users_of(&account).await? {
        owners.push(UserView::from(shared.state.user(&id).await?));
    }
    Ok(HttpResponse::Ok().json(owners))
}

/// Give someone an account
#[utoipa::path(tag = "accounts",
    params(("account" = String, Path, description = "Its name"), ("user_id" = String, Path, description = "His id")),
    security(("bearer" = ["manager"])), responses((status = 204)))]
#[put("/accounts/{account}/users/{user_id}")]
pub(crate) async fn grant(
    shared: Context,
    caller: As<Manager>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (account, user) = path.into_inner();
    account_of(&shared, &caller, &account).await?;
    shared.state.grant_access(&user, &account).await?;
    audit(&shared, &caller, "accounts.grant", &account, &format!("to {user}")).await;
    Ok(HttpResponse::NoContent().finish())
}

/// Take an account from someone
#[utoipa::path(tag = "accounts",
    params(("account" = String, Path, description = "Its name"), ("user_id" = String, Path, description = "His id")),
    security(("bearer" = ["manager"])), responses((status = 204)))]
#[delete("/accounts/{account}/users/{user_id}")]
pub(crate) async fn revoke(
    shared: Context,
    caller: As<Manager>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (account, user) = path.into_inner();
    account_of(&shared, &caller, &account).await?;
    shared.state.revoke_access(&user, &account).await?;
    audit(&shared, &caller, "accounts.revoke", &account, &format!("from {user}")).await;
    Ok(HttpResponse::NoContent().finish())
}

/// Pause an account
///
/// Only orders that reduce a position pass until it is resumed.
#[utoipa::path(tag = "accounts",
    params(("account" = String, Path, description = "Its name"), Idempotency),
    security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[post("/accounts/{account}/pause")]
pub(crate) async fn pause(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    command(&shared, &caller, &request, &account, "accounts.pause", WireCommand::Pause).await
}

/// Resume an account
#[utoipa::path(tag = "accounts",
    params(("account" = String, Path, description = "Its name"), Idempotency),
    security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[post("/accounts/{account}/resume")]
pub(crate) async fn resume(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    command(&shared, &caller, &request, &account, "accounts.resume", WireCommand::Resume).await
}

/// Pull the kill switch
///
/// All orders are cancelled, all positions closed; only orders that reduce pass until it is resumed.
#[utoipa::path(tag = "accounts",
    params(("account" = String, Path, description = "Its name"), Idempotency),
    security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[post("/accounts/{account}/kill")]
pub(crate) async fn kill(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    command(&shared, &caller, &request, &account, "accounts.kill", WireCommand::Kill).await
}
