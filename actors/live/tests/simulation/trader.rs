//! A strategy for the simulation alone: orders of every kind, changes, cancels, timers, and panics. What it does follows
//! from its own state and from what it sees.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_actors::actor::Fault;
use tradeflow_actors::execution::OrderRequest;
use tradeflow_actors::strategy::{Context, Define, Setup, Strategy, StrategyKind};
use tradeflow_model::{
    Bar, InstrumentId, Order, OrderEvent, OrderId, OrderKind, Price, Qty, Quote, SessionEvent, Side,
    SignalSide, TimeInForce, Trade,
};

/// What the simulation adds to the strategies there are.
pub const KINDS: &[StrategyKind] = &[StrategyKind::of::<Trader>()];

/// The text of its panics: the test's panic hook does not print those.
pub const PANIC: &str = "the simulated trader panics";

/// Parameters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Where its chance begins.
    seed: u32,
    /// How often it panics, in a thousand events.
    panic: u32,
    /// Quantity of its orders, in the last decimal.
    qty: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { seed: 1, panic: 0, qty: 1000 }
    }
}

/// The strategy.
#[derive(Serialize, Deserialize)]
pub struct Trader {
    instrument: InstrumentId,
    params: Params,
    state: u64,
    orders: Vec<OrderId>,
    timers: u32,
}

impl Define for Trader {
    const NAME: &'static str = "simulated_trader";
    const VERSION: &'static str = "1";
    const SUMMARY: &'static str = "does anything at all";
    type Params = Params;

    fn warm_up(_: &Params) -> u32 {
        0
    }

    fn new(params: Params, setup: &Setup<'_>) -> Self {
        let (instrument, state) = (setup.instrument(), u64::from(params.seed));
        Self { instrument, params, state, orders: Vec::new(), timers: 0 }
    }
}

impl Trader {
    /// SplitMix64, stirred with what was seen: the same after a restart from a snapshot.
    fn next(&mut self, seen: i64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(seen as u64);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn act(&mut self, context: &mut Context<'_>, price: Price) {
        let dice = self.next(price.raw());
        if dice % 1000 < u64::from(self.params.panic) {
            panic!("{PANIC}");
        }
        let side = if dice & 1024 == 0 { Side::Buy } else { Side::Sell };
        let away =
            |bps: i64| Price::from_raw((price.raw() + side.sign() * price.raw() * bps / 10_000).max(1));
        let qty = Qty::from_raw(i64::from(self.params.qty) * (1 + (dice >> 20) as i64 % 5));
        let bps = (dice >> 30) as i64 % 20;
        let mut request = OrderRequest::market(self.instrument, side, qty);
        match (dice >> 40) % 48 {
            0 | 1 => {}
            2 | 3 => request.kind = OrderKind::Limit { price: away(-bps) },
            4 => request.kind = OrderKind::Stop { trigger: away(bps) },
            5 => request.kind = OrderKind::StopLimit { trigger: away(bps), price: away(bps + 5) },
            6 => request = request.with_bracket(Some(away(-30 - bps)), Some(away(20 + bps))),
            7 => {
                request.kind = OrderKind::Limit { price: away(bps) };
                request.time_in_force = TimeInForce::Ioc;
            }
            8 => {
                request.kind = OrderKind::Limit { price: away(-bps) };
                request.time_in_force = TimeInForce::Gtd(context.now().saturating_add(5_000_000_000));
            }
            9 => {
                let side = *[SignalSide::Buy, SignalSide::Sell, SignalSide::Close]
                    .get((dice >> 50) as usize % 3)
                    .unwrap_or(&SignalSide::Close);
                return context.signal(self.instrument, side);
            }
            10 => {
                let at = context.now().saturating_add(((dice >> 20) as i64 % 40) * 250_000_000);
                self.timers += 1;
                return context.set_timer(at, self.timers);
            }
            11 | 12 => {
                if let Some(order) = self.orders.first() {
                    context.cancel(*order);
                }
                return;
            }
            13 => {
                if let Some(order) = self.orders.last() {
                    context.modify(*order, qty, Some(away(-bps)), None);
                }
                return;
            }
            _ => return,
        }
        if let Some(id) = context.submit(request) {
            self.orders.push(id);
            if self.orders.len() > 8 {
                self.orders.remove(0);
            }
        }
    }
}

impl Strategy for Trader {
    fn on_bar(&mut self, context: &mut Context<'_>, bar: &Bar) {
        self.act(context, bar.close);
    }

    fn on_trade(&mut self, context: &mut Context<'_>, trade: &Trade) {
        self.act(context, trade.price);
    }

    fn on_quote(&mut self, context: &mut Context<'_>, quote: &Quote) {
        self.act(context, quote.bid);
    }

    fn on_session(&mut self, context: &mut Context<'_>, session: &SessionEvent) {
        self.state = self.next(session.ts_event.as_nanos());
        context.set_timer(session.ts_event.saturating_add(1_000_000_000), 0);
    }

    fn on_order_event(&mut self, _: &mut Context<'_>, event: &OrderEvent, order: &Order) {
        if order.is_closed() {
            self.orders.retain(|id| *id != event.order);
        }
    }

    fn on_timer(&mut self, context: &mut Context<'_>, timer: u32) {
        if let Some(price) = context.last_price(self.instrument) {
            self.next(i64::from(timer));
            self.act(context, price);
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, Fault> {
        Ok(postcard::to_allocvec(self)?)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        *self = postcard::from_bytes(snapshot)?;
        Ok(())
    }
}
