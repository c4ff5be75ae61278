//! `auth/oidc`: log-ins by providers that speak OpenID Connect.
//!
//! A user is who the provider's issuer and subject say, never who an email says: an email that has a user here is not
//! enough to log in as him. He links the provider himself, with his password.

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use tradeflow_state::{ProviderLogin, Role, StateError, User, UserChange};
use utoipa::{IntoParams, ToSchema};

use super::auth::{entry, log_in_as};
use super::second_factor::prove_all;
use super::{audit, note};
use crate::auth::{As, Viewer, address};
use crate::body::{Body, Query};
use crate::context::{Context, Shared};
use crate::oidc::{Begun, Failed, Known, ProviderConfig};
use crate::problem::Problem;

/// Holds the state of a log-in that has begun: whoever comes back must be the one who went.
const COOKIE: &str = "tradeflow_oidc";
const PATH: &str = "/api/v1/auth/oidc";

/// Providers of log-ins.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Providers {
    /// Their names.
    providers: Vec<String>,
}

/// How to go on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Afterwards {
    /// A path of this server where a page goes on, logged in with cookies. Without it the answer has the tokens.
    to: Option<String>,
}

/// What a provider sends its user back with.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SentBack {
    /// What the tokens are exchanged for.
    code: Option<String>,
    /// What he was sent with.
    state: Option<String>,
    /// Why there is no code.
    error: Option<String>,
}

/// A user who is to be known to a provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkProvider {
    /// His password.
    #[schema(max_length = 256, format = Password)]
    password: String,
    /// A code, where he has a second factor.
    #[schema(max_length = 64)]
    code: Option<String>,
}

/// Where the page goes to link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinkBegun {
    /// The provider's address.
    url: String,
}

/// Providers of log-ins
#[utoipa::path(tag = "auth", security(()), responses((status = 200, body = Providers)))]
#[get("/auth/oidc")]
pub(crate) async fn providers(shared: Context) -> HttpResponse {
    HttpResponse::Ok().json(Providers { providers: shared.oidc.names().map(str::to_owned).collect() })
}

/// Log in by a provider
///
/// Leads to the provider, which leads back to `/auth/oidc/{provider}/callback`.
#[utoipa::path(tag = "auth", params(("provider" = String, Path, description = "Its name"), Afterwards), security(()),
    responses((status = 302)))]
#[get("/auth/oidc/{provider}")]
pub(crate) async fn begin(
    shared: Context,
    name: web::Path<String>,
    afterwards: Query<Afterwards>,
) -> Result<HttpResponse, Problem> {
    let target = afterwards.0.to;
    if target.as_deref().is_some_and(|path| !is_path(path)) {
        return Err(Problem::field("to", "takes a path of this server, such as /"));
    }
    let (url, cookie) = start(&shared, &name, target, None).await?;
    Ok(HttpResponse::Found().insert_header((LOCATION, url)).cookie(cookie).finish())
}

/// Link a provider
///
/// Gives the address where the user says to the provider that it is he; later log-ins by the provider are his.
#[utoipa::path(tag = "auth", params(("provider" = String, Path, description = "Its name")), request_body = LinkProvider,
    security(("bearer" = ["viewer"])), responses((status = 200, body = LinkBegun)))]
#[post("/auth/oidc/{provider}/link")]
pub(crate) async fn link(
    shared: Context,
    caller: As<Viewer>,
    name: web::Path<String>,
    body: Body<LinkProvider>,
) -> Result<HttpResponse, Problem> {
    provider(&shared, &name)?;
    prove_all(&shared, &caller, &body.0.password, body.0.code.as_deref()).await?;
    let (url, cookie) = start(&shared, &name, None, Some(caller.id().to_owned())).await?;
    Ok(HttpResponse::Ok().cookie(cookie).json(LinkBegun { url }))
}

/// Unlink a provider
#[utoipa::path(tag = "auth", params(("provider" = String, Path, description = "Its name")),
    security(("bearer" = ["viewer"])), responses((status = 204)))]
#[delete("/auth/oidc/{provider}/link")]
pub(crate) async fn unlink(
    shared: Context,
    caller: As<Viewer>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let config = provider(&shared, &name)?;
    if caller.identity.session.is_none() {
        return Err(Problem::forbidden("an API key can't change log-ins: log in"));
    }
    shared.state.remove_identities(&config.issuer, caller.id()).await?;
    audit(&shared, &caller, "auth.unlink", &name, "done").await;
    Ok(HttpResponse::NoContent().finish())
}

/// Come back from a provider
#[utoipa::path(tag = "auth", params(("provider" = String, Path, description = "Its name"), SentBack), security(()),
    responses((status = 200, body = super::auth::Tokens), (status = 204, description = "The provider is linked"),
        (status = 303, description = "To where the page goes on")))]
