//! `auth/second-factor`: codes of an authenticator (RFC 6238) that a log-in asks for beside the password.

use actix_web::{HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_state::password as passwords;
use utoipa::ToSchema;

use super::{audit, time};
use crate::auth::{Administrator, As, Caller, Viewer};
use crate::body::Body;
use crate::context::{Context, Shared};
use crate::problem::Problem;

/// Who he is, shown by the password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginSecondFactor {
    /// The password.
    #[schema(max_length = 256, format = Password)]
    password: String,
}

/// A code.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmSecondFactor {
    /// What the authenticator shows.
    #[schema(max_length = 64)]
    code: String,
}

/// Who he is, shown by both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BothFactors {
    /// The password.
    #[schema(max_length = 256, format = Password)]
    password: String,
    /// What the authenticator shows, or a recovery code.
    #[schema(max_length = 64)]
    code: String,
}

/// Where I stand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecondFactorView {
    /// Whether a log-in asks for a code.
    enabled: bool,
    /// Since when there is one; it may wait to be confirmed.
    created: Option<String>,
    /// Recovery codes that are left.
    recovery_codes_left: i64,
}

/// A new authenticator.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewSecondFactor {
    /// The secret in base32, to be typed. It is shown this once.
    secret: String,
    /// The same as `otpauth://…`, to be shown as a QR code.
    url: String,
}

/// Codes for when the authenticator is lost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecoveryCodes {
    /// Each is good once. They are shown this once.
    recovery_codes: Vec<String>,
}

/// My second factor
#[utoipa::path(tag = "auth", security(("bearer" = ["viewer"])), responses((status = 200, body = SecondFactorView)))]
#[get("/auth/second-factor")]
pub(crate) async fn show(shared: Context, caller: As<Viewer>) -> Result<HttpResponse, Problem> {
    let found = shared.state.second_factor(caller.id()).await?;
    Ok(HttpResponse::Ok().json(SecondFactorView {
        enabled: found.as_ref().is_some_and(|found| found.confirmed),
        created: found.as_ref().map(|found| time(Timestamp::from_nanos(found.created))),
        recovery_codes_left: found.map_or(0, |found| found.codes_left),
    }))
}

/// Begin to have a second factor
///
/// Log-ins ask for a code once one was sent to `/auth/second-factor/confirm`.
#[utoipa::path(tag = "auth", request_body = BeginSecondFactor, security(("bearer" = ["viewer"])),
    responses((status = 200, body = NewSecondFactor)))]
#[post("/auth/second-factor")]
pub(crate) async fn begin(
    shared: Context,
    caller: As<Viewer>,
    body: Body<BeginSecondFactor>,
) -> Result<HttpResponse, Problem> {
    prove(&shared, &caller, &body.0.password, None).await?;
    let (now, user) = (shared.now(), &caller.identity.user);
    let enrolment = shared.state.begin_second_factor(now, &shared.keys, user).await?;
    audit(&shared, &caller, "auth.second-factor", "", "begun").await;
    Ok(HttpResponse::Ok().json(NewSecondFactor { secret: enrolment.secret, url: enrolment.url }))
}

/// Confirm the second factor with its first code
///
/// From then on, log-ins ask for a code.
#[utoipa::path(tag = "auth", request_body = ConfirmSecondFactor, security(("bearer" = ["viewer"])),
    responses((status = 200, body = RecoveryCodes)))]
#[post("/auth/second-factor/confirm")]
pub(crate) async fn confirm(
    shared: Context,
    caller: As<Viewer>,
    body: Body<ConfirmSecondFactor>,
) -> Result<HttpResponse, Problem> {
    may_try(&shared, &caller).await?;
    let (now, user) = (shared.now(), &caller.identity.user);
    let codes = shared.state.confirm_second_factor(now, &shared.keys, user, &body.0.code).await?;
    let Some(recovery_codes) = codes else { return Err(failed(&shared, &caller, "code").await?) };
    audit(&shared, &caller, "auth.second-factor", "", "confirmed").await;
    Ok(HttpResponse::Ok().json(RecoveryCodes { recovery_codes }))
}

/// New recovery codes
///
/// Those before are void.
#[utoipa::path(tag = "auth", request_body = BothFactors, security(("bearer" = ["viewer"])),
    responses((status = 200, body = RecoveryCodes)))]
