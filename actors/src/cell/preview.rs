//! What an order would cost, and whether it would pass, without placing it.

use tradeflow_model::order::{DenyReason, Liquidity};
use tradeflow_model::{Money, Order, OrderId, OrderKind, Price, Qty, Timestamp};

use super::Cell;
use super::decide::{bracket_of, order_of};
use super::paper::PaperCell;
use crate::actor::Fault;
use crate::execution::OrderRequest;

/// What would come of an order if it were placed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Why the risk gate would deny it, or one of its exits; none where all would pass.
    pub denied: Option<DenyReason>,
    /// As what it is expected to trade: a resting order as a maker, any other as a taker.
    pub liquidity: Liquidity,
    /// What it is reckoned at; none before its instrument had any price.
    pub cost: Option<Cost>,
    /// What the account is worth.
    pub equity: Money,
    /// Value of its positions.
    pub exposure: Money,
}

/// What an order costs at a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Its limit, else its trigger, else the last price; with slippage where it takes liquidity.
    pub price: Price,
    /// Its value at that price.
    pub value: Money,
    /// The fee.
    pub fee: Money,
    /// How much of it the account can pay for.
    pub payable: Qty,
    /// Value of the account's positions with all of it filled.
    pub exposure_after: Money,
}

/// The id of an order that is not placed: no input has this position.
const NO_ORDER: OrderId = OrderId::derive(0, 0).expect("a constant");

impl Cell {
    /// What the risk gate says to an order and its exits.
    fn verdict(&self, now: Timestamp, request: &OrderRequest) -> (Order, Option<DenyReason>) {
        // It is never placed, so its id is no one's.
        let id = NO_ORDER;
        let order = order_of(None, id, request, now);
        let last = self.last_price(request.instrument);
        let exits = bracket_of(&order, request, [Some(id), Some(id)]);
        let denied = std::iter::once(&order)
            .chain(&exits)
            .try_for_each(|order| self.risk.check(order, &self.account, last, self.orders.len()))
            .err();
        (order, denied)
    }
}

impl PaperCell {
    /// What would come of an order if it were placed at `now`. Nothing changes.
    ///
    /// # Errors
    /// A broken invariant. An instrument that there is not must have been refused before.
    pub fn preview(&mut self, now: Timestamp, request: &OrderRequest) -> Result<Preview, Fault> {
        let (order, denied) = self.cell().verdict(now.max(self.now()), request);
        let ledger = self.cell().account().ledger();
        let (equity, exposure) = (ledger.equity(), ledger.exposure());
        let definition = ledger.instrument(order.instrument).clone();
        let held = *ledger.position(order.instrument);
        let last = (held.mark != Price::ZERO).then_some(held.mark);
        let (price, liquidity) = match order.kind {
            OrderKind::Limit { price } => {
                let rests = last.is_none_or(|last| (last.raw() - price.raw()) * order.side.sign() > 0);
                let liquidity = if rests || order.post_only { Liquidity::Maker } else { Liquidity::Taker };
                (Some(price), liquidity)
            }
            OrderKind::StopLimit { price, .. } => (Some(price), Liquidity::Taker),
            OrderKind::Stop { trigger } => (Some(trigger), Liquidity::Taker),
            OrderKind::Market | OrderKind::TrailingStop { .. } => (last, Liquidity::Taker),
        };
        let mut preview = Preview { denied, liquidity, cost: None, equity, exposure };
        let (Some(at), Some(_)) = (price, last) else { return Ok(preview) };
        // What money can't count has no cost; the gate or the venue says so.
        let notional = |price: Price, qty: Qty| definition.notional(price, qty).ok().map(Money::abs);
        let after = held.qty.raw().checked_add(order.side.sign() * order.qty.raw()).map(Qty::from_raw);
        let Ok((paid, fee, payable)) = self.venue_mut().reckon(&order, at, liquidity) else {
            return Ok(preview);
        };
        let (value, before) = (notional(paid, order.qty), notional(held.mark, held.qty));
        let after = after.and_then(|qty| notional(paid, qty));
        if let (Some(value), Some(before), Some(after)) = (value, before, after)
            && let Some(exposure_after) =
                exposure.checked_sub(before).and_then(|rest| rest.checked_add(after))
        {
            preview.cost = Some(Cost { price: paid, value, fee, payable, exposure_after });
        }
        Ok(preview)
    }
}
