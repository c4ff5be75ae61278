//! `fills`.

use actix_web::{HttpResponse, get};
use schemars::JsonSchema;
use serde::Serialize;
use tradeflow_model::Timestamp;
use tradeflow_state::Cursor;
use tradeflow_state::trading::FillRow;
use utoipa::ToSchema;

use super::listing::listing;
use super::{Page, time};
use crate::auth::{As, Viewer};
use crate::body::Query;
use crate::context::Context;
use crate::problem::Problem;

/// A fill.
#[derive(Debug, Serialize, ToSchema, JsonSchema)]
pub(crate) struct FillView {
    /// Its account.
    account: String,
    /// Its number among the account's records.
    seq: u64,
    /// Its order.
    order_id: String,
    /// The session.
    session: String,
    /// The instrument.
    symbol: String,
    /// The strategy's id; none for an order by hand.
    strategy: Option<String>,
    /// `buy` or `sell`.
    side: String,
    /// The price.
    price: String,
    /// The quantity.
    qty: String,
    /// The fee, in the account's currency.
    fee: String,
    /// `maker` or `taker`.
    liquidity: String,
    /// The account's position in the instrument after it.
    position: String,
    /// The account's cash after it.
    cash: String,
    /// When it traded.
    time: String,
}

impl From<FillRow> for FillView {
    fn from(row: FillRow) -> Self {
        Self {
            account: row.account,
            seq: row.seq as u64,
            order_id: row.order_id.to_string(),
            session: row.session,
            symbol: row.symbol,
            strategy: row.strategy,
            side: row.side,
            price: row.price,
            qty: row.qty,
            fee: row.fee,
            liquidity: row.liquidity,
            position: row.position_qty,
            cash: row.cash,
            time: time(Timestamp::from_nanos(row.ts)),
        }
    }
}

listing! {
    /// Which fills.
    WhichFills {}
}

/// Fills, the newest first
#[utoipa::path(tag = "fills", params(WhichFills), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Page<FillView>)))]
#[get("/fills")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Viewer>,
    which: Query<WhichFills>,
) -> Result<HttpResponse, Problem> {
    let (scope, page) = (which.0.scope(), which.0.page()?);
    let accounts = scope.accounts(&shared, &caller).await?;
    let rows =
        shared.state.fills(scope.which(&accounts)?, None, page.cursor.as_ref(), page.limit + 1).await?;
    let place =
        |row: &FillRow| Cursor { time: row.ts, number: row.seq, account: row.account.clone() }.to_string();
    Ok(HttpResponse::Ok().json(Page::of(rows, page.limit, place).map(FillView::from)))
}
