//! Limits of an account's risk gate.

use actix_web::{HttpRequest, HttpResponse, get, put, web};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tradeflow_live::commands::WireCommand;
use tradeflow_model::plan::RiskLimits;
use utoipa::ToSchema;

use super::super::command::{Done, Idempotency, command};
use super::super::{Checks, account_of};
use crate::auth::{As, Trader, Viewer};
use crate::body::Body;
use crate::context::Context;
use crate::decimal::Amount;
use crate::problem::Problem;

/// Limits of the risk gate. What is not there, or null, is not limited.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Largest value of one order, in the account's currency.
    #[schema(value_type = Option<String>, example = "5000")]
    order_notional_max: Option<Amount>,
    /// Largest value of the position in one instrument, in the account's currency.
    #[schema(value_type = Option<String>, example = "20000")]
    position_notional_max: Option<Amount>,
    /// Most orders open at once.
    #[schema(minimum = 1, maximum = 1000000)]
    open_orders_max: Option<u32>,
    /// Farthest a limit price may lie beyond the last price, on the side that would trade at once, in basis points.
    #[schema(minimum = 1, maximum = 10000)]
    price_collar_bps: Option<u32>,
    /// Loss since the session opened, in percent of equity then, after which only orders that reduce pass.
    #[schema(value_type = Option<String>, example = "2")]
    daily_loss_max_pct: Option<Amount>,
    /// Loss from the highest equity, in percent, after which only orders that reduce pass.
    #[schema(value_type = Option<String>, example = "10")]
    drawdown_max_pct: Option<Amount>,
}

/// Limits of the risk gate, as they hold.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitsView {
    order_notional_max: Option<String>,
    position_notional_max: Option<String>,
    open_orders_max: Option<u32>,
    price_collar_bps: Option<u32>,
    daily_loss_max_pct: Option<String>,
    drawdown_max_pct: Option<String>,
}

impl From<RiskLimits> for LimitsView {
    fn from(limits: RiskLimits) -> Self {
        let text = |amount: Option<Decimal>| amount.map(|amount| amount.to_string());
        Self {
            order_notional_max: text(limits.order_notional_max),
            position_notional_max: text(limits.position_notional_max),
            open_orders_max: limits.open_orders_max,
            price_collar_bps: limits.price_collar_bps,
            daily_loss_max_pct: text(limits.daily_loss_max_pct),
            drawdown_max_pct: text(limits.drawdown_max_pct),
        }
    }
}

impl Limits {
    /// The limits, if each makes sense; `prefix` goes before the names of its fields.
    pub(super) fn read(&self, prefix: &str) -> Result<RiskLimits, Problem> {
        let mut checks = Checks::new();
        let field = |name: &str| format!("{prefix}{name}");
        let above_zero = |amount: &Option<Amount>| amount.is_none_or(|Amount(amount)| amount > Decimal::ZERO);
        let percent = |amount: &Option<Amount>| {
            amount.is_none_or(|Amount(amount)| amount > Decimal::ZERO && amount <= Decimal::ONE_HUNDRED)
        };
        let within = |count: Option<u32>, max: u32| count.is_none_or(|count| (1..=max).contains(&count));
        let (amount, share) = ("takes an amount above 0", "takes a number above 0, to 100");
        checks
            .that(above_zero(&self.order_notional_max), &field("order_notional_max"), amount)
            .that(above_zero(&self.position_notional_max), &field("position_notional_max"), amount)
            .that(within(self.open_orders_max, 1_000_000), &field("open_orders_max"), "takes 1 to 1000000")
            .that(within(self.price_collar_bps, 10_000), &field("price_collar_bps"), "takes 1 to 10000")
            .that(percent(&self.daily_loss_max_pct), &field("daily_loss_max_pct"), share)
            .that(percent(&self.drawdown_max_pct), &field("drawdown_max_pct"), share)
            .done()?;
        let decimal = |amount: Option<Amount>| amount.map(|Amount(amount)| amount.normalize());
        Ok(RiskLimits {
            order_notional_max: decimal(self.order_notional_max),
            position_notional_max: decimal(self.position_notional_max),
            open_orders_max: self.open_orders_max,
            price_collar_bps: self.price_collar_bps,
            daily_loss_max_pct: decimal(self.daily_loss_max_pct),
            drawdown_max_pct: decimal(self.drawdown_max_pct),
        })
    }
}

/// Limits of an account's risk gate
///
/// As they hold in its cell; while that is not up, as they were when the account began.
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "Its name")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = LimitsView)))]
#[get("/accounts/{account}/limits")]
pub(crate) async fn show(
    shared: Context,
    caller: As<Viewer>,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    account_of(&shared, &caller, &account).await?;
    let plan = shared.plan();
    let planned = || plan.cell_of(&account).map(|cell| plan.run.cells[cell].risk);
    let limits = shared.node.shown_cell(&account).map(|cell| cell.view.limits).or_else(planned);
    Ok(HttpResponse::Ok().json(LimitsView::from(limits.unwrap_or_default())))
}

/// Change the limits of an account's risk gate
///
/// All of them: what is not given is not limited any more. They hold for orders from then on, over restarts too; orders that
/// are open stay.
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "Its name"), Idempotency),
    request_body = Limits, security(("bearer" = ["trader"])), responses((status = 200, body = Done)))]
#[put("/accounts/{account}/limits")]
pub(crate) async fn put(
    shared: Context,
    caller: As<Trader>,
    request: HttpRequest,
    account: web::Path<String>,
    body: Body<Limits>,
) -> Result<HttpResponse, Problem> {
    let limits = body.0.read("")?;
    command(&shared, &caller, &request, &account, "accounts.limits", WireCommand::Limit(limits)).await
}
