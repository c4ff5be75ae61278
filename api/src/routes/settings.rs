//! `settings`: what a user sets for himself, and what administrators set for those who set nothing.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, put};
use serde::{Deserialize, Serialize};
use tradeflow_state::StateError;
use utoipa::ToSchema;

use super::{account_of, audit};
use crate::auth::{Administrator, As, Viewer};
use crate::body::Body;
use crate::context::{Context, Shared};
use crate::problem::Problem;

/// Whose settings are for all who set nothing.
const GLOBAL: &str = "global";

/// How a page looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Theme {
    /// As the machine has it.
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// Settings; what is not given is not set.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The time zone in which a page shows times, by its name in the IANA database, such as `Europe/Berlin`; `UTC` where
    /// nothing is set.
    #[schema(max_length = 64)]
    time_zone: Option<String>,
    /// How a page looks; `system` where nothing is set.
    theme: Option<Theme>,
    /// The account that a page shows first.
    #[schema(max_length = 100)]
    default_account: Option<String>,
    /// Whether alerts send mail; they do where nothing is set.
    alert_mail: Option<bool>,
}

/// Settings as they are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingsView {
    /// What counts: one's own, or else those for all.
    effective: Settings,
    /// One's own.
    own: Settings,
    /// Those for all who set nothing.
    global: Settings,
}

impl Settings {
    fn or(self, other: Self) -> Self {
        Self {
            time_zone: self.time_zone.or(other.time_zone),
            theme: self.theme.or(other.theme),
            default_account: self.default_account.or(other.default_account),
            alert_mail: self.alert_mail.or(other.alert_mail),
        }
    }

    /// Of a version that knew other ones, those that this one knows.
    async fn of(shared: &Shared, owner: &str) -> Result<Self, StateError> {
        let rows = shared.state.settings(owner).await?.into_iter();
        let read: BTreeMap<String, serde_json::Value> =
            rows.filter_map(|(name, value)| Some((name, serde_json::from_str(&value).ok()?))).collect();
        fn one<T: serde::de::DeserializeOwned>(
            read: &BTreeMap<String, serde_json::Value>,
            name: &str,
        ) -> Option<T> {
            read.get(name).and_then(|value| serde_json::from_value(value.clone()).ok())
        }
        Ok(Self {
            time_zone: one(&read, "time_zone"),
            theme: one(&read, "theme"),
            default_account: one(&read, "default_account"),
            alert_mail: one(&read, "alert_mail"),
        })
    }

    async fn write(&self, shared: &Shared, owner: &str) -> Result<(), Problem> {
        if let Some(zone) = &self.time_zone
            && (zone.len() > 64 || jiff::tz::TimeZone::get(zone).is_err())
        {
            let why = "is no time zone of the IANA database, such as Europe/Berlin";
            return Err(Problem::field("time_zone", why));
        }
        let serde_json::Value::Object(all) = serde_json::to_value(self).map_err(|_| Problem::internal())?
        else {
            return Err(Problem::internal());
        };
        let text = |value: serde_json::Value| (!value.is_null()).then(|| value.to_string());
        let changes: Vec<_> = all.into_iter().map(|(name, value)| (name, text(value))).collect();
        Ok(shared.state.set_settings(shared.now(), owner, &changes).await?)
    }
}

/// Whether a user wants mail of his alerts.
pub(crate) async fn wants_mail(shared: &Shared, user: &str) -> Result<bool, StateError> {
    let own = Settings::of(shared, user).await?;
    Ok(own.or(Settings::of(shared, GLOBAL).await?).alert_mail.unwrap_or(true))
}

async fn view(shared: &Shared, user: &str) -> Result<HttpResponse, Problem> {
    let (own, global) = (Settings::of(shared, user).await?, Settings::of(shared, GLOBAL).await?);
    let effective = own.clone().or(global.clone());
    Ok(HttpResponse::Ok().json(SettingsView { effective, own, global }))
}

/// My settings
#[utoipa::path(tag = "settings", security(("bearer" = ["viewer"])), responses((status = 200, body = SettingsView)))]
#[get("/settings")]
pub(crate) async fn get(shared: Context, caller: As<Viewer>) -> Result<HttpResponse, Problem> {
    view(&shared, caller.id()).await
}

/// Change my settings
///
/// All of them: what is not given is set no more.
#[utoipa::path(tag = "settings", request_body = Settings, security(("bearer" = ["viewer"])),
    responses((status = 200, body = SettingsView)))]
#[put("/settings")]
pub(crate) async fn change(
    shared: Context,
    caller: As<Viewer>,
    body: Body<Settings>,
) -> Result<HttpResponse, Problem> {
    if let Some(account) = &body.0.default_account {
        account_of(&shared, &caller, account).await.map_err(no_account)?;
    }
    body.0.write(&shared, caller.id()).await?;
    view(&shared, caller.id()).await
}

/// Change the settings of those who set nothing
///
/// All of them: what is not given is set no more.
#[utoipa::path(tag = "settings", request_body = Settings, security(("bearer" = ["administrator"])),
    responses((status = 200, body = SettingsView)))]
#[put("/settings/global")]
pub(crate) async fn change_global(
    shared: Context,
    caller: As<Administrator>,
    body: Body<Settings>,
) -> Result<HttpResponse, Problem> {
    if let Some(account) = &body.0.default_account {
        account_of(&shared, &caller, account).await.map_err(no_account)?;
    }
    body.0.write(&shared, GLOBAL).await?;
    audit(&shared, &caller, "settings.global", "", "done").await;
    view(&shared, caller.id()).await
}

fn no_account(problem: Problem) -> Problem {
    match problem.status {
        404 => Problem::field("default_account", "is none that you may see"),
        _ => problem,
    }
}
