//! Crossing of two exponential moving averages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_model::{Bar, InstrumentId};

use super::{Context, Define, Direction, Setup, Strategy, snapshot_by_serde};
use crate::indicator::{Cross, Crossing, Ema};

/// Parameters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Bars of the fast average; below `slow`.
    #[schemars(range(min = 1, max = 100_000))]
    fast: u32,
    /// Bars of the slow average.
    #[schemars(range(min = 2, max = 100_000))]
    slow: u32,
    /// Sides it may take: `long`, `short` or `both`.
    direction: Direction,
}

impl Default for Params {
    fn default() -> Self {
        Self { fast: 12, slow: 26, direction: Direction::Both }
    }
}

/// Long while the fast average of closes is above the slow one, short (or flat) while it is below.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EmaCross {
    instrument: InstrumentId,
    direction: Direction,
    fast: Ema,
    slow: Ema,
    cross: Cross,
}

impl Define for EmaCross {
    const NAME: &'static str = "ema_cross";
    const VERSION: &'static str = "1";
    const SUMMARY: &'static str = "long while a fast exponential moving average is above a slow one";
    type Params = Params;

    fn check(params: &Params) -> Result<(), (&'static str, String)> {
        if params.fast < params.slow {
            return Ok(());
        }
        Err(("fast", format!("{} is not below slow = {}", params.fast, params.slow)))
    }

    /// Three times the slow length: what an average remembers from before its beginning is then below 0.3 %.
    fn warm_up(params: &Params) -> u32 {
        params.slow * 3
    }

    fn new(params: Params, setup: &Setup<'_>) -> Self {
        Self {
            instrument: setup.instrument(),
            direction: params.direction,
            fast: Ema::new(params.fast),
            slow: Ema::new(params.slow),
            cross: Cross::default(),
        }
    }
}

impl Strategy for EmaCross {
    fn on_bar(&mut self, context: &mut Context<'_>, bar: &Bar) {
        // Raw prices: the scale is the same on both sides of the comparison.
        let close = bar.close.raw() as f64;
        self.fast.push(close);
        self.slow.push(close);
        let (Some(fast), Some(slow)) = (self.fast.value(), self.slow.value()) else { return };
        match self.cross.update(fast.total_cmp(&slow)) {
            Some(Crossing::Up) => context.signal(self.instrument, self.direction.on_up()),
            Some(Crossing::Down) => context.signal(self.instrument, self.direction.on_down()),
            None => {}
        }
    }

    snapshot_by_serde!();
}
