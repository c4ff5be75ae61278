//! Trading calendars. (Being written.)
use serde::{Deserialize, Serialize};
/// A calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Calendar {
    /// 24x7
    AlwaysOpen,
    /// fx
    FxWeek,
    /// xnys
    Nyse,
    /// cme
    CmeGlobex,
}
