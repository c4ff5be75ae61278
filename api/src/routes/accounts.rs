//! `accounts`: what they are worth, whose they are, and the switches that stop their trading.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use schemars::JsonSchema;
use serde::Serialize;
use tradeflow_live::SessionPlan;
use tradeflow_live::commands::WireCommand;
use tradeflow_live::node::{CellView, StrategyView};
use tradeflow_model::AccountKind;
use tradeflow_model::plan::CellPlan;
use tradeflow_state::Role;
use utoipa::ToSchema;

use super::auth::UserView;
use super::command::{Done, Idempotency, command};
use super::{account_of, audit, name};
use crate::auth::{As, Manager, Trader, Viewer};
use crate::context::Context;
use crate::problem::Problem;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountView {
    /// Its name.
    account: String,
    /// `cash` or `margin`.
    kind: &'static str,
    /// Of its money.
    currency: String,
    /// What it may trade.
    symbols: Vec<String>,
    /// What it is worth now; none while its cell does not run on this node.
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

impl From<CellView> for Balance {
    fn from(view: CellView) -> Self {
        Self {
            equity: view.equity,
            cash: view.cash,
            realized: view.realized,
            unrealized: view.unrealized,
            fees: view.fees,
            open_orders: view.open_orders,
            mode: name(&view.mode),
            halted: view.halted,
        }
    }
}

impl AccountView {
    fn of(plan: &SessionPlan, index: usize, cell: &CellPlan, view: Option<CellView>) -> Self {
        let strategies = view.as_ref().map(|view| view.strategies.clone()).unwrap_or_default();
        Self {
            account: cell.account.id.to_string(),
            kind: match cell.account.kind {
                AccountKind::Cash => "cash",
                AccountKind::Margin { .. } => "margin",
            },
            currency: cell.account.currency.code().to_owned(),
            symbols: plan.accounts[index].instruments.iter().map(|id| plan.symbol(*id).to_string()).collect(),
            balance: view.map(Balance::from),
            strategies: strategies.into_iter().map(StrategyLine::from).collect(),
        }
    }
}

/// Accounts that I may see
#[utoipa::path(tag = "accounts", security(("bearer" = ["viewer"])), responses((status = 200, body = Vec<AccountView>)))]
#[get("/accounts")]
pub(crate) async fn list(shared: Context, caller: As<Viewer>) -> Result<HttpResponse, Problem> {
    let plan = shared.plan();
    let all = caller.identity.user.role >= Role::Manager;
    let mine = if all { Vec::new() } else { shared.state.accounts_of(caller.id()).await? };
    let mut views = shared.node.view().cells;
    let shown = plan
        .run
        .cells
        .iter()
        .enumerate()
        .filter(|(_, cell)| all || mine.iter().any(|account| account == cell.account.id.as_str()));
    let accounts: Vec<_> = shown
        .map(|(index, cell)| {
            let here = views.iter().position(|view| view.account == cell.account.id.as_str());
            AccountView::of(&plan, index, cell, here.map(|here| views.swap_remove(here)))
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
    let plan = shared.plan();
    let mut cells = plan.run.cells.iter().enumerate();
    let found = cells.find(|(_, cell)| cell.account.id.as_str() == *account);
    let (index, cell) = found.ok_or_else(|| Problem::missing("account"))?;
    let view = shared.node.view().cells.into_iter().find(|view| view.account == *account);
    Ok(HttpResponse::Ok().json(AccountView::of(&plan, index, cell, view)))
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
