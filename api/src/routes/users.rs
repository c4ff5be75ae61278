//! `users`: what administrators see and change of them.

use actix_web::{HttpResponse, get, patch, web};
use serde::Deserialize;
use tradeflow_state::UserChange;
use utoipa::ToSchema;

use super::auth::{UserView, role};
use super::{Checks, Page, Paging, audit, limit};
use crate::auth::{Administrator, As};
use crate::body::{Body, Query};
use crate::context::Context;
use crate::problem::Problem;

/// What is to be changed; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeUser {
    /// What to call him.
    #[schema(max_length = 100)]
    name: Option<String>,
    /// `viewer`, `trader`, `manager` or `administrator`.
    role: Option<String>,
    /// Whether he can't log in; his log-ins end.
    disabled: Option<bool>,
}

/// Users
#[utoipa::path(tag = "users", params(Paging), security(("bearer" = ["administrator"])),
    responses((status = 200, body = Page<UserView>)))]
#[get("/users")]
pub(crate) async fn list(
    shared: Context,
    _: As<Administrator>,
    paging: Query<Paging>,
) -> Result<HttpResponse, Problem> {
    let most = limit(paging.0.limit)?;
    let users = shared.state.users(paging.0.cursor.as_deref().unwrap_or_default(), most + 1).await?;
    let users = users.into_iter().map(UserView::from).collect();
    Ok(HttpResponse::Ok().json(Page::of(users, most, |user: &UserView| user.id.clone())))
}

/// A user
#[utoipa::path(tag = "users", params(("user_id" = String, Path, description = "His id")),
    security(("bearer" = ["administrator"])), responses((status = 200, body = UserView)))]
#[get("/users/{user_id}")]
pub(crate) async fn get(
    shared: Context,
    _: As<Administrator>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(UserView::from(shared.state.user(&id).await?)))
}

/// Change a user
///
/// The last administrator stays one.
#[utoipa::path(tag = "users", params(("user_id" = String, Path, description = "His id")), request_body = ChangeUser,
    security(("bearer" = ["administrator"])), responses((status = 200, body = UserView)))]
#[patch("/users/{user_id}")]
pub(crate) async fn change(
    shared: Context,
    caller: As<Administrator>,
    id: web::Path<String>,
    body: Body<ChangeUser>,
) -> Result<HttpResponse, Problem> {
    let ChangeUser { name, role: wanted, disabled } = body.0;
    Checks::new().text("name", name.as_deref().unwrap_or_default(), 0, 100).done()?;
    let wanted = wanted.as_deref().map(role).transpose()?;
    let wish = UserChange { name: name.as_deref(), role: wanted, disabled };
    let user = shared.state.change_user(&id, wish).await?;
    shared.known.invalidate_all();
    let disabled = if user.disabled { ", disabled" } else { "" };
    audit(&shared, &caller, "users.change", &user.email, &format!("{}{disabled}", user.role.name())).await;
    Ok(HttpResponse::Ok().json(UserView::from(user)))
}
