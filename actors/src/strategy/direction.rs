//! Which sides a strategy may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_model::SignalSide;

/// Which sides a strategy may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Long or flat.
    Long,
    /// Short or flat.
    Short,
    /// Long or short.
    #[default]
    Both,
}

impl Direction {
    /// What to want when the market points up.
    pub fn on_up(self) -> SignalSide {
        match self {
            Self::Long | Self::Both => SignalSide::Buy,
            Self::Short => SignalSide::Close,
        }
    }

    /// What to want when the market points down.
    pub fn on_down(self) -> SignalSide {
        match self {
            Self::Long => SignalSide::Close,
            Self::Short | Self::Both => SignalSide::Sell,
        }
    }
}
