//! TrailHacker's alerts. No description by its maker is known; three forms were seen, and all are taken.
//!
//! | wanted | fields, the first that is there |
//! |---|---|
//! | instrument | `ticker`, `symbol` |
//! | position | `order_action` (`BOT`, `SLD`), `signal`, `action` |
//! | size | `quantity`, `size` |
//! | price | `price`, `entry`; a limit with `order_type` `LMT` |
//! | exits | `stop`, `target` |
//! | strategy, time | `strategy`, `time` |

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
    let ticker = payload.text(&["ticker", "symbol"]).ok_or_else(|| Problem::field("symbol", "is missing"))?;
    let (path, word) = payload
        .find(&["order_action", "signal", "action"])
        .ok_or_else(|| Problem::field("signal", "is missing"))?;
    let side = alert::side(&word)
        .ok_or_else(|| Problem::field(path, format!("{word:?} is none of buy, sell, close, BOT, SLD")))?;
    let price = positive("price", payload.decimal(&["price", "entry"])?)?;
    let limit_price = match payload.find(&["order_type"]) {
        None => None,
        Some((path, kind)) => match kind.to_ascii_lowercase().as_str() {
            "mkt" | "market" => None,
            "lmt" | "limit" => {
                Some(price.ok_or_else(|| Problem::field("price", "is missing for an order of type LMT"))?)
            }
            _ => return Err(Problem::field(path, format!("{kind:?} is not supported: takes MKT, LMT"))),
        },
    };
    let closes = side == SignalSide::Close;
    let size = positive("quantity", payload.decimal(&["quantity", "size"])?)?;
    let exit = |path: &'static str| positive(path, payload.decimal(&[path])?);
    Ok(Alert {
        ticker,
        side,
        size: size.filter(|_| !closes).map(Size::Quantity),
        price,
        limit_price,
        stop_loss: exit("stop")?.filter(|_| !closes),
        take_profit: exit("target")?.filter(|_| !closes),
        strategy: StrategyName::of(payload)?,
        sent: alert::time(payload, &["time", "timestamp"])?,
    })
}
