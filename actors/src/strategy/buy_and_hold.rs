//! Buys once and holds: the yardstick.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_model::{Bar, InstrumentId, Quote, SignalSide, Trade};

use super::{Context, Define, Setup, Strategy, snapshot_by_serde};

/// Parameters: none.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {}

/// Buys at the first event and holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuyAndHold {
    instrument: InstrumentId,
    bought: bool,
}

impl BuyAndHold {
    fn buy(&mut self, context: &mut Context<'_>) {
        if !self.bought && context.is_trading() {
            context.signal(self.instrument, SignalSide::Buy);
            self.bought = true;
        }
    }
}

impl Define for BuyAndHold {
    const NAME: &'static str = "buy_and_hold";
    const VERSION: &'static str = "1";
    const SUMMARY: &'static str = "buys once and holds: the yardstick";
    type Params = Params;

    fn warm_up(_params: &Params) -> u32 {
        0
    }

    fn new(_params: Params, setup: &Setup<'_>) -> Self {
        Self { instrument: setup.instrument(), bought: false }
    }
}

impl Strategy for BuyAndHold {
    fn on_bar(&mut self, context: &mut Context<'_>, _bar: &Bar) {
        self.buy(context);
    }

    fn on_trade(&mut self, context: &mut Context<'_>, _trade: &Trade) {
        self.buy(context);
    }

    fn on_quote(&mut self, context: &mut Context<'_>, _quote: &Quote) {
        self.buy(context);
    }

    snapshot_by_serde!();
}
