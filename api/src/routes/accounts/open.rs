//! Opening, labelling and closing accounts while the session runs.

use std::time::Duration;

use actix_web::{HttpResponse, delete, patch, post, web};
use rust_decimal::Decimal;
use serde::Deserialize;
use tradeflow_actors::risk::{TradingMode, rules_of};
use tradeflow_live::SessionPlan;
use tradeflow_live::node::AccountError;
use tradeflow_model::plan::{CellPlan, VenueSpec};
use tradeflow_model::time::NANOS_PER_MIN;
use tradeflow_model::{AccountId, AccountKind, AccountSpec, Currency, InstrumentId, Money};
use tradeflow_state::Role;
use utoipa::ToSchema;

use super::super::{Checks, audit, open_account_of};
use super::limits::Limits;
use super::sync::ask;
use super::{AccountView, shown};
use crate::auth::{As, Trader};
use crate::body::Body;
use crate::context::Context;
use crate::decimal::Amount;
use crate::problem::Problem;

/// An account to be opened. It trades on paper.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenAccount {
    /// Its name, which no account has or had.
    #[schema(min_length = 1, max_length = 64, example = "swing")]
    account: String,
    /// What people call it.
    #[serde(default)]
    #[schema(max_length = 100)]
    label: String,
    /// `cash` (pays in full, is never short) or `margin` (the default).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    kind: Kind,
    /// Of a margin account: value of positions over equity that an opening order may reach, 1 (the default) to 1000.
    #[schema(value_type = Option<String>, example = "2")]
    leverage: Option<Amount>,
    /// What it begins with; 100000 when it is not given.
    #[schema(value_type = Option<String>, example = "100000")]
    balance: Option<Amount>,
    /// What it may trade: instruments of the session that settle in one currency. All of the first one's currency when it
    /// is not given.
    #[schema(min_items = 1, max_items = 100)]
    symbols: Option<Vec<String>>,
    /// Limits of its risk gate; none when they are not given.
    limits: Option<Limits>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Cash,
    #[default]
    Margin,
}

impl OpenAccount {
    /// Its cell in a session, and what it follows.
    fn cell(&self, plan: &SessionPlan) -> Result<(CellPlan, Vec<InstrumentId>), Problem> {
        let id =
            AccountId::new(&self.account).map_err(|error| Problem::field("account", error.to_string()))?;
        let balance = self.balance.map_or(Decimal::from(100_000), |Amount(balance)| balance.normalize());
        let leverage = self.leverage.map(|Amount(leverage)| leverage.normalize());
        let is_cash = matches!(self.kind, Kind::Cash);
        let in_reach = |leverage: Decimal| leverage >= Decimal::ONE && leverage <= Decimal::ONE_THOUSAND;
        let fits = |leverage: Decimal| !is_cash && in_reach(leverage) && leverage.scale() <= 6;
        Checks::new()
            .text("label", &self.label, 0, 100)
            .that(
                balance > Decimal::ZERO && Money::from_decimal(balance).is_ok(),
                "balance",
                "takes an amount above 0 that money can count",
            )
            .that(
                leverage.is_none_or(fits),
                "leverage",
                "takes 1 to 1000 with up to 6 decimals, of a margin account",
            )
            .done()?;
        let risk = self.limits.as_ref().map(|limits| limits.read("limits.")).transpose()?.unwrap_or_default();
        rules_of(&risk).map_err(|why| Problem::field("limits", why))?;
        let (currency, instruments) = self.instruments(plan)?;
        let cell = CellPlan {
            account: AccountSpec {
                id,
                kind: match is_cash {
                    true => AccountKind::Cash,
                    false => AccountKind::Margin { leverage: leverage.unwrap_or(Decimal::ONE) },
                },
                currency,
                balance,
            },
            strategies: Vec::new(),
            risk,
            venue: VenueSpec::default(),
            equity_interval_ns: NANOS_PER_MIN,
            containment: Some(Default::default()),
        };
        Ok((cell, instruments))
    }

    fn instruments(&self, plan: &SessionPlan) -> Result<(Currency, Vec<InstrumentId>), Problem> {
        let settles = |id: &InstrumentId| &plan.run.instrument(*id).settlement;
        let Some(symbols) = &self.symbols else {
            let all: Vec<_> =
                (0..plan.run.instruments.len()).map(|index| InstrumentId(index as u32)).collect();
            let first = all.first().map(settles).cloned();
            let currency = first.ok_or_else(|| Problem::missing("instrument"))?;
            let same = all.into_iter().filter(|id| *settles(id) == currency).collect();
            return Ok((currency, same));
        };
        let mut checks = Checks::new();
        checks.that((1..=100).contains(&symbols.len()), "symbols", "takes 1 to 100");
        let mut ids: Vec<InstrumentId> = Vec::new();
        for (number, symbol) in symbols.iter().enumerate() {
            let field = format!("symbols[{number}]");
            match plan.instrument(symbol) {
                None => drop(checks.that(false, &field, "is no instrument of this session")),
                Some(id) if ids.contains(&id) => drop(checks.that(false, &field, "stands there twice")),
                Some(id) => {
                    let first = ids.first().unwrap_or(&id);
                    let why = format!(
                        "settles in {}, and {} in {}: an account has one currency",
                        settles(&id),
                        plan.symbol(*first),
                        settles(first)
                    );
                    checks.that(settles(first) == settles(&id), &field, &why);
                    ids.push(id);
                }
            }
        }
        checks.done()?;
        let currency = ids.first().map(settles).cloned().ok_or_else(|| Problem::missing("instrument"))?;
        Ok((currency, ids))
    }
}

