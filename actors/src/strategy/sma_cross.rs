//! Crossing of two simple moving averages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_model::{Bar, InstrumentId};

use super::{Context, Define, Direction, Setup, Strategy, snapshot_by_serde};
use crate::indicator::{Cross, Crossing, Sma};

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
        Self { fast: 10, slow: 50, direction: Direction::Both }
    }
}

/// Long while the fast average of closes is above the slow one, short (or flat) while it is below.
///
/// The averages are exact integer sums, so they compare without rounding; where they are equal the last side counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SmaCross {
    instrument: InstrumentId,
    direction: Direction,
    fast: Sma,
    slow: Sma,
    cross: Cross,
}

impl Define for SmaCross {
    const NAME: &'static str = "sma_cross";
    const VERSION: &'static str = "1";
    const SUMMARY: &'static str = "long while a fast simple moving average is above a slow one";
    type Params = Params;

    fn check(params: &Params) -> Result<(), (&'static str, String)> {
        if params.fast < params.slow {
            return Ok(());
        }
        Err(("fast", format!("{} is not below slow = {}", params.fast, params.slow)))
    }

    fn warm_up(params: &Params) -> u32 {
        params.slow
    }

    fn new(params: Params, setup: &Setup<'_>) -> Self {
        Self {
            instrument: setup.instrument(),
            direction: params.direction,
            fast: Sma::new(params.fast as usize),
            slow: Sma::new(params.slow as usize),
            cross: Cross::default(),
        }
    }
}

impl Strategy for SmaCross {
    fn on_bar(&mut self, context: &mut Context<'_>, bar: &Bar) {
        self.fast.push(bar.close.raw());
        self.slow.push(bar.close.raw());
        let Some(standing) = self.fast.compare(&self.slow) else { return };
        match self.cross.update(standing) {
            Some(Crossing::Up) => context.signal(self.instrument, self.direction.on_up()),
            Some(Crossing::Down) => context.signal(self.instrument, self.direction.on_down()),
            None => {}
        }
    }

    snapshot_by_serde!();
}
