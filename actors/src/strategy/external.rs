//! Decides nothing itself: what it holds comes of signals from outside (a webhook's, a person's) that carry its id. It gives
//! them a place of their own in the account: positions, trades and size are its, beside those of other strategies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Define, Setup, Strategy, snapshot_by_serde};

/// Parameters: none.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {}

/// Takes signals from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct External {}

impl Define for External {
    const NAME: &'static str = "external";
    const VERSION: &'static str = "1";
    const SUMMARY: &'static str = "takes signals from outside, such as a webhook's, that carry its id";
    type Params = Params;

    fn warm_up(_params: &Params) -> u32 {
        0
    }

    fn new(_params: Params, _setup: &Setup<'_>) -> Self {
        Self {}
    }
}

impl Strategy for External {
    snapshot_by_serde!();
}
