//! `trades`: round trips, with the tags and notes that people keep.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | lists, and what is kept with a trade |
//! | `statistics.rs` | sums by tag, symbol, strategy, side, hour, weekday |
//! | `export.rs` | as CSV and Parquet |

pub(crate) mod export;
pub(crate) mod statistics;

use actix_web::{HttpResponse, get, patch, web};
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_state::Cursor;
use tradeflow_state::trading::Trade;
use utoipa::ToSchema;

use super::listing::{Accounts, Scope, listing};
use super::{Checks, Page, account_of, audit, time};
use crate::auth::{As, Trader, Viewer};
use crate::body::{Body, Query};
use crate::context::Context;
use crate::problem::Problem;

/// A round trip: from flat to flat, of one strategy (or of orders by hand) in one instrument.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TradeView {
    /// Its account.
    account: String,
    /// Its id, unique within the account: the number of the fill that ended it.
    trade_id: String,
    /// The session that it ended in.
    session: String,
    /// The instrument.
    symbol: String,
    /// The strategy's id; none for orders by hand.
    strategy: Option<String>,
    /// `long` or `short`.
    side: String,
    /// Quantity that entered, all entries added up.
    qty: String,
    /// Time of its first fill.
    entry_time: String,
    /// Time of its last fill.
    exit_time: String,
    /// Average price of the entries.
    entry_price: String,
    /// Average price of the exits.
    exit_price: String,
    /// Profit before fees and dividends, in the account's currency.
    pnl: String,
    /// Fees of all its fills.
    fees: String,
    /// Dividends on the way.
    dividends: String,
    /// Profit after fees, with dividends.
    pnl_net: String,
    /// What it was marked with, in the order of the alphabet.
    tags: Vec<String>,
    /// What was noted; empty when nothing was.
    note: String,
}

impl From<Trade> for TradeView {
    fn from(Trade { row, tags, note }: Trade) -> Self {
        let at = |nanos| time(Timestamp::from_nanos(nanos));
        Self {
            account: row.account,
            trade_id: row.seq.to_string(),
            session: row.session,
            symbol: row.symbol,
            strategy: row.strategy,
            side: row.side,
            qty: row.qty,
            entry_time: at(row.entry_time),
            exit_time: at(row.exit_time),
            entry_price: row.entry_price,
            exit_price: row.exit_price,
            pnl: row.pnl,
            fees: row.fees,
            dividends: row.dividends,
            pnl_net: row.pnl_net,
            tags,
            note,
        }
    }
}

/// What is kept with a trade; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Annotate {
    /// All of its tags.
    #[schema(max_items = 20)]
    tags: Option<Vec<String>>,
    /// Its note.
    #[schema(max_length = 10_000)]
    note: Option<String>,
}

listing! {
    /// Which trades.
    WhichTrades {
        /// With this tag.
        tag: Option<String>,
    }
}

/// Trades, the last ended first
#[utoipa::path(tag = "trades", params(WhichTrades), security(("bearer" = ["viewer"])),
    responses((status = 200, body = Page<TradeView>)))]
#[get("/trades")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Viewer>,
    which: Query<WhichTrades>,
) -> Result<HttpResponse, Problem> {
    let (scope, page) = (which.0.scope(), which.0.page()?);
    let accounts = scope.accounts(&shared, &caller).await?;
    let (wanted, tag) = (scope.which(&accounts)?, which.0.tag.as_deref());
    let rows = shared.state.trades(wanted, tag, page.cursor.as_ref(), page.limit + 1).await?;
    Ok(HttpResponse::Ok()
        .json(Page::of(rows, page.limit, |trade| place(trade).to_string()).map(TradeView::from)))
}

/// A trade
#[utoipa::path(tag = "trades",
    params(("account" = String, Path, description = "The account's name"), ("trade_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])), responses((status = 200, body = TradeView)))]
#[get("/accounts/{account}/trades/{trade_id}")]
pub(crate) async fn get(
    shared: Context,
    caller: As<Viewer>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (account, trade_id) = path.into_inner();
    account_of(&shared, &caller, &account).await?;
    Ok(HttpResponse::Ok().json(TradeView::from(shared.state.trade(&account, number(&trade_id)?).await?)))
}

/// Mark a trade with tags, and note something
#[utoipa::path(tag = "trades",
    params(("account" = String, Path, description = "The account's name"), ("trade_id" = String, Path, description = "Its id")),
    request_body = Annotate, security(("bearer" = ["trader"])), responses((status = 200, body = TradeView)))]
#[patch("/accounts/{account}/trades/{trade_id}")]
pub(crate) async fn annotate(
    shared: Context,
    caller: As<Trader>,
    path: web::Path<(String, String)>,
    body: Body<Annotate>,
) -> Result<HttpResponse, Problem> {
    let (account, trade_id) = path.into_inner();
    account_of(&shared, &caller, &account).await?;
    let Annotate { tags, note } = body.0;
    let mut checks = Checks::new();
    checks.that(tags.as_ref().is_none_or(|tags| tags.len() <= 20), "tags", "takes at most 20");
    for (place, tag) in tags.iter().flatten().enumerate().take(20) {
        checks.text(&format!("tags[{place}]"), tag, 1, 50);
    }
    let length = note.as_ref().map_or(0, |note| note.chars().count());
    checks
        .that(length <= 10_000, "note", "takes at most 10000 characters")
        .that(!note.as_ref().is_some_and(|note| note.contains('\0')), "note", "takes no zero characters")
        .done()?;
    let kept = shared.state.annotate_trade(&account, number(&trade_id)?, tags.as_deref(), note.as_deref());
    let trade = kept.await?;
    audit(&shared, &caller, "trades.annotate", &format!("{account}/{trade_id}"), "done").await;
    Ok(HttpResponse::Ok().json(TradeView::from(trade)))
}

fn number(trade_id: &str) -> Result<i64, Problem> {
    trade_id.parse().map_err(|_| Problem::missing("trade"))
}

fn place(trade: &Trade) -> Cursor {
    let row = &trade.row;
    Cursor { time: row.exit_time, number: row.seq, account: row.account.clone() }
}

/// Trades that are summed up or exported at once at most.
const ALL_MAX: usize = 200_000;

/// All trades of a filter, the last ended first.
async fn all(
    shared: &Context,
    scope: Scope<'_>,
    accounts: &Accounts,
    tag: Option<&str>,
) -> Result<Vec<Trade>, Problem> {
    const PAGE: u32 = 5000;
    let wanted = scope.which(accounts)?;
    let mut trades: Vec<Trade> = Vec::new();
    loop {
        let cursor = trades.last().map(place);
        let page = shared.state.trades(wanted, tag, cursor.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        trades.extend(page);
        if is_last {
            return Ok(trades);
        }
        if trades.len() > ALL_MAX {
            let why = format!("these are more than {ALL_MAX} trades: narrow them down by from and to");
            return Err(Problem::field("from", why));
        }
    }
}
