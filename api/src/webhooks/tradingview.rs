//! TradingView's alerts. The message is its author's own; these forms are known: flat fields with TradingView's
//! placeholders, TradersPost's, 3Commas', and nested ones (`tv`, `strategy_info`, `execution_intent`, `risk`).
//!
//! | wanted | fields, the first that is there |
//! |---|---|
//! | instrument | `ticker`, `symbol`, `tv.symbol`, `tv_instrument`, `tv.ticker`, `instrument` |
//! | position | `market_position` (`long`, `short`, `flat`) wherever it stands; else `execution_intent.type` `exit`; else `action`, `side`, `signal`, `sentiment`, … |
//! | size | `market_position_size` with `market_position`; else `quantity`, `contracts`, `order_size`, … by `quantityType` |
//! | price | `price`, `signalPrice`, `close`, … |
//! | limit | `limitPrice`, with `orderType` `limit` |
//! | exits | `stop_loss`, `sl`, `stopLoss.stopPrice`, `.amount`, `.percent`; `take_profit`, `tp`, `takeProfit.…` |
//! | strategy | `strategy.id`, `.version`, `.name`, or `strategy_id`, … |
//! | sent | `timestamp`, `timenow` (`{{timenow}}`; `{{time}}` is when the bar began) |

use rust_decimal::Decimal;
use tradeflow_model::SignalSide;
use tradeflow_model::signal::Size;

use super::alert::{self, Alert, StrategyName, positive};
use super::payload::Payload;
use crate::problem::Problem;

/// Reads an alert.
///
/// # Errors
/// The field that does not fit.
pub(super) fn read(payload: &Payload) -> Result<Alert, Problem> {
    let ticker = payload.text(&["ticker", "symbol", "tv.symbol", "tv_instrument", "tv.ticker", "instrument"]);
    let ticker = ticker.ok_or_else(|| Problem::field("ticker", "is missing: {{ticker}} gives it"))?;
    let (side, from_position) = side(payload)?;
    let price = positive(
        "price",
        payload.decimal(&[
            "price",
            "signalPrice",
            "signal_price",
            "trigger_price",
            "tv.entry_price",
            "tv.close_price",
            "close",
        ])?,
    )?;
    let limit_price = limit(payload, price)?;
    let (reference, way) = (limit_price.or(price), if side == SignalSide::Sell { -1 } else { 1 });
    let exits = match side {
        SignalSide::Close => (None, None),
        _ => (exit(payload, &STOP, reference, -way)?, exit(payload, &TARGET, reference, way)?),
    };
    Ok(Alert {
        ticker,
        side,
        size: if side == SignalSide::Close { None } else { size(payload, from_position)? },
        price,
        limit_price,
        stop_loss: exits.0,
        take_profit: exits.1,
        strategy: StrategyName::of(payload)?,
        sent: alert::time(payload, &["timestamp", "timenow"])?,
    })
}

const POSITION: [&str; 4] =
    ["market_position", "tv.market_position", "strategy_info.market_position", "strategy.market_position"];

/// The position that is wanted; whether it is told as a position, and not as an action.
fn side(payload: &Payload) -> Result<(SignalSide, bool), Problem> {
    let refused = |path: &str, word: &str| {
        let why = format!("{word:?} is none of buy, sell, long, short, flat, exit, close");
        Problem::field(path, why)
    };
    if let Some((path, word)) = payload.find(&POSITION) {
        return alert::side(&word).map(|side| (side, true)).ok_or_else(|| refused(path, &word));
    }
    if let Some((path, word)) = payload.find(&["execution_intent.type"]) {
        match word.to_ascii_lowercase().as_str() {
            "exit" => return Ok((SignalSide::Close, false)),
            "signal" | "reverse" => {}
            _ => {
                return Err(Problem::field(
                    path,
                    format!("{word:?} is not supported: takes signal, reverse, exit"),
                ));
            }
        }
    }
    if let Some((_, word)) = payload.find(&["sentiment"])
        && alert::side(&word) == Some(SignalSide::Close)
    {
        return Ok((SignalSide::Close, false));
    }
    let words = [
        "action",
        "order_action",
        "tv.action",
        "execution_intent.side",
        "execution_intent.action",
        "strategy.order_action",
        "strategy.action",
        "side",
        "signal",
        "direction",
        "sentiment",
    ];
    let (path, word) = payload
        .find(&words)
        .ok_or_else(|| Problem::field("action", "is missing: {{strategy.order.action}} gives it"))?;
    alert::side(&word).map(|side| (side, false)).ok_or_else(|| refused(path, &word))
}

