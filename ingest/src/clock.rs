//! The time that a node goes by: see [`tradeflow_bus::Clock`].

pub use tradeflow_bus::{Clock, SystemClock};