/// What is said of an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeAccount {
    /// What people call it.
    #[schema(max_length = 100)]
    label: String,
}

/// Accounts that a trader may have opened and not closed. Managers are not counted.
const OPEN_MAX: usize = 10;

/// For so long an answer waits for the account's cell.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Open an account
///
/// It trades on paper, and is mine. Traders may have ten that they opened and did not close.
#[utoipa::path(tag = "accounts", request_body = OpenAccount, security(("bearer" = ["trader"])),
    responses((status = 201, body = AccountView)))]
#[post("/accounts")]
pub(crate) async fn open(
    shared: Context,
    caller: As<Trader>,
    body: Body<OpenAccount>,
) -> Result<HttpResponse, Problem> {
    let plan = shared.plan();
    let (cell, instruments) = body.0.cell(&plan)?;
    let account = body.0.account.clone();
    if caller.identity.user.role < Role::Manager {
        let opened = shared.state.accounts_opened_by(caller.id()).await?;
        let open = opened.iter().filter(|account| plan.open_cell_of(account).is_some()).count();
        if open >= OPEN_MAX {
            let why = format!("you have {open} accounts, which is the most: close one, or ask a manager");
            return Err(Problem::conflict("too-many-accounts", why));
        }
    }
    let node = shared.node.clone();
    let opened = web::block(move || node.open_account(&cell, &instruments)).await;
    done(opened)?;
    // Managers see all accounts; anyone else sees those that are his.
    if caller.identity.user.role < Role::Manager {
        shared.state.grant_access(caller.id(), &account).await?;
    }
    shared.state.label_account(shared.now(), &account, &body.0.label, Some(caller.id())).await?;
    audit(&shared, &caller, "accounts.open", &account, "done").await;
    // It is up in a moment, on whichever node it falls to, and all of it is shown.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while shared.node.shown_cell(&account).is_none() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(HttpResponse::Created().json(shown(&shared, &account).await?))
}

/// Label an account
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "Its name")),
    request_body = ChangeAccount, security(("bearer" = ["trader"])), responses((status = 200, body = AccountView)))]
#[patch("/accounts/{account}")]
pub(crate) async fn change(
    shared: Context,
    caller: As<Trader>,
    account: web::Path<String>,
    body: Body<ChangeAccount>,
) -> Result<HttpResponse, Problem> {
    open_account_of(&shared, &caller, &account).await?;
    Checks::new().text("label", &body.0.label, 0, 100).done()?;
    shared.state.label_account(shared.now(), &account, &body.0.label, None).await?;
    audit(&shared, &caller, "accounts.label", &account, "done").await;
    Ok(HttpResponse::Ok().json(shown(&shared, &account).await?))
}

/// Close an account
///
/// One that was opened over the API, is paused or killed, and has neither orders nor positions. It trades no more; its
/// history stays, and its name is not given again.
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "Its name")),
    security(("bearer" = ["trader"])), responses((status = 204)))]
#[delete("/accounts/{account}")]
pub(crate) async fn close(
    shared: Context,
    caller: As<Trader>,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    open_account_of(&shared, &caller, &account).await?;
    // Views are for showing, and may be old: the cell itself is asked, wherever it runs.
    let report = ask(&shared, &account).await?;
    let busy = !report.orders.is_empty() || !report.positions.is_empty();
    if report.mode == TradingMode::Open || busy {
        let why = format!(
            "account {account} is {} and has {} open orders and {} positions: flatten it, pause it, and close it when they \
             are none",
            super::name(&report.mode),
            report.orders.len(),
            report.positions.len()
        );
        return Err(Problem::conflict("not-closed", why));
    }
    let (node, name) = (shared.node.clone(), account.clone());
    let closed = web::block(move || node.close_account(&name)).await;
    done(closed)?;
    audit(&shared, &caller, "accounts.close", &account, "done").await;
    Ok(HttpResponse::NoContent().finish())
}

/// What came of it, for people.
fn done<E>(outcome: Result<Result<(), AccountError>, E>) -> Result<(), Problem> {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ AccountError::Taken(_))) => Err(Problem::conflict("taken", error.to_string())),
        Ok(Err(error @ AccountError::Configured(_))) => {
            Err(Problem::conflict("configured", error.to_string()))
        }
        Ok(Err(AccountError::Unknown(_))) => Err(Problem::missing("account")),
        Ok(Err(AccountError::Live(error))) => {
            tracing::warn!(%error, "an account");
            Err(Problem::unavailable("the bus is not available"))
        }
        Err(_) => Err(Problem::unavailable("the server is stopping")),
    }
}