fn size(payload: &Payload, from_position: bool) -> Result<Option<Size>, Problem> {
    if from_position {
        let paths = [
            "market_position_size",
            "tv.market_position_size",
            "strategy_info.market_position_size",
            "strategy.market_position_size",
        ];
        // Some templates send the signed size.
        if let Some(size) = payload.decimal(&paths)?.map(|size| size.abs()).filter(|size| !size.is_zero()) {
            return Ok(Some(Size::Quantity(size)));
        }
    }
    let paths = [
        "quantity",
        "qty",
        "contracts",
        "size",
        "order_size",
        "tv.order_size",
        "order.amount",
        "amount",
        "execution_intent.amount",
        "strategy.order_contracts",
    ];
    let Some((path, _)) = payload.find(&paths) else { return Ok(None) };
    let Some(number) = positive(path, payload.decimal(&[path])?)? else { return Ok(None) };
    let kinds = [
        "quantityType",
        "quantity_type",
        "order.currency_type",
        "execution_intent.position_size_type",
        "position_size_type",
    ];
    let Some((at, kind)) = payload.find(&kinds) else { return Ok(Some(Size::Quantity(number))) };
    match kind.to_ascii_lowercase().as_str() {
        "fixed_quantity" | "base" | "contracts" => Ok(Some(Size::Quantity(number))),
        "dollar_amount" | "quote" => Ok(Some(Size::Notional(number))),
        "percent_of_equity" => Ok(Some(Size::PercentOfEquity(number))),
        _ => Err(Problem::field(
            at,
            format!(
                "{kind:?} is not supported: takes fixed_quantity, base, contracts, dollar_amount, quote, percent_of_equity"
            ),
        )),
    }
}

fn limit(payload: &Payload, price: Option<Decimal>) -> Result<Option<Decimal>, Problem> {
    let given = positive("limitPrice", payload.decimal(&["limitPrice", "limit_price"])?)?;
    let Some((path, kind)) = payload.find(&["orderType", "order_type"]) else { return Ok(given) };
    match kind.to_ascii_lowercase().as_str() {
        "market" | "mkt" => Ok(None),
        "limit" | "lmt" => {
            let limit = given.or(price);
            limit
                .map(Some)
                .ok_or_else(|| Problem::field("limitPrice", "is missing for an order of type limit"))
        }
        _ => Err(Problem::field(path, format!("{kind:?} is not supported: takes market, limit"))),
    }
}

/// Where an exit's price stands, and its distances.
struct Exit {
    price: &'static [&'static str],
    amount: &'static [&'static str],
    percent: &'static [&'static str],
}

const STOP: Exit = Exit {
    price: &["stop_loss", "stopLoss.stopPrice", "sl", "stop", "risk.stop_loss", "stopLoss", "stop_price"],
    amount: &["stopLoss.amount"],
    percent: &["stopLoss.percent", "stop_loss_percent"],
};
const TARGET: Exit = Exit {
    price: &["take_profit", "takeProfit.limitPrice", "tp", "target", "risk.take_profit", "takeProfit"],
    amount: &["takeProfit.amount"],
    percent: &["takeProfit.percent", "take_profit_percent"],
};

fn exit(
    payload: &Payload,
    exit: &Exit,
    reference: Option<Decimal>,
    way: i64,
) -> Result<Option<Decimal>, Problem> {
    if let Some(price) = positive(exit.price[0], payload.decimal(exit.price)?)? {
        return Ok(Some(price));
    }
    let distance = |paths: &[&'static str]| -> Result<Option<(&'static str, Decimal)>, Problem> {
        let Some((path, _)) = payload.find(paths) else { return Ok(None) };
        let path = paths.iter().find(|known| **known == path).copied().unwrap_or(paths[0]);
        Ok(positive(path, payload.decimal(&[path])?)?.map(|distance| (path, distance)))
    };
    let needs = |path: &str| {
        reference
            .ok_or_else(|| Problem::field(path, "needs a price to be measured from: add price, as {{close}}"))
    };
    let out_of_range = |path: &str| Problem::field(path, "leads to no price above zero");
    let (path, wanted) = if let Some((path, amount)) = distance(exit.amount)? {
        (path, needs(path)?.checked_add(amount * Decimal::from(way)))
    } else if let Some((path, percent)) = distance(exit.percent)? {
        let share = percent.checked_div(Decimal::ONE_HUNDRED).map(|share| share * Decimal::from(way));
        let factor = share.and_then(|share| Decimal::ONE.checked_add(share));
        (path, needs(path)?.checked_mul(factor.ok_or_else(|| out_of_range(path))?))
    } else {
        return Ok(None);
    };
    wanted.filter(|price| *price > Decimal::ZERO).map(Some).ok_or_else(|| out_of_range(path))
}
