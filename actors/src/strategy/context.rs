//! What a strategy sees and can do.

use tradeflow_model::{
    Instrument, InstrumentId, Money, Order, OrderId, Price, Qty, SignalSide, StrategyIndex, Timestamp,
};

use crate::account::Account;
use crate::actor::Fault;
use crate::execution::{IdMint, OpenOrders, OrderRequest};

/// What a strategy wants done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Intent {
    /// A decision about the position, sized by the account's policy.
    Signal {
        /// The instrument.
        instrument: InstrumentId,
        /// What position it wants.
        side: SignalSide,
        /// A protective stop for the entry.
        stop_loss: Option<Price>,
        /// A profit target for the entry.
        take_profit: Option<Price>,
    },
    /// An order of its own.
    Order {
        /// Its id, minted already so that the strategy knows it.
        id: OrderId,
        /// Ids of its protective exits, as far as it asks for them.
        exits: [Option<OrderId>; 2],
        /// What is ordered.
        request: OrderRequest,
    },
    /// Change one of its orders.
    Modify {
        /// Which.
        order: OrderId,
        /// New quantity.
        qty: Qty,
        /// New limit price.
        price: Option<Price>,
        /// New trigger.
        trigger: Option<Price>,
    },
    /// Cancel one of its orders.
    Cancel(OrderId),
    /// Call me at a time.
    Timer {
        /// When.
        at: Timestamp,
        /// Given back when it comes.
        timer: u32,
    },
}

/// What of the cell a strategy may look at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The account.
    pub account: &'a Account,
    /// Open orders of the cell.
    pub orders: &'a OpenOrders,
}

/// Given to a strategy with each event: what it sees and can do. During warm-up everything can be seen and nothing is
/// done.
pub struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) strategy: StrategyIndex,
    pub(crate) view: View<'a>,
    pub(crate) trading: bool,
    pub(crate) ids: &'a mut IdMint,
    pub(crate) intents: &'a mut Vec<Intent>,
    pub(crate) fault: Option<Fault>,
}

impl Context<'_> {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the warm-up is over. Decisions before that are dropped.
    pub fn is_trading(&self) -> bool {
        self.trading
    }

    /// An instrument.
    pub fn instrument(&self, id: InstrumentId) -> &Instrument {
        self.view.account.ledger().instrument(id)
    }

    /// What this strategy holds of an instrument, positive when long.
    pub fn position(&self, instrument: InstrumentId) -> Qty {
        self.view.account.strategy_position(Some(self.strategy), instrument)
    }

    /// The account's equity.
    pub fn equity(&self) -> Money {
        self.view.account.equity()
    }

    /// The instrument's last price; `None` before the first.
    pub fn last_price(&self, instrument: InstrumentId) -> Option<Price> {
        let mark = self.view.account.ledger().position(instrument).mark;
        (mark != Price::ZERO).then_some(mark)
    }

    /// This strategy's open orders in an instrument.
    pub fn open_orders(&self, instrument: InstrumentId) -> impl Iterator<Item = &Order> {
        self.view.orders.of(Some(self.strategy), instrument)
    }

    /// Decides for a position; size and order follow from the account's policy.
    pub fn signal(&mut self, instrument: InstrumentId, side: SignalSide) {
        self.signal_with_exits(instrument, side, None, None);
    }

    /// Decides for a position with protective exits.
    pub fn signal_with_exits(
        &mut self,
        instrument: InstrumentId,
        side: SignalSide,
        stop_loss: Option<Price>,
        take_profit: Option<Price>,
    ) {
        if self.trading {
            self.intents.push(Intent::Signal { instrument, side, stop_loss, take_profit });
        }
    }

    /// Orders directly. `None` during warm-up.
    pub fn submit(&mut self, request: OrderRequest) -> Option<OrderId> {
        if !self.trading {
            return None;
        }
        let mut mint = |wanted: bool| match (wanted, &self.fault) {
            (true, None) => self.ids.next_id().map_err(|fault| self.fault = Some(fault)).ok(),
            _ => None,
        };
        let id = mint(true)?;
        let exits = [mint(request.stop_loss.is_some()), mint(request.take_profit.is_some())];
        self.intents.push(Intent::Order { id, exits, request });
        Some(id)
    }

    /// Changes an order.
    pub fn modify(&mut self, order: OrderId, qty: Qty, price: Option<Price>, trigger: Option<Price>) {
        self.intents.push(Intent::Modify { order, qty, price, trigger });
    }

    /// Cancels an order.
    pub fn cancel(&mut self, order: OrderId) {
        self.intents.push(Intent::Cancel(order));
    }

    /// Asks to be called at a time; a time that has passed comes with the next event.
    pub fn set_timer(&mut self, at: Timestamp, timer: u32) {
        self.intents.push(Intent::Timer { at, timer });
    }
}
