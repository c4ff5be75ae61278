//! What is told when an alert goes off.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tradeflow_model::Timestamp;
use tradeflow_state::AlertEventRow;
use utoipa::ToSchema;

use crate::routes::time;

/// An alert has gone off.
#[derive(Debug, Clone, Serialize, ToSchema, JsonSchema)]
pub(crate) struct Told {
    /// Its id: who is told twice can tell.
    pub(crate) event_id: String,
    /// The alert.
    pub(crate) alert_id: String,
    /// Its name.
    pub(crate) name: String,
    /// `price`, `fill`, `drawdown` or `feed_down`.
    pub(crate) kind: String,
    /// When.
    pub(crate) time: String,
    /// The node that saw it.
    pub(crate) node: String,
    /// What happened, for people.
    pub(crate) message: String,
    /// What happened, for programs: by the kind, such as `symbol` and `price`.
    pub(crate) data: Map<String, Value>,
    /// Whether it is a trial: nothing has happened.
    pub(crate) test: bool,
}

impl From<AlertEventRow> for Told {
    fn from(row: AlertEventRow) -> Self {
        Self {
            event_id: row.id,
            alert_id: row.alert_id,
            name: row.name,
            kind: row.kind,
            time: time(Timestamp::from_nanos(row.ts)),
            node: row.node,
            message: row.message,
            data: serde_json::from_str(&row.data).unwrap_or_default(),
            test: row.test == 1,
        }
    }
}
