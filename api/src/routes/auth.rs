//! `auth`: register, log in and out, refresh, passwords.

use actix_web::{HttpRequest, HttpResponse, get, post};
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_state::{Issued, NewAudit, NewUser, Refreshed, Role, StateError, User, password as passwords};
use utoipa::ToSchema;

use super::{Checks, audit, header, note, time};
use crate::auth::{As, Viewer, address, cookies};
use crate::body::Body;
use crate::context::{Context, Shared};
use crate::problem::Problem;

/// A user who registers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    /// The email.
    #[schema(min_length = 3, max_length = 254, format = Email)]
    email: String,
    /// At least 12 characters, and hard to guess.
    #[schema(min_length = 12, max_length = 256, format = Password)]
    password: String,
    /// What to call the user.
    #[serde(default)]
    #[schema(max_length = 100)]
    name: String,
}

/// A user who logs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// The email.
    #[schema(max_length = 254)]
    email: String,
    /// The password.
    #[schema(max_length = 256, format = Password)]
    password: String,
    /// What the authenticator shows, or a recovery code, for users who have a second factor.
    #[schema(max_length = 64)]
    code: Option<String>,
    /// For pages: the tokens come as cookies that scripts can't read.
    #[serde(default)]
    cookies: bool,
}

/// An exchange of tokens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    /// The refresh token; without it the cookie is taken.
    #[schema(max_length = 256)]
    refresh_token: Option<String>,
}

/// Another password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    /// The one until now.
    #[schema(max_length = 256, format = Password)]
    current: String,
    /// The new one.
    #[schema(min_length = 12, max_length = 256, format = Password)]
    new: String,
}

/// Someone who forgot his password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgot {
    /// His email.
    #[schema(max_length = 254)]
    email: String,
}

/// A password that is set anew.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reset {
    /// The token that was sent.
    #[schema(max_length = 256)]
    token: String,
    /// The new password.
    #[schema(min_length = 12, max_length = 256, format = Password)]
    password: String,
}

/// A user, as others see him.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserView {
    /// His id.
    pub(crate) id: String,
    /// His email.
    pub(crate) email: String,
    /// What to call him.
    pub(crate) name: String,
    /// `viewer`, `trader`, `manager` or `administrator`.
    pub(crate) role: &'static str,
    /// Whether he can't log in.
    pub(crate) disabled: bool,
    /// When he registered.
    pub(crate) created: String,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        let User { id, email, name, role, disabled, created } = user;
        Self { id, email, name, role: role.name(), disabled, created: time(created) }
    }
}

/// Tokens of a log-in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// For requests: `authorization: Bearer …`. Not there where it is a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    /// `Bearer`.
    token_type: &'static str,
    /// For so many seconds the access token is good.
    expires_in: i64,
    /// For the next pair; good once. Not there where it is a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// With cookies: each write sends it as `x-csrf-token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
    /// Who logged in.
    user: UserView,
}

fn tokens(shared: &Shared, now: Timestamp, user: User, issued: &Issued, as_cookies: bool) -> HttpResponse {
    let text = |token: &tradeflow_state::Token| token.reveal().to_owned();
    let body = Tokens {
        access_token: (!as_cookies).then(|| text(&issued.access)),
        token_type: "Bearer",
        expires_in: (issued.access_expires.as_nanos() - now.as_nanos()) / 1_000_000_000,
        refresh_token: (!as_cookies).then(|| text(&issued.refresh)),
        csrf_token: as_cookies.then(|| text(&issued.csrf)),
        user: user.into(),
    };
    let mut response = HttpResponse::Ok();
    if as_cookies {
        for cookie in cookies::issued(issued, now, shared.config.secure_cookies) {
            response.cookie(cookie);
        }
    }
    response.json(body)
}

fn check_password(field: &str, password: &str, known: &[&str]) -> Result<(), Problem> {
    let problems = passwords::problems(password, known);
    if problems.is_empty() { Ok(()) } else { Err(Problem::field(field, problems.join("; "))) }
}