#[post("/auth/second-factor/recovery-codes")]
pub(crate) async fn renew(
    shared: Context,
    caller: As<Viewer>,
    body: Body<BothFactors>,
) -> Result<HttpResponse, Problem> {
    prove(&shared, &caller, &body.0.password, Some(&body.0.code)).await?;
    let recovery_codes = shared.state.renew_recovery_codes(caller.id()).await?;
    audit(&shared, &caller, "auth.second-factor", "", "new recovery codes").await;
    Ok(HttpResponse::Ok().json(RecoveryCodes { recovery_codes }))
}

/// Take my second factor away
#[utoipa::path(tag = "auth", request_body = BothFactors, security(("bearer" = ["viewer"])), responses((status = 204)))]
#[post("/auth/second-factor/remove")]
pub(crate) async fn remove(
    shared: Context,
    caller: As<Viewer>,
    body: Body<BothFactors>,
) -> Result<HttpResponse, Problem> {
    prove(&shared, &caller, &body.0.password, Some(&body.0.code)).await?;
    shared.state.remove_second_factor(caller.id()).await?;
    audit(&shared, &caller, "auth.second-factor", "", "removed").await;
    Ok(HttpResponse::NoContent().finish())
}

/// Take a user's second factor away
///
/// For one who has lost his authenticator and his recovery codes: be sure that it is he who asks.
#[utoipa::path(tag = "users", params(("user_id" = String, Path, description = "His id")),
    security(("bearer" = ["administrator"])), responses((status = 204)))]
#[delete("/users/{user_id}/second-factor")]
pub(crate) async fn remove_of_user(
    shared: Context,
    caller: As<Administrator>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    shared.state.remove_second_factor(&id).await?;
    audit(&shared, &caller, "users.second-factor", &id, "removed").await;
    Ok(HttpResponse::NoContent().finish())
}

/// Whether he may try now: guesses must wait here as they must at a log-in. Programs have no second factor.
async fn may_try(shared: &Shared, caller: &Caller) -> Result<String, Problem> {
    if caller.identity.session.is_none() {
        return Err(Problem::forbidden("an API key has no second factor: log in"));
    }
    let attempt = shared.state.attempt(&caller.identity.user.email).await?;
    let attempt = attempt.ok_or_else(|| Problem::missing("user"))?;
    match attempt.wait(shared.now()) {
        Some(secs) => Err(Problem::too_many(secs)),
        None => Ok(attempt.password),
    }
}

/// Notes a wrong guess.
async fn failed(shared: &Shared, caller: &Caller, field: &str) -> Result<Problem, Problem> {
    shared.state.note_failed_login(shared.now(), caller.id()).await?;
    audit(shared, caller, "auth.second-factor", "", &format!("the {field} is wrong")).await;
    Ok(Problem::field(field, "is wrong, or was used"))
}

/// Shows by the password who he is; and by a code, where he has a second factor.
pub(crate) async fn prove_all(
    shared: &Shared,
    caller: &Caller,
    password: &str,
    code: Option<&str>,
) -> Result<(), Problem> {
    let confirmed = shared.state.second_factor(caller.id()).await?.is_some_and(|found| found.confirmed);
    match (confirmed, code) {
        (true, None) => Err(Problem::field("code", "is missing: you have a second factor")),
        (true, code) => prove(shared, caller, password, code).await,
        (false, _) => prove(shared, caller, password, None).await,
    }
}

async fn prove(shared: &Shared, caller: &Caller, password: &str, code: Option<&str>) -> Result<(), Problem> {
    let hash = may_try(shared, caller).await?;
    if let Some(code) = code {
        let confirmed = shared.state.second_factor(caller.id()).await?.is_some_and(|found| found.confirmed);
        if !confirmed {
            return Err(Problem::missing("second factor"));
        }
        if !passwords::verify(password, Some(&hash)).await? {
            return Err(failed(shared, caller, "password").await?);
        }
        let user = &caller.identity.user;
        if !shared.state.spend_code(shared.now(), &shared.keys, user, code).await? {
            return Err(failed(shared, caller, "code").await?);
        }
    } else if !passwords::verify(password, Some(&hash)).await? {
        return Err(failed(shared, caller, "password").await?);
    }
    Ok(())
}