#[get("/auth/oidc/{provider}/callback")]
pub(crate) async fn callback(
    shared: Context,
    request: HttpRequest,
    name: web::Path<String>,
    sent: Query<SentBack>,
) -> Result<HttpResponse, Problem> {
    let config = provider(&shared, &name)?;
    let (now, from) = (shared.now(), address(&request));
    let SentBack { code, state, error } = sent.0;
    let unknown = || {
        Problem::unauthorized(
            "no log-in by this provider was begun here, or its time is over: begin it again",
        )
    };
    // Whoever comes back must be the browser that went: otherwise he would be logged in as someone else.
    let state = state.filter(|state| request.cookie(COOKIE).is_some_and(|cookie| cookie.value() == state));
    let state = state.ok_or_else(unknown)?;
    let login = shared.state.take_provider_login(now, &state).await?;
    let login = login.filter(|login| login.provider == *name).ok_or_else(unknown)?;
    let refused = async |why: &str| {
        note(&shared, entry("", "auth.oidc", why, &from)).await;
        Problem::unauthorized(why)
    };
    if let Some(error) = error {
        let said: String = error.chars().filter(|c| !c.is_control()).take(100).collect();
        return Err(refused(&format!("the provider {name} said: {said}")).await);
    }
    let code = code.ok_or_else(|| Problem::field("code", "is missing"))?;
    let ProviderLogin { nonce, verifier, target, begun_by, .. } = login;
    let known = match shared.oidc.finish(&name, code, verifier, nonce).await {
        Some(Ok(known)) => known,
        Some(Err(Failed::Refused(why))) => return Err(refused(&why).await),
        Some(Err(Failed::Away(why))) => return Err(away(&why)),
        None => return Err(Problem::missing("provider")),
    };
    if let Some(user) = begun_by {
        shared.state.add_identity(now, &config.issuer, &known.subject, &user).await?;
        let user = shared.state.user(&user).await?;
        note(&shared, entry(&user.email, "auth.link", &format!("{name}: {}", known.subject), &from)).await;
        return Ok(HttpResponse::NoContent().finish());
    }
    let user = match shared.state.user_of_identity(&config.issuer, &known.subject).await? {
        Some(user) => user,
        None => match create(&shared, config, &known).await? {
            Ok(user) => user,
            Err(why) => {
                note(&shared, entry(&known.subject, "auth.oidc", why, &from)).await;
                return Err(Problem::forbidden(why));
            }
        },
    };
    if user.disabled {
        return Err(refused("this user can't log in: ask the administrator").await);
    }
    let user = with_role(&shared, user, known.role).await?;
    let mut response = log_in_as(&shared, &request, user, target.is_some()).await?;
    if let Some(target) = target {
        let mut moved = HttpResponse::SeeOther();
        for cookie in response.cookies() {
            moved.cookie(cookie.into_owned());
        }
        response = moved.insert_header((LOCATION, target)).finish();
    }
    let _ = response.add_removal_cookie(&Cookie::build(COOKIE, "").path(PATH).finish()); // it ends by itself too
    Ok(response)
}

fn provider<'a>(shared: &'a Shared, name: &str) -> Result<&'a ProviderConfig, Problem> {
    shared.oidc.config(name).ok_or_else(|| Problem::missing("provider"))
}

fn away(why: &str) -> Problem {
    tracing::warn!(why, "OpenID Connect");
    Problem::unavailable("the provider of log-ins does not answer as it should; the log tells more")
}

/// Begins at the provider: its address, and the cookie of the one who goes there.
async fn start(
    shared: &Shared,
    name: &str,
    target: Option<String>,
    begun_by: Option<String>,
) -> Result<(String, Cookie<'static>), Problem> {
    let begun = shared.oidc.begin(name).await.ok_or_else(|| Problem::missing("provider"))?;
    let Begun { url, state, nonce, verifier } = begun.map_err(|failed| match failed {
        Failed::Away(why) | Failed::Refused(why) => away(&why),
    })?;
    let login = ProviderLogin { provider: name.to_owned(), nonce, verifier, target, begun_by };
    shared.state.begin_provider_login(shared.now(), &state, &login).await?;
    // Lax: the provider's page leads here, and a strict one would not come along.
    let cookie = Cookie::build(COOKIE, state).path(PATH).http_only(true).same_site(SameSite::Lax);
    Ok((url, cookie.secure(shared.config.secure_cookies).max_age(Duration::minutes(10)).finish()))
}

/// A user whom no one here knows; or why he does not come in.
async fn create(
    shared: &Shared,
    config: &ProviderConfig,
    known: &Known,
) -> Result<Result<User, &'static str>, Problem> {
    const UNKNOWN: &str = "no user here is linked to this provider so: log in with the password, and link it";
    if !config.create_users {
        return Ok(Err(UNKNOWN));
    }
    let Some(email) = known.email.as_deref().filter(|email| email.len() <= 254) else {
        return Ok(Err("the provider gives no email that it has verified"));
    };
    if !shared.state.has_users().await? {
        return Ok(Err("there is no administrator yet: the first user registers with a password"));
    }
    let role = known.role.unwrap_or(Role::Trader);
    let identity = (config.issuer.as_str(), known.subject.as_str());
    match shared.state.add_user_of_identity(shared.now(), identity, email, &known.name, role).await {
        Ok(user) => Ok(Ok(user)),
        // An email is no proof: whoever has it at the provider need not be whoever has it here.
        Err(StateError::Exists(_)) => Ok(Err(UNKNOWN)),
        Err(error) => Err(error.into()),
    }
}

/// The user with the role that the provider gives him. The last administrator stays one.
async fn with_role(shared: &Shared, user: User, wanted: Option<Role>) -> Result<User, Problem> {
    let Some(wanted) = wanted.filter(|wanted| *wanted != user.role) else { return Ok(user) };
    let change = UserChange { role: Some(wanted), ..UserChange::default() };
    match shared.state.change_user(&user.id, change).await {
        Ok(changed) => {
            shared.known.invalidate_all();
            note(
                shared,
                entry(&user.email, "users.change", &format!("{} by the provider", wanted.name()), ""),
            )
            .await;
            Ok(changed)
        }
        Err(StateError::Invalid(_)) => Ok(user),
        Err(error) => Err(error.into()),
    }
}

/// A path of this server: no address of another one, however it is written.
fn is_path(path: &str) -> bool {
    let second = path.as_bytes().get(1);
    path.starts_with('/')
        && !matches!(second, Some(b'/' | b'\\'))
        && path.len() <= 1000
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
}