pub(crate) fn entry<'a>(actor: &'a str, action: &'a str, outcome: &'a str, address: &'a str) -> NewAudit<'a> {
    NewAudit { user: None, actor, action, object: "", outcome, address }
}

/// Register
///
/// The first user becomes administrator. Later ones become traders, where registration is open.
#[utoipa::path(tag = "auth", request_body = Register, security(()), responses((status = 201, body = UserView)))]
#[post("/auth/register")]
pub(crate) async fn register(
    shared: Context,
    request: HttpRequest,
    body: Body<Register>,
) -> Result<HttpResponse, Problem> {
    let Register { email, password, name } = body.0;
    let parts = email.split_once('@');
    let is_email =
        parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    Checks::new()
        .text("email", &email, 3, 254)
        .that(is_email && !email.contains(char::is_whitespace), "email", "is no email")
        .text("name", &name, 0, 100)
        .done()?;
    check_password("password", &password, &[&email, &name])?;
    let closed = || Problem::forbidden("registration is closed: ask the administrator");
    if !shared.config.registration && shared.state.has_users().await? {
        return Err(closed());
    }
    let hash = passwords::hash(&password).await?;
    let new = NewUser { email: &email, name: &name, password: &hash, open: shared.config.registration };
    let user = shared.state.add_user(shared.now(), new).await?.ok_or_else(closed)?;
    note(
        &shared,
        NewAudit { user: Some(&user.id), ..entry(&user.email, "auth.register", "done", &address(&request)) },
    )
    .await;
    Ok(HttpResponse::Created().json(UserView::from(user)))
}

/// Log in
///
/// A user with a second factor who sends no `code` gets 401 with the code `second-factor` once his password is right; he
/// sends all of it again, with the code.
#[utoipa::path(tag = "auth", request_body = Login, security(()), responses((status = 200, body = Tokens)))]
#[post("/auth/login")]
pub(crate) async fn login(
    shared: Context,
    request: HttpRequest,
    body: Body<Login>,
) -> Result<HttpResponse, Problem> {
    const WRONG: &str = "email, password or code is wrong";
    let Login { email, password, code, cookies } = body.0;
    Checks::new()
        .text("email", &email, 1, 254)
        .that(password.len() <= 256, "password", "is too long")
        .that(code.as_ref().is_none_or(|code| code.len() <= 64), "code", "is too long")
        .done()?;
    let (now, from) = (shared.now(), address(&request));
    let attempt = shared.state.attempt(&email).await?;
    if let Some(secs) = attempt.as_ref().and_then(|attempt| attempt.wait(now)) {
        return Err(Problem::too_many(secs));
    }
    let id = attempt.as_ref().map(|attempt| attempt.user.id.clone());
    // A user of a provider may have none: it takes as long as if there were no such user.
    let hash = attempt.as_ref().map(|attempt| attempt.password.as_str()).filter(|hash| !hash.is_empty());
    let mut right = passwords::verify(&password, hash).await?;
    if let Some(user) = attempt.as_ref().map(|attempt| &attempt.user).filter(|user| right && !user.disabled)
        && shared.state.second_factor(&user.id).await?.is_some_and(|found| found.confirmed)
    {
        let Some(code) = &code else {
            note(&shared, entry(&email, "auth.login", "a code is asked for", &from)).await;
            return Err(Problem::second_factor());
        };
        right = shared.state.spend_code(now, &shared.keys, user, code).await?;
    }
    let Some(attempt) = attempt.filter(|attempt| right && !attempt.user.disabled) else {
        if let Some(id) = id {
            shared.state.note_failed_login(now, &id).await?;
        }
        note(&shared, entry(&email, "auth.login", WRONG, &from)).await;
        return Err(Problem::unauthorized(WRONG));
    };
    log_in_as(&shared, &request, attempt.user, cookies).await
}

