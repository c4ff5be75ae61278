//! `accounts/{account}/credentials`: what an account gives to a broker. It is kept sealed, and no answer shows it.

use actix_web::{HttpResponse, delete, get, put, web};
use serde::{Deserialize, Serialize};
use tradeflow_model::Timestamp;
use tradeflow_state::Credential;
use utoipa::ToSchema;

use super::{Checks, account_of, audit, time};
use crate::auth::{As, Manager};
use crate::body::Body;
use crate::context::Context;
use crate::problem::Problem;

/// A secret to be kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutCredential {
    /// What the broker gave: a key, a secret, a password.
    #[schema(min_length = 1, max_length = 4096, format = Password)]
    secret: String,
}

/// A credential, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CredentialView {
    /// The broker.
    broker: String,
    /// What it is to the broker.
    name: String,
    /// When it was given first.
    created: String,
    /// When it was given last.
    rotated: String,
}

impl From<Credential> for CredentialView {
    fn from(one: Credential) -> Self {
        let at = |nanos| time(Timestamp::from_nanos(nanos));
        Self { broker: one.broker, name: one.name, created: at(one.created), rotated: at(one.rotated) }
    }
}

/// Credentials of an account
///
/// Their names, and when they were given; the secrets are never shown.
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "The account")),
    security(("bearer" = ["manager"])), responses((status = 200, body = Vec<CredentialView>)))]
#[get("/accounts/{account}/credentials")]
pub(crate) async fn list(
    shared: Context,
    caller: As<Manager>,
    account: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    account_of(&shared, &caller, &account).await?;
    let found = shared.state.credentials(&account).await?;
    Ok(HttpResponse::Ok().json(found.into_iter().map(CredentialView::from).collect::<Vec<_>>()))
}

/// Give an account a credential
///
/// It takes the place of the one of that name.
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "The account"),
    ("broker" = String, Path, description = "The broker: 1 to 64 letters a-z, digits, `-` and `_`"),
    ("name" = String, Path, description = "What it is to the broker, such as `key_id`: the same letters")),
    request_body = PutCredential, security(("bearer" = ["manager"])), responses((status = 204)))]
#[put("/accounts/{account}/credentials/{broker}/{name}")]
pub(crate) async fn give(
    shared: Context,
    caller: As<Manager>,
    path: web::Path<(String, String, String)>,
    body: Body<PutCredential>,
) -> Result<HttpResponse, Problem> {
    let (account, broker, name) = path.into_inner();
    Checks::new()
        .that(fits(&broker), "broker", "takes 1 to 64 letters a-z, digits, `-` and `_`")
        .that(fits(&name), "name", "takes 1 to 64 letters a-z, digits, `-` and `_`")
        // Keys in PEM have lines.
        .that((1..=4096).contains(&body.0.secret.chars().count()), "secret", "takes 1 to 4096 characters")
        .done()?;
    account_of(&shared, &caller, &account).await?;
    let place = (account.as_str(), broker.as_str(), name.as_str());
    shared.state.put_credential(shared.now(), &shared.keys, place, &body.0.secret).await?;
    audit(&shared, &caller, "credentials.put", &account, &format!("{broker}/{name}")).await;
    Ok(HttpResponse::NoContent().finish())
}

/// Take a credential away from an account
#[utoipa::path(tag = "accounts", params(("account" = String, Path, description = "The account"),
    ("broker" = String, Path, description = "The broker"), ("name" = String, Path, description = "Its name")),
    security(("bearer" = ["manager"])), responses((status = 204)))]
#[delete("/accounts/{account}/credentials/{broker}/{name}")]
pub(crate) async fn remove(
    shared: Context,
    caller: As<Manager>,
    path: web::Path<(String, String, String)>,
) -> Result<HttpResponse, Problem> {
    let (account, broker, name) = path.into_inner();
    account_of(&shared, &caller, &account).await?;
    shared.state.remove_credential(&account, &broker, &name).await?;
    audit(&shared, &caller, "credentials.remove", &account, &format!("{broker}/{name}")).await;
    Ok(HttpResponse::NoContent().finish())
}

fn fits(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(letter)
}
