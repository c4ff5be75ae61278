//! `logs/system`: what nodes say of themselves.

use actix_web::{HttpResponse, get};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradeflow_model::Timestamp;
use tradeflow_state::{SystemEntry, SystemFilter};
use utoipa::{IntoParams, ToSchema};

use super::listing::instant;
use super::log_export::{ExportFormat, Line, stream};
use super::{Page, limit, time};
use crate::auth::{Administrator, As};
use crate::body::Query;
use crate::context::Context;
use crate::problem::Problem;
use crate::system_log::{level_name, level_of};

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichEvents {
    /// As grave as this, or graver: `error`, `warn` or `info`.
    level: Option<String>,
    /// Of the parts of the program whose name begins so: `tradeflow_ingest`.
    target: Option<String>,
    /// With this text in their message or fields, whatever its case.
    text: Option<String>,
    /// From this time on, as UTC in RFC 3339.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many at most: 1 to 500, 100 when it is not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Which events, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportedEvents {
    /// As grave as this, or graver: `error`, `warn` or `info`.
    level: Option<String>,
    /// Of the parts of the program whose name begins so: `tradeflow_ingest`.
    target: Option<String>,
    /// With this text in their message or fields, whatever its case.
    text: Option<String>,
    /// From this time on, as UTC in RFC 3339.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// `csv` (the default) or `json`.
    #[param(value_type = Option<String>)]
    format: Option<ExportFormat>,
}

fn level(text: Option<&str>) -> Result<Option<i64>, Problem> {
    let read =
        |text: &str| level_of(text).ok_or_else(|| Problem::field("level", "takes error, warn or info"));
    text.map(read).transpose()
}

/// Something that a node says of itself.
#[derive(Debug, Serialize, ToSchema, JsonSchema)]
pub(crate) struct SystemView {
    /// Its id.
    id: String,
    /// When.
    time: String,
    /// The node's name.
    node: String,
    /// `error`, `warn` or `info`.
    level: String,
    /// The part of the program.
    target: String,
    /// What happened.
    message: String,
    /// What else belongs to it, by name.
    fields: Map<String, Value>,
}

impl From<SystemEntry> for SystemView {
    fn from(entry: SystemEntry) -> Self {
        Self {
            id: entry.id,
            time: time(Timestamp::from_nanos(entry.ts)),
            node: entry.node,
            level: level_name(entry.level).to_owned(),
            target: entry.target,
            message: entry.message,
            fields: serde_json::from_str(&entry.fields).unwrap_or_default(),
        }
    }
}

impl Line for SystemView {
    const COLUMNS: &'static [&'static str] = &["id", "time", "node", "level", "target", "message", "fields"];

    fn id(&self) -> &str {
        &self.id
    }

    fn cells(&self) -> Vec<String> {
        let texts = [&self.id, &self.time, &self.node, &self.level, &self.target, &self.message];
        let fields = Value::from(self.fields.clone()).to_string();
        texts.into_iter().cloned().chain([fields]).collect()
    }
}

/// What nodes say of themselves, the newest first
///
/// Information, warnings and errors of all nodes, as on their standard error. Kept for 30 days.
#[utoipa::path(tag = "logs", params(WhichEvents), security(("bearer" = ["administrator"])),
    responses((status = 200, body = Page<SystemView>)))]
#[get("/logs/system")]
pub(crate) async fn system(
    shared: Context,
    _: As<Administrator>,
    which: Query<WhichEvents>,
) -> Result<HttpResponse, Problem> {
    let which = which.0;
    let most = limit(which.limit)?;
    let filter = SystemFilter {
        level: level(which.level.as_deref())?,
        target: which.target.as_deref(),
        text: which.text.as_deref(),
        from: instant("from", which.from.as_deref())?,
        to: instant("to", which.to.as_deref())?,
        before: which.cursor.as_deref(),
    };
    let entries = shared.state.system_entries(filter, most + 1).await?;
    Ok(HttpResponse::Ok().json(Page::of(entries, most, |entry| entry.id.clone()).map(SystemView::from)))
}

/// What nodes say of themselves, as a file
///
/// All that fit the filter, the newest first.
#[utoipa::path(tag = "logs", params(ExportedEvents), security(("bearer" = ["administrator"])),
    responses((status = 200, description = "The file",
        content((String = "text/csv"), (Vec<SystemView> = "application/json")))))]
#[get("/logs/system/export")]
pub(crate) async fn export_system(
    shared: Context,
    _: As<Administrator>,
    which: Query<ExportedEvents>,
) -> Result<HttpResponse, Problem> {
    let ExportedEvents { level: wanted, target, text, from, to, format } = which.0;
    let (wanted, from) = (level(wanted.as_deref())?, instant("from", from.as_deref())?);
    let to = instant("to", to.as_deref())?;
    stream("system", format.unwrap_or_default(), move |before: Option<String>, count| {
        let (shared, target, text) = (shared.clone(), target.clone(), text.clone());
        async move {
            let filter = SystemFilter {
                level: wanted,
                target: target.as_deref(),
                text: text.as_deref(),
                from,
                to,
                before: before.as_deref(),
            };
            let entries = shared.state.system_entries(filter, count).await?;
            Ok(entries.into_iter().map(SystemView::from).collect())
        }
    })
    .await
}