/// Begins a log-in of a user who has shown that he is one.
pub(crate) async fn log_in_as(
    shared: &Shared,
    request: &HttpRequest,
    user: User,
    as_cookies: bool,
) -> Result<HttpResponse, Problem> {
    let (now, from) = (shared.now(), address(request));
    let agent: String = header(request, "user-agent").unwrap_or_default().chars().take(200).collect();
    let issued = shared.state.begin_session(now, &user.id, shared.config.lifetimes, &from, &agent).await?;
    note(shared, NewAudit { user: Some(&user.id), ..entry(&user.email, "auth.login", "done", &from) }).await;
    Ok(tokens(shared, now, user, &issued, as_cookies))
}

/// Exchange the refresh token for new tokens
///
/// A refresh token is good once. One that comes again later ends the log-in: it was stolen.
#[utoipa::path(tag = "auth", request_body = Refresh, security(()), responses((status = 200, body = Tokens)))]
#[post("/auth/refresh")]
pub(crate) async fn refresh(
    shared: Context,
    request: HttpRequest,
    body: Body<Refresh>,
) -> Result<HttpResponse, Problem> {
    let cookie = request.cookie(cookies::REFRESH);
    let as_cookies = body.0.refresh_token.is_none();
    let token = body.0.refresh_token.or_else(|| cookie.map(|cookie| cookie.value().to_owned()));
    let token = token.ok_or_else(|| Problem::field("refresh_token", "is missing, and there is no cookie"))?;
    let (now, from) = (shared.now(), address(&request));
    match shared.state.refresh(now, &token, shared.config.lifetimes, &from).await? {
        Refreshed::Done(done) => {
            let (user, issued) = *done;
            shared.known.invalidate_all();
            Ok(tokens(&shared, now, user, &issued, as_cookies))
        }
        Refreshed::JustSpent => Err(Problem::conflict(
            "just-spent",
            "this refresh token was exchanged a moment ago: take what came of that",
        )),
        Refreshed::Unknown => {
            Err(Problem::unauthorized("the refresh token is none, or its time is over: log in"))
        }
        Refreshed::Stolen(user) => {
            shared.known.invalidate_all();
            let outcome = "a refresh token came a second time: the log-in was ended";
            note(
                &shared,
                NewAudit { user: Some(&user.id), ..entry(&user.email, "auth.refresh", outcome, &from) },
            )
            .await;
            Err(Problem::unauthorized(
                "this refresh token was used before; the log-in has been ended: log in again",
            ))
        }
    }
}

/// Log out
#[utoipa::path(tag = "auth", security(("bearer" = ["viewer"])), responses((status = 204)))]
#[post("/auth/logout")]
pub(crate) async fn logout(shared: Context, caller: As<Viewer>) -> Result<HttpResponse, Problem> {
    let Some(session) = &caller.identity.session else {
        return Err(Problem::conflict("api-key", "an API key has no log-in: delete it to end it"));
    };
    shared.state.end_session(caller.id(), session).await?;
    shared.known.invalidate_all();
    audit(&shared, &caller, "auth.logout", "", "done").await;
    let mut response = HttpResponse::NoContent();
    for cookie in cookies::gone(shared.config.secure_cookies) {
        response.cookie(cookie);
    }
    Ok(response.finish())
}

/// Who am I
#[utoipa::path(tag = "auth", security(("bearer" = ["viewer"])), responses((status = 200, body = UserView)))]
#[get("/auth/me")]
pub(crate) async fn me(shared: Context, caller: As<Viewer>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(UserView::from(shared.state.user(caller.id()).await?)))
}

