//! Momentum over the last trades.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_model::{Bar, InstrumentId, Price, Quote, Trade};

use super::{Context, Define, Direction, Setup, Strategy, snapshot_by_serde};

/// Parameters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Prices over which the move is taken.
    #[schemars(range(min = 1, max = 100_000))]
    lookback: u32,
    /// How far the price must have moved, in basis points of the first of them.
    #[schemars(range(min = 0, max = 10_000))]
    threshold_bps: u32,
    /// Sides it may take: `long`, `short` or `both`.
    direction: Direction,
}

impl Default for Params {
    fn default() -> Self {
        Self { lookback: 100, threshold_bps: 10, direction: Direction::Both }
    }
}

/// Follows a move of the last prices: long when they rose by more than the threshold, short (or flat) when they fell by
/// more. Takes trades, quotes (their middle) and bars (their close) alike, and gathers its window itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TickMomentum {
    instrument: InstrumentId,
    params: Params,
    prices: VecDeque<i64>,
}

impl Define for TickMomentum {
    const NAME: &'static str = "tick_momentum";
    const VERSION: &'static str = "1";
    const SUMMARY: &'static str = "follows a move of the last trades, quotes or bars";
    type Params = Params;

    fn warm_up(_: &Params) -> u32 {
        0
    }

    fn new(params: Params, setup: &Setup<'_>) -> Self {
        let prices = VecDeque::with_capacity(params.lookback as usize + 1);
        Self { instrument: setup.instrument(), params, prices }
    }
}

impl TickMomentum {
    fn on_price(&mut self, context: &mut Context<'_>, price: Price) {
        self.prices.push_back(price.raw());
        if self.prices.len() <= self.params.lookback as usize {
            return;
        }
        let Some(first) = self.prices.pop_front() else { return };
        // Exact: |change| × 10,000 against first × threshold.
        let change = i128::from(price.raw() - first) * 10_000;
        let limit = i128::from(first.abs()) * i128::from(self.params.threshold_bps);
        if change > limit {
            context.signal(self.instrument, self.params.direction.on_up());
        } else if change < -limit {
            context.signal(self.instrument, self.params.direction.on_down());
        }
    }
}

impl Strategy for TickMomentum {
    fn on_trade(&mut self, context: &mut Context<'_>, trade: &Trade) {
        self.on_price(context, trade.price);
    }

    fn on_quote(&mut self, context: &mut Context<'_>, quote: &Quote) {
        let half = (quote.ask.raw() - quote.bid.raw()) / 2;
        self.on_price(context, Price::from_raw(quote.bid.raw() + half));
    }

    fn on_bar(&mut self, context: &mut Context<'_>, bar: &Bar) {
        self.on_price(context, bar.close);
    }

    snapshot_by_serde!();
}
