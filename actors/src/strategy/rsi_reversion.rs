//! Reversion from an extreme of the relative strength index.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_model::{Bar, InstrumentId, Price, SignalSide};

use super::{Context, Define, Direction, Setup, Strategy, snapshot_by_serde};
use crate::indicator::Rsi;

/// Parameters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Changes over which the index is taken.
    #[schemars(range(min = 2, max = 10_000))]
    length: u32,
    /// Buys below this index.
    #[schemars(range(min = 1, max = 49))]
    oversold: f64,
    /// Sells above this index.
    #[schemars(range(min = 51, max = 99))]
    overbought: f64,
    /// Leaves where the index is back here.
    #[schemars(range(min = 1, max = 99))]
    exit: f64,
    /// Protective stop this far from the price of the decision, in percent; 0 for none.
    #[schemars(range(min = 0, max = 50))]
    stop_loss_pct: f64,
    /// Profit target this far from the price of the decision, in percent; 0 for none.
    #[schemars(range(min = 0, max = 500))]
    take_profit_pct: f64,
    /// Sides it may take: `long`, `short` or `both`.
    direction: Direction,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            length: 14,
            oversold: 30.0,
            overbought: 70.0,
            exit: 50.0,
            stop_loss_pct: 0.0,
            take_profit_pct: 0.0,
            direction: Direction::Both,
        }
    }
}

/// Buys weakness and sells strength, and leaves when the index is back in the middle; with a bracket where asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RsiReversion {
    instrument: InstrumentId,
    params: Params,
    rsi: Rsi,
}

impl Define for RsiReversion {
    const NAME: &'static str = "rsi_reversion";
    const VERSION: &'static str = "1";
    const SUMMARY: &'static str =
        "buys when the RSI is oversold, sells when it is overbought, leaves in the middle";
    type Params = Params;

    fn check(params: &Params) -> Result<(), (&'static str, String)> {
        if params.oversold < params.exit && params.exit < params.overbought {
            return Ok(());
        }
        Err(("exit", format!("{} is not between oversold and overbought", params.exit)))
    }

    /// Ten times the length: Wilder's smoothing forgets slowly.
    fn warm_up(params: &Params) -> u32 {
        params.length * 10
    }

    fn new(params: Params, setup: &Setup<'_>) -> Self {
        Self { instrument: setup.instrument(), params, rsi: Rsi::new(params.length) }
    }
}

impl Strategy for RsiReversion {
    fn on_bar(&mut self, context: &mut Context<'_>, bar: &Bar) {
        self.rsi.push(bar.close.raw() as f64);
        let Some(rsi) = self.rsi.value() else { return };
        let held = context.position(self.instrument).raw();
        let params = self.params;
        let back = (held > 0 && rsi >= params.exit) || (held < 0 && rsi <= params.exit);
        if back {
            context.signal(self.instrument, SignalSide::Close);
            return;
        }
        let side = if rsi < params.oversold && params.direction != Direction::Short && held <= 0 {
            SignalSide::Buy
        } else if rsi > params.overbought && params.direction != Direction::Long && held >= 0 {
            SignalSide::Sell
        } else {
            return;
        };
        let tick = context.instrument(self.instrument).price_increment;
        let away = if side == SignalSide::Buy { 1.0 } else { -1.0 };
        let exit = |percent: f64| (percent != 0.0).then(|| moved(bar.close, percent * away, tick));
        let (stop, target) = (exit(-params.stop_loss_pct), exit(params.take_profit_pct));
        context.signal_with_exits(self.instrument, side, stop, target);
    }

    snapshot_by_serde!();
}

/// A price moved by so many percent, on the nearest tick.
fn moved(price: Price, percent: f64, tick: Price) -> Price {
    let ticks = price.raw() as f64 * (1.0 + percent / 100.0) / tick.raw() as f64;
    Price::from_raw((ticks.round() as i64).saturating_mul(tick.raw()))
}