/// Change the password
///
/// Other log-ins end.
#[utoipa::path(tag = "auth", request_body = ChangePassword, security(("bearer" = ["viewer"])), responses((status = 204)))]
#[post("/auth/password")]
pub(crate) async fn change_password(
    shared: Context,
    caller: As<Viewer>,
    body: Body<ChangePassword>,
) -> Result<HttpResponse, Problem> {
    let Some(session) = &caller.identity.session else {
        return Err(Problem::forbidden("an API key can't change the password: log in"));
    };
    let user = &caller.identity.user;
    let hash = shared.state.password_of(&user.id).await?;
    if !passwords::verify(&body.0.current, Some(&hash)).await? {
        audit(&shared, &caller, "auth.password", "", "the current one is wrong").await;
        return Err(Problem::field("current", "is wrong"));
    }
    check_password("new", &body.0.new, &[&user.email, &user.name])?;
    shared.state.set_password(&user.id, &passwords::hash(&body.0.new).await?, session).await?;
    shared.known.invalidate_all();
    audit(&shared, &caller, "auth.password", "", "done").await;
    Ok(HttpResponse::NoContent().finish())
}

/// Forgot the password
///
/// A token to set it anew is sent. The answer is the same whether there is such a user or not.
#[utoipa::path(tag = "auth", request_body = Forgot, security(()), responses((status = 202)))]
#[post("/auth/forgot")]
pub(crate) async fn forgot(
    shared: Context,
    request: HttpRequest,
    body: Body<Forgot>,
) -> Result<HttpResponse, Problem> {
    Checks::new().text("email", &body.0.email, 1, 254).done()?;
    let found = shared.state.attempt(&body.0.email).await?.map(|attempt| attempt.user);
    if let Some(user) = found.filter(|user| !user.disabled) {
        let from = address(&request);
        // The answer does not wait: how long it takes would tell that there is such a user.
        tokio::spawn(async move {
            if let Err(error) = send_reset(&shared, &user, &from).await {
                tracing::warn!(%error, user = user.id, "a letter to set a password anew");
            }
        });
    }
    Ok(HttpResponse::Accepted().finish())
}

/// Sends a token to set the password anew, if the user has not been sent too many.
async fn send_reset(shared: &Shared, user: &User, from: &str) -> Result<(), StateError> {
    let known =
        |outcome| NewAudit { user: Some(&user.id), ..entry(&user.email, "auth.forgot", outcome, from) };
    if shared.limits.mail(&user.id).is_err() {
        note(shared, known("too many letters")).await;
        return Ok(());
    }
    let token = shared.state.add_reset(shared.now(), &user.id).await?;
    let page = shared.config.public_url.as_deref().map(|url| format!(", for instance at {url}/api/v1/docs/"));
    let text = format!(
        "Someone, from the address {from}, asked to set the password of {} at TradeFlow anew.\n\n\
         Token: {}\n\n\
         It is good once, for 30 minutes. Send it with the new password to POST /api/v1/auth/reset{}.\n\
         If it was not you, there is nothing to do: the password stays as it is.\n",
        user.email,
        token.reveal(),
        page.unwrap_or_default(),
    );
    shared.mail.send(&user.email, "TradeFlow: set your password anew", &text);
    note(shared, known("done")).await;
    Ok(())
}

/// Set a forgotten password anew
///
/// All log-ins end.
#[utoipa::path(tag = "auth", request_body = Reset, security(()), responses((status = 204)))]
#[post("/auth/reset")]
pub(crate) async fn reset(
    shared: Context,
    request: HttpRequest,
    body: Body<Reset>,
) -> Result<HttpResponse, Problem> {
    let Some(id) = shared.state.reset_of(shared.now(), &body.0.token).await? else {
        return Err(Problem::field("token", "is none, was used, or is too old: ask for another one"));
    };
    let user = shared.state.user(&id).await?;
    check_password("password", &body.0.password, &[&user.email, &user.name])?;
    shared.state.set_password(&id, &passwords::hash(&body.0.password).await?, "").await?;
    shared.known.invalidate_all();
    note(
        &shared,
        NewAudit { user: Some(&id), ..entry(&user.email, "auth.reset", "done", &address(&request)) },
    )
    .await;
    Ok(HttpResponse::NoContent().finish())
}

/// A role by its name.
pub(crate) fn role(name: &str) -> Result<Role, Problem> {
    let found = Role::ALL.into_iter().find(|role| role.name() == name);
    found.ok_or_else(|| Problem::field("role", "takes viewer, trader, manager or administrator"))
}
