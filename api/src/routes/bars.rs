//! `bars`: history and the present of an instrument, as bars.

use actix_web::{HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tradeflow_model::market::PriceType;
use tradeflow_model::{Instrument, Interval, Symbol, Timestamp};
use utoipa::{IntoParams, ToSchema};

use super::listing::instant;
use super::{name, time};
use crate::auth::{As, Viewer};
use crate::bars::{self, BarsError, From as Whence, Item, Question};
use crate::body::Query;
use crate::context::Context;
use crate::problem::Problem;
use crate::socket::messages::BarLine;

/// Questions that are answered at once: each may decode a file.
static AT_ONCE: Semaphore = Semaphore::const_new(2);
/// Bars of an answer at most, and where nothing is said.
const BARS_MAX: usize = 5000;
const BARS: usize = 500;

/// Which bars.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichBars {
    /// Their length, such as `1s`, `5m`, `4h`, `1d`, `1w`, `100tick`; `1m` when it is not given.
    interval: Option<String>,
    /// `last`, `bid`, `ask` or `mid`; what there is, when it is not given.
    price: Option<String>,
    /// That begin at this time or later.
    from: Option<String>,
    /// That begin before this time.
    to: Option<String>,
    /// `newest` first, as when it is not given, or `oldest`.
    order: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many at most: 1 to 5,000, 500 when it is not given.
    #[param(minimum = 1, maximum = 5000)]
    limit: Option<u32>,
}

/// A bar.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BarView {
    #[serde(flatten)]
    bar: BarLine,
    /// Whether it stays as it is; `false` for one that is forming, or that late ticks may still change.
    r#final: bool,
    /// `catalog`; `bus` for one that was published and is not in the catalog yet; `made` for one that was made for this
    /// answer.
    source: String,
}

/// Bars of an instrument.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Bars {
    /// The instrument.
    symbol: String,
    /// Their length.
    interval: String,
    /// What they are of: `last`, `bid`, `ask` or `mid`.
    price: String,
    /// `raw`: prices as they were traded, with neither splits nor dividends taken out.
    adjustment: String,
    /// What those with the source `made` are made of: an interval, `trades` or `quotes`.
    made_of: Option<String>,
    /// Who the data in the catalog is from.
    vendors: Vec<String>,
    /// The bars, in the order that was asked for.
    items: Vec<BarView>,
    /// Give it as `cursor` for the next page; none on the last.
    next: Option<String>,
}

impl From<BarsError> for Problem {
    fn from(error: BarsError) -> Self {
        match error {
            BarsError::Made(error) => Self::field("interval", error.to_string()),
            error => {
                tracing::error!(%error, "bars");
                Self::internal()
            }
        }
    }
}

fn price_of(text: &str) -> Result<PriceType, Problem> {
    let usual = [PriceType::Last, PriceType::Bid, PriceType::Ask, PriceType::Mid];
    let found = usual.into_iter().find(|price| name(price) == text);
    found.ok_or_else(|| Problem::field("price", "takes last, bid, ask or mid"))
}

fn question(symbol: &str, which: &WhichBars) -> Result<Question, Problem> {
    let interval: Interval = match which.interval.as_deref() {
        Some(text) => text.parse().map_err(|_| {
            Problem::field(
                "interval",
                "takes a length such as 1s, 5m, 4h, 1d, 1w, 100tick; a time divides the next unit",
            )
        })?,
        None => Interval::MINUTE,
    };
    let newest = match which.order.as_deref() {
        None | Some("newest") => true,
        Some("oldest") => false,
        Some(_) => return Err(Problem::field("order", "takes newest or oldest")),
    };
    let count = which.limit.map_or(BARS, |limit| limit as usize);
    if !(1..=BARS_MAX).contains(&count) {
        return Err(Problem::field("limit", format!("takes 1 to {BARS_MAX}")));
    }
    let at = |field, text: &Option<String>, usual| -> Result<Timestamp, Problem> {
        Ok(instant(field, text.as_deref())?.map_or(usual, Timestamp::from_nanos))
    };
    let mut within = at("from", &which.from, Timestamp::MIN)?..at("to", &which.to, Timestamp::MAX)?;
    if let Some(cursor) = &which.cursor {
        let last = cursor.parse().map_err(|_| Problem::field("cursor", "takes `next` of the page before"))?;
        let last = Timestamp::from_nanos(last);
        match newest {
            true => within.end = within.end.min(last),
            false => within.start = within.start.max(last.saturating_add(1)),
        }
    }
    let price = which.price.as_deref().map(price_of).transpose()?;
    // What is no symbol is of no instrument.
    let symbol = Symbol::new(symbol).map_err(|_| Problem::missing("instrument"))?;
    Ok(Question { symbol, interval, price, within, newest, count: count + 1 })
}

fn view(item: &Item, of: &Instrument) -> BarView {
    let bar = &item.bar;
    let price = |price: tradeflow_model::Price| price.to_decimal(of.price_scale).to_string();
    BarView {
        bar: BarLine {
            open_time: time(bar.ts_open),
            close_time: time(bar.ts_event),
            open: price(bar.open),
            high: price(bar.high),
            low: price(bar.low),
            close: price(bar.close),
            volume: bar.volume.to_decimal(of.size_scale).to_string(),
        },
        r#final: item.is_final,
        source: match item.from {
            Whence::Catalog => "catalog",
            Whence::Bus => "bus",
            Whence::Made => "made",
        }
        .to_owned(),
    }
}

/// Bars of an instrument
///
/// What the catalog has, then what the node has published since, then the bar that is forming. Bars of a length that there
/// is not are made of finer ones, or of ticks. A time without bars is an empty list.
#[utoipa::path(tag = "instruments", params(("symbol" = String, Path, description = "Its symbol"), WhichBars),
    security(("bearer" = ["viewer"])), responses((status = 200, body = Bars)))]
#[get("/bars/{symbol}")]
pub(crate) async fn get(
    shared: Context,
    _: As<Viewer>,
    symbol: web::Path<String>,
    which: Query<WhichBars>,
) -> Result<HttpResponse, Problem> {
    let asked = question(&symbol, &which.0)?;
    let stopping = || Problem::unavailable("the server is stopping");
    let one = AT_ONCE.acquire().await.map_err(|_| stopping())?;
    let (market, plan, now) = (shared.market.clone(), shared.plan(), shared.now());
    let wanted = asked.clone();
    let found = web::block(move || {
        let found = bars::find(&market, &plan, &wanted, now);
        drop(one);
        found
    });
    let found = found.await.map_err(|_| stopping())??;
    let mut found = found.ok_or_else(|| Problem::missing("instrument"))?;
    if asked.newest {
        found.items.make_contiguous().reverse();
    }
    let more = found.items.len() == asked.count;
    found.items.truncate(asked.count - 1);
    let next = found.items.back().filter(|_| more).map(|last| last.bar.ts_open.as_nanos().to_string());
    Ok(HttpResponse::Ok().json(Bars {
        symbol: asked.symbol.to_string(),
        interval: asked.interval.to_string(),
        price: name(&found.price),
        adjustment: "raw".to_owned(),
        made_of: found.made_of,
        vendors: found.vendors.into_iter().collect(),
        items: found.items.iter().map(|item| view(item, &found.definition)).collect(),
        next,
    }))
}
